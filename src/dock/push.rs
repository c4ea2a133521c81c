//! Pushing one sealed file to one bucket.

use std::fs::File;

use crate::clip::{Evidence, Receipt, SealedName, Timestamp};
use crate::edge::bucket::{Bucket, BucketError};

/// The object of a sealed clip beneath the bucket's prefix (DESIGN §7).
pub fn key(dock: &str, name: SealedName) -> String {
    let name = name.to_string();
    let first = name.get(..2).expect("64 digits");
    format!("{dock}/clips/{first}/{name}.age")
}

/// Puts the sealed file, and gives the bucket's receipt.
pub async fn push(
    bucket: &Bucket,
    bucket_name: &str,
    dock: &str,
    file: File,
    name: SealedName,
    sent: &(dyn Fn(u64) + Sync),
    now: impl Fn() -> Timestamp,
) -> Result<Receipt, BucketError> {
    let evidence: Evidence = bucket.put_sealed(&key(dock, name), file, name, sent).await?;
    Ok(Receipt { bucket: bucket_name.to_owned(), evidence, stored_at: now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_nothing_but_dock_and_digest() {
        let name = SealedName([0xab; 32]);
        assert_eq!(key("dock-1", name), format!("dock-1/clips/ab/{name}.age"));
    }
}
