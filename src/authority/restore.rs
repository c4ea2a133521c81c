//! Restoring: a clip back as a file, complete under its own name or not there at all.

mod overseer;
mod same;

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rand_core::{Rng, UnwrapErr};

use super::armor::Unarmored;
use super::identity::Identities;
use super::open::{ManifestFinding, OpenError, Opened, open};
use super::origin::Verdict;
use super::parallel::{Copied, CopyError, copy};
use super::payload::{PayloadError, PayloadReader, Plaintext};
use crate::clip::SealedName;
use crate::edge::bucket::BucketError;
use crate::edge::fs;
use crate::envelope::stream::payload_size;
pub use overseer::Overseer;
use same::Same;

/// Bytes that are read from a local file at a time.
const READ_SIZE: usize = 256 * 1024;
/// The longest file name that Linux takes (`NAME_MAX`).
const NAME_SIZE_MAX: usize = 255;

/// A sealed file that is to be opened.
pub struct Source<R> {
    /// Its bytes, from the first one on.
    pub bytes: R,
    /// Its own name, without folders.
    pub file_name: OsString,
    /// The name that it must have by its content, where its file name is one.
    pub sealed_name: Option<SealedName>,
}

/// What is known of a clip after all of it verified.
#[derive(Debug)]
pub struct Facts {
    /// SHA-256 of the sealed file, out of its armor where it had one.
    pub name: SealedName,
    /// Size of that file in bytes.
    pub sealed_size_bytes: u64,
    /// What the clip was.
    pub plaintext: Plaintext,
    /// What the file says of it.
    pub manifest: ManifestFinding,
}

/// A clip that lies in a folder again.
#[derive(Debug)]
pub struct Restored {
    /// Its path: the folder given, and one name.
    pub path: PathBuf,
    /// How it came to lie there.
    pub arrival: Arrival,
    /// What it is.
    pub facts: Facts,
}

/// How a clip came to lie in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A file of its name was there, with every byte the same: opened before. It was left alone.
    WasThere,
    /// It was written now.
    Written,
}

/// The sealed name that a file name is, with or without `.age`.
pub fn sealed_name_of(file_name: &OsStr) -> Option<SealedName> {
    let name = file_name.to_str()?;
    name.strip_suffix(".age").unwrap_or(name).parse().ok()
}

/// Writes the clip into `out`, each chunk once it verified.
///
/// On failure what was written is a verified beginning of the clip; the caller must discard it.
pub fn stream<R: Read>(
    source: Source<R>,
    identities: &Identities,
    out: &mut impl Write,
    overseer: &mut dyn Overseer,
) -> Result<Facts, RestoreError> {
    let sealed_name = source.sealed_name;
    let (opened, payload) = begin(source.bytes, identities)?;
    finish(opened, payload, sealed_name, out, overseer)
}

/// Opens a clip into `folder` under the name that its manifest gives, never over another file. A
/// file of that name that is the clip already is compared to its last byte, and kept.
///
/// It is written under a hidden name that `unfinished` knows, readable by this user alone, and gets
/// its own name after its last chunk verified and the disk has it.
pub fn restore<R: Read>(
    source: Source<R>,
    identities: &Identities,
    folder: &Path,
    unfinished: &Unfinished,
    overseer: &mut dyn Overseer,
) -> Result<Restored, RestoreError> {
    let Source { bytes, file_name, sealed_name } = source;
    let (opened, payload) = begin(bytes, identities)?;
    let wanted = name_from(&opened.manifest, &file_name);
    // Before hours of writing; that nothing is replaced, the rename itself makes sure.
    if let Some(path) = wanted.as_ref().map(|name| folder.join(name))
        && let Some(facts) = existing(&path)?
    {
        let mut same = Same::of(path, &facts, &opened.manifest)?;
        let facts = finish(opened, payload, sealed_name, &mut same, overseer);
        return same.conclude(facts);
    }
    let hidden = folder.join(format!(".dockseal-{:016x}.unfinished", random()));
    let mut file = unfinished.create(&hidden).map_err(RestoreError::Write)?;
    let written = (|| {
        let facts = finish(opened, payload, sealed_name, &mut file, overseer)?;
        let name = wanted.unwrap_or_else(|| facts.name.to_string().into());
        let path = folder.join(name);
        set_modified(&file, &facts.manifest).map_err(RestoreError::Write)?;
        match fs::publish(&file, &hidden, &path) {
            Ok(()) => Ok(Restored { path, arrival: Arrival::Written, facts }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(RestoreError::Exists { path })
            }
            Err(error) => Err(RestoreError::Write(error)),
        }
    })();
    match &written {
        Ok(_) => unfinished.forget(),
        Err(_) => unfinished.remove(),
    }
    written
}

type Payload<R> = PayloadReader<Unarmored<BufReader<R>>>;

fn begin<R: Read>(bytes: R, identities: &Identities) -> Result<(Opened, Payload<R>), RestoreError> {
    let input = BufReader::with_capacity(READ_SIZE, bytes);
    open(input, identities).map_err(RestoreError::Open)
}

fn finish<R: Read>(
    opened: Opened,
    payload: Payload<R>,
    expected: Option<SealedName>,
    out: &mut impl Write,
    overseer: &mut dyn Overseer,
) -> Result<Facts, RestoreError> {
    let Copied { plaintext, sealed_sha256 } = copy(payload, out, &mut |size| overseer.wrote(size))
        .map_err(|error| match error {
            CopyError::Payload(error) => RestoreError::Payload(error),
            CopyError::Write(error) => RestoreError::Write(error),
        })?;
    out.flush().map_err(RestoreError::Write)?;
    let name = SealedName(sealed_sha256);
    let sealed_size_bytes = opened.header_size_bytes + payload_size(plaintext.size_bytes);
    // Whoever knows the file key can write another header, or another clip, that opens as well:
    // only the digest that the dock recorded tells the original.
    match expected {
        Some(expected) if expected != name => Err(RestoreError::Digest { found: name }),
        Some(_) | None => {
            let facts = Facts { name, sealed_size_bytes, plaintext, manifest: opened.manifest };
            overseer.judge(&facts).map(|()| facts)
        }
    }
}

/// The name of the output; `None` where it is the sealed name, which is not known yet.
fn name_from(manifest: &ManifestFinding, file_name: &OsStr) -> Option<OsString> {
    match manifest {
        ManifestFinding::Found(manifest) => {
            let name = manifest.name.to_path()?.into_os_string();
            is_one_name(&name).then_some(name)
        }
        ManifestFinding::Absent | ManifestFinding::Unreadable(_) => {
            let bytes = file_name.as_bytes();
            let name = match bytes.strip_suffix(b".age") {
                Some(stem) if !stem.is_empty() => OsStr::from_bytes(stem).to_owned(),
                Some(_) | None => OsStr::from_bytes(&[bytes, b".opened"].concat()).to_owned(),
            };
            is_one_name(&name).then_some(name)
        }
    }
}

/// Whether a name stays in the folder that it is put into, whatever a forger wrote.
fn is_one_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let special = bytes.is_empty() || bytes == b"." || bytes == b"..";
    !special && bytes.len() <= NAME_SIZE_MAX && !bytes.iter().any(|b| matches!(b, b'/' | 0))
}

/// What has this name already, a link as a link.
fn existing(path: &Path) -> Result<Option<Metadata>, RestoreError> {
    match path.symlink_metadata() {
        Ok(facts) => Ok(Some(facts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RestoreError::Write(error)),
    }
}

fn set_modified(file: &File, manifest: &ManifestFinding) -> io::Result<()> {
    match manifest {
        ManifestFinding::Found(manifest) => {
            let modified = SystemTime::from(manifest.modified);
            file.set_times(FileTimes::new().set_modified(modified))
        }
        ManifestFinding::Absent | ManifestFinding::Unreadable(_) => Ok(()),
    }
}

fn random() -> u64 {
    UnwrapErr(getrandom::SysRng).next_u64()
}

/// The output that is being written, known to whoever ends the process early, so that Ctrl-C
/// leaves no half of a clip behind.
#[derive(Debug, Default)]
pub struct Unfinished(Mutex<Option<PathBuf>>);

impl Unfinished {
    /// Removes it, if there is one.
    pub fn remove(&self) {
        if let Some(path) = self.take() {
            // It may have got its own name just now; then it is finished.
            let _ = std::fs::remove_file(path);
        }
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        // Under the lock, so that nobody removes a file of this name that is not ours.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = fs::create_private(path)?;
        *slot = Some(path.to_owned());
        Ok(file)
    }

    fn forget(&self) {
        self.take();
    }

    fn take(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a clip is not there again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It opens, but it is not the file that has this name.
    #[error("the sealed file was changed: its digest is {found}, which is not its name")]
    Digest {
        /// SHA-256 of what was read.
        found: SealedName,
    },
    /// Another file of the clip's name is there.
    #[error("another file of that name is there already, and nothing is replaced")]
    Exists {
        /// The name that the clip would have got.
        path: PathBuf,
    },
    /// No dock sealed it, or not so.
    #[error(transparent)]
    NotAuthentic(Box<Verdict>),
    /// It cannot be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The bucket with the log that would tell could not be asked.
    #[error("cannot check its origin")]
    Origin(#[source] BucketError),
    /// It was opened, but does not verify to its end.
    #[error(transparent)]
    Payload(PayloadError),
    /// The file that has the clip's name could not be compared with it.
    #[error("cannot read the file that has its name")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("cannot write the clip")]
    Write(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Identity, Kind};
    use super::super::open::tests::{identity, sealed};
    use super::*;
    use crate::clip::path_from_bytes;
    use sha2::{Digest, Sha256};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn try_restore(file: &[u8], name: &str, identity: Identity, dir: &Path) -> RestoreResult {
        restore_with(file, name, &Identities::one(identity), dir)
    }

    fn restore_with(file: &[u8], name: &str, with: &Identities, dir: &Path) -> RestoreResult {
        let source = Source {
            bytes: file,
            file_name: name.into(),
            sealed_name: sealed_name_of(OsStr::new(name)),
        };
        let mut size_bytes = 0;
        let unfinished = Unfinished::default();
        let mut progress = |size| size_bytes += size;
        let restored = restore(source, with, dir, &unfinished, &mut progress);
        if let Ok(restored) = &restored {
            assert_eq!(restored.facts.plaintext.size_bytes, size_bytes);
        }
        restored
    }

    type RestoreResult = Result<Restored, RestoreError>;

    fn files(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).expect("listed");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        files.sort();
        files
    }

    fn digest(file: &[u8]) -> String {
        SealedName(Sha256::digest(file).into()).to_string()
    }

    #[test]
    fn a_clip_comes_back_with_its_name_and_time_for_this_user_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let identity = identity(Kind::PostQuantum);
        let file = sealed(&identity, b"abc", Path::new("GOPR 1.mp4"));
        let name = digest(&file);
        let restored = try_restore(&file, &name, identity, dir.path()).expect("restored");
        assert_eq!(restored.path, dir.path().join("GOPR 1.mp4"));
        assert_eq!(restored.facts.name.to_string(), name);
        assert_eq!(files(dir.path()), std::slice::from_ref(&restored.path));
        assert_eq!(std::fs::read(&restored.path).expect("there"), b"abc");
        let facts = std::fs::metadata(&restored.path).expect("there");
        assert_eq!(facts.modified().expect("mtime"), SystemTime::UNIX_EPOCH);
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().expect("tempdir");
        let dir = outside.path().join("inside");
        std::fs::create_dir(&dir).expect("created");
        let nasty: [&[u8]; 9] = [
            b"../escaped",
            b"/tmp/escaped",
            b"a/b",
            b"a/",
            b".",
            b"..",
            b"",
            b"a\0b",
            &[b'a'; 256],
        ];
        for name in nasty {
            let identity = identity(Kind::Classic);
            let file = sealed(&identity, b"abc", &path_from_bytes(name.to_vec()));
            let restored = try_restore(&file, "x.age", identity, &dir).expect("restored");
            assert_eq!(restored.path, dir.join(digest(&file)), "{name:?}");
        }
        assert_eq!(files(&dir).len(), nasty.len());
        assert_eq!(files(outside.path()), [dir]);
    }

    #[test]
    fn every_other_name_comes_back_exactly() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in
            [&b"\xff\n\x1b[2J"[..], b"-rf", b".hidden", b"...", b"\\", "\u{202e}x".as_bytes()]
        {
            let identity = identity(Kind::Classic);
            let path = path_from_bytes(name.to_vec());
            let file = sealed(&identity, b"abc", &path);
            let restored = try_restore(&file, "x.age", identity, dir.path()).expect("restored");
            assert_eq!(restored.path, dir.path().join(path));
        }
    }

    #[test]
    fn nothing_is_ever_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let taken = dir.path().join("a.mp4");
        for make in [0, 1] {
            match make {
                0 => std::fs::write(&taken, b"mine").expect("written"),
                _ => std::os::unix::fs::symlink("/nowhere", &taken).expect("linked"),
            }
            let identity = identity(Kind::Classic);
            let file = sealed(&identity, b"abc", Path::new("a.mp4"));
            let error = try_restore(&file, "x.age", identity, dir.path()).expect_err("refused");
            assert!(matches!(error, RestoreError::Exists { path } if path == taken));
            assert_eq!(files(dir.path()), std::slice::from_ref(&taken));
            std::fs::remove_file(&taken).expect("removed");
        }
    }

    #[test]
    fn a_clip_that_was_opened_before_is_there_and_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("tempdir");
        let taken = dir.path().join("a.mp4");
        // Empty, less than a chunk, a whole one, more than one.
        for size in [0, 3, 65_536, 200_000] {
            let clip = vec![7; size];
            let identity = identity(Kind::Classic);
            let file = sealed(&identity, &clip, Path::new("a.mp4"));
            let with = Identities::one(identity);
            let open = || restore_with(&file, "x.age", &with, dir.path());
            assert_eq!(open().expect("restored").arrival, Arrival::Written);
            let before = std::fs::metadata(&taken).expect("there");
            let again = open().expect("was there");
            assert_eq!((again.arrival, &again.path), (Arrival::WasThere, &taken));
            let after = std::fs::metadata(&taken).expect("there");
            assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
            // A byte more, and from the second size on one less, and the last one another.
            let mut others = vec![[&clip[..], b"!"].concat()];
            if let Some((_, shorter)) = clip.split_last() {
                others.extend([shorter.to_vec(), [shorter, b"!"].concat()]);
            }
            for other in others {
                std::fs::write(&taken, &other).expect("written");
                let error = open().expect_err("refused");
                assert!(matches!(error, RestoreError::Exists { path } if path == taken));
                assert_eq!(std::fs::read(&taken).expect("there"), other);
            }
            std::fs::remove_file(&taken).expect("removed");
        }
    }

    #[test]
    fn a_damaged_clip_is_not_there_whatever_file_has_its_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let clip = vec![7; 200_000];
        std::fs::write(dir.path().join("a.mp4"), &clip).expect("written");
        let identity = identity(Kind::Classic);
        let mut file = sealed(&identity, &clip, Path::new("a.mp4"));
        *file.last_mut().expect("bytes") ^= 1;
        let error = try_restore(&file, "x.age", identity, dir.path()).expect_err("refused");
        assert!(matches!(error, RestoreError::Payload(_)), "{error}");
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("tempdir");
        let clip = vec![7; 200_000];
        for damage in 0..4 {
            let identity = identity(Kind::Classic);
            let mut file = sealed(&identity, &clip, Path::new("a.mp4"));
            let mut name = "x.age".to_owned();
            match damage {
                0 => file.truncate(150_000),
                1 => *file.last_mut().expect("bytes") ^= 1,
                2 => file.push(0),
                // It opens, but another file has this name.
                _ => name = format!("{}.age", digest(b"another")),
            }
            let error = try_restore(&file, &name, identity, dir.path()).expect_err("refused");
            let digest = matches!(error, RestoreError::Digest { .. });
            assert_eq!(digest, damage == 3, "{error}");
            assert!(files(dir.path()).is_empty(), "{damage}");
        }
    }

    #[test]
    fn a_file_without_a_manifest_is_named_after_itself() {
        let name = |name: &str| name_from(&ManifestFinding::Absent, OsStr::new(name));
        assert_eq!(name("report.pdf.age"), Some("report.pdf".into()));
        assert_eq!(name("report.pdf"), Some("report.pdf.opened".into()));
        assert_eq!(name(".age"), Some(".age.opened".into()));
        assert_eq!(name("..age"), None);
        assert_eq!(name("...age"), None);
    }

    #[test]
    fn an_interruption_removes_what_is_unfinished() {
        let dir = tempfile::tempdir().expect("tempdir");
        let unfinished = Unfinished::default();
        unfinished.create(&dir.path().join("half")).expect("created");
        unfinished.remove();
        unfinished.remove();
        assert!(files(dir.path()).is_empty());
    }
}
