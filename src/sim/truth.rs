//! What is true of every clip, kept beside dockseal: what the cameras wrote, where it is by now.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::{Disk, Medium, changed_ns};
use super::weather::Weather;
use crate::authority::identity::Identities;
use crate::authority::open::open;
use crate::clip::{SealedName, to_hex};
use crate::custody::place::Place;
use crate::dock::config::EraseWhen;
use crate::edge::bucket::Simulated;

/// The SHA-256 of a clip's content.
pub(super) type Content = [u8; 32];

/// The published key of `keys-example/` that a simulated authority has.
const IDENTITY: &str = include_str!("../../keys-example/classic.identity");

pub(super) type Buckets = BTreeMap<String, (Simulated, Weather)>;

/// A file that a camera wrote and nobody but dockseal has removed.
#[derive(Debug, Clone)]
pub(super) struct Clip {
    pub(super) content: Content,
    pub(super) medium: Medium,
    /// Beneath its medium.
    pub(super) path: PathBuf,
}

/// All that is known from outside.
pub(super) struct Truth {
    identities: Identities,
    /// The buckets whose receipts count.
    pub(super) required: Vec<String>,
    pub(super) erase: BTreeMap<Medium, EraseWhen>,
    pub(super) spool: PathBuf,
    /// By inode.
    pub(super) clips: BTreeMap<u64, Clip>,
    /// Inodes that dockseal erased.
    pub(super) erased: HashSet<u64>,
    /// Contents that nobody but dockseal can have lost.
    pub(super) owed: BTreeSet<Content>,
    /// What each sealed file holds.
    pub(super) opened: HashMap<SealedName, Content>,
    /// By bucket: the objects that were looked at, and the contents that they hold.
    stored: BTreeMap<String, (HashSet<String>, HashSet<Content>)>,
    /// Sealed files that the simulation damaged.
    pub(super) damaged: HashSet<SealedName>,
    /// By inode of a spool file: its ctime, and whether it is what its name says.
    intact: HashMap<u64, (i64, bool)>,
}

impl Truth {
    pub(super) fn new(spool: PathBuf) -> Truth {
        let identities = Identities::read(&mut IDENTITY.as_bytes()).expect("published");
        Truth {
            identities,
            required: Vec::new(),
            erase: BTreeMap::new(),
            spool,
            clips: BTreeMap::new(),
            erased: HashSet::new(),
            owed: BTreeSet::new(),
            opened: HashMap::new(),
            stored: BTreeMap::new(),
            damaged: HashSet::new(),
            intact: HashMap::new(),
        }
    }

    /// A camera wrote a file.
    pub(super) fn wrote(&mut self, inode: u64, clip: Clip) {
        self.owed.insert(clip.content);
        self.clips.insert(inode, clip);
    }

    /// Dockseal erased a file.
    pub(super) fn erased(&mut self, inode: u64) {
        self.erased.insert(inode);
    }

    /// Opens a sealed file as the authority would.
    fn open(&mut self, name: SealedName, bytes: &[u8]) -> Result<Content, String> {
        if let Some(content) = self.opened.get(&name) {
            return Ok(*content);
        }
        let (_, mut payload) =
            open(bytes, &self.identities).map_err(|error| format!("{name}: {error}"))?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 16];
        loop {
            match payload.read(&mut block).map_err(|error| format!("{name}: {error}"))? {
                0 => break,
                size => hash.update(&block[..size]),
            }
        }
        let content = hash.finalize().into();
        self.opened.insert(name, content);
        Ok(content)
    }

    /// Looks at what is new in the buckets: each object is what its name says, and opens.
    pub(super) fn look_into(&mut self, buckets: &Buckets) -> Result<(), String> {
        for (bucket, (simulated, _)) in buckets {
            let inside = simulated.inside();
            if let Some(wrong) = inside.wrong.first() {
                return Err(wrong.clone());
            }
            let (mut seen, mut contents) = self.stored.remove(bucket).unwrap_or_default();
            if seen.len() < inside.objects.len() {
                for (key, bytes) in &inside.objects {
                    if !seen.insert(key.clone()) {
                        continue;
                    }
                    match Place::of(key) {
                        Place::Clip { name, .. } if is_digest(name, bytes) => {
                            contents.insert(self.open(name, bytes)?);
                        }
                        Place::Clip { .. } => return Err(format!("{key} is not its digest")),
                        Place::Foreign => return Err(format!("{key} has no place")),
                        _ => {}
                    }
                }
            }
            self.stored.insert(bucket.clone(), (seen, contents));
        }
        Ok(())
    }

    /// Whether every required bucket holds a content, as far as it was looked into.
    pub(super) fn is_stored(&self, content: &Content) -> bool {
        let has = |bucket: &String| self.stored.get(bucket).is_some_and(|b| b.1.contains(content));
        !self.required.is_empty() && self.required.iter().all(has)
    }

    /// Whether a bucket holds the object of a clip.
    pub(super) fn has_object(buckets: &Buckets, bucket: &str, key: &str) -> bool {
        buckets.get(bucket).is_some_and(|(known, _)| known.inside().objects.contains_key(key))
    }

    /// The sealed files in the spool that are what their names say.
    pub(super) fn spooled(&mut self) -> Result<BTreeMap<SealedName, Content>, String> {
        let mut spooled = BTreeMap::new();
        for entry in self.spool.read_dir().expect("a spool").flatten() {
            let file_name = entry.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_suffix(".age"));
            let Some(name) = name.and_then(|name| name.parse::<SealedName>().ok()) else {
                continue;
            };
            if self.is_intact(&entry.path(), name) {
                let content = match self.opened.get(&name) {
                    Some(content) => *content,
                    None => self.open(name, &std::fs::read(entry.path()).expect("there"))?,
                };
                spooled.insert(name, content);
            }
        }
        Ok(spooled)
    }

    /// Whether a file in the spool is what its name says.
    fn is_intact(&mut self, path: &Path, name: SealedName) -> bool {
        use std::os::unix::fs::MetadataExt;
        let Ok(there) = path.metadata() else { return false };
        let changed = changed_ns(&there);
        if let Some((known, is_intact)) = self.intact.get(&there.ino())
            && *known == changed
        {
            return *is_intact;
        }
        let is_intact = is_digest(name, &std::fs::read(path).expect("there"));
        self.intact.insert(there.ino(), (changed, is_intact));
        is_intact
    }

    /// Whether the promise allows that the plaintext of a file is removed now.
    pub(super) fn may_erase(
        &mut self,
        inode: u64,
        medium: Medium,
        buckets: &Buckets,
        disk: &Disk,
    ) -> Result<(), String> {
        self.look_into(buckets)?;
        let Some(clip) = self.clips.get(&inode) else {
            return Err("a file that no camera wrote".to_owned());
        };
        let (content, shown) = (clip.content, clip.path.display().to_string());
        let is_stored = self.is_stored(&content);
        let spooled = self.spooled()?;
        let mut sealed = spooled.iter().filter(|(_, held)| **held == content);
        let is_sealed =
            sealed.any(|(name, _)| disk.is_durable(&self.spool.join(format!("{name}.age"))));
        match self.erase[&medium] {
            EraseWhen::Never => Err(format!("{shown}: never to be erased")),
            EraseWhen::WhenStored | EraseWhen::WhenSealed if is_stored => Ok(()),
            EraseWhen::WhenStored => Err(format!("{shown}: not in every required bucket")),
            EraseWhen::WhenSealed if is_sealed => Ok(()),
            EraseWhen::WhenSealed => Err(format!("{shown}: no durable sealed file")),
        }
    }
}

pub(super) fn is_digest(name: SealedName, bytes: &[u8]) -> bool {
    name.0 == <[u8; 32]>::from(Sha256::digest(bytes))
}

/// The inodes of all files beneath a folder.
pub(super) fn inodes(folder: &Path, found: &mut HashMap<u64, PathBuf>) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let kind = entry.file_type().expect("just listed");
        if kind.is_dir() {
            inodes(&entry.path(), found);
        } else if kind.is_file() {
            found.insert(entry.ino(), entry.path());
        }
    }
}

/// A content's beginning, to be told by.
pub(super) fn short(content: &Content) -> String {
    to_hex(&content[..6])
}
