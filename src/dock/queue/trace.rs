//! The entries of the log that tell of one clip, found by their times: a log has no index of clips.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::{Connection, params};

use super::{Numbered, QueueError, Reader, log, rows};
use crate::clip::{Clip, SealedName, State, Timestamp};
use crate::custody::entry::{Entry, Event};
use crate::hold::Until;

/// So many entries are looked through one by one.
const SPAN_MAX: u64 = 16_384;
/// Where there are more between a clip's first and last time: so many behind each known time.
const NEAR: u64 = 1024;
/// An entry is written with its fact, and so at most a little later than the fact's own time.
const LATER_SECONDS: u64 = 60;

const AMONG: &str = "SELECT idx, entry FROM log_entry
     WHERE log = ?1 AND idx >= ?2 AND idx < ?3 AND instr(entry, ?4) > 0 ORDER BY idx";

/// What the log tells of a clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The entries, in order.
    pub entries: Vec<Numbered>,
    /// Whether there can be no other: `false` where too much lies in between, or the clip is older
    /// than the log.
    pub is_whole: bool,
}

impl Reader {
    /// The entries of the current log that tell of a clip. A log of millions costs no more than a
    /// short one; where entries cannot be found in bounded time, it says so.
    pub fn trace(&self, clip: &Clip) -> Result<Trace, QueueError> {
        // One snapshot: the log grows meanwhile.
        let tx = self.0.unchecked_transaction()?;
        let (log, size) = log::current(&tx)?;
        let log = Log { tx: &tx, log, size };
        let (spans, is_searched) = log.spans(clip)?;
        let mut found = BTreeMap::new();
        let mut names: Vec<SealedName> = clip.sealed.iter().map(|sealed| sealed.name).collect();
        log.collect(&spans, &format!("\"number\":{},", clip.id), &mut found)?;
        // It may have been sealed before, under another name.
        let earlier = found.values().filter_map(|entry: &Entry| entry.event.clip());
        let earlier: Vec<_> = earlier.filter(|name| !names.contains(name)).collect();
        names.extend(earlier);
        for name in &names {
            log.collect(&spans, &format!("\"{name}\""), &mut found)?;
        }
        let is_it = |entry: &Entry| match &entry.event {
            Event::Held { number, .. } => *number == clip.id.0,
            event => event.clip().is_some_and(|name| names.contains(&name)),
        };
        let entries = found.into_iter().filter(|(_, entry)| is_it(entry));
        let entries: Vec<_> = entries.map(|(index, entry)| Numbered { index, entry }).collect();
        let has = |word: &str| entries.iter().any(|one| one.entry.event.word() == word);
        // A clock that was put back leads astray whoever searches by time.
        let is_found =
            (clip.sealed.is_none() || has("sealed")) && (clip.stored_at.is_none() || has("stored"));
        Ok(Trace { is_whole: is_searched && is_found, entries })
    }
}

/// A log, as it was when the search began.
struct Log<'a> {
    tx: &'a Connection,
    log: i64,
    size: u64,
}

impl Log<'_> {
    /// Where entries of the clip may be, and whether they can be nowhere else.
    fn spans(&self, clip: &Clip) -> Result<(Vec<Range<u64>>, bool), QueueError> {
        let times = times(clip);
        let start = self.first_at(clip.seen_at)?;
        let last = times.iter().copied().max().unwrap_or(clip.seen_at);
        // What is not over may go on until now.
        let end = match clip.state() {
            State::Erased => self.first_at(last.plus_seconds(LATER_SECONDS + 1))?,
            State::Seen | State::Sealed | State::Stored => self.size,
        };
        let mut spans: Vec<Range<u64>> = Vec::new();
        if end.saturating_sub(start) <= SPAN_MAX {
            spans.push(start..end);
            let is_older = self.size > 0 && self.entry(0)?.at > clip.seen_at;
            return Ok((spans, !is_older));
        }
        for time in times {
            let from = self.first_at(time)?.max(spans.last().map_or(start, |span| span.end));
            spans.push(from..(from + NEAR).min(end).max(from));
        }
        Ok((spans, false))
    }

    /// The first entry of this time or later, or the end.
    fn first_at(&self, time: Timestamp) -> Result<u64, QueueError> {
        let (mut low, mut high) = (0, self.size);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)?.at < time {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn entry(&self, index: u64) -> Result<Entry, QueueError> {
        let sql = "SELECT entry FROM log_entry WHERE log = ?1 AND idx = ?2";
        let bytes: Option<Vec<u8>> =
            rows::first(self.tx, sql, params![self.log, rows::signed(index)])?;
        let bytes = bytes.ok_or_else(|| QueueError::Corrupt(format!("no entry {index}")))?;
        Entry::decode(&bytes).map_err(|error| QueueError::Corrupt(error.to_string()))
    }

    /// Adds what has a text in it.
    fn collect(
        &self,
        spans: &[Range<u64>],
        text: &str,
        found: &mut BTreeMap<u64, Entry>,
    ) -> Result<(), QueueError> {
        let mut statement = self.tx.prepare_cached(AMONG)?;
        for span in spans {
            let (from, to) = (rows::signed(span.start), rows::signed(span.end));
            let mut rows = statement.query(params![self.log, from, to, text.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let bytes: Vec<u8> = row.get(1)?;
                if let Ok(entry) = Entry::decode(&bytes) {
                    found.insert(row.get::<_, i64>(0)? as u64, entry);
                }
            }
        }
        Ok(())
    }
}

/// The times at which something became true of the clip that has an entry, in order.
fn times(clip: &Clip) -> Vec<Timestamp> {
    let sealed = clip.sealed.map(|sealed| sealed.sealed_at);
    let holds = clip.hold.iter().chain(clip.deliveries.iter().filter_map(|d| d.hold.as_ref()));
    let holds = holds.filter(|hold| hold.until == Until::Operator).map(|hold| hold.since);
    let mut times: Vec<_> =
        [sealed, clip.stored_at, clip.gone_at].into_iter().flatten().chain(holds).collect();
    times.sort_unstable();
    times.dedup();
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{ClipId, Fact, Plaintext, SealedFile, Source, examples};
    use crate::dock::queue::{Beginning, Queue};
    use crate::edge::clock;
    use crate::hold::{Hold, Reason};

    fn queue() -> (tempfile::TempDir, Queue, Reader) {
        let dir = tempfile::tempdir().expect("tempdir");
        let beginning = Beginning { dock: "d".into(), previous: None, lost: None };
        let queue = Queue::create(&dir.path().join("queue.db"), beginning).expect("created");
        let reader = queue.reader().expect("opened");
        (dir, queue, reader)
    }

    fn find(queue: &Queue, number: i64) -> ClipId {
        let source = Source { folder: "/srv".into(), path: format!("{number}").into() };
        let generation = examples::generation(number as u64);
        let clip = Clip::seen(source, generation, clock::now());
        queue.found_blocking(vec![clip]).expect("found");
        ClipId(number)
    }

    fn sealed(name: u8) -> Fact {
        Fact::Sealed(SealedFile {
            size_bytes: 7,
            commitment: [name; 32],
            sealed_at: clock::now(),
            ..examples::sealed(name)
        })
    }

    fn record(queue: &Queue, id: ClipId, fact: Fact) {
        queue.record_blocking(id, vec![fact]).expect("recorded");
    }

    /// The indexes and words of what is found of a clip.
    fn traced(reader: &Reader, id: ClipId) -> (Vec<(u64, &'static str)>, bool) {
        let clip = reader.clip(id).expect("read").expect("there");
        let trace = reader.trace(&clip).expect("searched");
        let words = trace.entries.iter().map(|one| (one.index, one.entry.event.word()));
        (words.collect(), trace.is_whole)
    }

    /// Heartbeats in one transaction, as fast as they can be written.
    fn beat(queue: &Queue, count: usize) {
        queue
            .do_blocking(move |tx| (0..count).try_for_each(|_| log::append(tx, Event::Alive)))
            .expect("written");
    }

    #[test]
    fn a_clips_entries_are_found_among_others_by_name_and_by_number() {
        let (_dir, queue, reader) = queue();
        let (one, other) = (find(&queue, 1), find(&queue, 2));
        let hold = Hold::for_operator(Reason::Internal, "x", clock::now());
        record(&queue, one, Fact::Held(hold));
        record(&queue, other, sealed(2));
        record(&queue, one, sealed(1));
        record(&queue, one, Fact::SealLost);
        record(&queue, one, sealed(3));
        assert_eq!(traced(&reader, other), (vec![(2, "sealed")], true));
        let all = vec![(1, "held"), (3, "sealed"), (4, "damaged"), (5, "sealed")];
        assert_eq!(traced(&reader, one), (all.clone(), true));
        record(&queue, one, Fact::Stored(clock::now()));
        let gone = Fact::Gone { plaintext: Plaintext::Erased, at: clock::now() };
        record(&queue, one, gone);
        beat(&queue, 10);
        let all = [all, vec![(6, "stored"), (7, "erased")]].concat();
        assert_eq!(traced(&reader, one), (all, true));
        // Its number is the beginning of another one's.
        for number in 3..=12 {
            find(&queue, number);
        }
        record(&queue, ClipId(12), sealed(12));
        assert_eq!(traced(&reader, ClipId(12)).0.len(), 1);
        assert_eq!(traced(&reader, one).0.len(), 6);
    }

    #[test]
    fn a_clip_that_waited_while_the_log_grew_long_is_found_at_its_times_alone() {
        let (_dir, queue, reader) = queue();
        let (long, short) = (find(&queue, 1), 2);
        record(&queue, long, sealed(1));
        beat(&queue, SPAN_MAX as usize + 10);
        let size = reader.log().expect("read").1;
        record(&queue, long, Fact::Stored(clock::now()));
        assert_eq!(traced(&reader, long), (vec![(1, "sealed"), (size, "stored")], false));
        let short = find(&queue, short);
        record(&queue, short, sealed(2));
        assert_eq!(traced(&reader, short), (vec![(size + 1, "sealed")], true));
    }

    #[test]
    fn no_search_reads_the_whole_log() {
        let (_dir, _queue, reader) = queue();
        let mut plan = reader.0.prepare(&format!("EXPLAIN QUERY PLAN {AMONG}")).expect("planned");
        let lines = plan.query_map(params![1, 0, 9, b"x"], |row| row.get::<_, String>(3));
        let lines: Vec<_> = lines.expect("read").map(|line| line.expect("a line")).collect();
        let expected = "SEARCH log_entry USING PRIMARY KEY (log=? AND idx>? AND idx<?)";
        assert_eq!(lines, [expected]);
    }
}
