//! One recorded run of a dock, its power cut again and again.

use std::fmt;
use std::ops::Add;
use std::path::Path;

use super::replay::{Cut, Left, Recording};
use super::site::{Layout, PoweredSite};
use super::truth::{Known, LOST, WRONGLY_ERASED};
use crate::support::random::Random;

/// Failures of one campaign after which it gives up.
const FAILURES_MAX: usize = 5;
/// One recovery in so many is cut as well.
const CUT_AGAIN_IN: u64 = 5;

/// What came of all images.
#[derive(Default)]
pub struct Tally {
    flush_points: usize,
    reordered: usize,
    /// Of those above, images whose recovery was cut too.
    again: usize,
    losses: usize,
    wrong_erasures: usize,
    duplicates: usize,
    failures: Vec<String>,
}

impl Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            flush_points: self.flush_points + other.flush_points,
            reordered: self.reordered + other.reordered,
            again: self.again + other.again,
            losses: self.losses + other.losses,
            wrong_erasures: self.wrong_erasures + other.wrong_erasures,
            duplicates: self.duplicates + other.duplicates,
            failures: [self.failures, other.failures].concat(),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { flush_points, reordered, again, losses, wrong_erasures, duplicates, .. } = self;
        let tried = flush_points + reordered;
        write!(f, "images tried {tried} (flush points {flush_points}, reordered {reordered}, ")?;
        write!(f, "cut again while recovering {again}), losses {losses}, ")?;
        write!(f, "wrong erasures {wrong_erasures}, duplicates {duplicates}")
    }
}

impl Tally {
    /// Nothing was wrong with any image.
    #[track_caller]
    pub fn assert_clean(&self) {
        let failures = &self.failures;
        assert!(failures.is_empty(), "{} images:\n{}", failures.len(), failures.join("\n"));
    }
}

/// A dock, what it did, and the truth about it.
pub struct Campaign {
    site: PoweredSite,
    erase: &'static str,
    recording: Recording,
    known: Known,
    random: Random,
    layout: Layout,
}

impl Campaign {
    /// Records an undisturbed run.
    pub fn new(layout: Layout, erase: &'static str, mut random: Random) -> Campaign {
        let mut site = PoweredSite::new(layout, erase, &mut random);
        let (recording, run) = site.record();
        let mut known = Known::default();
        let (wrong, _) = known.wrong_when_idle(&site, &run);
        assert_eq!(wrong, Vec::<String>::new(), "without any cut");
        Campaign { site, erase, recording, known, random, layout }
    }

    /// Tries so many images: half of them as they are just after a flush, each flush in turn where
    /// there are so many, the others with a part of what was not flushed.
    pub fn run(&mut self, images: usize, tally: &mut Tally) {
        let flush_points = self.recording.flush_points();
        let at_flush = images / 2;
        let offset = self.random.below(flush_points.len() as u64) as usize;
        let before = tally.failures.len();
        for number in 0..images {
            if tally.failures.len() >= before + FAILURES_MAX {
                return;
            }
            let cut = if number < at_flush {
                tally.flush_points += 1;
                let step = number * flush_points.len() / at_flush;
                flush_points[(offset + step) % flush_points.len()]
            } else {
                tally.reordered += 1;
                self.recording.within_epoch(&mut self.random)
            };
            let seed = self.random.seed();
            let left = self.recording.left(cut, &mut self.random);
            let wrong = self.check(&left, tally);
            if !wrong.is_empty() {
                self.keep(&left, cut, seed, &wrong, tally);
            }
        }
    }

    /// Lets the dock find what a cut left, perhaps cuts once more, and says what is wrong.
    fn check(&mut self, left: &Left, tally: &mut Tally) -> Vec<String> {
        if let Err(error) = self.site.put_back(&self.recording, left) {
            return vec![format!("cannot be mounted: {error}")];
        }
        let mut wrong = self.known.wrong_at_cut(&self.site, self.erase);
        if self.random.below(CUT_AGAIN_IN) == 0 {
            tally.again += 1;
            match self.cut_recovery() {
                Ok(found) => wrong.extend(found),
                Err(error) => return vec![error],
            }
        }
        let run = self.site.site.dock.run_until_idle();
        let (found, duplicates) = self.known.wrong_when_idle(&self.site, &run);
        wrong.extend(found);
        tally.duplicates += duplicates;
        wrong
    }

    /// Cuts the power while the dock recovers, and leaves it as that cut does.
    fn cut_recovery(&mut self) -> Result<Vec<String>, String> {
        let (recording, _) = self.site.record();
        let flush_points = recording.flush_points();
        let cut = match self.random.below(2) {
            0 if !flush_points.is_empty() => {
                flush_points[self.random.below(flush_points.len() as u64) as usize]
            }
            _ => recording.within_epoch(&mut self.random),
        };
        let left = recording.left(cut, &mut self.random);
        self.site.put_back(&recording, &left)?;
        Ok(self.known.wrong_at_cut(&self.site, self.erase))
    }

    /// Keeps the first image that is wrong, for whoever looks into it.
    fn keep(&self, left: &Left, cut: Cut, seed: u64, wrong: &[String], tally: &mut Tally) {
        let begins = |words: &'static str| wrong.iter().filter(move |w| w.starts_with(words));
        tally.losses += begins(LOST).count();
        tally.wrong_erasures += begins(WRONGLY_ERASED).count();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = format!("power-{:?}-{}", self.layout, self.erase);
        for (disk, image) in left.images.iter().enumerate() {
            let path = folder.join(format!("{name}-{disk}.img"));
            image.save(&path).expect("scratch can be written");
        }
        let flushes = self.recording.flush_points().iter().filter(|f| f.at <= cut.at).count();
        tally.failures.push(format!(
            "{name} (image kept in the target folder), {cut:?}, after flush {flushes}, bucket {}, \
             seed {seed}:\n  {}",
            left.snapshot,
            wrong.join("\n  ")
        ));
    }
}
