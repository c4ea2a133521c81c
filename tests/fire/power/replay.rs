//! What the disks hold after a power cut: every completed flush, and any part of what came after.

use super::disk::{Event, Image};
use super::outside::Outside;
use crate::support::random::Random;

/// A run, as the disks and the world outside saw it.
pub struct Recording {
    /// The disks as the run began, all of it durable.
    pub base: Vec<Image>,
    /// What happened then.
    pub events: Vec<Event>,
    /// The snapshots that the events name.
    pub outside: Outside,
}

/// A moment, and how much of what was not flushed by then is on the disks.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The number of events before it.
    pub at: usize,
    /// Of 8 pages that were written and not flushed, so many are there, each drawn by itself.
    pub kept_of_8: u64,
}

/// What a cut leaves.
pub struct Left {
    pub images: Vec<Image>,
    /// Of the world outside.
    pub snapshot: usize,
}

impl Recording {
    /// The cuts just after each completed flush, with nothing of what came later.
    pub fn flush_points(&self) -> Vec<Cut> {
        let events = self.events.iter().enumerate();
        let flushes = events.filter(|(_, event)| matches!(event, Event::Flush { .. }));
        flushes.map(|(index, _)| Cut { at: index + 1, kept_of_8: 0 }).collect()
    }

    /// A cut within an epoch: some pages are there, in any order.
    pub fn within_epoch(&self, random: &mut Random) -> Cut {
        let writes: Vec<usize> = self
            .events
            .iter()
            .enumerate()
            .filter_map(|(index, event)| matches!(event, Event::Write { .. }).then_some(index))
            .collect();
        let write = writes[random.below(writes.len() as u64) as usize];
        Cut { at: write + 1, kept_of_8: [1, 4, 7, 8][random.below(4) as usize] }
    }

    /// What is there after a cut.
    pub fn left(&self, cut: Cut, random: &mut Random) -> Left {
        let mut images = self.base.clone();
        let mut flushed_until = vec![0; images.len()];
        let mut snapshot = 0;
        for (index, event) in self.events[..cut.at].iter().enumerate() {
            match event {
                Event::Flush { disk } => flushed_until[*disk] = index,
                Event::Outside { snapshot: now } => snapshot = *now,
                Event::Write { .. } => {}
            }
        }
        // It was looked at because of the next event, and may have changed before the cut.
        if let Some(Event::Outside { snapshot: next }) = self.events.get(cut.at)
            && random.below(2) == 0
        {
            snapshot = *next;
        }
        for (number, event) in self.events[..cut.at].iter().enumerate() {
            let Event::Write { disk, index, page } = event else { continue };
            if number < flushed_until[*disk] || random.below(8) < cut.kept_of_8 {
                images[*disk].put(*index, page.clone());
            }
        }
        Left { images, snapshot }
    }
}
