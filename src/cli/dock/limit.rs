//! `dockseal limit`: how fast bytes may leave now, and what an operator set in place of it.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::{open, operator, queue_complaint};
use crate::cli::{Complaint, Exit, bytes_for_people, print_json, seconds_for_people};
use crate::clip::{Timestamp, printable};
use crate::dock::config::{Config, Timetable, parse_rate, parse_seconds};
use crate::dock::limits::{Override, Overrides, rates};
use crate::edge::clock;

/// The longest time that an order holds for: a year. What is to stay belongs into the config.
const FOR_SECONDS_MAX: u64 = 366 * 86_400;

#[derive(Args)]
pub(super) struct LimitArguments {
    #[command(subcommand)]
    change: Option<Change>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Change {
    /// Set a rate in place of the timetable's; it holds at once
    Set {
        /// Bytes a second such as "2 MiB/s", or unlimited
        #[arg(required = true)]
        rate: Vec<String>,
        /// For this bucket; without it for the whole dock
        #[arg(long)]
        bucket: Option<String>,
        /// For so long, such as 90s, 15m or 2h; without it until it is cleared
        #[arg(long = "for")]
        duration: Option<String>,
    },
    /// Let the timetable count again
    Clear {
        /// For this bucket; without it for the whole dock
        #[arg(long)]
        bucket: Option<String>,
    },
}

#[derive(Serialize)]
struct LimitJson {
    schema_version: u32,
    /// The whole dock first; its bucket is null.
    limits: Vec<LineJson>,
}

/// Rates are bytes a second; null is no limit.
#[derive(Serialize)]
struct LineJson {
    bucket: Option<String>,
    now: Option<u64>,
    timetable: Option<u64>,
    set: Option<SetJson>,
}

#[derive(Serialize)]
struct SetJson {
    bytes_per_second: Option<u64>,
    /// RFC 3339; null is until it is cleared.
    until: Option<String>,
}

pub(super) fn limit(config: &Config, arguments: &LimitArguments) -> Result<Exit, Complaint> {
    match &arguments.change {
        None => {}
        Some(Change::Set { rate, bucket, duration }) => {
            known(config, bucket.as_deref())?;
            let set = wanted(&rate.join(" "), duration.as_deref())?;
            let result = operator(config)?.set_limit(bucket.as_deref(), set);
            result.map_err(|error| queue_complaint(config, &error))?;
        }
        Some(Change::Clear { bucket }) => {
            let result = operator(config)?.clear_limit(bucket.as_deref());
            let was_set = result.map_err(|error| queue_complaint(config, &error))?;
            if !was_set {
                known(config, bucket.as_deref())?;
                writeln!(io::stderr(), "nothing was set: the timetable counts already")?;
            }
        }
    }
    let overrides = open(config)?.limits().map_err(|error| queue_complaint(config, &error))?;
    show(config, &overrides, arguments.json)
}

pub(super) fn known(config: &Config, bucket: Option<&str>) -> Result<(), Complaint> {
    let Some(name) = bucket else { return Ok(()) };
    if config.bucket(name).is_some() {
        return Ok(());
    }
    let names: Vec<_> = config.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    let name = printable(name.as_ref());
    Err(Complaint::text(Exit::Usage, format!("no bucket `{name}` in the config"))
        .hint(format!("the config has: {}", names.join(", "))))
}

fn wanted(rate: &str, duration: Option<&str>) -> Result<Override, Complaint> {
    let bytes_per_second = parse_rate(rate).map_err(|why| {
        Complaint::text(Exit::Usage, why).hint("for example: dockseal limit set 2 MiB/s --for 2h")
    })?;
    let seconds = duration.map(for_seconds).transpose()?;
    let until = seconds.map(|seconds| clock::now().plus_seconds(seconds));
    Ok(Override { bytes_per_second, until })
}

/// What `--for` says, in seconds.
pub(super) fn for_seconds(text: &str) -> Result<u64, Complaint> {
    let seconds = parse_seconds(text).filter(|seconds| (1..=FOR_SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| {
        let message =
            format!("`{}` is not a time that an order holds for", printable(text.as_ref()));
        Complaint::text(Exit::Usage, message).hint("for example: --for 15m, --for 2h")
    })
}

/// A line of the table: a bucket or the whole dock.
struct Line<'a> {
    bucket: Option<&'a str>,
    now: Option<u64>,
    timetable: Option<u64>,
    set: Option<Override>,
}

fn show(config: &Config, overrides: &Overrides, json: bool) -> Result<Exit, Complaint> {
    let now = clock::now();
    let local = clock::local(now);
    let (all, buckets) = rates(config, overrides, now);
    let line = |bucket, rate, timetable: &Timetable, set: Option<&Override>| {
        let set = set.copied().filter(|set| set.holds(now));
        Line { bucket, now: rate, timetable: timetable.rate_at(local), set }
    };
    let mut lines = vec![line(None, all, &config.limit, overrides.all.as_ref())];
    lines.extend(config.buckets.iter().map(|bucket| {
        let rate = buckets.get(&bucket.name).copied().flatten();
        line(Some(&bucket.name), rate, &bucket.limit, overrides.buckets.get(&bucket.name))
    }));
    let mut out = io::stdout().lock();
    if json {
        let limits = lines.iter().map(LineJson::new).collect();
        print_json(&mut out, &LimitJson { schema_version: SCHEMA_VERSION, limits })?;
        return Ok(Exit::Ok);
    }
    let name = |line: &Line<'_>| line.bucket.unwrap_or("all buckets").to_owned();
    let width = lines.iter().map(|line| name(line).len()).max().unwrap_or(0);
    for line in &lines {
        writeln!(out, "{:width$}  {}", name(line), words(line, now))?;
    }
    if lines.len() > 2 {
        writeln!(out, "a bucket is never faster than all buckets together")?;
    }
    Ok(Exit::Ok)
}

fn words(line: &Line<'_>, now: Timestamp) -> String {
    let rate = rate_for_people(line.now);
    let timetable = rate_for_people(line.timetable);
    match line.set {
        None => format!("{rate}, by the timetable"),
        Some(Override { until: None, .. }) => {
            format!("{rate}, set until it is cleared; the timetable says {timetable}")
        }
        Some(Override { until: Some(until), .. }) => {
            let left = seconds_for_people(until.seconds_left(now));
            format!("{rate}, set until {until} ({left}); the timetable says {timetable}")
        }
    }
}

fn rate_for_people(rate: Option<u64>) -> String {
    rate.map_or_else(|| "unlimited".to_owned(), |rate| format!("{}/s", bytes_for_people(rate)))
}

impl LineJson {
    fn new(line: &Line<'_>) -> LineJson {
        let set = line.set.map(|set| SetJson {
            bytes_per_second: set.bytes_per_second,
            until: set.until.map(|until| until.to_string()),
        });
        let bucket = line.bucket.map(str::to_owned);
        LineJson { bucket, now: line.now, timetable: line.timetable, set }
    }
}
