//! The keys of signed notes, in the text forms of C2SP signed-note.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clip::to_hex;

/// What begins the text of a signing key.
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// Longest name of a key, in bytes.
const NAME_SIZE_MAX: usize = 128;
/// Longest text of a key that is looked at, in characters.
const TEXT_SIZE_MAX: usize = 512;

/// What a key signs, and how (C2SP signed-note, "Signature types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text of a note (Ed25519).
    Note,
    /// A checkpoint with the time of seeing it (C2SP tlog-cosignature, `cosignature/v1`).
    Cosignature,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Note => 0x01,
            Kind::Cosignature => 0x04,
        }
    }
}

/// A public key with its name: `NAME+KEY ID+BASE64`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    /// Boxed: with its point it has 192 bytes.
    key: Box<VerifyingKey>,
}

impl VerifierKey {
    /// The name that its signature lines carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The four bytes that tell keys of one name apart: SHA-256(name ‖ LF ‖ kind ‖ key)[..4].
    pub fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([b'\n', self.kind.byte()]);
        hash.update(self.key.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// What two people compare by voice: 64 bits of the text's SHA-256, in four groups.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.to_string())
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        // Strict: no second signature of the same message by low-order points (RFC 8032 §8.4).
        self.key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex_id(self.id()), BASE64.encode(bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<VerifierKey, KeyError> {
        if text.starts_with(PRIVATE_PREFIX) {
            return Err(KeyError::Private);
        }
        let (name, id, bytes) = split(text)?;
        let (kind, bytes) = match bytes.split_first() {
            Some((0x01, rest)) => (Kind::Note, rest),
            Some((0x04, rest)) => (Kind::Cosignature, rest),
            _ => return Err(KeyError::Kind),
        };
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Size)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Point);
        }
        let key = VerifierKey { name: name.to_owned(), kind, key: Box::new(key) };
        if hex_id(key.id()) != id { Err(KeyError::Id) } else { Ok(key) }
    }
}

/// A private key with its name: `PRIVATE+KEY+NAME+KEY ID+BASE64`. Wiped when it is dropped.
pub struct SignerKey {
    name: String,
    kind: Kind,
    key: Box<SigningKey>,
}

impl SignerKey {
    /// A new key.
    pub fn generate(name: &str, kind: Kind, rng: &mut impl CryptoRng) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        SignerKey::from_seed(name, kind, &seed)
    }

    /// The key of a seed (RFC 8032 §5.1.5).
    pub fn from_seed(name: &str, kind: Kind, seed: &[u8; 32]) -> Result<Self, KeyError> {
        expect_name(name)?;
        Ok(SignerKey { name: name.to_owned(), kind, key: Box::new(SigningKey::from_bytes(seed)) })
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<SignerKey, KeyError> {
        let text = text.strip_prefix(PRIVATE_PREFIX).ok_or(KeyError::NotPrivate)?;
        let (name, id, bytes) = split(text)?;
        let bytes = Zeroizing::new(bytes);
        let kind = match bytes.first() {
            Some(0x01) => Kind::Note,
            Some(0x04) => Kind::Cosignature,
            _ => return Err(KeyError::Kind),
        };
        let seed: &[u8; 32] = bytes[1..].try_into().map_err(|_| KeyError::Size)?;
        let key = SignerKey::from_seed(name, kind, seed)?;
        if hex_id(key.verifier().id()) != id { Err(KeyError::Id) } else { Ok(key) }
    }

    /// The text form, for the file that keeps it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![self.kind.byte()]);
        bytes.extend_from_slice(self.key.as_bytes());
        let encoded = Zeroizing::new(BASE64.encode(&bytes));
        let id = hex_id(self.verifier().id());
        Zeroizing::new(format!("{PRIVATE_PREFIX}{}+{id}+{}", self.name, encoded.as_str()))
    }

    /// The public half.
    pub fn verifier(&self) -> VerifierKey {
        let key = Box::new(self.key.verifying_key());
        VerifierKey { name: self.name.clone(), kind: self.kind, key }
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

/// What two people compare of a public key by voice: 64 bits of its text's SHA-256, in four groups.
pub fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8].chunks(2).map(to_hex).collect::<Vec<_>>().join("-")
}

fn hex_id(id: [u8; 4]) -> String {
    to_hex(&id)
}

/// Name, key id and bytes of `NAME+ID+BASE64`.
fn split(text: &str) -> Result<(&str, &str, Vec<u8>), KeyError> {
    if text.len() > TEXT_SIZE_MAX {
        return Err(KeyError::Parts);
    }
    // Base64 has `+` too: only the first two divide.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Parts);
    };
    expect_name(name)?;
    let bytes = BASE64.decode(encoded).map_err(|_| KeyError::Base64)?;
    Ok((name, id, bytes))
}

/// Whether a text can be the name of a key: no space, no `+`, no control character, not empty.
pub fn is_name(name: &str) -> bool {
    let is_bad = |c: char| c.is_whitespace() || c == '+' || !crate::clip::is_harmless(c);
    !name.is_empty() && name.len() <= NAME_SIZE_MAX && !name.contains(is_bad)
}

fn expect_name(name: &str) -> Result<(), KeyError> {
    if is_name(name) { Ok(()) } else { Err(KeyError::Name) }
}

/// Why a text is not a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The third part is not base64 with padding.
    #[error("not a key: its last part is not base64")]
    Base64,
    /// The key id is not that of the key: a typing error.
    #[error("a typing error: the key id does not belong to the key")]
    Id,
    /// A signature type that we do not have.
    #[error("a key of an unknown kind")]
    Kind,
    /// The name is empty, too long, or has a space, `+` or control character.
    #[error("not a name for a key: no spaces, no `+`, 1 to 128 bytes")]
    Name,
    /// A public key where a private one is needed.
    #[error("not a private key: it does not begin with {PRIVATE_PREFIX}")]
    NotPrivate,
    /// Not three parts.
    #[error("not a key: expected NAME+ID+BASE64")]
    Parts,
    /// Not a point of the curve, or one of low order.
    #[error("not a key: no point of the curve, or a weak one")]
    Point,
    /// A private key where a public one is needed.
    #[error("this is a private key; give the public one")]
    Private,
    /// Not 32 bytes.
    #[error("not a key: it has not 32 bytes")]
    Size,
}
