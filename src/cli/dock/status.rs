//! `dockseal status`: one screen of 80 columns and 24 lines, what needs a person first.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::clips::count;
use super::json::SCHEMA_VERSION;
use super::standing::{self, StandingJson};
use super::why::{self, Cause};
use super::{is_full, load, open, queue_complaint};
use crate::cli::{Complaint, Exit, bytes_for_people, print_json, seconds_for_people};
use crate::clip::{State, Timestamp, is_harmless, printable};
use crate::dock::agent;
use crate::dock::config::Config;
use crate::dock::queue::{HeldLine, QueueError, Reader};
use crate::edge::{clock, fs};

mod nagios;

const WIDTH: usize = 80;
/// The 24th line of the terminal is the shell's.
const LINES_MAX: usize = 23;
/// Reasons that are shown; what is more is counted.
const HELD_COUNT_MAX: usize = 3;

#[derive(Args)]
pub(super) struct StatusArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// One line for Nagios, Icinga and their kin, which ends with 0, 1, 2 or 3
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// With --check: a clip that is not stored after so many seconds is a warning
    #[arg(long, value_name = "SECONDS", requires = "check", default_value_t = 4 * 3600)]
    warning: u64,
    /// With --check: after so many it is critical
    #[arg(long, value_name = "SECONDS", requires = "check", default_value_t = 24 * 3600)]
    critical: u64,
}

/// All that the screen shows. Times are RFC 3339 in UTC, sizes are bytes, ages seconds.
#[derive(Serialize)]
pub(super) struct StatusJson {
    schema_version: u32,
    dock: String,
    now: String,
    /// `ok`, `waiting` (it goes on by itself) or `attention` (a person must act).
    verdict: &'static str,
    pub(super) summary: String,
    /// The daemon's process id; null where none runs.
    daemon_pid: Option<String>,
    /// Age of the oldest clip that is not yet stored in every required bucket.
    oldest_unsafe_seconds: Option<u64>,
    states: Vec<StateJson>,
    held: Vec<HeldJson>,
    folders: Vec<FolderJson>,
    buckets: Vec<BucketJson>,
    spool_free_bytes: Option<u64>,
    #[serde(skip)]
    is_full: bool,
    standing: StandingJson,
}

#[derive(Serialize)]
struct StateJson {
    state: &'static str,
    count: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct HeldJson {
    reason: &'static str,
    bucket: Option<String>,
    count: u64,
    /// How many of them wait for a person.
    operator_count: u64,
    since: String,
    since_seconds: u64,
    first_clip: i64,
    cause: String,
    advice: &'static str,
}

#[derive(Serialize)]
struct FolderJson {
    path: String,
    mode: Option<String>,
    looked_seconds: Option<u64>,
    file_count: u64,
    ignored_count: u64,
    problem: Option<String>,
}

#[derive(Serialize)]
struct BucketJson {
    name: String,
    required: bool,
    receipt_count: u64,
    waiting_count: u64,
    last_receipt_seconds: Option<u64>,
    problem: Option<String>,
    problem_seconds: Option<u64>,
    clock_behind_seconds: Option<i64>,
}

pub(super) fn command(path: &Path, arguments: &StatusArguments) -> Result<Exit, Complaint> {
    if arguments.check {
        return nagios::check(path, arguments);
    }
    status(&load(path)?, arguments.json)
}

pub(super) fn status(config: &Config, json: bool) -> Result<Exit, Complaint> {
    let status = gather(config, &open(config)?)?;
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, &status)?;
    } else {
        print(&mut out, &status)?;
    }
    Ok(if status.verdict == "ok" { Exit::Ok } else { Exit::Partial })
}

/// Reads all that the screen shows.
pub(super) fn gather(config: &Config, reader: &Reader) -> Result<StatusJson, Complaint> {
    read(config, reader).map_err(|error| queue_complaint(config, &error))
}

fn read(config: &Config, reader: &Reader) -> Result<StatusJson, QueueError> {
    let now = clock::now();
    let daemon_pid = agent::running(&config.state_dir).ok().flatten();
    let mut held: Vec<_> = reader.held()?.iter().map(|line| held_json(line, now)).collect();
    // What needs a person first, and of that the oldest.
    held.sort_by(|a, b| (a.operator_count == 0, &a.since).cmp(&(b.operator_count == 0, &b.since)));
    let folders = folders(config, reader, now)?;
    let buckets = buckets(config, reader, now)?;
    let oldest = reader.oldest_unsafe()?;
    let mut status = StatusJson {
        schema_version: SCHEMA_VERSION,
        dock: config.dock.clone(),
        now: now.to_string(),
        verdict: "ok",
        summary: String::new(),
        daemon_pid,
        oldest_unsafe_seconds: oldest.map(|oldest| now.seconds_since(oldest)),
        states: states(reader)?,
        held,
        folders,
        buckets,
        spool_free_bytes: fs::free_bytes(&config.state_dir).ok(),
        is_full: is_full(config),
        standing: standing::gather(config, reader, now)?,
    };
    (status.verdict, status.summary) = verdict(&status);
    Ok(status)
}

/// The worst thing first: what only a person can mend, then what goes on by itself.
fn verdict(status: &StatusJson) -> (&'static str, String) {
    let waiting = waiting_count(status);
    let operator: u64 = status.held.iter().map(|line| line.operator_count).sum();
    let problem = status.folders.iter().find_map(|folder| folder.problem.as_ref());
    if operator > 0 {
        let verb = if operator == 1 { "needs" } else { "need" };
        return ("attention", format!("{} {verb} you", count("clip", operator as usize)));
    }
    // Before what follows from it: the daemon may have ended, and could not even write down why.
    if status.is_full {
        return ("attention", "the disk of state_dir is full: no clip is sealed".to_owned());
    }
    if status.daemon_pid.is_none() && waiting > 0 {
        let text = format!("the daemon does not run, {} wait", count("clip", waiting as usize));
        return ("attention", text);
    }
    if problem.is_some() {
        return ("attention", "a watch folder cannot be used".to_owned());
    }
    if let Some(attention) = status.standing.attention() {
        return ("attention", attention);
    }
    let held: u64 = status.held.iter().map(|line| line.count).sum();
    if held > 0 {
        let text = format!("{} held, tried again by itself", count("clip", held as usize));
        return ("waiting", text);
    }
    match waiting {
        0 => ("ok", "every clip is stored".to_owned()),
        _ => ("ok", format!("{} on the way", count("clip", waiting as usize))),
    }
}

impl StatusJson {
    /// All that waits, and why, worst first.
    pub(super) fn causes(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.is_full {
            causes.push(Cause::of(why::DISK_FULL, None, None));
        }
        if self.daemon_pid.is_none() {
            causes.push(Cause::of(why::DAEMON_DOWN, None, None));
        }
        for folder in &self.folders {
            if let Some(problem) = &folder.problem {
                let what = format!("{}: {problem}", folder.path);
                causes.push(Cause::of(why::FOLDER, Some(what), None));
            }
        }
        causes.extend(self.held.iter().map(|held| {
            let reason = held.reason.parse().expect("a code of ours");
            let (bucket, since) = (held.bucket.as_deref(), held.since_seconds);
            let cause = Cause::of_hold(reason, &held.cause, bucket, since, held.operator_count > 0);
            Cause { clip: Some(held.first_clip), count: Some(held.count), ..cause }
        }));
        causes.extend(self.standing.causes());
        for bucket in &self.buckets {
            let is_told = self.held.iter().any(|held| held.bucket.as_ref() == Some(&bucket.name));
            if let (Some(problem), false) = (&bucket.problem, is_told) {
                let what = format!("bucket {}: {problem}", bucket.name);
                causes.push(Cause::of(why::BUCKET, Some(what), bucket.problem_seconds));
            }
            let off = bucket.clock_behind_seconds.unwrap_or(0);
            if off.unsigned_abs() >= CLOCK_WRONG_SECONDS {
                let (name, side) = (&bucket.name, if off > 0 { "behind" } else { "ahead of" });
                let off = seconds_for_people(off.unsigned_abs());
                let what = format!("the clock is {off} {side} that of bucket {name}");
                causes.push(Cause::of(why::CLOCK_OFF, Some(what), None));
            }
        }
        // What a person must act on comes first; else in the order above.
        causes.sort_by_key(|cause| !cause.needs_you);
        causes
    }
}

fn states(reader: &Reader) -> Result<Vec<StateJson>, QueueError> {
    let found = reader.states()?;
    let line = |state: State| {
        let line = found.iter().find(|line| line.state == state);
        let (count, size_bytes) = line.map_or((0, 0), |line| (line.count, line.size_bytes));
        StateJson { state: state.word(), count, size_bytes }
    };
    Ok([State::Seen, State::Sealed, State::Stored, State::Erased].map(line).into())
}

fn held_json(line: &HeldLine, now: Timestamp) -> HeldJson {
    HeldJson {
        reason: line.reason.code(),
        bucket: line.bucket.clone(),
        count: line.count,
        operator_count: line.operator_count,
        since: line.since.to_string(),
        since_seconds: now.seconds_since(line.since),
        first_clip: line.first.0,
        cause: line.cause.clone(),
        advice: line.reason.advice(),
    }
}

fn folders(
    config: &Config,
    reader: &Reader,
    now: Timestamp,
) -> Result<Vec<FolderJson>, QueueError> {
    let known = reader.folders()?;
    let line = |watch: &crate::dock::config::Watch| {
        let known = known.iter().find(|line| line.path == watch.path);
        FolderJson {
            path: printable(&watch.path),
            mode: known.map(|line| line.mode.clone()),
            looked_seconds: known.map(|line| now.seconds_since(line.looked_at)),
            file_count: known.map_or(0, |line| line.file_count),
            ignored_count: known.map_or(0, |line| line.ignored_count),
            problem: known.and_then(|line| line.problem.clone()),
        }
    };
    Ok(config.watches.iter().map(line).collect())
}

fn buckets(
    config: &Config,
    reader: &Reader,
    now: Timestamp,
) -> Result<Vec<BucketJson>, QueueError> {
    let known = reader.buckets()?;
    let mut lines = Vec::new();
    for bucket in &config.buckets {
        let line = known.iter().find(|line| line.name == bucket.name);
        let (receipt_count, waiting_count) = reader.deliveries(&bucket.name)?;
        let age = |time: Option<Timestamp>| time.map(|time| now.seconds_since(time));
        lines.push(BucketJson {
            name: bucket.name.clone(),
            required: bucket.required,
            receipt_count,
            waiting_count,
            last_receipt_seconds: age(line.and_then(|line| line.receipt_at)),
            problem: line.and_then(|line| line.problem.clone()),
            problem_seconds: age(line.and_then(|line| line.problem_since)),
            clock_behind_seconds: line.and_then(|line| line.behind_seconds),
        });
    }
    Ok(lines)
}

fn waiting_count(status: &StatusJson) -> u64 {
    let waits = |line: &&StateJson| line.state == "seen" || line.state == "sealed";
    status.states.iter().filter(waits).map(|line| line.count).sum()
}

/// The screen: what needs a person, then what else can go wrong, then what is.
fn print(out: &mut impl Write, status: &StatusJson) -> io::Result<()> {
    let mut lines = held_lines(status);
    lines.push(match &status.daemon_pid {
        Some(pid) => format!("daemon    runs (process {pid})"),
        None if waiting_count(status) == 0 => "daemon    does not run".to_owned(),
        None => "daemon    does not run; start it: systemctl start dockseal".to_owned(),
    });
    // Folders and buckets share what is left of the screen; those with a problem come first.
    let states = state_lines(status);
    let room = LINES_MAX - states.len() - lines.len();
    let (folders, buckets) = (status.folders.len(), status.buckets.len());
    let bucket_room = buckets.min(room - folders.min(room / 2));
    let mut folders: Vec<_> = status.folders.iter().collect();
    folders.sort_by_key(|folder| folder.problem.is_none());
    let folders = folders.into_iter().map(|folder| format!("folder    {}", folder_text(folder)));
    lines.extend(fitting(folders.collect(), room - bucket_room));
    let mut buckets: Vec<_> = status.buckets.iter().collect();
    buckets.sort_by_key(|bucket| bucket.problem.is_none());
    let buckets = buckets.into_iter().map(|bucket| format!("bucket    {}", bucket_text(bucket)));
    lines.extend(fitting(buckets.collect(), bucket_room));
    lines.extend(states);
    lines.iter().try_for_each(|line| writeln!(out, "{}", cut(line)))
}

/// The verdict, the first few reasons why clips wait, and what to type next.
fn held_lines(status: &StatusJson) -> Vec<String> {
    let word = match status.verdict {
        "ok" => "OK",
        "waiting" => "WAITING",
        _ => "ATTENTION",
    };
    let mut lines = vec![format!("{word}: {}", status.summary)];
    for held in status.held.iter().take(HELD_COUNT_MAX) {
        let bucket = held.bucket.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let since = seconds_for_people(held.since_seconds);
        let clips = count("clip", held.count as usize);
        lines.push(format!("  {clips} held for {since}: {}{bucket}", held.reason));
        lines.push(format!("    clip {}: {}", held.first_clip, held.cause));
        lines.push(format!("    do: {}", held.advice));
    }
    let rest = status.held.len().saturating_sub(HELD_COUNT_MAX);
    if rest > 0 {
        lines.push(format!("  and for {} more: dockseal list --held", count("reason", rest)));
    }
    if let Some(first) = status.held.first() {
        let clip = first.first_clip;
        lines.push(format!("  next: dockseal show {clip}; when mended: dockseal retry --all"));
    }
    lines
}

/// How many clips are how far, and where.
fn state_lines(status: &StatusJson) -> Vec<String> {
    let state_line = |state: &StateJson| {
        let meaning = match state.state {
            "seen" => "found, not sealed yet",
            "sealed" => "sealed, not in every required bucket yet",
            "stored" => "stored; the plaintext is still in its folder",
            _ => "stored, and the plaintext is gone",
        };
        let size = bytes_for_people(state.size_bytes);
        format!("{:6} {:>8} {size:>11}  {meaning}", state.state, state.count)
    };
    let oldest = match status.oldest_unsafe_seconds {
        Some(seconds) => format!("oldest clip not stored: {}", seconds_for_people(seconds)),
        None => "no clip is waiting to be stored".to_owned(),
    };
    let free = status.spool_free_bytes.map_or("unknown".to_owned(), bytes_for_people);
    let mut lines: Vec<_> = status.states.iter().map(state_line).collect();
    lines.push(format!("spool     {free} free; {oldest}"));
    lines.extend(status.standing.lines());
    lines.push(format!("dock      {}, {}", status.dock, status.now));
    lines
}

/// The first lines, and how many there are more, in so many lines.
fn fitting(mut lines: Vec<String>, room: usize) -> Vec<String> {
    let count = lines.len();
    if count > room {
        let shown = room.saturating_sub(1);
        lines.truncate(shown);
        lines.push(format!("          and {} more: dockseal status --json", count - shown));
    }
    lines
}

fn folder_text(folder: &FolderJson) -> String {
    let state = match (&folder.problem, folder.looked_seconds) {
        (Some(problem), _) => problem.clone(),
        (None, None) => "not looked through yet".to_owned(),
        (None, Some(seconds)) => {
            let mode = folder.mode.as_deref().unwrap_or("poll");
            let age = seconds_for_people(seconds);
            format!("{}, looked {age} ago ({mode})", count("file", folder.file_count as usize))
        }
    };
    // The end of a path tells folders apart; the beginning is often the same.
    let room = WIDTH.saturating_sub(12 + state.chars().count()).max(20);
    let length = folder.path.chars().count();
    let path = match length > room {
        true => format!("…{}", folder.path.chars().skip(length - room + 1).collect::<String>()),
        false => folder.path.clone(),
    };
    format!("{path}: {state}")
}

/// A difference to a server's time from which on it is told; requests are signed with its time.
const CLOCK_WRONG_SECONDS: u64 = 60;

fn bucket_text(bucket: &BucketJson) -> String {
    let required = if bucket.required { "" } else { " (not required)" };
    let state = match (&bucket.problem, bucket.last_receipt_seconds) {
        (Some(problem), _) => {
            let since = seconds_for_people(bucket.problem_seconds.unwrap_or(0));
            format!("failing for {since}: {problem}")
        }
        (None, Some(seconds)) => format!("last receipt {} ago", seconds_for_people(seconds)),
        (None, None) => "not used yet".to_owned(),
    };
    let counts = format!("{} stored, {} waiting", bucket.receipt_count, bucket.waiting_count);
    let clock = match bucket.clock_behind_seconds {
        Some(seconds) if seconds.unsigned_abs() >= CLOCK_WRONG_SECONDS => {
            let side = if seconds > 0 { "behind" } else { "ahead" };
            format!(" our clock is {} {side};", seconds_for_people(seconds.unsigned_abs()))
        }
        Some(_) | None => String::new(),
    };
    format!("{}{required}:{clock} {counts}, {state}", bucket.name)
}

fn cut(text: &str) -> String {
    let clean: String = text.chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect();
    match clean.char_indices().nth(WIDTH) {
        Some(_) => clean.chars().take(WIDTH - 1).chain(['…']).collect(),
        None => clean,
    }
}

#[cfg(test)]
mod tests;
