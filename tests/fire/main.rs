//! The real `dockseal` under fire: killed, lied to, starved and cut off at each of its steps.
//!
//! How many points are tried, and how long the soak lasts, is for `tests/run` and
//! `tests/run --deep` to say. Every choice comes from a seed that is printed;
//! `DOCKSEAL_TEST_SEED=n` gives it again.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "../it/support/mod.rs"]
mod support;

mod chance;
#[cfg(target_arch = "x86_64")]
mod errors;
mod full;
#[cfg(target_arch = "x86_64")]
mod kill;
#[cfg(target_arch = "x86_64")]
mod order;
mod power;
mod scene;
mod soak;
mod storm;
#[cfg(target_arch = "x86_64")]
mod tracer;
mod truth;
