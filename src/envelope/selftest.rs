//! A known-answer test of the whole sealing path, run at each start of the dock.
//!
//! Memory that lies, a miscompiled cipher or a wrong build for the processor would seal clips that
//! nobody can open. With a generator of fixed bytes in place of randomness the sealed file is
//! always the same, so its digest is known; the file with the same digest in `tests/vectors/` is
//! opened by other programs in the tests.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, Name, VERSION};
use super::recipient::{RecipientError, Recipients};
use super::seal::{SealError, seal};

/// Bytes of the clip: long enough for the path with three stages, and no multiple of a chunk.
const CLIP_SIZE: u64 = (1 << 20) + 70_001;

/// A test: the recipients that are sealed to, and the digest of the sealed file.
pub struct KnownAnswer {
    /// What it is called in `tests/vectors/`.
    pub name: &'static str,
    /// Published keys of `keys-example/` and a P-256 point whose private half nobody has.
    pub recipients: &'static [&'static str],
    /// SHA-256 of the sealed file in hex.
    pub digest: &'static str,
}

/// All that are run.
pub const KNOWN_ANSWERS: [KnownAnswer; 2] = [
    KnownAnswer {
        name: "selftest-classic",
        recipients: &[
            include_str!("../../keys-example/classic.recipient").trim_ascii_end(),
            "age1tag1q27e642mfqm23lv8k3e7zxgh65vwat7hr2qmqzxsr6auzn5s4we26fc8m4x",
        ],
        digest: "112f46895a600730934476936ee9aa5936e184c7bc8d9c08575dfb9dbb1ffda6",
    },
    KnownAnswer {
        name: "selftest-post-quantum",
        recipients: &[include_str!("../../keys-example/authority.recipient").trim_ascii_end()],
        digest: "a253701d32c3dc1db1815b834a7e0a711d9824782001ab0ef02e20a82a434145",
    },
];

/// Runs all known answers.
pub fn run() -> Result<(), SelfTestError> {
    for answer in &KNOWN_ANSWERS {
        let digest = sealed(answer, &mut io::sink())?;
        if digest != answer.digest {
            return Err(SelfTestError::Digest { name: answer.name, digest });
        }
    }
    Ok(())
}

/// Seals the clip of a known answer into `out` and gives the digest in hex.
pub fn sealed(
    answer: &KnownAnswer,
    out: &mut (impl io::Write + Send),
) -> Result<String, SelfTestError> {
    let recipients = answer.recipients.iter().map(|text| text.parse());
    let recipients = recipients.collect::<Result<_, _>>().map_err(SelfTestError::Recipient)?;
    let recipients = Recipients::new(recipients).expect("a fixed set of one kind");
    let mut rng = FixedBytes { counter: 0 };
    let manifest = Manifest {
        version: VERSION,
        dock: "selftest".into(),
        name: Name::from_path(Path::new("clip.mp4")),
        folder: Name::from_path(Path::new("camera-1")),
        camera: Some("camera-1".into()),
        size_bytes: CLIP_SIZE,
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(&mut rng),
        more: serde_json::Map::new(),
    };
    let mut clip = Clip { at: 0 };
    let sealed = seal(&mut clip, out, &recipients, &manifest, &mut rng)?;
    Ok(sealed.name.to_string())
}

/// A clip of a simple pattern: byte `n` is `n` times 31, plus `n` shifted, in 8 bits.
struct Clip {
    at: u64,
}

impl io::Read for Clip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = buffer.len().min((CLIP_SIZE - self.at) as usize);
        for byte in &mut buffer[..size] {
            *byte = (self.at.wrapping_mul(31) ^ (self.at >> 8)) as u8;
            self.at += 1;
        }
        Ok(size)
    }
}

/// SHA-256 of 0, 1, 2 … as the "randomness". Never used for a clip: nothing outside of this file
/// can make one.
struct FixedBytes {
    counter: u64,
}

impl TryRng for FixedBytes {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for part in bytes.chunks_mut(32) {
            let digest = Sha256::digest(self.counter.to_be_bytes());
            part.copy_from_slice(&digest[..part.len()]);
            self.counter += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for FixedBytes {}

/// The sealing path does not give what it must: nothing may be sealed by this process.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Other bytes came out.
    #[error("self-test {name} failed: it sealed to {digest}")]
    Digest {
        /// Which.
        name: &'static str,
        /// What came out.
        digest: String,
    },
    /// A fixed recipient was refused.
    #[error("a recipient of the self-test was refused")]
    Recipient(#[source] RecipientError),
    /// Sealing itself failed.
    #[error("the self-test could not be sealed")]
    Seal(#[from] SealError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sealing_path_gives_the_known_answers() {
        run().expect("known answers");
    }
}
