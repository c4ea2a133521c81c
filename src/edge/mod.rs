//! The doors: everything that touches the world outside of this process.

pub mod bucket;
pub mod clock;
pub mod credentials;
pub mod durable;
pub mod fs;
#[cfg(feature = "dock")]
pub mod handover;
pub mod limit;
#[cfg(feature = "dock")]
pub mod monitor;
#[cfg(feature = "dock")]
pub mod sntp;
#[cfg(feature = "dock")]
pub mod systemd;
pub mod witness;
pub mod work;
#[cfg(test)]
pub(crate) mod world;
