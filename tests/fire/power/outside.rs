//! The world that keeps its power: snapshots of a folder bucket, by the moments of a disk's log.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Watches a bucket, and keeps each state of it. What a bucket acknowledged stays, and what came
/// to it after a power cut never did.
pub struct Outside {
    bucket: PathBuf,
    kept: PathBuf,
    /// Inode, size and time of each file, as last seen.
    seen: Option<BTreeMap<PathBuf, [i64; 3]>>,
    count: usize,
}

impl Outside {
    /// Watches `bucket`; `kept`, a new folder on the same file system, takes the snapshots.
    pub fn new(bucket: &Path, kept: &Path) -> Outside {
        fs::create_dir(kept).expect("a new folder");
        Outside { bucket: bucket.to_owned(), kept: kept.to_owned(), seen: None, count: 0 }
    }

    /// A new snapshot where the bucket is not what it was at the last look.
    pub fn look(&mut self) -> io::Result<Option<usize>> {
        let mut now = BTreeMap::new();
        walk(&self.bucket, &mut |path, facts| {
            let nanoseconds = facts.mtime() * 1_000_000_000 + facts.mtime_nsec();
            // Without the ctime: our own links move it.
            now.insert(path.to_owned(), [facts.ino() as i64, facts.size() as i64, nanoseconds]);
        })?;
        if self.seen.as_ref() == Some(&now) {
            return Ok(None);
        }
        let snapshot = self.kept.join(self.count.to_string());
        fs::create_dir(&snapshot)?;
        for path in now.keys() {
            let place = snapshot.join(path.strip_prefix(&self.bucket).expect("beneath it"));
            fs::create_dir_all(place.parent().expect("beneath it"))?;
            // Links: objects are replaced by renames, never written to. What is gone by now was
            // an unfinished file.
            absent_is_fine(fs::hard_link(path, place))?;
        }
        self.seen = Some(now);
        self.count += 1;
        Ok(Some(self.count - 1))
    }

    /// Lets the bucket be as it was.
    pub fn restore(&self, snapshot: usize) {
        fs::remove_dir_all(&self.bucket).expect("it is ours");
        let from = self.kept.join(snapshot.to_string());
        let copied = Command::new("cp").arg("-a").args([&from, &self.bucket]).status();
        assert!(copied.expect("cp starts").success());
    }
}

fn walk(folder: &Path, found: &mut impl FnMut(&Path, &fs::Metadata)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(facts) if facts.is_dir() => walk(&entry.path(), found)?,
            Ok(facts) => found(&entry.path(), &facts),
            Err(error) => absent_is_fine(Err(error))?,
        }
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
