//! The authority's wing: everything that needs a private key.
//!
//! ```text
//! identity       private keys, and the texts that hold them
//! identity_file  a file of identities, plain or protected
//! passphrase     what protects one: scrypt
//! plugin         keys that only another program can use
//! unwrap         a header's stanzas ─▶ the file key
//! armor          an age file as text
//! manifest       what is known of a clip: the one form of its text
//! open           header verified ─▶ manifest, payload
//! payload        the chunks, each released only after it verified
//! parallel       all chunks, on all cores
//! seek           some chunks, wherever they are
//! fetch          an object of a bucket as a stream, or read where it is wanted
//! fleet          what each dock last said of itself, and whether to believe it
//! catalogue      what a bucket holds, from the first bytes of each object
//! copy           a whole history into another bucket
//! drill          whether clips can be opened, tried at both ends of some
//! draft          the next revision of the keyring, while it is edited
//! office         the authority's folder: root key, draft, signed revisions
//! origin         whether a dock of the keyring sealed a clip, by its log
//! restore        a clip back as a file: complete under its name, or not at all
//! ```

pub mod armor;
pub mod catalogue;
pub mod copy;
pub mod draft;
pub mod drill;
pub mod fetch;
pub mod fleet;
pub mod identity;
pub mod identity_file;
pub mod manifest;
pub mod office;
pub mod open;
pub mod origin;
pub mod parallel;
pub mod passphrase;
pub mod payload;
pub mod plugin;
pub mod restore;
pub mod seek;
pub mod unwrap;
