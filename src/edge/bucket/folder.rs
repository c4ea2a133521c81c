//! Putting a sealed file into a folder bucket.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use object_store::PutMode;
use sha2::{Digest, Sha256};

use super::put::Put;
use super::{BucketError, PART_SIZE, blocking, read_block};
use crate::clip::{Evidence, SealedName};
use crate::edge::fs;

/// How the name of a file ends that is not here in full yet.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Copies into a folder: unfinished name, sync, rename, read back past the cache.
pub(super) async fn put(
    root: &Path,
    mut file: File,
    Put { key, name, journal, .. }: Put<'_>,
) -> Result<Evidence, BucketError> {
    let finished = root.join(key.as_ref());
    let folder = finished.parent().expect("a key has a file name").to_owned();
    if finished.exists() {
        // Whoever renamed it may have ended before its folder was synced, and a receipt follows.
        blocking(move || fs::sync_folder(&folder)).await.map_err(BucketError::Folder)?;
        return Err(BucketError::AlreadyThere);
    }
    let unfinished = folder.join(format!(".{name}{UNFINISHED}"));
    let made_in = root.to_owned();
    blocking(move || create_folders(&made_in, &folder)).await?;
    let begin = unfinished.clone();
    let mut out = blocking(move || begin_file(&begin)).await.map_err(BucketError::Folder)?;
    let mut hash = Sha256::new();
    loop {
        let step = blocking(move || {
            let block = read_block(&mut file, PART_SIZE).map_err(BucketError::Spool)?;
            std::io::Write::write_all(&mut out, &block).map_err(BucketError::Folder)?;
            hash.update(&block);
            Ok((file, out, hash, block.len() as u64))
        });
        let size;
        (file, out, hash, size) = step.await?;
        journal.sent(size);
        if size == 0 {
            break;
        }
    }
    if SealedName(hash.finalize().into()) != name {
        // Best effort: the damaged clip is what counts, and the next attempt removes it as well.
        let _ = blocking(move || std::fs::remove_file(unfinished)).await;
        return Err(BucketError::SpoolDamaged);
    }
    let published = blocking(move || {
        fs::publish(&out, &unfinished, &finished)?;
        fs::drop_cache(&out)
    });
    match published.await {
        Ok(()) => Ok(Evidence::Acknowledged),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(BucketError::AlreadyThere)
        }
        Err(error) => Err(BucketError::Folder(error)),
    }
}

/// Begins an unfinished file. There may be a leftover of an attempt that was killed; nobody else
/// writes this name.
fn begin_file(path: &Path) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    fs::create_public(path)
}

/// The folders that nothing unfinished was left in by an earlier process.
#[derive(Debug, Default)]
pub(super) struct Swept(Mutex<HashSet<PathBuf>>);

impl Swept {
    /// Removes what a killed process or a power cut left of small objects, the first time that one
    /// is put into a folder: the log goes on with other names. Best effort, since no listing shows
    /// what stays. Another writer begins anew.
    pub(super) fn sweep_once(&self, folder: &Path) {
        let mut swept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !swept.insert(folder.to_owned()) {
            return;
        }
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.starts_with(b".") && name.ends_with(UNFINISHED.as_bytes()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Writes a small object, durably, over the one that may be there or never.
pub(super) fn put_small(
    root: &Path,
    finished: &Path,
    bytes: &[u8],
    mode: &PutMode,
) -> Result<(), BucketError> {
    let is_new = matches!(mode, PutMode::Create);
    if is_new && finished.exists() {
        return Err(BucketError::AlreadyThere);
    }
    let folder = finished.parent().expect("a key has a file name");
    create_folders(root, folder)?;
    let name = finished.file_name().expect("a key has a file name").to_string_lossy();
    let unfinished = folder.join(format!(".{name}{}", UNFINISHED));
    let written = || -> std::io::Result<()> {
        let mut file = begin_file(&unfinished)?;
        std::io::Write::write_all(&mut file, bytes)?;
        if is_new {
            return fs::publish(&file, &unfinished, finished);
        }
        file.sync_all()?;
        std::fs::rename(&unfinished, finished)?;
        fs::sync_folder(folder)
    };
    // Another writer of the same object took our unfinished file away: once more.
    let written = match written() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => written(),
        written => written,
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(BucketError::AlreadyThere)
        }
        written => written.map_err(BucketError::Folder),
    }
}

/// Whether files may be created here.
pub(super) async fn probe(root: &Path) -> Result<(), BucketError> {
    let probe = root.join(format!(".probe{UNFINISHED}"));
    let tried = blocking(move || {
        fs::create_private(&probe).map(drop)?;
        std::fs::remove_file(&probe)
    });
    tried.await.map_err(BucketError::Folder)
}

/// As `mkdir -p`, each new folder durable; the bucket's own is never made: where it is missing, a
/// disk or a share is not mounted, and what is put in its place would be in no bucket.
fn create_folders(root: &Path, path: &Path) -> Result<(), BucketError> {
    if path.is_dir() {
        return Ok(());
    }
    if path == root {
        return Err(BucketError::NoFolder { root: root.to_owned() });
    }
    let parent = path.parent().expect("below the bucket's own folder");
    create_folders(root, parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BucketError::Folder(error)),
        Ok(()) => fs::sync_folder(parent).map_err(BucketError::Folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_own_folder_is_never_made() {
        let beside = tempfile::tempdir().expect("a folder");
        let root = beside.path().join("bucket");
        let put = || put_small(&root, &root.join("dock-1/check"), b"x", &PutMode::Create);
        assert!(matches!(put(), Err(BucketError::NoFolder { .. })));
        assert!(!root.exists());
        std::fs::create_dir(&root).expect("made");
        put().expect("put");
    }

    #[test]
    fn what_an_earlier_process_left_unfinished_is_removed_once() {
        let beside = tempfile::tempdir().expect("a folder");
        let left = beside.path().join(".7.unfinished");
        let (swept, other) = (Swept::default(), beside.path().join(".kept"));
        let count = |path: &Path| usize::from(path.exists());
        for expected in [0, 1] {
            std::fs::write(&left, b"half").expect("written");
            std::fs::write(&other, b"whole").expect("written");
            swept.sweep_once(beside.path());
            assert_eq!((count(&left), count(&other)), (expected, 1), "another writer's by now");
        }
    }
}
