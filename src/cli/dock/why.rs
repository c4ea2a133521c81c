//! `dockseal why`: the first cause of whatever waits, in words, and what to do about it.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::status::{self, StatusJson};
use super::{find, load, open};
use crate::cli::{Complaint, Exit, print_json, seconds_for_people};
use crate::clip::{Clip, Plaintext, State, harmless};
use crate::dock::agent::Need;
use crate::dock::config::{Config, EraseWhen};
use crate::edge::bucket::Trouble;
use crate::edge::clock;
use crate::hold::{Hold, Reason, Until};

#[derive(Args)]
pub(super) struct WhyArguments {
    /// Number, beginning of the sealed name, or path; without it: the whole dock
    clip: Option<String>,
    /// Every cause that there is, and what to do about it
    #[arg(long, conflicts_with = "clip")]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A cause that is no hold: its code, what is so, and what to do.
pub(super) type Row = (&'static str, &'static str, &'static str);

pub(super) const DAEMON_DOWN: Row = (
    "daemon-down",
    "the daemon does not run",
    "systemctl start dockseal; why it ended: journalctl -u dockseal -n 20",
);
pub(super) const DISK_FULL: Row = (
    Need::DiskFull.word(),
    "the disk of state_dir is full: no clip is sealed",
    "make room on it (df); never delete in spool/ by hand",
);
pub(super) const LOG_FORKED: Row = (
    Need::LogForked.word(),
    "another dock writes this dock's log; sealing is stopped",
    "find the copy of state_dir that runs elsewhere and stop it; then: dockseal acknowledge",
);
pub(super) const QUEUE_LOST: Row = (
    Need::QueueLost.word(),
    "the queue was lost, and erasing waits",
    "look at the disk (dmesg); when it is clear what happened: dockseal acknowledge",
);
pub(super) const LOG_ANEW: Row = (
    Need::LogAnew.word(),
    "the log begins anew, and erasing waits",
    "was the queue put back from a backup? when that is known: dockseal acknowledge",
);
pub(super) const KEYRING_ENDS: Row = (
    Need::KeyringEnds.word(),
    "the keyring ends soon, or ended",
    "ask the authority: dockseal-authority keyring extend; the file may be exchanged at any time",
);
pub(super) const DRILL_OLD: Row = (
    Need::DrillOld.word(),
    "nobody proved lately that clips open",
    "ask the authority: dockseal-authority drill",
);
pub(super) const FOLDER: Row = (
    Need::Folder.word(),
    "a watch folder cannot be used",
    "is it mounted, and may user dockseal read it? ls -ld, findmnt",
);
pub(super) const BUCKET: Row = (
    "bucket-failing",
    "a bucket fails, and nothing waits for it yet",
    "dockseal check; it is tried again by itself",
);
pub(super) const CLOCK_OFF: Row = (
    "clock-off",
    "the clock differs from a bucket's by a minute or more",
    "timedatectl set-ntp true",
);
pub(super) const WITNESS: Row = (
    "witness-failed",
    "the last checkpoint has no cosignature of the witness",
    "is the witness reachable? it is asked again by itself",
);
pub(super) const LOG_BEHIND: Row = (
    "log-behind",
    "a bucket has not the whole log",
    "dockseal check; it is tried again by itself, and clips do not wait for it",
);
pub(super) const PAUSED: Row = (
    Need::Paused.word(),
    "an operator paused a bucket",
    "when clips may go to it again: dockseal resume",
);
pub(super) const CLOSED_BEHIND: Row = (
    "closed-behind",
    "the dock is closed, and a bucket has not the whole log",
    "dockseal check; then again: dockseal close",
);
const GROWING: Row = (
    "growing",
    "the file may still be written to",
    "it is taken once it has not changed for settle_seconds, or its completion marker is there",
);
const TURN: Row = ("turn", "it waits for its turn", "nothing: it goes on by itself");
const KEPT: Row = (
    "kept",
    "it is stored; the plaintext stays, for erase = \"never\"",
    "nothing: somebody else removes it",
);

/// All of them, worst first.
const ROWS: [Row; 17] = [
    DAEMON_DOWN,
    DISK_FULL,
    LOG_FORKED,
    QUEUE_LOST,
    LOG_ANEW,
    KEYRING_ENDS,
    DRILL_OLD,
    FOLDER,
    BUCKET,
    CLOCK_OFF,
    WITNESS,
    LOG_BEHIND,
    PAUSED,
    CLOSED_BEHIND,
    GROWING,
    TURN,
    KEPT,
];

/// Why something waits.
#[derive(Debug, Serialize)]
pub(super) struct Cause {
    /// The stable word: of a hold, or of a row here.
    pub code: &'static str,
    /// In words, without names of files.
    pub what: String,
    /// Since when, in seconds.
    pub since_seconds: Option<u64>,
    /// What to do.
    pub fix: String,
    /// Whether a person must act.
    pub needs_you: bool,
    /// The first clip that waits because of it, and how many do.
    pub clip: Option<i64>,
    /// How many clips wait because of it.
    pub count: Option<u64>,
}

#[derive(Serialize)]
struct WhyJson {
    schema_version: u32,
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct ListJson {
    schema_version: u32,
    causes: Vec<RowJson>,
}

#[derive(Serialize)]
struct RowJson {
    code: String,
    what: String,
    fix: String,
}

impl Cause {
    /// A cause that is no hold; `what` says more than its row.
    pub(super) fn of(row: Row, what: Option<String>, since_seconds: Option<u64>) -> Cause {
        let needs_you = ![GROWING, TURN, KEPT, BUCKET, LOG_BEHIND, WITNESS].contains(&row);
        let (code, meaning, fix) = row;
        let what = what.unwrap_or_else(|| meaning.to_owned());
        Cause { code, what, since_seconds, fix: fix.into(), needs_you, clip: None, count: None }
    }

    /// What a hold says, of a clip or of its delivery to a bucket. Its cause may name a trouble
    /// with the bucket, whose advice is better.
    pub(super) fn of_hold(
        reason: Reason,
        cause: &str,
        bucket: Option<&str>,
        since_seconds: u64,
        needs_you: bool,
    ) -> Cause {
        let (code, fix) = (reason.code(), advice(reason, cause).into());
        let what = bucket.map_or(cause.to_owned(), |bucket| format!("bucket {bucket}: {cause}"));
        let since_seconds = Some(since_seconds);
        Cause { code, what, since_seconds, fix, needs_you, clip: None, count: None }
    }

    /// `, for 3m 20s`, behind what is so; nothing where that is not known.
    pub(super) fn since(&self) -> String {
        let since = |seconds| format!(", for {}", seconds_for_people(seconds));
        self.since_seconds.map_or(String::new(), since)
    }

    /// What to do, with the clips that wait in the command.
    pub(super) fn command(&self) -> String {
        let Some(clip) = self.clip else { return self.fix.clone() };
        let clips = if self.count == Some(1) { clip.to_string() } else { "--all".to_owned() };
        match self.fix.strip_suffix("then: retry") {
            Some(before) => format!("{before}then: dockseal retry {clips}"),
            None => self.fix.replace("forget CLIP", &format!("forget {clip}")),
        }
    }
}

fn advice(reason: Reason, cause: &str) -> &'static str {
    match reason {
        Reason::BucketFailed | Reason::BucketRefused => {
            Trouble::named_in(cause).map_or(reason.advice(), Trouble::advice)
        }
        reason => reason.advice(),
    }
}

pub(super) fn why(path: &Path, arguments: &WhyArguments) -> Result<Exit, Complaint> {
    let mut out = io::stdout().lock();
    if arguments.list {
        return list(&mut out, arguments.json);
    }
    let config = &load(path)?;
    let reader = open(config)?;
    let status = status::gather(config, &reader)?;
    let clip = arguments.clip.as_ref().map(|text| find(&reader, config, text)).transpose()?;
    let causes = match &clip {
        None => status.causes(),
        Some(clip) => of_clip(clip, config, &status),
    };
    let needs_you = causes.iter().any(|cause| cause.needs_you);
    if arguments.json {
        print_json(&mut out, &WhyJson { schema_version: SCHEMA_VERSION, causes })?;
    } else if !causes.is_empty() {
        causes.iter().try_for_each(|cause| print(&mut out, cause))?;
    } else if let Some(clip) = &clip {
        writeln!(out, "clip {} does not wait: it is {}", clip.id, clip.state().word())?;
    } else {
        writeln!(out, "nothing waits: {}", status.summary)?;
    }
    Ok(if needs_you { Exit::Partial } else { Exit::Ok })
}

fn print(out: &mut impl Write, cause: &Cause) -> io::Result<()> {
    writeln!(out, "{}{}", harmless(&cause.what), cause.since())?;
    match (cause.count, cause.clip) {
        (Some(1), Some(clip)) => writeln!(out, "  holds:  clip {clip}")?,
        (Some(count), Some(clip)) => writeln!(out, "  holds:  {count} clips, the first is {clip}")?,
        _ => {}
    }
    writeln!(out, "  do:     {}", harmless(&cause.command()))?;
    writeln!(out, "  cause:  {}", cause.code)
}

/// Why one clip is not further; what holds up the whole dock comes first.
pub(super) fn of_clip(clip: &Clip, config: &Config, status: &StatusJson) -> Vec<Cause> {
    let now = clock::now();
    let held = |hold: &Hold, bucket: Option<&str>| {
        let (since, needs_you) = (now.seconds_since(hold.since), hold.until == Until::Operator);
        let cause = Cause::of_hold(hold.reason, &hold.cause, bucket, since, needs_you);
        Cause { clip: Some(clip.id.0), count: Some(1), ..cause }
    };
    let mut causes: Vec<_> = clip.hold.iter().map(|hold| held(hold, None)).collect();
    let deliveries = clip.deliveries.iter();
    causes.extend(deliveries.filter_map(|d| Some(held(d.hold.as_ref()?, Some(&d.bucket)))));
    if !causes.is_empty() || clip.state() == State::Erased {
        return causes;
    }
    let waits = match clip.state() {
        State::Seen if clip.settled_at.is_none() => GROWING,
        State::Stored => {
            let watch = clip.source.as_ref().and_then(|source| config.watch(&source.folder));
            let keeps = watch.is_some_and(|watch| watch.erase == EraseWhen::Never);
            match clip.plaintext {
                Plaintext::Present if keeps => KEPT,
                Plaintext::Present => TURN,
                Plaintext::Absent | Plaintext::Changed | Plaintext::Erased => return causes,
            }
        }
        State::Seen | State::Sealed | State::Erased => TURN,
    };
    if waits != KEPT {
        causes.extend(status.causes().into_iter().filter(|cause| cause.count.is_none()));
    }
    causes.push(Cause::of(waits, None, Some(now.seconds_since(clip.seen_at))));
    causes
}

fn list(out: &mut impl Write, json: bool) -> Result<Exit, Complaint> {
    let mut rows: Vec<Row> = ROWS.into();
    rows.extend(Reason::ALL.map(|reason| (reason.code(), "", reason.advice())));
    let mut causes: Vec<_> = rows
        .into_iter()
        .map(|(code, what, fix)| RowJson { code: code.into(), what: what.into(), fix: fix.into() })
        .collect();
    causes.extend(Trouble::ALL.map(|trouble| {
        let reason = match trouble {
            Trouble::Auth => Reason::BucketRefused,
            _ => Reason::BucketFailed,
        };
        let (code, what) = (reason.code().into(), trouble.to_string());
        RowJson { code, what, fix: trouble.advice().into() }
    }));
    if json {
        print_json(out, &ListJson { schema_version: SCHEMA_VERSION, causes })?;
        return Ok(Exit::Ok);
    }
    for RowJson { code, what, fix } in &causes {
        let colon = if what.is_empty() { "" } else { ": " };
        writeln!(out, "{code}{colon}{what}\n  do:     {fix}")?;
    }
    Ok(Exit::Ok)
}
