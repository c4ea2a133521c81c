//! Publishing the custody log to one bucket: pieces first, then the checkpoint that needs them.

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};

use crate::custody::checkpoint::NOTE_SIZE_MAX;
use crate::custody::tile::{Piece, pieces_between};
use crate::edge::bucket::{Bucket, BucketError, Created};
use crate::note::Note;

/// Pieces that are on their way at once.
const AT_ONCE: usize = 8;

/// What is published: a log up to a size, to a bucket that has it up to another.
pub struct Edition<'a, R> {
    /// The log's folder beneath the bucket's prefix.
    pub folder: &'a str,
    /// The size whose pieces are all in the bucket.
    pub published: u64,
    /// The size that was about to be published before: what the bucket has up to there is ours.
    pub attempted: u64,
    /// The size to publish.
    pub size: u64,
    /// The signed checkpoint of that size.
    pub checkpoint: &'a str,
    /// Gives the bytes of a piece.
    pub piece: R,
}

/// Puts what the bucket has not. Doing it twice changes nothing.
pub async fn publish<E>(
    bucket: &Bucket,
    edition: Edition<'_, impl Fn(Piece) -> Result<Vec<u8>, E>>,
) -> Result<(), PublishError<E>> {
    let Edition { folder, published, attempted, size, checkpoint, piece } = edition;
    let pieces = pieces_between(published, size);
    stream::iter(pieces.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, move |wanted| {
            let bytes = piece(wanted).map_err(PublishError::Log);
            async move {
                let key = format!("{folder}/{}", wanted.path());
                create(bucket, key, bytes?.into(), wanted.size_min() <= attempted).await
            }
        })
        .await?;
    let note = Bytes::copy_from_slice(checkpoint.as_bytes());
    let key = format!("{folder}/checkpoints/{size}");
    match create(bucket, key, note.clone(), size <= attempted).await {
        // A cosignature that came later makes another note of the same checkpoint.
        Err(PublishError::Forked { .. }) if is_same(bucket, folder, size, checkpoint).await => {}
        created => created?,
    }
    // A convenience, where replacing is allowed: `checkpoints/` says the same.
    match bucket.replace(&format!("{folder}/checkpoint"), note).await {
        Ok(()) | Err(BucketError::AlreadyThere | BucketError::Refused(_)) => Ok(()),
        Err(error) => Err(PublishError::Bucket(error)),
    }
}

/// Whether the checkpoint in the bucket signs the same text.
async fn is_same(bucket: &Bucket, folder: &str, size: u64, checkpoint: &str) -> bool {
    let key = format!("{folder}/checkpoints/{size}");
    let Ok(found) = bucket.read_all(&key, NOTE_SIZE_MAX).await else { return false };
    let ours = Note::parse(checkpoint.as_bytes()).expect("a note of ours");
    Note::parse(&found).is_ok_and(|found| found.text() == ours.text())
}

async fn create<E>(
    bucket: &Bucket,
    key: String,
    bytes: Bytes,
    was_attempted: bool,
) -> Result<(), PublishError<E>> {
    match bucket.create(&key, bytes).await {
        Ok(Created::New | Created::Equal) => Ok(()),
        // Left by an attempt of ours whose answer was lost.
        Ok(Created::Unseen) if was_attempted => Ok(()),
        // Nobody else writes into this log: a clone of the state directory does.
        Ok(Created::Unseen) | Err(BucketError::OtherContent) => Err(PublishError::Forked { key }),
        Err(error) => Err(PublishError::Bucket(error)),
    }
}

/// Why a log is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError<E> {
    /// The bucket refused or failed.
    #[error(transparent)]
    Bucket(BucketError),
    /// The bucket has another log of this name.
    #[error("the bucket has another log under this log's name: {key}")]
    Forked {
        /// The object that differs.
        key: String,
    },
    /// The queue could not be read.
    #[error("cannot read the log")]
    Log(E),
}
