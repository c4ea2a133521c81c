//! An identity file as it lies on a disk: plain, or protected by a passphrase.

use std::io::Read;

use zeroize::Zeroizing;

use super::identity::{FILE_SIZE_MAX, Identities, IdentityFileError, read_bounded};
use super::open::{OpenError, open};
use super::passphrase::Passphrase;
use crate::error::chain;

/// What such a file is.
pub enum IdentityFile {
    /// Its identities can be used.
    Plain(Identities),
    /// An age file itself, as `age -p` makes it, armored or not.
    Protected(Protected),
}

/// Identities that a passphrase protects.
pub struct Protected(Zeroizing<Vec<u8>>);

impl IdentityFile {
    /// Reads it, without asking for anything.
    pub fn read(input: &mut impl Read) -> Result<IdentityFile, IdentityFileError> {
        let bytes = read_bounded(input)?;
        let begin = bytes.trim_ascii_start();
        if begin.starts_with(b"age-encryption.org/") || begin.starts_with(b"-----BEGIN AGE") {
            return Ok(IdentityFile::Protected(Protected(bytes)));
        }
        Identities::parse(&bytes).map(IdentityFile::Plain)
    }
}

impl Protected {
    /// Its identities. This takes a second and 256 MiB, more where its maker wanted more.
    pub fn open(&self, passphrase: Passphrase) -> Result<Identities, IdentityFileError> {
        let failed = |error: &dyn std::error::Error| IdentityFileError::Protected(chain(error));
        let opened = open(self.0.as_slice(), &Identities::passphrase(passphrase));
        let (_, payload) = match opened {
            Ok(opened) => opened,
            Err(OpenError::NoIdentity { sealed_to }) if sealed_to == super::passphrase::SCRYPT => {
                return Err(IdentityFileError::WrongPassphrase);
            }
            Err(error) => return Err(failed(&error)),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_SIZE_MAX));
        // What is not larger than its sealed form fits without growing.
        let mut bounded = payload.take(FILE_SIZE_MAX as u64);
        bounded.read_to_end(&mut text).map_err(|error| failed(&error))?;
        Identities::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by age 1.3.2 with a work factor of 10 and the passphrase "correct horse".
    const PROTECTED: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----\n\
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCB0dTFUYmEvZzA5c1BEcDhX\n\
QzVrdStBIDEwClBIRU96MDVzTWxRV2pTcVNtRDR0OXlCSkFTblhtOXFUdHlhM1dL\n\
alhOUmcKLS0tIDhtV2V3My9Pako1VUpsdDZjeTNpNkIvWVNwZWFmNTN1YWVKWUhY\n\
RXVFcmcKw52QI8uRw3VcYIdKJKVnppE1KUcFzWulhCYfis+o03oIOgqt/D+aKgkQ\n\
4tjwXc2K4FzPZt+GAUO9/2HuhW0nkezcRU3TyNIDuguGbKKvr+auPJn6fQ9a/Cm0\n\
OiEJK90j7s+TybvK0PvLCxM=\n\
-----END AGE ENCRYPTED FILE-----\n\
";
    const RECIPIENT: &str = "age1w3tyke4gev25vaxxsvcgqu4484rf6ejpmavs57p6yz6lhy2sfs5swrvwyn";

    fn protected(text: &str) -> Protected {
        match IdentityFile::read(&mut text.as_bytes()).expect("an identity file") {
            IdentityFile::Plain(_) => panic!("it is protected"),
            IdentityFile::Protected(protected) => protected,
        }
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_protected_file_opens_with_its_passphrase_and_no_other() {
        let protected = protected(PROTECTED);
        let opened = protected.open(passphrase("correct horse")).expect("opens");
        let recipients: Vec<_> = opened.iter().map(|one| one.recipient().to_string()).collect();
        assert_eq!(recipients, [RECIPIENT]);
        let error = protected.open(passphrase("correct horsf")).err().expect("refused");
        assert!(matches!(error, IdentityFileError::WrongPassphrase), "{error}");
    }

    #[test]
    fn a_damaged_file_is_told_from_a_wrong_passphrase() {
        let lines: Vec<_> = PROTECTED.lines().collect();
        let damaged = PROTECTED.replace("4tjw", "5tjw");
        let cut = lines[..3].join("\n");
        assert_ne!(damaged, PROTECTED);
        for text in [damaged.as_str(), &cut, "age-encryption.org/v1\n-> X25519 a\n\n"] {
            let error = protected(text).open(passphrase("correct horse")).err().expect("refused");
            assert!(matches!(error, IdentityFileError::Protected(_)), "{error}");
        }
    }

    #[test]
    fn a_plain_file_needs_no_passphrase() {
        let text = "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6";
        let read = IdentityFile::read(&mut text.as_bytes()).expect("an identity file");
        assert!(matches!(read, IdentityFile::Plain(identities) if identities.iter().count() == 1));
    }
}
