//! The payload's reading side: no byte of a chunk leaves before the chunk verified.
//! docs/format.md §4.

use std::io::{self, BufRead, Read};

use chacha20poly1305::aead::AeadInOut;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::envelope::stream::{
    PAYLOAD_NONCE_SIZE, PayloadCipher, Position, SEALED_CHUNK_SIZE, chunk_nonce,
};
use crate::envelope::{FileKey, TAG_SIZE};

/// Opens one chunk in place: `chunk` is its ciphertext and tag; where it verifies, as many bytes
/// of clip as the answer says are at its front, and else it is unchanged.
///
/// It depends on nothing but its arguments, so chunks may be opened in any order, on any core.
pub fn open_chunk(
    cipher: &PayloadCipher,
    index: u64,
    position: Position,
    chunk: &mut [u8],
) -> Result<usize, NotVerified> {
    let size = chunk.len().checked_sub(TAG_SIZE).ok_or(NotVerified)?;
    let (sealed, tag) = chunk.split_at_mut(size);
    let tag: [u8; TAG_SIZE] = (&*tag).try_into().expect("the last 16 bytes");
    let nonce = chunk_nonce(index, position).into();
    cipher
        .aead()
        .decrypt_inout_detached(&nonce, b"", sealed.into(), &tag.into())
        .map_err(|_| NotVerified)?;
    Ok(size)
}

/// The chunk is not what was sealed at this place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunk does not verify")]
pub struct NotVerified;

/// What a whole, verified payload was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plaintext {
    /// SHA-256 of the clip.
    pub sha256: [u8; 32],
    /// Size of the clip in bytes.
    pub size_bytes: u64,
}

/// Reads a payload from its first byte to its last, chunk by chunk.
///
/// After an error it only gives that error's kind again. Nothing is proven about a clip before
/// [`PayloadReader::plaintext`] is there: what was released till then may be cut short.
pub struct PayloadReader<R> {
    input: R,
    cipher: PayloadCipher,
    /// The age file up to its first chunk.
    sealed_hash: Sha256,
    chunk: Zeroizing<Vec<u8>>,
    /// Bytes of clip in `chunk`, and how many of them were handed out by `Read`.
    filled: usize,
    taken: usize,
    index: u64,
    hash: Sha256,
    size_bytes: u64,
    state: State,
}

/// A payload of which only the nonce was read.
pub(super) struct Parts<R> {
    pub(super) input: R,
    pub(super) cipher: PayloadCipher,
    /// The age file up to here.
    pub(super) sealed_hash: Sha256,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next chunk is at the front of the input.
    Chunks,
    /// The last chunk verified, and the input ended with it.
    Ended,
    /// It failed; the rest of the input is not looked at.
    Failed,
    /// The last chunk verified, but more bytes follow.
    Trailing,
}

impl<R: BufRead> PayloadReader<R> {
    /// Reads the payload's nonce; `input` stands directly behind the header, which `header_hash`
    /// has.
    pub(super) fn new(
        mut input: R,
        file_key: &FileKey,
        header_hash: Sha256,
    ) -> Result<PayloadReader<R>, PayloadError> {
        let mut nonce = [0u8; PAYLOAD_NONCE_SIZE];
        if read_full(&mut input, &mut nonce).map_err(PayloadError::Read)? < nonce.len() {
            return Err(PayloadError::NoNonce);
        }
        Ok(PayloadReader {
            input,
            cipher: PayloadCipher::new(file_key, &nonce),
            sealed_hash: header_hash.chain_update(nonce),
            chunk: Zeroizing::new(vec![0; SEALED_CHUNK_SIZE]),
            filled: 0,
            taken: 0,
            index: 0,
            hash: Sha256::new(),
            size_bytes: 0,
            state: State::Chunks,
        })
    }

    /// What the clip was, once all of it was read, verified and handed out.
    pub fn plaintext(&self) -> Option<Plaintext> {
        if self.state != State::Ended || self.taken < self.filled {
            return None;
        }
        let sha256 = self.hash.clone().finalize().into();
        Some(Plaintext { sha256, size_bytes: self.size_bytes })
    }

    /// For who reads the chunks otherwise; none was read yet.
    pub(super) fn into_parts(self) -> Parts<R> {
        assert!(self.index == 0 && self.state == State::Chunks, "nothing was read");
        Parts { input: self.input, cipher: self.cipher, sealed_hash: self.sealed_hash }
    }

    /// Puts the next verified chunk into `chunk`, or nothing at the end.
    fn advance(&mut self) -> Result<(), PayloadError> {
        self.filled = 0;
        self.taken = 0;
        match self.state {
            State::Chunks => {}
            State::Ended => return Ok(()),
            State::Failed => return Err(PayloadError::Tampered { chunk: self.index }),
            State::Trailing => return Err(PayloadError::Trailing),
        }
        let opened = self.open_next();
        match opened {
            Ok((size, next)) => {
                self.hash.update(&self.chunk[..size]);
                self.size_bytes += size as u64;
                self.filled = size;
                self.index += 1;
                self.state = next;
                // A last chunk that is empty has nothing to release before the complaint.
                if size == 0 && next == State::Trailing {
                    return Err(PayloadError::Trailing);
                }
                Ok(())
            }
            Err(error) => {
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    fn open_next(&mut self) -> Result<(usize, State), PayloadError> {
        let read = read_full(&mut self.input, &mut self.chunk).map_err(PayloadError::Read)?;
        let (size, position) = open_either(&self.cipher, self.index, &mut self.chunk[..read])?;
        Ok(match position {
            Position::Middle => (size, State::Chunks),
            Position::Last if at_end(&mut self.input)? => (size, State::Ended),
            Position::Last => (size, State::Trailing),
        })
    }
}

/// Opens the chunk at the front of what is left of a payload, and says which one it is. Nothing
/// tells in advance: a full chunk is a middle one, or the last one of a clip that fills it exactly.
pub(super) fn open_either(
    cipher: &PayloadCipher,
    index: u64,
    chunk: &mut [u8],
) -> Result<(usize, Position), PayloadError> {
    if chunk.len() < TAG_SIZE {
        return Err(PayloadError::Truncated);
    }
    if chunk.len() == SEALED_CHUNK_SIZE
        && let Ok(size) = open_chunk(cipher, index, Position::Middle, chunk)
    {
        return Ok((size, Position::Middle));
    }
    let size = open_chunk(cipher, index, Position::Last, chunk)
        .map_err(|NotVerified| PayloadError::Tampered { chunk: index })?;
    if size == 0 && index > 0 {
        return Err(PayloadError::EmptyLast);
    }
    Ok((size, Position::Last))
}

impl<R: BufRead> Read for PayloadReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.filled && !out.is_empty() {
            self.advance().map_err(PayloadError::into_io)?;
        }
        let size = out.len().min(self.filled - self.taken);
        out[..size].copy_from_slice(&self.chunk[self.taken..self.taken + size]);
        self.taken += size;
        Ok(size)
    }
}

/// Fills `out`, or as much of it as there is before the end.
pub(super) fn read_full(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut size = 0;
    while size < out.len() {
        match input.read(&mut out[size..]) {
            Ok(0) => break,
            Ok(read) => size += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

fn at_end(input: &mut impl BufRead) -> Result<bool, PayloadError> {
    loop {
        match input.fill_buf() {
            Ok(rest) => return Ok(rest.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PayloadError::Read(error)),
        }
    }
}

/// Why a payload is not the one that was sealed.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The last chunk holds nothing although others came before it; no writer makes that.
    #[error("the clip was changed: its last chunk is empty")]
    EmptyLast,
    /// The file ends before the payload's first chunk.
    #[error("the sealed file is cut short: it ends right behind its header")]
    NoNonce,
    /// Reading the sealed file failed.
    #[error("cannot read the sealed file")]
    Read(#[source] io::Error),
    /// A chunk that does not verify at its place.
    #[error("the sealed file was changed or cut short in chunk {}", chunk + 1)]
    Tampered {
        /// Counted from 0, of 64 KiB each.
        chunk: u64,
    },
    /// Bytes behind the last chunk.
    #[error("the sealed file was changed: bytes follow behind its end")]
    Trailing,
    /// The file ends between two chunks.
    #[error("the sealed file is cut short: its last chunk is missing")]
    Truncated,
}

impl PayloadError {
    /// For a `Read`; [`payload_error`] finds it again.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            PayloadError::Read(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// The payload's own error, where one stopped a reader of it.
pub fn payload_error(error: &io::Error) -> Option<&PayloadError> {
    error.get_ref()?.downcast_ref()
}
