//! The spool: where sealed clips wait, and the only place that removes them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clip::{Generation, SealedFile, SealedName, Timestamp};
use crate::edge::fs::{self, Written};
use crate::error::{Disposition, Fault};
use crate::hold::Reason;

/// Space that is always left for the queue and the logs. Below it no clip is sealed.
pub const RESERVE_BYTES: u64 = 64 << 20;
/// A folder of unfinished files, on the same file system.
const UNFINISHED: &str = "unfinished";

/// The spool folder of one state directory.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

/// What lies beside each sealed file, so that a lost queue can be rebuilt: no name, no camera.
/// docs/format.md §6.
#[derive(Debug, Serialize, Deserialize)]
struct Sidecar {
    version: u32,
    name: String,
    size_bytes: u64,
    commitment: String,
    sealed_ms: i64,
    reread: bool,
    device_number: u64,
    inode_number: u64,
    source_size_bytes: u64,
    modified_ns: i64,
    changed_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    keyring_revision: Option<u64>,
}

impl Spool {
    /// Creates the folders where they are missing, and removes what a crash left unfinished: by
    /// rule nothing points at it.
    pub fn open(state_dir: &Path) -> io::Result<Spool> {
        let spool = Spool { folder: state_dir.join("spool") };
        fs::create_private_folder(&spool.folder.join(UNFINISHED))?;
        for entry in std::fs::read_dir(spool.folder.join(UNFINISHED))? {
            fs::remove_file(&entry?.path())?;
        }
        spool.remove_lone_sidecars()?;
        // What lies here by its last name becomes a fact: the process that renamed it may have
        // ended before it synced the folder.
        fs::sync_folder(&spool.folder)?;
        Ok(spool)
    }

    /// Whether a state directory has a spool.
    pub fn is_in(state_dir: &Path) -> bool {
        state_dir.join("spool").is_dir()
    }

    /// All that lies in the spool of a state directory, whatever it is, and whoever put it there.
    pub fn contents(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut contents = Vec::new();
        let mut folders = vec![state_dir.join("spool")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => folders.push(entry.path()),
                    false => contents.push(entry.path()),
                }
            }
        }
        Ok(contents)
    }

    /// The sealed name that a file of the spool has, its own or that of its sealed file.
    pub fn name_of(path: &Path) -> Option<SealedName> {
        let is_ours = path.extension().is_some_and(|end| end == "age" || end == "json");
        path.file_stem()?.to_str().filter(|_| is_ours)?.parse().ok()
    }

    /// A sidecar is published before its sealed file; a crash in between leaves it alone.
    fn remove_lone_sidecars(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_sidecar = path.extension().is_some_and(|extension| extension == "json");
            if is_sidecar && !path.with_extension("age").exists() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// A new unfinished file for about `size_bytes`; refused where they would fill the disk.
    pub fn begin(&self, number: i64, size_bytes: u64) -> Result<Draft, SpoolError> {
        let free = fs::free_bytes(&self.folder).map_err(SpoolError::Write)?;
        if free < size_bytes.saturating_add(RESERVE_BYTES) {
            return Err(SpoolError::Full { free, wanted: size_bytes });
        }
        let path = self.folder.join(UNFINISHED).join(format!("{number}.age"));
        // Left by an attempt that failed in this same process.
        fs::remove_if_there(&path).map_err(SpoolError::Write)?;
        let file = fs::create_private(&path).map_err(SpoolError::Write)?;
        let out = BufWriter::with_capacity(1 << 20, Written(file));
        Ok(Draft { out, path, is_published: false })
    }

    /// Makes a draft the durable sealed file of its name. Its sidecar is renamed first, so that a
    /// sealed file is never without one.
    pub fn publish(
        &self,
        mut draft: Draft,
        sealed: &SealedFile,
        generation: &Generation,
    ) -> Result<(), SpoolError> {
        draft.out.flush().map_err(SpoolError::Write)?;
        let sidecar = Sidecar::new(sealed, generation);
        let text = serde_json::to_vec_pretty(&sidecar).expect("numbers and hex are JSON");
        let unfinished = self.folder.join(UNFINISHED).join(format!("{}.json", sealed.name));
        let mut file = Written(fs::create_private(&unfinished).map_err(SpoolError::Write)?);
        file.write_all(&text).map_err(SpoolError::Write)?;
        fs::finish(&file.0, &unfinished, &self.sidecar_path(sealed.name))
            .map_err(SpoolError::Sync)?;
        let finished = self.path(sealed.name);
        // Makes both names durable.
        fs::publish(&draft.out.get_ref().0, &draft.path, &finished).map_err(SpoolError::Sync)?;
        draft.is_published = true;
        Ok(())
    }

    /// Opens a sealed file for reading.
    pub fn read(&self, name: SealedName) -> io::Result<File> {
        let file = fs::open(&self.path(name))?;
        fs::read_ahead(&file);
        Ok(file)
    }

    /// Reads a sealed file from the medium, past the cache, and says whether it is what its name
    /// says.
    pub fn is_intact(&self, name: SealedName) -> io::Result<bool> {
        let mut file = self.read(name)?;
        fs::drop_cache(&file)?;
        Ok(SealedName(fs::sha256(&mut file)?) == name)
    }

    /// Removes a sealed file and its sidecar, once the queue says that the clip is stored, or that
    /// it is sealed again. A power cut may bring them back until [`Spool::sync`]; what the queue
    /// says of the clip tells the next start to remove them again.
    pub fn remove(&self, name: SealedName) -> io::Result<()> {
        for path in [self.path(name), self.sidecar_path(name)] {
            fs::remove_if_there(&path)?;
        }
        Ok(())
    }

    /// Makes removals durable.
    pub fn sync(&self) -> io::Result<()> {
        fs::sync_folder(&self.folder)
    }

    /// All sealed files with what their sidecars say. One whose sidecar is missing or unreadable
    /// is told by its name and size alone.
    pub fn sealed_files(&self) -> io::Result<Vec<(SealedFile, Option<Generation>)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_suffix(".age"));
            let Some(name) = name.and_then(|name| name.parse::<SealedName>().ok()) else {
                continue;
            };
            let read = std::fs::read(self.sidecar_path(name)).ok();
            let sidecar = read.and_then(|text| serde_json::from_slice::<Sidecar>(&text).ok());
            let known = sidecar.and_then(|sidecar| sidecar.facts(name));
            files.push(match known {
                Some((sealed, generation)) => (sealed, Some(generation)),
                None => (unknown(name, entry.metadata()?.len()), None),
            });
        }
        Ok(files)
    }

    /// Whether the sealed file lies here.
    pub fn has(&self, name: SealedName) -> bool {
        self.path(name).is_file()
    }

    /// Bytes that may still be written here.
    pub fn free_bytes(&self) -> io::Result<u64> {
        Ok(fs::free_bytes(&self.folder)?.saturating_sub(RESERVE_BYTES))
    }

    fn path(&self, name: SealedName) -> PathBuf {
        self.folder.join(format!("{name}.age"))
    }

    fn sidecar_path(&self, name: SealedName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn unknown(name: SealedName, size_bytes: u64) -> SealedFile {
    SealedFile {
        name,
        size_bytes,
        commitment: [0; 32],
        sealed_at: Timestamp(0),
        reread: false,
        in_spool: true,
        keyring_revision: None,
    }
}

impl Sidecar {
    fn new(sealed: &SealedFile, generation: &Generation) -> Sidecar {
        Sidecar {
            version: 1,
            name: sealed.name.to_string(),
            size_bytes: sealed.size_bytes,
            commitment: SealedName(sealed.commitment).to_string(),
            sealed_ms: sealed.sealed_at.0,
            reread: sealed.reread,
            device_number: generation.device_number,
            inode_number: generation.inode_number,
            source_size_bytes: generation.size_bytes,
            modified_ns: generation.modified_ns,
            changed_ns: generation.changed_ns,
            keyring_revision: sealed.keyring_revision,
        }
    }

    fn facts(&self, name: SealedName) -> Option<(SealedFile, Generation)> {
        if self.version != 1 || self.name.parse() != Ok(name) {
            return None;
        }
        let sealed = SealedFile {
            name,
            size_bytes: self.size_bytes,
            commitment: self.commitment.parse::<SealedName>().ok()?.0,
            sealed_at: Timestamp(self.sealed_ms),
            reread: self.reread,
            in_spool: true,
            keyring_revision: self.keyring_revision,
        };
        let generation = Generation {
            device_number: self.device_number,
            inode_number: self.inode_number,
            size_bytes: self.source_size_bytes,
            modified_ns: self.modified_ns,
            changed_ns: self.changed_ns,
        };
        Some((sealed, generation))
    }
}

/// A sealed file that is being written. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct Draft {
    out: BufWriter<Written>,
    path: PathBuf,
    is_published: bool,
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            // What stays is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a sealed file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too little space.
    #[error("the spool is full: {} MiB are free, {} MiB are needed", free >> 20, wanted >> 20)]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes of the clip.
        wanted: u64,
    },
    /// A sync or the rename failed: what is on the disk is no longer known.
    #[error("cannot make the sealed file durable")]
    Sync(#[source] io::Error),
    /// Writing failed.
    #[error("cannot write the sealed file")]
    Write(#[source] io::Error),
}

impl Fault for SpoolError {
    fn disposition(&self) -> Disposition {
        match self {
            SpoolError::Full { .. } => Disposition::Retry,
            SpoolError::Sync(error) | SpoolError::Write(error) if fs::is_full(error) => {
                Disposition::Retry
            }
            // Never tried again on the same file: after a failed fsync the kernel has forgotten
            // which pages were not written. FAULTS F-13.
            SpoolError::Sync(_) | SpoolError::Write(_) => Disposition::Halt,
        }
    }

    fn reason(&self) -> Reason {
        Reason::SpoolFull
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::examples;

    fn sealed(name: SealedName) -> SealedFile {
        SealedFile {
            commitment: [5; 32],
            sealed_at: Timestamp(7),
            reread: true,
            ..unknown(name, 3)
        }
    }

    const GENERATION: Generation = examples::generation(2);

    #[test]
    fn a_sealed_file_and_what_is_known_of_it_are_found_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(dir.path()).expect("opened");
        // SHA-256 of "abc", FIPS 180-4.
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let name: SealedName = name.parse().expect("hex");
        let mut draft = spool.begin(1, 3).expect("begun");
        draft.write_all(b"abc").expect("written");
        spool.publish(draft, &sealed(name), &GENERATION).expect("published");
        let again = Spool::open(dir.path()).expect("opened");
        assert_eq!(again.sealed_files().expect("listed"), [(sealed(name), Some(GENERATION))]);
        assert!(again.is_intact(name).expect("read"));
        std::fs::write(again.path(name), b"abd").expect("damaged");
        assert!(!again.is_intact(name).expect("read"));
        let contents = Spool::contents(dir.path()).expect("listed");
        assert_eq!(contents.len(), 2, "{contents:?}");
        assert!(contents.iter().all(|path| Spool::name_of(path) == Some(name)), "{contents:?}");
        again.remove(name).expect("removed");
        assert!(!again.has(name) && again.sealed_files().expect("listed").is_empty());
        let stray = again.folder.join(UNFINISHED).join("anything");
        std::fs::write(&stray, b"of somebody").expect("written");
        assert_eq!(Spool::name_of(&stray), None);
        assert_eq!(Spool::contents(dir.path()).expect("listed"), [stray]);
    }

    #[test]
    fn what_was_not_finished_leaves_no_trace() {
        let dir = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(dir.path()).expect("opened");
        let mut draft = spool.begin(1, 3).expect("begun");
        draft.write_all(b"abc").expect("written");
        let path = draft.path.clone();
        drop(draft);
        assert!(!path.exists());
        let sidecar = spool.sidecar_path(SealedName([1; 32]));
        for left in [&path, &sidecar] {
            std::fs::write(left, b"left by a crash").expect("written");
        }
        Spool::open(dir.path()).expect("opened");
        assert!(!path.exists() && !sidecar.exists());
    }

    #[test]
    fn a_clip_that_would_fill_the_disk_is_refused_before_it_is_begun() {
        let dir = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(dir.path()).expect("opened");
        let error = spool.begin(1, u64::MAX / 2).expect_err("too large");
        assert_eq!((error.disposition(), error.reason()), (Disposition::Retry, Reason::SpoolFull));
    }
}
