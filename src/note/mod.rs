//! Signed notes (C2SP signed-note): a text that people can read, with signature lines below it.
//!
//! `signed_note` 0.2 was considered; it stands on an older generation of the crypto crates.

mod key;

pub use key::{KeyError, Kind, SignerKey, VerifierKey, fingerprint, is_name};

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Largest note that is looked at, in bytes: a keyring of 400 docks and 400 day keys fits.
pub const NOTE_SIZE_MAX: usize = 4 << 20;
/// Most signature lines that are looked at.
const SIGNATURE_COUNT_MAX: usize = 64;
/// Longest decoded signature: key id, time and Ed25519, with room for kinds to come.
const SIGNATURE_SIZE_MAX: usize = 8 << 10;
/// What begins a signature line: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// A text with signatures, none of which is verified by being here.
#[derive(Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// One signature line.
#[derive(Clone, PartialEq, Eq)]
struct SignatureLine {
    name: String,
    /// Key id and signature.
    bytes: Vec<u8>,
}

impl Note {
    /// Signs a text. It must end with a line feed and have no other control characters.
    pub fn sign(text: String, key: &SignerKey) -> Note {
        assert!(is_text(&text), "a text of ours is fit to be signed");
        let mut note = Note { text, signatures: vec![] };
        let signature = key.sign(note.text.as_bytes());
        note.push(&key.verifier(), &signature);
        note
    }

    /// Adds a witness's signature: seen at `seconds` since 1970 (C2SP tlog-cosignature).
    pub fn cosign(&mut self, key: &SignerKey, seconds: u64) {
        assert!(seconds <= i64::MAX as u64, "as C2SP tlog-cosignature bounds it");
        let mut signature = seconds.to_be_bytes().to_vec();
        signature.extend_from_slice(&key.sign(cosigned(&self.text, seconds).as_bytes()));
        self.push(&key.verifier(), &signature);
    }

    /// Adds the signature lines that a witness answered with.
    pub fn add_lines(&mut self, lines: &str) -> Result<(), NoteError> {
        let lines = parse_lines(lines)?;
        if self.signatures.len() + lines.len() > SIGNATURE_COUNT_MAX {
            return Err(NoteError::Signature);
        }
        self.signatures.extend(lines);
        Ok(())
    }

    fn push(&mut self, key: &VerifierKey, signature: &[u8]) {
        let bytes = [&key.id(), signature].concat();
        self.signatures.push(SignatureLine { name: key.name().to_owned(), bytes });
    }

    /// Reads a note. Its signatures are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        if bytes.len() > NOTE_SIZE_MAX {
            return Err(NoteError::TooLarge);
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        // The signatures stand behind the last empty line; the text may have empty lines too.
        let at = all.rfind("\n\n").ok_or(NoteError::NoSignature)?;
        let (text, lines) = (&all[..=at], &all[at + 2..]);
        if !is_text(text) {
            return Err(NoteError::Text);
        }
        let signatures = parse_lines(lines)?;
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// The text, unverified.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, where this key signed it. A second line of the key that is wrong spoils the note.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        assert_eq!(key.kind(), Kind::Note, "cosignatures have a time");
        let signatures = self.of(key)?;
        let is_signed = |signature: &&[u8]| key.has_signed(self.text.as_bytes(), signature);
        if signatures.iter().all(is_signed) { Ok(&self.text) } else { Err(NoteError::Forged) }
    }

    /// When a witness saw the text, in seconds since 1970; the latest, where it signed often.
    pub fn verify_cosignature(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        assert_eq!(key.kind(), Kind::Cosignature, "only these have a time");
        let mut latest = None;
        for signature in self.of(key)? {
            let (seconds, signature) = signature.split_at_checked(8).ok_or(NoteError::Forged)?;
            let seconds = u64::from_be_bytes(seconds.try_into().expect("split at 8"));
            let is_time = seconds <= i64::MAX as u64;
            if !is_time || !key.has_signed(cosigned(&self.text, seconds).as_bytes(), signature) {
                return Err(NoteError::Forged);
            }
            latest = latest.max(Some(seconds));
        }
        latest.ok_or(NoteError::NotSigned)
    }

    /// The signatures with the name and the id of a key; at least one.
    fn of(&self, key: &VerifierKey) -> Result<Vec<&[u8]>, NoteError> {
        let id = key.id();
        let lines = self.signatures.iter().filter(|line| line.name == key.name());
        let own: Vec<_> = lines.filter_map(|line| line.bytes.strip_prefix(&id)).collect();
        if own.is_empty() { Err(NoteError::NotSigned) } else { Ok(own) }
    }

    /// The signature lines alone, as a witness answers.
    pub fn signature_lines(&self) -> String {
        self.signatures.iter().map(SignatureLine::to_string).collect()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.text, self.signature_lines())
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{SIGNATURE_MARK}{} {}", self.name, BASE64.encode(&self.bytes))
    }
}

/// What a cosigner signs (C2SP tlog-cosignature).
fn cosigned(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

fn is_text(text: &str) -> bool {
    let is_bad = |c: char| c < ' ' && c != '\n';
    text.len() > 1 && text.ends_with('\n') && !text.contains(is_bad)
}

fn parse_lines(lines: &str) -> Result<Vec<SignatureLine>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Signature)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        let line = line.strip_prefix(SIGNATURE_MARK).ok_or(NoteError::Signature)?;
        let (name, encoded) = line.split_once(' ').ok_or(NoteError::Signature)?;
        let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Signature)?;
        if !is_name(name) || bytes.len() <= 4 || bytes.len() > SIGNATURE_SIZE_MAX {
            return Err(NoteError::Signature);
        }
        if signatures.len() == SIGNATURE_COUNT_MAX {
            return Err(NoteError::Signature);
        }
        signatures.push(SignatureLine { name: name.to_owned(), bytes });
    }
    Ok(signatures)
}

/// Why a note is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A line bears the name and id of the key, and the key did not sign this.
    #[error("the signature is forged, or the text was changed")]
    Forged,
    /// No empty line with signatures behind it.
    #[error("not a signed note: there is no signature")]
    NoSignature,
    /// The key did not sign it.
    #[error("not signed by the expected key")]
    NotSigned,
    /// A signature line is malformed, or there are too many.
    #[error("not a signed note: a signature line is malformed")]
    Signature,
    /// Not UTF-8, or with control characters.
    #[error("not a signed note: the text is not plain UTF-8")]
    Text,
    /// Larger than any note of ours.
    #[error("not a signed note: too large")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP signed-note.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const EXAMPLE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUg\
        YN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key(seed: u8) -> SignerKey {
        SignerKey::from_seed("dock-1", Kind::Note, &[seed; 32]).expect("a name")
    }

    #[test]
    fn the_example_of_the_specification_is_verified() {
        let key: VerifierKey = VKEY.parse().expect("a key");
        assert_eq!(key.to_string(), VKEY);
        let note = Note::parse(EXAMPLE.as_bytes()).expect("a note");
        assert!(note.verify(&key).expect("signed").starts_with("If you think"));
        assert_eq!(note.to_string(), EXAMPLE);
        let changed = EXAMPLE.replace("answer", "anstwr");
        let changed = Note::parse(changed.as_bytes()).expect("a note");
        assert_eq!(changed.verify(&key), Err(NoteError::Forged));
    }

    #[test]
    fn keys_survive_their_text_and_typing_errors_are_found() {
        let signer = key(7);
        let again = SignerKey::parse(&signer.to_text()).expect("our own text");
        assert!(again.verifier() == signer.verifier());
        let text = signer.verifier().to_string();
        assert_eq!(text.parse::<VerifierKey>(), Ok(signer.verifier()));
        assert_eq!(text.replace("dock-1", "dock-2").parse::<VerifierKey>(), Err(KeyError::Id));
        assert_eq!(signer.to_text().parse::<VerifierKey>(), Err(KeyError::Private));
        assert!(matches!(SignerKey::parse(&text), Err(KeyError::NotPrivate)));
        for bad in ["", "a", "a+b", "a b+00000000+AQ==", "+00000000+AQ==", "a+00000000+*"] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_key_of_the_same_name_does_not_count() {
        let note = Note::sign("a\n".into(), &key(1));
        assert_eq!(note.verify(&key(1).verifier()), Ok("a\n"));
        assert_eq!(note.verify(&key(2).verifier()), Err(NoteError::NotSigned));
        let spoilt = format!("{note}{}", Note::sign("b\n".into(), &key(1)).signature_lines());
        let spoilt = Note::parse(spoilt.as_bytes()).expect("a note");
        assert_eq!(spoilt.verify(&key(1).verifier()), Err(NoteError::Forged));
    }

    #[test]
    fn a_witness_says_when_it_saw_a_text() {
        let witness = SignerKey::from_seed("w.example", Kind::Cosignature, &[9; 32]).expect("name");
        let mut note = Note::sign("origin\n1\nAA==\n".into(), &key(1));
        note.cosign(&witness, 1_700_000_000);
        let note = Note::parse(note.to_string().as_bytes()).expect("our own");
        assert_eq!(note.verify_cosignature(&witness.verifier()), Ok(1_700_000_000));
        let moved = Note { text: "origin\n2\nAA==\n".into(), signatures: note.signatures.clone() };
        assert_eq!(moved.verify_cosignature(&witness.verifier()), Err(NoteError::Forged));
    }

    #[test]
    fn rubbish_is_refused() {
        let bad: [&[u8]; 8] = [
            b"",
            b"a\n",
            b"a\n\n",
            b"\n\n\xe2\x80\x94 n AAAAAAA=\n",
            b"a\n\n- n AAAAAAA=\n",
            b"a\n\n\xe2\x80\x94 n AAAAAAA=",
            b"a\r\n\n\xe2\x80\x94 n AAAAAAA=\n",
            b"\xff\n\n\xe2\x80\x94 n AAAAAAA=\n",
        ];
        for note in bad {
            assert!(Note::parse(note).is_err(), "{note:?}");
        }
        let large = vec![b'a'; NOTE_SIZE_MAX + 1];
        assert_eq!(Note::parse(&large), Err(NoteError::TooLarge));
    }
}
