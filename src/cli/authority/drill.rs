//! `dockseal-authority drill`: proof, dock by dock, that clips can still be opened.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand_core::UnwrapErr;
use serde::Serialize;

use super::super::{Complaint, Exit, complain, print_json};
use super::open::exit_of;
use super::origin::KeyringArgs;
use super::{BucketArgs, IdentityArgs, PROGRAM, bucket_complaint, runtime};
use super::{open_complaint, part, payload_complaint};
use crate::authority::drill::{Trial, TrialError, Tried, try_dock};
use crate::authority::office::{OfficeError, read_signer};
use crate::authority::origin::Origin;
use crate::clip::printable;
use crate::custody::drill::{Drill, newest_key};
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::clock;
use crate::keyring::Keyring;
use crate::note::SignerKey;

/// Tries to open clips of every dock, and leaves a signed receipt in the bucket
///
/// Of each dock of the keyring, the newest clip and some older ones, drawn at random, have header,
/// first and last chunk opened and their origin checked. A dock for which all that was tried passed
/// gets a receipt in authority/; a dock that may read it shows when its clips were last proven
/// openable. Some kilobytes a clip are fetched; that every byte is the dock's, `verify` says.
#[derive(clap::Args)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH
    bucket: String,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    keyring: KeyringArgs,
    /// The authority's root key, which signs the receipts
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// How many older clips of each dock
    #[arg(long, value_name = "N", default_value_t = 3)]
    sample: usize,
    #[command(flatten)]
    access: BucketArgs,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let keyring = args.keyring.read_required()?;
    let root = root_key(&args.signing_key, &keyring)?;
    let identities = args.identity.read()?;
    let bucket = args.access.open(&args.bucket)?;
    let runtime = runtime()?;
    let handle = runtime.handle();
    let mut origin = Origin::new(bucket.clone(), &keyring, handle.clone());
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let (mut docks, mut exits) = (Vec::new(), Vec::new());
    for dock in names(&keyring) {
        let with = (&identities, &mut origin);
        let trial = try_dock(&bucket, &dock, args.sample, with, handle, rng);
        let drilled = trial.map_err(|error| bucket_failed(&dock, &error)).and_then(|trial| {
            let failed = complain_of(&trial);
            let receipt = match failed.first() {
                None => sign(&bucket, &root, &dock, &trial, handle)?,
                Some(_) => None,
            };
            Ok((trial, failed, receipt))
        });
        match drilled {
            Ok((trial, failed, receipt)) => {
                let (clips, tried) = (trial.clip_count, trial.tried.len());
                exits.extend(failed.first().copied());
                let failed = failed.len();
                docks.push(DockJson { dock, clips, tried, failed, receipt, error: None });
            }
            Err(complaint) => {
                complain(PROGRAM, &complaint);
                exits.push(complaint.exit);
                let error = Some(complaint.message);
                docks.push(DockJson { dock, clips: 0, tried: 0, failed: 0, receipt: None, error });
            }
        }
    }
    let out = &mut io::stdout().lock();
    let total = docks.len();
    if args.json {
        print_json(out, &DrillJson { schema_version: 1, docks, failed_count: exits.len() })?;
    } else {
        docks.iter().try_for_each(|dock| dock.tell(out))?;
    }
    Ok(exit_of(total, &exits))
}

/// The root key, where it is the one of the keyring: with another, no dock would take the receipt.
fn root_key(path: &Path, keyring: &Keyring) -> Result<SignerKey, Complaint> {
    let title = || format!("cannot sign with {}", printable(path));
    let root = read_signer(path).map_err(|error| match error {
        OfficeError::Io { error, .. } => Complaint::new(Exit::Failed, title(), &error)
            .hint("it is root.key in the authority's folder"),
        other => Complaint::new(Exit::Failed, title(), &other)
            .hint("it is root.key in the authority's folder"),
    })?;
    if root.verifier() != keyring.authority {
        let message = format!("{}: the keyring is of {}", title(), keyring.authority);
        return Err(Complaint::text(Exit::Config, message)
            .hint("give the root key that signed this keyring"));
    }
    Ok(root)
}

/// The docks of the keyring, those too that are retired: their clips are still kept.
fn names(keyring: &Keyring) -> Vec<String> {
    let mut names: Vec<_> = keyring.docks.iter().map(|one| one.key.name().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Says of each clip that failed why, and gives the exit codes.
fn complain_of(trial: &Trial) -> Vec<Exit> {
    let failed = trial.tried.iter().filter(|tried| !tried.passed());
    let complaints = failed.map(|Tried { key, finding, .. }| {
        let title = format!("cannot open {}", printable(Path::new(key)));
        match finding {
            Ok(verdict) => Complaint::text(Exit::Tampered, format!("{title}: {verdict}"))
                .hint("keep it as it is, and find out who wrote it"),
            Err(TrialError::Bucket(error)) => bucket_complaint(title, error),
            Err(TrialError::First(error)) => part::complaint(title, error),
            Err(TrialError::Last(error)) => payload_complaint(title, error),
            Err(TrialError::Open(error)) => open_complaint(title, error),
        }
    });
    complaints
        .map(|complaint| {
            complain(PROGRAM, &complaint);
            complaint.exit
        })
        .collect()
}

/// Puts the receipt of a dock into the bucket; none where it has no clips.
fn sign(
    bucket: &Bucket,
    root: &SignerKey,
    dock: &str,
    trial: &Trial,
    runtime: &tokio::runtime::Handle,
) -> Result<Option<String>, Complaint> {
    let Some(newest) = trial.tried.first() else { return Ok(None) };
    let at = clock::now().0.div_euclid(1000);
    let drill = Drill {
        dock: dock.to_owned(),
        at: jiff::Timestamp::from_second(at).expect("the clock is within 9999 years"),
        clip_count: trial.clip_count,
        opened_count: trial.tried.len() as u64,
        newest: newest.name,
    };
    let bytes = bytes::Bytes::from(drill.sign(root).to_string());
    let put = runtime.block_on(async {
        bucket.create(&drill.key(), bytes.clone()).await?;
        bucket.replace(&newest_key(dock), bytes).await
    });
    put.map_err(|error| {
        bucket_complaint(format!("cannot leave a receipt for {dock} in the bucket"), &error)
    })?;
    Ok(Some(drill.key()))
}

fn bucket_failed(dock: &str, error: &BucketError) -> Complaint {
    bucket_complaint(format!("cannot drill {dock}"), error)
}

/// What `drill --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct DrillJson {
    schema_version: u32,
    docks: Vec<DockJson>,
    /// Docks with a failure.
    failed_count: usize,
}

#[derive(Serialize)]
struct DockJson {
    dock: String,
    /// Clips that the bucket holds of it.
    clips: u64,
    tried: usize,
    failed: usize,
    /// The object's name; null where it has no clips, or something failed.
    receipt: Option<String>,
    /// Null where the bucket could be read.
    error: Option<String>,
}

impl DockJson {
    fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        let DockJson { dock, clips, tried, failed, receipt, error } = self;
        let opened = tried - failed;
        match (receipt, error) {
            (Some(key), _) => {
                writeln!(out, "{dock}: opened {opened} of {clips} clips; receipt {key}")
            }
            (None, Some(_)) => writeln!(out, "{dock}: could not be drilled"),
            (None, None) if *tried == 0 => writeln!(out, "{dock}: no clips here"),
            (None, None) => writeln!(out, "{dock}: {failed} of {tried} clips FAILED; no receipt"),
        }
    }
}
