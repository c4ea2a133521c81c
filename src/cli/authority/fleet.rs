//! `dockseal-authority fleet`: all docks in one table, those that need somebody first.

mod json;
mod page;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Complaint, Exit, complain, print_json};
use super::origin::KeyringArgs;
use super::{BucketArgs, PROGRAM, bucket_complaint, runtime, when_interrupted};
use crate::authority::fleet::{Fleet, Memory, look};
use crate::clip::printable;
use crate::edge::bucket::Bucket;
use crate::edge::{clock, durable};
use crate::keyring::Keyring;
use table::Layout;

/// Shows what every dock of the keyring last said of itself
///
/// Silent docks come first, then those whose word is not to be believed, then those that need
/// somebody. A word counts only where the dock's key signed it; it proves nothing: that clips are
/// where they should be, dockseal-audit proves. Exits with 3 where a dock needs somebody.
#[derive(clap::Args)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH
    bucket: String,
    #[command(flatten)]
    keyring: KeyringArgs,
    #[command(flatten)]
    access: BucketArgs,
    /// Show the docks too that are well
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Look again every so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60",
          value_parser = clap::value_parser!(u64).range(5..=86_400))]
    watch: Option<u64>,
    /// Write a web page for a wall screen, too; it fetches itself again
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON document a look, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let mut keyring = args.keyring.read_required()?;
    let bucket = args.access.open(&args.bucket)?;
    let runtime = runtime()?;
    let mut memory = Memory::default();
    let mut look = |keyring: &Keyring| looked(&args, &bucket, keyring, &runtime, &mut memory);
    let Some(seconds) = args.watch else {
        let fleet = look(&keyring)?;
        show(&args, &fleet, None)?;
        return Ok(if fleet.need_you_count() == 0 { Exit::Ok } else { Exit::Partial });
    };
    when_interrupted(&runtime, "the watch ended", || {});
    let mut last: Option<Fleet> = None;
    loop {
        // A new revision may name more docks. Where it cannot be read, the last good one stays.
        let read = args.keyring.read_required().map(|read| keyring = read);
        let trouble = match read.and_then(|()| look(&keyring)) {
            Ok(fleet) => {
                last = Some(fleet);
                None
            }
            Err(complaint) => {
                complain(PROGRAM, &complaint);
                Some(complaint)
            }
        };
        match (&last, trouble) {
            (Some(fleet), trouble) => show(&args, fleet, trouble.map(|it| it.message).as_deref())?,
            // It never worked: that is no watch.
            (None, Some(complaint)) => return Err(complaint),
            (None, None) => unreachable!("a look that went well is kept"),
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn looked(
    args: &Args,
    bucket: &Bucket,
    keyring: &Keyring,
    runtime: &tokio::runtime::Runtime,
    memory: &mut Memory,
) -> Result<Fleet, Complaint> {
    runtime.block_on(look(bucket, keyring, clock::now(), memory)).map_err(|error| {
        let title = format!("cannot look at {}", printable(Path::new(&args.bucket)));
        bucket_complaint(title, &error)
    })
}

/// Shows it on the terminal, and on the wall. `trouble`: why this is not how it is now.
fn show(args: &Args, fleet: &Fleet, trouble: Option<&str>) -> Result<(), Complaint> {
    if let Some(path) = &args.html {
        let page = page::page(fleet, trouble, args.watch);
        durable::replace_public(path, page.as_bytes()).map_err(|error| {
            Complaint::new(Exit::Failed, format!("cannot write {}", printable(path)), &error)
                .hint("check that the folder is there and may be written to")
        })?;
    }
    let out = &mut io::stdout().lock();
    if args.json {
        return print_json(out, &json::FleetJson::new(fleet, trouble));
    }
    // A watched screen shows one table; a pipe or a file gets one after the other.
    if args.watch.is_some() && out.is_terminal() {
        write!(out, "\u{1b}[H\u{1b}[2J\u{1b}[3J")?;
    }
    let layout = if args.all { Layout::All } else { Layout::NeedingYou };
    table::write(out, fleet, layout)?;
    if let Some(trouble) = trouble {
        writeln!(out, "NOT NEW: {}", crate::clip::harmless(trouble))?;
    }
    Ok(out.flush()?)
}
