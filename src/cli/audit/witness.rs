//! `dockseal-audit witness`: cosigns the growth of docks' logs, and never a rollback.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Subcommand;
use rand_core::UnwrapErr;

use super::super::bucket::runtime;
use super::super::{Complaint, Exit};
use crate::audit::witness::{REQUEST_SIZE_MAX, Refused, Request, Seen};
use crate::clip::printable;
use crate::edge::witness::serve::{Answer, Door, bind, serve};
use crate::edge::{clock, durable, fs};
use crate::keyring::{Keyring, Refusal, Trust, Unreadable};
use crate::note::{Kind, Note, SignerKey, VerifierKey};

/// The type of the answer that names a size (C2SP tlog-witness).
const SIZE_TYPE: &str = "text/x.tlog.size";
/// The type of all other answers.
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Serves as a witness: remembers the last checkpoint of each dock's log, and cosigns only what
/// continues it
///
/// Speaks C2SP tlog-witness (POST /add-checkpoint). GET /checkpoints gives what it remembers, for
/// `dockseal-audit --witnessed`. Run it where neither the docks' administrator nor the bucket's
/// provider has a hand.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to listen; port 0 takes a free one. Put a proxy with TLS in front of it
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    listen: Option<SocketAddr>,
    /// The witness's private key, as `witness keygen` makes it
    #[arg(long, value_name = "FILE", required = true)]
    key: Option<PathBuf>,
    /// The authority's keyring: whose logs are cosigned. Read anew for each request
    #[arg(long, value_name = "FILE", required = true)]
    keyring: Option<PathBuf>,
    /// The authority's root key; without it, the root that the keyring names at the start
    #[arg(long, value_name = "VKEY")]
    authority: Option<VerifierKey>,
    /// What it remembers. Without this file it cosigns every log anew: keep it
    #[arg(long, value_name = "FILE", required = true)]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the witness's key, and prints the public half
    Keygen {
        /// The witness's name, such as witness.example.org
        name: String,
        /// Where the private key goes; must not exist
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    if let Some(Command::Keygen { name, file }) = args.command {
        return keygen(&name, &file);
    }
    let (Some(listen), Some(key), Some(keyring), Some(state)) =
        (args.listen, args.key, args.keyring, args.state)
    else {
        return Err(Complaint::text(Exit::Usage, "arguments are missing").hint("see --help"));
    };
    let witness = Witness::open(&key, keyring, args.authority, state)?;
    let serving = async {
        let listener = bind(listen).await?;
        let mut out = io::stdout().lock();
        writeln!(out, "witness {}", witness.key.verifier())?;
        writeln!(out, "listening on {}", listener.local_addr()?)?;
        out.flush()?;
        drop(out);
        serve(listener, Arc::new(witness), REQUEST_SIZE_MAX).await
    };
    runtime()?.block_on(serving).map_err(|error| {
        Complaint::new(Exit::Failed, format!("cannot serve on {listen}"), &error)
            .hint("is the port taken? may this user use it?")
    })?;
    Ok(Exit::Ok)
}

fn keygen(name: &str, path: &Path) -> Result<Exit, Complaint> {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let key = SignerKey::generate(name, Kind::Cosignature, rng).map_err(|error| {
        Complaint::new(Exit::Usage, "cannot make the key", &error)
            .hint("a name is like witness.example.org")
    })?;
    let written = || -> io::Result<()> {
        let mut file = fs::create_private(path)?;
        file.write_all(key.to_text().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::sync_folder(folder.unwrap_or(Path::new(".")))
    };
    written().map_err(|error| {
        let title = format!("cannot write the key {}", printable(path));
        Complaint::new(Exit::Failed, title, &error).hint("a private key is never overwritten")
    })?;
    writeln!(io::stdout().lock(), "{}", key.verifier())?;
    Ok(Exit::Ok)
}

/// The witness behind its door.
struct Witness {
    key: SignerKey,
    keyring: PathBuf,
    state: PathBuf,
    memory: Mutex<Believed>,
}

/// What it believes and remembers; one request at a time changes it.
struct Believed {
    trust: Trust,
    keyring: Keyring,
    seen: Seen,
}

impl Witness {
    fn open(
        key: &Path,
        keyring: PathBuf,
        authority: Option<VerifierKey>,
        state: PathBuf,
    ) -> Result<Witness, Complaint> {
        let text = zeroize::Zeroizing::new(super::read(key, "the witness's key")?);
        let signer = std::str::from_utf8(&text).ok().map(str::trim_ascii_end);
        let signer = signer.and_then(|text| SignerKey::parse(text).ok());
        let signer = signer.filter(|key| key.verifier().kind() == Kind::Cosignature);
        let signer = signer.ok_or_else(|| {
            let message = format!("{}: not the private key of a witness", printable(key));
            Complaint::text(Exit::Config, message).hint("make one: dockseal-audit witness keygen")
        })?;
        let bytes = super::read(&keyring, "the keyring")?;
        let (trust, taken) = believe(&bytes, authority).map_err(|refusal| {
            let title = format!("cannot use the keyring: {}", printable(&keyring));
            Complaint::new(Exit::Config, title, &refusal).hint("get it from the authority")
        })?;
        let text = match std::fs::read(&state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => {
                let title = format!("cannot read the state: {}", printable(&state));
                return Err(Complaint::new(Exit::Config, title, &error).hint("check the rights"));
            }
            Ok(bytes) => bytes,
        };
        let own = signer.verifier();
        let seen = std::str::from_utf8(&text).ok().and_then(|text| Seen::parse(text, &own));
        let seen = seen.ok_or_else(|| {
            let message = format!("{}: not what this witness remembered", printable(&state));
            let hint = "restore it; to begin without it is to cosign what was rolled back";
            Complaint::text(Exit::Config, message).hint(hint)
        })?;
        let memory = Mutex::new(Believed { trust, keyring: taken, seen });
        Ok(Witness { key: signer, keyring, state, memory })
    }

    fn add(&self, body: &[u8]) -> Result<String, Result<Refused, io::Error>> {
        let request = Request::parse(body).map_err(Ok)?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that cannot be used changes nothing: the last good one counts on.
        if let Ok(bytes) = std::fs::read(&self.keyring)
            && memory.trust.take(&bytes) == Ok(true)
            && let Some(keyring) = memory.trust.last().cloned()
        {
            memory.keyring = keyring;
        }
        let cosigned = memory.seen.cosign(request, &memory.keyring, &self.key, clock::now());
        let (next, lines) = cosigned.map_err(Ok)?;
        // Durable before anybody hears of it: a witness that forgets can be made to cosign twice.
        durable::replace(&self.state, next.to_text().as_bytes()).map_err(Err)?;
        memory.seen = next;
        Ok(lines)
    }
}

/// Trusts the root given, or the one that the keyring names.
fn believe(bytes: &[u8], authority: Option<VerifierKey>) -> Result<(Trust, Keyring), Refusal> {
    let note = Note::parse(bytes).map_err(Unreadable::from)?;
    let named = Keyring::from_note(&note).map_err(Unreadable::from)?.authority;
    let mut trust = Trust::pinned(authority.unwrap_or(named));
    trust.take(bytes)?;
    let keyring = trust.last().cloned().expect("it was just taken");
    Ok((trust, keyring))
}

impl Door for Witness {
    fn add_checkpoint(&self, body: &[u8]) -> Answer {
        let (status, media_type, body) = match self.add(body) {
            Ok(lines) => (200, TEXT_TYPE, lines),
            Err(Ok(refused)) => match refused {
                Refused::Conflict { size } => (409, SIZE_TYPE, format!("{size}\n")),
                Refused::Forbidden => (403, TEXT_TYPE, format!("{refused}\n")),
                Refused::Malformed(_) => (400, TEXT_TYPE, format!("{refused}\n")),
                Refused::UnknownOrigin => (404, TEXT_TYPE, format!("{refused}\n")),
                Refused::Unproven => (422, TEXT_TYPE, format!("{refused}\n")),
            },
            Err(Err(error)) => {
                let mut err = io::stderr().lock();
                let path = printable(&self.state);
                // Nowhere is left to say that standard error is closed.
                let _ = writeln!(err, "{}: error: cannot write {path}: {error}", super::PROGRAM);
                (500, TEXT_TYPE, "the witness cannot write its state\n".into())
            }
        };
        Answer { status, media_type, body }
    }

    fn checkpoints(&self) -> Answer {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Answer { status: 200, media_type: TEXT_TYPE, body: memory.seen.to_text() }
    }
}
