//! The office: the authority's folder with root key, draft, identities and every signed revision.
//!
//! ```text
//! root.key            signs; private
//! draft               the next revision, unsigned
//! keyrings/<n>        every signed revision, never written again
//! keyring             the newest one
//! identities/         private keys that were made here
//! successor.key       the next root, where there is one
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::edge::fs;
use crate::keyring::{Keyring, KeyringError, Unreadable};
use crate::note::{KeyError, Kind, NOTE_SIZE_MAX, Note, NoteError, SignerKey, VerifierKey};

/// Largest file with a signing key, in bytes.
const KEY_FILE_SIZE_MAX: u64 = 4096;
/// The mode of files that are nobody else's.
const PRIVATE: u32 = 0o600;
/// The mode of files that are copied to docks.
const PUBLIC: u32 = 0o644;

/// The authority's folder, locked for one command.
pub struct Office {
    dir: PathBuf,
    _lock: File,
}

impl Office {
    /// Makes a new folder with a new root key, and a draft. Nothing that is there is replaced.
    pub fn create(
        dir: &Path,
        draft: impl FnOnce(VerifierKey) -> Keyring,
        name: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<(Office, VerifierKey), OfficeError> {
        let key = SignerKey::generate(name, Kind::Note, rng).map_err(OfficeError::Name)?;
        fs::create_private_folder(dir).map_err(|error| io_error(dir, error))?;
        let office = Office::lock(dir)?;
        if office.root_path().exists() {
            return Err(OfficeError::Exists { path: office.root_path() });
        }
        for folder in ["keyrings", "identities"] {
            let folder = dir.join(folder);
            fs::create_private_folder(&folder).map_err(|error| io_error(&folder, error))?;
        }
        office.save_draft(&draft(key.verifier()))?;
        // Last: with it, the folder is one.
        office.write_key("root.key", &key)?;
        Ok((office, key.verifier()))
    }

    /// The folder of an authority.
    pub fn open(dir: &Path) -> Result<Office, OfficeError> {
        if !dir.join("root.key").exists() {
            return Err(OfficeError::None { dir: dir.to_owned() });
        }
        Office::lock(dir)
    }

    fn lock(dir: &Path) -> Result<Office, OfficeError> {
        let path = dir.join(".lock");
        let lock = fs::lock(&path).map_err(|error| io_error(&path, error))?;
        let lock = lock.ok_or(OfficeError::Busy)?;
        Ok(Office { dir: dir.to_owned(), _lock: lock })
    }

    fn root_path(&self) -> PathBuf {
        self.dir.join("root.key")
    }

    /// The key that signs.
    pub fn root(&self) -> Result<SignerKey, OfficeError> {
        read_signer(&self.root_path())
    }

    /// The numbers of all signed revisions, the oldest first.
    pub fn revisions(&self) -> Result<Vec<u64>, OfficeError> {
        let dir = self.dir.join("keyrings");
        let entries = std::fs::read_dir(&dir).map_err(|error| io_error(&dir, error))?;
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| io_error(&dir, error))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The bytes of a signed revision.
    pub fn revision(&self, number: u64) -> Result<Vec<u8>, OfficeError> {
        let path = self.dir.join("keyrings").join(number.to_string());
        read_bounded(&path, NOTE_SIZE_MAX as u64)
    }

    /// The newest signed revision, verified; `None` before the first.
    pub fn newest(&self) -> Result<Option<Keyring>, OfficeError> {
        let Some(number) = self.revisions()?.pop() else { return Ok(None) };
        let bad = |why: Unreadable| OfficeError::Revision { number, why };
        let note = Note::parse(&self.revision(number)?).map_err(|error| bad(error.into()))?;
        let keyring = Keyring::from_note(&note).map_err(|error| bad(error.into()))?;
        note.verify(&keyring.authority).map_err(|error| bad(error.into()))?;
        let root = self.root()?.verifier();
        let is_ours = keyring.authority == root || keyring.successor.as_ref() == Some(&root);
        if !is_ours || keyring.revision != number {
            return Err(bad(NoteError::NotSigned.into()));
        }
        Ok(Some(keyring))
    }

    /// The draft; where there is none, the newest revision. It must follow on that one.
    pub fn draft(&self) -> Result<Keyring, OfficeError> {
        let newest = self.newest()?;
        let path = self.dir.join("draft");
        let bytes = match (read_bounded(&path, NOTE_SIZE_MAX as u64), &newest) {
            (Err(OfficeError::Io { error, .. }), Some(newest)) if fs::is_absent(&error) => {
                return Ok(newest.clone());
            }
            (read, _) => read?,
        };
        let text = String::from_utf8(bytes).map_err(|_| KeyringError::Head);
        let draft = text.and_then(|text| Keyring::from_draft(&text)).map_err(OfficeError::Draft)?;
        let signed = newest.as_ref().map_or(0, |newest| newest.revision);
        if draft.revision == signed {
            return Ok(draft);
        }
        // Signed, and ended before the draft was written anew.
        if let Some(newest) = newest {
            let Keyring { revision, issued, .. } = newest;
            if (Keyring { revision, issued, ..draft.clone() }) == newest {
                return Ok(newest);
            }
        }
        Err(OfficeError::OldDraft { draft: draft.revision, signed })
    }

    /// Writes the draft.
    pub fn save_draft(&self, draft: &Keyring) -> Result<(), OfficeError> {
        replace(&self.dir.join("draft"), draft.to_string().as_bytes(), PRIVATE)
    }

    /// Signs a draft as the next revision, and makes that the newest one.
    pub fn sign(&self, draft: Keyring, now: jiff::Timestamp) -> Result<Keyring, OfficeError> {
        let root = self.root()?;
        if root.verifier() != draft.authority {
            return Err(OfficeError::OtherRoot { named: Box::new(draft.authority) });
        }
        let revision = draft.revision + 1;
        let keyring = Keyring { revision, issued: now, ..draft };
        let note = keyring.sign(&root).map_err(OfficeError::Draft)?.to_string();
        let path = self.dir.join("keyrings").join(revision.to_string());
        create(&path, note.as_bytes(), PUBLIC)?;
        replace(&self.dir.join("keyring"), note.as_bytes(), PUBLIC)?;
        self.save_draft(&keyring)?;
        Ok(keyring)
    }

    /// Keeps the text of a new identity, under a name that is free, and says which.
    pub fn keep_identity(&self, stem: &str, text: &str) -> Result<PathBuf, OfficeError> {
        for count in 1u32.. {
            let more = if count == 1 { String::new() } else { format!("-{count}") };
            let path = self.dir.join("identities").join(format!("{stem}{more}.identity"));
            match create(&path, text.as_bytes(), PRIVATE) {
                Err(OfficeError::Exists { .. }) => {}
                created => return created.map(|()| path),
            }
        }
        unreachable!("some number is free")
    }

    /// Makes the key that follows this root.
    pub fn make_successor(&self, rng: &mut impl CryptoRng) -> Result<VerifierKey, OfficeError> {
        let name = self.root()?.verifier().name().to_owned();
        let key = SignerKey::generate(&name, Kind::Note, rng).map_err(OfficeError::Name)?;
        self.write_key("successor.key", &key)?;
        Ok(key.verifier())
    }

    /// Lets the successor that the newest revision names sign from now on.
    pub fn take_over(&self) -> Result<VerifierKey, OfficeError> {
        let path = self.dir.join("successor.key");
        if !path.exists() {
            return Err(OfficeError::NotNamed);
        }
        let successor = read_signer(&path)?.verifier();
        let newest = self.newest()?;
        if newest.as_ref().and_then(|one| one.successor.as_ref()) != Some(&successor) {
            return Err(OfficeError::NotNamed);
        }
        let mut draft = self.draft()?;
        (draft.authority, draft.successor) = (successor.clone(), None);
        let former = self.dir.join("former-root.key");
        if former.exists() {
            return Err(OfficeError::Exists { path: former });
        }
        rename(&self.root_path(), &former)?;
        rename(&path, &self.root_path())?;
        self.save_draft(&draft)?;
        Ok(successor)
    }

    fn write_key(&self, name: &str, key: &SignerKey) -> Result<(), OfficeError> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_SIZE_MAX as usize));
        text.push_str(&key.to_text());
        text.push('\n');
        create(&self.dir.join(name), text.as_bytes(), PRIVATE)
    }
}

/// The signing key in a file.
pub fn read_signer(path: &Path) -> Result<SignerKey, OfficeError> {
    let bytes = Zeroizing::new(read_bounded(path, KEY_FILE_SIZE_MAX)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let bad = |error| OfficeError::Key { path: path.to_owned(), error };
    let key = SignerKey::parse(text.trim()).map_err(bad)?;
    match key.verifier().kind() {
        Kind::Note => Ok(key),
        Kind::Cosignature => Err(bad(KeyError::Kind)),
    }
}

fn read_bounded(path: &Path, size_max: u64) -> Result<Vec<u8>, OfficeError> {
    let mut bytes = Vec::with_capacity(KEY_FILE_SIZE_MAX as usize);
    let read = File::open(path).and_then(|file| file.take(size_max + 1).read_to_end(&mut bytes));
    read.map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > size_max {
        return Err(io_error(path, io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// Writes a file that was not there, durably.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), OfficeError> {
    // The rename would see to it as well; but no private key is written for nothing.
    if path.exists() {
        return Err(OfficeError::Exists { path: path.to_owned() });
    }
    let (file, unfinished) = write_unfinished(path, bytes, mode)?;
    match fs::publish(&file, &unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(OfficeError::Exists { path: path.to_owned() })
        }
        published => published.map_err(|error| io_error(path, error)),
    }
}

/// Writes a file over the one that may be there, durably, and never half of it.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), OfficeError> {
    let (file, unfinished) = write_unfinished(path, bytes, mode)?;
    file.sync_all().map_err(|error| io_error(path, error))?;
    rename(&unfinished, path)
}

fn rename(from: &Path, to: &Path) -> Result<(), OfficeError> {
    let renamed = std::fs::rename(from, to)
        .and_then(|()| fs::sync_folder(to.parent().expect("a file of the folder")));
    renamed.map_err(|error| io_error(to, error))
}

/// Beside its place. The folder is locked, so a leftover is nobody's, and written over.
fn write_unfinished(path: &Path, bytes: &[u8], mode: u32) -> Result<(File, PathBuf), OfficeError> {
    let unfinished = path.with_file_name(".unfinished");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(&unfinished).and_then(|mut file| {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes).map(|()| file)
    });
    Ok((written.map_err(|error| io_error(path, error))?, unfinished))
}

fn io_error(path: &Path, error: io::Error) -> OfficeError {
    OfficeError::Io { path: path.to_owned(), error }
}

/// Why the authority's folder does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// Another command works on it.
    #[error("another command works on the folder")]
    Busy,
    /// The draft breaks a rule.
    #[error("the draft is none: {0}")]
    Draft(#[source] KeyringError),
    /// Something of this name is there, and stays.
    #[error("{} is there already, and is never overwritten", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// The disk.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// A key's file holds none.
    #[error("{}: {error}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// Not a name for a key.
    #[error(transparent)]
    Name(KeyError),
    /// No authority's folder.
    #[error("{} has no root.key", dir.display())]
    None {
        /// Which folder.
        dir: PathBuf,
    },
    /// No signed revision names the successor.
    #[error("the newest signed revision does not name successor.key as the successor")]
    NotNamed,
    /// The draft was made from another revision than the newest.
    #[error("the draft was made from revision {draft}, and revision {signed} is signed")]
    OldDraft {
        /// From which it was made.
        draft: u64,
        /// The newest.
        signed: u64,
    },
    /// The draft names a root that is not this folder's.
    #[error("the draft is of another root: {named}")]
    OtherRoot {
        /// Which.
        named: Box<VerifierKey>,
    },
    /// A signed revision is damaged, or not this authority's.
    #[error("revision {number} in keyrings/: {why}")]
    Revision {
        /// Which.
        number: u64,
        /// What is wrong.
        why: Unreadable,
    },
}
