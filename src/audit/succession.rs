//! The logs of one dock: which continues which, and whether the last one still speaks.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Findings, What};
use super::ledger::LogFacts;
use super::memory::Witnessed;
use super::revisions::Revisions;
use crate::clip::Timestamp;
use crate::custody::merkle::Hash;
use crate::custody::{LogId, folder};
use crate::keyring::day_of;

/// How far a dock's clock may be ahead of the auditor's.
const AHEAD_SECONDS_MAX: u64 = 3600;

/// What a walk of each log gave: its size, and roots by size.
pub type Roots = BTreeMap<LogId, (u64, BTreeMap<u64, Hash>)>;

/// Judges how the logs of a dock follow each other.
pub fn judge(dock: &str, logs: &[LogFacts], roots: &Roots, findings: &mut Findings) {
    let mut beginnings: Vec<_> = logs.iter().filter(|log| log.previous.is_none()).collect();
    beginnings.sort_by_key(|log| log.started);
    for log in beginnings.into_iter().skip(1) {
        findings.add(folder(dock, log.id), What::LogUnexplained);
    }
    let mut continued: BTreeMap<LogId, LogId> = BTreeMap::new();
    for log in logs {
        let Some(previous) = log.previous else { continue };
        let object = folder(dock, log.id);
        let earlier = folder(dock, previous.log);
        if let Some(other) = continued.insert(previous.log, log.id) {
            let other = other.to_string();
            findings.add(&object, What::LogForked { previous: earlier.clone(), other });
        }
        if !log.is_acknowledged {
            findings.add(&object, What::LogUnacknowledged { previous: earlier.clone() });
        }
        let by = format!("its successor {}", log.id);
        let remembered = previous.size;
        match roots.get(&previous.log) {
            None => findings.add(earlier, What::LogVanished { by, remembered }),
            Some((found, _)) if *found < remembered => {
                findings.add(earlier, What::LogRolledBack { by, remembered, found: *found });
            }
            Some((_, roots)) if roots.get(&remembered) != Some(&previous.root) => {
                findings.add(earlier, What::LogRewritten { by, size: remembered });
            }
            Some((found, _)) if *found > remembered => {
                let next = log.id.to_string();
                let what = What::LogLonger { next, named: remembered, found: *found };
                findings.add(earlier, what);
            }
            Some(_) => {}
        }
    }
}

/// The logs that no later one continues.
pub fn tips(logs: &[LogFacts]) -> Vec<&LogFacts> {
    let continued: BTreeSet<_> = logs.iter().filter_map(|log| Some(log.previous?.log)).collect();
    logs.iter().filter(|log| !continued.contains(&log.id)).collect()
}

/// Says where an enrolled dock has been quiet for too long.
pub fn judge_silence(
    dock: &str,
    logs: &[LogFacts],
    (revisions, now, stale_after_seconds): (&Revisions, Timestamp, u64),
    findings: &mut Findings,
) {
    let keys = revisions.keys_of(dock);
    if !keys.iter().any(|enrolled| enrolled.days.contains(day_of(now))) {
        return;
    }
    // The newest of all that speak: an unexplained second log is reported as such.
    let tips = tips(logs);
    if tips.iter().any(|log| log.is_closed) {
        return;
    }
    let newest = tips.iter().filter_map(|log| Some((log.newest?, log.id))).max();
    let Some((newest, id)) = newest else { return };
    if newest > now.plus_seconds(AHEAD_SECONDS_MAX) {
        // Otherwise a dock could date one entry years ahead, and never be stale again.
        findings.add(folder(dock, id), What::EntryAhead { newest: newest.to_string() });
    }
    let age_seconds = now.seconds_since(newest);
    if age_seconds > stale_after_seconds {
        let what = What::Stale { newest: newest.to_string(), age_seconds };
        findings.add(folder(dock, id), what);
    }
}

/// The sizes at which the roots of a log are asked for beyond its own checkpoints.
pub fn witnessed_sizes<'a>(seen: &'a [Witnessed], origin: &'a str) -> impl Iterator<Item = u64> {
    let of_log = seen.iter().filter(move |one| one.checkpoint.origin == origin);
    of_log.map(|one| one.checkpoint.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::Head;
    use crate::custody::merkle::leaf_hash;

    fn log(id: u8, started: i64, previous: Option<Head>) -> LogFacts {
        LogFacts {
            id: LogId([id; 8]),
            entry_count: 1,
            started: Some(Timestamp(started)),
            previous,
            newest: Some(Timestamp(started)),
            is_closed: false,
            is_acknowledged: true,
            events: BTreeMap::new(),
        }
    }

    fn judged(logs: &[LogFacts], size: u64) -> Vec<What> {
        let root = leaf_hash(b"root");
        let roots = logs.iter().map(|log| (log.id, (size, [(5, root)].into()))).collect();
        let mut findings = Findings::default();
        judge("d", logs, &roots, &mut findings);
        findings.sorted().into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_log_that_names_the_one_before_it_is_explained() {
        let head = Head { log: LogId([1; 8]), size: 5, root: leaf_hash(b"root") };
        let first = log(1, 0, None);
        let next = log(2, 9, Some(head));
        let both = [first.clone(), next.clone()];
        assert_eq!(judged(&both, 5), []);
        assert_eq!(tips(&both).iter().map(|log| log.id).collect::<Vec<_>>(), [next.id]);
        assert!(matches!(judged(&both, 6).as_slice(), [What::LogLonger { found: 6, .. }]));
        assert!(matches!(judged(&both, 4).as_slice(), [What::LogRolledBack { .. }]));
        assert!(matches!(judged(&both[1..], 5).as_slice(), [What::LogVanished { .. }]));
        let wrong = log(2, 9, Some(Head { root: leaf_hash(b"other"), ..head }));
        assert!(matches!(judged(&[first.clone(), wrong], 5)[..], [What::LogRewritten { .. }]));
        assert_eq!(judged(&[first.clone(), log(3, 5, None)], 5), [What::LogUnexplained]);
        let fork = [first, next, log(3, 9, Some(head))];
        assert!(matches!(judged(&fork, 5)[..], [What::LogForked { .. }]));
    }
}
