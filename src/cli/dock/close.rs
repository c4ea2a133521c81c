//! `dockseal close`: takes a dock out of service, once nothing is left to do.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::clips::count;
use super::json::SCHEMA_VERSION;
use super::wait::watched;
use super::why::Cause;
use super::{agent_complaint, log};
use crate::cli::{Complaint, Exit, bytes_for_people, print_json, seconds_for_people};
use crate::clip::{Timestamp, harmless, printable};
use crate::dock::agent::{Closed, Closing, FolderTrouble, Hindrance, Stays, Survey};
use crate::dock::config::Config;
use crate::dock::queue::HeldLine;
use crate::edge::clock;

/// Finishes whatever can be finished.
const FINISH: &str = "dockseal run --until-idle";

#[derive(Args)]
pub(super) struct CloseArguments {
    /// Leave out a watch folder that will never be there again; may be given several times
    #[arg(long, value_name = "FOLDER")]
    without: Vec<PathBuf>,
    /// Say what hinders it, or what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CloseJson {
    schema_version: u32,
    dock: String,
    dry_run: bool,
    /// When the dock was closed, RFC 3339; null where it is not.
    closed: Option<String>,
    /// What must be settled before; empty where nothing hinders.
    hindrances: Vec<HindranceJson>,
    /// Plaintext that stays in its folder, as the config says.
    stays: Vec<StaysJson>,
    /// The log that ended; null where it has not.
    log: Option<LogJson>,
    buckets: Vec<BucketJson>,
    /// Why the last checkpoint has no cosignature, where there is a witness.
    witness_problem: Option<String>,
}

#[derive(Serialize)]
struct HindranceJson {
    /// The stable word.
    code: &'static str,
    what: String,
    fix: String,
}

#[derive(Serialize)]
struct StaysJson {
    folder: Option<String>,
    count: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct LogJson {
    id: String,
    size: u64,
}

#[derive(Serialize)]
struct BucketJson {
    name: String,
    has_log: bool,
    /// `read-back` or `acknowledged`.
    evidence: Option<&'static str>,
    problem: Option<String>,
    /// Whether the status there says that the dock is closed.
    told: bool,
}

pub(super) fn close(config: &Config, arguments: &CloseArguments) -> Result<Exit, Complaint> {
    let without = arguments.without.iter().map(|path| Ok(watched(config, path)?.to_owned()));
    let without = without.collect::<Result<Vec<_>, Complaint>>()?;
    log::begin(Some("error"));
    let complain = |error| agent_complaint(config, &error);
    let closing = Closing::begin(config.clone()).map_err(complain)?;
    let mut survey = closing.look(&without).map_err(complain)?;
    let mut closed = None;
    if survey.hindrances.is_empty() && !arguments.dry_run {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ending = closing.enter().map_err(complain)?;
        closed = runtime.block_on(ending.close()).map_err(complain)?;
        if closed.is_none() {
            survey.hindrances.push(Hindrance::LogAnew);
        }
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        print_json(&mut out, &json(config, arguments, &survey, closed.as_ref()))?;
    } else {
        say(&mut out, config, &survey, closed.as_ref())?;
    }
    Ok(match &closed {
        _ if !survey.hindrances.is_empty() => Exit::Partial,
        Some(closed) if closed.buckets.iter().any(|word| word.arrived.is_err()) => {
            Exit::Unreachable
        }
        Some(_) | None => Exit::Ok,
    })
}

fn say(
    out: &mut impl Write,
    config: &Config,
    survey: &Survey,
    closed: Option<&Closed>,
) -> io::Result<()> {
    let dock = &config.dock;
    if !survey.hindrances.is_empty() {
        let things = count("thing", survey.hindrances.len());
        let verb = if survey.hindrances.len() == 1 { "hinders" } else { "hinder" };
        writeln!(out, "dock {dock} is not closed: {things} {verb} it")?;
        for HindranceJson { code, what, fix } in hindrances(config, survey) {
            writeln!(out, "{}\n  do:     {}\n  cause:  {code}", harmless(&what), harmless(&fix))?;
        }
    }
    for Stays { folder, amount } in &survey.stays {
        let folder = folder.as_deref().map_or("an unknown place".to_owned(), printable);
        let (clips, size) = (count("clip", amount.count as usize), amount.size_bytes);
        let size = bytes_for_people(size);
        writeln!(out, "stays in {folder}, as `erase` says: {clips}, {size}; stored")?;
    }
    match (closed, survey.closed) {
        (Some(closed), _) => say_closed(out, dock, closed),
        (None, Some(at)) => writeln!(out, "dock {dock} was closed at {at}"),
        (None, None) if survey.hindrances.is_empty() => {
            let buckets: Vec<_> = config.buckets.iter().map(|b| b.name.as_str()).collect();
            let buckets = buckets.join(", ");
            writeln!(out, "nothing hinders: `closed` would be the last entry of the log")?;
            writeln!(out, "and go to {buckets}; then dockseal run would refuse to start")
        }
        (None, None) => Ok(()),
    }
}

fn say_closed(out: &mut impl Write, dock: &str, closed: &Closed) -> io::Result<()> {
    let Closed { at, log, size, buckets, witness_problem } = closed;
    writeln!(out, "dock {dock} is closed since {at}: log {log} ended with {size} entries")?;
    for word in buckets {
        let name = &word.bucket;
        let told = if word.is_told { "" } else { "; its status there does not say so yet" };
        match &word.arrived {
            Ok(arrived) => {
                writeln!(out, "bucket {name}: the whole log is there ({}){told}", arrived.word())?;
            }
            Err(problem) => {
                writeln!(out, "bucket {name}: not there yet: {}", harmless(problem))?;
                writeln!(out, "  do:     dockseal check; then again: dockseal close")?;
            }
        }
    }
    if let Some(problem) = witness_problem {
        writeln!(out, "the witness did not cosign the end: {}", harmless(problem))?;
    }
    if buckets.iter().all(|word| word.arrived.is_ok()) {
        writeln!(
            out,
            "next: systemctl disable --now dockseal; then the authority: \
             dockseal-authority keyring retire {dock}"
        )?;
    }
    Ok(())
}

fn json(
    config: &Config,
    arguments: &CloseArguments,
    survey: &Survey,
    closed: Option<&Closed>,
) -> CloseJson {
    let stays = survey.stays.iter().map(|Stays { folder, amount }| StaysJson {
        folder: folder.as_deref().map(printable),
        count: amount.count,
        size_bytes: amount.size_bytes,
    });
    let words = closed.map_or(&[][..], |closed| &closed.buckets);
    let buckets = words.iter().map(|word| BucketJson {
        name: word.bucket.clone(),
        has_log: word.arrived.is_ok(),
        evidence: word.arrived.as_ref().ok().map(|arrived| arrived.word()),
        problem: word.arrived.as_ref().err().cloned(),
        told: word.is_told,
    });
    let at: Option<Timestamp> = closed.map(|closed| closed.at).or(survey.closed);
    CloseJson {
        schema_version: SCHEMA_VERSION,
        dock: config.dock.clone(),
        dry_run: arguments.dry_run,
        closed: at.map(|at| at.to_string()),
        hindrances: hindrances(config, survey),
        stays: stays.collect(),
        log: closed.map(|closed| LogJson { id: closed.log.to_string(), size: closed.size }),
        buckets: buckets.collect(),
        witness_problem: closed.and_then(|closed| closed.witness_problem.clone()),
    }
}

fn hindrances(config: &Config, survey: &Survey) -> Vec<HindranceJson> {
    survey.hindrances.iter().map(|hindrance| in_words(config, hindrance)).collect()
}

/// What is so, and what to do about it.
fn in_words(config: &Config, hindrance: &Hindrance) -> HindranceJson {
    let (code, what, fix) = match hindrance {
        Hindrance::Held(held) => return in_words_of_hold(held),
        Hindrance::Folder { folder, trouble } => in_words_of_folder(folder, trouble),
        Hindrance::Leftovers { bucket, count: number } => {
            let uploads = count("upload", *number as usize);
            let what = format!("bucket {bucket} keeps {uploads} in parts that were given up");
            ("leftovers", what, FINISH.to_owned())
        }
        Hindrance::LogAnew => {
            let what = "the log begins anew, and nobody acknowledged that".to_owned();
            ("log-anew", what, "when it is clear what happened: dockseal acknowledge".to_owned())
        }
        Hindrance::LogBehind { bucket, count, problem } => {
            let because = problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
            let (entries, verb) = if *count == 1 { ("entry", "is") } else { ("entries", "are") };
            let what = format!("{count} {entries} of the log {verb} not in {bucket}{because}");
            let fix = format!("{FINISH}; is {bucket} given up? take it out of the config");
            ("log-behind", what, fix)
        }
        Hindrance::LogForked => {
            let what = "another dock writes this dock's log".to_owned();
            ("log-forked", what, "stop it, then: dockseal acknowledge".to_owned())
        }
        Hindrance::NotErased { count } => {
            let what = format!("{} stored, with the plaintext still to be erased", clips(*count));
            ("not-erased", what, finish())
        }
        Hindrance::NotSealed { count } => {
            ("not-sealed", format!("{} not sealed", clips(*count)), finish())
        }
        Hindrance::NotStored { count } => {
            let what = format!("{} sealed, but not in every required bucket", clips(*count));
            ("not-stored", what, finish())
        }
        Hindrance::Spooled { count: number } => {
            let what = format!("{} in the spool", count("sealed file", *number as usize));
            ("spooled", what, keeping(config.keep_sealed_seconds))
        }
        Hindrance::SpoolStray { count: number, first } => {
            let (files, first) = (count("file", *number as usize), printable(first));
            let what = format!("{files} in the spool that no clip owns: {first}");
            let fix = format!("{FINISH}; what then still lies there, look at it and move it away");
            ("spool-stray", what, fix)
        }
    };
    HindranceJson { code, what, fix }
}

fn in_words_of_folder(folder: &Path, trouble: &FolderTrouble) -> (&'static str, String, String) {
    let shown = printable(folder);
    match trouble {
        FolderTrouble::Away(problem) => {
            let what = format!("folder {shown} cannot be looked through: {problem}");
            ("folder", what, format!("mount it; will it never be back? --without {shown}"))
        }
        FolderTrouble::Ejected => {
            let fix = format!("dockseal eject --undo {shown}; or: --without {shown}");
            ("ejected", format!("folder {shown} was ejected: what is in it?"), fix)
        }
        FolderTrouble::NewFiles { count: number, first } => {
            let (files, first) = (count("file", *number as usize), folder.join(first));
            let verb = if *number == 1 { "is" } else { "are" };
            let what = format!("{files} in {shown} {verb} not sealed: {}", printable(&first));
            ("new-files", what, finish())
        }
        FolderTrouble::Unfinished(number) => {
            let files = count("file", *number as usize);
            let what = format!("{files} in {shown} with the name of an unfinished one (`ignore`)");
            ("unfinished", what, "are they still copied? wait; else remove them".to_owned())
        }
    }
}

fn finish() -> String {
    format!("{FINISH}; what still waits: dockseal why")
}

/// What empties a spool that keeps sealed files for so long.
fn keeping(seconds: u64) -> String {
    if seconds == 0 {
        return finish();
    }
    let kept = seconds_for_people(seconds);
    format!("they stay for {kept}; sooner: keep_sealed = \"0s\" in the config, then {FINISH}")
}

fn clips(number: u64) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", count("clip", number as usize))
}

/// A hold with the advice that `why` gives.
fn in_words_of_hold(held: &HeldLine) -> HindranceJson {
    let since = clock::now().seconds_since(held.since);
    let bucket = held.bucket.as_deref();
    let cause = Cause::of_hold(held.reason, &held.cause, bucket, since, held.operator_count > 0);
    let cause = Cause { clip: Some(held.first.0), count: Some(held.count), ..cause };
    let verb = if held.count == 1 { "is" } else { "are" };
    let clips = count("clip", held.count as usize);
    let what = format!("{clips} {verb} held: {}", cause.what);
    HindranceJson { code: cause.code, what, fix: cause.command() }
}
