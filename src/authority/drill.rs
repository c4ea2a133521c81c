//! The drill: whether clips of a dock can be opened, tried at both ends of some of them.

use std::io::{self, Read};

use rand_core::CryptoRng;
use tokio::runtime::Handle;

use super::catalogue::Naming;
use super::fetch::ObjectSeeker;
use super::identity::Identities;
use super::open::OpenError;
use super::origin::{Claim, Origin, Verdict};
use super::payload::PayloadError;
use super::seek::SeekReader;
use crate::clip::SealedName;
use crate::edge::bucket::{Bucket, BucketError, Object};

/// What was tried of one dock.
pub struct Trial {
    /// Clips that the bucket holds of it.
    pub clip_count: u64,
    /// The newest of them first; empty where there are none.
    pub tried: Vec<Tried>,
}

/// One clip that was tried.
pub struct Tried {
    /// The object's name beneath the bucket's prefix.
    pub key: String,
    /// Its sealed name.
    pub name: SealedName,
    /// Who sealed it; or why it could not be opened.
    pub finding: Result<Verdict, TrialError>,
}

impl Tried {
    /// Whether it could be opened and is a dock's.
    pub fn passed(&self) -> bool {
        self.finding.as_ref().is_ok_and(Verdict::is_authentic)
    }
}

/// Why a clip could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Its log could not be asked.
    #[error("cannot check its origin")]
    Bucket(#[source] BucketError),
    /// Its first chunk does not verify, or could not be read.
    #[error(transparent)]
    First(io::Error),
    /// Its last chunk does not verify, or could not be read.
    #[error(transparent)]
    Last(PayloadError),
    /// Its header does not open.
    #[error(transparent)]
    Open(OpenError),
}

/// Tries the newest clip of a dock and `sample` older ones, drawn at random: header, first chunk,
/// last chunk, and origin. Of each, some kilobytes are read.
pub fn try_dock(
    bucket: &Bucket,
    dock: &str,
    sample: usize,
    (identities, origin): (&Identities, &mut Origin<'_>),
    runtime: &Handle,
    rng: &mut impl CryptoRng,
) -> Result<Trial, BucketError> {
    let objects = runtime.block_on(bucket.list(&format!("{dock}/clips")))?;
    let mut clips: Vec<(SealedName, Object)> = Vec::new();
    for object in objects {
        if let Naming::Clip(name) = Naming::of(&object.key) {
            clips.push((name, object));
        }
    }
    let clip_count = clips.len() as u64;
    clips.sort_by(|(_, a), (_, b)| b.stored.cmp(&a.stored).then_with(|| a.key.cmp(&b.key)));
    draw(&mut clips, sample, rng);
    let tried = clips.into_iter().map(|(name, object)| {
        let key = object.key.clone();
        let finding = try_clip(bucket, name, object, (identities, &mut *origin), runtime);
        Tried { key, name, finding }
    });
    Ok(Trial { clip_count, tried: tried.collect() })
}

/// Keeps the first, and `count` of the others.
fn draw<T>(all: &mut Vec<T>, count: usize, rng: &mut impl CryptoRng) {
    for at in 1..all.len().min(count + 1) {
        // So small a number out of 64 bits: the bias is none that anybody can use.
        let from = at + (rng.next_u64() % (all.len() - at) as u64) as usize;
        all.swap(at, from);
    }
    all.truncate(count + 1);
}

fn try_clip(
    bucket: &Bucket,
    name: SealedName,
    object: Object,
    (identities, origin): (&Identities, &mut Origin<'_>),
    runtime: &Handle,
) -> Result<Verdict, TrialError> {
    let Object { key, size_bytes, .. } = object;
    let source = ObjectSeeker::new(bucket.clone(), key, size_bytes, runtime.clone());
    let (opened, mut clip) = SeekReader::open(source, identities).map_err(TrialError::Open)?;
    clip.read(&mut [0]).map_err(TrialError::First)?;
    clip.size_bytes().map_err(TrialError::Last)?;
    let size_bytes = Some(size_bytes);
    let claim = Claim { name, size_bytes, manifest: &opened.manifest, plaintext_sha256: None };
    origin.judge(&claim).map_err(TrialError::Bucket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::UnwrapErr;

    #[test]
    fn the_newest_is_always_drawn_and_the_others_once_at_most() {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        for (size, count) in [(0, 3), (1, 3), (4, 3), (100, 3), (5, 0)] {
            let mut all: Vec<usize> = (0..size).collect();
            draw(&mut all, count, rng);
            assert_eq!(all.len(), size.min(count + 1));
            assert!(all.first().is_none_or(|first| *first == 0));
            all.sort();
            all.dedup();
            assert_eq!(all.len(), size.min(count + 1));
        }
    }
}
