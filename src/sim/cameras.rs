//! The cameras and the people at the dock: they write, rename and remove files, and pull media.

use std::collections::HashMap;
use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::dice::Dice;
use super::disk::{Medium, changed_ns};
use super::plan::Kind;
use super::truth::{self, Clip, Content};
use super::world::State;
use crate::dock::config::QUARANTINE;
use crate::dock::queue::Filter;

/// A medium: its place in the dock, and where it is when it is not there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) home: PathBuf,
    pub(super) away: PathBuf,
    pub(super) is_plugged: bool,
}

impl Place {
    /// Where it is now.
    pub(super) fn now(&self) -> &Path {
        if self.is_plugged { &self.home } else { &self.away }
    }
}

/// All media, and what was written to them.
#[derive(Debug, Default)]
pub(super) struct Cameras {
    pub(super) places: HashMap<Medium, Place>,
    seed: u64,
    contents: u64,
    devices: u64,
}

impl Cameras {
    pub(super) fn new(seed: u64) -> Cameras {
        Cameras { places: HashMap::new(), seed, contents: 0, devices: 100 }
    }

    /// Bytes that no other clip has.
    fn content(&mut self, size: usize) -> Vec<u8> {
        self.contents += 1;
        let mut dice = Dice::new(self.seed ^ self.contents.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut bytes = format!("clip {} of {}\n", self.contents, self.seed).into_bytes();
        while bytes.len() < size {
            bytes.extend(dice.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    fn new_device(&mut self) -> u64 {
        self.devices += 1;
        self.devices
    }
}

/// Whether an erasure moved a file to where it is.
pub(super) fn is_quarantined(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == QUARANTINE)
}

impl State {
    /// A medium is there for the first time.
    pub(super) fn first_plug(&mut self, medium: Medium, home: PathBuf, away: PathBuf) {
        std::fs::create_dir_all(home.join("DCIM")).expect("made");
        self.disk.register(&home, medium);
        self.disk.register(&home.join("DCIM"), medium);
        let device = self.cameras.new_device();
        self.disk.plug(medium, device);
        self.cameras.places.insert(medium, Place { home, away, is_plugged: true });
    }

    /// Does what a step says, where it is one of these.
    pub(super) fn camera(&mut self, kind: Kind, dice: &mut Dice) {
        let file = self.some_file(dice);
        match (kind, file) {
            (Kind::Add, _) => self.add(dice),
            (Kind::Grow, Some((path, inode))) => {
                let size = 1 + dice.below(3000);
                self.grow(&path, inode, size);
            }
            (Kind::HardLink, Some((path, _))) => {
                let name = self.new_name(dice);
                self.sync_medium_of(&path);
                let _ = std::fs::hard_link(&path, path.with_file_name(name));
            }
            (Kind::Link, Some((path, _))) => {
                let name = path.with_file_name(format!("link-{}", dice.below(1000)));
                let _ = std::os::unix::fs::symlink("/etc", name);
            }
            (Kind::Remove, Some((path, inode))) => self.remove(&path, inode),
            (Kind::Rename, Some((path, inode))) => self.rename(&path, inode, dice),
            (Kind::RenameOver, Some((path, inode))) => self.rename_over(&path, inode, dice),
            (Kind::Replace, Some((path, inode))) => self.replace(&path, inode),
            (Kind::Unplug, _) => self.unplug(dice),
            (Kind::Replug, _) => self.replug_some(dice),
            _ => {}
        }
    }

    /// A file that a camera can reach, in an order that is the same each time.
    fn some_file(&mut self, dice: &mut Dice) -> Option<(PathBuf, u64)> {
        let mut found = HashMap::new();
        for place in self.cameras.places.values() {
            truth::inodes(place.now(), &mut found);
        }
        let known = self.truth.clips.keys().filter(|inode| !self.truth.erased.contains(inode));
        let here: Vec<_> = known
            .filter_map(|inode| Some((found.get(inode)?.clone(), *inode)))
            .filter(|(path, _)| !is_quarantined(path))
            .collect();
        dice.pick(&here).cloned()
    }

    fn new_name(&mut self, dice: &mut Dice) -> String {
        // Now and then a name comes again.
        match dice.below(5) {
            0 => format!("again-{}.mp4", dice.below(4)),
            1 => format!("\u{1b}[31m\u{e9} {}.mp4", dice.next() % 100_000),
            _ => format!("clip-{}.mp4", dice.next() % 1_000_000),
        }
    }

    fn medium_of(&mut self, path: &Path) -> Medium {
        let folder = path.parent().expect("beneath a medium").metadata().expect("there").ino();
        self.disk.medium(folder)
    }

    fn sync_medium_of(&mut self, path: &Path) -> Medium {
        let medium = self.medium_of(path);
        self.disk.sync_medium(medium);
        medium
    }

    fn wrote(&mut self, path: &Path, content: Content, medium: Medium) {
        let inode = path.metadata().expect("just written").ino();
        self.disk.register(path, medium);
        let root = self.cameras.places[&medium].now();
        let path = path.strip_prefix(root).expect("on its medium").to_owned();
        self.truth.wrote(inode, Clip { content, medium, path });
    }

    fn add(&mut self, dice: &mut Dice) {
        let medium = 1 + dice.below(self.cameras.places.len());
        self.disk.sync_medium(medium);
        let root = self.cameras.places[&medium].now().to_owned();
        let folder = if dice.percent(60) { root.join("DCIM") } else { root };
        let size = match dice.below(20) {
            0 => 0,
            1..=14 => dice.below(6000),
            15..=18 => dice.below(70_000),
            _ => dice.below(200_000),
        };
        let path = folder.join(self.new_name(dice));
        let bytes = self.cameras.content(size);
        if path.symlink_metadata().is_ok() {
            return;
        }
        std::fs::write(&path, &bytes).expect("written");
        self.wrote(&path, Sha256::digest(&bytes).into(), medium);
    }

    fn grow(&mut self, path: &Path, inode: u64, size: usize) {
        let medium = self.sync_medium_of(path);
        let more = self.cameras.content(size);
        let mut file = File::options().append(true).open(path).expect("opened");
        file.write_all(&more).expect("written");
        let whole = std::fs::read(path).expect("read");
        let before = self.truth.clips.remove(&inode).expect("a clip").content;
        self.wrote(path, Sha256::digest(&whole).into(), medium);
        self.let_go(before);
    }

    /// Other bytes of the same size, and the mtime set back.
    fn replace(&mut self, path: &Path, inode: u64) {
        let medium = self.sync_medium_of(path);
        let before = path.metadata().expect("there");
        let bytes = self.cameras.content(before.len() as usize);
        let times = FileTimes::new().set_modified(before.modified().expect("known"));
        loop {
            let mut file = File::options().write(true).open(path).expect("opened");
            file.write_all(&bytes).expect("written");
            file.set_times(times).expect("set");
            // Hours pass here within one tick of the kernel's clock; no camera is that fast.
            if changed_ns(&file.metadata().expect("there")) != changed_ns(&before) {
                break;
            }
        }
        let before = self.truth.clips.remove(&inode).expect("a clip").content;
        self.wrote(path, Sha256::digest(&bytes).into(), medium);
        self.let_go(before);
    }

    fn rename_over(&mut self, path: &Path, inode: u64, dice: &mut Dice) {
        let medium = self.sync_medium_of(path);
        let bytes = self.cameras.content(dice.below(5000));
        let unfinished = path.with_file_name("unfinished.tmp");
        std::fs::write(&unfinished, &bytes).expect("written");
        std::fs::rename(&unfinished, path).expect("renamed");
        self.wrote(path, Sha256::digest(&bytes).into(), medium);
        self.removed(inode);
    }

    fn rename(&mut self, path: &Path, inode: u64, dice: &mut Dice) {
        let medium = self.sync_medium_of(path);
        let new = path.with_file_name(self.new_name(dice));
        if new.symlink_metadata().is_err() {
            std::fs::rename(path, &new).expect("renamed");
            let clip = self.truth.clips.remove(&inode).expect("a clip");
            self.wrote(&new, clip.content, medium);
        }
    }

    fn remove(&mut self, path: &Path, inode: u64) {
        self.sync_medium_of(path);
        std::fs::remove_file(path).expect("removed");
        self.removed(inode);
    }

    /// A name of a file is gone, and perhaps the file.
    fn removed(&mut self, inode: u64) {
        if !self.present().contains_key(&inode) {
            let clip = self.truth.clips.remove(&inode).expect("a clip");
            self.let_go(clip.content);
        }
    }

    /// All files on all media, plugged or not.
    pub(super) fn present(&self) -> HashMap<u64, PathBuf> {
        let mut found = HashMap::new();
        for place in self.cameras.places.values() {
            truth::inodes(place.now(), &mut found);
        }
        found
    }

    /// A camera destroyed a content. What dockseal has of it, it must keep; else it is gone.
    pub(super) fn let_go(&mut self, content: Content) {
        let is_elsewhere = self
            .truth
            .clips
            .iter()
            .any(|(inode, clip)| clip.content == content && !self.truth.erased.contains(inode));
        let buckets = std::mem::take(&mut self.buckets);
        let looked = self.truth.look_into(&buckets);
        self.buckets = buckets;
        if let Err(wrong) = looked {
            self.wrong.push(wrong);
        }
        if !is_elsewhere && !self.truth.is_stored(&content) && !self.is_sealed(&content) {
            self.truth.owed.remove(&content);
        }
    }

    /// Whether the queue says that a sealed file of it lies in the spool, and one does.
    fn is_sealed(&mut self, content: &Content) -> bool {
        let spooled = self.truth.spooled().unwrap_or_default();
        let Some(reader) = &self.reader else { return false };
        let rows = reader.list(&Filter::default()).expect("the queue can be read");
        let sealed = rows.iter().filter_map(|clip| clip.sealed).filter(|sealed| sealed.in_spool);
        sealed.into_iter().any(|sealed| spooled.get(&sealed.name) == Some(content))
    }

    fn unplug(&mut self, dice: &mut Dice) {
        let medium = 1 + dice.below(self.cameras.places.len());
        if !self.cameras.places[&medium].is_plugged {
            return;
        }
        self.disk.power_cut(dice, Some(medium));
        let place = self.cameras.places.get_mut(&medium).expect("known");
        std::fs::rename(&place.home, &place.away).expect("pulled");
        place.is_plugged = false;
        // An empty mount point stays, or nothing does.
        if dice.percent(70) {
            std::fs::create_dir(&place.home).expect("made");
        }
    }

    fn replug_some(&mut self, dice: &mut Dice) {
        let mut away: Vec<_> = self.cameras.places.iter().filter(|p| !p.1.is_plugged).collect();
        away.sort_by_key(|(medium, _)| **medium);
        let medium = dice.pick(&away).map(|(medium, _)| **medium);
        if let Some(medium) = medium {
            self.replug(medium, dice.percent(70));
        }
    }

    /// A medium is plugged in again, most often as another device.
    pub(super) fn replug(&mut self, medium: Medium, is_new_device: bool) {
        let device = self.cameras.new_device();
        let place = self.cameras.places.get_mut(&medium).expect("known");
        let _ = std::fs::remove_dir(&place.home);
        std::fs::rename(&place.away, &place.home).expect("plugged");
        place.is_plugged = true;
        if is_new_device {
            self.disk.plug(medium, device);
        }
    }

    /// Somebody tidies up: no second names, no links.
    pub(super) fn tidy_up(&mut self) {
        let mut folders: Vec<_> =
            self.cameras.places.values().map(|place| place.now().to_owned()).collect();
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().expect("a folder").flatten() {
                let there = entry.metadata().expect("just listed");
                if there.is_dir() {
                    folders.push(entry.path());
                } else if !there.is_file() || there.nlink() > 1 {
                    std::fs::remove_file(entry.path()).expect("removed");
                }
            }
        }
    }
}
