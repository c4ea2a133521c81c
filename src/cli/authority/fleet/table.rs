//! The fleet as a table for a terminal, and the words that the wall's page shares with it.

use std::io::{self, Write};

use super::super::super::{bytes_for_people, seconds_for_people};
use crate::authority::fleet::{Fleet, Row, Verdict};
use crate::clip::{Timestamp, harmless};

/// Columns that the name of a dock has.
const NAME_WIDTH: usize = 20;

/// Which docks have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Every one.
    All,
    /// Those that are not well; the others are summed.
    NeedingYou,
}

/// Headline, docks, sum.
pub(super) fn write(out: &mut impl Write, fleet: &Fleet, layout: Layout) -> io::Result<()> {
    writeln!(out, "{}", fleet.headline())?;
    let (well, unwell): (Vec<_>, Vec<_>) =
        fleet.rows.iter().partition(|row| row.verdict == Verdict::Ok);
    let shown = if layout == Layout::All { fleet.rows.iter().collect() } else { unwell };
    if !shown.is_empty() {
        writeln!(out)?;
        line(out, &HEADINGS.map(str::to_owned))?;
    }
    for row in shown {
        line(out, &cells(row))?;
        if row.verdict.needs_you() {
            writeln!(out, "  {}; {}", why(row, fleet.at), row.verdict.advice())?;
        }
    }
    if layout == Layout::NeedingYou && !well.is_empty() {
        writeln!(out, "\n{}", sum(&well))?;
    }
    writeln!(out, "keyring revision {}, {}", fleet.revision, fleet.at)
}

const HEADINGS: [&str; 10] = [
    "DOCK", "VERDICT", "SAID", "UNSAFE", "OLDEST", "HELD/YOU", "BACKLOG", "FREE", "KEYRING",
    "VERSION",
];

fn line(out: &mut impl Write, cells: &[String; 10]) -> io::Result<()> {
    let [dock, verdict, said, count, oldest, held, backlog, free, keyring, version] = cells;
    let text = format!(
        "{dock:NAME_WIDTH$} {verdict:10} {said:>7} {count:>6} {oldest:>7} {held:>8} {backlog:>10} \
         {free:>10} {keyring:>9}  {version}"
    );
    writeln!(out, "{}", text.trim_end())
}

/// The cells of a dock; what is not known is `-`.
fn cells(row: &Row) -> [String; 10] {
    let none = || "-".to_owned();
    let dock = harmless(&row.dock).to_string();
    let (verdict, said) = (row.verdict.word().to_owned(), row.said_seconds);
    let said = said.map_or_else(none, seconds_for_people);
    let Some(status) = &row.status else {
        let [a, b, c, d, e, f, g] = std::array::from_fn(|_| none());
        return [dock, verdict, said, a, b, c, d, e, f, g];
    };
    let held = |count: fn(&crate::custody::status::Held) -> u64| {
        status.held.iter().map(count).fold(0, u64::saturating_add)
    };
    // Of a dock that is not heard, its clips have grown older since.
    let age = status.oldest_unsafe_seconds.saturating_add(row.said_seconds.unwrap_or(0));
    let oldest = if status.unsafe_count > 0 { seconds_for_people(age) } else { none() };
    let keyring = status.keyring.map(|line| format!("{} {}d", line.revision, line.days_left));
    [
        dock,
        verdict,
        said,
        status.unsafe_count.to_string(),
        oldest,
        format!("{}/{}", held(|one| one.count), held(|one| one.operator_count)),
        bytes_for_people(status.backlog_bytes),
        status.free_bytes.map_or_else(none, bytes_for_people),
        keyring.unwrap_or_else(none),
        status.version.clone(),
    ]
}

/// Why a dock needs somebody, in one sentence.
pub(super) fn why(row: &Row, now: Timestamp) -> String {
    let log = row.log_at.map(|at| now.seconds_since(Timestamp(at.as_millisecond())));
    let log = log.map(seconds_for_people);
    let said = row.said_seconds.map_or(String::new(), seconds_for_people);
    let status = row.status.as_ref();
    match row.verdict {
        Verdict::Ahead => "its clock is ahead of ours".to_owned(),
        Verdict::Attention => {
            let held = status.iter().flat_map(|status| &status.held);
            let held = held.filter(|held| held.operator_count > 0);
            let held = held.map(|held| format!("{} held: {}", held.operator_count, held.reason));
            let needs = status.iter().flat_map(|status| status.needs.iter().cloned());
            let all: Vec<_> = held.chain(needs).collect();
            if all.is_empty() {
                "it says that it needs somebody".to_owned()
            } else {
                all.join(", ")
            }
        }
        Verdict::Forged => "not signed by the key that the keyring enrols for it".to_owned(),
        Verdict::Never => match log {
            Some(log) => format!("it said nothing yet; its log went on until {log} ago"),
            None => "nothing was ever heard of it".to_owned(),
        },
        Verdict::Closed | Verdict::Ok | Verdict::Waiting => String::new(),
        Verdict::Outdated => match log {
            Some(log) => format!("its log went on until {log} ago, what it says is {said} old"),
            None => format!("what it says is {said} old"),
        },
        Verdict::Replayed => "it said something newer before: an old word was put back".to_owned(),
        Verdict::Shortened => match status {
            Some(status) => {
                format!("its log is not in the bucket up to entry {}", status.log_size)
            }
            None => "its log is not in the bucket".to_owned(),
        },
        Verdict::Silent => {
            let next = status.map_or(0, |status| status.next_seconds);
            format!("no word for {said}; it promised one within {}", seconds_for_people(next))
        }
        Verdict::Unknown => "the keyring does not know it".to_owned(),
        Verdict::Unreadable => "what it says cannot be read by this version".to_owned(),
    }
}

/// The docks that are well, in one line.
pub(super) fn sum(well: &[&Row]) -> String {
    let said: Vec<_> = well.iter().filter_map(|row| row.status.as_ref()).collect();
    let total = |number: fn(&crate::custody::status::Status) -> u64| {
        said.iter().map(|status| number(status)).fold(0, u64::saturating_add)
    };
    let (moving, backlog) = (total(|one| one.unsafe_count), total(|one| one.backlog_bytes));
    let mut parts = vec![format!("{} ok", well.len())];
    match moving {
        0 => parts.push("every clip is stored".to_owned()),
        _ => {
            let waiting = said.iter().filter(|one| one.unsafe_count > 0);
            let oldest = waiting.map(|one| one.oldest_unsafe_seconds).max().unwrap_or(0);
            let (backlog, oldest) = (bytes_for_people(backlog), seconds_for_people(oldest));
            let clips = if moving == 1 { "clip" } else { "clips" };
            parts.push(format!("{moving} {clips} on the way ({backlog}, oldest {oldest})"));
        }
    }
    if let Some(free) = said.iter().filter_map(|one| one.free_bytes).min() {
        parts.push(format!("least free {}", bytes_for_people(free)));
    }
    if let Some(days) = said.iter().filter_map(|one| one.keyring).map(|one| one.days_left).min() {
        parts.push(format!("keyring good for {days} days"));
    }
    parts.join("; ")
}
