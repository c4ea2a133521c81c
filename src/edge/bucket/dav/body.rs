//! A sealed file as the body of a request: read in blocks, hashed as they leave.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Body;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::{BucketError, read_block};
use crate::clip::SealedName;

/// Bytes read at once. Three such blocks are in memory: read, waiting, and being sent.
const BLOCK_SIZE: u64 = 256 << 10;

/// How far the reading came.
#[derive(Debug)]
enum Outcome {
    /// Not yet to the end.
    Begun,
    /// It is not what its name says, and the end of it was held back.
    Damaged,
    /// It could not be read.
    Unread(std::io::Error),
    /// All of it was given out, and it is what its name says.
    Whole,
}

/// What came of the reading, to look at once the request has ended.
pub(super) struct Reading(Arc<Mutex<Outcome>>);

impl Reading {
    /// Whether the whole file was given out and is what its name says; an error where the file is
    /// at fault, whatever the request came to.
    pub(super) fn ended_whole(self) -> Result<bool, BucketError> {
        let mut outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *outcome, Outcome::Begun) {
            Outcome::Begun => Ok(false),
            Outcome::Damaged => Err(BucketError::SpoolDamaged),
            Outcome::Unread(error) => Err(BucketError::Spool(error)),
            Outcome::Whole => Ok(true),
        }
    }
}

struct Source {
    file: File,
    hash: Sha256,
    left: u64,
    name: SealedName,
    outcome: Arc<Mutex<Outcome>>,
}

/// What is given out, and what to go on with.
type Step = (std::io::Result<Bytes>, Option<Source>);

/// The body for a file of `size` bytes. Its last block leaves only where the digest of everything
/// is `name`: without it a server gets less than it was told, and takes nothing for whole.
/// `taken` is told of each block's size when the connection took it.
pub(super) fn body(
    file: File,
    size: u64,
    name: SealedName,
    taken: UnboundedSender<u64>,
) -> (Body, Reading) {
    let outcome = Arc::new(Mutex::new(Outcome::Begun));
    let reading = Reading(Arc::clone(&outcome));
    let given = Arc::clone(&outcome);
    let source = Source { file, hash: Sha256::new(), left: size, name, outcome };
    let first = Some(spawn_blocking(|| source.step()));
    // One block ahead: reading and hashing overlap with sending.
    let blocks = stream::unfold((first, taken, given), |(next, taken, given)| async move {
        let next: JoinHandle<Step> = next?;
        let (block, source) = match next.await {
            Ok(step) => step,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Ok(block) = &block {
            // Nobody listens any more where the request has ended.
            let _ = taken.send(block.len() as u64);
        }
        if block.is_ok() && source.is_none() {
            keep(&given, Outcome::Whole);
        }
        Some((block, (source.map(|source| spawn_blocking(|| source.step())), taken, given)))
    });
    (Body::wrap_stream(blocks), reading)
}

impl Source {
    fn step(mut self) -> Step {
        let block = match read_block(&mut self.file, self.left.min(BLOCK_SIZE)) {
            Ok(block) => block,
            Err(error) => {
                // The request only needs to end; the cause is kept for who asks.
                let end = Err(error.kind().into());
                keep(&self.outcome, Outcome::Unread(error));
                return (end, None);
            }
        };
        self.hash.update(&block);
        self.left -= block.len() as u64;
        if self.left > 0 && !block.is_empty() {
            return (Ok(block.into()), Some(self));
        }
        let digest = std::mem::take(&mut self.hash).finalize();
        if self.left > 0 || SealedName(digest.into()) != self.name {
            keep(&self.outcome, Outcome::Damaged);
            return (Err(std::io::ErrorKind::InvalidData.into()), None);
        }
        (Ok(block.into()), None)
    }
}

fn keep(outcome: &Mutex<Outcome>, ended: Outcome) {
    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = ended;
}
