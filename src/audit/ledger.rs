//! The ledger: what a dock's logs say of each clip, and what is wrong with how they say it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::finding::{Findings, What};
use super::revisions::Revisions;
use crate::clip::{SealedName, Timestamp};
use crate::custody::entry::{Entry, EntryError, Event, ReceiptLine};
use crate::custody::{Head, LogId, folder};
use crate::keyring::day_of;

/// What the logs say of one clip. A million of them are in memory at once.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// When it was sealed; `None` where only other entries name it.
    pub sealed: Option<Timestamp>,
    /// Size in bytes, as sealed.
    pub size_bytes: u64,
    /// The keyring's revision; 0 is none.
    pub revision: u32,
    /// Which of the dock's logs sealed it.
    pub log: u16,
    /// Whether it is stored, and where.
    pub stored: Stored,
    /// Whether the sealed file was damaged on the dock: the clip is sealed again.
    pub is_damaged: bool,
}

/// Whether every required bucket gave its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stored {
    /// Not yet.
    No,
    /// It is, and the bucket that is audited gave none: the dock does not require it, or did not
    /// know it yet.
    Elsewhere,
    /// It is, in this bucket too, or the auditor did not say what the dock calls this bucket.
    Here,
}

/// What one log says of itself.
#[derive(Debug, Clone)]
pub struct LogFacts {
    /// Which.
    pub id: LogId,
    /// Number of entries that were read.
    pub entry_count: u64,
    /// When it began.
    pub started: Option<Timestamp>,
    /// The end of the log before it, as far as the dock knew it.
    pub previous: Option<Head>,
    /// The time of the newest entry.
    pub newest: Option<Timestamp>,
    /// Nothing follows.
    pub is_closed: bool,
    /// An operator knows that it does not continue the log before it.
    pub is_acknowledged: bool,
    /// How many entries each event has.
    pub events: BTreeMap<&'static str, u64>,
}

/// A dock's logs together.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By sealed name.
    pub clips: HashMap<SealedName, Account>,
    /// In the order of their ids.
    pub logs: Vec<LogFacts>,
    /// The keyring's revisions that entries name.
    pub revisions: BTreeSet<u64>,
    /// Clips whose recipients came from the dock's config.
    pub without_keyring_count: u64,
}

/// Reads the entries of one log into the ledger.
pub struct Reader<'a> {
    ledger: &'a mut Ledger,
    revisions: &'a Revisions,
    dock: &'a str,
    /// What the dock calls the bucket, where the auditor says it.
    bucket: Option<&'a str>,
    facts: LogFacts,
    /// The revision of the last `keyring` entry.
    revision: u64,
    /// What was said of a revision once is not said of each clip.
    told: BTreeSet<(u64, bool)>,
    early: Option<(u64, u64)>,
    follows_closed: bool,
}

impl<'a> Reader<'a> {
    /// For one log of a dock.
    pub fn new(
        ledger: &'a mut Ledger,
        revisions: &'a Revisions,
        (dock, id): (&'a str, LogId),
        bucket: Option<&'a str>,
    ) -> Reader<'a> {
        let facts = LogFacts {
            id,
            entry_count: 0,
            started: None,
            previous: None,
            newest: None,
            is_closed: false,
            is_acknowledged: false,
            events: BTreeMap::new(),
        };
        let told = BTreeSet::new();
        let (revision, early, follows_closed) = (0, None, false);
        Reader { ledger, revisions, dock, bucket, facts, revision, told, early, follows_closed }
    }

    /// Takes one entry.
    pub fn see(&mut self, index: u64, entry: Result<Entry, EntryError>, findings: &mut Findings) {
        self.facts.entry_count += 1;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.broken(index, error.to_string(), findings),
        };
        if self.facts.is_closed && !self.follows_closed {
            self.follows_closed = true;
            self.broken(index, "it follows `closed`".into(), findings);
        }
        *self.facts.events.entry(entry.event.word()).or_default() += 1;
        match self.facts.started {
            Some(started) if entry.at < started => {
                let (first, count) = self.early.unwrap_or((index, 0));
                self.early = Some((first, count + 1));
            }
            Some(_) | None => {}
        }
        self.facts.newest = self.facts.newest.max(Some(entry.at));
        let is_start = matches!(entry.event, Event::Started { .. });
        if is_start != (index == 0) {
            let word = entry.event.word();
            let why = format!("`{word}`, where a log begins with `started` and only begins once");
            self.broken(index, why, findings);
        }
        self.take(index, entry, findings);
    }

    fn take(&mut self, index: u64, entry: Entry, findings: &mut Findings) {
        match entry.event {
            Event::Started { dock, previous, .. } => {
                if dock != self.dock {
                    let why = format!("it is of the dock {}", crate::clip::harmless(&dock));
                    self.broken(index, why, findings);
                }
                self.facts.started = Some(entry.at);
                if let Some(previous) = previous {
                    self.facts.previous = previous.head();
                    if self.facts.previous.is_none() {
                        self.broken(index, "its `previous` is no head".into(), findings);
                    }
                }
            }
            Event::Acknowledged => self.facts.is_acknowledged = true,
            Event::Closed => self.facts.is_closed = true,
            Event::Keyring { revision, sha256 } => {
                self.revision = revision;
                self.ledger.revisions.insert(revision);
                let keyring = self.revisions.number(revision);
                if keyring.is_some_and(|keyring| keyring.sha256() != sha256.0) {
                    findings.add(self.object(), What::KeyringMisnamed { index, revision });
                }
            }
            Event::Sealed { clip, size, keyring, .. } => {
                self.seal(index, (clip, size), entry.at, keyring, findings);
            }
            Event::Stored { clip, receipts } => self.store(clip, &receipts),
            Event::Damaged { clip } => self.account(clip).is_damaged = true,
            Event::Alive
            | Event::Changed { .. }
            | Event::Erased { .. }
            | Event::Forgotten { .. }
            | Event::Gone { .. }
            | Event::Held { .. } => {}
        }
    }

    fn seal(
        &mut self,
        index: u64,
        (clip, size): (SealedName, u64),
        at: Timestamp,
        revision: Option<u64>,
        findings: &mut Findings,
    ) {
        match revision {
            Some(revision) => {
                self.ledger.revisions.insert(revision);
                self.judge(revision, at, findings);
            }
            None => self.ledger.without_keyring_count += 1,
        }
        let log = u16::try_from(self.ledger.logs.len()).unwrap_or(u16::MAX);
        let account = self.account(clip);
        if account.sealed.is_some() && account.size_bytes != size {
            let why = format!("another size than an earlier entry has for the clip {clip}");
            return self.broken(index, why, findings);
        }
        account.sealed = account.sealed.or(Some(at));
        account.size_bytes = size;
        account.revision = revision.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX));
        account.log = log;
    }

    /// Whether a clip may be sealed by this revision on its day.
    fn judge(&mut self, revision: u64, at: Timestamp, findings: &mut Findings) {
        if revision < self.revision && self.told.insert((revision, false)) {
            let why = format!("the log had revision {} by then", self.revision);
            findings.add(self.object(), What::SealedByOld { revision, why });
        }
        let Some(keyring) = self.revisions.number(revision) else { return };
        if let Err(refusal) = keyring.usable_on(day_of(at))
            && self.told.insert((revision, true))
        {
            let why = refusal.to_string();
            findings.add(self.object(), What::SealedByOld { revision, why });
        }
    }

    fn store(&mut self, clip: SealedName, receipts: &[ReceiptLine]) {
        let is_here =
            self.bucket.is_none_or(|name| receipts.iter().any(|receipt| receipt.bucket == name));
        let stored = if is_here { Stored::Here } else { Stored::Elsewhere };
        let account = self.account(clip);
        account.stored = account.stored.max(stored);
    }

    fn account(&mut self, clip: SealedName) -> &mut Account {
        self.ledger.clips.entry(clip).or_insert(Account {
            sealed: None,
            size_bytes: 0,
            revision: 0,
            log: 0,
            stored: Stored::No,
            is_damaged: false,
        })
    }

    fn object(&self) -> String {
        folder(self.dock, self.facts.id)
    }

    fn broken(&self, index: u64, why: String, findings: &mut Findings) {
        findings.add(self.object(), What::EntryBroken { index, why });
    }

    /// Puts the log's facts into the ledger.
    pub fn finish(self, findings: &mut Findings) {
        if let Some((index, count)) = self.early {
            findings.add(self.object(), What::EntryTime { index, count });
        }
        self.ledger.logs.push(self.facts);
    }
}

#[cfg(test)]
mod tests {
    use super::super::revisions::tests::revisions;
    use super::*;

    fn found(events: &[(i64, Event)]) -> (Vec<What>, Ledger) {
        let (revisions, mut ledger) = (revisions(), Ledger::default());
        let mut findings = Findings::default();
        let mut reader = Reader::new(&mut ledger, &revisions, ("d", LogId([1; 8])), Some("here"));
        for (index, (at, event)) in events.iter().enumerate() {
            let entry = Entry::new(Timestamp(*at), event.clone());
            reader.see(index as u64, Ok(entry), &mut findings);
        }
        reader.finish(&mut findings);
        (findings.sorted().into_iter().map(|finding| finding.what).collect(), ledger)
    }

    fn started(dock: &str) -> Event {
        Event::Started { dock: dock.into(), dockseal: "0".into(), previous: None }
    }

    fn sealed(size: u64, keyring: Option<u64>) -> Event {
        let clip = SealedName([3; 32]);
        Event::Sealed { clip, number: 1, size, commitment: clip, keyring }
    }

    #[test]
    fn a_log_begins_once_ends_once_and_never_goes_back() {
        let good = [(5, started("d")), (6, Event::Alive), (7, Event::Closed)];
        assert_eq!(found(&good).0, []);
        for bad in [
            vec![(5, started("e"))],
            vec![(5, Event::Alive)],
            vec![(5, started("d")), (6, started("d"))],
            vec![(5, started("d")), (6, Event::Closed), (7, Event::Alive), (8, Event::Alive)],
        ] {
            assert!(matches!(found(&bad).0[..], [What::EntryBroken { .. }]), "{bad:?}");
        }
        let early = [(5, started("d")), (4, Event::Alive), (3, Event::Alive)];
        assert_eq!(found(&early).0, [What::EntryTime { index: 1, count: 2 }]);
    }

    #[test]
    fn a_clip_may_be_named_again_but_not_with_another_size() {
        let same = [(5, started("d")), (6, sealed(7, Some(1))), (7, sealed(7, Some(1)))];
        let (what, ledger) = found(&same);
        assert_eq!((what, ledger.clips.len()), (vec![], 1));
        let other = [(5, started("d")), (6, sealed(7, Some(1))), (7, sealed(8, Some(1)))];
        assert!(matches!(found(&other).0[..], [What::EntryBroken { index: 2, .. }]));
    }

    #[test]
    fn a_clip_is_expected_in_the_buckets_that_gave_a_receipt() {
        let stored = |buckets: &[&str]| {
            let line = |name: &&str| ReceiptLine { bucket: (*name).into(), evidence: "d".into() };
            let receipts = buckets.iter().map(line).collect();
            Event::Stored { clip: SealedName([3; 32]), receipts }
        };
        let kept = |events: &[Event]| {
            let begun = [started("d"), sealed(7, None)];
            let events = begun.iter().chain(events).cloned().map(|event| (5, event));
            found(&events.collect::<Vec<_>>()).1.clips[&SealedName([3; 32])].stored
        };
        assert_eq!(kept(&[]), Stored::No);
        assert_eq!(kept(&[stored(&["other"])]), Stored::Elsewhere);
        assert_eq!(kept(&[stored(&["other", "here"])]), Stored::Here);
        assert_eq!(kept(&[stored(&["here"]), stored(&["other"])]), Stored::Here);
    }

    #[test]
    fn by_which_keyring_a_clip_was_sealed_is_judged() {
        let (_, ledger) = found(&[(5, started("d")), (6, sealed(7, None))]);
        assert_eq!(ledger.without_keyring_count, 1);
        let expired = 1_800_000_000_000;
        let old = [(5, started("d")), (expired, sealed(7, Some(1))), (expired, sealed(7, Some(1)))];
        assert!(matches!(found(&old).0[..], [What::SealedByOld { revision: 1, .. }]));
        let sha256 = SealedName([0; 32]);
        let named = [(5, started("d")), (6, Event::Keyring { revision: 1, sha256 })];
        assert_eq!(found(&named).0, [What::KeyringMisnamed { index: 1, revision: 1 }]);
    }
}
