//! The dock's wing: its rooms, in the order in which a clip walks through them.
//!
//! Only `agent` calls rooms; they never call each other. Nothing here, and nothing that it is
//! built from, can open a clip.

pub mod config;
pub mod lifecycle;
pub mod limits;

pub mod watch;

pub mod keys;

pub mod seal;
pub mod spool;

pub mod queue;

pub mod push;

pub mod publish;
pub mod signing;

pub mod erase;

pub mod agent;
