//! `dockseal wait --safe`: ends when every clip is safe, for scripts and eject buttons.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::{open, queue_complaint};
use crate::cli::{Complaint, Exit, print_json, seconds_for_people};
use crate::clip::{Timestamp, printable};
use crate::dock::agent;
use crate::dock::config::Config;
use crate::dock::queue::{QueueError, Reader};
use crate::edge::clock::{self, Instant};

/// How often the queue is looked at.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The mode of a folder with notifications.
const HINTS: &str = "inotify";
/// By now the daemon has looked at what a folder with notifications was hinted at.
const HINTED: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct WaitArguments {
    /// Until every clip is stored in every required bucket; with FOLDER, until every clip that lies
    /// in it is at least sealed on this dock, so that it may be unplugged
    #[arg(long, required = true)]
    safe: bool,
    /// A watch folder of the config
    folder: Option<PathBuf>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Print JSON at the end
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct WaitJson {
    schema_version: u32,
    safe: bool,
    /// Clips that are not.
    waiting_count: u64,
    waited_seconds: u64,
}

/// What is not safe yet.
pub(super) struct Left {
    clips: u64,
    /// Some folder was not looked through since the command began.
    is_unlooked: bool,
}

impl std::fmt::Display for Left {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.clips {
            0 => formatter.write_str("the folder was not looked through yet"),
            clips => {
                write!(formatter, "{} not safe yet", super::clips::count("clip", clips as usize))
            }
        }
    }
}

pub(super) fn wait(config: &Config, arguments: &WaitArguments) -> Result<Exit, Complaint> {
    let folder = arguments.folder.as_deref().map(|path| watched(config, path)).transpose()?;
    let (left, waited_seconds) = until_safe(config, folder, arguments.timeout)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let waiting_count = left.as_ref().map_or(0, |left| left.clips);
        let (schema_version, safe) = (SCHEMA_VERSION, left.is_none());
        let said = WaitJson { schema_version, safe, waiting_count, waited_seconds };
        print_json(&mut out, &said)?;
    } else if let Some(left) = &left {
        let waited = seconds_for_people(waited_seconds);
        writeln!(out, "not safe after {waited}: {left}; why: dockseal why")?;
    } else {
        match folder {
            None => writeln!(out, "safe: every clip is stored")?,
            Some(path) => writeln!(out, "safe to unplug: {}", printable(path))?,
        }
    }
    Ok(if left.is_none() { Exit::Ok } else { Exit::Partial })
}

/// Waits until every clip is stored, or every clip in a folder sealed; says what is not when the
/// time is over, and how many seconds it waited.
pub(super) fn until_safe(
    config: &Config,
    folder: Option<&Path>,
    timeout: Option<u64>,
) -> Result<(Option<Left>, u64), Complaint> {
    let reader = open(config)?;
    let (began, began_at) = (Instant::now(), clock::now());
    let mut told = None;
    loop {
        let left = left(config, &reader, folder, (began_at, began.elapsed() >= HINTED));
        let left = left.map_err(|error| queue_complaint(config, &error))?;
        let waited = began.elapsed().as_secs();
        if left.clips == 0 && !left.is_unlooked {
            return Ok((None, waited));
        }
        if timeout.is_some_and(|limit| waited >= limit) {
            return Ok((Some(left), waited));
        }
        if agent::running(&config.state_dir).ok().flatten().is_none() {
            return Err(Complaint::text(Exit::Failed, "the daemon does not run")
                .hint("nothing goes on without it: systemctl start dockseal; dockseal why"));
        }
        // On a terminal each change is told; in a log nobody wants that.
        let says = left.to_string();
        if told.as_ref() != Some(&says) && io::stderr().is_terminal() {
            writeln!(io::stderr(), "waiting: {says}")?;
            told = Some(says);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The watch folder that is meant.
pub(super) fn watched<'a>(config: &'a Config, path: &Path) -> Result<&'a Path, Complaint> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let watch = config.watches.iter().find(|watch| watch.path == path);
    watch.map(|watch| watch.path.as_path()).ok_or_else(|| {
        let known: Vec<_> = config.watches.iter().map(|watch| printable(&watch.path)).collect();
        Complaint::text(Exit::Failed, format!("no watch folder {}", printable(&path)))
            .hint(format!("the config has: {}", known.join(", ")))
    })
}

fn left(
    config: &Config,
    reader: &Reader,
    folder: Option<&Path>,
    (began, is_hinted): (Timestamp, bool),
) -> Result<Left, QueueError> {
    // What was dropped just before is known once each folder was looked through.
    let looked = reader.folders()?;
    let is_looked = |path: &Path| {
        let mut of = looked.iter().filter(|line| line.path == path && line.problem.is_none());
        of.any(|line| line.looked_at >= began || (is_hinted && line.mode == HINTS))
    };
    let Some(folder) = folder else {
        let is_unlooked = !config.watches.iter().all(|watch| is_looked(&watch.path));
        return Ok(Left { clips: reader.unsafe_count()?, is_unlooked });
    };
    let not_sealed = reader.not_sealed()?;
    let clips = not_sealed.iter().find(|(path, _)| path == folder).map_or(0, |(_, count)| *count);
    Ok(Left { clips, is_unlooked: !is_looked(folder) })
}
