//! `dockseal list`, `retry` and `forget`.

use std::io::{self, Write};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::json::{ClipJson, SCHEMA_VERSION};
use super::{find, open, operator, queue_complaint, short};
pub(super) use crate::cli::count;
use crate::cli::{Complaint, Exit, bytes_for_people, print_json, seconds_for_people};
use crate::clip::{Clip, State, harmless, printable};
use crate::dock::config::Config;
use crate::dock::queue::{Filter, Held, QueueError, Reader};
use crate::edge::clock;
use crate::hold::{Hold, Reason};

#[derive(Args)]
pub(super) struct ListArguments {
    /// Only clips in this state: seen, sealed, stored or erased
    // In a man page, the list would be a warning of mandoc.
    #[arg(long, value_parser = states(), hide_possible_values = true)]
    state: Option<State>,
    /// Only clips that are held
    #[arg(long)]
    held: bool,
    /// At most so many; 0 is all
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The words of the states, which a mistyped one is told.
fn states() -> impl TypedValueParser<Value = State> {
    let words = [State::Seen, State::Sealed, State::Stored, State::Erased].map(State::word);
    PossibleValuesParser::new(words).map(|word| word.parse().expect("it is one of the words"))
}

#[derive(Serialize)]
struct ListJson {
    schema_version: u32,
    clips: Vec<ClipJson>,
}

pub(super) fn read_failed(error: &QueueError) -> Complaint {
    Complaint::new(Exit::Failed, "cannot read the queue", error)
}

pub(super) fn list(reader: &Reader, arguments: &ListArguments) -> Result<Exit, Complaint> {
    let filter = Filter {
        state: arguments.state,
        held: arguments.held.then_some(Held),
        count_max: (arguments.limit > 0).then_some(arguments.limit),
    };
    let clips = reader.list(&filter).map_err(|error| read_failed(&error))?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let clips = clips.iter().map(ClipJson::new).collect();
        print_json(&mut out, &ListJson { schema_version: SCHEMA_VERSION, clips })?;
        return Ok(Exit::Ok);
    }
    if clips.is_empty() {
        writeln!(out, "no clips")?;
        return Ok(Exit::Ok);
    }
    writeln!(
        out,
        "{:>6}  {:6}  {:>10}  {:12}  {:7}  FILE",
        "CLIP", "STATE", "SIZE", "DIGEST", "SEEN"
    )?;
    let now = clock::now();
    for clip in &clips {
        let digest = clip.sealed.map_or(String::from("-"), |sealed| short(sealed.name));
        let age = seconds_for_people(now.seconds_since(clip.seen_at));
        let size = bytes_for_people(clip.generation.size_bytes);
        let (id, state) = (clip.id.0, clip.state().word());
        writeln!(out, "{id:>6}  {state:6}  {size:>10}  {digest:12}  {age:7}  {}", place(clip))?;
        for hold in holds(clip) {
            writeln!(out, "        held: {}: {}", hold.reason.code(), harmless(&hold.cause))?;
        }
    }
    if clips.len() as u64 == arguments.limit {
        writeln!(out, "the newest {}; all: --limit 0", arguments.limit)?;
    }
    Ok(Exit::Ok)
}

/// Where the plaintext lies, or what became of it.
pub(super) fn place(clip: &Clip) -> String {
    match &clip.source {
        Some(source) => printable(&source.full()),
        None => format!("({})", clip.plaintext.word()),
    }
}

pub(super) fn holds(clip: &Clip) -> impl Iterator<Item = &Hold> {
    clip.hold.iter().chain(clip.deliveries.iter().filter_map(|delivery| delivery.hold.as_ref()))
}

#[derive(Serialize)]
struct RetryJson {
    schema_version: u32,
    retried: Vec<i64>,
}

pub(super) fn retry(
    config: &Config,
    all: bool,
    texts: &[String],
    json: bool,
) -> Result<Exit, Complaint> {
    let reader = open(config)?;
    let clips = if all {
        let filter = Filter { held: Some(Held), ..Filter::default() };
        reader.list(&filter).map_err(|error| read_failed(&error))?
    } else {
        texts.iter().map(|text| find(&reader, config, text)).collect::<Result<_, _>>()?
    };
    let mut operator = operator(config)?;
    let mut out = io::stdout().lock();
    let mut retried = Vec::new();
    for clip in clips {
        if holds(&clip).next().is_none() {
            writeln!(io::stderr(), "clip {} is not held", clip.id)?;
            continue;
        }
        let result = operator.retry(clip.id, clock::now());
        result.map_err(|error| queue_complaint(config, &error))?;
        retried.push(clip.id.0);
    }
    if json {
        print_json(&mut out, &RetryJson { schema_version: SCHEMA_VERSION, retried })?;
    } else {
        writeln!(out, "{} to be tried again", count("clip", retried.len()))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn forget(config: &Config, texts: &[String]) -> Result<Exit, Complaint> {
    let reader = open(config)?;
    let mut operator = operator(config)?;
    let mut out = io::stdout().lock();
    for text in texts {
        let clip = find(&reader, config, text)?;
        let place = place(&clip);
        match (clip.state(), clip.hold.as_ref().map(|hold| hold.reason)) {
            (State::Seen, Some(Reason::Vanished)) => {
                operator.forget(clip.id).map_err(|error| queue_complaint(config, &error))?;
                writeln!(out, "clip {} is off the list: {place}", clip.id)?;
            }
            (State::Stored, Some(Reason::SourceAway)) => {
                let gone = operator.plaintext_is_gone(clip.id, clock::now());
                gone.map_err(|error| queue_complaint(config, &error))?;
                writeln!(
                    out,
                    "clip {} is stored; its plaintext is not waited for: {place}",
                    clip.id
                )?;
            }
            _ => {
                let message = format!("clip {} has not vanished: nothing to acknowledge", clip.id);
                return Err(Complaint::text(Exit::Failed, message)
                    .hint(format!("see what is known of it: dockseal show {}", clip.id)));
            }
        }
    }
    Ok(Exit::Ok)
}
