//! The text of a keyring: one fact a line, in one order, with one spelling. docs/custody.md §2.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::{DOCK_COUNT_MAX, Days, Enrolled, Keyring, Member, RECIPIENT_COUNT_MAX, Role};
use crate::clip::is_plain_name;
use crate::envelope::recipient::{Recipient, RecipientError, Recipients, RecipientsError};
use crate::note::{KeyError, Kind, VerifierKey};

/// The first line.
pub const HEAD: &str = "dockseal.keyring/v1";
/// Stands for "without days".
const ALWAYS: &str = "always";

impl fmt::Display for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        writeln!(f, "authority {}", self.authority)?;
        writeln!(f, "revision {}", self.revision)?;
        writeln!(f, "issued {:.0}", self.issued)?;
        writeln!(f, "expires {}", self.expires)?;
        writeln!(f, "retention-days {}", self.retention_days)?;
        for Member { role, days, recipient } in &self.members {
            let days = days.map_or(ALWAYS.into(), |days| format!("{} {}", days.from, days.until));
            writeln!(f, "recipient {} {days} {recipient}", role.as_str())?;
        }
        for Enrolled { key, days } in &self.docks {
            writeln!(f, "dock {} {} {key}", days.from, days.until)?;
        }
        if let Some(successor) = &self.successor {
            writeln!(f, "successor {successor}")?;
        }
        Ok(())
    }
}

/// Reads what [`Keyring`] displays, and nothing else: a text has one meaning, and a meaning one
/// text.
pub(super) fn parse(text: &str) -> Result<Keyring, KeyringError> {
    let keyring = parse_lines(text)?;
    check(&keyring)?;
    if keyring.to_string() == text { Ok(keyring) } else { Err(KeyringError::Spelling) }
}

/// Reads the lines; the rules that no single line shows are not looked at.
pub(super) fn parse_lines(text: &str) -> Result<Keyring, KeyringError> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line)).peekable();
    match lines.next() {
        Some((_, HEAD)) => {}
        Some((_, head)) if head.starts_with("dockseal.keyring/") => {
            return Err(KeyringError::Version);
        }
        _ => return Err(KeyringError::Head),
    }
    let mut field = |word: &'static str| {
        let next = lines.next_if(|(_, line)| value(line, word).is_some());
        let (line, text) = next.ok_or(KeyringError::Missing { word })?;
        Ok((line, value(text, word).expect("just looked")))
    };
    let (line, authority) = field("authority")?;
    let authority = key(line, authority)?;
    let (line, revision) = field("revision")?;
    let revision = number(line, revision)?;
    let (line, issued) = field("issued")?;
    let issued = time(line, issued)?;
    let (line, expires) = field("expires")?;
    let expires = date(line, expires)?;
    let (line, retention) = field("retention-days")?;
    let retention = number(line, retention)?;
    let retention_days = u32::try_from(retention).map_err(|_| KeyringError::Line { line })?;
    let (mut members, mut docks, mut successor) = (Vec::new(), Vec::new(), None);
    for (line, text) in lines {
        if let Some(text) = value(text, "recipient") {
            members.push(member(line, text)?);
        } else if let Some(text) = value(text, "dock") {
            docks.push(dock(line, text)?);
        } else if let Some(text) = value(text, "successor") {
            successor = Some(key(line, text)?);
        } else {
            return Err(KeyringError::Line { line });
        }
    }
    Ok(Keyring { authority, revision, issued, expires, retention_days, members, docks, successor })
}

/// The rules that no single line shows.
pub(super) fn check(keyring: &Keyring) -> Result<(), KeyringError> {
    let Keyring { members, docks, .. } = keyring;
    if members.len() > RECIPIENT_COUNT_MAX || docks.len() > DOCK_COUNT_MAX {
        return Err(KeyringError::TooMany);
    }
    let day_count = members.iter().filter(|member| member.days.is_some()).count();
    if day_count != 0 && day_count != members.len() {
        return Err(KeyringError::SomeDays);
    }
    if keyring.revision == 0 {
        return Err(KeyringError::Revision);
    }
    // Never empty, never mixed, none twice. Of day keys each day has its own; the days are not
    // walked through here, but a dock seals to what is valid on its day, or holds.
    let all = Recipients::new(members.iter().map(|member| member.recipient.clone()).collect());
    all.map_err(KeyringError::Recipients)?;
    for (index, dock) in docks.iter().enumerate() {
        // It is the dock's folder in the bucket.
        if !is_plain_name(dock.key.name()) {
            return Err(KeyringError::DockName { dock: dock.key.name().to_owned() });
        }
        let is_same = |other: &Enrolled| other.key.name() == dock.key.name();
        if docks[..index].iter().any(|other| is_same(other) && overlap(other.days, dock.days)) {
            return Err(KeyringError::DockTwice { dock: dock.key.name().to_owned() });
        }
    }
    let days = members.iter().filter_map(|member| member.days).chain(docks.iter().map(|d| d.days));
    match days.into_iter().find(|days| days.until < days.from) {
        Some(days) => Err(KeyringError::Days { from: days.from, until: days.until }),
        None => Ok(()),
    }
}

fn overlap(one: Days, other: Days) -> bool {
    one.from <= other.until && other.from <= one.until
}

fn value<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix(word)?.strip_prefix(' ')
}

fn number(line: usize, text: &str) -> Result<u64, KeyringError> {
    text.parse().map_err(|_| KeyringError::Line { line })
}

fn date(line: usize, text: &str) -> Result<Date, KeyringError> {
    as_long_as(text, "2026-11-21").ok_or(KeyringError::Line { line })
}

fn time(line: usize, text: &str) -> Result<jiff::Timestamp, KeyringError> {
    as_long_as(text, "2026-11-21T09:00:00Z").ok_or(KeyringError::Line { line })
}

/// Years are 0001 to 9999: jiff also knows 0 and -9999, which other calendars do not.
fn as_long_as<T: FromStr>(text: &str, example: &str) -> Option<T> {
    let is_plain = text.len() == example.len() && !text.starts_with("0000");
    is_plain.then(|| text.parse().ok()).flatten()
}

fn key(line: usize, text: &str) -> Result<VerifierKey, KeyringError> {
    let key: VerifierKey = text.parse().map_err(|error| KeyringError::Key { line, error })?;
    match key.kind() {
        Kind::Note => Ok(key),
        Kind::Cosignature => Err(KeyringError::Key { line, error: KeyError::Kind }),
    }
}

fn member(line: usize, text: &str) -> Result<Member, KeyringError> {
    let bad = || KeyringError::Line { line };
    let (role, rest) = text.split_once(' ').ok_or_else(bad)?;
    let role = Role::new(role).ok_or_else(bad)?;
    let (days, recipient) = match value(rest, ALWAYS) {
        Some(recipient) => (None, recipient),
        None => {
            let (days, recipient) = days(line, rest)?;
            (Some(days), recipient)
        }
    };
    let recipient: Recipient =
        recipient.parse().map_err(|error| KeyringError::Recipient { line, error })?;
    Ok(Member { role, days, recipient })
}

fn dock(line: usize, text: &str) -> Result<Enrolled, KeyringError> {
    let (days, text) = days(line, text)?;
    Ok(Enrolled { key: key(line, text)?, days })
}

fn days(line: usize, text: &str) -> Result<(Days, &str), KeyringError> {
    let mut parts = text.splitn(3, ' ');
    let (Some(from), Some(until), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyringError::Line { line });
    };
    Ok((Days { from: date(line, from)?, until: date(line, until)? }, rest))
}

/// Why a text is not a keyring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A span of days ends before it begins.
    #[error("the days {from} to {until} end before they begin")]
    Days {
        /// The first.
        from: Date,
        /// The last.
        until: Date,
    },
    /// The name of a dock's key cannot be a folder.
    #[error(
        "dock {dock}: the name of a dock is 1 to 64 of a-z A-Z 0-9 - _ . and begins with no dot"
    )]
    DockName {
        /// The name.
        dock: String,
    },
    /// A dock has two keys on one day.
    #[error("dock {dock} has two keys on the same day")]
    DockTwice {
        /// Its name.
        dock: String,
    },
    /// Another kind of note.
    #[error("not a keyring: the first line is not {HEAD}")]
    Head,
    /// A verifier key is none.
    #[error("line {line}: {error}")]
    Key {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        error: KeyError,
    },
    /// A line is not one of a keyring.
    #[error("line {line} is not one of a keyring")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A line is missing, or not in its place.
    #[error("the line {word:?} is missing, or not in its place")]
    Missing {
        /// Its first word.
        word: &'static str,
    },
    /// A recipient is none.
    #[error("line {line}: {error}")]
    Recipient {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        error: RecipientError,
    },
    /// No recipients, or such that cannot be together.
    #[error(transparent)]
    Recipients(RecipientsError),
    /// Revisions begin with 1.
    #[error("revision 0: revisions begin with 1")]
    Revision,
    /// Some recipients have days and some are for always: those would outlive the days.
    #[error("either all recipients have days, or none")]
    SomeDays,
    /// The same meaning in another spelling.
    #[error("not in the one spelling of a keyring")]
    Spelling,
    /// More recipients or docks than any keyring has.
    #[error("too many recipients or docks")]
    TooMany,
    /// A format of a later dockseal.
    #[error("a keyring of a later version: install a newer dockseal")]
    Version,
}
