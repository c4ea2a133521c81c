//! What the live screen shows, and what a key does to it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::line::Paint;
use super::Snapshot;
use super::throughput::Throughput;
use crate::cli::dock::clips::holds;
use crate::cli::{Complaint, Exit};
use crate::clip::{Clip, ClipId, Timestamp};

/// Keys and what they do, for the help and the last line.
pub(super) const KEYS: [(&str, &str); 7] = [
    ("↑ ↓ j k", "choose a clip; Home End: the first, the last"),
    ("Enter", "why it is not further, and what to do; Enter or Esc: back"),
    ("r", "try the chosen clip again now"),
    ("u", "send the chosen clip before all others"),
    ("p", "pause all buckets, or go on with them"),
    ("?", "this help"),
    ("q", "quit"),
];

/// What lies over the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Detail,
    Facts,
    Help,
}

/// What a key asks for that the view cannot do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    End(Exit),
    Order(Order),
}

/// What a key orders of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Prioritise(ClipId),
    Resume,
    Retry(ClipId),
}

/// All that the screen shows.
pub(super) struct View {
    pub snapshot: Snapshot,
    pub throughput: Throughput,
    /// The chosen clip: by its number, so that it stays chosen where others come and go.
    chosen: Option<ClipId>,
    /// Where it was in the list.
    index: usize,
    /// The first clip of the list that is shown.
    pub first: usize,
    /// How many clips are shown, since they were last drawn.
    pub page: usize,
    pub pane: Pane,
    /// What came of the last key.
    pub message: Option<String>,
    /// Why the last refresh failed.
    pub trouble: Option<Complaint>,
    pub paint: Paint,
}

impl View {
    pub(super) fn new(snapshot: Snapshot, paint: Paint) -> View {
        let mut throughput = Throughput::new(snapshot.now);
        throughput.count(&snapshot.receipts, &snapshot.uploads, snapshot.now);
        let chosen = snapshot.clips.first().map(|clip| clip.id);
        View {
            snapshot,
            throughput,
            chosen,
            index: 0,
            first: 0,
            page: 1,
            pane: Pane::Facts,
            message: None,
            trouble: None,
            paint,
        }
    }

    pub(super) fn receipts_since(&self) -> Timestamp {
        self.throughput.receipts_since()
    }

    /// Takes what a refresh read; where it failed, what was read before stays.
    pub(super) fn take(&mut self, read: Result<Snapshot, Complaint>) {
        match read {
            Err(complaint) => self.trouble = Some(complaint),
            Ok(snapshot) => {
                self.throughput.count(&snapshot.receipts, &snapshot.uploads, snapshot.now);
                self.snapshot = snapshot;
                self.trouble = None;
                let clips = &self.snapshot.clips;
                // Once the chosen clip is off the list, its neighbour is chosen.
                let found = clips.iter().position(|clip| Some(clip.id) == self.chosen);
                self.choose(found.unwrap_or(self.index));
            }
        }
    }

    fn choose(&mut self, index: usize) {
        self.index = index.min(self.snapshot.clips.len().saturating_sub(1));
        self.chosen = self.clip().map(|clip| clip.id);
    }

    /// The chosen clip.
    pub(super) fn clip(&self) -> Option<&Clip> {
        self.snapshot.clips.get(self.index)
    }

    /// Where the chosen clip is in the list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            let is_end = key.code == KeyCode::Char('c');
            return is_end.then_some(Action::End(Exit::Interrupted));
        }
        match key.code {
            KeyCode::Char('q') => return Some(Action::End(Exit::Ok)),
            KeyCode::Char('p') => {
                let is_paused = self.snapshot.status.is_paused();
                return Some(Action::Order(if is_paused { Order::Resume } else { Order::Pause }));
            }
            KeyCode::Char('r') => return self.retry(),
            KeyCode::Char('u') => {
                return self.clip().map(|clip| Action::Order(Order::Prioritise(clip.id)));
            }
            KeyCode::Down | KeyCode::Char('j') => self.choose(self.index.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.choose(self.index.saturating_sub(1)),
            KeyCode::PageDown => self.choose(self.index.saturating_add(self.page)),
            KeyCode::PageUp => self.choose(self.index.saturating_sub(self.page)),
            KeyCode::Home | KeyCode::Char('g') => self.choose(0),
            KeyCode::End | KeyCode::Char('G') => self.choose(usize::MAX),
            KeyCode::Enter => self.toggle(Pane::Detail),
            KeyCode::Char('?') => self.toggle(Pane::Help),
            KeyCode::Esc => self.pane = Pane::Facts,
            _ => {}
        }
        None
    }

    fn toggle(&mut self, pane: Pane) {
        self.pane = if self.pane == pane { Pane::Facts } else { pane };
    }

    fn retry(&mut self) -> Option<Action> {
        let clip = self.clip()?;
        let id = clip.id;
        if holds(clip).next().is_some() {
            return Some(Action::Order(Order::Retry(id)));
        }
        self.message = Some(format!("clip {id} is not held"));
        None
    }
}
