//! Witnesses over HTTP (C2SP tlog-witness): asking one, and being one.

#[cfg(feature = "dock")]
pub mod ask;
#[cfg(feature = "audit")]
pub mod serve;
