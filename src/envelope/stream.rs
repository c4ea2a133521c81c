//! The payload of an age file: the STREAM construction in 64 KiB chunks. docs/format.md §4.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

use super::{FileKey, TAG_SIZE, derive};

/// Bytes of plaintext in a full chunk.
pub const CHUNK_SIZE: usize = 64 * 1024;
/// Bytes of a full chunk in the file.
pub const SEALED_CHUNK_SIZE: usize = CHUNK_SIZE + TAG_SIZE;
/// Bytes of the random nonce between header and first chunk.
pub const PAYLOAD_NONCE_SIZE: usize = 16;

/// Size in bytes of the payload, its nonce included, for `plaintext_size` bytes of clip.
pub fn payload_size(plaintext_size: u64) -> u64 {
    let chunks = plaintext_size.div_ceil(CHUNK_SIZE as u64).max(1);
    PAYLOAD_NONCE_SIZE as u64 + plaintext_size + TAG_SIZE as u64 * chunks
}

/// Whether a chunk is the last one of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The file ends with it; it may be short.
    Last,
    /// Another one follows; it is full.
    Middle,
}

/// The AEAD nonce of a chunk: an 88-bit big-endian counter, and 1 for the last chunk.
pub fn chunk_nonce(index: u64, position: Position) -> [u8; 12] {
    let mut nonce = [0u8; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = match position {
        Position::Last => 1,
        Position::Middle => 0,
    };
    nonce
}

/// The cipher of one payload; its key is wiped when it is dropped, and lies in a box so that moving
/// the cipher leaves no copy behind.
pub struct PayloadCipher(Box<ChaCha20Poly1305>);

impl PayloadCipher {
    /// Derived from the file key and the payload's nonce.
    pub fn new(file_key: &FileKey, nonce: &[u8; PAYLOAD_NONCE_SIZE]) -> PayloadCipher {
        let key = derive(file_key.as_bytes(), nonce, b"payload");
        PayloadCipher(Box::new(ChaCha20Poly1305::new(key.as_bytes().into())))
    }

    /// Seals one chunk in place and returns its tag.
    pub fn seal_chunk(&self, index: u64, position: Position, chunk: &mut [u8]) -> [u8; TAG_SIZE] {
        assert!(chunk.len() <= CHUNK_SIZE, "a chunk has at most {CHUNK_SIZE} bytes");
        assert!(
            position == Position::Last || chunk.len() == CHUNK_SIZE,
            "only the last chunk may be short"
        );
        self.0
            .encrypt_inout_detached(&chunk_nonce(index, position).into(), b"", chunk.into())
            .expect("64 KiB are below the limit of ChaCha20-Poly1305")
            .into()
    }

    /// The cipher itself, for the reading side in the authority's wing.
    #[cfg(feature = "authority")]
    pub(crate) fn aead(&self) -> &ChaCha20Poly1305 {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_specification() {
        assert_eq!(payload_size(0), 16 + 16);
        assert_eq!(payload_size(1), 16 + 1 + 16);
        assert_eq!(payload_size(65_536), 16 + 65_536 + 16);
        assert_eq!(payload_size(65_537), 16 + 65_537 + 32);
    }

    #[test]
    fn a_nonce_counts_and_marks_the_end() {
        assert_eq!(chunk_nonce(0x0102, Position::Middle), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(chunk_nonce(0, Position::Last), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
