//! A small file that is replaced as a whole, or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::fs::{Written, create_over, let_all_read, rename_over, sync, sync_folder};

/// Writes a file for this user alone, over the one that may be there, so that a power cut leaves
/// either the old bytes or the new ones: write beside, sync, rename, sync the folder.
///
/// One process at a time: an unfinished copy of an earlier one is written over.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, |_| Ok(()))
}

/// As [`replace`], for every user to read.
pub fn replace_for_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, let_all_read)
}

fn replace_with(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let mut file = Written(create_over(unfinished)?);
    prepare(&file.0)?;
    file.write_all(bytes)?;
    sync(&file.0)?;
    rename_over(unfinished, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => sync_folder(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_what_is_for_all_and_nothing_else() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("figures");
        let mode = || path.metadata().expect("there").mode() & 0o777;
        replace_for_all(&path, b"1").expect("written");
        assert_eq!(mode(), 0o644);
        replace(&path, b"2").expect("written");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn the_last_bytes_are_there_and_nothing_beside_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("state");
        for bytes in [b"one".as_slice(), b"two, longer", b"3"] {
            replace(&path, bytes).expect("written");
            assert_eq!(std::fs::read(&path).expect("there"), bytes);
        }
        assert_eq!(dir.path().read_dir().expect("a folder").count(), 1);
    }
}
