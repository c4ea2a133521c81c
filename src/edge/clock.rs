//! The dock's wall clock.

use crate::clip::Timestamp;

/// The time now.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
