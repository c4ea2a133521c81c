//! A whole payload on several cores: reading, opening, hashing and writing overlap, in order.
//!
//! The calling thread reads and writes; one thread hashes what was sealed, one opens chunks, one
//! hashes the clip. SHA-256 cannot be split, and opening is as fast as hashing, so more threads
//! would not make it faster.
//! Order is kept because blocks never leave their queue; memory is bounded because there are only
//! `BLOCK_COUNT` blocks. No byte is written of a chunk that did not verify.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::payload::{Parts, PayloadError, PayloadReader, Plaintext, open_either, read_full};
use crate::envelope::stream::{PayloadCipher, Position, SEALED_CHUNK_SIZE};

/// Chunks that travel together.
const CHUNKS_PER_BLOCK: usize = 16;
/// A payload that is shorter is opened on the calling thread: starting others would cost more.
const BLOCK_SIZE: usize = CHUNKS_PER_BLOCK * SEALED_CHUNK_SIZE;
/// Blocks on the way: one in each of four stages, and one waiting before each.
const BLOCK_COUNT: usize = 8;

/// A payload that was opened to its end.
pub struct Copied {
    /// What the clip was.
    pub plaintext: Plaintext,
    /// SHA-256 of the age file, out of its armor.
    pub sealed_sha256: [u8; 32],
}

/// Writes all of a payload into `out`; its input is read to its end.
///
/// What was written before an error is a verified beginning of the clip. `progress` is told of
/// each number of bytes that were written.
pub fn copy<R: BufRead>(
    payload: PayloadReader<R>,
    out: &mut impl Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, CopyError> {
    let Parts { input, cipher, mut sealed_hash } = payload.into_parts();
    let mut source = Source { input, index: 0, ended: false };
    let mut sink = Sink { out, progress, position: Position::Middle, size_bytes: 0 };
    let mut first = Block::new();
    source.fill(&mut first)?;
    let (sealed_hash, hash) = if source.ended {
        let mut hash = Sha256::new();
        sealed_hash.update(first.sealed());
        first.open(&cipher);
        first.hash_into(&mut hash);
        sink.write(first)?;
        (sealed_hash, hash)
    } else {
        in_stages(first, &mut source, sealed_hash, &cipher, &mut sink)?
    };
    match sink.position {
        Position::Last => {
            let (sha256, size_bytes) = (hash.finalize().into(), sink.size_bytes);
            let plaintext = Plaintext { sha256, size_bytes };
            Ok(Copied { plaintext, sealed_sha256: sealed_hash.finalize().into() })
        }
        Position::Middle => Err(CopyError::Payload(PayloadError::Truncated)),
    }
}

/// The hashes of the age file and of the clip.
fn in_stages(
    first: Block,
    source: &mut Source<impl BufRead>,
    sealed_hash: Sha256,
    cipher: &PayloadCipher,
    sink: &mut Sink<'_, impl Write>,
) -> Result<(Sha256, Sha256), CopyError> {
    let (filled, filled_blocks) = sync_channel(BLOCK_COUNT);
    let (hashed, hashed_blocks) = sync_channel(BLOCK_COUNT);
    let (opened, opened_blocks) = sync_channel(BLOCK_COUNT);
    let (done, done_blocks) = sync_channel(BLOCK_COUNT);
    std::thread::scope(|scope| {
        let sealed = |block: &Block, hash: &mut Sha256| hash.update(block.sealed());
        let hashing = scope.spawn(move || hash_stage(sealed_hash, sealed, filled_blocks, hashed));
        scope.spawn(move || open_stage(cipher, hashed_blocks, opened));
        let plain =
            scope.spawn(move || hash_stage(Sha256::new(), Block::hash_into, opened_blocks, done));
        // An early return lets go of the queues, and the stages end because of it.
        let carried = carry(first, source, filled, done_blocks, sink);
        let hashes = [hashing, plain]
            .map(|stage| stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        carried.map(|()| hashes.into())
    })
}

/// Reads blocks while there are free ones, and writes those that come back.
fn carry(
    first: Block,
    source: &mut Source<impl BufRead>,
    filled: SyncSender<Block>,
    done: Receiver<Block>,
    sink: &mut Sink<'_, impl Write>,
) -> Result<(), CopyError> {
    const STAGES: &str = "the stages end after this one, or panic";
    filled.send(first).expect(STAGES);
    let mut free_count = BLOCK_COUNT - 1;
    let mut free: Vec<Block> = Vec::new();
    while !source.ended || free_count < BLOCK_COUNT {
        if !source.ended && free_count > 0 {
            let mut block = free.pop().unwrap_or_else(Block::new);
            source.fill(&mut block)?;
            filled.send(block).expect(STAGES);
            free_count -= 1;
        } else {
            free.push(sink.write(done.recv().expect(STAGES))?);
            free_count += 1;
        }
    }
    Ok(())
}

fn open_stage(cipher: &PayloadCipher, hashed: Receiver<Block>, opened: SyncSender<Block>) {
    for mut block in hashed {
        block.open(cipher);
        if opened.send(block).is_err() {
            return;
        }
    }
}

/// Hashes each block before it goes on: its sealed bytes, or the opened ones.
fn hash_stage(
    mut hash: Sha256,
    hash_block: impl Fn(&Block, &mut Sha256),
    blocks: Receiver<Block>,
    next: SyncSender<Block>,
) -> Sha256 {
    for block in blocks {
        hash_block(&block, &mut hash);
        if next.send(block).is_err() {
            break;
        }
    }
    hash
}

/// Some chunks, opened in place: each has its plaintext in its front.
struct Block {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
    first_index: u64,
    /// Bytes of clip in each chunk that verified.
    verified: Vec<usize>,
    /// Which chunk the last of them is, or why there are no more.
    end: Result<Position, PayloadError>,
}

impl Block {
    fn new() -> Block {
        let bytes = Zeroizing::new(vec![0; BLOCK_SIZE]);
        let verified = Vec::with_capacity(CHUNKS_PER_BLOCK);
        Block { bytes, filled: 0, first_index: 0, verified, end: Ok(Position::Middle) }
    }

    fn open(&mut self, cipher: &PayloadCipher) {
        self.verified.clear();
        self.end = Ok(Position::Middle);
        for (index, chunk) in
            (self.first_index..).zip(self.bytes[..self.filled].chunks_mut(SEALED_CHUNK_SIZE))
        {
            if let Ok(Position::Last) = self.end {
                self.end = Err(PayloadError::Trailing);
                return;
            }
            match open_either(cipher, index, chunk) {
                Ok((size, position)) => {
                    self.verified.push(size);
                    self.end = Ok(position);
                }
                Err(error) => {
                    self.end = Err(error);
                    return;
                }
            }
        }
    }

    /// The bytes as they were read; only before [`Block::open`].
    fn sealed(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The bytes of clip that verified.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let chunks = self.bytes.chunks(SEALED_CHUNK_SIZE);
        chunks.zip(&self.verified).map(|(chunk, size)| &chunk[..*size])
    }

    fn hash_into(&self, hash: &mut Sha256) {
        self.pieces().for_each(|piece| hash.update(piece));
    }
}

/// The reading end.
struct Source<R> {
    input: R,
    index: u64,
    ended: bool,
}

impl<R: BufRead> Source<R> {
    fn fill(&mut self, block: &mut Block) -> Result<(), CopyError> {
        let read = read_full(&mut self.input, &mut block.bytes);
        block.filled = read.map_err(|error| CopyError::Payload(PayloadError::Read(error)))?;
        block.first_index = self.index;
        self.index += CHUNKS_PER_BLOCK as u64;
        self.ended = block.filled < BLOCK_SIZE;
        Ok(())
    }
}

/// The writing end.
struct Sink<'a, W> {
    out: &'a mut W,
    progress: &'a mut dyn FnMut(u64),
    /// Which chunk was the last one written.
    position: Position,
    size_bytes: u64,
}

impl<W: Write> Sink<'_, W> {
    /// Writes what verified of a block, and gives the block back if all of it did.
    fn write(&mut self, mut block: Block) -> Result<Block, CopyError> {
        if block.filled == 0 {
            return Ok(block);
        }
        if self.position == Position::Last {
            return Err(CopyError::Payload(PayloadError::Trailing));
        }
        for piece in block.pieces() {
            self.out.write_all(piece).map_err(CopyError::Write)?;
            self.size_bytes += piece.len() as u64;
            (self.progress)(piece.len() as u64);
        }
        let end = std::mem::replace(&mut block.end, Ok(Position::Middle));
        self.position = end.map_err(CopyError::Payload)?;
        Ok(block)
    }
}

/// Why a payload was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It does not verify, or could not be read.
    #[error(transparent)]
    Payload(PayloadError),
    /// The output failed.
    #[error("cannot write the clip")]
    Write(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Identities, Kind};
    use super::super::open::open;
    use super::super::open::tests::{identity, sealed};
    use super::*;
    use crate::envelope::stream::CHUNK_SIZE;
    use std::io::Read;
    use std::path::Path;

    type Ended = (Vec<u8>, Result<Plaintext, String>);

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 % 251) as u8).collect()
    }

    /// On several cores.
    fn copied(file: &[u8], identities: &Identities) -> Ended {
        let mut released = Vec::new();
        let mut rest = file;
        let (_, payload) = open(&mut rest, identities).expect("opens");
        let mut told = 0;
        let copied = copy(payload, &mut released, &mut |size| told += size);
        assert_eq!(told, released.len() as u64);
        let ended = copied.map(|copied| {
            assert_eq!(rest, b"", "it was read to its end");
            assert_eq!(copied.sealed_sha256, <[u8; 32]>::from(Sha256::digest(file)));
            copied.plaintext
        });
        (released, ended.map_err(|error| error.to_string()))
    }

    /// Chunk after chunk on one thread.
    fn read(file: &[u8], identities: &Identities) -> Ended {
        let mut released = Vec::new();
        let (_, mut payload) = open(file, identities).expect("opens");
        let read = payload.read_to_end(&mut released);
        let ended = read.map(|_| payload.plaintext().expect("the end was reached"));
        (released, ended.map_err(|error| error.to_string()))
    }

    #[test]
    fn stages_open_what_one_thread_opens_at_every_border() {
        let block = CHUNKS_PER_BLOCK * CHUNK_SIZE;
        let borders = [block - 1, block, block + 1, block + CHUNK_SIZE, 2 * block, 2 * block + 1];
        for size in
            [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, 20 * block + 12_345].into_iter().chain(borders)
        {
            let identity = identity(Kind::Classic);
            let clip = bytes(size);
            let file = sealed(&identity, &clip, Path::new("a.mp4"));
            let identities = Identities::one(identity);
            let (released, ended) = copied(&file, &identities);
            assert!(released == clip, "{size}");
            let sha256 = Sha256::digest(&clip).into();
            assert_eq!(ended, Ok(Plaintext { sha256, size_bytes: size as u64 }), "{size}");
        }
    }

    #[test]
    fn damage_ends_stages_and_one_thread_at_the_same_byte() {
        let block = CHUNKS_PER_BLOCK * CHUNK_SIZE;
        for size in [block, block + 1, 3 * block, 9 * block + 77_777] {
            let identity = identity(Kind::Classic);
            let clip = bytes(size);
            let file = sealed(&identity, &clip, Path::new("a.mp4"));
            let identities = Identities::one(identity);
            let begin =
                file.len() - crate::envelope::stream::payload_size(size as u64) as usize + 16;
            let chunk_count = size.div_ceil(CHUNK_SIZE);
            for chunk in [0, 1, 15, 16, 17, chunk_count - 1].map(|chunk| chunk.min(chunk_count - 1))
            {
                let at = begin + chunk * SEALED_CHUNK_SIZE;
                let mut flipped = file.clone();
                flipped[at + 3] ^= 1;
                let doubled =
                    [&file[..at], &file[at.saturating_sub(SEALED_CHUNK_SIZE).max(begin)..]];
                let bad = [flipped, file[..at].to_vec(), file[..at + 7].to_vec(), doubled.concat()];
                for (number, bad) in bad.into_iter().enumerate().filter(|(_, bad)| *bad != file) {
                    let (expected, found) = (read(&bad, &identities), copied(&bad, &identities));
                    assert!(expected.1.is_err() && clip.starts_with(&found.0));
                    assert!(expected == found, "{size} {chunk} {number}: {:?}", found.1);
                }
            }
            for more in [1, SEALED_CHUNK_SIZE, 2 * BLOCK_SIZE] {
                let bad = [file.clone(), vec![0; more]].concat();
                let (expected, found) = (read(&bad, &identities), copied(&bad, &identities));
                assert!(expected.1.is_err() && expected == found, "{size} {more}: {:?}", found.1);
            }
        }
    }

    /// Fails after some bytes, as a full disk does.
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

    #[test]
    fn a_full_disk_ends_all_stages() {
        let identity = identity(Kind::Classic);
        let file = sealed(&identity, &bytes(9 << 20), Path::new("a.mp4"));
        let identities = Identities::one(identity);
        for room in [0, 1 << 20, 8 << 20] {
            let (_, payload) = open(file.as_slice(), &identities).expect("opens");
            let copied = copy(payload, &mut Failing(room), &mut |_| {});
            assert!(matches!(copied, Err(CopyError::Write(_))), "{room}");
        }
    }
}
