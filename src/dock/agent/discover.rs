//! Looking through one watch folder and telling the queue what is new, finished, changed or gone.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, files};
use crate::clip::{Clip, ClipId, Fact, Plaintext, Source, State};
use crate::dock::config::{Config, Watch};
use crate::dock::erase::{EraseFault, put_back, quarantine, quarantined};
use crate::dock::lifecycle;
use crate::dock::queue::{FolderLine, QueueError, Reader};
use crate::dock::watch::{Quiet, Scan, Settling, scan};
use crate::edge::clock::{self, Instant};
use crate::edge::fs::{Facts, Folder, overlap};
use crate::error::chain;
use crate::hold::{Hold, Reason};

/// Rows that are read at a time.
const PAGE_SIZE: u64 = 1000;
/// Until a file without its completion marker is looked at again.
const UNMARKED_AGAIN: Duration = Duration::from_secs(60);
/// Until a file is looked at again whose name another clip had that is being erased.
const ERASED_SOON: Duration = Duration::from_secs(5);

/// What a look through a folder means for the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    /// When the first unfinished file may have settled.
    pub(super) settles_at: Option<Instant>,
}

/// Looks through a folder, on a thread that may block.
pub(super) fn look_through(
    context: &Context,
    watch: &Watch,
    settling: &mut Settling,
    mode: &str,
) -> Result<Looked, QueueError> {
    let line = |scan: &Scan, problem: Option<String>| FolderLine {
        path: watch.path.clone(),
        looked_at: clock::now(),
        mode: mode.to_owned(),
        file_count: scan.clips.len() as u64,
        ignored_count: scan.ignored_count,
        problem,
        problem_since: None,
    };
    let folder = match Folder::open(&watch.path) {
        Ok(folder) => folder,
        Err(error) => {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "does not exist yet; waiting for it".to_owned(),
                _ => format!("cannot be read: {}", chain(&error)),
            };
            let line = line(&Scan::default(), Some(problem));
            context.queue.folder_looked_at_blocking(line)?;
            return Ok(Looked { settles_at: None });
        }
    };
    if let Some(problem) = own_folder(&context.config, watch) {
        context.queue.folder_looked_at_blocking(line(&Scan::default(), Some(problem)))?;
        return Ok(Looked { settles_at: None });
    }
    let reader = context.queue.reader()?;
    // Where the queue does not answer, the look ends before anything comes of it.
    let is_erased = |name: &OsStr| {
        let id = quarantined(name, &context.instance);
        id.is_some_and(|id| {
            let clip = reader.clip(id);
            clip.map_or(true, |clip| clip.is_some_and(|c| c.plaintext == Plaintext::Present))
        })
    };
    let found = scan(&folder, watch, is_erased);
    for quarantine in &found.empty_quarantines {
        context.erasing.remove_empty(&folder, quarantine);
    }
    let mut look = Look { context, watch, folder: &folder, found: &found, reader, new: vec![] };
    let settles_at = look.files(settling)?;
    look.others()?;
    if found.problem.is_none() {
        look.missing()?;
        settling.keep_only(|path| found.clips.contains_key(path));
    }
    look.flush()?;
    let problem = found.problem.as_ref().map(|e| format!("cannot be read in part: {}", chain(e)));
    context.queue.folder_looked_at_blocking(line(&found, problem))?;
    Ok(Looked { settles_at })
}

/// What the config could not see, because a link came in between: a watch folder that holds the
/// queue, the spool or a bucket. Their files would be sealed, and erased.
pub fn own_folder(config: &Config, watch: &Watch) -> Option<String> {
    // Beneath it is a place for test clips, in which nothing of ours lies.
    let is_proof = watch.path == config.state_dir.join(files::PROOF);
    if overlap(&watch.path, &config.state_dir) && !is_proof {
        return Some("leads to state_dir by a link: not looked through".to_owned());
    }
    let buckets = config.buckets.iter().filter_map(|bucket| Some((bucket, bucket.folder()?)));
    let mut own = buckets.filter(|(_, folder)| overlap(&watch.path, folder));
    let (bucket, _) = own.next()?;
    Some(format!("leads to bucket `{}` by a link: not looked through", bucket.name))
}

struct Look<'a> {
    context: &'a Context,
    watch: &'a Watch,
    folder: &'a Folder,
    found: &'a Scan,
    reader: Reader,
    new: Vec<Clip>,
}

impl Look<'_> {
    /// Every regular file: known, new, changed, or finished by now.
    fn files(&mut self, settling: &mut Settling) -> Result<Option<Instant>, QueueError> {
        let mut settles_at: Option<Instant> = None;
        for (path, facts) in &self.found.clips {
            let known = match self.known(path, facts)? {
                Some(known) if known.sealed.is_none() => known,
                Some(sealed) if sealed.generation.same_content(&facts.generation) => continue,
                Some(sealed) if self.is_erasing(&sealed) => {
                    settles_at = soonest(settles_at, Some(Instant::now() + ERASED_SOON));
                    continue;
                }
                Some(sealed) => {
                    self.written_to(&sealed)?;
                    settles_at = soonest(settles_at, self.add_new(settling, path, facts)?);
                    continue;
                }
                None => {
                    settles_at = soonest(settles_at, self.add_new(settling, path, facts)?);
                    continue;
                }
            };
            let is_stale = !known.generation.same_content(&facts.generation);
            let is_back = known
                .hold
                .as_ref()
                .is_some_and(|hold| matches!(hold.reason, Reason::Vanished | Reason::NotAFile));
            if is_stale || is_back {
                self.record(known.id, Fact::Rewritten(facts.generation))?;
            } else if known.settled_at.is_some() {
                continue;
            }
            match self.settle(settling, path, facts) {
                Some(until) => settles_at = soonest(settles_at, Some(until)),
                None => self.record(known.id, Fact::Settled(clock::now()))?,
            }
        }
        Ok(settles_at)
    }

    /// The clip at a place, or the one that was renamed to it before it was sealed.
    fn known(&mut self, path: &Path, facts: &Facts) -> Result<Option<Clip>, QueueError> {
        let source = self.source(path);
        if let Some(clip) = self.reader.at(&source)? {
            return Ok(Some(clip));
        }
        let inode = facts.generation.inode_number;
        for mut clip in self.reader.seen_of_inode(inode)? {
            let was_here = clip.source.as_ref().is_some_and(|old| {
                old.folder == source.folder && !self.found.clips.contains_key(&old.path)
            });
            if was_here && clip.generation.device_number == facts.generation.device_number {
                self.record(clip.id, Fact::Moved(source.clone()))?;
                // As the queue has it now.
                clip.settled_at = None;
                clip.source = Some(source);
                return Ok(Some(clip));
            }
        }
        Ok(None)
    }

    /// `None` where the file is finished, else when to look again.
    fn settle(&self, settling: &mut Settling, path: &Path, facts: &Facts) -> Option<Instant> {
        let now = Instant::now();
        let settle = Duration::from_secs(self.watch.settle_seconds);
        if self.watch.completion_marker.is_some() {
            // Without its marker it is not finished, however quiet; the marker's arrival, or the
            // next rescan, brings us back.
            let is_complete = self.found.completed.contains(path);
            return (!is_complete).then(|| now + UNMARKED_AGAIN);
        }
        match settling.observe(path, &facts.generation, settle, now) {
            Quiet::Settled => None,
            Quiet::Until(until) => Some(until),
        }
    }

    /// A new clip; says when it may have settled, unless it has.
    ///
    /// Looks once more: the scan may have seen the file just before it was erased, and the queue
    /// been asked just after. A file that is there now, and of which the queue knew nothing a
    /// moment ago, is new.
    fn add_new(
        &mut self,
        settling: &mut Settling,
        path: &Path,
        facts: &Facts,
    ) -> Result<Option<Instant>, QueueError> {
        if !matches!(self.folder.look(path), Ok(Some(_))) {
            return Ok(None);
        }
        let now = clock::now();
        let settles_at = self.settle(settling, path, facts);
        let mut clip = Clip::seen(self.source(path), facts.generation, now);
        clip.settled_at = settles_at.is_none().then_some(now);
        self.add(clip)?;
        Ok(settles_at)
    }

    /// A clip that an erasure moved to quarantine, and that may not be erased any more (another
    /// bucket is required by now, or `erase` is another), lies where it was again.
    fn put_back(&self, id: ClipId) -> Result<(), QueueError> {
        // As it is now: an erasure begins on a row that says so.
        let clip = self.reader.clip(id)?.filter(|clip| !self.may_be_erased(clip));
        let Some(clip) = clip else { return Ok(()) };
        let Some(source) = &clip.source else { return Ok(()) };
        let moved = quarantine(self.folder, &source.path, &self.context.instance, clip.id);
        let back = moved
            .map_err(EraseFault::Look)
            .and_then(|moved| put_back(self.folder, &source.path, &clip.generation, &moved));
        if let Err(fault) = back {
            tracing::warn!(clip = clip.id.0, "in quarantine: {}", chain(&fault));
        }
        Ok(())
    }

    /// Whether a clip is being erased, or was moved to quarantine by an erasure that will go on.
    /// A file that has its name by now waits, and the erasing itself says what became of the clip.
    fn is_erasing(&self, sealed: &Clip) -> bool {
        lifecycle::is_erasing(sealed, &self.context.policy(sealed), clock::now())
            || self.is_quarantined(sealed) && self.may_be_erased(sealed)
    }

    fn is_quarantined(&self, clip: &Clip) -> bool {
        let Some(source) = &clip.source else { return false };
        let moved = quarantine(self.folder, &source.path, &self.context.instance, clip.id);
        moved.is_ok_and(|moved| self.is_there(&moved))
    }

    fn is_there(&self, path: &Path) -> bool {
        !matches!(self.folder.look(path), Ok(None))
    }

    fn may_be_erased(&self, clip: &Clip) -> bool {
        lifecycle::prove(clip, &self.context.policy(clip)).is_some()
    }

    /// A sealed clip whose file has other content by now: what is there now is a clip of its own.
    fn written_to(&self, sealed: &Clip) -> Result<(), QueueError> {
        tracing::warn!(clip = sealed.id.0, "written to after it was sealed; sealing it again");
        let fact = Fact::Gone { plaintext: Plaintext::Changed, at: clock::now() };
        self.record(sealed.id, fact)
    }

    /// Links, FIFOs, devices, sockets: never opened, and visible until somebody moves them away.
    fn others(&mut self) -> Result<(), QueueError> {
        for (path, facts) in &self.found.others {
            let source = self.source(path);
            let known = self.reader.at(&source)?;
            let now = clock::now();
            let cause = "a link, FIFO, device or socket, not a regular file";
            let hold = Hold::for_operator(Reason::NotAFile, cause, now);
            match known {
                // Not silent for ever: it took the place of a clip, or an operator had it retried.
                Some(known) if known.sealed.is_none() => {
                    if known.hold.is_none_or(|hold| hold.reason != Reason::NotAFile) {
                        self.record(known.id, Fact::Held(hold))?;
                    }
                    continue;
                }
                Some(sealed) if self.is_erasing(&sealed) => continue,
                Some(sealed) => self.written_to(&sealed)?,
                None => {}
            }
            let clip = Clip { hold: Some(hold), ..Clip::seen(source, facts.generation, now) };
            self.add(clip)?;
        }
        Ok(())
    }

    /// Clips that the queue knows here and the scan did not find.
    fn missing(&mut self) -> Result<(), QueueError> {
        let there: HashSet<&PathBuf> =
            self.found.clips.keys().chain(self.found.others.keys()).collect();
        let mut after = ClipId(0);
        loop {
            let page = self.reader.in_folder(&self.watch.path, after, PAGE_SIZE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for clip in page {
                let path = clip.source.as_ref().map(|source| &source.path);
                if path.is_some_and(|path| !there.contains(path)) {
                    self.gone(clip)?;
                }
            }
        }
    }

    /// A clip is not where it was. Looks once more, because the scan is older than the row may be,
    /// and concludes nothing where the medium itself is not there.
    fn gone(&mut self, clip: Clip) -> Result<(), QueueError> {
        let Some(source) = &clip.source else { return Ok(()) };
        let device = self.folder.device_towards(&source.path).ok();
        if self.is_there(&source.path) {
            return Ok(());
        }
        if self.is_quarantined(&clip) {
            return self.put_back(clip.id);
        }
        let now = clock::now();
        if device != Some(clip.generation.device_number) {
            // Nobody else says so of a clip that is not finished: it would wait in silence.
            if clip.state() == State::Seen && clip.hold.is_none() {
                let cause = "the medium with the file is not there";
                self.record(
                    clip.id,
                    Fact::Held(Hold::for_operator(Reason::SourceAway, cause, now)),
                )?;
            }
            return Ok(());
        }
        match clip.state() {
            State::Seen => {
                let is_file = clip.hold.as_ref().is_none_or(|h| h.reason != Reason::NotAFile);
                if is_file && clip.settled_at.is_some() {
                    let is_known = clip.hold.is_some_and(|h| h.reason == Reason::Vanished);
                    let cause = "the finished file disappeared before it was sealed";
                    let hold = Hold::for_operator(Reason::Vanished, cause, now);
                    if !is_known {
                        tracing::error!(clip = clip.id.0, "disappeared before it was sealed");
                        self.record(clip.id, Fact::Held(hold))?;
                    }
                } else {
                    tracing::info!(clip = clip.id.0, "removed before it was finished");
                    ignore_races(self.context.queue.forget_blocking(clip.id))?;
                }
            }
            State::Sealed | State::Stored | State::Erased => {
                // Where it may be erased, the erasing itself finds out: it may have moved it.
                if !self.may_be_erased(&clip) {
                    tracing::warn!(clip = clip.id.0, "its plaintext was removed by somebody else");
                    let fact = Fact::Gone { plaintext: Plaintext::Absent, at: now };
                    self.record(clip.id, fact)?;
                }
            }
        }
        Ok(())
    }

    fn source(&self, path: &Path) -> Source {
        Source { folder: self.watch.path.clone(), path: path.to_owned() }
    }

    fn add(&mut self, clip: Clip) -> Result<(), QueueError> {
        self.new.push(clip);
        if self.new.len() >= PAGE_SIZE as usize { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), QueueError> {
        let new = std::mem::take(&mut self.new);
        if new.is_empty() { Ok(()) } else { self.context.queue.found_blocking(new) }
    }

    fn record(&self, id: ClipId, fact: Fact) -> Result<(), QueueError> {
        ignore_races(self.context.queue.record_blocking(id, vec![fact]))
    }
}

/// A worker may have sealed, or an operator forgotten, the clip since its row was read. Then the
/// observation is out of date, and the next look makes a new one.
fn ignore_races(result: Result<(), QueueError>) -> Result<(), QueueError> {
    match result {
        Err(QueueError::Contradiction(_) | QueueError::NoClip) => Ok(()),
        other => other,
    }
}

fn soonest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
