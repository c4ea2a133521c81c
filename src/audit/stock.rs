//! Taking stock: the clips that the logs name against the clips that are there.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::READ_COUNT_MAX;
use super::finding::{Findings, What};
use super::ledger::{Account, Ledger, Stored};
use super::revisions::Revisions;
use super::shelf::{ClipObject, DockShelf};
use crate::clip::{SealedName, Timestamp};
use crate::custody::place::clip_key;
use crate::edge::bucket::{Bucket, BucketError};

/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;
/// How many times `stale_after_seconds` a clip may wait for its receipts before it is a finding.
const PENDING_FACTOR: u64 = 7;

/// How far the clocks of dock and bucket may differ.
const CLOCK_SKEW_SECONDS: u64 = 900;

/// What the comparison counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    /// Objects with a clip's name.
    pub object_count: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Clips that the logs seal.
    pub sealed_count: u64,
    /// Clips that the logs say are stored.
    pub stored_count: u64,
    /// Sealed, not stored, not damaged.
    pub pending_count: u64,
    /// For how long the oldest of them has waited.
    pub pending_oldest_seconds: u64,
    /// Stored, and neither acknowledged by this bucket nor in it.
    pub elsewhere_count: u64,
    /// Stored, and gone after the retention.
    pub deleted_count: u64,
    /// Damaged on the dock before they were stored.
    pub damaged_count: u64,
}

/// What it is compared with.
pub struct Rules<'a> {
    /// The keyrings, for their retention.
    pub revisions: &'a Revisions,
    /// After how many seconds a quiet dock is stale.
    pub stale_after_seconds: u64,
    /// The time of the audit.
    pub now: Timestamp,
}

/// What one dock's comparison leaves open.
#[derive(Debug, Default)]
pub struct Open {
    /// Objects without an entry: another dock's log may have it.
    pub unlogged: Vec<ClipObject>,
    /// Clips without an object: it may have come since the bucket was listed.
    pub unlisted: Vec<SealedName>,
}

/// Compares one dock.
pub fn take_stock(
    dock: &str,
    shelf: &DockShelf,
    ledger: &Ledger,
    rules: &Rules<'_>,
    findings: &mut Findings,
) -> (Stock, Open) {
    let mut stock = Stock {
        object_count: shelf.clips.len() as u64,
        size_bytes: shelf.clips.iter().map(|clip| clip.size_bytes).sum(),
        ..Stock::default()
    };
    let mut open = Open::default();
    for (name, account) in &ledger.clips {
        let object = shelf.clip(*name);
        if count(account, object.is_some(), rules, &mut stock) {
            open.unlisted.push(*name);
        }
        if account.sealed.is_none() && account.stored != Stored::No {
            findings.add(clip_key(dock, *name), What::StoredUnsealed);
        }
    }
    // In one order, whatever the order of the table.
    open.unlisted.sort_unstable();
    if stock.pending_oldest_seconds > rules.stale_after_seconds.saturating_mul(PENDING_FACTOR) {
        let (count, oldest_seconds) = (stock.pending_count, stock.pending_oldest_seconds);
        findings.add(dock, What::PendingLong { count, oldest_seconds });
    }
    for clip in &shelf.clips {
        match ledger.clips.get(&clip.name).filter(|account| account.sealed.is_some()) {
            Some(account) if account.size_bytes != clip.size_bytes => {
                let (recorded, found) = (account.size_bytes, clip.size_bytes);
                findings.add(clip_key(dock, clip.name), What::ClipSize { recorded, found });
            }
            Some(_) => {}
            None => open.unlogged.push(*clip),
        }
    }
    (stock, open)
}

/// Asks for each clip that was not listed once more, and reports those that are not there: a dock
/// that is at work may have stored one after the listing had passed its place.
pub async fn expect_unlisted(
    bucket: &Bucket,
    dock: &str,
    unlisted: &[SealedName],
    ledger: &Ledger,
    findings: &mut Findings,
) -> Result<(), BucketError> {
    let mut asking = futures_util::stream::iter(unlisted.iter().copied())
        .map(|name| async move { (name, bucket.size(&clip_key(dock, name)).await) })
        .buffered(READ_COUNT_MAX);
    while let Some((name, found)) = asking.next().await {
        let account = &ledger.clips[&name];
        let what = match found {
            Ok(found) if account.sealed.is_none() || found == account.size_bytes => continue,
            Ok(found) => What::ClipSize { recorded: account.size_bytes, found },
            Err(BucketError::Missing) => {
                let log = ledger.logs.get(usize::from(account.log));
                let log = log.map_or_else(|| "?".into(), |log| format!("{dock}/log/{}", log.id));
                let sealed = account.sealed.map_or_else(|| "?".into(), |at| at.to_string());
                What::ClipMissing { log, sealed }
            }
            Err(error) => return Err(error),
        };
        findings.add(clip_key(dock, name), what);
    }
    Ok(())
}

/// Counts one clip; says whether it is missing.
fn count(account: &Account, is_there: bool, rules: &Rules<'_>, stock: &mut Stock) -> bool {
    let Some(sealed) = account.sealed else {
        return account.stored == Stored::Here && !is_there;
    };
    stock.sealed_count += 1;
    let age_seconds = rules.now.seconds_since(sealed);
    if account.is_damaged {
        stock.damaged_count += 1;
    } else if account.stored == Stored::No {
        stock.pending_count += 1;
        stock.pending_oldest_seconds = stock.pending_oldest_seconds.max(age_seconds);
    }
    if account.stored == Stored::No {
        return false;
    }
    stock.stored_count += 1;
    if is_there || account.is_damaged {
        return false;
    }
    if account.stored == Stored::Elsewhere {
        stock.elsewhere_count += 1;
        return false;
    }
    let revision = Some(u64::from(account.revision)).filter(|number| *number > 0);
    let days = rules.revisions.retention_days(revision);
    // A retention of 0 days allows no deletion at once: the day of sealing is part of it.
    if age_seconds / DAY_SECONDS > u64::from(days) {
        stock.deleted_count += 1;
        return false;
    }
    true
}

/// Whether its entry can be on its way: the dock publishes entries in batches.
fn is_young(clip: &ClipObject, newest: Timestamp) -> bool {
    clip.stored.plus_seconds(CLOCK_SKEW_SECONDS) > newest
}

/// Says of objects that no log of their dock seals what they are.
pub fn judge_unlogged(
    unlogged: &BTreeMap<&str, Vec<ClipObject>>,
    ledgers: &BTreeMap<&str, Ledger>,
    findings: &mut Findings,
) {
    for (dock, clips) in unlogged {
        let newest = ledgers
            .get(dock)
            .and_then(|ledger| ledger.logs.iter().filter_map(|log| log.newest).max());
        for clip in clips {
            let sealed_by = ledgers.iter().find(|(other, ledger)| {
                let account = ledger.clips.get(&clip.name);
                *other != dock && account.is_some_and(|account| account.sealed.is_some())
            });
            let what = match sealed_by {
                Some((other, _)) => What::ClipOfOtherDock { dock: (*other).to_owned() },
                None if newest.is_some_and(|newest| is_young(clip, newest)) => {
                    What::ClipUnpublished
                }
                None => What::ClipUnlogged,
            };
            findings.add(clip_key(dock, clip.name), what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::revisions::tests::revisions;
    use super::*;

    const NOW: i64 = 100 * 86_400_000;

    fn account(days_ago: i64) -> Account {
        Account {
            sealed: Some(Timestamp(NOW - days_ago * 86_400_000)),
            size_bytes: 5,
            revision: 1,
            log: 0,
            stored: Stored::Here,
            is_damaged: false,
        }
    }

    fn object(number: u8, size_bytes: u64) -> ClipObject {
        ClipObject { name: SealedName([number; 32]), size_bytes, stored: Timestamp(NOW) }
    }

    fn taken(accounts: &[(u8, Account)], objects: &[ClipObject]) -> (Stock, Vec<What>, [usize; 2]) {
        let revisions = revisions();
        let rules =
            Rules { revisions: &revisions, stale_after_seconds: 86_400, now: Timestamp(NOW) };
        let mut ledger = Ledger::default();
        for (number, account) in accounts {
            ledger.clips.insert(SealedName([*number; 32]), *account);
        }
        let shelf = DockShelf { clips: objects.to_vec(), ..DockShelf::default() };
        let mut findings = Findings::default();
        let (stock, open) = take_stock("d", &shelf, &ledger, &rules, &mut findings);
        let found = findings.sorted().into_iter().map(|finding| finding.what).collect();
        (stock, found, [open.unlogged.len(), open.unlisted.len()])
    }

    #[test]
    fn what_the_retention_allows_is_no_loss_and_a_day_earlier_is_one() {
        let (stock, _, open) = taken(&[(1, account(11))], &[]);
        assert_eq!((stock.deleted_count, open), (1, [0, 0]));
        let (stock, _, open) = taken(&[(1, account(10))], &[]);
        assert_eq!((stock.deleted_count, open), (0, [0, 1]));
    }

    #[test]
    fn what_another_bucket_acknowledged_is_not_missed_here() {
        let elsewhere = Account { stored: Stored::Elsewhere, ..account(1) };
        let all = [(1, elsewhere), (2, elsewhere), (3, account(1))];
        let (stock, found, open) = taken(&all, &[object(1, 5)]);
        assert_eq!((stock.stored_count, stock.elsewhere_count), (3, 1));
        assert_eq!((found, open), (vec![], [0, 1]));
    }

    #[test]
    fn a_clip_that_waits_is_counted_and_after_a_week_told() {
        let pending = |days| Account { stored: Stored::No, ..account(days) };
        let (stock, found, _) = taken(&[(1, pending(2)), (2, pending(1))], &[]);
        assert_eq!((stock.pending_count, stock.pending_oldest_seconds), (2, 172_800));
        assert_eq!(found, []);
        let (_, found, _) = taken(&[(1, pending(8))], &[]);
        assert!(matches!(found[..], [What::PendingLong { count: 1, .. }]));
    }

    #[test]
    fn a_damaged_clip_is_excused_and_a_cut_one_is_not() {
        let damaged = Account { stored: Stored::No, is_damaged: true, ..account(1) };
        let (stock, found, _) = taken(&[(1, damaged)], &[]);
        assert_eq!((stock.damaged_count, stock.pending_count, found.len()), (1, 0, 0));
        let (_, found, open) = taken(&[(1, account(1))], &[object(1, 4), object(2, 9)]);
        assert_eq!(found, [What::ClipSize { recorded: 5, found: 4 }]);
        assert_eq!(open, [1, 0]);
        let unsealed = Account { sealed: None, ..account(1) };
        let (_, found, open) = taken(&[(1, unsealed)], &[object(1, 5)]);
        assert_eq!((found, open), (vec![What::StoredUnsealed], [1, 0]));
    }
}
