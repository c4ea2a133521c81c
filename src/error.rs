//! What a failure means for who must act.

use crate::hold::Reason;

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The process must end: what the disk holds is no longer known (a failed fsync, a corrupt
    /// database). A restart begins again from what is durable.
    Halt,
    /// An operator must act; trying again alone will not help.
    Park,
    /// Trying again later is likely to help.
    Retry,
}

/// Implemented by every error of a room that works on a clip.
///
/// The error's text names no file: it is kept as the cause of a hold, and goes to the log, where a
/// clip is known by number and digest only (DESIGN §8). The desk adds the path.
pub trait Fault: std::error::Error {
    /// Who must act.
    fn disposition(&self) -> Disposition;
    /// The reason that a hold of the clip gets.
    fn reason(&self) -> Reason;
}

/// The error with all its sources in one line: `cannot read: permission denied (os error 13)`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Many crates repeat their source in their own text; say it once.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the clip")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = Outer(std::io::Error::other("the cable is out"));
        assert_eq!(chain(&error), "cannot read the clip: the cable is out");
    }
}
