//! The front desk: exit codes, errors with hints, and the only place that prints.

#[cfg(feature = "audit")]
pub mod audit;
#[cfg(feature = "authority")]
pub mod authority;
#[cfg(any(feature = "authority", feature = "audit"))]
mod bucket;
#[cfg(feature = "dock")]
pub mod dock;
#[cfg(any(feature = "authority", feature = "audit"))]
mod html;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::clip::{harmless, is_harmless};
use crate::error::chain;

/// The one table of exit codes; the man pages and docs/operations.md repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// It failed; the message says why.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Done in part: some clips are held, some findings were made.
    Partial = 3,
    /// The config or the state directory is wrong.
    Config = 10,
    /// Another daemon runs on this state directory.
    AlreadyRunning = 11,
    /// No identity given fits the clip.
    NoIdentity = 12,
    /// The clip was tampered with or is cut short.
    Tampered = 13,
    /// A bucket could not be reached.
    Unreachable = 14,
    /// Ended by Ctrl-C or a signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error as the desk prints it: what, which, and what now.
#[derive(Debug)]
pub struct Complaint {
    /// The exit code.
    pub exit: Exit,
    /// One line: what failed, and which.
    pub message: String,
    /// One line: what to do about it.
    pub hint: Option<String>,
}

impl Complaint {
    /// An error with its chain of causes, under a title such as `cannot open the clip`.
    pub fn new(exit: Exit, title: impl fmt::Display, error: &dyn std::error::Error) -> Complaint {
        Complaint::text(exit, format!("{title}: {}", chain(error)))
    }

    /// An error that has no cause but itself.
    pub fn text(exit: Exit, message: impl Into<String>) -> Complaint {
        Complaint { exit, message: message.into(), hint: None }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }
}

impl From<io::Error> for Complaint {
    /// Writing to the terminal or a pipe failed.
    fn from(error: io::Error) -> Complaint {
        // `dockseal list | head` is not a failure: the reader has seen enough.
        let exit = match error.kind() {
            io::ErrorKind::BrokenPipe => Exit::Ok,
            _ => Exit::Failed,
        };
        Complaint::new(exit, "cannot write the output", &error)
    }
}

/// Runs a command and turns what it says into an exit code and, where it failed, into lines on
/// standard error.
pub fn conclude(program: &str, result: Result<Exit, Complaint>) -> ExitCode {
    let complaint = match result {
        Ok(exit) => return exit.into(),
        Err(complaint) => complaint,
    };
    if complaint.exit != Exit::Ok {
        complain(program, &complaint);
    }
    complaint.exit.into()
}

/// Prints an error and its hint on standard error; for commands that go on after one.
pub fn complain(program: &str, complaint: &Complaint) {
    complain_to(&mut io::stderr().lock(), program, complaint);
}

/// As [`complain`], on another's standard error.
fn complain_to(err: &mut impl Write, program: &str, complaint: &Complaint) {
    // Nowhere is left to say that standard error is closed.
    let _ = writeln!(err, "{program}: error: {}", harmless(&complaint.message));
    if let Some(hint) = &complaint.hint {
        let _ = writeln!(err, "{program}: hint: {}", harmless(hint));
    }
}

/// Prints one JSON document and a line feed.
pub fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<(), Complaint> {
    let text = serde_json::to_string_pretty(value).expect("our own shapes are always JSON");
    Ok(writeln!(out, "{}", escaped(&text))?)
}

/// Prints one JSON document as one line: of a stream of them, each line is one.
#[cfg(feature = "dock")]
pub fn print_json_line(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).expect("our own shapes are always JSON");
    writeln!(out, "{}", escaped(&text))?;
    out.flush()
}

/// The same JSON with escapes for what JSON allows in its strings and a terminal obeys, such as
/// U+009B. Outside of strings there is none of it.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || is_harmless(character) {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

/// A number of things for people: `1 clip`, `2 clips`.
pub fn count(word: &str, number: usize) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// A number of bytes for people: `0 B`, `17.2 MiB`.
pub fn bytes_for_people(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number of seconds for people, in its two largest units: `41s`, `3m 20s`, `2d 4h`.
pub fn seconds_for_people(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes_for_people(0), "0 B");
        assert_eq!(bytes_for_people(1023), "1023 B");
        assert_eq!(bytes_for_people(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes_for_people(8 << 30), "8.0 GiB");
        assert_eq!(seconds_for_people(59), "59s");
        assert_eq!(seconds_for_people(3599), "59m 59s");
        assert_eq!(seconds_for_people(100_000), "1d 3h");
    }
}
