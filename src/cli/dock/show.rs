//! `dockseal show`: what is known of one clip, its life step by step, and what it waits for.

use std::io::{self, Write};

use serde::Serialize;

use super::clips::{holds, place, read_failed};
use super::json::{ClipJson, SCHEMA_VERSION};
use super::status::gather;
use super::why::{self, Cause};
use super::{find, open};
use crate::cli::{Complaint, Exit, bytes_for_people, print_json, seconds_for_people};
use crate::clip::{Clip, Plaintext, State, Timestamp, harmless};
use crate::custody::entry::Event;
use crate::dock::config::Config;
use crate::dock::queue::{Numbered, Trace};
use crate::edge::clock;
use crate::hold::{Hold, Until};

#[derive(Serialize)]
struct ShowJson {
    schema_version: u32,
    clip: ClipJson,
    /// What happened to it, oldest first.
    timeline: Vec<StepJson>,
    /// Whether every entry that the log may have of it is in the timeline.
    timeline_is_whole: bool,
    /// How long its plaintext lay on this dock, or lies here by now.
    plaintext_seconds: u64,
    /// How long it took until every required bucket had it; null while they have not.
    safe_after_seconds: Option<u64>,
    /// What it waits for, as `why` has it.
    waits: Vec<Cause>,
}

/// One step of a clip's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct StepJson {
    /// RFC 3339 in UTC.
    at: String,
    /// Since the step before it.
    after_seconds: u64,
    /// The stable word of what happened.
    what: &'static str,
    /// The same in words.
    text: String,
    bucket: Option<String>,
    /// Of a receipt.
    evidence: Option<&'static str>,
    /// Of a sealed clip: the revision; null where the recipients came from the config.
    keyring_revision: Option<u64>,
    /// Where the log says so; null where it has no entry of it, or none was found.
    log_index: Option<u64>,
}

/// A step, before it has its place among the others.
struct Step {
    at: Timestamp,
    /// Of several at the same time, which comes first.
    rank: u8,
    json: StepJson,
}

pub(super) fn show(config: &Config, text: &str, json: bool) -> Result<Exit, Complaint> {
    let reader = open(config)?;
    let clip = find(&reader, config, text)?;
    let trace = reader.trace(&clip).map_err(|error| read_failed(&error))?;
    let now = clock::now();
    let is_over = clip.state() == State::Erased && holds(&clip).next().is_none();
    let waits = match is_over {
        true => Vec::new(),
        false => why::of_clip(&clip, config, &gather(config, &reader)?),
    };
    let shown = ShowJson {
        schema_version: SCHEMA_VERSION,
        clip: ClipJson::new(&clip),
        timeline: timeline(&clip, &trace),
        timeline_is_whole: trace.is_whole,
        plaintext_seconds: clip.gone_at.unwrap_or(now).seconds_since(clip.seen_at),
        safe_after_seconds: clip.stored_at.map(|at| at.seconds_since(clip.seen_at)),
        waits,
    };
    let mut out = io::stdout().lock();
    match json {
        true => print_json(&mut out, &shown)?,
        false => print(&mut out, &clip, &shown, now)?,
    }
    Ok(Exit::Ok)
}

fn print(out: &mut impl Write, clip: &Clip, shown: &ShowJson, now: Timestamp) -> io::Result<()> {
    let mut line = |word: &str, value: String| writeln!(out, "{word:11}  {value}");
    line("clip", format!("{} ({})", clip.id, clip.state().word()))?;
    line("file", place(clip))?;
    line("size", bytes_for_people(clip.generation.size_bytes))?;
    if let Some(sealed) = &clip.sealed {
        line("digest", sealed.name.to_string())?;
        let place = if sealed.in_spool { "in the spool" } else { "no longer in the spool" };
        line("sealed file", format!("{}, {place}", bytes_for_people(sealed.size_bytes)))?;
    }
    let lay = seconds_for_people(shown.plaintext_seconds);
    line("plaintext", format!("{}{lay}", plaintext(clip)))?;
    let waited = seconds_for_people(now.seconds_since(clip.seen_at));
    line(
        "safe",
        match shown.safe_after_seconds {
            Some(seconds) => format!("after {}", seconds_for_people(seconds)),
            None => format!("not yet, for {waited}: not in every required bucket"),
        },
    )?;
    writeln!(out)?;
    for (number, step) in shown.timeline.iter().enumerate() {
        let after = match number {
            0 => String::new(),
            _ => format!("+{}", seconds_for_people(step.after_seconds)),
        };
        let entry = step.log_index.map_or(String::new(), |index| format!("  [log {index}]"));
        writeln!(out, "{}  {after:>8}  {}{entry}", step.at, harmless(&step.text))?;
    }
    if !shown.timeline_is_whole {
        let id = clip.id;
        writeln!(out, "the log may say more of it: dockseal log {id}")?;
    }
    for (number, cause) in shown.waits.iter().enumerate() {
        if number == 0 {
            writeln!(out)?;
        }
        writeln!(out, "waits        {}{}", harmless(&cause.what), cause.since())?;
        writeln!(out, "  do         {}", harmless(&cause.command()))?;
    }
    next_try(out, clip, now)
}

/// What became of the plaintext, before how long it lay here.
fn plaintext(clip: &Clip) -> &'static str {
    match clip.plaintext {
        Plaintext::Absent => "somebody else removed it after ",
        Plaintext::Changed => "written to after it had lain here for ",
        Plaintext::Erased => "erased after ",
        Plaintext::Present => "lies here for ",
    }
}

/// When a hold that ends by itself ends.
fn next_try(out: &mut impl Write, clip: &Clip, now: Timestamp) -> io::Result<()> {
    let next = |hold: &Hold| match hold.until {
        Until::Operator => None,
        Until::Time(time) => Some(time.seconds_left(now)),
    };
    match holds(clip).filter_map(next).min() {
        None => Ok(()),
        Some(seconds) => writeln!(out, "next try     in {}", seconds_for_people(seconds)),
    }
}

/// Every step that queue and log know of, in the order of their times.
fn timeline(clip: &Clip, trace: &Trace) -> Vec<StepJson> {
    let mut entries: Vec<&Numbered> = trace.entries.iter().collect();
    let mut steps = of_the_queue(clip, &mut entries);
    // What only the log remembers.
    steps.extend(entries.into_iter().map(of_an_entry));
    steps.sort_by_key(|step| (step.at, step.rank));
    let mut before = None;
    let place = |step: Step| {
        let after = before.replace(step.at).map_or(0, |before| step.at.seconds_since(before));
        StepJson { after_seconds: after, ..step.json }
    };
    steps.into_iter().map(place).collect()
}

fn step(at: Timestamp, rank: u8, what: &'static str, text: impl Into<String>) -> Step {
    let json = StepJson {
        at: at.to_string(),
        after_seconds: 0,
        what,
        text: text.into(),
        bucket: None,
        evidence: None,
        keyring_revision: None,
        log_index: None,
    };
    Step { at, rank, json }
}

/// The facts of the queue, each with its entry, which is taken from `entries`.
fn of_the_queue(clip: &Clip, entries: &mut Vec<&Numbered>) -> Vec<Step> {
    let mut steps = vec![step(clip.seen_at, 0, "seen", "first seen")];
    // The first one: those behind it are of receipts that came later.
    let is_stored = |one: &&Numbered| matches!(one.entry.event, Event::Stored { .. });
    let stored = clip.stored_at.and_then(|_| entries.iter().position(is_stored));
    let stored = stored.map(|at| entries.remove(at).index);
    let mut take = |is_it: &dyn Fn(&Event) -> bool| {
        let at = entries.iter().rposition(|one| is_it(&one.entry.event))?;
        Some(entries.remove(at).index)
    };
    if let Some(at) = clip.settled_at {
        steps.push(step(at, 1, "settled", "taken as finished"));
    }
    if let Some(sealed) = &clip.sealed {
        let by = sealed.keyring_revision;
        let words = by.map_or("sealed to the recipients of the config".to_owned(), |revision| {
            format!("sealed by revision {revision} of the keyring")
        });
        let mut step = step(sealed.sealed_at, 3, "sealed", words);
        step.json.keyring_revision = by;
        step.json.log_index = take(
            &|event| matches!(event, Event::Sealed { clip: name, .. } if *name == sealed.name),
        );
        steps.push(step);
    }
    for delivery in &clip.deliveries {
        let bucket = &delivery.bucket;
        if let Some(receipt) = &delivery.receipt {
            let evidence = receipt.evidence.word();
            let words = format!("receipt of bucket {bucket}: {evidence}");
            let mut step = step(receipt.stored_at, 5, "receipt", words);
            (step.json.bucket, step.json.evidence) = (Some(bucket.clone()), Some(evidence));
            step.json.log_index = take(&|event| is_receipt_of(event, bucket));
            steps.push(step);
        }
        if let Some(hold) = &delivery.hold {
            steps.push(of_a_hold(clip, hold, Some(bucket), &mut take));
        }
    }
    if let Some(hold) = &clip.hold {
        steps.push(of_a_hold(clip, hold, None, &mut take));
    }
    if let Some(at) = clip.stored_at {
        let mut step = step(at, 6, "stored", "stored in every required bucket");
        step.json.log_index = stored;
        steps.push(step);
    }
    if let Some(at) = clip.gone_at {
        let (what, words) = match clip.plaintext {
            Plaintext::Absent => ("absent", "somebody else removed the plaintext"),
            Plaintext::Changed => ("changed", "written to after it was sealed; a clip of its own"),
            Plaintext::Erased => ("erased", "plaintext erased"),
            Plaintext::Present => ("present", "its plaintext is back"),
        };
        let mut step = step(at, 7, what, words);
        step.json.log_index = take(&|event| {
            matches!(event, Event::Changed { .. } | Event::Erased { .. } | Event::Gone { .. })
        });
        steps.push(step);
    }
    steps
}

/// Whether it is the entry of a receipt that came after the others.
fn is_receipt_of(event: &Event, bucket: &str) -> bool {
    let Event::Stored { receipts, .. } = event else { return false };
    receipts.len() == 1 && receipts[0].bucket == bucket
}

/// The wait of now: when it began, and how often it was tried since.
fn of_a_hold(
    clip: &Clip,
    hold: &Hold,
    bucket: Option<&String>,
    take: &mut impl FnMut(&dyn Fn(&Event) -> bool) -> Option<u64>,
) -> Step {
    let place = bucket.map_or(String::new(), |bucket| format!(" at bucket {bucket}"));
    let tried = match hold.attempts {
        0 | 1 => String::new(),
        attempts => format!(", the first of {attempts} attempts"),
    };
    let words = format!("held{place}{tried}: {}: {}", hold.reason.code(), hold.cause);
    let mut step = step(hold.since, 4, "held", words);
    step.json.bucket = bucket.cloned();
    if hold.until == Until::Operator {
        step.json.log_index = take(&|event| {
            matches!(event, Event::Held { number, reason, bucket: at }
                if *number == clip.id.0 && reason == hold.reason.code() && at.as_ref() == bucket)
        });
    }
    step
}

/// An entry of which the queue knows nothing any more.
fn of_an_entry(one: &Numbered) -> Step {
    let (what, words, bucket) = match &one.entry.event {
        Event::Held { reason, bucket, .. } => {
            let at = bucket.as_ref().map_or(String::new(), |name| format!(" at bucket {name}"));
            ("held", format!("held{at}, until an operator acted: {reason}"), bucket.clone())
        }
        Event::Damaged { .. } => {
            ("damaged", "the sealed file was damaged in the spool".to_owned(), None)
        }
        Event::Sealed { .. } => ("sealed", "sealed; that sealed file is no more".to_owned(), None),
        other => (other.word(), other.word().to_owned(), None),
    };
    let mut step = step(one.entry.at, 2, what, words);
    step.json.bucket = bucket;
    step.json.log_index = Some(one.index);
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{
        ClipId, Delivery, Evidence, Receipt, SealedFile, SealedName, Source, examples,
    };
    use crate::custody::entry::{Entry, ReceiptLine};

    const fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn clip() -> Clip {
        let source = Source { folder: "/srv".into(), path: "a.mp4".into() };
        let generation = examples::generation(2);
        let sealed = SealedFile {
            commitment: [2; 32],
            sealed_at: at(16),
            in_spool: false,
            keyring_revision: Some(7),
            ..examples::sealed(1)
        };
        let receipt = |bucket: &str, seconds| {
            let (bucket, evidence) = (bucket.to_owned(), Evidence::ReadBack);
            let receipt = Receipt { bucket: bucket.clone(), evidence, stored_at: at(seconds) };
            Delivery { bucket, receipt: Some(receipt), hold: None }
        };
        Clip {
            id: ClipId(1),
            settled_at: Some(at(15)),
            sealed: Some(sealed),
            // The slower one comes first in the config.
            deliveries: vec![receipt("a", 50), receipt("b", 20), receipt("c", 60)],
            stored_at: Some(at(50)),
            gone_at: Some(at(3650)),
            plaintext: Plaintext::Erased,
            source: None,
            ..Clip::seen(source, generation, at(10))
        }
    }

    fn entry(index: u64, seconds: i64, event: Event) -> Numbered {
        Numbered { index, entry: Entry::new(at(seconds), event) }
    }

    #[test]
    fn steps_come_in_the_order_of_their_times_with_the_time_between_and_their_entries() {
        let clip_name = SealedName([1; 32]);
        let held = Event::Held { number: 1, reason: "spool-full".into(), bucket: None };
        let late = ReceiptLine { bucket: "c".into(), evidence: "read-back".into() };
        let entries = vec![
            entry(3, 12, held),
            // Written a little after its fact.
            entry(
                5,
                18,
                Event::Sealed {
                    clip: clip_name,
                    number: 1,
                    size: 200,
                    commitment: clip_name,
                    keyring: Some(7),
                },
            ),
            entry(8, 51, Event::Stored { clip: clip_name, receipts: vec![] }),
            entry(9, 60, Event::Stored { clip: clip_name, receipts: vec![late] }),
            entry(10, 3650, Event::Erased { clip: clip_name, plaintext_seconds: 3640 }),
        ];
        let steps = timeline(&clip(), &Trace { entries, is_whole: true });
        let told: Vec<_> = steps
            .iter()
            .map(|step| (step.what, step.after_seconds, step.bucket.as_deref(), step.log_index))
            .collect();
        let expected = [
            ("seen", 0, None, None),
            ("held", 2, None, Some(3)),
            ("settled", 3, None, None),
            ("sealed", 1, None, Some(5)),
            ("receipt", 4, Some("b"), None),
            ("receipt", 30, Some("a"), None),
            ("stored", 0, None, Some(8)),
            ("receipt", 10, Some("c"), Some(9)),
            ("erased", 3590, None, Some(10)),
        ];
        assert_eq!(told, expected);
        assert_eq!(steps[3].at, "1970-01-01T00:00:16Z", "the fact's own time");
        assert_eq!(steps[3].keyring_revision, Some(7));
    }

    #[test]
    fn a_log_that_tells_nothing_leaves_the_facts() {
        let steps = timeline(&clip(), &Trace { entries: vec![], is_whole: false });
        assert_eq!(steps.len(), 8);
        assert!(steps.iter().all(|step| step.log_index.is_none()));
    }
}
