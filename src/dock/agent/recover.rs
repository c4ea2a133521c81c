//! Before the first step after a start: spool and queue are brought to agree.

use std::collections::HashSet;

use super::{AgentError, Context, work};
use crate::clip::{Fact, Generation};
use crate::edge::clock;
use crate::error::chain;

/// Adopts sealed files that no clip owns, and finds clips whose sealed file is missing. Doing it
/// twice changes nothing.
pub(super) fn recover(context: &Context) -> Result<(), AgentError> {
    let halt = |error: std::io::Error| AgentError::Halt(chain(&error));
    let reader = context.queue.reader()?;
    let owned = reader.in_spool()?;
    let owned_names: HashSet<_> = owned.iter().map(|(_, name)| *name).collect();
    let mut found_count = 0;
    for (sealed, generation) in context.spool.sealed_files().map_err(halt)? {
        if owned_names.contains(&sealed.name) {
            continue;
        }
        if reader.has_left_spool(sealed.name)? {
            // A power cut brought it back: it was removed without a sync.
            context.spool.remove(sealed.name).map_err(halt)?;
            continue;
        }
        if !context.spool.is_intact(sealed.name).map_err(halt)? {
            // Renamed into place by a crash before its bytes were durable: nothing points at it,
            // and its source was not erased. Kept all the same; an operator may look at it.
            tracing::error!(digest = %sealed.name, "a sealed file that no clip owns is damaged");
            continue;
        }
        tracing::warn!(digest = %sealed.name, "adopting a sealed file that no clip owns");
        let unknown = Generation {
            device_number: 0,
            inode_number: 0,
            size_bytes: 0,
            modified_ns: 0,
            changed_ns: 0,
        };
        let generation = generation.unwrap_or(unknown);
        context.queue.adopt_blocking(sealed, generation, clock::now())?;
        found_count += 1;
    }
    context.queue.found_in_spool_blocking(found_count)?;
    for (id, name) in owned {
        if context.spool.has(name) {
            continue;
        }
        let Some(clip) = reader.clip(id)? else { continue };
        let facts = match clip.stored_at {
            Some(_) => vec![Fact::Unspooled],
            None => work::damaged(context, &clip, name)?,
        };
        if !facts.is_empty() {
            context.queue.record_blocking(id, facts)?;
        }
    }
    Ok(context.queue.look_at_all_blocking(clock::now())?)
}
