//! `dockseal status --check`: one line by the rules for monitoring plugins.
//!
//! <https://www.monitoring-plugins.org/doc/guidelines.html>: the state in words and as exit code
//! (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN), and behind `|` figures as
//! `label=value[unit];[warning];[critical];[minimum]`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use super::{StatusArguments, StatusJson, gather, load, open};
use crate::cli::{Complaint, Exit};
use crate::clip::harmless;

/// A state, its word, and the exit code that says the same here: not the codes of other commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fine,
    Warning,
    Critical,
    Unknown,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Fine => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        }
    }

    fn exit(self) -> Exit {
        match self {
            Level::Fine => Exit::Ok,
            Level::Warning => Exit::Failed,
            Level::Critical => Exit::Usage,
            Level::Unknown => Exit::Partial,
        }
    }
}

pub(super) fn check(path: &Path, arguments: &StatusArguments) -> Result<Exit, Complaint> {
    let gathered = || -> Result<StatusJson, Complaint> {
        let config = load(path)?;
        gather(&config, &open(&config)?)
    };
    let (level, text) = match gathered() {
        Ok(status) => {
            let level = level(&status, arguments.warning, arguments.critical);
            (level, line(&status, level, arguments))
        }
        Err(complaint) => (Level::Unknown, format!("{}\n", complaint.message)),
    };
    write!(io::stdout().lock(), "DOCKSEAL {} - {text}", level.word())?;
    Ok(level.exit())
}

/// What a person must act on is critical; what goes on by itself is a warning; and so is a clip
/// that is not stored for too long, whatever the reason.
pub(super) fn level(status: &StatusJson, warning: u64, critical: u64) -> Level {
    let age = status.oldest_unsafe_seconds.unwrap_or(0);
    let by_age = match age {
        _ if age >= critical => Level::Critical,
        _ if age >= warning => Level::Warning,
        _ => Level::Fine,
    };
    let by_verdict = match status.verdict {
        // Nobody looks for clips.
        _ if status.daemon_pid.is_none() && !status.standing.is_closed() => Level::Critical,
        "ok" => Level::Fine,
        "waiting" => Level::Warning,
        _ => Level::Critical,
    };
    by_age.max(by_verdict)
}

/// The first line with the figures, then the causes, one a line.
fn line(status: &StatusJson, level: Level, arguments: &StatusArguments) -> String {
    let causes = status.causes();
    let what = match causes.first() {
        Some(cause) if level > Level::Fine => format!("{} ({})", cause.what, cause.code),
        _ => status.summary.clone(),
    };
    let mut text = format!("{} | ", plain(&what));
    let (warning, critical) = (arguments.warning, arguments.critical);
    let age = status.oldest_unsafe_seconds.unwrap_or(0);
    let _ = write!(text, "oldest={age}s;{warning};{critical};0");
    for state in &status.states {
        let _ = write!(text, " {}={};;;0", state.state, state.count);
    }
    let held: u64 = status.held.iter().map(|held| held.count).sum();
    let _ = write!(text, " held={held};;;0");
    if let Some(free) = status.spool_free_bytes {
        let _ = write!(text, " spool_free={free}B;;;0");
    }
    text.push('\n');
    for cause in causes {
        let _ = writeln!(text, "{}: {}; do: {}", cause.code, plain(&cause.what), cause.fix);
    }
    text
}

/// Without what means something in a plugin's output.
fn plain(text: &str) -> String {
    harmless(text).replace(['|', '\n'], " ")
}
