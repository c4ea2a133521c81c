//! Bad input at the dock's door, and what becomes of it: a clear error or a visible hold.

mod changes;
mod config;
mod kinds;
mod media;
mod names;
