//! Fills the queue of a dock with a long history, for `bench/desk`.
//!
//! `cargo run --release --example fill -- STATE_DIR DOCK CLIPS WAITING`: of CLIPS clips the last
//! WAITING lie sealed in the spool and are not stored; all others were stored and erased. Each
//! passes through the queue as a real one does, its entries of the custody log among them.

use std::io::Write;
use std::path::Path;

use dockseal::clip::{
    Clip, ClipId, Evidence, Fact, Generation, Plaintext, Receipt, SealedFile, SealedName, Source,
    State, Timestamp,
};
use dockseal::dock::queue::Queue;
use dockseal::dock::spool::Spool;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Facts are sent together; the writer commits up to 256 of them in one transaction.
const BATCH: i64 = 4096;
/// When the first clip was seen, in milliseconds since 1970; each next one a second later.
const BEGAN_MS: i64 = 1_760_000_000_000;

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [state_dir, dock, clips, waiting] = &given[..] else {
        return Err("usage: fill STATE_DIR DOCK CLIPS WAITING".into());
    };
    let (clips, waiting): (i64, i64) = (clips.parse()?, waiting.parse()?);
    let state_dir = Path::new(state_dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let queue = Queue::open(&state_dir.join("queue.db"), dock)?;
    let spool = Spool::open(state_dir)?;
    for first in (0..clips).step_by(BATCH as usize) {
        let numbers = first..clips.min(first + BATCH);
        let found = numbers.clone().map(|number| {
            let path = format!("camera-{}/clip-{number:07}.mp4", number % 40).into();
            let source = Source { folder: "/srv/dock".into(), path };
            Clip {
                settled_at: Some(seen_at(number)),
                ..Clip::seen(source, generation(number), seen_at(number))
            }
        });
        queue.found_blocking(found.collect())?;
        let mut recorded = Vec::new();
        for number in numbers {
            let facts = if number < clips - waiting {
                erased(number)
            } else {
                vec![Fact::Sealed(lies_in(&spool, number)?), gone(number, Plaintext::Absent)]
            };
            recorded.push(queue.record(ClipId(number + 1), facts));
        }
        runtime
            .block_on(join_all(recorded))
            .into_iter()
            .collect::<std::result::Result<Vec<_>, _>>()?;
        // As the agent does, which looks at each once more.
        for state in [State::Sealed, State::Erased] {
            let due = queue.reader()?.due(state, Timestamp(i64::MAX), BATCH as u64)?;
            let due = due.into_iter().map(|due| (due, None)).collect();
            runtime.block_on(queue.postpone(due))?;
        }
    }
    Ok(())
}

fn seen_at(number: i64) -> Timestamp {
    Timestamp(BEGAN_MS).plus_seconds(number as u64)
}

fn generation(number: i64) -> Generation {
    Generation {
        device_number: 1,
        inode_number: 1_000_000 + number as u64,
        size_bytes: 1 << 28,
        modified_ns: number,
        changed_ns: number,
    }
}

/// What a sealed file holds here: nothing reads it.
fn content(number: i64) -> Vec<u8> {
    number.to_be_bytes().repeat(64)
}

fn sealed(number: i64, in_spool: bool) -> SealedFile {
    let content = content(number);
    SealedFile {
        name: SealedName(Sha256::digest(&content).into()),
        size_bytes: content.len() as u64,
        commitment: [7; 32],
        sealed_at: seen_at(number).plus_seconds(1),
        reread: false,
        in_spool,
        keyring_revision: None,
    }
}

fn gone(number: i64, plaintext: Plaintext) -> Fact {
    Fact::Gone { plaintext, at: seen_at(number).plus_seconds(3) }
}

fn erased(number: i64) -> Vec<Fact> {
    let stored_at = seen_at(number).plus_seconds(2);
    let (bucket, evidence) = ("primary".into(), Evidence::DigestChecked);
    vec![
        Fact::Sealed(sealed(number, true)),
        Fact::Acknowledged(Receipt { bucket, evidence, stored_at }),
        Fact::Stored(stored_at),
        gone(number, Plaintext::Erased),
        Fact::Unspooled,
    ]
}

fn lies_in(spool: &Spool, number: i64) -> Result<SealedFile> {
    let sealed = sealed(number, true);
    let mut draft = spool.begin(number, sealed.size_bytes)?;
    draft.write_all(&content(number))?;
    spool.publish(draft, &sealed, &generation(number))?;
    Ok(sealed)
}
