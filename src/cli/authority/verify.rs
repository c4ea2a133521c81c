//! `dockseal-authority verify`: whether clips are whole and a dock's, with nothing written.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::super::{Complaint, Exit, complain, print_json};
use super::find::{Find, Found, Named};
use super::open::{ErrorJson, exit_of, progress_bar};
use super::origin::{Judge, KeyringArgs, Origins, Unlogged, VerdictJson};
use super::{BucketArgs, IdentityArgs, PROGRAM, restore_complaint, runtime};
use crate::authority::identity::Identities;
use crate::authority::origin::{Origin, Verdict};
use crate::authority::restore;

/// Verifies that clips are whole and that a dock of the keyring sealed them; writes no clip
///
/// WHAT is as for `open`. Each clip is read to its last byte, opened in memory, and looked up in
/// the log of its dock. Exits with 13 where the clip is not authentic, with 3 where some of several
/// are not.
#[derive(clap::Args)]
pub struct Args {
    /// What to verify
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    keyring: KeyringArgs,
    /// The bucket that holds the clips named by their first digits, and the logs of the docks
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    #[command(flatten)]
    access: BucketArgs,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let keyring = args.keyring.read_required()?;
    let identities = args.identity.read()?;
    let runtime = runtime()?;
    let mut find = Find::new(&args.access, args.bucket.as_deref(), &runtime);
    let named: Vec<Named> = args.what.iter().flat_map(|what| find.resolve(what)).collect();
    let mut origins = Origins::new(&keyring, &args.access, &runtime);
    let (total, mut exits, mut clips) = (named.len(), Vec::new(), Vec::new());
    for Named { label, found, logs_url } in named {
        let verified = found.and_then(|found| {
            let origin = origins.beside(&label, logs_url.as_deref())?;
            verify(&label, found, &identities, origin, &runtime)
        });
        match verified {
            Ok(verdict) => {
                if !args.json {
                    writeln!(io::stdout().lock(), "{label}: {verdict}")?;
                }
                let verdict = Some(VerdictJson::new(&verdict));
                clips.push(ClipJson { what: label, verdict, error: None });
            }
            Err(complaint) => {
                complain(PROGRAM, &complaint);
                exits.push(complaint.exit);
                let error = Some(ErrorJson::new(complaint));
                clips.push(ClipJson { what: label, verdict: None, error });
            }
        }
    }
    let failed_count = exits.len();
    let authentic_count = total - failed_count;
    let out = &mut io::stdout().lock();
    if args.json {
        let json = VerifyJson { schema_version: 1, clips, authentic_count, failed_count };
        print_json(out, &json)?;
    } else {
        let revision = keyring.revision;
        let of = format!("{authentic_count} of {total} clips");
        writeln!(out, "{of} are whole and authentic, by revision {revision} of the keyring")?;
    }
    Ok(exit_of(total, &exits))
}

fn verify(
    label: &str,
    found: Found,
    identities: &Identities,
    origin: &mut Origin<'_>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Verdict, Complaint> {
    let (source, size_bytes) = found.open(label, runtime)?;
    let bar = progress_bar(label, size_bytes);
    let mut judge =
        Judge { bar: &bar, origin: Some(origin), unlogged: Unlogged::Refuse, verdict: None };
    let streamed = restore::stream(source, identities, &mut io::sink(), &mut judge);
    let verdict = judge.verdict;
    bar.finish_and_clear();
    streamed.map_err(|error| {
        let mut complaint = restore_complaint(label, &error, false);
        complaint.message = complaint.message.replacen("cannot open", "cannot verify", 1);
        complaint
    })?;
    Ok(verdict.expect("who is opened to its end was judged"))
}

/// What `verify --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct VerifyJson {
    schema_version: u32,
    clips: Vec<ClipJson>,
    authentic_count: usize,
    failed_count: usize,
}

#[derive(Serialize)]
struct ClipJson {
    /// What was verified, as in the messages.
    what: String,
    /// Null where it failed.
    verdict: Option<VerdictJson>,
    error: Option<ErrorJson>,
}
