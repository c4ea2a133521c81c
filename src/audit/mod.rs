//! The auditor's wing: what a bucket proves to somebody without a secret. docs/audit.md.
//!
//! ```text
//! shelf        the listing, dock by dock        revisions   keyrings whose signature counts
//! heads        checkpoints, whose keys          walk        every entry, every tile
//! ledger       what the entries say of clips    stock       that against the objects
//! sample       clips read whole: stanzas, randomness, digest
//! succession   logs of one dock                 memory      earlier audits, witnesses
//! run          all of it, in that order         report      what came of it
//! witness      the other side: cosigns growth and nothing else
//! ```

pub mod finding;
mod heads;
mod ledger;
pub mod memory;
mod pieces;
mod randomness;
pub mod report;
mod revisions;
pub mod run;
pub mod sample;
mod shelf;
mod stanzas;
mod stock;
mod succession;
mod walk;
pub mod witness;

/// Small objects that are read at the same time.
const READ_COUNT_MAX: usize = 32;
/// Bundles that are read at the same time; each may have 2 MiB.
const BUNDLE_COUNT_MAX: usize = 16;
/// Clips that are read at the same time; each has one block in memory.
const CLIP_COUNT_MAX: usize = 4;

/// One step of an audit, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of clips were read.
    Bytes(u64),
    /// So many entries were read.
    Entries(u64),
    /// One object was listed.
    Listed,
}

/// Is told of each step.
pub type Progress<'a> = dyn Fn(Step) + Sync + 'a;
