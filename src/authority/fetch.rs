//! An object of a bucket as something to read and seek in, so that files and buckets open alike.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::edge::bucket::{Bucket, BucketError, Trouble};

/// Bytes of one request. One more block is on its way while one is read.
const BLOCK_SIZE: u64 = 8 << 20;

/// Reads an object from its first byte to its last by ranged reads.
///
/// It blocks, so it belongs on a thread outside of the runtime. Its errors carry the
/// [`BucketError`].
pub struct ObjectReader {
    bucket: Bucket,
    key: String,
    size_bytes: u64,
    /// Where the block after `next` begins.
    at: u64,
    block: Bytes,
    next: Option<JoinHandle<Result<Bytes, BucketError>>>,
    runtime: Handle,
}

impl ObjectReader {
    /// Begins to read the object `key`, which has `size_bytes`.
    pub fn new(bucket: Bucket, key: String, size_bytes: u64, runtime: Handle) -> ObjectReader {
        let mut reader = ObjectReader {
            bucket,
            key,
            size_bytes,
            at: 0,
            block: Bytes::new(),
            next: None,
            runtime,
        };
        reader.ask();
        reader
    }

    /// Asks for the next block, if there is one.
    fn ask(&mut self) {
        let end = self.size_bytes.min(self.at.saturating_add(BLOCK_SIZE));
        if self.at == end {
            return;
        }
        let (bucket, key, range) = (self.bucket.clone(), self.key.clone(), self.at..end);
        self.at = end;
        self.next = Some(self.runtime.spawn(async move {
            let asked = range.end - range.start;
            let block = bucket.read(&key, range).await?;
            whole(&block, asked).map(|()| block)
        }));
    }
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() && !out.is_empty() {
            let Some(next) = self.next.take() else { return Ok(0) };
            let block = self.runtime.block_on(next).map_err(io::Error::other)?;
            self.block = block.map_err(io::Error::other)?;
            self.ask();
        }
        let size = out.len().min(self.block.len());
        self.block.copy_to_slice(&mut out[..size]);
        Ok(size)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            next.abort();
        }
    }
}

/// Reads an object where it is wanted, by ranged reads that are hardly larger than what is asked.
///
/// As [`ObjectReader`] it blocks, and its errors carry the [`BucketError`].
pub struct ObjectSeeker {
    bucket: Bucket,
    key: String,
    size_bytes: u64,
    at: u64,
    /// What was read last, and where it begins in the object.
    block: Bytes,
    block_at: u64,
    /// Bytes that were read one behind the other.
    run_size: u64,
    runtime: Handle,
}

impl ObjectSeeker {
    /// Of the object `key`, which has `size_bytes`. Nothing is read yet.
    pub fn new(bucket: Bucket, key: String, size_bytes: u64, runtime: Handle) -> ObjectSeeker {
        let (block, block_at, run_size) = (Bytes::new(), 0, 0);
        ObjectSeeker { bucket, key, size_bytes, at: 0, block, block_at, run_size, runtime }
    }

    /// Reads the block at `at`, at least `wanted` bytes while there are so many.
    fn ask(&mut self, wanted: u64) -> Result<(), BucketError> {
        let goes_on = self.at == self.block_at + self.block.len() as u64;
        self.run_size = if goes_on { self.run_size } else { 0 };
        // Who read a long run will read on. Half of it is wasted at most.
        let ahead = wanted.max(self.run_size / 2).min(BLOCK_SIZE);
        let end = self.size_bytes.min(self.at.saturating_add(ahead));
        let block = self.runtime.block_on(self.bucket.read(&self.key, self.at..end))?;
        whole(&block, end - self.at)?;
        self.run_size += block.len() as u64;
        (self.block, self.block_at) = (block, self.at);
        Ok(())
    }
}

impl Read for ObjectSeeker {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.at >= self.size_bytes {
            return Ok(0);
        }
        let held = self.block_at..self.block_at + self.block.len() as u64;
        if !held.contains(&self.at) {
            self.ask(out.len() as u64).map_err(io::Error::other)?;
        }
        let rest = &self.block[(self.at - self.block_at) as usize..];
        let size = out.len().min(rest.len());
        out[..size].copy_from_slice(&rest[..size]);
        self.at += size as u64;
        Ok(size)
    }
}

impl Seek for ObjectSeeker {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size_bytes.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Not the clip's fault: the listing and the object disagree, or the answer was cut.
fn whole(block: &Bytes, asked: u64) -> Result<(), BucketError> {
    let got = block.len();
    if got as u64 == asked {
        return Ok(());
    }
    let text = format!("it answered {asked} bytes with {got}");
    Err(BucketError::Failed { trouble: Trouble::Protocol, text })
}

/// The bucket's own error, where one stopped an [`ObjectReader`].
pub fn bucket_error(error: &io::Error) -> Option<&BucketError> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read_all(content: &[u8], said: u64) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("object"), content).expect("written");
        let url = url::Url::from_file_path(dir.path()).expect("absolute");
        let bucket = Bucket::open(url.as_str(), &BTreeMap::new()).expect("opened");
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let key = "object".to_owned();
        let mut reader = ObjectReader::new(bucket, key, said, runtime.handle().clone());
        let mut read = Vec::new();
        reader.read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn an_object_is_read_whole_and_in_order() {
        for size in [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, 2 * BLOCK_SIZE + 1] {
            let content: Vec<u8> = (0..size).map(|at| (at >> 16) as u8 ^ at as u8).collect();
            assert!(read_all(&content, size).expect("read") == content, "{size}");
        }
    }

    #[test]
    fn an_object_that_is_shorter_than_listed_is_the_buckets_failure() {
        let error = read_all(b"abc", 4).expect_err("too short");
        assert!(bucket_error(&error).is_some());
    }
}
