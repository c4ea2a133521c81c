//! The authority's wing: everything that needs a private key.
//!
//! ```text
//! identity   private keys, and the files that hold them
//! unwrap     a header's stanzas ─▶ the file key
//! open       header verified ─▶ manifest, payload
//! payload    the chunks, each released only after it verified
//! fetch      an object of a bucket as a stream, so that files and buckets open alike
//! catalogue  what a bucket holds, from the first bytes of each object
//! restore    a clip back as a file: complete under its name, or not at all
//! ```

pub mod catalogue;
pub mod fetch;
pub mod identity;
pub mod open;
pub mod payload;
pub mod restore;
pub mod unwrap;
