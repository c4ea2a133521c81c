//! The dock's signing key: made once, kept in the state directory or given by systemd.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand_core::UnwrapErr;
use zeroize::Zeroizing;

use crate::edge::{credentials, durable};
use crate::note::{KeyError, Kind, SignerKey};

/// The key's file in the state directory.
const FILE: &str = "signing-key";
/// The systemd credential that may hold it instead (`LoadCredential=signing-key:FILE`).
const CREDENTIAL: &str = "signing-key";
/// Larger than any key.
const SIZE_MAX: u64 = 4096;

/// Makes the key of a dock unless there is one, and loads it.
pub fn create(state_dir: &Path, dock: &str) -> Result<SignerKey, SigningError> {
    let (path, _) = place(state_dir);
    if path.exists() {
        return load(state_dir, dock);
    }
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let key = SignerKey::generate(dock, Kind::Note, rng).map_err(SigningError::Key)?;
    let text = Zeroizing::new(format!("{}\n", key.to_text().as_str()));
    durable::replace(&path, text.as_bytes())
        .map_err(|error| SigningError::File { path: path.clone(), error })?;
    Ok(key)
}

/// Loads the key of a dock.
pub fn load(state_dir: &Path, dock: &str) -> Result<SignerKey, SigningError> {
    let (path, is_own) = place(state_dir);
    let failed = |error| SigningError::File { path: path.clone(), error };
    let mut text = Zeroizing::new(String::new());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SigningError::Missing),
        opened => opened.map_err(failed)?,
    };
    // systemd decides who reads its credentials.
    if is_own && file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SigningError::Open { path });
    }
    file.take(SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    let key = SignerKey::parse(text.trim_end()).map_err(SigningError::Key)?;
    let name = key.verifier().name().to_owned();
    if name == dock { Ok(key) } else { Err(SigningError::OtherDock { name }) }
}

/// Where the key lies, and whether that is the state directory.
fn place(state_dir: &Path) -> (PathBuf, bool) {
    match credentials::systemd_credential(CREDENTIAL).filter(|path| path.exists()) {
        Some(path) => (path, false),
        None => (state_dir.join(FILE), true),
    }
}

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// Its file could not be read or written.
    #[error("cannot use the signing key {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The file does not hold a signing key.
    #[error("the signing key is none")]
    Key(#[source] KeyError),
    /// There is none.
    #[error("the dock has no signing key")]
    Missing,
    /// Others may read it.
    #[error("the signing key {} can be read by others", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The key of another dock.
    #[error("the signing key is that of dock {name}")]
    OtherDock {
        /// Its name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_refused_where_it_is_not_safe() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(matches!(load(dir.path(), "dock-1"), Err(SigningError::Missing)));
        let made = create(dir.path(), "dock-1").expect("made").verifier();
        assert!(create(dir.path(), "dock-1").expect("loaded").verifier() == made);
        let other = load(dir.path(), "dock-2");
        assert!(matches!(other, Err(SigningError::OtherDock { name }) if name == "dock-1"));
        let path = dir.path().join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(load(dir.path(), "dock-1"), Err(SigningError::Open { .. })));
    }
}
