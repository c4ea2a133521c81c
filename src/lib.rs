//! dockseal: police body-camera clips, sealed on the dock to keys that only the authority holds.
//!
//! The plan of the house. A floor uses only the floors below it; the three wings never see each
//! other; `tests/tidy.rs` keeps both true.
//!
//! ```text
//! cli                        the only floor that prints
//! dock | authority | audit   one wing a role, one feature a wing
//! edge                       every door to the world: clock, file system, buckets
//! custody                    the dock's signed log: entries, Merkle tree, tiles, checkpoints
//! keyring                    the authority's signed list of recipients and docks
//! envelope                   the age v1 file, writing side and syntax
//! note                       signed notes, which keyring and checkpoint are
//! clip, hold, error          words and rules, no I/O
//! ```
//!
//! The walk of a clip through `dock` is drawn in `ARCHITECTURE.md`; the bytes it leaves behind are
//! specified in `docs/format.md`.

pub mod clip;
pub mod custody;
pub mod envelope;
pub mod error;
pub mod hold;
pub mod keyring;
pub mod note;

pub mod edge;

#[cfg(feature = "audit")]
pub mod audit;
#[cfg(feature = "authority")]
pub mod authority;
#[cfg(feature = "dock")]
pub mod dock;

pub mod cli;

#[cfg(all(test, feature = "audit", feature = "authority", feature = "dock"))]
mod sim;
