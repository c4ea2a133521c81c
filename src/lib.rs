//! dockseal: police body-camera clips, sealed on the dock to keys that only the authority holds.
//!
//! The plan of the house. A floor uses only the floors below it; the three wings never see each
//! other; `tests/tidy.rs` keeps both true.
//!
//! ```text
//! cli                        the only floor that prints
//! dock | authority | audit   one wing a role, one feature a wing
//! edge                       every door to the world: clock, file system, buckets
//! envelope                   the age v1 file, writing side and syntax
//! clip, hold, error          words and rules, no I/O
//! ```
//!
//! The walk of a clip through `dock` is drawn in `ARCHITECTURE.md`; the bytes it leaves behind are
//! specified in `docs/format.md`.

pub mod clip;
pub mod envelope;
pub mod error;
pub mod hold;

pub mod edge;

#[cfg(feature = "authority")]
pub mod authority;
#[cfg(feature = "dock")]
pub mod dock;

pub mod cli;
