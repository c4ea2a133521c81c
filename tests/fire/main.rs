//! The real programs under fire: power cuts, and disks that fail.
//!
//! Needs root. `DOCKSEAL_TEST_SEED=n` repeats what was drawn, `DOCKSEAL_DEEP=1` draws more.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "../it/support/mod.rs"]
mod support;

mod power;
