//! The run of an audit: all checks of all buckets, in one order.

use std::collections::{BTreeMap, BTreeSet};

use super::Progress;
use super::finding::{Findings, What};
use super::heads::{Cosigned, Heads};
use super::ledger::{Ledger, Reader, Stored};
use super::memory::{Memory, Witnessed, compare, compare_witnessed, parse_witnessed};
use super::pieces::first_entry;
use super::report::{BucketReport, DockReport, FindingReport, LogReport, Report};
use super::revisions::Revisions;
use super::sample::{Extent, draw, examine};
use super::shelf::{DockShelf, Shelf};
use super::stock::{Rules, expect_unlisted, judge_unlogged, take_stock};
use super::succession::{self, Roots, witnessed_sizes};
use super::walk::walk;
use crate::clip::Timestamp;
use crate::custody::entry::Event;
use crate::custody::merkle::Hash;
use crate::custody::{LogId, folder};
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::{Refusal, day_of};
use crate::note::VerifierKey;

/// What is audited, and by what it is judged.
pub struct Question<'a> {
    /// The keyring file's bytes.
    pub keyring: &'a [u8],
    /// Roots that the auditor trusts; none: the one that the file names.
    pub authorities: &'a [VerifierKey],
    /// What earlier audits remember.
    pub memory: &'a Memory,
    /// Witnesses whose cosignatures must be there.
    pub witnesses: &'a [VerifierKey],
    /// The public file of a witness.
    pub witnessed: &'a str,
    /// Which clips are read whole.
    pub extent: Extent,
    /// After how many seconds a quiet dock is stale.
    pub stale_after_seconds: u64,
    /// The time of the audit.
    pub now: Timestamp,
}

/// A bucket that is audited.
pub struct Subject {
    /// As it is called in the report, and remembered.
    pub url: String,
    /// What docks call it in their configs: only clips that it acknowledged are missed in it.
    pub name: Option<String>,
    /// It.
    pub bucket: Bucket,
}

/// Why an audit did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A bucket could not be read.
    #[error("cannot read the bucket {url}")]
    Bucket {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: BucketError,
    },
    /// The keyring file does not count.
    #[error("cannot use the keyring")]
    Keyring(#[source] Refusal),
}

/// One bucket on its way through the audit.
struct Desk<'a> {
    url: &'a str,
    name: Option<&'a str>,
    bucket: &'a Bucket,
    shelf: Shelf,
    findings: Findings,
    /// By origin.
    heads: BTreeMap<String, Heads>,
    /// By origin: size, and roots by size.
    walked: BTreeMap<String, (u64, BTreeMap<u64, Hash>)>,
    docks: Vec<DockReport>,
}

/// Audits buckets. Gives the report, and what is to be remembered for the next audit.
pub async fn audit(
    buckets: &[Subject],
    question: &Question<'_>,
    progress: &Progress<'_>,
) -> Result<(Report, Memory), AuditError> {
    let (witnessed, unsigned) = parse_witnessed(question.witnessed, question.witnesses);
    let witnessed: Vec<_> = witnessed.into_iter().map(|(seen, _)| seen).collect();
    let (mut desks, revisions) = list(buckets, question, progress).await?;
    for desk in &mut desks {
        for text in &unsigned {
            desk.findings.add(text, What::WitnessedUnsigned);
        }
        desk.read_heads(&revisions, question.witnesses).await.map_err(|e| desk.failed(e))?;
    }
    let wanted = wanted_sizes(&desks, question.memory, &witnessed).await?;
    for desk in &mut desks {
        let audited = desk.audit(&revisions, question, &wanted, progress).await;
        audited.map_err(|error| desk.failed(error))?;
    }
    compare_buckets(&mut desks);
    let longest = longest(&desks);
    let mut memory = question.memory.clone();
    memory.keyring_revision = memory.keyring_revision.max(revisions.newest().revision);
    for desk in &mut desks {
        compare(desk.url, question.memory, &desk.walked, &mut desk.findings);
        compare_witnessed(&witnessed, &desk.walked, &longest, &mut desk.findings);
        desk.remember(&mut memory);
    }
    let buckets = desks.into_iter().map(Desk::finish).collect();
    Ok((Report::new(question.now.to_string(), &revisions, buckets), memory))
}

async fn list<'a>(
    buckets: &'a [Subject],
    question: &Question<'_>,
    progress: &Progress<'_>,
) -> Result<(Vec<Desk<'a>>, Revisions), AuditError> {
    let mut revisions =
        Revisions::new(question.keyring, question.authorities).map_err(AuditError::Keyring)?;
    // It may be signed by a successor that only a revision in the bucket names.
    let taken = match revisions.take_file(question.keyring) {
        Err(Refusal::WrongRoot { .. }) => false,
        taken => taken.map(|()| true).map_err(AuditError::Keyring)?,
    };
    let mut desks = Vec::new();
    for Subject { url, name, bucket } in buckets {
        let failed = |source| AuditError::Bucket { url: url.clone(), source };
        let mut findings = Findings::default();
        let shelf = Shelf::list(bucket, question.now, &mut findings, progress);
        let shelf = shelf.await.map_err(failed)?;
        revisions.read(bucket, &shelf, &mut findings).await.map_err(failed)?;
        let (heads, walked) = (BTreeMap::new(), BTreeMap::new());
        let name = name.as_deref();
        desks.push(Desk { url, name, bucket, shelf, findings, heads, walked, docks: vec![] });
    }
    if !taken {
        revisions.take_file(question.keyring).map_err(AuditError::Keyring)?;
    }
    let (found, remembered) = (revisions.newest().revision, question.memory.keyring_revision);
    for desk in &mut desks {
        revisions.compare(&desk.shelf, &mut desk.findings);
        if found < remembered {
            let what = What::KeyringRolledBack { remembered, found };
            desk.findings.add(format!("keyrings/{remembered}"), what);
        }
    }
    Ok((desks, revisions))
}

/// The sizes at which each log's root is asked for, by origin.
async fn wanted_sizes(
    desks: &[Desk<'_>],
    memory: &Memory,
    witnessed: &[Witnessed],
) -> Result<BTreeMap<String, BTreeSet<u64>>, AuditError> {
    let mut wanted: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for desk in desks {
        for (origin, heads) in &desk.heads {
            let sizes = wanted.entry(origin.clone()).or_default();
            sizes.extend(memory.of_log(origin).map(|remembered| remembered.size));
            sizes.extend(witnessed_sizes(witnessed, origin));
            if desks.len() > 1 {
                sizes.extend(heads.by_size.keys());
            }
        }
        for (dock, shelf) in desk.shelf.docks.iter().filter(|(_, shelf)| shelf.logs.len() > 1) {
            for (log, pieces) in &shelf.logs {
                let first = first_entry(desk.bucket, &folder(dock, *log), pieces).await;
                let first = first.map_err(|error| desk.failed(error))?;
                let event = first.map(|entry| entry.event);
                if let Some(Event::Started { previous: Some(previous), .. }) = event
                    && let Some(head) = previous.head()
                {
                    wanted.entry(folder(dock, head.log)).or_default().insert(head.size);
                }
            }
        }
    }
    Ok(wanted)
}

impl Desk<'_> {
    fn failed(&self, source: BucketError) -> AuditError {
        AuditError::Bucket { url: self.url.to_owned(), source }
    }

    async fn read_heads(
        &mut self,
        revisions: &Revisions,
        witnesses: &[VerifierKey],
    ) -> Result<(), BucketError> {
        for (dock, shelf) in &self.shelf.docks {
            for (log, pieces) in &shelf.logs {
                let (log, findings) = ((dock.as_str(), *log), &mut self.findings);
                let heads =
                    Heads::read(self.bucket, log, pieces, revisions, witnesses, findings).await?;
                if heads.by_size.is_empty() {
                    self.findings.add(heads.origin, What::LogUnsigned);
                } else {
                    self.heads.insert(heads.origin.clone(), heads);
                }
            }
        }
        Ok(())
    }

    async fn audit(
        &mut self,
        revisions: &Revisions,
        question: &Question<'_>,
        wanted: &BTreeMap<String, BTreeSet<u64>>,
        progress: &Progress<'_>,
    ) -> Result<(), BucketError> {
        let shelf = std::mem::take(&mut self.shelf);
        let (mut ledgers, mut unlogged) = (BTreeMap::new(), BTreeMap::new());
        let (now, stale_after_seconds) = (question.now, question.stale_after_seconds);
        let rules = Rules { revisions, stale_after_seconds, now };
        for (dock, objects) in &shelf.docks {
            let read = self.read_logs(dock, objects, revisions, wanted, progress).await?;
            let (ledger, logs) = read;
            let is_whole = logs.iter().all(|log| log.is_whole);
            self.judge_dock(dock, &ledger, revisions, question);
            let (stock, open) = take_stock(dock, objects, &ledger, &rules, &mut self.findings);
            let findings = &mut self.findings;
            if let Some(name) = self.name.filter(|_| has_no_receipt(&ledger)) {
                findings.add(dock, What::BucketUnnamed { name: name.to_owned() });
            }
            expect_unlisted(self.bucket, dock, &open.unlisted, &ledger, findings).await?;
            // Where entries are missing or in doubt, they may be those of these clips; that was
            // reported already.
            unlogged.insert(dock.as_str(), if is_whole { open.unlogged } else { vec![] });
            ledgers.insert(dock.as_str(), ledger);
            self.docks.push(DockReport::new(dock, revisions, logs, &stock));
        }
        judge_unlogged(&unlogged, &ledgers, &mut self.findings);
        for ((dock, objects), report) in shelf.docks.iter().zip(&mut self.docks) {
            let clips = draw(objects, &unlogged[dock.as_str()], question.extent);
            let known = (&ledgers[dock.as_str()], revisions);
            let findings = &mut self.findings;
            report.add(examine(self.bucket, dock, clips, known, progress, findings).await?);
        }
        let named = ledgers.values().flat_map(|ledger| &ledger.revisions);
        let named: BTreeSet<_> = named.copied().collect();
        // Of revisions from 1 to the file's own, the listing told.
        let untold = |number: &u64| !(1..=revisions.given()).contains(number);
        for number in named.into_iter().filter(untold) {
            if revisions.number(number).is_none() && !shelf.revisions.contains(&number) {
                self.findings.add(format!("keyrings/{number}"), What::KeyringMissing);
            }
        }
        self.judge_absent(&shelf, revisions, question.now);
        self.shelf = shelf;
        Ok(())
    }

    /// Walks the logs of one dock.
    async fn read_logs(
        &mut self,
        dock: &str,
        shelf: &DockShelf,
        revisions: &Revisions,
        wanted: &BTreeMap<String, BTreeSet<u64>>,
        progress: &Progress<'_>,
    ) -> Result<(Ledger, Vec<LogReport>), BucketError> {
        let none = BTreeSet::new();
        let (mut ledger, mut reports) = (Ledger::default(), Vec::new());
        for (log, pieces) in &shelf.logs {
            let origin = folder(dock, *log);
            let Some(heads) = self.heads.get(&origin) else { continue };
            let wanted = wanted.get(&origin).unwrap_or(&none);
            let mut reader = Reader::new(&mut ledger, revisions, (dock, *log), self.name);
            let mut see =
                |index, entry, findings: &mut Findings| reader.see(index, entry, findings);
            let findings = &mut self.findings;
            let walking = walk(self.bucket, pieces, heads, wanted, (&mut see, progress), findings);
            let walked = walking.await?;
            reader.finish(&mut self.findings);
            let facts = ledger.logs.last().expect("the reader put it there");
            reports.extend(LogReport::new(facts, heads, walked.is_whole));
            self.walked.insert(origin, (heads.size(), walked.roots));
        }
        Ok((ledger, reports))
    }

    fn judge_dock(
        &mut self,
        dock: &str,
        ledger: &Ledger,
        revisions: &Revisions,
        question: &Question<'_>,
    ) {
        let of_log = |log: &LogId| self.walked.get(&folder(dock, *log)).cloned();
        let roots: Roots =
            ledger.logs.iter().filter_map(|log| Some((log.id, of_log(&log.id)?))).collect();
        let findings = &mut self.findings;
        succession::judge(dock, &ledger.logs, &roots, findings);
        let rules = (revisions, question.now, question.stale_after_seconds);
        succession::judge_silence(dock, &ledger.logs, rules, findings);
        if ledger.without_keyring_count > 0 {
            let count = ledger.without_keyring_count;
            findings.add(dock, What::SealedWithoutKeyring { count });
        }
        for log in succession::tips(&ledger.logs) {
            let origin = folder(dock, log.id);
            let Some(heads) = self.heads.get(&origin) else { continue };
            for (witness, cosigned) in question.witnesses.iter().zip(&heads.cosigned) {
                let witness = witness.name().to_owned();
                let what = match cosigned {
                    None => What::Unwitnessed { witness },
                    Some(Cosigned { seconds, size }) => {
                        let seen = Timestamp(0).plus_seconds(*seconds).to_string();
                        What::Cosigned { witness, seen, size: *size }
                    }
                };
                findings.add(&origin, what);
            }
        }
    }

    /// Docks that no keyring knows, and enrolled docks that are not there.
    fn judge_absent(&mut self, shelf: &Shelf, revisions: &Revisions, now: Timestamp) {
        for dock in shelf.docks.keys().filter(|dock| revisions.keys_of(dock).is_empty()) {
            self.findings.add(dock, What::DockUnenrolled);
        }
        let today = day_of(now);
        for enrolled in &revisions.newest().docks {
            let name = enrolled.key.name();
            let has_log = shelf.docks.get(name).is_some_and(|dock| !dock.logs.is_empty());
            if enrolled.days.contains(today) && !has_log {
                self.findings.add(name, What::DockSilent);
            }
        }
    }

    /// Remembers the end of each log whose history is not in doubt.
    fn remember(&self, memory: &mut Memory) {
        for (origin, (size, roots)) in &self.walked {
            let signed = self.heads[origin].by_size.get(size).map(|head| head.root);
            let known = |before: &super::memory::Remembered| {
                roots.get(&before.size).is_none_or(|root| root.to_string() == before.root)
            };
            let is_undoubted = memory.of_log(origin).all(known);
            if let Some(root) = signed.filter(|root| roots.get(size) == Some(root) && is_undoubted)
            {
                memory.remember(self.url, origin, *size, root);
            }
        }
    }

    fn finish(self) -> BucketReport {
        let (worst, findings_omitted_count) =
            (self.findings.worst(), self.findings.omitted_count());
        let findings = self.findings.sorted().into_iter().map(FindingReport::new).collect();
        BucketReport {
            url: self.url.to_owned(),
            name: self.name.map(str::to_owned),
            object_count: self.shelf.object_count,
            size_bytes: self.shelf.size_bytes,
            docks: self.docks,
            findings,
            findings_omitted_count,
            worst,
        }
    }
}

/// Whether clips are stored, and none of them in this bucket.
fn has_no_receipt(ledger: &Ledger) -> bool {
    let stored = ledger.clips.values().map(|account| account.stored).max();
    stored == Some(Stored::Elsewhere)
}

/// The most entries that any bucket has of each log.
fn longest(desks: &[Desk<'_>]) -> BTreeMap<String, u64> {
    let mut longest = BTreeMap::new();
    for (origin, (size, _)) in desks.iter().flat_map(|desk| &desk.walked) {
        let known: &mut u64 = longest.entry(origin.clone()).or_default();
        *known = (*known).max(*size);
    }
    longest
}

/// Compares what two buckets show of one log, at every size that either has a checkpoint of.
fn compare_buckets(desks: &mut [Desk<'_>]) {
    for (origin, other) in longest(desks) {
        let mut found = Vec::new();
        for (index, desk) in desks.iter().enumerate() {
            let size = desk.walked.get(&origin).map_or(0, |(size, _)| *size);
            if size < other {
                found.push((index, What::BucketBehind { found: size, other }));
            }
            for another in desks.iter().filter(|another| another.url != desk.url) {
                let (Some((_, roots)), Some(heads)) =
                    (desk.walked.get(&origin), another.heads.get(&origin))
                else {
                    continue;
                };
                let differs = |(size, head): &(&u64, &super::heads::Head)| {
                    roots.get(size).is_some_and(|root| *root != head.root)
                };
                if let Some((size, _)) = heads.by_size.iter().find(differs) {
                    let other = another.url.to_owned();
                    found.push((index, What::LogTwoHistories { other, size: *size }));
                }
            }
        }
        for (index, what) in found {
            desks[index].findings.add(&origin, what);
        }
    }
}
