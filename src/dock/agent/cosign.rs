//! Having a checkpoint cosigned before it is published; a witness that fails delays nothing.

use super::Context;
use crate::custody::Head;
use crate::custody::merkle::consistency_proof;
use crate::custody::tile::TileHashes;
use crate::dock::config::Witness;
use crate::dock::queue::QueueError;
use crate::edge::witness::ask::{Answer, WitnessError, add_checkpoint};
use crate::note::{Note, NoteError};

/// The checkpoint with the witness's signature, where it gave one.
pub(super) async fn cosigned(
    context: &Context,
    head: Head,
    note: Note,
) -> Result<Note, QueueError> {
    let Some(witness) = &context.config.witness else { return Ok(note) };
    let seen = context.queue.reader()?.witnessed()?;
    match ask(context, witness, head, seen, &note).await {
        Ok(cosigned) => {
            context.queue.witnessed(Ok(head.size)).await?;
            Ok(cosigned)
        }
        Err(CosignError::Queue(error)) => Err(error),
        Err(error) => {
            let cause = crate::error::chain(&error);
            tracing::warn!("published without the witness: {cause}");
            context.queue.witnessed(Err(cause)).await?;
            Ok(note)
        }
    }
}

async fn ask(
    context: &Context,
    witness: &Witness,
    head: Head,
    seen: u64,
    note: &Note,
) -> Result<Note, CosignError> {
    let text = note.to_string();
    let mut answer =
        add_checkpoint(&witness.url, seen, &proof(context, seen, head)?, &text).await?;
    if let Answer::Knows(size) = answer {
        if size > head.size {
            return Err(CosignError::Ahead { size });
        }
        answer = add_checkpoint(&witness.url, size, &proof(context, size, head)?, &text).await?;
    }
    let Answer::Cosigned(lines) = answer else { return Err(CosignError::Undecided) };
    let mut cosigned = note.clone();
    cosigned.add_lines(&lines)?;
    cosigned.verify_cosignature(&witness.key)?;
    Ok(cosigned)
}

fn proof(context: &Context, old: u64, head: Head) -> Result<Vec<[u8; 32]>, QueueError> {
    let reader = context.queue.reader()?;
    let mut tiles = TileHashes::new(head.size, |piece| reader.tile(piece));
    let proof = consistency_proof(&mut tiles, old.min(head.size), head.size)?;
    Ok(proof.into_iter().map(|hash| hash.0).collect())
}

/// Why a checkpoint has no cosignature.
#[derive(Debug, thiserror::Error)]
enum CosignError {
    /// The witness saw more of this log than there is: this queue is an old copy.
    #[error("the witness saw {size} entries of this log, more than there are here")]
    Ahead {
        /// What it saw.
        size: u64,
    },
    /// What it answered is not a cosignature of its key.
    #[error("the witness's signature is none")]
    Note(#[from] NoteError),
    /// The queue could not be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// It named another size twice.
    #[error("the witness does not know what it saw")]
    Undecided,
    /// It failed or refused.
    #[error(transparent)]
    Witness(#[from] WitnessError),
}
