//! The harness: tools, servers, clips, docks and peers for the tests.

#![allow(dead_code, reason = "a harness offers more than the tests of today take")]

pub mod authority;
pub mod azurite;
pub mod clips;
pub mod dav_servers;
pub mod dock;
pub mod http_faults;
pub mod juicefs;
pub mod ledger;
pub mod markers;
pub mod mini_log;
pub mod mounted;
pub mod peers;
pub mod proxy;
pub mod random;
pub mod seaweed;
pub mod server;
pub mod signed;
pub mod site;
pub mod tmux;
pub mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How often a wait looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Looks until there is something to see; panics with `what` once `limit` is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// A folder of the test's own, on the disk of the checkout: `/tmp` may be small or in memory.
pub fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder can be written")
}

/// SHA-256 of a file as hex digits; reads in bounded memory.
pub fn sha256(path: &Path) -> String {
    sha256_if_there(path).unwrap_or_else(|| panic!("{} is not there", path.display()))
}

/// As [`sha256`], of a file that may be gone.
pub fn sha256_if_there(path: &Path) -> Option<String> {
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        opened => opened.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display())),
    };
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).expect("readable");
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that is no folder.
pub fn files_beneath(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}
