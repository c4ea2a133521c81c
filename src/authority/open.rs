//! Opening an age v1 file: header, file key, MAC, manifest, and then its payload.
//!
//! The order is the point: nothing of a header is believed before its MAC verified, and the MAC
//! needs the file key. docs/format.md §2, §5.

use std::io::BufRead;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use sha2::{Digest, Sha256};

use super::armor::Unarmored;
use super::identity::Identities;
use super::manifest::from_text;
use super::payload::{PayloadError, PayloadReader};
use super::plugin::PluginError;
use super::unwrap::{StanzaError, sealed_to, unwrap};
use crate::envelope::header::{Header, HeaderError, MacMismatch, Stanza};
use crate::envelope::manifest::{
    MANIFEST, MANIFEST_SIZE_MAX, Manifest, PADDING, STANZA_SALT_SIZE, manifest_key,
};
use crate::envelope::stream::{PAYLOAD_NONCE_SIZE, PayloadCipher};
use crate::envelope::{FileKey, TAG_SIZE};

/// What the types of all manifest stanzas begin with, those of later versions too.
pub(super) const MANIFEST_FAMILY: &str = "dockseal.manifest/";

/// What a file says of the clip in it. None of these keeps the clip from being opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestFinding {
    /// The file has none: it was not sealed by a dock.
    Absent,
    /// Written by whoever sealed the file, or whom it was shared with: the header's MAC proves no
    /// more than that they knew the file key.
    Found(Box<Manifest>),
    /// It has one that cannot be read.
    Unreadable(ManifestError),
}

/// A file whose header verified: it can be read with the key in here.
pub struct Opened {
    file_key: FileKey,
    header_hash: Sha256,
    /// What the file says of the clip.
    pub manifest: ManifestFinding,
    /// Bytes of the header; the payload's nonce is at this offset of the file.
    pub header_size_bytes: u64,
}

impl Opened {
    /// Unwraps the file key, verifies the MAC, and only then looks at the manifest.
    pub fn from_header(header: &Header, identities: &Identities) -> Result<Opened, OpenError> {
        let file_key = match unwrap(header, identities).map_err(OpenError::Stanza)? {
            Some(file_key) => Some(file_key),
            None => identities.ask_plugins(header).map_err(OpenError::Plugin)?,
        };
        let file_key =
            file_key.ok_or_else(|| OpenError::NoIdentity { sealed_to: sealed_to(header) })?;
        header.verify(&file_key).map_err(OpenError::Mac)?;
        let manifest = find_manifest(&header.stanzas, &file_key);
        // The one canonical encoding was read, so this is what stands in the file.
        let header = header.encode();
        let header_hash = Sha256::new_with_prefix(&header);
        Ok(Opened { file_key, header_hash, manifest, header_size_bytes: header.len() as u64 })
    }

    /// What the payload with this nonce is sealed with.
    pub(super) fn cipher(&self, nonce: &[u8; PAYLOAD_NONCE_SIZE]) -> PayloadCipher {
        PayloadCipher::new(&self.file_key, nonce)
    }

    /// The payload; `input` stands directly behind the header.
    pub fn payload<R: BufRead>(&self, input: R) -> Result<PayloadReader<R>, PayloadError> {
        PayloadReader::new(input, &self.file_key, self.header_hash.clone())
    }
}

/// Opens an age v1 file from its first byte on, armored or not.
pub fn open<R: BufRead>(
    input: R,
    identities: &Identities,
) -> Result<(Opened, PayloadReader<Unarmored<R>>), OpenError> {
    let mut input = Unarmored::new(input);
    let header = Header::read(&mut input).map_err(OpenError::Header)?;
    let opened = Opened::from_header(&header, identities)?;
    let payload = opened.payload(input).map_err(OpenError::Payload)?;
    Ok((opened, payload))
}

fn find_manifest(stanzas: &[Stanza], file_key: &FileKey) -> ManifestFinding {
    let mut ours = stanzas.iter().filter(|stanza| stanza.kind.starts_with(MANIFEST_FAMILY));
    let Some(stanza) = ours.next() else { return ManifestFinding::Absent };
    if ours.next().is_some() {
        return ManifestFinding::Unreadable(ManifestError::Several);
    }
    match read_manifest(stanza, file_key) {
        Ok(manifest) => ManifestFinding::Found(Box::new(manifest)),
        Err(error) => ManifestFinding::Unreadable(error),
    }
}

/// The mirror image of [`Manifest::wrap`].
fn read_manifest(stanza: &Stanza, file_key: &FileKey) -> Result<Manifest, ManifestError> {
    if stanza.kind != MANIFEST {
        return Err(ManifestError::Later);
    }
    let [salt] = stanza.args.as_slice() else { return Err(ManifestError::Salt) };
    let salt = BASE64.decode(salt).map_err(|_| ManifestError::Salt)?;
    let salt: [u8; STANZA_SALT_SIZE] = salt.try_into().map_err(|_| ManifestError::Salt)?;
    if stanza.body.len() > MANIFEST_SIZE_MAX + TAG_SIZE {
        return Err(ManifestError::TooLarge);
    }
    let Some((sealed, tag)) = stanza.body.split_last_chunk::<TAG_SIZE>() else {
        return Err(ManifestError::Size);
    };
    if sealed.is_empty() || sealed.len() % PADDING != 0 {
        return Err(ManifestError::Size);
    }
    let mut json = sealed.to_vec();
    ChaCha20Poly1305::new(manifest_key(file_key, &salt).as_bytes().into())
        .decrypt_inout_detached(&[0u8; 12].into(), b"", json.as_mut_slice().into(), &(*tag).into())
        .map_err(|_| ManifestError::NotVerified)?;
    from_text(&json).ok_or(ManifestError::Json)
}

/// Why a manifest cannot be read although the clip can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of docs/format.md §5.
    #[error("the manifest is not in a form that we know")]
    Json,
    /// Of a version that this program does not know.
    #[error("the manifest is of a later version of dockseal")]
    Later,
    /// It was not made with the file key.
    #[error("the manifest does not verify")]
    NotVerified,
    /// Its argument is not 16 bytes of base64.
    #[error("the manifest's salt is malformed")]
    Salt,
    /// There is more than one, and no rule says which counts.
    #[error("the file has more than one manifest")]
    Several,
    /// Not padded as every writer pads it.
    #[error("the manifest's size is not a multiple of {PADDING} bytes")]
    Size,
    /// Larger than any that a dock writes.
    #[error("the manifest is larger than {MANIFEST_SIZE_MAX} bytes")]
    TooLarge,
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a header of an age v1 file.
    #[error(transparent)]
    Header(HeaderError),
    /// An identity fits, but the header is not the one that was sealed.
    #[error(transparent)]
    Mac(MacMismatch),
    /// It is sealed to others.
    #[error("no identity fits; it is sealed to: {sealed_to}")]
    NoIdentity {
        /// The types of its recipients, in printable ASCII.
        sealed_to: String,
    },
    /// The payload does not even begin.
    #[error(transparent)]
    Payload(PayloadError),
    /// A plugin may have the key, and failed.
    #[error(transparent)]
    Plugin(PluginError),
    /// A recipient's stanza that no honest writer makes.
    #[error(transparent)]
    Stanza(StanzaError),
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::identity::{Identity, Kind};
    use super::*;
    use crate::envelope::manifest::tests::manifest;
    use crate::envelope::recipient::Recipients;
    use crate::envelope::seal::seal;
    use crate::envelope::stream::{CHUNK_SIZE, SEALED_CHUNK_SIZE};
    use rand_core::UnwrapErr;
    use std::io::{BufReader, Read};
    use std::path::Path;

    pub(crate) fn identity(kind: Kind) -> Identity {
        Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng))
    }

    /// `clip` as a dock seals it under the name `name`.
    pub(crate) fn sealed(identity: &Identity, clip: &[u8], name: &Path) -> Vec<u8> {
        let recipients = Recipients::new(vec![identity.recipient().clone()]).expect("one");
        let mut manifest = manifest(name);
        manifest.size_bytes = clip.len() as u64;
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let mut out = Vec::new();
        seal(&mut &*clip, &mut out, &recipients, &manifest, rng).expect("sealed");
        out
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at % 251) as u8).collect()
    }

    /// What a reader of the file gets: all bytes released, and how it ended.
    fn read(file: &[u8], identities: &Identities) -> (Vec<u8>, Result<(), String>) {
        let mut released = Vec::new();
        // A small buffer, so that chunks and reads never coincide.
        let input = BufReader::with_capacity(1000, file);
        let (_, mut payload) = match open(input, identities) {
            Ok(opened) => opened,
            Err(error) => return (released, Err(error.to_string())),
        };
        let ended = payload.read_to_end(&mut released);
        assert_eq!(ended.is_ok(), payload.plaintext().is_some());
        if let Some(plaintext) = payload.plaintext() {
            assert_eq!(plaintext.size_bytes, released.len() as u64);
            assert_eq!(plaintext.sha256, <[u8; 32]>::from(Sha256::digest(&released)));
        }
        (released, ended.map(drop).map_err(|error| error.to_string()))
    }

    #[test]
    fn what_was_sealed_opens_with_its_manifest() {
        for kind in [Kind::Classic, Kind::PostQuantum] {
            for size in [0, 1, 65_535, 65_536, 65_537, 131_072, (1 << 20) + 3] {
                let identity = identity(kind);
                let clip = bytes(size);
                let file = sealed(&identity, &clip, Path::new("a.mp4"));
                let identities = Identities::one(identity);
                let (released, ended) = read(&file, &identities);
                assert!(ended.is_ok() && released == clip, "{kind} {size}: {ended:?}");
                let (opened, _) = open(file.as_slice(), &identities).expect("opens");
                let ManifestFinding::Found(manifest) = opened.manifest else {
                    panic!("no manifest");
                };
                assert_eq!(manifest.size_bytes, size as u64);
                let header_size = opened.header_size_bytes;
                let payload_size = crate::envelope::stream::payload_size(size as u64);
                assert_eq!(header_size + payload_size, file.len() as u64);
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for size in [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE] {
            let identity = identity(Kind::Classic);
            let clip = bytes(size);
            let file = sealed(&identity, &clip, Path::new("a.mp4"));
            let identities = Identities::one(identity);
            let (opened, _) = open(file.as_slice(), &identities).expect("opens");
            let payload = opened.header_size_bytes as usize + 16;
            let around = |at: usize| at.saturating_sub(20)..(at + 20).min(file.len());
            let cuts = (0..payload + 20)
                .chain(around(payload + SEALED_CHUNK_SIZE))
                .chain(around(payload + 2 * SEALED_CHUNK_SIZE))
                .chain(around(file.len()));
            for cut in cuts.filter(|cut| *cut < file.len()) {
                let (released, ended) = read(&file[..cut], &identities);
                assert!(ended.is_err(), "{size} bytes cut at {cut}");
                assert!(released.len() % CHUNK_SIZE == 0 && clip.starts_with(&released));
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let identity = identity(Kind::PostQuantum);
        let clip = bytes(CHUNK_SIZE + 5);
        let file = sealed(&identity, &clip, Path::new("a.mp4"));
        let identities = Identities::one(identity);
        // Each byte of the header's ends and the payload's borders, and a sample between.
        let ends = [0..200, file.len() - 300..file.len()].into_iter().flatten();
        for at in ends.chain((0..file.len()).step_by(97)) {
            let mut bad = file.clone();
            bad[at] ^= 1 << (at % 8);
            let (released, ended) = read(&bad, &identities);
            assert!(ended.is_err(), "a flip in byte {at} went unnoticed");
            assert!(clip.starts_with(&released), "byte {at} released a changed byte");
        }
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        for size in [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1] {
            let identity = identity(Kind::Classic);
            let mut file = sealed(&identity, &bytes(size), Path::new("a.mp4"));
            file.push(0);
            let (_, ended) = read(&file, &Identities::one(identity));
            assert!(ended.is_err(), "{size}");
        }
    }

    #[test]
    fn the_payload_of_another_file_is_refused() {
        let identity = identity(Kind::Classic);
        let files = [b"one", b"two"].map(|clip| sealed(&identity, clip, Path::new("a.mp4")));
        let identities = Identities::one(identity);
        let header_size = |file: &Vec<u8>| {
            let (opened, _) = open(file.as_slice(), &identities).expect("opens");
            opened.header_size_bytes as usize
        };
        let (first, second) = (header_size(&files[0]), header_size(&files[1]));
        let swapped = [&files[0][..first], &files[1][second..]].concat();
        let (released, ended) = read(&swapped, &identities);
        assert!(ended.is_err() && released.is_empty());
    }

    #[test]
    fn chunks_do_not_change_places() {
        let identity = identity(Kind::Classic);
        let file = sealed(&identity, &bytes(3 * CHUNK_SIZE), Path::new("a.mp4"));
        let chunks = file.len() - 3 * SEALED_CHUNK_SIZE;
        let mut swapped = file.clone();
        let (first, rest) = swapped[chunks..].split_at_mut(SEALED_CHUNK_SIZE);
        first.swap_with_slice(&mut rest[..SEALED_CHUNK_SIZE]);
        let (released, ended) = read(&swapped, &Identities::one(identity));
        assert!(ended.is_err() && released.is_empty());
    }

    #[test]
    fn another_identity_opens_nothing() {
        for kind in [Kind::Classic, Kind::PostQuantum] {
            let file = sealed(&identity(kind), b"x", Path::new("a.mp4"));
            for other in [Kind::Classic, Kind::PostQuantum] {
                let opened = open(file.as_slice(), &Identities::one(identity(other)));
                let Err(OpenError::NoIdentity { sealed_to }) = opened else { panic!("opened") };
                assert_eq!(sealed_to, kind.to_string());
            }
        }
    }

    /// A file with this manifest stanza instead of a dock's.
    fn with_manifest(identity: &Identity, stanzas: impl Fn(&FileKey) -> Vec<Stanza>) -> Vec<u8> {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let file_key = FileKey::generate(rng);
        let mut all = vec![identity.recipient().wrap(&file_key, rng)];
        all.extend(stanzas(&file_key));
        Header::new(all, &file_key).encode()
    }

    #[test]
    fn a_manifest_that_cannot_be_read_keeps_no_clip_from_opening() {
        let identity = identity(Kind::Classic);
        let good = |key: &FileKey| {
            let rng = &mut UnwrapErr(getrandom::SysRng);
            manifest(Path::new("a.mp4")).wrap(key, rng).expect("wrapped")
        };
        let damaged = |damage: fn(&mut Stanza)| {
            with_manifest(&identity, |key| {
                let mut stanza = good(key);
                damage(&mut stanza);
                vec![stanza]
            })
        };
        let cases = [
            (damaged(|s| s.body[3] ^= 1), ManifestError::NotVerified),
            (damaged(|s| s.body.truncate(15)), ManifestError::Size),
            (damaged(|s| s.body.truncate(16)), ManifestError::Size),
            (damaged(|s| s.body.truncate(512)), ManifestError::Size),
            (damaged(|s| s.body.push(0)), ManifestError::Size),
            (damaged(|s| s.args.clear()), ManifestError::Salt),
            (damaged(|s| s.args[0].push('A')), ManifestError::Salt),
            (damaged(|s| s.body.resize(8 * 1024 + 17, 0)), ManifestError::TooLarge),
            (damaged(|s| s.kind = "dockseal.manifest/v2".into()), ManifestError::Later),
            (with_manifest(&identity, |k| vec![good(k), good(k)]), ManifestError::Several),
        ];
        let absent = with_manifest(&identity, |_| Vec::new());
        let identities = Identities::one(identity);
        let finding = |file: &[u8]| {
            let header = Header::read(&mut &*file).expect("a header");
            Opened::from_header(&header, &identities).expect("opens").manifest
        };
        for (file, expected) in cases {
            assert_eq!(finding(&file), ManifestFinding::Unreadable(expected));
        }
        assert_eq!(finding(&absent), ManifestFinding::Absent);
    }
}
