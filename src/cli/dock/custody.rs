//! `dockseal log` and `dockseal acknowledge`: the custody log at the desk.

use std::io::{self, Write};

use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::{find, open, queue_complaint, queue_path, short};
use crate::cli::{Complaint, Exit, print_json, seconds_for_people};
use crate::clip::{SealedName, Timestamp};
use crate::custody::entry::Event;
use crate::dock::agent;
use crate::dock::config::Config;
use crate::dock::queue::{Numbered, Operator, QueueError, Reader};
use crate::edge::clock;

/// Entries that are read at once.
const PAGE_SIZE: u64 = 1024;

#[derive(clap::Args)]
pub(super) struct LogArguments {
    /// Only entries of this clip: number, beginning of the sealed name, or path
    clip: Option<String>,
    /// At most so many entries
    #[arg(short = 'n', long, default_value_t = 50)]
    count: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct LogJson {
    schema_version: u32,
    log: String,
    size: u64,
    entries: Vec<EntryJson>,
}

#[derive(Serialize)]
struct EntryJson {
    index: u64,
    #[serde(flatten)]
    entry: crate::custody::entry::Entry,
}

pub(super) fn log(config: &Config, arguments: &LogArguments) -> Result<Exit, Complaint> {
    let reader = open(config)?;
    let failed = |error: QueueError| Complaint::new(Exit::Failed, "cannot read the queue", &error);
    let clip = match &arguments.clip {
        None => None,
        Some(text) => Some(find(&reader, config, text)?),
    };
    let name = clip.as_ref().and_then(|clip| clip.sealed).map(|sealed| sealed.name);
    let number = clip.as_ref().map(|clip| clip.id.0);
    let wanted = |event: &Event| match (number, event) {
        (None, _) => true,
        // Also what it was sealed as before that was damaged.
        (
            Some(number),
            Event::Held { number: of, .. }
            | Event::Forgotten { number: of }
            | Event::Sealed { number: of, .. },
        ) => *of == number,
        (Some(_), event) => event.clip().is_some() && event.clip() == name,
    };
    let (log, size) = reader.log().map_err(failed)?;
    let entries = newest(&reader, size, arguments.count, wanted).map_err(failed)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let entries =
            entries.into_iter().map(|Numbered { index, entry }| EntryJson { index, entry });
        let json = LogJson {
            schema_version: SCHEMA_VERSION,
            log: log.to_string(),
            size,
            entries: entries.collect(),
        };
        print_json(&mut out, &json)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    for Numbered { index, entry } in &entries {
        let ago = ago(now, entry.at);
        writeln!(out, "{index:>6}  {}  {ago:>10}  {}", entry.at, in_words(&entry.event))?;
    }
    writeln!(out, "log {log}, {size} entries")?;
    Ok(Exit::Ok)
}

/// The newest entries that are wanted, newest first.
fn newest(
    reader: &Reader,
    size: u64,
    count: u64,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Vec<Numbered>, QueueError> {
    let (mut entries, mut end) = (Vec::new(), size);
    while end > 0 && (entries.len() as u64) < count {
        let from = end.saturating_sub(PAGE_SIZE);
        let page = reader.entries(from, end - from)?;
        let page = page.into_iter().rev().filter(|numbered| wanted(&numbered.entry.event));
        entries.extend(page.take(count as usize - entries.len()));
        end = from;
    }
    Ok(entries)
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", seconds_for_people(now.seconds_since(then)))
}

/// An entry as a sentence.
fn in_words(event: &Event) -> String {
    let clip = |name: &SealedName| format!("clip {}", short(*name));
    match event {
        Event::Acknowledged => "an operator acknowledged a new log, or a clock set back".into(),
        Event::Alive => "the dock runs".into(),
        Event::Changed { clip: name } => format!("{} was written to after sealing", clip(name)),
        Event::Closed => "the dock was taken out of service".into(),
        Event::Damaged { clip: name } => format!("{} was damaged in the spool", clip(name)),
        Event::Erased { clip: name, plaintext_seconds } => {
            let lay = seconds_for_people(*plaintext_seconds);
            format!("{} erased; its plaintext lay here for {lay}", clip(name))
        }
        Event::Forgotten { number } => format!("clip number {number} was given up as vanished"),
        Event::Gone { clip: name } => format!("{}: somebody removed its plaintext", clip(name)),
        Event::Held { number, reason, bucket } => {
            let at = bucket.as_ref().map_or(String::new(), |bucket| format!(" at bucket {bucket}"));
            format!("clip number {number} waits for an operator{at}: {reason}")
        }
        Event::Keyring { revision, .. } => format!("keyring revision {revision} is in use"),
        Event::Sealed { clip: name, number, .. } => {
            format!("clip number {number} sealed as {}", short(*name))
        }
        Event::Started { previous: None, .. } => "the log begins".into(),
        Event::Started { previous: Some(previous), .. } => {
            let (log, size) = (&previous.log, previous.size);
            format!("the log begins anew; log {log} ended with {size} entries or more")
        }
        Event::Stored { clip: name, receipts } => {
            let buckets: Vec<_> = receipts.iter().map(|receipt| receipt.bucket.as_str()).collect();
            format!("{} stored in {}", clip(name), buckets.join(", "))
        }
    }
}

pub(super) fn acknowledge(config: &Config) -> Result<Exit, Complaint> {
    let failed = |error: QueueError| queue_complaint(config, &error);
    let path = queue_path(config);
    let reader = open(config)?;
    let forked = reader.forked().map_err(failed)?;
    let mut out = io::stdout().lock();
    let latest = reader.latest().map_err(failed)?;
    let was_ahead = clock::now() < latest;
    if forked.is_none() && !reader.is_unacknowledged().map_err(failed)? && !was_ahead {
        writeln!(out, "nothing to acknowledge: the log continues")?;
        return Ok(Exit::Ok);
    }
    let head = agent::remembered_head(&config.state_dir)
        .map_err(|error| Complaint::new(Exit::Config, "cannot read the state directory", &error))?;
    let mut operator = Operator::open(&path, &config.dock).map_err(failed)?;
    operator.acknowledge(&config.dock, head).map_err(failed)?;
    writeln!(out, "acknowledged, and the auditor sees it in the log; sealing and erasing go on")?;
    if forked.is_some() {
        writeln!(out, "a new log began; start the daemon again: systemctl start dockseal")?;
    }
    Ok(Exit::Ok)
}
