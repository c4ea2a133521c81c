//! Passphrases: age's `scrypt` stanza, which protects identity files.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use scrypt::Params;
use zeroize::Zeroizing;

use crate::envelope::header::Stanza;

/// The stanza type of passphrases; it must be the only stanza of its file (age.md).
pub const SCRYPT: &str = "scrypt";
/// What the salt of the derivation begins with (age.md, "The scrypt recipient type").
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
/// Bytes of the stanza's salt.
const SALT_SIZE: usize = 16;
/// The most work that a file may ask of us, as a power of two: 4 GiB and some seconds. `age -p`
/// writes 18 (256 MiB) and reads up to 22 as well.
const WORK_FACTOR_MAX: u8 = 22;
/// scrypt's block size and parallelism (age.md).
const BLOCK_SIZE: u32 = 8;
/// See [`BLOCK_SIZE`].
const LANES: u32 = 1;
/// The most bytes of a passphrase.
const TEXT_SIZE_MAX: usize = 4096;

/// What a person keeps in their head, or a script in a file.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// As typed.
    pub fn new(text: Zeroizing<String>) -> Passphrase {
        Passphrase(text)
    }

    /// The same once more, for the next file of several.
    pub fn again(&self) -> Passphrase {
        Passphrase(self.0.clone())
    }

    /// The first line of a file or pipe; `None` where it is empty, too long or not UTF-8.
    pub fn read(input: &mut impl Read) -> std::io::Result<Option<Passphrase>> {
        // Room for all of it at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_SIZE_MAX + 2));
        input.take(TEXT_SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).ok();
        let text = text.filter(|text| !text.is_empty() && text.len() <= TEXT_SIZE_MAX);
        Ok(text.map(|text| Passphrase(Zeroizing::new(text.to_owned()))))
    }
}

/// The arguments of an `scrypt` stanza.
pub(super) struct Work {
    salt: [u8; SALT_SIZE],
    log_n: u8,
}

impl Work {
    /// Exactly a salt and a work factor in canonical decimal, within our bound.
    pub(super) fn parse(stanza: &Stanza) -> Result<Work, &'static str> {
        let [salt, factor] = stanza.args.as_slice() else {
            return Err("it must have two arguments");
        };
        let salt = BASE64.decode(salt).map_err(|_| "its salt is not canonical base64")?;
        let salt = salt.try_into().map_err(|_| "its salt has the wrong length")?;
        let digits = factor.bytes().all(|byte| byte.is_ascii_digit()) && !factor.starts_with('0');
        let log_n = factor.parse().ok().filter(|_| digits);
        let log_n: u8 = log_n.ok_or("its work factor is not a number")?;
        if log_n > WORK_FACTOR_MAX {
            return Err("it asks for more work than is safe (log2 N above 22)");
        }
        Ok(Work { salt, log_n })
    }

    /// The key that the file key is wrapped with. Costs 2^N KiB of memory.
    pub(super) fn key(&self, passphrase: &Passphrase) -> Zeroizing<[u8; 32]> {
        let params = Params::new(self.log_n, BLOCK_SIZE, LANES).expect("bounded when parsed");
        let salt = [SALT_LABEL, &self.salt].concat();
        let mut key = Zeroizing::new([0u8; 32]);
        scrypt::scrypt(passphrase.0.as_bytes(), &salt, &params, key.as_mut_slice())
            .expect("32 bytes are a valid length");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line() {
        let read = |bytes: &[u8]| {
            let read = Passphrase::read(&mut &*bytes).expect("readable");
            read.map(|passphrase| passphrase.0.to_string())
        };
        assert_eq!(read(b"correct horse\nbattery").as_deref(), Some("correct horse"));
        assert_eq!(read(b" a b \r\n").as_deref(), Some(" a b "));
        assert_eq!(read(b"\n"), None);
        assert_eq!(read(b"\xff\n"), None);
        assert_eq!(read(&[b'a'; TEXT_SIZE_MAX + 1]), None);
    }

    #[test]
    fn a_file_may_ask_for_so_much_work_and_no_more() {
        let stanza = |factor: &str| Stanza {
            kind: SCRYPT.into(),
            args: vec![BASE64.encode([0; SALT_SIZE]), factor.into()],
            body: vec![],
        };
        assert!(Work::parse(&stanza("1")).is_ok() && Work::parse(&stanza("22")).is_ok());
        for factor in ["0", "23", "256", "018", "+18", "-1", "1a", "0x12", "", "99999999999"] {
            assert!(Work::parse(&stanza(factor)).is_err(), "{factor}");
        }
    }
}
