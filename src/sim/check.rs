//! What must be so after every step, and once all is well again.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::cameras::is_quarantined;
use super::dice::Dice;
use super::episode::{DOCK, Episode};
use super::truth::{Content, Truth, short};
use super::world::State as WorldState;
use crate::clip::{Clip, Evidence, Plaintext, SealedName, State};
use crate::custody::place::clip_key;
use crate::dock::config::EraseWhen;
use crate::hold::Reason;

/// Quarters of an hour within which all must be done once all is well.
const ROUNDS_MAX: usize = 40;

type Checked = Result<(), String>;

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Episode {
    /// What must be so at any time.
    pub(super) fn check(&mut self) -> Checked {
        let commits = self.world.state().commits;
        if self.rows_at != commits {
            self.rows = self.list();
            self.rows_at = commits;
        }
        let state = &mut *self.world.state();
        if let Some(wrong) = state.wrong.first() {
            return Err(wrong.clone());
        }
        state.truth.look_into(&state.buckets)?;
        let spooled = state.truth.spooled()?;
        let present = state.present();
        nothing_is_lost(state, &present, &spooled.values().copied().collect())?;
        for row in &self.rows {
            let before = self.before.get(&row.id);
            if before != Some(row) {
                moved_along_an_edge(row, before)?;
                gone_only_where_it_is(state, row, before, &present)?;
                receipts_are_true(state, row)?;
            }
            sealed_is_durable(state, row, spooled.contains_key(&name_of(row)))?;
        }
        self.before = self.rows.iter().map(|row| (row.id, row.clone())).collect();
        Ok(())
    }

    /// Once faults stop, everything comes to its end within some hours.
    pub(super) async fn converge(&mut self) -> Checked {
        self.calm();
        let mut undone = Ok(());
        for _ in 0..ROUNDS_MAX {
            tokio::time::advance(Duration::from_secs(890)).await;
            self.pass(Duration::from_secs(8)).await?;
            self.check()?;
            undone = self.settled();
            if undone.is_err() {
                self.retry()?;
                continue;
            }
            // Not before: an operator who tries again adds to the log.
            undone = self.is_published();
            if undone.is_ok() {
                return Ok(());
            }
        }
        undone.map_err(|what| format!("not done although all is well: {what}"))
    }

    fn settled(&mut self) -> Checked {
        let rows = self.list();
        let now = crate::edge::world::World::now(&*self.world);
        for row in &rows {
            let policy = row.source.as_ref().and_then(|source| self.config.watch(&source.folder));
            let keeps = policy.is_some_and(|watch| watch.erase == EraseWhen::Never);
            let is_done = match row.state() {
                State::Erased => true,
                State::Stored => keeps || row.plaintext == Plaintext::Changed,
                State::Seen | State::Sealed => false,
            };
            // Stored by a clock that was ahead: it is kept until then, and nobody waits for it.
            let is_kept = row.stored_at.is_some_and(|stored_at| stored_at > now);
            let is_done = is_done && row.sealed.is_some_and(|sealed| !sealed.in_spool || is_kept);
            expect(is_done || is_for_an_operator(row), || format!("{row:?}"))?;
        }
        let state = &mut *self.world.state();
        for (inode, path) in state.present() {
            let Some(clip) = state.truth.clips.get(&inode) else {
                return Err(format!("a file that nobody wrote: {}", path.display()));
            };
            let stays = state.truth.erase[&clip.medium] == EraseWhen::Never;
            expect(stays, || format!("not erased: {}", path.display()))?;
            expect(state.truth.is_stored(&clip.content), || {
                format!("not stored: {}", path.display())
            })?;
        }
        nothing_is_left_over(state, &rows)
    }

    /// Every bucket has the whole log.
    fn is_published(&self) -> Checked {
        let state = self.world.state();
        let reader = state.reader.as_ref().expect("opened");
        let (_, size) = reader.log().expect("the queue can be read");
        for bucket in &self.config.buckets {
            let published = reader.published(&bucket.name).expect("the queue can be read").size;
            expect(published == size, || {
                format!("{} has {published} of {size} entries of the log", bucket.name)
            })?;
        }
        Ok(())
    }
}

fn name_of(row: &Clip) -> SealedName {
    row.sealed.map_or(SealedName([0; 32]), |sealed| sealed.name)
}

/// Lost by what a simulated disk or person did, and visibly so.
fn is_for_an_operator(row: &Clip) -> bool {
    let reasons = [Reason::SpoolDamaged, Reason::SourceAway, Reason::Vanished];
    row.hold.as_ref().is_some_and(|hold| reasons.contains(&hold.reason))
}

/// I1: whatever nobody else destroyed is on its medium, sealed, or in every required bucket.
fn nothing_is_lost(
    state: &WorldState,
    present: &HashMap<u64, PathBuf>,
    spooled: &HashSet<Content>,
) -> Checked {
    let plain = state.truth.clips.iter().filter(|(inode, _)| present.contains_key(inode));
    let plain: HashSet<Content> = plain.map(|(_, clip)| clip.content).collect();
    for content in &state.truth.owed {
        let is_held =
            plain.contains(content) || spooled.contains(content) || state.truth.is_stored(content);
        expect(is_held, || {
            let of = |clip: &&super::truth::Clip| clip.content == *content;
            format!("lost: {} {:?}", short(content), state.truth.clips.values().find(of))
        })?;
    }
    Ok(())
}

/// I7: a clip's state changes as the lifecycle says.
fn moved_along_an_edge(row: &Clip, before: Option<&Clip>) -> Checked {
    let Some(before) = before else { return Ok(()) };
    let is_edge = match (before.state(), row.state()) {
        (from, to) if from <= to => true,
        // The sealed file was damaged while the plaintext was there.
        (State::Sealed, State::Seen) => row.plaintext == Plaintext::Present,
        // The plaintext came back, as when a power cut undid somebody's removal.
        (State::Erased, State::Stored) => row.plaintext == Plaintext::Present,
        _ => false,
    };
    expect(is_edge, || format!("no edge: {before:?} {row:?}"))
}

/// "Gone" is said of what is gone for good: not of a file on a medium that is away, nor of one
/// that a power cut would bring back.
fn gone_only_where_it_is(
    state: &WorldState,
    row: &Clip,
    before: Option<&Clip>,
    present: &HashMap<u64, PathBuf>,
) -> Checked {
    let inode = row.generation.inode_number;
    let is_gone = matches!(row.plaintext, Plaintext::Absent | Plaintext::Erased);
    expect(!(is_gone && state.disk.may_return(inode)), || format!("may come back: {row:?}"))?;
    let is_vanished = row.hold.as_ref().is_some_and(|hold| hold.reason == Reason::Vanished);
    let source = before.and_then(|before| before.source.as_ref());
    let (Some(source), Some(clip)) = (source, state.truth.clips.get(&inode)) else {
        return Ok(());
    };
    let place = &state.cameras.places[&clip.medium];
    // By the name that the queue knows, or moved by us: another name may be left of it.
    let there = place.now().join(&clip.path).symlink_metadata();
    let is_named = there.is_ok_and(|there| there.ino() == inode);
    let is_moved = present.get(&inode).is_some_and(|path| is_quarantined(path));
    let is_away = !place.is_plugged && (is_named || is_moved);
    let is_same = source.path.ends_with(&clip.path);
    expect(!((is_gone || is_vanished) && is_away && is_same), || {
        format!("called gone, but its medium is away: {row:?}")
    })
}

/// A receipt that is worth something is of an object that is there.
fn receipts_are_true(state: &WorldState, row: &Clip) -> Checked {
    let Some(sealed) = row.sealed else { return Ok(()) };
    let key = clip_key(DOCK, sealed.name);
    for receipt in row.deliveries.iter().filter_map(|delivery| delivery.receipt.as_ref()) {
        let is_there = receipt.evidence == Evidence::Acknowledged
            || Truth::has_object(&state.buckets, &receipt.bucket, &key);
        expect(is_there, || format!("a receipt of nothing: {receipt:?}"))?;
    }
    Ok(())
}

/// A fact comes after its effect is durable: what the queue calls sealed outlives a power cut.
fn sealed_is_durable(state: &WorldState, row: &Clip, is_intact: bool) -> Checked {
    let Some(sealed) = row.sealed.filter(|sealed| sealed.in_spool) else { return Ok(()) };
    if row.stored_at.is_some() || state.truth.damaged.contains(&sealed.name) {
        return Ok(());
    }
    let path = state.truth.spool.join(format!("{}.age", sealed.name));
    expect(is_intact && state.disk.is_durable(&path), || {
        format!("sealed, but not durable (intact: {is_intact}): {row:?}")
    })
}

/// I9: no temporary file, no sealed file that nobody needs, no upload that nobody finishes.
fn nothing_is_left_over(state: &mut WorldState, rows: &[Clip]) -> Checked {
    let is_kept = |row: &&Clip| row.sealed.is_some_and(|sealed| sealed.in_spool);
    let held: HashSet<_> = rows.iter().filter(is_kept).map(name_of).collect();
    let spool = state.truth.spool.clone();
    for entry in spool.read_dir().expect("a spool").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.split('.').next().and_then(|stem| stem.parse::<SealedName>().ok());
        let is_wanted = name == "unfinished"
            || stem.is_some_and(|stem| held.contains(&stem) || state.truth.damaged.contains(&stem));
        expect(is_wanted, || format!("left in the spool: {name}"))?;
    }
    let unfinished: Vec<_> = spool.join("unfinished").read_dir().expect("there").collect();
    expect(unfinished.is_empty(), || format!("left unfinished: {unfinished:?}"))?;
    // What waits for an operator may yet be gone on with.
    let waiting = rows.iter().filter(|row| is_for_an_operator(row));
    let waiting: HashSet<_> = waiting.map(|row| clip_key(DOCK, name_of(row))).collect();
    for (simulated, _) in state.buckets.values() {
        for upload in simulated.inside().uploads.values().filter(|upload| !upload.is_orphan) {
            let is_known = upload.key.ends_with("/check") || waiting.contains(&upload.key);
            expect(is_known, || format!("an upload stays: {}", upload.key))?;
        }
    }
    Ok(())
}

impl WorldState {
    /// The dock's disk damages a sealed file.
    pub(super) fn corrupt(&mut self, dice: &mut Dice) {
        use std::os::unix::fs::DirEntryExt;
        let mut files: Vec<_> = self.truth.spool.read_dir().expect("a spool").flatten().collect();
        files.sort_by_key(DirEntryExt::ino);
        let file_name = dice.pick(&files).map(|entry| (entry.path(), entry.file_name()));
        let Some((path, file_name)) = file_name else { return };
        let Some((name, kind)) = file_name.to_str().and_then(|name| name.split_once('.')) else {
            return;
        };
        let Ok(name) = name.parse::<SealedName>() else { return };
        if kind == "json" {
            self.tried("sidecar removed");
            return std::fs::remove_file(path).expect("there");
        }
        let Ok(spooled) = self.truth.spooled() else { return };
        let Some(content) = spooled.get(&name).copied() else { return };
        self.tried("sealed file damaged");
        let mut bytes = std::fs::read(&path).expect("there");
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => bytes[at] ^= 1,
            1 => bytes.truncate(at),
            _ => return self.forgive_removed(&path, name, content),
        }
        std::fs::write(&path, bytes).expect("written");
        self.forgive(name, content);
    }

    fn forgive_removed(&mut self, path: &std::path::Path, name: SealedName, content: Content) {
        std::fs::remove_file(path).expect("there");
        self.forgive(name, content);
    }

    /// Where it was the only copy, dockseal cannot be blamed.
    fn forgive(&mut self, name: SealedName, content: Content) {
        self.truth.damaged.insert(name);
        let present = self.present();
        let is_plain = self
            .truth
            .clips
            .iter()
            .any(|(inode, clip)| clip.content == content && present.contains_key(inode));
        if !is_plain {
            self.let_go(content);
        }
    }
}
