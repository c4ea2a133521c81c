//! The status object: what a dock says of itself beside its log, signed, and proving nothing.
//!
//! docs/custody.md §9.

use std::fmt;

use super::LogId;
use crate::note::{Note, SignerKey, is_name};

/// The first line. No checkpoint begins so: its origin has the folder `log` in it.
pub const HEAD: &str = "dockseal.status/v1";
/// The verdict of a dock that was taken out of service: it says nothing more.
pub const CLOSED: &str = "closed";
/// Largest note of a status that is read, in bytes.
pub const NOTE_SIZE_MAX: u64 = 16 << 10;
/// Most lines of one kind.
const LINE_COUNT_MAX: usize = 64;
/// Longest word, in bytes.
const WORD_SIZE_MAX: usize = 32;

/// What a dock says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The dock's name.
    pub dock: String,
    /// When it was said, by the dock's clock; whole seconds.
    pub at: jiff::Timestamp,
    /// Within so many seconds the dock means to say the next one.
    pub next_seconds: u64,
    /// The version of the program.
    pub version: String,
    /// The log that it has.
    pub log: LogId,
    /// How many entries of it are in this bucket.
    pub log_size: u64,
    /// `ok`, `waiting` (it goes on by itself), `attention` (a person must act), [`CLOSED`], or a
    /// later word.
    pub verdict: String,
    /// What else than held clips a person must see to, worst first; words of `dockseal why`.
    pub needs: Vec<String>,
    /// Clips that are not in every required bucket.
    pub unsafe_count: u64,
    /// Age of the oldest of them in seconds; 0 where there is none.
    pub oldest_unsafe_seconds: u64,
    /// Of them, those that do not get there by themselves.
    pub at_risk_count: u64,
    /// What waits, by reason.
    pub held: Vec<Held>,
    /// Bytes of the clips that are not in every required bucket.
    pub backlog_bytes: u64,
    /// Bytes that are free where the spool lies, where that is known.
    pub free_bytes: Option<u64>,
    /// The keyring by which the dock seals; none where its config names the recipients.
    pub keyring: Option<KeyringLine>,
    /// How long ago the authority proved that clips of this dock open, as far as it is known.
    pub drilled_seconds: Option<u64>,
}

/// How many clips, or deliveries, wait for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The code of the reason.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// How many of them wait for a person.
    pub operator_count: u64,
}

/// A keyring, as it concerns who looks after a dock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyringLine {
    /// Its revision.
    pub revision: u64,
    /// Days until it expires; negative once it has.
    pub days_left: i64,
}

/// Where the status of a dock lies beneath the bucket's prefix; it is replaced.
pub fn key(dock: &str) -> String {
    format!("{dock}/status")
}

impl Status {
    /// The note of it, signed.
    pub fn sign(&self, key: &SignerKey) -> Note {
        let note = Note::sign(self.to_string(), key);
        assert!(note.to_string().len() as u64 <= NOTE_SIZE_MAX, "short lines, and few");
        note
    }

    /// Reads a note's text. Lines behind those that we know are ignored.
    pub fn parse(text: &str) -> Result<Status, StatusError> {
        let mut lines = Lines { rest: text };
        if lines.line() != Some(HEAD) {
            return Err(StatusError::Head);
        }
        let mut status = Status {
            dock: lines.field("dock")?.to_owned(),
            at: lines.parsed("at")?,
            next_seconds: lines.parsed("next")?,
            version: lines.field("version")?.to_owned(),
            log: LogId([0; 8]),
            log_size: 0,
            verdict: String::new(),
            needs: Vec::new(),
            unsafe_count: 0,
            oldest_unsafe_seconds: 0,
            at_risk_count: 0,
            held: Vec::new(),
            backlog_bytes: 0,
            free_bytes: None,
            keyring: None,
            drilled_seconds: None,
        };
        (status.log, status.log_size) = lines.pair("log")?;
        lines.field("verdict")?.clone_into(&mut status.verdict);
        while let Some(word) = lines.optional("needs") {
            status.needs.push(word.to_owned());
        }
        (status.unsafe_count, status.oldest_unsafe_seconds) = lines.pair("unsafe")?;
        status.at_risk_count = lines.parsed("at-risk")?;
        while let Some(held) = lines.optional("held") {
            status.held.push(Held::parse(held).ok_or(StatusError::Line { word: "held" })?);
        }
        status.backlog_bytes = lines.parsed("backlog")?;
        status.free_bytes = lines.optional_parsed("free")?;
        if let Some(keyring) = lines.optional("keyring") {
            let (revision, days_left) = pair(keyring, "keyring")?;
            status.keyring = Some(KeyringLine { revision, days_left });
        }
        status.drilled_seconds = lines.optional_parsed("drilled")?;
        let is_ours = status.is_fit() && text.starts_with(&status.to_string());
        if is_ours { Ok(status) } else { Err(StatusError::Spelling) }
    }

    /// Whether its words are words and its lines are few.
    fn is_fit(&self) -> bool {
        let mut words = self.needs.iter().chain(self.held.iter().map(|held| &held.reason));
        is_name(&self.dock)
            && is_word(&self.verdict)
            && is_version(&self.version)
            && words.all(|word| is_word(word))
            && self.needs.len().max(self.held.len()) <= LINE_COUNT_MAX
            && self.at_risk_count <= self.unsafe_count
            && self.held.iter().all(|held| held.operator_count <= held.count)
    }
}

impl Held {
    fn parse(text: &str) -> Option<Held> {
        let (reason, counts) = text.split_once(' ')?;
        let (count, operator_count) = pair(counts, "held").ok()?;
        Some(Held { reason: reason.to_owned(), count, operator_count })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\ndock {}\nat {:.0}", self.dock, self.at)?;
        writeln!(f, "next {}\nversion {}", self.next_seconds, self.version)?;
        writeln!(f, "log {} {}\nverdict {}", self.log, self.log_size, self.verdict)?;
        self.needs.iter().try_for_each(|word| writeln!(f, "needs {word}"))?;
        writeln!(f, "unsafe {} {}", self.unsafe_count, self.oldest_unsafe_seconds)?;
        writeln!(f, "at-risk {}", self.at_risk_count)?;
        for Held { reason, count, operator_count } in &self.held {
            writeln!(f, "held {reason} {count} {operator_count}")?;
        }
        writeln!(f, "backlog {}", self.backlog_bytes)?;
        if let Some(bytes) = self.free_bytes {
            writeln!(f, "free {bytes}")?;
        }
        if let Some(KeyringLine { revision, days_left }) = self.keyring {
            writeln!(f, "keyring {revision} {days_left}")?;
        }
        self.drilled_seconds.map_or(Ok(()), |seconds| writeln!(f, "drilled {seconds}"))
    }
}

/// What is not read yet.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn line(&mut self) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        Some(line)
    }

    /// The rest of the next line, where it begins with this word.
    fn optional(&mut self, word: &str) -> Option<&'a str> {
        let value = self.rest.split_once('\n')?.0.strip_prefix(word)?.strip_prefix(' ')?;
        self.line();
        Some(value)
    }

    fn field(&mut self, word: &'static str) -> Result<&'a str, StatusError> {
        self.optional(word).ok_or(StatusError::Line { word })
    }

    fn parsed<T: std::str::FromStr>(&mut self, word: &'static str) -> Result<T, StatusError> {
        self.field(word)?.parse().map_err(|_| StatusError::Line { word })
    }

    fn optional_parsed<T: std::str::FromStr>(
        &mut self,
        word: &'static str,
    ) -> Result<Option<T>, StatusError> {
        let value = self.optional(word).map(str::parse).transpose();
        value.map_err(|_| StatusError::Line { word })
    }

    fn pair<A: std::str::FromStr, B: std::str::FromStr>(
        &mut self,
        word: &'static str,
    ) -> Result<(A, B), StatusError> {
        pair(self.field(word)?, word)
    }
}

fn pair<A: std::str::FromStr, B: std::str::FromStr>(
    text: &str,
    word: &'static str,
) -> Result<(A, B), StatusError> {
    let parsed = || {
        let (first, second) = text.split_once(' ')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    };
    parsed().ok_or(StatusError::Line { word })
}

fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=WORD_SIZE_MAX).contains(&text.len()) && text.chars().all(fits)
}

fn is_version(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-+~".contains(c);
    (1..=WORD_SIZE_MAX).contains(&text.len()) && text.chars().all(fits)
}

/// Why a text is not a status.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Another kind of note, or a later version.
    #[error("not a status: the first line is not {HEAD}")]
    Head,
    /// A line is missing, or its value is none.
    #[error("not a status: the line {word:?} is missing or malformed")]
    Line {
        /// Its first word.
        word: &'static str,
    },
    /// The same meaning in another spelling, or what cannot be.
    #[error("not a status: not in its one spelling")]
    Spelling,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::checkpoint::Checkpoint;
    use crate::custody::entry::Entry;
    use crate::custody::merkle::empty_root;
    use crate::custody::{Head, drill};
    use crate::note::Kind;

    fn status() -> Status {
        let held = |reason: &str, count, operator_count| {
            let reason = reason.to_owned();
            Held { reason, count, operator_count }
        };
        Status {
            dock: "hannover-03".into(),
            at: "2026-11-21T09:00:00Z".parse().expect("a time"),
            next_seconds: 690,
            version: "0.1.0".into(),
            log: LogId([0xab; 8]),
            log_size: 1234,
            verdict: "attention".into(),
            needs: vec!["disk-full".into(), "keyring-ends".into()],
            unsafe_count: 12,
            oldest_unsafe_seconds: 3600,
            at_risk_count: 3,
            held: vec![held("bucket-failed", 4, 0), held("vanished", 2, 2)],
            backlog_bytes: 123_456_789,
            free_bytes: Some(4096),
            keyring: Some(KeyringLine { revision: 7, days_left: -3 }),
            drilled_seconds: Some(7200),
        }
    }

    const TEXT: &str = "dockseal.status/v1\ndock hannover-03\nat 2026-11-21T09:00:00Z\nnext 690\n\
        version 0.1.0\nlog abababababababab 1234\nverdict attention\nneeds disk-full\n\
        needs keyring-ends\nunsafe 12 3600\nat-risk 3\nheld bucket-failed 4 0\nheld vanished 2 2\n\
        backlog 123456789\nfree 4096\nkeyring 7 -3\ndrilled 7200\n";

    #[test]
    fn a_status_is_written_and_read_as_the_document_has_it() {
        assert_eq!(status().to_string(), TEXT);
        assert_eq!(Status::parse(TEXT), Ok(status()));
        let needs = vec![];
        let (free_bytes, keyring, drilled_seconds, held) = (None, None, None, vec![]);
        let least = Status { needs, held, free_bytes, keyring, drilled_seconds, ..status() };
        assert_eq!(Status::parse(&least.to_string()), Ok(least));
        // Of a later version that says more, we read what we know.
        assert_eq!(Status::parse(&format!("{TEXT}more 1\nfree 7\n")), Ok(status()));
        let word = TEXT.replace("attention", "asleep");
        assert_eq!(Status::parse(&word).expect("a word of later").verdict, "asleep");
    }

    #[test]
    fn a_status_has_one_spelling_and_nothing_that_cannot_be() {
        let bad = |from: &str, to: &str| {
            let changed = TEXT.replacen(from, to, 1);
            assert_ne!(changed, TEXT, "{from}");
            Status::parse(&changed).expect_err(to)
        };
        let line = |word| StatusError::Line { word };
        assert_eq!(bad("status/v1", "status/v2"), StatusError::Head);
        assert_eq!(bad("dock hannover-03\n", ""), line("dock"));
        assert_eq!(bad("at 2026-11-21T09:00:00Z", "at noon"), line("at"));
        assert_eq!(bad("log abab", "log ABAB"), line("log"));
        assert_eq!(bad("unsafe 12 3600", "unsafe 12"), line("unsafe"));
        assert_eq!(bad("unsafe 12", "unsafe -12"), line("unsafe"));
        assert_eq!(bad("held vanished 2 2", "held vanished 2"), line("held"));
        assert_eq!(bad("free 4096", "free much"), line("free"));
        assert_eq!(bad("backlog 1", "backlog 99999999999999999999"), line("backlog"));
        for (from, to) in [
            ("T09:00:00Z", "T09:00:00.5Z"),
            ("T09:00:00Z", "T10:00:00+01:00"),
            ("next 690", "next +690"),
            ("next 690", "next 0690"),
            ("keyring 7 -3", "keyring 7 -03"),
            ("dock hannover-03", "dock hannover 03"),
            ("verdict attention", "verdict <b>"),
            ("verdict attention", "verdict a\u{1b}"),
            ("needs disk-full", "needs Überfall.mp4"),
            ("held vanished", "held /srv/dock/a.mp4"),
            ("version 0.1.0", "version 0.1 0"),
            ("at-risk 3", "at-risk 13"),
            ("held vanished 2 2", "held vanished 2 3"),
        ] {
            assert_eq!(bad(from, to), StatusError::Spelling, "{to}");
        }
        let many = "needs disk-full\n".repeat(LINE_COUNT_MAX + 1);
        assert_eq!(bad("needs disk-full\n", &many), StatusError::Spelling);
        // Cut off anywhere before its end, it is none, or another one that says less.
        for end in 0..TEXT.len() {
            if let Ok(cut) = Status::parse(&TEXT[..end]) {
                assert!(TEXT[..end].starts_with(&cut.to_string()), "{end}");
            }
        }
    }

    #[test]
    fn nothing_else_that_is_signed_is_a_status_and_a_status_is_nothing_else() {
        let text = status().to_string();
        assert!(Checkpoint::parse(&text).is_err());
        assert!(drill::Drill::parse(&text).is_err());
        assert!(Entry::decode(text.as_bytes()).is_err());
        let head = Head { log: LogId([1; 8]), size: 3, root: empty_root() };
        // The name that comes nearest.
        let checkpoint = Checkpoint::new("dockseal.status", head).to_string();
        assert_eq!(Status::parse(&checkpoint), Err(StatusError::Head));
    }

    #[test]
    fn the_largest_status_fits_its_bound() {
        let word = "w".repeat(WORD_SIZE_MAX);
        let (count, operator_count) = (u64::MAX, u64::MAX);
        let held = Held { reason: word.clone(), count, operator_count };
        let status = Status {
            dock: "d".repeat(64),
            needs: vec![word; LINE_COUNT_MAX],
            held: vec![held; LINE_COUNT_MAX],
            ..status()
        };
        let key = SignerKey::from_seed(&status.dock, Kind::Note, &[1; 32]).expect("a name");
        let note = Note::parse(status.sign(&key).to_string().as_bytes()).expect("a note");
        assert_eq!(Status::parse(note.verify(&key.verifier()).expect("signed")), Ok(status));
    }
}
