//! Putting a sealed file into a bucket part by part, and going on after anything that came between.

use std::fs::File;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use sha2::{Digest, Sha256};

use super::line::Line;
use super::put::{Put, md5};
use super::{BucketError, PART_SIZE, PART_SIZE_MAX, blocking, refill_block};
use crate::clip::{Evidence, SealedName, to_hex};
use crate::edge::fs::from_start;

/// S3 takes at most this many parts of one object.
const PART_COUNT_MAX: u64 = 10_000;
/// How often a part is sent before the upload waits for its next turn.
const SEND_COUNT_MAX: u32 = 3;
/// The pause before a part is sent again; it doubles.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// How far an upload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The bucket's id of it; empty where the kind has none.
    pub id: String,
    /// Bytes of each part but the last.
    pub part_size: u64,
    /// The parts that the bucket has, from the first on.
    pub parts: Vec<Part>,
    /// Whether the bucket was asked to make them an object; its answer may have been lost.
    pub is_completing: bool,
    /// Whether the object may take the place of another one, of which we believe that it is equal.
    pub replaces: bool,
}

/// A part that the bucket has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the bucket calls it.
    pub content_id: String,
    /// Its SHA-256, where `content_id` does not say it.
    pub sha256: Option<[u8; 32]>,
    /// Whether the server computed the digest of what it received, and it is ours.
    pub is_checked: bool,
}

impl Part {
    /// Whether these bytes are the part's.
    fn is(&self, block: &[u8]) -> bool {
        let found: [u8; 32] = Sha256::digest(block).into();
        match self.sha256 {
            Some(sha256) => sha256 == found,
            None => self.content_id.contains(&BASE64.encode(found)),
        }
    }
}

/// Remembers how far an upload has come, so that it goes on there after a restart.
///
/// What it was told must be durable when it returns.
#[async_trait]
pub trait Journal: Send + Sync {
    /// What was reached before.
    async fn upload(&self) -> Result<Option<Upload>, BucketError>;
    /// An upload was begun for the object of this name, beneath the bucket's prefix.
    async fn begun(&self, key: &str, upload: &Upload) -> Result<(), BucketError>;
    /// The bucket has this part.
    async fn has_part(&self, number: usize, part: &Part) -> Result<(), BucketError>;
    /// The bucket is about to be asked to make an object of them.
    async fn completing(&self) -> Result<(), BucketError>;
    /// The upload is an object now, or unknown to the bucket.
    async fn gone(&self) -> Result<(), BucketError>;
    /// The upload will not be finished: the bucket is to be told so, now or later.
    async fn given_up(&self) -> Result<(), BucketError>;
    /// The bucket took so many bytes more.
    fn sent(&self, size_bytes: u64);
    /// Whether to send another part now, after so many bytes in this turn.
    fn may_go_on(&self, turn_bytes: u64) -> bool;
}

/// Remembers nothing: an upload that ends half-way is begun again.
pub(super) struct Forgetful<'a>(pub(super) &'a (dyn Fn(u64) + Sync));

#[async_trait]
impl Journal for Forgetful<'_> {
    async fn upload(&self) -> Result<Option<Upload>, BucketError> {
        Ok(None)
    }
    async fn begun(&self, _: &str, _: &Upload) -> Result<(), BucketError> {
        Ok(())
    }
    async fn has_part(&self, _: usize, _: &Part) -> Result<(), BucketError> {
        Ok(())
    }
    async fn completing(&self) -> Result<(), BucketError> {
        Ok(())
    }
    async fn gone(&self) -> Result<(), BucketError> {
        Ok(())
    }
    async fn given_up(&self) -> Result<(), BucketError> {
        Ok(())
    }
    fn sent(&self, size_bytes: u64) {
        (self.0)(size_bytes);
    }
    fn may_go_on(&self, _: u64) -> bool {
        true
    }
}

/// An upload in parts.
pub(super) struct Job<'a> {
    /// Sends parts.
    pub(super) store: &'a dyn MultipartStore,
    /// Makes them an object, and only where there is none.
    pub(super) completer: &'a dyn MultipartStore,
    /// Saw which digests the server computed.
    pub(super) line: &'a Line,
    /// What is put.
    pub(super) put: Put<'a>,
}

/// How a turn at an upload ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is an object.
    Done(Evidence),
    /// The bucket does not know the upload any more, though it was asked to complete it: it may be
    /// an object, or not.
    Uncertain,
    /// Others wait; it goes on at its next turn.
    Over,
}

impl Job<'_> {
    /// Sends what the bucket has not of the upload that the journal knows, and completes.
    pub(super) async fn put(&self, file: File, known: Option<Upload>) -> Result<Turn, BucketError> {
        let is_known = known.is_some();
        match self.put_from(&file, known).await {
            // Expired, or removed by somebody: once more from the beginning.
            Err(BucketError::Missing) if is_known => {
                self.put.journal.gone().await?;
                self.put_from(&file, None).await
            }
            turn => turn,
        }
    }

    async fn put_from(&self, file: &File, known: Option<Upload>) -> Result<Turn, BucketError> {
        let file = from_start(file).map_err(BucketError::Spool)?;
        let upload = match known {
            Some(upload) if self.fits(&upload) => upload,
            other => {
                if other.is_some() {
                    self.put.journal.given_up().await?;
                }
                self.begin().await?
            }
        };
        let was_completing = upload.is_completing;
        let id = upload.id.clone();
        let completer = if upload.replaces { self.store } else { self.completer };
        let parts = match self.send(file, upload).await {
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(Turn::Over),
            Err(error @ (BucketError::SpoolDamaged | BucketError::OtherContent)) => {
                self.give_up(&id).await?;
                return Err(error);
            }
            Err(BucketError::Missing) if was_completing => return self.uncertain().await,
            Err(error) => return Err(error),
        };
        let is_checked = parts.iter().all(|part| part.is_checked);
        let ids = parts.into_iter().map(|part| PartId { content_id: part.content_id }).collect();
        self.put.journal.completing().await?;
        match completer.complete_multipart(self.put.key, &id, ids).await {
            Ok(_) => {
                self.put.journal.gone().await?;
                let evidence =
                    if is_checked { Evidence::DigestChecked } else { Evidence::Acknowledged };
                Ok(Turn::Done(evidence))
            }
            Err(error) => match BucketError::from_store(error) {
                BucketError::AlreadyThere => {
                    self.give_up(&id).await?;
                    Err(BucketError::AlreadyThere)
                }
                BucketError::Missing if was_completing => self.uncertain().await,
                error => Err(error),
            },
        }
    }

    /// Whether an upload of before has parts as this one would.
    fn fits(&self, upload: &Upload) -> bool {
        let count = self.put.size.div_ceil(upload.part_size.max(1));
        upload.part_size > 0 && upload.parts.len() as u64 <= count
    }

    async fn begin(&self) -> Result<Upload, BucketError> {
        let id =
            self.store.create_multipart(self.put.key).await.map_err(BucketError::from_store)?;
        let least = self.put.size.div_ceil(PART_COUNT_MAX).next_multiple_of(1 << 10);
        // What the line carries in a second: a line that breaks costs no more than that, and a
        // fast one is not kept busy with requests.
        let part_size = self.line.carries(1, PART_SIZE, PART_SIZE_MAX).max(least);
        let (parts, is_completing, replaces) = (Vec::new(), false, self.put.replaces);
        let upload = Upload { id, part_size, parts, is_completing, replaces };
        self.put.journal.begun(self.put.key_in_bucket, &upload).await?;
        Ok(upload)
    }

    async fn uncertain(&self) -> Result<Turn, BucketError> {
        self.put.journal.gone().await?;
        Ok(Turn::Uncertain)
    }

    /// Lets go of an upload; where the bucket cannot be told now, it is told later.
    async fn give_up(&self, id: &String) -> Result<(), BucketError> {
        match self.store.abort_multipart(self.put.key, id).await.map_err(BucketError::from_store) {
            Ok(()) | Err(BucketError::Missing) => self.put.journal.gone().await,
            Err(_) => self.put.journal.given_up().await,
        }
    }

    /// Sends part after part, and reads the next one while one is on its way; `None` where the turn
    /// is over. The bytes of parts that the bucket has are read and hashed all the same: what
    /// becomes an object is the file of this name, or nothing.
    ///
    /// The two blocks of memory change places and are never given back in between: freed on one
    /// thread and allocated on another, they would leave a hole of their size in each thread's
    /// heap, and the daemon would grow with the number of parts.
    async fn send(&self, mut file: File, upload: Upload) -> Result<Option<Vec<Part>>, BucketError> {
        let Upload { id, part_size, mut parts, .. } = upload;
        let _room = self.line.room(2 * part_size).await;
        let mut hash = Sha256::new();
        let (mut block, mut spare) = (Bytes::new(), Vec::new());
        let (mut number, mut turn_bytes) = (0, 0);
        loop {
            let next = blocking(move || {
                let read = refill_block(spare, &mut file, part_size);
                let block = Bytes::from(read.map_err(BucketError::Spool)?);
                hash.update(&block);
                Ok::<_, BucketError>((file, hash, block))
            });
            let sending = async {
                if block.is_empty() {
                    return Ok(None);
                }
                if let Some(part) = parts.get(number) {
                    // The file is not what it was when this part was sent.
                    let same = part.is(&block);
                    return if same { Ok(None) } else { Err(BucketError::SpoolDamaged) };
                }
                if turn_bytes > 0 && !self.put.journal.may_go_on(turn_bytes) {
                    return Ok(None);
                }
                self.send_part(&id, number, &block).await.map(Some)
            };
            let (read, sent) = tokio::join!(next, sending);
            if let Some(part) = sent? {
                parts.push(part);
                turn_bytes += block.len() as u64;
            } else if !block.is_empty() && number >= parts.len() {
                return Ok(None);
            }
            number += usize::from(!block.is_empty());
            // Where a connection still holds the block, it is let go and another one is made.
            spare = block.try_into_mut().map_or(Vec::new(), Vec::from);
            (file, hash, block) = read?;
            if block.is_empty() {
                break;
            }
        }
        // Before it is completed: a damaged spool file never becomes an object.
        if SealedName(hash.finalize().into()) != self.put.name {
            return Err(BucketError::SpoolDamaged);
        }
        Ok(Some(parts))
    }

    async fn send_part(
        &self,
        id: &String,
        number: usize,
        block: &Bytes,
    ) -> Result<Part, BucketError> {
        let mut pause = PAUSE;
        let mut count = 1;
        let sent = loop {
            let payload = PutPayload::from(block.clone());
            let sent = self.store.put_part(self.put.key, id, number, payload).await;
            match sent.map_err(BucketError::from_store) {
                Err(error) if error.is_passing() && count < SEND_COUNT_MAX => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    count += 1;
                }
                sent => break sent?,
            }
        };
        self.put.journal.sent(block.len() as u64);
        let part = self.part(sent.content_id, block);
        self.put.journal.has_part(number, &part).await?;
        Ok(part)
    }

    /// What is known of a part that was sent.
    fn part(&self, content_id: String, block: &[u8]) -> Part {
        // Where the server says a SHA-256, the line compared it with ours.
        if content_id.contains("<checksum_sha256>") {
            return Part { content_id, sha256: None, is_checked: true };
        }
        let md5 = md5(block);
        let is_checked = content_id.contains(&to_hex(&md5)) || self.line.was_checked_md5(&md5);
        Part { content_id, sha256: Some(Sha256::digest(block).into()), is_checked }
    }
}
