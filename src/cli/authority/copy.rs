//! `dockseal-authority copy`: a whole history into another bucket.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::bucket::{key_value, open};
use super::super::{Complaint, Exit, bytes_for_people, complain, print_json};
use super::open::ErrorJson;
use super::{PROGRAM, bucket_complaint, runtime, when_interrupted};
use crate::authority::copy::{
    Copier, CopyError, Done, End, ListError, Mode, Outcome, Plan, Planned, Present, Step,
};
use crate::clip::{Evidence, printable};
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::credentials;

/// Foreign and unfinished objects that are named; the others are counted.
const NAMED_MAX: usize = 10;

/// Copies a whole history into another bucket, and changes nothing that is there
///
/// Every clip, log, checkpoint and keyring beneath FROM is put under the same name beneath TO.
/// Clips are hashed on the way and must be what their names say; small objects are read again.
/// Nothing is deleted or overwritten, in either: what is there and equal is skipped, so a copy that
/// was interrupted goes on when it is started again. Only the objects that name the newest of a
/// kind (checkpoint, keyring, status, drill) are replaced, and only by a newer one. No key is
/// needed: what is copied stays sealed. Afterwards, let `dockseal-audit` look at TO.
#[derive(clap::Args)]
pub struct Args {
    /// The bucket to read: s3://BUCKET/PREFIX or file:///PATH
    from: String,
    /// The bucket to copy to. It must be allowed to list, get and put there
    to: String,
    /// Say what would be copied, and put nothing
    #[arg(long)]
    dry_run: bool,
    /// Read the clips that are there already whole, and compare them; else their size is compared
    #[arg(long)]
    verify: bool,
    /// Option of FROM, such as aws_endpoint=https://…; repeatable. What neither an option nor the
    /// file of credentials says comes from the environment, for both buckets
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    from_option: Vec<(String, String)>,
    /// Option of TO; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    to_option: Vec<(String, String)>,
    /// File with the secrets of FROM, a line `option = value` each
    #[arg(long, value_name = "FILE")]
    from_credentials: Option<PathBuf>,
    /// File with the secrets of TO
    #[arg(long, value_name = "FILE")]
    to_credentials: Option<PathBuf>,
    /// Folder for clips on their way, with room for the four largest [default: the system's]
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    if args.from.trim_end_matches('/') == args.to.trim_end_matches('/') {
        let same_server = args.from_option == args.to_option;
        if same_server && args.from_credentials == args.to_credentials {
            let message = "FROM and TO are the same bucket";
            return Err(Complaint::text(Exit::Usage, message)
                .hint("name another one; on another server, give --to-option aws_endpoint=URL"));
        }
    }
    let from = open_side(&args.from, &args.from_option, args.from_credentials.as_deref())?;
    let to = open_side(&args.to, &args.to_option, args.to_credentials.as_deref())?;
    let temp_dir = args.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    let runtime = runtime()?;
    let said = "interrupted; what was copied stays, start it again to go on";
    when_interrupted(&runtime, said, || {});
    let copier = Copier {
        from: &from,
        to: &to,
        temp_dir: &temp_dir,
        present: if args.verify { Present::Read } else { Present::Trust },
        mode: if args.dry_run { Mode::Look } else { Mode::Copy },
    };
    let plan = runtime.block_on(copier.plan()).map_err(|error| match error {
        ListError::From(error) => side_complaint("cannot list FROM", &error, "--from-option"),
        ListError::To(error) => side_complaint("cannot list TO", &error, "--to-option"),
    })?;
    let tally = Mutex::new(Tally::default());
    let bar = progress_bar(&plan, args.dry_run);
    let end = runtime.block_on(copier.run(&plan, &|step| match step {
        Step::Fetched(size) => bar.inc(size),
        Step::Done(one, outcome) => {
            // Complaints are printed while the bar is away; it is told only when it is back.
            let mut tally = tally.lock().expect("nobody panics while he counts");
            let message = bar.suspend(|| tally.add(one, outcome));
            bar.set_message(message);
        }
    }));
    bar.finish_and_clear();
    let tally = tally.into_inner().expect("nobody panicked while he counted");
    conclude(&args, &plan, tally, end)
}

fn open_side(
    url: &str,
    options: &[(String, String)],
    file: Option<&Path>,
) -> Result<Bucket, Complaint> {
    let mut given = BTreeMap::new();
    if let Some(file) = file {
        given = credentials::read(file).map_err(|error| {
            Complaint::new(Exit::Failed, "cannot read the credentials", &error)
                .hint("a line each: option = value, such as aws_access_key_id = …")
        })?;
    }
    given.extend(options.iter().cloned());
    open(url, given)
}

/// As of any bucket, with the options that this command has.
fn side_complaint(title: &str, error: &BucketError, option: &str) -> Complaint {
    let complaint = bucket_complaint(title, error);
    let hint = match error {
        BucketError::Folder(_) => Some("make space there, and see that you may write".to_owned()),
        _ => complaint.hint.as_ref().map(|hint| hint.replace("-o ", &format!("{option} "))),
    };
    Complaint { hint, ..complaint }
}

/// What an operator is told of an object that was not copied.
fn copy_complaint(key: &str, error: &CopyError) -> Complaint {
    let title = format!("cannot copy {}", printable(Path::new(key)));
    match error {
        CopyError::Conflict => Complaint::new(Exit::Tampered, title, error)
            .hint("look at both; take another prefix for TO if it holds another history"),
        CopyError::Damaged { .. } | CopyError::Unreadable => {
            Complaint::new(Exit::Tampered, title, error)
                .hint("keep it as it is; look for another copy: bucket, spool, backup")
        }
        CopyError::From(cause) => side_complaint(&format!("{title}: FROM"), cause, "--from-option"),
        CopyError::HeldBack => Complaint::new(Exit::Partial, title, error)
            .hint("clear up what is said above of this log, then start it again"),
        CopyError::Temporary(_) => Complaint::new(Exit::Failed, title, error)
            .hint("--temp-dir DIR, with room for the four largest clips"),
        CopyError::To(cause) => side_complaint(&format!("{title}: TO"), cause, "--to-option"),
    }
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    copied: Count,
    was_there: Count,
    replaced: u64,
    kept_newer: u64,
    digest_checked: u64,
    read_back: u64,
    acknowledged: u64,
    failures: Vec<(String, Complaint)>,
}

/// Objects and their bytes.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Count {
    objects: u64,
    size_bytes: u64,
}

impl Count {
    fn add(&mut self, one: &Planned) {
        self.objects += 1;
        self.size_bytes += one.size_bytes;
    }
}

impl Tally {
    /// Counts what came of an object, and says how far all is.
    fn add(&mut self, one: &Planned, outcome: &Outcome) -> String {
        match outcome {
            Ok(Done::Copied(evidence)) => {
                self.copied.add(one);
                match evidence {
                    Some(Evidence::Acknowledged) => self.acknowledged += 1,
                    Some(Evidence::DigestChecked) => self.digest_checked += 1,
                    Some(Evidence::ReadBack) => self.read_back += 1,
                    None => {}
                }
            }
            Ok(Done::KeptNewer) => self.kept_newer += 1,
            Ok(Done::Replaced) => self.replaced += 1,
            Ok(Done::WasThere) => self.was_there.add(one),
            Err(error) => {
                let complaint = copy_complaint(&one.key, error);
                complain(PROGRAM, &complaint);
                self.failures.push((one.key.clone(), complaint));
            }
        }
        format!("{} copied, {} there", self.copied.objects, self.was_there.objects)
    }

    /// What was tampered with or is in conflict weighs most, then what stopped everything.
    fn exit(&self, end: End) -> Exit {
        let failed_with = |exit| self.failures.iter().any(|(_, one)| one.exit == exit);
        if failed_with(Exit::Tampered) {
            return Exit::Tampered;
        }
        match end {
            End::GaveUp { .. } if failed_with(Exit::Unreachable) => Exit::Unreachable,
            End::GaveUp { .. } => Exit::Failed,
            End::Tried if self.failures.is_empty() && self.acknowledged == 0 => Exit::Ok,
            End::Tried => Exit::Partial,
        }
    }
}

fn progress_bar(plan: &Plan, dry_run: bool) -> ProgressBar {
    if !io::stderr().is_terminal() || dry_run {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("a fixed, valid template");
    let bar = ProgressBar::new(plan.missing_size_bytes()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn conclude(args: &Args, plan: &Plan, tally: Tally, end: End) -> Result<Exit, Complaint> {
    let err = &mut io::stderr().lock();
    for (names, what) in
        [(&plan.unfinished, "unfinished"), (&plan.foreign, "none of dockseal's objects")]
    {
        for name in names.iter().take(NAMED_MAX) {
            let name = printable(Path::new(name));
            let _ = writeln!(err, "{PROGRAM}: note: skipped {name}: {what}");
        }
        if let Some(more @ 1..) = names.len().checked_sub(NAMED_MAX) {
            let _ = writeln!(err, "{PROGRAM}: note: skipped {more} more: {what}");
        }
    }
    if let End::GaveUp { left } = end {
        let message = format!("gave up: too much failed in a row; {left} objects were not tried");
        let complaint = Complaint::text(Exit::Unreachable, message);
        complain(PROGRAM, &complaint.hint("clear it up and start it again; it goes on from here"));
    }
    let exit = tally.exit(end);
    let out = &mut io::stdout().lock();
    if args.json {
        print_json(out, &CopyJson::new(args, plan, tally, end))?;
        return Ok(exit);
    }
    tell(out, args, plan, &tally)?;
    if !args.dry_run && exit == Exit::Ok {
        let to = printable(Path::new(&args.to));
        writeln!(out, "now let an audit look at the copy: dockseal-audit {to} --keyring FILE")?;
    }
    Ok(exit)
}

fn tell(out: &mut impl Write, args: &Args, plan: &Plan, tally: &Tally) -> io::Result<()> {
    let Tally { copied, was_there, replaced, kept_newer, .. } = tally;
    let word = if args.dry_run { "to copy:" } else { "copied:" };
    let size = bytes_for_people(copied.size_bytes);
    writeln!(out, "{word} {} objects, {size}", copied.objects)?;
    let size = bytes_for_people(was_there.size_bytes);
    writeln!(out, "there already, equal: {} objects, {size}", was_there.objects)?;
    if *replaced > 0 {
        let word = if args.dry_run { "to replace, older:" } else { "replaced, older:" };
        writeln!(out, "{word} {replaced} objects")?;
    }
    if *kept_newer > 0 {
        writeln!(out, "kept, newer there: {kept_newer} objects")?;
    }
    if copied.objects > 0 && !args.dry_run {
        let Tally { digest_checked, read_back, acknowledged, .. } = tally;
        let proven = format!("{digest_checked} by the server's digest, {read_back} read back");
        writeln!(out, "proven: {proven}")?;
        if *acknowledged > 0 {
            writeln!(out, "NOT PROVEN, only acknowledged: {acknowledged}")?;
        }
    }
    let (unfinished, foreign) = (plan.unfinished.len(), plan.foreign.len());
    if unfinished + foreign > 0 {
        writeln!(out, "skipped: {unfinished} unfinished, {foreign} none of dockseal's")?;
    }
    if !tally.failures.is_empty() {
        writeln!(out, "FAILED: {} objects", tally.failures.len())?;
    }
    Ok(())
}

/// What `copy --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct CopyJson {
    schema_version: u32,
    from: String,
    to: String,
    dry_run: bool,
    /// With `dry_run`, what would be copied.
    copied: Count,
    was_there: Count,
    replaced: u64,
    kept_newer: u64,
    /// Of what was copied.
    evidence: EvidenceJson,
    skipped: SkippedJson,
    failed_count: usize,
    failures: Vec<FailureJson>,
    /// Not 0 where too much failed in a row.
    not_tried: usize,
}

#[derive(Serialize)]
struct EvidenceJson {
    digest_checked: u64,
    read_back: u64,
    acknowledged: u64,
}

#[derive(Serialize)]
struct SkippedJson {
    unfinished: usize,
    foreign: usize,
}

#[derive(Serialize)]
struct FailureJson {
    key: String,
    error: ErrorJson,
}

impl CopyJson {
    fn new(args: &Args, plan: &Plan, tally: Tally, end: End) -> CopyJson {
        let Tally { digest_checked, read_back, acknowledged, failures, .. } = tally;
        CopyJson {
            schema_version: 1,
            from: args.from.clone(),
            to: args.to.clone(),
            dry_run: args.dry_run,
            copied: tally.copied,
            was_there: tally.was_there,
            replaced: tally.replaced,
            kept_newer: tally.kept_newer,
            evidence: EvidenceJson { digest_checked, read_back, acknowledged },
            skipped: SkippedJson { unfinished: plan.unfinished.len(), foreign: plan.foreign.len() },
            failed_count: failures.len(),
            failures: failures
                .into_iter()
                .map(|(key, complaint)| FailureJson { key, error: ErrorJson::new(complaint) })
                .collect(),
            not_tried: match end {
                End::GaveUp { left } => left,
                End::Tried => 0,
            },
        }
    }
}
