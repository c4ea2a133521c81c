//! The manifest: what is known of a clip, sealed with it in a stanza of its own. docs/format.md §5.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::header::Stanza;
use super::{DerivedKey, FileKey, derive};
use crate::clip::path_from_bytes;

/// The type of the manifest's stanza; every age reader skips it.
pub const MANIFEST: &str = "dockseal.manifest/v1";
/// Bytes of the stanza's SALT argument.
pub const STANZA_SALT_SIZE: usize = 16;
/// The JSON is padded with spaces to a multiple of this, so that its size tells little.
pub const PADDING: usize = 512;
/// The most bytes of padded JSON.
pub const MANIFEST_SIZE_MAX: usize = 8 * 1024;
/// The newest version of the JSON that this code writes.
pub const VERSION: u32 = 1;

/// A file or folder name: text where it is plain UTF-8, else its bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// Valid UTF-8 without control characters.
    Text(String),
    /// Anything else that a Unix file system allows.
    Bytes {
        /// Unpadded standard base64 of the bytes.
        base64: String,
    },
}

impl Name {
    /// The name of a path, exactly.
    pub fn from_path(path: &Path) -> Name {
        use std::os::unix::ffi::OsStrExt;
        match path.to_str() {
            Some(text) if !text.chars().any(char::is_control) => Name::Text(text.to_owned()),
            _ => Name::Bytes { base64: BASE64.encode(path.as_os_str().as_bytes()) },
        }
    }

    /// The path again; `None` where the base64 is malformed.
    pub fn to_path(&self) -> Option<PathBuf> {
        match self {
            Name::Text(text) => Some(PathBuf::from(text)),
            Name::Bytes { base64 } => Some(path_from_bytes(BASE64.decode(base64).ok()?)),
        }
    }
}

/// What is known of a clip. Unknown fields of later versions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this JSON; readers of version 1 may read any, fields only get more.
    pub version: u32,
    /// The dock that sealed it.
    pub dock: String,
    /// The file's name, without folders.
    pub name: Name,
    /// The folders between the watch folder and the file; empty at the top.
    pub folder: Name,
    /// The camera, as the watch folder's `camera` rule names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Size of the clip in bytes.
    pub size_bytes: u64,
    /// When the file was last written, by the file system that it lay on.
    pub modified: jiff::Timestamp,
    /// When it was sealed, by the dock's clock.
    pub sealed: jiff::Timestamp,
    /// 32 random bytes of the commitment, in base64.
    pub commitment_salt: String,
    /// Fields of a later version.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// A fresh salt for [`commitment`].
    pub fn new_salt(rng: &mut impl CryptoRng) -> String {
        let mut salt = [0u8; 32];
        rng.fill_bytes(&mut salt);
        BASE64.encode(salt)
    }

    /// The stanza that carries this manifest, under a key from the file key and a fresh salt.
    pub fn wrap(&self, file_key: &FileKey, rng: &mut impl CryptoRng) -> Result<Stanza, TooLarge> {
        let mut salt = [0u8; STANZA_SALT_SIZE];
        rng.fill_bytes(&mut salt);
        let mut body = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        body.resize(body.len().next_multiple_of(PADDING), b' ');
        if body.len() > MANIFEST_SIZE_MAX {
            return Err(TooLarge);
        }
        let tag = ChaCha20Poly1305::new(manifest_key(file_key, &salt).as_bytes().into())
            .encrypt_inout_detached(&[0u8; 12].into(), b"", body.as_mut_slice().into())
            .expect("8 KiB are below the limit of ChaCha20-Poly1305");
        body.extend_from_slice(&tag);
        Ok(Stanza { kind: MANIFEST.into(), args: vec![BASE64.encode(salt)], body })
    }
}

/// The key of one manifest. The nonce is zero, so a manifest written again needs a new salt.
pub(crate) fn manifest_key(file_key: &FileKey, salt: &[u8; STANZA_SALT_SIZE]) -> DerivedKey {
    derive(file_key.as_bytes(), salt, MANIFEST.as_bytes())
}

/// SHA-256(salt ‖ SHA-256(plaintext)): fixes the plaintext without telling its hash.
///
/// `None` where the salt is not 32 bytes of base64.
pub fn commitment(salt: &str, plaintext_sha256: &[u8; 32]) -> Option<[u8; 32]> {
    let salt: [u8; 32] = BASE64.decode(salt).ok()?.try_into().ok()?;
    let digest = Sha256::new().chain_update(salt).chain_update(plaintext_sha256).finalize();
    Some(digest.into())
}

/// The names of a clip do not fit a manifest; no path that Linux allows is that long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest is larger than {MANIFEST_SIZE_MAX} bytes")]
pub struct TooLarge;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand_core::UnwrapErr;

    pub(crate) fn manifest(name: &Path) -> Manifest {
        Manifest {
            version: VERSION,
            dock: "hannover-hbf-03".into(),
            name: Name::from_path(name),
            folder: Name::Text(String::new()),
            camera: None,
            size_bytes: 3,
            modified: jiff::Timestamp::UNIX_EPOCH,
            sealed: jiff::Timestamp::UNIX_EPOCH,
            commitment_salt: BASE64.encode([1; 32]),
            more: serde_json::Map::new(),
        }
    }

    #[test]
    fn every_name_that_linux_allows_fits_and_comes_back() {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let key = FileKey::generate(rng);
        for byte in [b'a', b'\n', 0x1b, 0xff, b'"', b'\\'] {
            let name = path_from_bytes(vec![byte; 255]);
            let folder = path_from_bytes([byte, byte, byte, b'/'].repeat(1010));
            let mut manifest = manifest(&name);
            manifest.folder = Name::from_path(&folder);
            assert_eq!(manifest.name.to_path(), Some(name));
            assert_eq!(manifest.folder.to_path(), Some(folder));
            let stanza = manifest.wrap(&key, rng).expect("fits");
            assert_eq!(stanza.body.len() % PADDING, 16);
        }
    }

    #[test]
    fn unknown_fields_are_kept() {
        let mut json = serde_json::to_value(manifest(Path::new("a.mp4"))).expect("JSON");
        json["officer_hint"] = "x".into();
        let read: Manifest = serde_json::from_value(json.clone()).expect("still a manifest");
        assert_eq!(serde_json::to_value(read).expect("JSON"), json);
    }

    #[test]
    fn a_manifest_written_again_has_a_new_key() {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let key = FileKey::generate(rng);
        let manifest = manifest(Path::new("a.mp4"));
        let stanzas = [manifest.wrap(&key, rng), manifest.wrap(&key, rng)].map(|s| s.expect("ok"));
        assert_ne!(stanzas[0].args, stanzas[1].args);
        assert_ne!(stanzas[0].body, stanzas[1].body);
    }
}
