//! Sealing: one read of a clip gives its ciphertext, its commitment and its name.

use std::io::{self, Read, Write};

use rand_core::CryptoRng;

use super::header::Header;
use super::manifest::{Manifest, TooLarge, commitment};
use super::pass::{Pass, pass};
use super::recipient::Recipients;
use super::stream::{PAYLOAD_NONCE_SIZE, PayloadCipher};
use super::{FileKey, on_scrubbed_stack};
use crate::clip::SealedName;

/// What sealing a clip gave.
pub struct Sealed {
    /// SHA-256 of the whole sealed file.
    pub name: SealedName,
    /// Size of the sealed file in bytes.
    pub size_bytes: u64,
    /// SHA-256(salt ‖ SHA-256(plaintext)).
    pub commitment: [u8; 32],
    /// Seals the same bytes to the same ciphertext once more; see [`Resealer`].
    pub resealer: Resealer,
}

/// Seals `clip` into `out`: header, nonce, chunks. Reads each byte once, in bounded memory.
///
/// Exactly `manifest.size_bytes` are expected; a file that grows or shrinks meanwhile is refused,
/// because half of one generation and half of the next is evidence of nothing.
pub fn seal(
    clip: &mut impl Read,
    out: &mut (impl Write + Send),
    recipients: &Recipients,
    manifest: &Manifest,
    rng: &mut impl CryptoRng,
) -> Result<Sealed, SealError> {
    // On a stack of its own: what comes next puts structures with padding on the heap, and with
    // them whatever lay on the stack.
    let begin = || begin(recipients, manifest, rng).map(Box::new).map_err(Box::new);
    let resealer = *on_scrubbed_stack(begin).map_err(|error| SealError::Manifest(*error))?;
    let pass = resealer.pass(clip, out)?;
    let commitment = commitment(&manifest.commitment_salt, &pass.plaintext_sha256)
        .expect("the salt was made by Manifest::new_salt");
    Ok(Sealed { name: pass.name, size_bytes: pass.size_bytes, commitment, resealer })
}

/// Makes the keys of one file, and wraps the file key for everybody.
fn begin(
    recipients: &Recipients,
    manifest: &Manifest,
    rng: &mut impl CryptoRng,
) -> Result<Resealer, TooLarge> {
    let file_key = FileKey::generate(rng);
    let mut stanzas: Vec<_> = recipients.iter().map(|r| r.wrap(&file_key, rng)).collect();
    stanzas.push(manifest.wrap(&file_key, rng)?);
    let header = Header::new(stanzas, &file_key).encode();
    let mut nonce = [0u8; PAYLOAD_NONCE_SIZE];
    rng.fill_bytes(&mut nonce);
    let cipher = PayloadCipher::new(&file_key, &nonce);
    let prologue = [header.as_slice(), &nonce].concat();
    Ok(Resealer { prologue, cipher, plaintext_size: manifest.size_bytes })
}

/// Keeps what is needed to seal the same bytes again under the same key and nonces: equal input
/// gives equal output, so no nonce ever meets two plaintexts unless the source changed, and then
/// the output goes nowhere. It cannot open anything. Dropping it wipes the key.
pub struct Resealer {
    prologue: Vec<u8>,
    cipher: PayloadCipher,
    plaintext_size: u64,
}

impl Resealer {
    /// The name that the clip would get if it were sealed again now; written to nothing.
    pub fn name_again(&self, clip: &mut impl Read) -> Result<SealedName, SealError> {
        Ok(self.pass(clip, &mut io::sink())?.name)
    }

    fn pass(&self, clip: &mut impl Read, out: &mut (impl Write + Send)) -> Result<Pass, SealError> {
        pass(clip, self.plaintext_size, &self.prologue, &self.cipher, out)
    }
}

/// Why a clip could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The names do not fit the manifest.
    #[error("cannot describe the clip")]
    Manifest(#[source] TooLarge),
    /// Reading the clip failed.
    #[error("cannot read the clip")]
    Read(#[source] io::Error),
    /// The clip grew or shrank while it was read.
    #[error("the clip's size changed while it was read")]
    SizeChanged,
    /// Writing the sealed file failed.
    #[error("cannot write the sealed file")]
    Write(#[source] io::Error),
}

impl SealError {
    pub(super) fn from_read(error: io::Error) -> SealError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => SealError::SizeChanged,
            _ => SealError::Read(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::super::stream::payload_size;
    use super::*;
    use rand_core::UnwrapErr;
    use sha2::{Digest, Sha256};
    use std::path::Path;

    fn seal_bytes(clip: &[u8], said: u64) -> Result<(Sealed, Vec<u8>), SealError> {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        let recipients = Recipients::new(vec![recipient.parse().expect("valid")]).expect("one");
        let mut manifest = manifest(Path::new("a.mp4"));
        manifest.size_bytes = said;
        let mut out = Vec::new();
        let sealed = seal(&mut &*clip, &mut out, &recipients, &manifest, rng)?;
        Ok((sealed, out))
    }

    #[test]
    fn the_name_is_the_digest_and_the_size_is_as_specified() {
        for size in [0, 1, 65_535, 65_536, 65_537, 131_072] {
            let clip = vec![0x61u8; size];
            let (sealed, out) = seal_bytes(&clip, size as u64).expect("sealed");
            assert_eq!(sealed.name, SealedName(Sha256::digest(&out).into()));
            assert_eq!(sealed.size_bytes, out.len() as u64);
            let mut rest = out.as_slice();
            Header::read(&mut rest).expect("own header");
            assert_eq!(rest.len() as u64, payload_size(size as u64));
            assert_eq!(
                sealed.resealer.name_again(&mut clip.as_slice()).expect("same"),
                sealed.name
            );
        }
    }

    #[test]
    fn another_source_seals_to_another_name() {
        let (sealed, _) = seal_bytes(b"abc", 3).expect("sealed");
        assert_ne!(sealed.resealer.name_again(&mut b"abd".as_slice()).expect("read"), sealed.name);
    }

    #[test]
    fn a_clip_that_grows_or_shrinks_is_refused() {
        assert!(matches!(seal_bytes(b"abcd", 3), Err(SealError::SizeChanged)));
        assert!(matches!(seal_bytes(b"ab", 3), Err(SealError::SizeChanged)));
        assert!(matches!(seal_bytes(b"a", 0), Err(SealError::SizeChanged)));
    }
}
