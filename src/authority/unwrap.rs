//! Unwrapping: from the stanzas of a header to the file key. docs/format.md §3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR};
use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

use super::identity::{Identities, Identity, Kind};
use super::passphrase::{SCRYPT, Work};
use crate::envelope::header::{Header, Stanza};
use crate::envelope::recipient::{MLKEM768X25519, MLKEM768X25519_INFO, X25519, X25519_INFO};
use crate::envelope::recipient::{Recipient, is_low_order};
use crate::envelope::{FILE_KEY_SIZE, FileKey, TAG_SIZE, derive};

/// Bytes of a wrapped file key. Checked before decrypting: a longer body could be made to open
/// under several keys, and tell which of them we hold (age.md, "partitioning oracle attacks").
const WRAPPED_SIZE: usize = FILE_KEY_SIZE + TAG_SIZE;
/// Bytes of an X-Wing ciphertext: ML-KEM-768's 1088 and an X25519 share.
const XWING_ENC_SIZE: usize = 1120;
/// The most stanza types that [`sealed_to`] names, and the most characters of each.
const SUMMARY_MAX: usize = 8;

/// A stanza of one of our types whose form is right.
enum Wrapped<'a> {
    MlKem768X25519 { enc: Box<[u8; XWING_ENC_SIZE]>, body: &'a [u8; WRAPPED_SIZE] },
    X25519 { share: [u8; 32], body: &'a [u8; WRAPPED_SIZE] },
}

/// The file key that one of the identities unwraps; `None` where no stanza is for any of them.
///
/// The key is not to be used before [`Header::verify`]. A malformed stanza of a type that one of
/// the identities opens fails the whole header, wherever it stands; one that does not decrypt is
/// somebody else's. Mixed recipients are read: only a writer refuses them.
pub fn unwrap(header: &Header, identities: &Identities) -> Result<Option<FileKey>, StanzaError> {
    let stanzas = &header.stanzas;
    if stanzas.len() > 1 && stanzas.iter().any(|stanza| stanza.kind == SCRYPT) {
        return Err(StanzaError { kind: SCRYPT, why: "it must be the only stanza" });
    }
    if let ([only], [_, ..]) = (stanzas.as_slice(), identities.passphrases())
        && only.kind == SCRYPT
    {
        return unwrap_scrypt(only, identities);
    }
    let opens = |kind| identities.iter().any(|identity| identity.kind() == kind);
    let mut wrapped = Vec::new();
    for stanza in stanzas {
        match stanza.kind.as_str() {
            X25519 if opens(Kind::Classic) => wrapped.push(parse_x25519(stanza)?),
            MLKEM768X25519 if opens(Kind::PostQuantum) => wrapped.push(parse_xwing(stanza)?),
            // Not ours to judge: age.md lets a reader ignore types that it does not know.
            _ => {}
        }
    }
    for identity in identities.iter() {
        let opened = wrapped.iter().find_map(|wrapped| unwrap_one(wrapped, identity));
        if opened.is_some() {
            return Ok(opened);
        }
    }
    Ok(None)
}

/// The types of the recipients that a header names, for whoever has to find the right identity.
pub fn sealed_to(header: &Header) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for stanza in &header.stanzas {
        let kind: String = stanza.kind.chars().take(SUMMARY_MAX * 4).collect();
        if !kind.starts_with(super::open::MANIFEST_FAMILY) && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.len() > SUMMARY_MAX {
        kinds.truncate(SUMMARY_MAX);
        kinds.push("…".into());
    }
    kinds.join(", ")
}

fn parse_x25519(stanza: &Stanza) -> Result<Wrapped<'_>, StanzaError> {
    let malformed = |why| StanzaError { kind: X25519, why };
    let share: [u8; 32] = parse_argument(stanza, malformed)?;
    if is_low_order(&share) {
        return Err(malformed("its share is a low-order point"));
    }
    Ok(Wrapped::X25519 { share, body: parse_body(stanza, malformed)? })
}

fn parse_xwing(stanza: &Stanza) -> Result<Wrapped<'_>, StanzaError> {
    let malformed = |why| StanzaError { kind: MLKEM768X25519, why };
    let enc: [u8; XWING_ENC_SIZE] = parse_argument(stanza, malformed)?;
    // age.md refuses an all-zero X25519 result inside X-Wing too; hpke 0.15.1 does not look.
    if is_low_order(enc.last_chunk().expect("1120 bytes end in 32")) {
        return Err(malformed("its X25519 share is a low-order point"));
    }
    Ok(Wrapped::MlKem768X25519 { enc: Box::new(enc), body: parse_body(stanza, malformed)? })
}

/// The one argument: canonical base64 of exactly `SIZE` bytes.
fn parse_argument<const SIZE: usize>(
    stanza: &Stanza,
    malformed: impl Fn(&'static str) -> StanzaError,
) -> Result<[u8; SIZE], StanzaError> {
    let [argument] = stanza.args.as_slice() else {
        return Err(malformed("it must have one argument"));
    };
    let bytes = BASE64.decode(argument);
    let bytes = bytes.map_err(|_| malformed("its argument is not canonical base64"))?;
    bytes.try_into().map_err(|_| malformed("its argument has the wrong length"))
}

fn parse_body(
    stanza: &Stanza,
    malformed: impl Fn(&'static str) -> StanzaError,
) -> Result<&[u8; WRAPPED_SIZE], StanzaError> {
    let body = stanza.body.as_slice().try_into();
    body.map_err(|_| malformed("its body is not 32 bytes"))
}

/// `None` where the stanza is not for this identity.
fn unwrap_one(wrapped: &Wrapped<'_>, identity: &Identity) -> Option<FileKey> {
    match (wrapped, identity.recipient()) {
        (Wrapped::X25519 { share, body }, Recipient::X25519(public)) => {
            unwrap_x25519(share, body, identity, public)
        }
        (Wrapped::MlKem768X25519 { enc, body }, Recipient::MlKem768X25519(_)) => {
            unwrap_xwing(enc, body, identity)
        }
        (Wrapped::X25519 { .. }, Recipient::MlKem768X25519(_))
        | (Wrapped::MlKem768X25519 { .. }, Recipient::X25519(_))
        // Held in hardware: a plugin opens it.
        | (_, Recipient::P256Tag(_)) => None,
    }
}

/// Tries each passphrase. One header costs as much as its work factor says, once for each.
fn unwrap_scrypt(stanza: &Stanza, identities: &Identities) -> Result<Option<FileKey>, StanzaError> {
    let malformed = |why| StanzaError { kind: SCRYPT, why };
    let work = Work::parse(stanza).map_err(malformed)?;
    let body = parse_body(stanza, malformed)?;
    let keys = identities.passphrases().iter().map(|passphrase| work.key(passphrase));
    Ok(keys.into_iter().find_map(|key| decrypt_file_key(&key, body)))
}

fn unwrap_x25519(
    share: &[u8; 32],
    body: &[u8; WRAPPED_SIZE],
    identity: &Identity,
    public: &[u8; 32],
) -> Option<FileKey> {
    let shared = identity.x25519().diffie_hellman(&PublicKey::from(*share));
    assert!(shared.was_contributory(), "low-order shares are refused when parsed");
    let salt = [share.as_slice(), public].concat();
    decrypt_file_key(derive(shared.as_bytes(), &salt, X25519_INFO).as_bytes(), body)
}

/// `None` where the key is another one.
fn decrypt_file_key(key: &[u8; 32], body: &[u8; WRAPPED_SIZE]) -> Option<FileKey> {
    let (sealed, tag) = body.split_at(FILE_KEY_SIZE);
    let tag: [u8; TAG_SIZE] = tag.try_into().expect("32 - 16 bytes");
    let mut file_key = Zeroizing::new(sealed.to_vec());
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(&[0u8; 12].into(), b"", file_key.as_mut_slice().into(), &tag.into())
        .ok()?;
    FileKey::from_slice(&file_key)
}

fn unwrap_xwing(
    enc: &[u8; XWING_ENC_SIZE],
    body: &[u8; WRAPPED_SIZE],
    identity: &Identity,
) -> Option<FileKey> {
    type Aead = hpke::aead::ChaCha20Poly1305;
    type Kdf = hpke::kdf::HkdfSha256;
    let enc = <XWing as Kem>::EncappedKey::from_bytes(enc).expect("its length was checked");
    let file_key = hpke::single_shot_open::<Aead, Kdf, XWing>(
        &OpModeR::Base,
        &identity.xwing(),
        &enc,
        MLKEM768X25519_INFO,
        body,
        b"",
    );
    FileKey::from_slice(&Zeroizing::new(file_key.ok()?))
}

/// A stanza that no honest writer makes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header's {kind} stanza is malformed: {why}")]
pub struct StanzaError {
    /// Its type.
    pub kind: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::UnwrapErr;

    fn identity(kind: Kind) -> Identity {
        Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng))
    }

    /// A stanza for each of the two kinds, and the identities that open them.
    fn sealed() -> (FileKey, Vec<Stanza>, [Identity; 2]) {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let file_key = FileKey::generate(rng);
        let identities = [identity(Kind::Classic), identity(Kind::PostQuantum)];
        let wrap = |identity: &Identity| identity.recipient().wrap(&file_key, rng);
        let stanzas = identities.iter().map(wrap).collect();
        (file_key, stanzas, identities)
    }

    fn unwrap_with(stanzas: &[Stanza], identity: Identity) -> Result<bool, StanzaError> {
        let header = Header { stanzas: stanzas.to_vec(), mac: [0; 32] };
        Ok(unwrap(&header, &Identities::one(identity))?.is_some())
    }

    #[test]
    fn mixed_recipients_are_read_by_each_of_their_identities() {
        let (file_key, stanzas, identities) = sealed();
        let header = Header { stanzas, mac: [0; 32] };
        for identity in identities {
            let opened = unwrap(&header, &Identities::one(identity)).expect("well-formed");
            assert!(opened.is_some_and(|key| key.as_bytes() == file_key.as_bytes()));
        }
        assert_eq!(sealed_to(&header), "X25519, mlkem768x25519");
    }

    #[test]
    fn a_stanza_for_somebody_else_is_passed_over() {
        let (_, mut stanzas, [classic, hybrid]) = sealed();
        let (_, strange, _) = sealed();
        for kind in [Kind::Classic, Kind::PostQuantum] {
            assert_eq!(unwrap_with(&strange, identity(kind)), Ok(false));
        }
        stanzas.splice(0..0, strange);
        assert_eq!(unwrap_with(&stanzas, classic), Ok(true));
        assert_eq!(unwrap_with(&stanzas, hybrid), Ok(true));
    }

    #[test]
    fn a_malformed_stanza_of_a_matching_type_fails_the_header() {
        let (_, good, _) = sealed();
        let damages: [fn(&mut Stanza); 5] = [
            |stanza| stanza.body.push(0),
            |stanza| stanza.body.truncate(31),
            |stanza| stanza.args.push("x".into()),
            |stanza| stanza.args[0].push('A'),
            |stanza| {
                let mut bytes = BASE64.decode(&stanza.args[0]).expect("base64");
                bytes.last_chunk_mut::<32>().expect("32 bytes").fill(0);
                stanza.args[0] = BASE64.encode(bytes);
            },
        ];
        for damage in damages {
            for (index, kind) in [Kind::Classic, Kind::PostQuantum].into_iter().enumerate() {
                let mut stanzas = good.clone();
                damage(&mut stanzas[index]);
                let failed = unwrap_with(&stanzas, identity(kind)).expect_err("malformed");
                assert_eq!(failed.kind, kind.to_string());
                let other = [Kind::PostQuantum, Kind::Classic][index];
                assert_eq!(unwrap_with(&stanzas, identity(other)), Ok(false));
            }
        }
    }

    #[test]
    fn a_passphrase_stands_alone() {
        let scrypt = Stanza { kind: SCRYPT.into(), args: vec![], body: vec![] };
        let alone = std::slice::from_ref(&scrypt);
        assert_eq!(unwrap_with(alone, identity(Kind::Classic)), Ok(false));
        let (_, mut stanzas, [classic, _]) = sealed();
        stanzas.push(scrypt);
        assert_eq!(unwrap_with(&stanzas, classic).expect_err("refused").kind, SCRYPT);
    }

    #[test]
    fn a_summary_of_hostile_types_is_short() {
        let stanza = |i: usize| Stanza {
            kind: format!("{i}{}", "x".repeat(900)),
            args: vec![],
            body: vec![],
        };
        let header = Header { stanzas: (0..1000).map(stanza).collect(), mac: [0; 32] };
        assert!(sealed_to(&header).len() < 400);
    }
}
