//! One pass over a clip: its bytes are read once, hashed, sealed, hashed again and written.
//!
//! A long clip goes through three stages that overlap, each on a thread of its own: read and hash
//! the plaintext, seal, hash the ciphertext and write. SHA-256 cannot be split, so more threads
//! would not make it faster. Order is kept because blocks never leave their queue; memory is
//! bounded because there are only `BLOCK_COUNT` blocks.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest, Sha256};

use super::on_scrubbed_stack;
use super::seal::SealError;
use super::stream::{CHUNK_SIZE, PayloadCipher, Position, SEALED_CHUNK_SIZE};
use crate::clip::SealedName;

/// Chunks that travel together.
const CHUNKS_PER_BLOCK: usize = 8;
/// Blocks on the way: one in each stage, the rest waits between. With six the stages waited for
/// each other on two cores: wall 1.10 of the floor, with sixteen 1.05 (`bench/envelope`).
const BLOCK_COUNT: usize = 16;
/// A clip of at most one block is sealed on the calling thread: starting others would cost more.
const ALONE_SIZE_MAX: u64 = (CHUNKS_PER_BLOCK * CHUNK_SIZE) as u64;

/// What one pass found out.
pub(super) struct Pass {
    pub(super) name: SealedName,
    pub(super) size_bytes: u64,
    pub(super) plaintext_sha256: [u8; 32],
}

/// Seals exactly `plaintext_size` bytes of `clip` behind `prologue` (header and payload nonce).
pub(super) fn pass(
    clip: &mut impl Read,
    plaintext_size: u64,
    prologue: &[u8],
    cipher: &PayloadCipher,
    out: &mut (impl Write + Send),
) -> Result<Pass, SealError> {
    let mut sealed = Sealed { out, hash: Sha256::new(), size_bytes: 0 };
    sealed.write(prologue)?;
    let mut plain = Plain { clip, hash: Sha256::new(), remaining: plaintext_size, index: 0 };
    if plaintext_size <= ALONE_SIZE_MAX {
        let mut block = Block::new(plaintext_size as usize);
        plain.fill(&mut block)?;
        block.seal(cipher);
        sealed.write(block.sealed())?;
    } else {
        in_stages(&mut plain, cipher, &mut sealed)?;
    }
    expect_end(plain.clip)?;
    Ok(Pass {
        name: SealedName(sealed.hash.finalize().into()),
        size_bytes: sealed.size_bytes,
        plaintext_sha256: plain.hash.finalize().into(),
    })
}

fn in_stages(
    plain: &mut Plain<'_, impl Read>,
    cipher: &PayloadCipher,
    sealed: &mut Sealed<'_, impl Write + Send>,
) -> Result<(), SealError> {
    let (free, free_blocks) = sync_channel(BLOCK_COUNT);
    let (filled, filled_blocks) = sync_channel(BLOCK_COUNT);
    let (done, done_blocks) = sync_channel(BLOCK_COUNT);
    for _ in 0..BLOCK_COUNT {
        free.send(Block::new(CHUNKS_PER_BLOCK * CHUNK_SIZE)).expect("there is room for all");
    }
    std::thread::scope(|scope| {
        scope.spawn(move || on_scrubbed_stack(|| seal_stage(cipher, filled_blocks, done)));
        let writing = scope.spawn(move || write_stage(sealed, done_blocks, free));
        let read = read_stage(plain, free_blocks, filled);
        // A stage that fails lets go of its queues, and the others end because of it. Where both
        // ends failed, the writing end was first: the reader only stops where nobody takes more.
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(read)
    })
}

fn read_stage(
    plain: &mut Plain<'_, impl Read>,
    free: Receiver<Block>,
    filled: SyncSender<Block>,
) -> Result<(), SealError> {
    loop {
        // Nobody gives blocks back any more: the writer failed, and says why.
        let Ok(mut block) = free.recv() else { return Ok(()) };
        plain.fill(&mut block)?;
        let is_last = plain.remaining == 0;
        if filled.send(block).is_err() || is_last {
            return Ok(());
        }
    }
}

fn seal_stage(cipher: &PayloadCipher, filled: Receiver<Block>, done: SyncSender<Block>) {
    for mut block in filled {
        block.seal(cipher);
        if done.send(block).is_err() {
            return;
        }
    }
}

fn write_stage(
    sealed: &mut Sealed<'_, impl Write>,
    done: Receiver<Block>,
    free: SyncSender<Block>,
) -> Result<(), SealError> {
    for block in done {
        sealed.write(block.sealed())?;
        // The reader has ended: it needs no more.
        let _ = free.send(block);
    }
    Ok(())
}

/// Some chunks, with room for their tags, so that a block is sealed in place and written as one.
struct Block {
    bytes: Vec<u8>,
    first_index: u64,
    plaintext_size: usize,
    position: Position,
}

impl Block {
    /// Room for `plaintext_size` bytes and their tags.
    fn new(plaintext_size: usize) -> Block {
        let mut block =
            Block { bytes: Vec::new(), first_index: 0, plaintext_size, position: Position::Last };
        block.bytes = vec![0; block.sealed_size()];
        block
    }

    fn chunk_count(&self) -> usize {
        self.plaintext_size.div_ceil(CHUNK_SIZE).max(1)
    }

    fn sealed_size(&self) -> usize {
        self.plaintext_size + self.chunk_count() * (SEALED_CHUNK_SIZE - CHUNK_SIZE)
    }

    /// The chunks with their tags, each the first time with the plaintext in its front.
    fn chunks(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let size = self.sealed_size();
        self.bytes[..size].chunks_mut(SEALED_CHUNK_SIZE)
    }

    fn seal(&mut self, cipher: &PayloadCipher) {
        let (first, count, position) = (self.first_index, self.chunk_count(), self.position);
        for (offset, chunk) in self.chunks().enumerate() {
            let is_last = offset + 1 == count;
            let position = if is_last { position } else { Position::Middle };
            let (plaintext, tag) = chunk.split_at_mut(chunk.len() - super::TAG_SIZE);
            tag.copy_from_slice(&cipher.seal_chunk(first + offset as u64, position, plaintext));
        }
    }

    fn sealed(&self) -> &[u8] {
        &self.bytes[..self.sealed_size()]
    }
}

/// The reading end.
struct Plain<'a, R> {
    clip: &'a mut R,
    hash: Sha256,
    remaining: u64,
    index: u64,
}

impl<R: Read> Plain<'_, R> {
    /// Reads and hashes the next block.
    fn fill(&mut self, block: &mut Block) -> Result<(), SealError> {
        let size = self.remaining.min((CHUNKS_PER_BLOCK * CHUNK_SIZE) as u64);
        self.remaining -= size;
        block.plaintext_size = size as usize;
        block.first_index = self.index;
        block.position = if self.remaining == 0 { Position::Last } else { Position::Middle };
        self.index += block.chunk_count() as u64;
        for chunk in block.chunks() {
            let plaintext_size = chunk.len() - super::TAG_SIZE;
            let plaintext = &mut chunk[..plaintext_size];
            self.clip.read_exact(plaintext).map_err(SealError::from_read)?;
            self.hash.update(plaintext);
        }
        Ok(())
    }
}

/// The writing end.
struct Sealed<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    size_bytes: u64,
}

impl<W: Write> Sealed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        self.hash.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(SealError::Write)
    }
}

/// A byte behind the expected end means that the file grew.
fn expect_end(clip: &mut impl Read) -> Result<(), SealError> {
    match clip.read_exact(&mut [0u8]) {
        Ok(()) => Err(SealError::SizeChanged),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(SealError::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileKey;
    use super::*;

    fn cipher() -> PayloadCipher {
        PayloadCipher::new(&FileKey::generate(&mut Fixed), &[0; 16])
    }

    /// Gives the same "random" bytes always.
    struct Fixed;

    impl rand_core::TryRng for Fixed {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(7)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(7)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(7);
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Fixed {}

    /// The specification in a few lines: chunk after chunk on one thread.
    fn by_the_book(clip: &[u8]) -> Vec<u8> {
        let cipher = cipher();
        let mut chunks: Vec<_> = clip.chunks(CHUNK_SIZE).map(<[u8]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(vec![]);
        }
        let count = chunks.len();
        let mut out = b"prologue".to_vec();
        for (index, mut chunk) in chunks.into_iter().enumerate() {
            let position = if index + 1 == count { Position::Last } else { Position::Middle };
            let tag = cipher.seal_chunk(index as u64, position, &mut chunk);
            out.extend_from_slice(&chunk);
            out.extend_from_slice(&tag);
        }
        out
    }

    #[test]
    fn stages_give_the_same_bytes_as_one_thread_at_every_border() {
        let block = CHUNKS_PER_BLOCK * CHUNK_SIZE;
        let sizes = [
            0,
            1,
            CHUNK_SIZE - 1,
            CHUNK_SIZE,
            CHUNK_SIZE + 1,
            block - 1,
            block,
            block + 1,
            block + CHUNK_SIZE,
            2 * block,
            20 * block + 12_345,
        ];
        for size in sizes {
            let clip: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let mut out = Vec::new();
            let size = clip.len() as u64;
            let pass = pass(&mut clip.as_slice(), size, b"prologue", &cipher(), &mut out);
            let pass = pass.expect("sealed");
            let expected = by_the_book(&clip);
            assert!(out == expected, "{size}");
            assert_eq!(pass.size_bytes, expected.len() as u64);
            assert_eq!(pass.name.0, <[u8; 32]>::from(Sha256::digest(&expected)));
            assert_eq!(pass.plaintext_sha256, <[u8; 32]>::from(Sha256::digest(&clip)));
        }
    }

    /// Fails after some bytes, as a full disk or a pulled card does.
    struct Failing(usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Failing {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::TimedOut)?;
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_failure_at_either_end_ends_all_stages_with_its_cause() {
        let size = 12 << 20;
        for room in [0, 8, 1 << 20, 6 << 20] {
            let clip = &mut io::repeat(1).take(size);
            let failed = pass(clip, size, b"prologue", &cipher(), &mut Failing(room));
            assert!(matches!(failed, Err(SealError::Write(_))), "{room}");
            let failed = pass(&mut Failing(room), size, b"", &cipher(), &mut io::sink());
            assert!(matches!(failed, Err(SealError::Read(_))), "{room}");
        }
        let short = &mut io::repeat(1).take(size - 1);
        let failed = pass(short, size, b"", &cipher(), &mut io::sink());
        assert!(matches!(failed, Err(SealError::SizeChanged)));
    }
}
