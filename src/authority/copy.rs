//! Copying a whole history: every object of one bucket, under the same name in another.
//!
//! Nothing is deleted or changed in either. What is there and equal is left alone, so a copy that
//! was interrupted goes on when it is begun again. A provider that makes up objects can make a copy
//! fail or add what an audit finds; a clip it cannot exchange, because its name is its digest.

mod age;
mod plan;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::clip::{Evidence, SealedName};
use crate::edge::bucket::{Bucket, BucketError, Trouble};
use crate::edge::fs;
use crate::edge::work::blocking;
use age::Relation;
use plan::There;
pub use plan::{Kind, Newest, Plan, Planned};

/// Bytes of one request for a part of a clip.
const BLOCK_SIZE: u64 = 8 << 20;
/// Clips that are copied at once. Each takes a block of memory, and its size in the folder for
/// temporary files.
const CLIPS_AT_ONCE: usize = 4;
/// Small objects that are copied at once: waiting is nearly all that they cost.
const SMALL_AT_ONCE: usize = 16;
/// Largest object that is no clip, in bytes; a bundle of 256 largest entries fits.
const SMALL_SIZE_MAX: u64 = 16 << 20;
/// How long to wait before a request that failed is tried again, each time.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// After so many failures of a bucket or of the disk without a success, it is no use to go on.
const FAILURES_IN_A_ROW_MAX: u32 = 8;

/// From where to where, and how.
pub struct Copier<'a> {
    /// The source. It is only read.
    pub from: &'a Bucket,
    /// The destination.
    pub to: &'a Bucket,
    /// Where clips lie on their way, in files without a name.
    pub temp_dir: &'a Path,
    /// What is done with clips that are there already.
    pub present: Present,
    /// Whether anything is put.
    pub mode: Mode,
}

/// What is done with clips that are there already with the right size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// They are read whole and compared.
    Read,
    /// Their size is believed: only we put under this name, and only what fits it.
    Trust,
}

/// Whether anything is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Objects are copied.
    Copy,
    /// It is only said what would be.
    Look,
}

/// What is told while it goes on.
pub enum Step<'a> {
    /// So many bytes of a clip were fetched.
    Fetched(u64),
    /// An object is done with.
    Done(&'a Planned, &'a Outcome),
}

/// What came of one object.
pub type Outcome = Result<Done, CopyError>;

/// What was done with an object, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is there now, with this evidence; with [`Mode::Look`] it would be put.
    Copied(Option<Evidence>),
    /// A newer one is there, and stays.
    KeptNewer,
    /// An older one was there.
    Replaced,
    /// It was there, and equal.
    WasThere,
}

/// How the copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every object was tried.
    Tried,
    /// Too much failed in a row; so many objects were not tried.
    GaveUp {
        /// Not tried.
        left: usize,
    },
}

/// Why an object was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is another object of this name.
    #[error("the destination holds something else under this name; it was left alone")]
    Conflict,
    /// The source's clip is not what was sealed.
    #[error("the clip is damaged in the source: its digest is {found}, which is not its name")]
    Damaged {
        /// SHA-256 of what was read.
        found: SealedName,
    },
    /// The source could not be read.
    #[error("cannot read it in the source")]
    From(#[source] BucketError),
    /// A checkpoint without all that it signs would be an accusation.
    #[error("held back: objects of the same log were not copied")]
    HeldBack,
    /// The temporary file could not be written.
    #[error("cannot write a temporary file")]
    Temporary(#[source] std::io::Error),
    /// The destination could not be read or written.
    #[error("cannot put it into the destination")]
    To(#[source] BucketError),
    /// Whether the source's or the destination's is the newer one, nobody can say.
    #[error("it cannot be read in the source, and the destination has another one")]
    Unreadable,
}

impl CopyError {
    /// Whether the next object may well fail for the same reason.
    fn is_common(&self) -> bool {
        match self {
            CopyError::From(_) | CopyError::Temporary(_) | CopyError::To(_) => true,
            CopyError::Conflict
            | CopyError::Damaged { .. }
            | CopyError::HeldBack
            | CopyError::Unreadable => false,
        }
    }
}

/// Which bucket could not be listed, and why.
#[derive(Debug)]
pub enum ListError {
    /// The source.
    From(BucketError),
    /// The destination.
    To(BucketError),
}

impl Copier<'_> {
    /// Lists both buckets. Without the right to list the destination nothing is copied: what lies
    /// there could not be told from what is missing.
    pub async fn plan(&self) -> Result<Plan, ListError> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        self.from.visit("", &mut |object| from.push(object)).await.map_err(ListError::From)?;
        self.to.visit("", &mut |object| to.push(object)).await.map_err(ListError::To)?;
        Ok(Plan::of(from, to))
    }

    /// Copies what the plan has. A failure is told, and keeps no other object from being copied.
    pub async fn run(&self, plan: &Plan, told: &(dyn Fn(Step<'_>) + Sync)) -> End {
        // Logs of which something is missing in the destination.
        let mut broken = BTreeSet::new();
        let (mut failures_in_a_row, mut tried) = (0, 0);
        for phase in plan.objects.chunk_by(|a, b| a.kind.phase() == b.kind.phase()) {
            let clips = matches!(phase.first().map(|one| one.kind), Some(Kind::Clip(_)));
            let at_once = if clips { CLIPS_AT_ONCE } else { SMALL_AT_ONCE };
            let before = broken.clone();
            let held_back =
                |one: &Planned| one.log.as_ref().is_some_and(|log| before.contains(log));
            let mut going = stream::iter(phase)
                .map(|one| {
                    let held_back = held_back(one);
                    async move {
                        if held_back {
                            return (one, Err(CopyError::HeldBack));
                        }
                        (one, self.object(one, told).await)
                    }
                })
                .buffer_unordered(at_once);
            while let Some((one, outcome)) = going.next().await {
                tried += 1;
                told(Step::Done(one, &outcome));
                match &outcome {
                    Ok(_) => failures_in_a_row = 0,
                    Err(error) => {
                        broken.extend(one.log.clone());
                        failures_in_a_row += u32::from(error.is_common());
                    }
                }
                if failures_in_a_row >= FAILURES_IN_A_ROW_MAX {
                    return End::GaveUp { left: plan.objects.len() - tried };
                }
            }
        }
        End::Tried
    }

    async fn object(&self, one: &Planned, told: &(dyn Fn(Step<'_>) + Sync)) -> Outcome {
        match (one.kind, one.there) {
            (Kind::Clip(name), Some(there)) => self.clip_there(one, name, there).await,
            (Kind::Clip(name), None) => self.clip(one, name, told).await,
            (Kind::Newest(newest), Some(there)) => self.newest(one, newest, there).await,
            (_, None) => {
                // As it is, rubbish too: what it is worth, an audit says of both.
                let bytes = self.small(self.from, one).await.map_err(CopyError::From)?;
                self.create(one, bytes).await
            }
            (Kind::Record | Kind::Piece | Kind::Checkpoint, Some(_)) => self.small_there(one).await,
        }
    }

    /// A clip that is there, or something of its name.
    async fn clip_there(&self, one: &Planned, name: SealedName, there: There) -> Outcome {
        if there.size_bytes != one.size_bytes {
            return Err(CopyError::Conflict);
        }
        if self.present == Present::Trust {
            return Ok(Done::WasThere);
        }
        let into = None;
        let found = fetch(self.to, one, into, &|_| {}).await.map_err(|error| match error {
            FetchError::Bucket(error) => CopyError::To(error),
            FetchError::File(error) => CopyError::Temporary(error),
        })?;
        if found == name { Ok(Done::WasThere) } else { Err(CopyError::Conflict) }
    }

    /// A clip that is not there: through a temporary file, so that only a whole one is put.
    async fn clip(
        &self,
        one: &Planned,
        name: SealedName,
        told: &(dyn Fn(Step<'_>) + Sync),
    ) -> Outcome {
        if self.mode == Mode::Look {
            return Ok(Done::Copied(None));
        }
        let file = fs::create_unnamed(self.temp_dir).map_err(CopyError::Temporary)?;
        let fetched = |size| told(Step::Fetched(size));
        let found = fetch(self.from, one, Some(&file), &fetched).await.map_err(|e| match e {
            FetchError::Bucket(error) => CopyError::From(error),
            FetchError::File(error) => CopyError::Temporary(error),
        })?;
        if found != name {
            return Err(CopyError::Damaged { found });
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            let file = fs::from_start(&file).map_err(CopyError::Temporary)?;
            match self.to.put_sealed(&one.key, file, name, &|_| {}).await {
                Ok(evidence) => return Ok(Done::Copied(Some(evidence))),
                Err(BucketError::AlreadyThere | BucketError::OtherContent) => {
                    return Err(CopyError::Conflict);
                }
                Err(error) => wait(error, pauses.next()).await.map_err(CopyError::To)?,
            }
        }
    }

    async fn small(&self, bucket: &Bucket, one: &Planned) -> Result<Bytes, BucketError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match bucket.read_all(&one.key, SMALL_SIZE_MAX).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => wait(error, pauses.next()).await?,
            }
        }
    }

    /// A small object that is not there, and is read again once it is.
    async fn create(&self, one: &Planned, bytes: Bytes) -> Outcome {
        if self.mode == Mode::Look {
            return Ok(Done::Copied(None));
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.to.create(&one.key, bytes.clone()).await {
                Ok(_) => break,
                Err(BucketError::OtherContent) => return Err(CopyError::Conflict),
                Err(error) => wait(error, pauses.next()).await.map_err(CopyError::To)?,
            }
        }
        self.read_back(one, &bytes).await.map(|evidence| Done::Copied(Some(evidence)))
    }

    async fn read_back(&self, one: &Planned, bytes: &Bytes) -> Result<Evidence, CopyError> {
        match self.small(self.to, one).await {
            Ok(found) if found == bytes => Ok(Evidence::ReadBack),
            Ok(_) | Err(BucketError::TooLarge { .. }) => Err(CopyError::Conflict),
            Err(BucketError::Refused(_)) => Ok(Evidence::Acknowledged),
            Err(error) => Err(CopyError::To(error)),
        }
    }

    /// Both, the source's first.
    async fn both(&self, one: &Planned) -> Result<(Bytes, Bytes), CopyError> {
        let here = self.small(self.from, one).await.map_err(CopyError::From)?;
        match self.small(self.to, one).await {
            Ok(there) => Ok((here, there)),
            Err(BucketError::TooLarge { .. }) => Err(CopyError::Conflict),
            Err(error) => Err(CopyError::To(error)),
        }
    }

    /// A small object that is never replaced, and something lies under its name.
    async fn small_there(&self, one: &Planned) -> Outcome {
        let (here, there) = self.both(one).await?;
        let cosigned = one.kind == Kind::Checkpoint && age::same_text(&here, &there);
        if here == there || cosigned { Ok(Done::WasThere) } else { Err(CopyError::Conflict) }
    }

    /// One that is replaced by its successor, and never by the one before.
    async fn newest(&self, one: &Planned, newest: Newest, listed: There) -> Outcome {
        let (here, there) = self.both(one).await?;
        let relation = age::relation(newest, &one.key, &here, &there);
        match relation.ok_or(CopyError::Unreadable)? {
            Relation::Conflict => return Err(CopyError::Conflict),
            Relation::Equal => return Ok(Done::WasThere),
            Relation::Older => return Ok(Done::KeptNewer),
            Relation::Unknown if one.stored <= listed.stored => return Ok(Done::KeptNewer),
            Relation::Unknown | Relation::Newer => {}
        }
        if self.mode == Mode::Copy {
            self.to.replace(&one.key, here.clone()).await.map_err(CopyError::To)?;
            self.read_back(one, &here).await?;
        }
        Ok(Done::Replaced)
    }
}

/// Waits before the next attempt; gives the error back where none would help.
async fn wait(error: BucketError, pause: Option<Duration>) -> Result<(), BucketError> {
    match (error, pause) {
        (BucketError::Failed { .. }, Some(pause)) => {
            tokio::time::sleep(pause).await;
            Ok(())
        }
        (error, _) => Err(error),
    }
}

enum FetchError {
    Bucket(BucketError),
    File(std::io::Error),
}

/// Reads a whole object, into a file where one is given, and gives its digest.
async fn fetch(
    bucket: &Bucket,
    one: &Planned,
    into: Option<&File>,
    fetched: &(dyn Fn(u64) + Sync),
) -> Result<SealedName, FetchError> {
    let mut into = into.map(File::try_clone).transpose().map_err(FetchError::File)?;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < one.size_bytes {
        let end = one.size_bytes.min(at + BLOCK_SIZE);
        let block = block(bucket, one, at..end).await.map_err(FetchError::Bucket)?;
        let step = move || {
            hash.update(&block);
            let written = into.as_mut().map_or(Ok(()), |file| file.write_all(&block));
            written.map(|()| (into, hash))
        };
        (into, hash) = blocking(step).await.map_err(FetchError::File)?;
        fetched(end - at);
        at = end;
    }
    Ok(SealedName(hash.finalize().into()))
}

async fn block(
    bucket: &Bucket,
    one: &Planned,
    range: std::ops::Range<u64>,
) -> Result<Bytes, BucketError> {
    let asked = range.end - range.start;
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match bucket.read(&one.key, range.clone()).await {
            Ok(block) if block.len() as u64 == asked => return Ok(block),
            Ok(block) => {
                let got = block.len();
                BucketError::failed(
                    Trouble::Broken,
                    format!("it answered {asked} bytes with {got}"),
                )
            }
            Err(error) => error,
        };
        wait(error, pauses.next()).await?;
    }
}
