//! Who stands by while a clip is opened, counts, and has the last word.

use super::{Facts, RestoreError};

/// Who stands by while a clip is opened; any `FnMut(u64)` that counts bytes is one who judges none.
pub trait Overseer {
    /// So many bytes of clip were written.
    fn wrote(&mut self, size_bytes: u64);

    /// All of it verified. What is refused here gets no name, and leaves nothing behind.
    fn judge(&mut self, facts: &Facts) -> Result<(), RestoreError>;
}

impl<F: FnMut(u64)> Overseer for F {
    fn wrote(&mut self, size_bytes: u64) {
        self(size_bytes);
    }

    fn judge(&mut self, _: &Facts) -> Result<(), RestoreError> {
        Ok(())
    }
}
