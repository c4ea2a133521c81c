//! The sample: clips whose every byte is read and judged. docs/format.md.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::finding::{Findings, What};
use super::ledger::{Account, Ledger};
use super::randomness::{SIZE_MAX, not_random};
use super::revisions::Revisions;
use super::shelf::{ClipObject, DockShelf};
use super::{CLIP_COUNT_MAX, Progress, Step, stanzas};
use crate::clip::SealedName;
use crate::custody::place::clip_key;
use crate::edge::bucket::{Bucket, BucketError};
use crate::envelope::header::{HEADER_SIZE_MAX, Header};
use crate::envelope::stream::{PAYLOAD_NONCE_SIZE, payload_size};
use crate::envelope::{TAG_SIZE, stream::SEALED_CHUNK_SIZE};
use crate::keyring::day_of;

/// Bytes that are read at once; a header fits.
const BLOCK_SIZE: u64 = 4 << 20;
/// Objects without an entry that are read, beside the sample.
const UNLOGGED_COUNT_MAX: usize = 100;

const _: () = assert!(HEADER_SIZE_MAX as u64 + 2 * SIZE_MAX as u64 <= BLOCK_SIZE);

/// Which clips are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    Full,
    /// So many of each dock, drawn at random.
    Sample(usize),
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Clips.
    pub clip_count: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

/// Draws clips: those without an entry first, then at random.
pub fn draw(shelf: &DockShelf, unlogged: &[ClipObject], extent: Extent) -> Vec<ClipObject> {
    let mut clips = shelf.clips.clone();
    let Extent::Sample(count) = extent else { return clips };
    for index in 0..count.min(clips.len()) {
        let rest = (clips.len() - index) as u64;
        let random = getrandom::u64().expect("the kernel gives random bytes");
        clips.swap(index, index + (random % rest) as usize);
    }
    clips.truncate(count);
    let more = unlogged.iter().take(UNLOGGED_COUNT_MAX);
    let more: Vec<_> = more.filter(|clip| !clips.contains(clip)).copied().collect();
    clips.extend(more);
    clips
}

/// Reads clips of one dock and says what is wrong with each.
pub async fn examine(
    bucket: &Bucket,
    dock: &str,
    clips: Vec<ClipObject>,
    (ledger, revisions): (&Ledger, &Revisions),
    progress: &Progress<'_>,
    findings: &mut Findings,
) -> Result<Sampled, BucketError> {
    let mut sampled = Sampled::default();
    let mut found = BTreeMap::new();
    let mut reading = futures_util::stream::iter(clips)
        .map(|clip| async move { (clip, look(bucket, dock, clip, progress).await) })
        .buffer_unordered(CLIP_COUNT_MAX);
    while let Some((clip, looked)) = reading.next().await {
        sampled.clip_count += 1;
        sampled.size_bytes += clip.size_bytes;
        let account = ledger.clips.get(&clip.name);
        let what = judge(clip.name, looked?, account, revisions);
        found.insert(clip.name, what);
    }
    for (name, what) in found {
        what.into_iter().for_each(|what| findings.add(clip_key(dock, name), what));
    }
    Ok(sampled)
}

/// What reading an object gave.
struct Looked {
    sha256: [u8; 32],
    /// The header and its size, or why there is none.
    header: Result<(Header, u64), String>,
    size_bytes: u64,
    /// Of two places, the bytes that should be ciphertext.
    places: [Vec<u8>; 2],
}

/// Reads a whole object; `None` where it is gone since it was listed.
async fn look(
    bucket: &Bucket,
    dock: &str,
    clip: ClipObject,
    progress: &Progress<'_>,
) -> Result<Option<Looked>, BucketError> {
    let key = clip_key(dock, clip.name);
    let size_bytes = clip.size_bytes;
    let random = getrandom::u64().expect("the kernel gives random bytes");
    let second = random % size_bytes.saturating_sub(SIZE_MAX as u64).max(1);
    let mut looked = Looked {
        sha256: [0; 32],
        header: Err("it is empty".into()),
        size_bytes,
        places: [vec![], vec![]],
    };
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < size_bytes {
        let block = match bucket.read(&key, at..size_bytes.min(at + BLOCK_SIZE)).await {
            Ok(block) if block.is_empty() => return Ok(None),
            Ok(block) => block,
            Err(BucketError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        if at == 0 {
            let mut rest = &block[..];
            let read = Header::read(&mut rest).map_err(|error| crate::error::chain(&error));
            looked.header = read.map(|header| (header, (block.len() - rest.len()) as u64));
        }
        // Within one block; a place at its end is shorter, and that is no harm.
        if let Ok((_, header_size)) = looked.header {
            let first = header_size + PAYLOAD_NONCE_SIZE as u64;
            for (place, from) in looked.places.iter_mut().zip([first, first.max(second)]) {
                if let Some(from) = from.checked_sub(at).filter(|from| *from < block.len() as u64) {
                    let rest = &block[from as usize..];
                    *place = rest[..rest.len().min(SIZE_MAX)].to_vec();
                }
            }
        }
        hash.update(&block);
        at += block.len() as u64;
        progress(Step::Bytes(block.len() as u64));
    }
    looked.sha256 = hash.finalize().into();
    Ok(Some(looked))
}

fn judge(
    name: SealedName,
    looked: Option<Looked>,
    account: Option<&Account>,
    revisions: &Revisions,
) -> Vec<What> {
    let Some(looked) = looked else {
        let why = "it is gone since it was listed, or cannot be read".into();
        return vec![What::HeaderBroken { why }];
    };
    let mut found = Vec::new();
    if looked.sha256 != name.0 {
        found.push(What::ClipChanged);
    }
    let (header, header_size) = match looked.header {
        Ok(header) => header,
        Err(why) => {
            found.push(What::HeaderBroken { why });
            return found;
        }
    };
    if let Err(why) = compare(&header, account, revisions) {
        found.push(What::StanzasDisagree { why });
    }
    let size = looked.size_bytes - header_size;
    if !is_payload_size(size) {
        found.push(What::PayloadSize { size });
    }
    let scores = looked.places.iter().filter_map(|place| not_random(place));
    if let Some(score) = scores.max() {
        found.push(What::NotRandom { score });
    }
    found
}

fn compare(
    header: &Header,
    account: Option<&Account>,
    revisions: &Revisions,
) -> Result<(), String> {
    let sealed = account.and_then(|account| Some((account.sealed?, account.revision)));
    let keyring = sealed
        .and_then(|(at, revision)| Some((day_of(at), revisions.number(u64::from(revision))?)));
    // A missing revision was reported under its own name.
    let Some((day, keyring)) = keyring else { return stanzas::compare(header, None) };
    match keyring.recipients(day) {
        Ok(recipients) => stanzas::compare(header, Some(&recipients)),
        Err(error) => Err(format!("its keyring has no recipients for {day}: {error}")),
    }
}

/// Whether some number of plaintext bytes gives a payload of this size. docs/format.md §4.
fn is_payload_size(size: u64) -> bool {
    let Some(chunks) = size.checked_sub(PAYLOAD_NONCE_SIZE as u64) else { return false };
    let count = chunks.div_ceil(SEALED_CHUNK_SIZE as u64);
    let plaintext = chunks.checked_sub(count * TAG_SIZE as u64);
    plaintext.is_some_and(|plaintext| payload_size(plaintext) == size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Timestamp;

    #[test]
    fn a_payload_has_a_possible_size() {
        for plaintext in [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, 5_000_000_000] {
            assert!(is_payload_size(payload_size(plaintext)), "{plaintext}");
        }
        for size in [0, 15, 16, 31, payload_size(65_536) + 1, payload_size(131_072) + 16] {
            assert!(!is_payload_size(size), "{size}");
        }
    }

    #[test]
    fn a_sample_has_no_clip_twice_and_all_without_an_entry() {
        let clip = |number: u8| ClipObject {
            name: SealedName([number; 32]),
            size_bytes: 1,
            stored: Timestamp(0),
        };
        let shelf = DockShelf { clips: (0..50).map(clip).collect(), ..DockShelf::default() };
        for extent in [Extent::Full, Extent::Sample(0), Extent::Sample(20), Extent::Sample(90)] {
            let mut drawn = draw(&shelf, &[clip(7)], extent);
            assert!(drawn.contains(&clip(7)));
            let count = drawn.len();
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len(), count, "{extent:?}");
        }
        assert_eq!(draw(&shelf, &[], Extent::Sample(20)).len(), 20);
    }
}
