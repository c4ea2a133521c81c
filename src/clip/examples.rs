//! What unit tests know of a clip.

use super::{Generation, SealedFile, SealedName, Timestamp};

/// Of a file of three bytes; another inode is another file.
pub(crate) const fn generation(inode_number: u64) -> Generation {
    Generation { device_number: 1, inode_number, size_bytes: 3, modified_ns: 4, changed_ns: 5 }
}

/// A sealed file in the spool; another byte is another name.
pub(crate) const fn sealed(byte: u8) -> SealedFile {
    SealedFile {
        name: SealedName([byte; 32]),
        size_bytes: 200,
        commitment: [7; 32],
        sealed_at: Timestamp(9),
        reread: false,
        in_spool: true,
        keyring_revision: None,
    }
}
