//! Disks that fail: the daemon ends, never goes on with that file, and a restart mends all.

use std::collections::BTreeMap;
use std::time::Instant;

use super::disk::{Failing, Fault};
use super::replay::{Left, Recording};
use super::site::{Layout, PoweredSite};
use super::truth::Known;
use super::{clean_up, depth, say};
use crate::support::dock::Finished;
use crate::support::random::Random;
use crate::support::tools::needs;

/// The exit codes of DESIGN §10.
const HALTED: i32 = 1;
const PARTIAL: i32 = 3;
/// SQLite takes a page that cannot be read for a corrupt database: that is for an operator.
const FOR_AN_OPERATOR: i32 = 10;
const UNREACHABLE: i32 = 14;
/// Far more requests than a run makes: until somebody repairs the disk.
const UNTIL_REPAIRED: u64 = 1 << 40;

struct Failures {
    site: PoweredSite,
    recording: Recording,
    known: Known,
    random: Random,
    /// Runs by what failed and how they ended.
    seen: BTreeMap<String, usize>,
}

impl Failures {
    fn new(layout: Layout, erase: &'static str) -> Failures {
        let mut random = Random::new();
        let mut site = PoweredSite::new(layout, erase, &mut random);
        let (recording, run) = site.record();
        let mut known = Known::default();
        assert_eq!(known.wrong_when_idle(&site, &run).0, Vec::<String>::new());
        Failures { site, recording, known, random, seen: BTreeMap::new() }
    }

    /// One run with a fault, on the dock as it was at first; the bucket may be away, so that sealed
    /// files must stay what they are. Gives how it ended, and how many requests failed.
    fn run(&mut self, fault: Fault, bucket_is_away: bool) -> (Finished, u64) {
        let first = Left { images: self.recording.base.clone(), snapshot: 0 };
        self.site.put_back(&self.recording, &first).expect("it is whole");
        if bucket_is_away {
            self.site.site.take_bucket_away();
        }
        self.site.disks.fail(fault);
        let run = self.site.site.dock.run_until_idle();
        // The power is cut right then: what the kernel still has in memory is lost.
        let images = self.site.disks.images();
        let failed = self.site.disks.repair();
        if bucket_is_away {
            self.site.bring_bucket_back();
        }
        self.site.hold_and_mount(images).expect("ext4 mends itself");
        (run, failed)
    }

    /// After the repair: nothing that is recorded is untrue, and a restart finishes everything.
    #[track_caller]
    fn assert_mended(&mut self, erase: &str, fault: Fault, run: &Finished) {
        let wrong = self.known.wrong_at_cut(&self.site, erase);
        assert!(wrong.is_empty(), "{fault:?}: {wrong:#?}\nthe run had said:\n{}", run.stderr);
        self.site.site.dock.finish(&["retry", "--all"]);
        let again = self.site.site.dock.run_until_idle();
        let (wrong, _) = self.known.wrong_when_idle(&self.site, &again);
        assert!(wrong.is_empty(), "{fault:?}: {wrong:#?}\nthe run had said:\n{}", run.stderr);
    }

    fn count(&mut self, what: &str, code: i32) {
        *self.seen.entry(format!("{what} ended with {code}")).or_default() += 1;
    }
}

#[test]
fn a_failed_write_of_a_sealed_file_ends_the_daemon_and_is_never_believed() {
    needs!(Ext4, Fuse, Loop, Root, Setpriv);
    clean_up();
    let mut failures = Failures::new(Layout::TwoDisks, "when-stored");
    // One request fails, once: what fsync says then, it says only once. The requests of the two
    // large clips follow each other.
    for skip in 0..depth(3, 10) as u64 {
        let fault = Fault { disk: 0, failing: Failing::Ciphertext, skip, count: 1 };
        let (run, failed) = failures.run(fault, true);
        assert_eq!(failed, 1, "{fault:?}");
        assert_eq!(run.code, HALTED, "{fault:?}: {}", run.stderr);
        assert!(run.stderr.contains("disk failed"), "{fault:?}: {}", run.stderr);
        failures.assert_mended("when-stored", fault, &run);
    }
}

#[test]
fn a_disk_that_fails_anywhere_halts_the_daemon_and_loses_nothing() {
    needs!(Ext4, Fuse, Loop, Root, Setpriv);
    clean_up();
    let began = Instant::now();
    let mut failures = Failures::new(Layout::OneDisk, "when-sealed");
    let seed = failures.random.seed();
    let (mut hit, mut halted) = (0, 0);
    for number in 0..depth(30, 200) {
        let random = &mut failures.random;
        let failing = [Failing::Writes, Failing::Flushes, Failing::Reads][number % 3];
        let count = [1, UNTIL_REPAIRED][random.below(2) as usize];
        let limit = if failing == Failing::Reads { 30 } else { 120 };
        let fault = Fault { disk: 0, failing, skip: random.below(limit), count };
        let bucket_is_away = random.below(2) == 0;
        let (run, failed) = failures.run(fault, bucket_is_away);
        if failed == 0 {
            continue;
        }
        hit += 1;
        let is_read = failing == Failing::Reads;
        let has_ended = run.code == HALTED || is_read && run.code == FOR_AN_OPERATOR;
        halted += usize::from(has_ended);
        failures.count(&format!("{failing:?}"), run.code);
        let is_unharmed = [0, PARTIAL, UNREACHABLE].contains(&run.code);
        assert!(has_ended || is_unharmed, "{fault:?}: {} {}", run.code, run.stderr);
        failures.assert_mended("when-sealed", fault, &run);
    }
    let seconds = began.elapsed().as_secs();
    say(&format!(
        "power: failing disk: {hit} faults hit, {halted} halts, {seconds} s, seed {seed}"
    ));
    failures.seen.iter().for_each(|(what, times)| say(&format!("power:   {what}: {times}")));
    assert!(halted * 2 > hit, "of {hit} faults only {halted} ended the daemon");
}
