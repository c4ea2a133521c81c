//! The sealed clip: an age v1 file, its syntax and its writing side. docs/format.md.
//!
//! Nothing here can open one. Unwrapping and decrypting live in `authority`, so that the dock's own
//! build holds no code for it (DESIGN §2, promise 3).

pub mod header;
pub mod manifest;
mod pass;
pub mod recipient;
pub mod seal;
pub mod selftest;
pub mod stream;
pub mod text;

use self::stream::{PayloadCipher, Position};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a file key: 128 bits (age.md, "File key").
pub const FILE_KEY_SIZE: usize = 16;

/// Bytes of a Poly1305 tag (RFC 8439 §2.8).
pub const TAG_SIZE: usize = 16;

/// The random secret that one file is sealed with; never used for two files.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct FileKey(Box<[u8; FILE_KEY_SIZE]>);

impl FileKey {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> FileKey {
        let mut bytes = Box::new([0u8; FILE_KEY_SIZE]);
        rng.fill_bytes(bytes.as_mut_slice());
        FileKey(bytes)
    }

    /// The one that a stanza held. Only the authority's wing has such bytes.
    #[cfg(feature = "authority")]
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<FileKey> {
        Some(FileKey(Box::new(bytes.try_into().ok()?)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; FILE_KEY_SIZE] {
        &self.0
    }
}

/// A 256-bit key derived for one purpose; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct DerivedKey(Box<[u8; 32]>);

impl DerivedKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Does work that handles keys, and then overwrites the stack that it used.
///
/// Types that hold keys wipe themselves, but moving them, and the ciphers' own rounds, leave
/// copies on the stack that nobody owns; the C library even keeps the stacks of ended threads.
/// `work` must drop its keys or keep them in a box, and return none.
///
/// What it returns must be at most two pointers wide (a `Result` of boxes). A wider value has room
/// for a key where nobody looks: the bytes of an enum that its present variant does not use, and
/// padding, are copied with it, and they hold whatever lay on the stack before.
pub fn on_scrubbed_stack<T>(work: impl FnOnce() -> T) -> T {
    const { assert!(size_of::<T>() <= 2 * size_of::<usize>(), "box what comes back") };
    /// In a frame of its own below this one, whatever the optimizer would like.
    #[inline(never)]
    fn below<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = below(work);
    below(wash_registers);
    scrub_stack();
    result
}

/// Does the same kind of work with a key that is no secret. The processor's vector registers keep
/// what they held last, and whoever saves them (the dynamic linker, a signal's frame) writes that
/// into memory.
fn wash_registers() {
    let cipher = PayloadCipher::new(&FileKey(Box::new([0; FILE_KEY_SIZE])), &[0; 16]);
    let mut chunk = vec![0u8; WASH_SIZE];
    let tag = cipher.seal_chunk(0, Position::Last, &mut chunk);
    std::hint::black_box((&chunk, &tag));
}

/// Bytes that go through all widths of the ciphers' code.
const WASH_SIZE: usize = 4096 + 100;

#[inline(never)]
fn scrub_stack() {
    /// Deeper than sealing goes; ML-KEM-768 alone takes some 40 KiB.
    const DEPTH: usize = 192 << 10;
    let mut stack = [0u8; DEPTH];
    stack.zeroize();
    std::hint::black_box(&stack);
}

/// HKDF-SHA-256 with 32 bytes of output (RFC 5869).
pub(crate) fn derive(ikm: &[u8], salt: &[u8], info: &[u8]) -> DerivedKey {
    let mut okm = Box::new([0u8; 32]);
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand(info, okm.as_mut_slice())
        .expect("32 bytes are below HKDF's limit of 255 blocks");
    DerivedKey(okm)
}
