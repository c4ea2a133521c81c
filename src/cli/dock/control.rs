//! `dockseal pause`, `resume`, `prioritise` and `eject`: orders to a daemon that runs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::limit::{for_seconds, known};
use super::wait::{self, watched};
use super::{find, open, operator, queue_complaint};
use crate::cli::{Complaint, Exit, print_json, seconds_for_people};
use crate::clip::{Timestamp, printable};
use crate::dock::agent;
use crate::dock::config::Config;
use crate::dock::queue::{OrderEnd, Orders, Reader};
use crate::edge::clock::{self, Instant};

/// The daemon follows an order within a round of a second, and ends a block that it reads.
const FOLLOWED_SECONDS_MAX: u64 = 60;

#[derive(Args)]
pub(super) struct PauseArguments {
    /// The bucket; without it all of them
    bucket: Option<String>,
    /// For so long, such as 90s, 15m or 2h; without it until it is resumed
    #[arg(long = "for")]
    duration: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ResumeArguments {
    /// The bucket; without it all of them
    bucket: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PrioritiseArguments {
    /// Numbers, beginnings of sealed names, or paths
    #[arg(required = true)]
    clips: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct EjectArguments {
    /// A watch folder of the config
    folder: PathBuf,
    /// Have the daemon look into it again now
    #[arg(long, conflicts_with_all = ["now", "duration", "timeout"])]
    undo: bool,
    /// Without waiting until every clip in it is sealed
    #[arg(long)]
    now: bool,
    /// The daemon looks into it again after so long, such as 90s, 15m or 2h
    #[arg(long = "for", default_value = "10m")]
    duration: String,
    /// Give up waiting for clips after so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Print JSON at the end
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PausesJson {
    schema_version: u32,
    paused: Vec<PauseJson>,
}

/// A bucket that is paused.
#[derive(Serialize)]
pub(super) struct PauseJson {
    pub(super) bucket: String,
    /// RFC 3339; null is until it is resumed.
    pub(super) until: Option<String>,
}

#[derive(Serialize)]
struct PrioritisedJson {
    schema_version: u32,
    prioritised: Vec<i64>,
}

#[derive(Serialize)]
struct EjectedJson {
    schema_version: u32,
    ejected: bool,
    /// RFC 3339.
    until: Option<String>,
}

pub(super) fn pause(config: &Config, arguments: &PauseArguments) -> Result<Exit, Complaint> {
    known(config, arguments.bucket.as_deref())?;
    let seconds = arguments.duration.as_deref().map(for_seconds).transpose()?;
    let end = OrderEnd(seconds.map(|seconds| clock::now().plus_seconds(seconds)));
    let paused = operator(config)?.pause(arguments.bucket.as_deref(), end);
    paused.map_err(|error| queue_complaint(config, &error))?;
    show_pauses(config, arguments.json)
}

pub(super) fn resume(config: &Config, arguments: &ResumeArguments) -> Result<Exit, Complaint> {
    let bucket = arguments.bucket.as_deref();
    let resumed = operator(config)?.resume(bucket);
    if !resumed.map_err(|error| queue_complaint(config, &error))? {
        known(config, bucket)?;
        let orders = orders(config, &open(config)?)?;
        match bucket.filter(|_| orders.all_paused.is_some_and(|end| end.holds(clock::now()))) {
            None => writeln!(io::stderr(), "nothing was paused")?,
            Some(_) => {
                return Err(Complaint::text(Exit::Failed, "all buckets are paused together")
                    .hint("go on with all of them: dockseal resume"));
            }
        }
    }
    show_pauses(config, arguments.json)
}

fn orders(config: &Config, reader: &Reader) -> Result<Orders, Complaint> {
    reader.orders().map_err(|error| queue_complaint(config, &error))
}

/// The buckets of the config that are paused.
pub(super) fn pauses(config: &Config, orders: &Orders, now: Timestamp) -> Vec<PauseJson> {
    let paused = config.buckets.iter().filter_map(|bucket| {
        let OrderEnd(until) = orders.pause(&bucket.name, now)?;
        let until = until.map(|until| until.to_string());
        Some(PauseJson { bucket: bucket.name.clone(), until })
    });
    paused.collect()
}

fn show_pauses(config: &Config, json: bool) -> Result<Exit, Complaint> {
    let paused = pauses(config, &orders(config, &open(config)?)?, clock::now());
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, &PausesJson { schema_version: SCHEMA_VERSION, paused })?;
        return Ok(Exit::Ok);
    }
    if paused.is_empty() {
        writeln!(out, "no bucket is paused")?;
    }
    for PauseJson { bucket, until } in &paused {
        let until = until.as_deref().unwrap_or("it is resumed");
        writeln!(out, "{bucket} is paused until {until}: clips are sealed, and wait for it")?;
    }
    Ok(Exit::Ok)
}

pub(super) fn prioritise(
    config: &Config,
    arguments: &PrioritiseArguments,
) -> Result<Exit, Complaint> {
    let reader = open(config)?;
    let clips = arguments.clips.iter().map(|text| find(&reader, config, text));
    let clips = clips.collect::<Result<Vec<_>, _>>()?;
    let mut operator = operator(config)?;
    let mut prioritised = Vec::new();
    let mut said = Vec::new();
    for clip in &clips {
        let left = operator.prioritise(clip.id).map_err(|error| queue_complaint(config, &error))?;
        said.push(match left {
            None => format!("clip {} goes first once it is sealed", clip.id),
            Some(0) => format!("clip {} is in every bucket already", clip.id),
            Some(_) => format!("clip {} goes first now", clip.id),
        });
        if left != Some(0) {
            prioritised.push(clip.id.0);
        }
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        print_json(&mut out, &PrioritisedJson { schema_version: SCHEMA_VERSION, prioritised })?;
    } else {
        said.iter().try_for_each(|said| writeln!(out, "{said}"))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn eject(config: &Config, arguments: &EjectArguments) -> Result<Exit, Complaint> {
    let folder = watched(config, &arguments.folder)?;
    let shown = printable(folder);
    if arguments.undo {
        let taken = operator(config)?.take_back(folder);
        let was_ejected = taken.map_err(|error| queue_complaint(config, &error))?;
        let words =
            if was_ejected { "the daemon looks into it again" } else { "it was not ejected" };
        return say(arguments, &format!("{shown}: {words}"), None, Exit::Ok);
    }
    let until = clock::now().plus_seconds(for_seconds(&arguments.duration)?);
    if !arguments.now {
        let (left, _) = wait::until_safe(config, Some(folder), arguments.timeout)?;
        if let Some(left) = left {
            let words = format!("not ejected: {left}; why: dockseal why");
            return say(arguments, &words, None, Exit::Partial);
        }
    }
    let ordered_at = clock::now();
    let ordered = operator(config)?.eject(folder, OrderEnd(Some(until)));
    ordered.map_err(|error| queue_complaint(config, &error))?;
    wait_until_let_go(config, folder, ordered_at)?;
    let left = seconds_for_people(until.seconds_left(clock::now()));
    let words = format!(
        "{shown} may be unmounted and unplugged now; the daemon looks into it again in {left}, or \
         after: dockseal eject --undo {shown}"
    );
    say(arguments, &words, Some(until), Exit::Ok)
}

fn say(
    arguments: &EjectArguments,
    words: &str,
    until: Option<Timestamp>,
    exit: Exit,
) -> Result<Exit, Complaint> {
    let mut out = io::stdout().lock();
    if arguments.json {
        let (ejected, until) = (until.is_some(), until.map(|until| until.to_string()));
        print_json(&mut out, &EjectedJson { schema_version: SCHEMA_VERSION, ejected, until })?;
    } else {
        writeln!(out, "{words}")?;
    }
    Ok(exit)
}

/// Until the daemon says that nothing in the folder is open.
fn wait_until_let_go(config: &Config, folder: &Path, ordered: Timestamp) -> Result<(), Complaint> {
    let (reader, began) = (open(config)?, Instant::now());
    loop {
        if agent::running(&config.state_dir).ok().flatten().is_none() {
            // Nobody has anything open, and the order waits for the next start.
            return Ok(());
        }
        let lines = reader.folders().map_err(|error| queue_complaint(config, &error))?;
        let is_let_go = lines.iter().any(|line| {
            line.path == folder && line.mode == agent::EJECTED && line.looked_at >= ordered
        });
        if is_let_go {
            return Ok(());
        }
        if began.elapsed().as_secs() > FOLLOWED_SECONDS_MAX {
            return Err(Complaint::text(Exit::Failed, "the daemon does not let go of the folder")
                .hint(
                    "does the medium hang? dmesg; what the daemon does: journalctl -u dockseal",
                ));
        }
        std::thread::sleep(wait::INTERVAL);
    }
}
