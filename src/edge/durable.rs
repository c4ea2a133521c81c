//! A small file that is replaced as a whole, or not at all.

use std::io::{self, Write};
use std::path::Path;

use rustix::fs::Mode;

use super::fs::{Written, create_over, create_private, rename_over, sync, sync_folder};

/// Writes a file for this user alone, over the one that may be there, so that a power cut leaves
/// either the old bytes or the new ones: write beside, sync, rename, sync the folder.
///
/// One process at a time: an unfinished copy of an earlier one is written over.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_for(path, bytes, Mode::RUSR | Mode::WUSR)
}

/// As [`replace`], for everybody to read.
pub fn replace_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_for(path, bytes, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
}

/// Writes a new file for its owner to write and for a group to read; refused where something is.
pub fn create_for_group(path: &Path, bytes: &[u8], group: Option<u32>) -> io::Result<()> {
    let mut file = Written(create_private(path)?);
    if group.is_some() {
        std::os::unix::fs::fchown(&file.0, None, group)?;
    }
    rustix::fs::fchmod(&file.0, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    file.write_all(bytes)?;
    sync(&file.0)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => sync_folder(Path::new(".")),
    }
}

fn replace_for(path: &Path, bytes: &[u8], readers: Mode) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let mut file = Written(create_over(unfinished)?);
    rustix::fs::fchmod(&file.0, readers)?;
    file.write_all(bytes)?;
    sync(&file.0)?;
    rename_over(unfinished, path)?;
    sync_parent(path)
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
        replace_public(&path, b"1").expect("written");
        assert_eq!(mode(), 0o644);
        replace(&path, b"2").expect("written");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn what_is_for_a_group_is_written_once() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("config");
        create_for_group(&path, b"one", None).expect("written");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o640);
        let again = create_for_group(&path, b"two", None).expect_err("it is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
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
