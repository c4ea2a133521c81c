//! `dockseal status`: what is safe and what is not, as one screen, live, as JSON or for a monitor.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::clips::count;
use super::json::SCHEMA_VERSION;
use super::standing::{self, StandingJson};
use super::why::{self, Cause};
use super::{load, open, queue_complaint};
use crate::cli::{Complaint, Exit, print_json, seconds_for_people};
use crate::clip::{State, Timestamp, printable};
use crate::dock::agent::{self, Need};
use crate::dock::config::Config;
use crate::dock::queue::{Amount, HeldLine, QueueError, Reader};
use crate::edge::{clock, fs};

mod line;
mod live;
mod nagios;
mod pace;
mod screen;

use pace::Disk;

#[derive(Args)]
pub(super) struct StatusArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Stay, and show what changes; keys: ?
    #[arg(long)]
    watch: bool,
    /// One line for Nagios, Icinga and their kin, which ends with 0, 1, 2 or 3
    #[arg(long, conflicts_with_all = ["json", "watch"])]
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
    #[serde(flatten)]
    disk: Disk,
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
    problem_seconds: Option<u64>,
    /// The mount point that it lies beneath, or is; null for the root.
    mount_point: Option<String>,
    /// Clips in it that are not sealed yet.
    waiting_count: u64,
    /// Whether all that was in it at the last look is at least sealed on this dock.
    safe_to_unplug: bool,
}

#[derive(Serialize)]
struct BucketJson {
    name: String,
    required: bool,
    receipt_count: u64,
    waiting_count: u64,
    /// Bytes of the sealed files that wait.
    waiting_size_bytes: u64,
    /// How fast it took clips in the last minutes; null where it took none.
    rate_bytes_per_second: Option<u64>,
    /// When all that waits will be stored at this rate.
    drained_seconds: Option<u64>,
    last_receipt_seconds: Option<u64>,
    problem: Option<String>,
    problem_seconds: Option<u64>,
    clock_behind_seconds: Option<i64>,
    /// Whether an operator paused it.
    paused: bool,
}

pub(super) fn command(path: &Path, arguments: &StatusArguments) -> Result<Exit, Complaint> {
    if arguments.check {
        return nagios::check(path, arguments);
    }
    match (arguments.watch, arguments.json) {
        (true, true) => live::stream(path),
        (true, false) => live::watch(path),
        (false, json) => status(&load(path)?, json),
    }
}

pub(super) fn status(config: &Config, json: bool) -> Result<Exit, Complaint> {
    let status = gather(config, &open(config)?)?;
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, &status)?;
    } else {
        let paint = line::Paint::of_terminal(out.is_terminal());
        screen::print(&mut out, &status, paint)?;
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
    let folders = folders(config, reader, now, daemon_pid.is_some())?;
    let standing = standing::gather(config, reader, now)?;
    let buckets = buckets(config, reader, &standing, now)?;
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
        disk: pace::disk(config, reader, now)?,
        standing,
    };
    (status.verdict, status.summary) = verdict(&status);
    Ok(status)
}

/// The worst thing first: what only a person can mend, then what goes on by itself.
fn verdict(status: &StatusJson) -> (&'static str, String) {
    if let Some((words, cause)) = status.standing.closed() {
        return (if cause.is_none() { "ok" } else { "attention" }, words);
    }
    let waiting = not_safe(status).count;
    let operator: u64 = status.held.iter().map(|line| line.operator_count).sum();
    let need = status.standing.needs.first().map(|&need| (need, status.standing.in_words(need)));
    // Before what follows from it: the daemon may have ended, and could not even write down why.
    if let Some((Need::DiskFull, words)) = need {
        return ("attention", words);
    }
    if operator > 0 {
        let verb = if operator == 1 { "needs" } else { "need" };
        let down = if status.daemon_pid.is_none() { ", and the daemon does not run" } else { "" };
        return ("attention", format!("{} {verb} you{down}", count("clip", operator as usize)));
    }
    if status.daemon_pid.is_none() && waiting > 0 {
        let verb = if waiting == 1 { "waits" } else { "wait" };
        let clips = count("clip", waiting as usize);
        let text = format!("the daemon does not run, {clips} {verb}");
        return ("attention", text);
    }
    if let Some((_, words)) = need {
        return ("attention", words);
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
    /// Whether no clip is sealed, for want of room.
    fn is_full(&self) -> bool {
        self.standing.needs.contains(&Need::DiskFull)
    }

    /// Whether an operator paused a bucket.
    fn is_paused(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.paused)
    }

    /// All that waits, and why, worst first.
    pub(super) fn causes(&self) -> Vec<Cause> {
        if let Some((_, cause)) = self.standing.closed() {
            return cause.into_iter().collect();
        }
        let mut causes = Vec::new();
        if self.is_full() {
            causes.push(Cause::of(why::DISK_FULL, None, None));
        }
        if self.daemon_pid.is_none() {
            causes.push(Cause::of(why::DAEMON_DOWN, None, None));
        }
        causes.extend(self.held.iter().map(|held| {
            let reason = held.reason.parse().expect("a code of ours");
            let (bucket, since) = (held.bucket.as_deref(), held.since_seconds);
            let cause = Cause::of_hold(reason, &held.cause, bucket, since, held.operator_count > 0);
            Cause { clip: Some(held.first_clip), count: Some(held.count), ..cause }
        }));
        for folder in &self.folders {
            if let Some(problem) = &folder.problem {
                let what = format!("{}: {problem}", folder.path);
                causes.push(Cause::of(why::FOLDER, Some(what), folder.problem_seconds));
            }
        }
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
    daemon_runs: bool,
) -> Result<Vec<FolderJson>, QueueError> {
    let (known, not_sealed) = (reader.folders()?, reader.not_sealed()?);
    // By now the next look is overdue, and what the last one found says nothing.
    let look_seconds_max = config.rescan_seconds.saturating_mul(3).saturating_add(60);
    let line = |watch: &crate::dock::config::Watch| {
        let known = known.iter().find(|line| line.path == watch.path);
        let looked_seconds = known.map(|line| now.seconds_since(line.looked_at));
        let problem = known.and_then(|line| line.problem.clone());
        let waiting = not_sealed.iter().find(|(path, _)| *path == watch.path);
        let waiting_count = waiting.map_or(0, |(_, count)| *count);
        let is_looked = looked_seconds.is_some_and(|seconds| seconds <= look_seconds_max);
        FolderJson {
            path: printable(&watch.path),
            mode: known.map(|line| line.mode.clone()),
            looked_seconds,
            file_count: known.map_or(0, |line| line.file_count),
            ignored_count: known.map_or(0, |line| line.ignored_count),
            safe_to_unplug: daemon_runs && is_looked && problem.is_none() && waiting_count == 0,
            problem_seconds: known
                .and_then(|line| line.problem_since)
                .map(|since| now.seconds_since(since)),
            problem,
            mount_point: fs::mount_point(&watch.path).map(|point| printable(&point)),
            waiting_count,
        }
    };
    Ok(config.watches.iter().map(line).collect())
}

fn buckets(
    config: &Config,
    reader: &Reader,
    standing: &StandingJson,
    now: Timestamp,
) -> Result<Vec<BucketJson>, QueueError> {
    let (known, uploads) = (reader.buckets()?, reader.uploads()?);
    let mut lines = Vec::new();
    for bucket in &config.buckets {
        let line = known.iter().find(|line| line.name == bucket.name);
        let age = |time: Option<Timestamp>| time.map(|time| now.seconds_since(time));
        let receipt_at = line.and_then(|line| line.receipt_at);
        let receipts = reader.receipts_since(&bucket.name, pace::window(now))?;
        let uploads: Vec<_> = uploads.iter().filter(|sent| sent.bucket == bucket.name).collect();
        let backlog = reader.backlog(&bucket.name)?;
        let rate = pace::rate(&receipts, &uploads, receipt_at, now);
        lines.push(BucketJson {
            name: bucket.name.clone(),
            required: bucket.required,
            receipt_count: reader.receipt_count(&bucket.name)?,
            waiting_count: backlog.count,
            waiting_size_bytes: backlog.size_bytes,
            rate_bytes_per_second: rate,
            drained_seconds: rate.and_then(|rate| pace::drained(&backlog, &uploads, rate)),
            last_receipt_seconds: age(receipt_at),
            problem: line.and_then(|line| line.problem.clone()),
            problem_seconds: age(line.and_then(|line| line.problem_since)),
            clock_behind_seconds: line.and_then(|line| line.behind_seconds),
            paused: standing.is_paused(&bucket.name),
        });
    }
    Ok(lines)
}

/// The clips that are not stored in every required bucket.
fn not_safe(status: &StatusJson) -> Amount {
    let waits = |line: &&StateJson| line.state == "seen" || line.state == "sealed";
    let mut sum = Amount::default();
    for line in status.states.iter().filter(waits) {
        sum.count += line.count;
        sum.size_bytes += line.size_bytes;
    }
    sum
}

/// A difference to a server's time from which on it is told; requests are signed with its time.
pub(super) const CLOCK_WRONG_SECONDS: u64 = 60;

#[cfg(test)]
mod tests;
