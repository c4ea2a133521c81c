//! `dockseal-authority open`: clips back as files.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::super::{Complaint, Exit, bytes_for_people, complain, print_json};
use super::find::{Find, Found, Named};
use super::origin::{Judge, KeyringArgs, Origins, Unlogged, VerdictJson};
use super::part::{self, ByteRange};
use super::{BucketArgs, IdentityArgs, NameJson, PROGRAM};
use super::{restore_complaint, runtime, when_interrupted};
use crate::authority::identity::Identities;
use crate::authority::open::ManifestFinding;
use crate::authority::origin::{Origin, Verdict};
use crate::authority::restore::{self, Arrival, Facts, Restored, Unfinished};
use crate::clip::{printable, to_hex};
use crate::envelope::manifest::commitment;

/// Opens sealed clips, with the names and times that they had on the dock
///
/// WHAT is a file, the URL of an object (….age), the URL of a bucket (all clips in it) or, with
/// --bucket, the first 4 or more digits of a clip's name as `list` shows it. Any age v1 file can
/// be opened. A clip gets its name only after its last byte verified; nothing is replaced, and a
/// clip that was opened before is compared and kept. With --keyring, only a clip that a dock of the
/// keyring logged gets its name; without it that is not checked, and whoever has the public key
/// can make a file that opens.
#[derive(clap::Args)]
pub struct Args {
    /// What to open
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    keyring: KeyringArgs,
    /// Open a clip that no dock of the keyring logged all the same, with a warning
    #[arg(long, requires = "keyring")]
    accept_unlogged: bool,
    /// The bucket that holds the clips named by their first digits, and the logs of the docks
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    #[command(flatten)]
    access: BucketArgs,
    /// Folder for the clips, which must exist; `-` writes one clip to standard output
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// With `--out -`: only these bytes of the clip, counted from 0, as in `curl --range`. 0-499 is
    /// the first 500, 500- all behind them, -500 the last 500. The rest of a bucket's object is not
    /// fetched, and so neither verified
    #[arg(long, value_name = "FROM-TO", allow_hyphen_values = true)]
    bytes: Option<ByteRange>,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let identities = args.identity.read()?;
    let keyring = args.keyring.read()?;
    let runtime = runtime()?;
    let unfinished = Arc::new(Unfinished::default());
    let half = Arc::clone(&unfinished);
    let said = "interrupted; the clip that was being opened was discarded";
    when_interrupted(&runtime, said, move || half.remove());
    let to_stdout = args.out == Path::new("-");
    if to_stdout && args.json {
        let message = "--json and --out - would both write to standard output";
        return Err(Complaint::text(Exit::Usage, message).hint("leave one of them out"));
    }
    if args.bytes.is_some() && !to_stdout {
        let message = "--bytes gives a part of a clip, and a part gets no name";
        return Err(Complaint::text(Exit::Usage, message).hint("add: --out -"));
    }
    if !to_stdout && !args.out.is_dir() {
        let message = format!("not a folder: {}", printable(&args.out));
        return Err(Complaint::text(Exit::Failed, message).hint("make it first: mkdir -p DIR"));
    }
    let mut find = Find::new(&args.access, args.bucket.as_deref(), &runtime);
    let named: Vec<Named> = args.what.iter().flat_map(|what| find.resolve(what)).collect();
    if to_stdout && named.len() != 1 {
        let message = format!("--out - takes exactly one clip, and these are {}", named.len());
        return Err(Complaint::text(Exit::Usage, message).hint("name one clip, or give --out DIR"));
    }
    if let Some(range) = args.bytes {
        return part::run(named, &range, &identities, &runtime);
    }
    let (folder, json) = (args.out, args.json);
    let unlogged = if args.accept_unlogged { Unlogged::Accept } else { Unlogged::Refuse };
    let mut origins = keyring.as_ref().map(|one| Origins::new(one, &args.access, &runtime));
    let desk =
        Desk { identities, runtime: &runtime, unfinished, folder, to_stdout, json, unlogged };
    desk.open_all(named, origins.as_mut())
}

/// Everything that stays the same from clip to clip.
struct Desk<'a> {
    identities: Identities,
    runtime: &'a Runtime,
    unfinished: Arc<Unfinished>,
    folder: PathBuf,
    to_stdout: bool,
    json: bool,
    unlogged: Unlogged,
}

impl Desk<'_> {
    /// Opens one after the other; a failure is told at once and keeps none from being opened.
    fn open_all(
        &self,
        named: Vec<Named>,
        mut origins: Option<&mut Origins<'_>>,
    ) -> Result<Exit, Complaint> {
        let total = named.len();
        let mut exits = Vec::new();
        let mut clips = Vec::new();
        for Named { label, found, logs_url } in named {
            let opened = found.and_then(|found| {
                let origin = match origins.as_deref_mut() {
                    Some(origins) => Some(origins.beside(&label, logs_url.as_deref())?),
                    None => None,
                };
                self.open_one(&label, found, origin)
            });
            match opened {
                Ok(clip) => clips.push(ClipJson::opened(label, clip)),
                Err(complaint) => {
                    complain(PROGRAM, &complaint);
                    exits.push(complaint.exit);
                    clips.push(ClipJson::failed(label, complaint));
                }
            }
        }
        if self.json {
            let json = OpenJson { schema_version: 1, failed_count: exits.len(), clips };
            print_json(&mut io::stdout().lock(), &json)?;
        }
        Ok(exit_of(total, &exits))
    }

    fn open_one(
        &self,
        label: &str,
        found: Found,
        origin: Option<&mut Origin<'_>>,
    ) -> Result<Opened, Complaint> {
        let (source, size_bytes) = found.open(label, self.runtime)?;
        let bar = progress_bar(label, size_bytes);
        let mut judge = Judge { bar: &bar, origin, unlogged: self.unlogged, verdict: None };
        let opened = if self.to_stdout {
            let out = &mut io::stdout().lock();
            restore::stream(source, &self.identities, out, &mut judge)
                .map(|facts| (None, Arrival::Written, facts))
        } else {
            let (folder, unfinished) = (&self.folder, &self.unfinished);
            let restored =
                restore::restore(source, &self.identities, folder, unfinished, &mut judge);
            restored.map(|Restored { path, arrival, facts }| (Some(path), arrival, facts))
        };
        let verdict = judge.verdict;
        bar.finish_and_clear();
        let (path, arrival, facts) =
            opened.map_err(|error| restore_complaint(label, &error, self.to_stdout))?;
        let opened = Opened { path, arrival, facts, verdict };
        self.tell(label, &opened);
        Ok(opened)
    }

    /// One line a clip, on standard output unless something else goes there.
    fn tell(&self, label: &str, opened: &Opened) {
        let size = bytes_for_people(opened.facts.plaintext.size_bytes);
        let place = match &opened.path {
            Some(path) => printable(path),
            None => "standard output".to_owned(),
        };
        let word = match opened.arrival {
            Arrival::WasThere => "was there already, the same:",
            Arrival::Written => "opened",
        };
        let checked = match &opened.verdict {
            None => "; origin not checked: give --keyring",
            Some(_) => "",
        };
        let line = format!("{word} {place} ({size}) from {label}{checked}");
        // The clip is there; that nobody reads of it is no failure of the clip.
        let _ = match self.json || self.to_stdout {
            true => writeln!(io::stderr().lock(), "{line}"),
            false => writeln!(io::stdout().lock(), "{line}"),
        };
        let _ = match &opened.verdict {
            None => Ok(()),
            Some(verdict) if verdict.is_authentic() => {
                writeln!(io::stderr().lock(), "{label}: {verdict}")
            }
            Some(verdict) => writeln!(
                io::stderr().lock(),
                "{PROGRAM}: WARNING: {label}: {verdict}; opened all the same: --accept-unlogged"
            ),
        };
        for note in opened.notes() {
            let _ = writeln!(io::stderr().lock(), "{PROGRAM}: note: {label}: {note}");
        }
    }
}

/// All well, one cause, or some of each.
pub fn exit_of(total: usize, exits: &[Exit]) -> Exit {
    match exits {
        [] => Exit::Ok,
        [first, rest @ ..] if exits.len() == total => {
            if rest.iter().all(|exit| exit == first) {
                *first
            } else {
                Exit::Failed
            }
        }
        [..] => Exit::Partial,
    }
}

/// Shows how far a clip is, where somebody looks.
pub fn progress_bar(label: &str, sealed_size_bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("a fixed, valid template");
    // The clip is smaller than its sealed file by a header and 16 bytes in 64 KiB.
    let bar = match sealed_size_bytes {
        Some(size) => ProgressBar::new(size),
        None => ProgressBar::no_length(),
    };
    let short: String = label.chars().rev().take(24).collect();
    let bar = bar.with_style(style).with_message(short.chars().rev().collect::<String>());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A clip that was opened.
struct Opened {
    /// Where it lies; `None` where it went to standard output.
    path: Option<PathBuf>,
    arrival: Arrival,
    facts: Facts,
    /// Of its origin; `None` without a keyring.
    verdict: Option<Verdict>,
}

impl Opened {
    /// What a person should know of a clip that opened all the same.
    fn notes(&self) -> Vec<String> {
        let opened_bytes = self.facts.plaintext.size_bytes;
        match &self.facts.manifest {
            ManifestFinding::Absent => Vec::new(),
            ManifestFinding::Found(manifest) if manifest.size_bytes != opened_bytes => {
                let said = manifest.size_bytes;
                vec![format!("its manifest says {said} bytes, and it has {opened_bytes}")]
            }
            ManifestFinding::Found(_) => Vec::new(),
            ManifestFinding::Unreadable(error) => {
                vec![format!("{error}; its name and time are not restored")]
            }
        }
    }

    /// What the custody log must hold of this clip.
    fn commitment(&self) -> Option<[u8; 32]> {
        match &self.facts.manifest {
            ManifestFinding::Found(manifest) => {
                commitment(&manifest.commitment_salt, &self.facts.plaintext.sha256)
            }
            ManifestFinding::Absent | ManifestFinding::Unreadable(_) => None,
        }
    }
}

/// What `open --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct OpenJson {
    schema_version: u32,
    clips: Vec<ClipJson>,
    failed_count: usize,
}

#[derive(Serialize)]
struct ClipJson {
    /// What was opened, as in the messages.
    what: String,
    /// Null where it failed.
    opened: Option<OpenedJson>,
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct OpenedJson {
    /// Where the clip lies now.
    path: Option<NameJson>,
    /// True where it had been opened before: the file was compared and left alone.
    was_there: bool,
    /// SHA-256 of the sealed bytes, 64 hex digits.
    sealed_name: String,
    size_bytes: u64,
    /// SHA-256 of the clip, 64 hex digits.
    sha256: String,
    /// SHA-256(salt ‖ sha256), 64 hex digits, to compare with the custody log.
    commitment: Option<String>,
    /// `not-checked`, `authentic`, or with --accept-unlogged the word of why not.
    origin: &'static str,
    /// Null where it was not checked.
    verdict: Option<VerdictJson>,
    notes: Vec<String>,
}

/// An error in JSON.
#[derive(Serialize)]
pub struct ErrorJson {
    /// As in the table of exit codes.
    exit: u8,
    message: String,
    hint: Option<String>,
}

impl ClipJson {
    fn opened(what: String, clip: Opened) -> ClipJson {
        let opened = OpenedJson {
            path: clip.path.as_deref().map(NameJson::new),
            was_there: clip.arrival == Arrival::WasThere,
            sealed_name: clip.facts.name.to_string(),
            size_bytes: clip.facts.plaintext.size_bytes,
            sha256: to_hex(&clip.facts.plaintext.sha256),
            commitment: clip.commitment().map(|commitment| to_hex(&commitment)),
            origin: clip.verdict.as_ref().map_or("not-checked", Verdict::word),
            verdict: clip.verdict.as_ref().map(VerdictJson::new),
            notes: clip.notes(),
        };
        ClipJson { what, opened: Some(opened), error: None }
    }

    fn failed(what: String, complaint: Complaint) -> ClipJson {
        ClipJson { what, opened: None, error: Some(ErrorJson::new(complaint)) }
    }
}

impl ErrorJson {
    /// All that it says.
    pub fn new(complaint: Complaint) -> ErrorJson {
        let Complaint { exit, message, hint } = complaint;
        ErrorJson { exit: exit as u8, message, hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_one_cause_from_a_part() {
        assert_eq!(exit_of(2, &[]), Exit::Ok);
        assert_eq!(exit_of(1, &[Exit::NoIdentity]), Exit::NoIdentity);
        assert_eq!(exit_of(2, &[Exit::Tampered, Exit::Tampered]), Exit::Tampered);
        assert_eq!(exit_of(2, &[Exit::Tampered, Exit::NoIdentity]), Exit::Failed);
        assert_eq!(exit_of(3, &[Exit::Tampered]), Exit::Partial);
    }
}
