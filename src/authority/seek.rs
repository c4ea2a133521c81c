//! A part of a clip: any place of a sealed file, without reading what lies before it.
//! docs/format.md §4.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zeroize::Zeroizing;

use super::identity::Identities;
use super::open::{OpenError, Opened};
use super::payload::{NotVerified, PayloadError, open_chunk};
use crate::envelope::TAG_SIZE;
use crate::envelope::header::{Header, HeaderError};
use crate::envelope::stream::{
    CHUNK_SIZE, PAYLOAD_NONCE_SIZE, PayloadCipher, Position, SEALED_CHUNK_SIZE,
};

/// Bytes that are read first: the header of a clip with a handful of recipients fits.
const FIRST_READ_SIZE: usize = 16 * 1024;

/// The clip in a sealed file, as a file to read and seek in.
///
/// Each chunk verifies before a byte of it is given out. Nothing that depends on where the clip
/// ends, neither a seek from its end nor the end itself, is believed before its last chunk verified
/// as the last. A part says nothing of the rest: the file's digest is not checked.
pub struct SeekReader<S> {
    source: S,
    cipher: PayloadCipher,
    /// Where the first chunk begins in the source.
    chunks_at: u64,
    /// As the size of the source says.
    size_bytes: u64,
    end: End,
    /// The next byte of clip.
    at: u64,
    chunk: Zeroizing<Vec<u8>>,
    /// Which chunk is in `chunk`, opened.
    held: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Only the size of the source speaks for it.
    Assumed,
    /// The last chunk verified as the last.
    Verified,
}

impl<S: Read + Seek> SeekReader<S> {
    /// Opens an age v1 file that is not armored; stands at the clip's first byte.
    pub fn open(
        mut source: S,
        identities: &Identities,
    ) -> Result<(Opened, SeekReader<S>), OpenError> {
        let read_failed = |error| OpenError::Header(HeaderError::Read(error));
        source.rewind().map_err(read_failed)?;
        let mut begin = BufReader::with_capacity(FIRST_READ_SIZE, &mut source);
        let header = Header::read(&mut begin).map_err(OpenError::Header)?;
        let opened = Opened::from_header(&header, identities)?;
        let reader = SeekReader::behind_header(source, &opened).map_err(OpenError::Payload)?;
        Ok((opened, reader))
    }

    fn behind_header(mut source: S, opened: &Opened) -> Result<SeekReader<S>, PayloadError> {
        let sealed_size = source.seek(SeekFrom::End(0)).map_err(PayloadError::Read)?;
        let chunks_at = opened.header_size_bytes + PAYLOAD_NONCE_SIZE as u64;
        let chunks_size = sealed_size.checked_sub(chunks_at).ok_or(PayloadError::NoNonce)?;
        let size_bytes = plaintext_size(chunks_size)?;
        let mut nonce = [0u8; PAYLOAD_NONCE_SIZE];
        let nonce_at = SeekFrom::Start(opened.header_size_bytes);
        source.seek(nonce_at).map_err(PayloadError::Read)?;
        source.read_exact(&mut nonce).map_err(PayloadError::Read)?;
        Ok(SeekReader {
            source,
            cipher: opened.cipher(&nonce),
            chunks_at,
            size_bytes,
            end: End::Assumed,
            at: 0,
            chunk: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_SIZE)),
            held: None,
        })
    }

    /// The clip's size, after its last chunk verified.
    pub fn size_bytes(&mut self) -> Result<u64, PayloadError> {
        if self.end == End::Assumed {
            self.load(self.last_index())?;
            assert!(self.end == End::Verified, "the last chunk was loaded");
        }
        Ok(self.size_bytes)
    }

    fn last_index(&self) -> u64 {
        self.size_bytes.saturating_sub(1) / CHUNK_SIZE as u64
    }

    /// Puts one chunk into `chunk`, verified at its place.
    fn load(&mut self, index: u64) -> Result<(), PayloadError> {
        if self.held == Some(index) {
            return Ok(());
        }
        self.held = None;
        let is_last = index == self.last_index();
        let position = if is_last { Position::Last } else { Position::Middle };
        let before = index * CHUNK_SIZE as u64;
        let size = (self.size_bytes - before).min(CHUNK_SIZE as u64) as usize;
        let begin = self.chunks_at + index * SEALED_CHUNK_SIZE as u64;
        self.source.seek(SeekFrom::Start(begin)).map_err(PayloadError::Read)?;
        self.chunk.resize(size + TAG_SIZE, 0);
        self.source.read_exact(&mut self.chunk).map_err(PayloadError::Read)?;
        open_chunk(&self.cipher, index, position, &mut self.chunk)
            .map_err(|NotVerified| PayloadError::Tampered { chunk: index })?;
        self.chunk.truncate(size);
        self.held = Some(index);
        if is_last {
            self.end = End::Verified;
        }
        Ok(())
    }
}

/// The size of the clip in so many bytes of chunks.
fn plaintext_size(chunks_size: u64) -> Result<u64, PayloadError> {
    let (tag, sealed_chunk) = (TAG_SIZE as u64, SEALED_CHUNK_SIZE as u64);
    let chunk_count = chunks_size.div_ceil(sealed_chunk);
    let last_size = chunks_size - chunk_count.saturating_sub(1) * sealed_chunk;
    if last_size < tag {
        return Err(PayloadError::Truncated);
    }
    if last_size == tag && chunk_count > 1 {
        return Err(PayloadError::EmptyLast);
    }
    Ok(chunks_size - chunk_count * tag)
}

impl<S: Read + Seek> Read for SeekReader<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.at >= self.size_bytes {
            // That here is the end must be true.
            self.size_bytes().map_err(PayloadError::into_io)?;
            return Ok(0);
        }
        let chunk_size = CHUNK_SIZE as u64;
        self.load(self.at / chunk_size).map_err(PayloadError::into_io)?;
        let rest = &self.chunk[(self.at % chunk_size) as usize..];
        let size = out.len().min(rest.len());
        out[..size].copy_from_slice(&rest[..size]);
        self.at += size as u64;
        Ok(size)
    }
}

impl<S: Read + Seek> Seek for SeekReader<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => {
                let size_bytes = self.size_bytes().map_err(PayloadError::into_io)?;
                size_bytes.checked_add_signed(by)
            }
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Kind;
    use super::super::open::tests::{identity, sealed};
    use super::super::payload::payload_error;
    use super::*;
    use std::io::Cursor;
    use std::path::Path;

    const SIZES: [usize; 8] =
        [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 200_000, 1_000_003];

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn file(size: usize) -> (Vec<u8>, Identities) {
        let identity = identity(Kind::Classic);
        (sealed(&identity, &bytes(size), Path::new("a.mp4")), Identities::one(identity))
    }

    fn reader(file: &[u8], identities: &Identities) -> SeekReader<Cursor<Vec<u8>>> {
        SeekReader::open(Cursor::new(file.to_vec()), identities).expect("opens").1
    }

    #[test]
    fn it_reads_and_seeks_as_the_clip_itself() {
        for size in SIZES {
            let (file, identities) = file(size);
            let mut found = reader(&file, &identities);
            let mut expected = Cursor::new(bytes(size));
            let mut seed = 7u64;
            for _ in 0..200 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let by = (seed >> 33) as i64 % (size as i64 + 100);
                let to = match seed >> 20 & 3 {
                    0 => SeekFrom::Start(by as u64),
                    1 => SeekFrom::End(-by),
                    _ => SeekFrom::Current(by - size as i64 / 2),
                };
                let sought = (found.seek(to).ok(), expected.seek(to).ok());
                assert_eq!(sought.0, sought.1, "{size} {to:?}");
                let mut two = [vec![0; (seed >> 40) as usize % 90_000], Vec::new()];
                two[1] = two[0].clone();
                let read = (
                    found.read(&mut two[0]).expect("read"),
                    expected.read(&mut two[1]).expect("read"),
                );
                // A chunk ends a read early.
                assert!(read.0 <= read.1 && (read.0 > 0 || read.1 == 0), "{size} {to:?} {read:?}");
                assert!(two[0][..read.0] == two[1][..read.0], "{size} {to:?}");
                expected.set_position(found.stream_position().expect("known"));
            }
            assert_eq!(found.size_bytes().expect("verified"), size as u64);
        }
    }

    /// What stops a seek from the end.
    fn end_error(file: &[u8], identities: &Identities) -> Option<String> {
        match SeekReader::open(Cursor::new(file.to_vec()), identities) {
            Err(error) => Some(error.to_string()),
            Ok((_, mut reader)) => reader.seek(SeekFrom::End(-1)).err().map(|error| {
                assert!(payload_error(&error).is_some());
                error.to_string()
            }),
        }
    }

    #[test]
    fn no_seek_from_an_end_that_was_moved() {
        for size in SIZES.into_iter().skip(1) {
            let (file, identities) = file(size);
            assert_eq!(end_error(&file, &identities), None, "{size}");
            let chunks_at =
                file.len() - crate::envelope::stream::payload_size(size as u64) as usize + 16;
            for cut in [1, 16, 17, SEALED_CHUNK_SIZE, file.len() - chunks_at] {
                if cut <= file.len() - chunks_at {
                    let bad = &file[..file.len() - cut];
                    assert!(end_error(bad, &identities).is_some(), "{size} cut by {cut}");
                }
            }
            for more in [1, 16, 17, SEALED_CHUNK_SIZE] {
                let bad = [file.clone(), vec![0; more]].concat();
                assert!(end_error(&bad, &identities).is_some(), "{size} and {more}");
            }
        }
    }

    #[test]
    fn a_part_needs_only_its_own_chunks_and_gives_out_no_other_byte() {
        let (mut file, identities) = file(5 * CHUNK_SIZE);
        let chunks_at = file.len() - 5 * SEALED_CHUNK_SIZE;
        file[chunks_at + 2 * SEALED_CHUNK_SIZE + 5] ^= 1;
        let mut reader = reader(&file, &identities);
        let mut part = vec![0; 3 * CHUNK_SIZE];
        reader.seek(SeekFrom::Start(3 * CHUNK_SIZE as u64)).expect("there");
        reader.read_exact(&mut part[..2 * CHUNK_SIZE]).expect("whole");
        assert!(part[..2 * CHUNK_SIZE] == bytes(5 * CHUNK_SIZE)[3 * CHUNK_SIZE..]);
        reader.seek(SeekFrom::Start(CHUNK_SIZE as u64)).expect("there");
        assert_eq!(reader.read(&mut part).expect("the chunk before"), CHUNK_SIZE);
        for _ in 0..2 {
            let error = reader.read(&mut part).expect_err("changed");
            let found = payload_error(&error);
            assert!(matches!(found, Some(PayloadError::Tampered { chunk: 2 })), "{error}");
        }
    }
}
