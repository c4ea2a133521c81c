//! Recipients: the public keys that a clip is sealed to. docs/format.md §3.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hpke::kem::{DhP256HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use p256::elliptic_curve::sec1::ToSec1Point;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::header::Stanza;
use super::text::{self, TextError};
use super::{FileKey, derive};

/// The stanza type of [`Recipient::X25519`], also the label of its key derivation (age.md).
pub const X25519: &str = "X25519";
/// HKDF info of the `X25519` stanza (age.md, "The X25519 recipient type").
pub const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// The stanza type of [`Recipient::P256Tag`].
pub const P256TAG: &str = "p256tag";
/// HPKE info of the `p256tag` stanza, and the salt of its tag (age.md).
pub const P256TAG_INFO: &[u8] = b"age-encryption.org/p256tag";
/// The stanza type of [`Recipient::MlKem768X25519`].
pub const MLKEM768X25519: &str = "mlkem768x25519";
/// HPKE info of the `mlkem768x25519` stanza (age.md).
pub const MLKEM768X25519_INFO: &[u8] = b"age-encryption.org/mlkem768x25519";

/// Bytes of an X-Wing public key: ML-KEM-768's 1184 and X25519's 32.
const XWING_PUBLIC_SIZE: usize = 1216;
/// Bytes of a compressed P-256 point (SEC 1 §2.3.3).
const P256_PUBLIC_SIZE: usize = 33;

/// The published recipients of `keys-example/`: anybody has their private halves. The demo seals
/// to them; `run` and the keyring's desk refuse them.
pub const EXAMPLE_RECIPIENTS: [&str; 2] = [
    include_str!("../../keys-example/authority.recipient").trim_ascii_end(),
    include_str!("../../keys-example/classic.recipient").trim_ascii_end(),
];

/// One public key.
#[derive(Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Post-quantum hybrid: X-Wing, ML-KEM-768 with X25519 (`age1pq1…`). The default.
    MlKem768X25519(Box<[u8; XWING_PUBLIC_SIZE]>),
    /// A P-256 key held in hardware (`age1tag1…`); sealed to without a plugin.
    P256Tag([u8; P256_PUBLIC_SIZE]),
    /// Classic elliptic curve (`age1…`, RFC 7748).
    X25519([u8; 32]),
}

impl Recipient {
    /// The stanza with `file_key` wrapped for this recipient.
    pub fn wrap(&self, file_key: &FileKey, rng: &mut impl CryptoRng) -> Stanza {
        match self {
            Recipient::MlKem768X25519(public) => wrap_xwing(public.as_slice(), file_key, rng),
            Recipient::P256Tag(public) => wrap_p256tag(public, file_key, rng),
            Recipient::X25519(public) => wrap_x25519(public, file_key, rng),
        }
    }

    /// Whether its private half is published in `keys-example/`.
    pub fn is_example(&self) -> bool {
        EXAMPLE_RECIPIENTS.contains(&self.to_string().as_str())
    }

    /// Whether it withstands a quantum computer; the two kinds never mix in one file.
    pub fn is_post_quantum(&self) -> bool {
        match self {
            Recipient::MlKem768X25519(_) => true,
            Recipient::P256Tag(_) | Recipient::X25519(_) => false,
        }
    }
}

/// HPKE base mode with HKDF-SHA256 and ChaCha20Poly1305 in one shot (RFC 9180 §6.1): the
/// encapsulated key and the wrapped file key.
fn hpke_seal<K: Kem>(
    public: &[u8],
    info: &[u8],
    file_key: &FileKey,
    rng: &mut impl CryptoRng,
) -> (Vec<u8>, Vec<u8>) {
    type Aead = hpke::aead::ChaCha20Poly1305;
    type Kdf = hpke::kdf::HkdfSha256;
    let public = K::PublicKey::from_bytes(public).expect("checked when parsed");
    // A constant is never dropped: dropping a mode would bring the code that drops private keys,
    // which other modes hold, into the dock's program. tests/it/cannot_open.rs looks for it.
    let mode = const { &OpModeS::<K>::Base };
    let key = file_key.as_bytes();
    let (enc, body) =
        hpke::single_shot_seal_with_rng::<Aead, Kdf, K>(mode, &public, info, key, b"", rng)
            .expect("a valid public key and 16 bytes can always be sealed");
    (enc.to_bytes().to_vec(), body)
}

fn wrap_xwing(public: &[u8], file_key: &FileKey, rng: &mut impl CryptoRng) -> Stanza {
    let (enc, body) = hpke_seal::<XWing>(public, MLKEM768X25519_INFO, file_key, rng);
    Stanza { kind: MLKEM768X25519.into(), args: vec![BASE64.encode(enc)], body }
}

fn wrap_p256tag(public: &[u8], file_key: &FileKey, rng: &mut impl CryptoRng) -> Stanza {
    let point = p256::PublicKey::from_sec1_bytes(public).expect("checked when parsed");
    let uncompressed = point.to_sec1_point(false);
    let (enc, body) =
        hpke_seal::<DhP256HkdfSha256>(uncompressed.as_bytes(), P256TAG_INFO, file_key, rng);
    let args = vec![BASE64.encode(p256_tag(&enc, public)), BASE64.encode(enc)];
    Stanza { kind: P256TAG.into(), args, body }
}

/// What lets the holder of the key find its stanza: the first 4 bytes of HKDF-Extract(salt = the
/// info, ikm = enc ‖ first 4 bytes of SHA-256(compressed point)) (age.md, "p256tag").
pub fn p256_tag(enc: &[u8], public: &[u8]) -> [u8; 4] {
    let fingerprint = Sha256::digest(public);
    let ikm = [enc, &fingerprint[..4]].concat();
    let (prk, _) = hkdf::Hkdf::<Sha256>::extract(Some(P256TAG_INFO), &ikm);
    *prk.first_chunk().expect("32 bytes begin with 4")
}

fn wrap_x25519(public: &[u8; 32], file_key: &FileKey, rng: &mut impl CryptoRng) -> Stanza {
    let mut secret = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(secret.as_mut_slice());
    let ephemeral = StaticSecret::from(*secret);
    let share = PublicKey::from(&ephemeral).to_bytes();
    let shared = ephemeral.diffie_hellman(&PublicKey::from(*public));
    assert!(shared.was_contributory(), "low-order points are refused when parsed");
    let salt = [share, *public].concat();
    let key = derive(shared.as_bytes(), &salt, X25519_INFO);
    let mut body = file_key.as_bytes().to_vec();
    let tag = ChaCha20Poly1305::new(key.as_bytes().into())
        .encrypt_inout_detached(&[0u8; 12].into(), b"", body.as_mut_slice().into())
        .expect("16 bytes are below the limit of ChaCha20-Poly1305");
    body.extend_from_slice(&tag);
    Stanza { kind: X25519.into(), args: vec![BASE64.encode(share)], body }
}

/// Whether every exchange with this point gives zero, whatever the other key (RFC 7748 §6.1).
///
/// Clamped scalars are multiples of the cofactor, so one exchange with any of them tells.
pub fn is_low_order(point: &[u8; 32]) -> bool {
    let any = StaticSecret::from([0x42u8; 32]);
    !any.diffie_hellman(&PublicKey::from(*point)).was_contributory()
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Recipient::MlKem768X25519(public) => text::encode("age1pq", public.as_slice()),
            Recipient::P256Tag(public) => text::encode("age1tag", public),
            Recipient::X25519(public) => text::encode("age", public),
        })
    }
}

impl fmt::Debug for Recipient {
    /// Short: a post-quantum key fills a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "{}…", text.get(..20).unwrap_or(&text))
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
            return Err(RecipientError::Secret);
        }
        let (prefix, bytes) = text::decode(text).map_err(RecipientError::Text)?;
        let recipient = from_parts(&prefix, &bytes)?;
        // Canonical: the one spelling that we would print. Also refuses non-zero padding bits.
        if recipient.to_string() != text {
            return Err(RecipientError::NotCanonical);
        }
        Ok(recipient)
    }
}

fn from_parts(hrp: &str, bytes: &[u8]) -> Result<Recipient, RecipientError> {
    match hrp {
        "age" => {
            let public: [u8; 32] = bytes.try_into().map_err(|_| RecipientError::Size)?;
            if is_low_order(&public) {
                return Err(RecipientError::LowOrder);
            }
            Ok(Recipient::X25519(public))
        }
        "age1pq" => {
            let public: Box<[u8; XWING_PUBLIC_SIZE]> =
                bytes.to_vec().try_into().map_err(|_| RecipientError::Size)?;
            // FIPS 203 §7.2: the encapsulation key check is part of reading the key.
            <XWing as Kem>::PublicKey::from_bytes(public.as_slice())
                .map_err(|_| RecipientError::MlKem)?;
            let x25519 = public.last_chunk::<32>().expect("1216 bytes end in 32");
            if is_low_order(x25519) {
                return Err(RecipientError::LowOrder);
            }
            Ok(Recipient::MlKem768X25519(public))
        }
        "age1tag" => {
            let public: [u8; P256_PUBLIC_SIZE] =
                bytes.try_into().map_err(|_| RecipientError::Size)?;
            let point =
                p256::PublicKey::from_sec1_bytes(&public).map_err(|_| RecipientError::Point)?;
            // SEC 1 has a third form with an x only (first byte 5); age knows the first two.
            if point.to_sec1_point(true).as_bytes() != public {
                return Err(RecipientError::Point);
            }
            Ok(Recipient::P256Tag(public))
        }
        other => Err(RecipientError::Kind(other.to_owned())),
    }
}

/// The recipients of a clip: at least one, none twice, all of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients(Vec<Recipient>);

impl Recipients {
    /// Checks and keeps them.
    pub fn new(recipients: Vec<Recipient>) -> Result<Recipients, RecipientsError> {
        let Some(first) = recipients.first() else { return Err(RecipientsError::Empty) };
        if recipients.iter().any(|r| r.is_post_quantum() != first.is_post_quantum()) {
            return Err(RecipientsError::Mixed);
        }
        for (index, recipient) in recipients.iter().enumerate() {
            if recipients[..index].contains(recipient) {
                return Err(RecipientsError::Twice { index });
            }
        }
        Ok(Recipients(recipients))
    }

    /// The recipients, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Recipient> {
        self.0.iter()
    }
}

/// Why a text is not a recipient.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// A recipient of a type that dockseal does not seal to.
    #[error("recipients of type {0:?} are not supported; expected age1…, age1pq1… or age1tag1…")]
    Kind(String),
    /// A point with which every shared secret is zero.
    #[error("not a usable key: a low-order point")]
    LowOrder,
    /// FIPS 203's check of an encapsulation key failed.
    #[error("not a usable key: its ML-KEM-768 half is invalid")]
    MlKem,
    /// Not the one spelling: padding bits are set.
    #[error("not in the canonical spelling")]
    NotCanonical,
    /// Not a point of P-256.
    #[error("not a usable key: not a point of P-256")]
    Point,
    /// Somebody put a private key where a public one belongs.
    #[error("this is a PRIVATE key (AGE-SECRET-KEY…): it must never be on a dock")]
    Secret,
    /// A key of the wrong length.
    #[error("not a usable key: wrong length")]
    Size,
    /// Not Bech32, or a typing error.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// Why recipients do not make a set that a clip may be sealed to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientsError {
    /// Not one.
    #[error("no recipient: a clip is never sealed to nobody")]
    Empty,
    /// Post-quantum and classic ones together: the file would be as weak as the weakest.
    #[error("post-quantum (age1pq1…) and classic (age1…) recipients must not be mixed")]
    Mixed,
    /// One of them more than once.
    #[error("recipient {} is there twice", index + 1)]
    Twice {
        /// Counted from 0.
        index: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn a_recipient_survives_its_text() {
        let recipient: Recipient = CLASSIC.parse().expect("from age.md's test vectors");
        assert_eq!(recipient.to_string(), CLASSIC);
        let (_, xwing) = <XWing as Kem>::derive_keypair(&[3; 32]);
        let bytes = xwing.to_bytes().to_vec();
        let recipient = from_parts("age1pq", &bytes).expect("a fresh key");
        assert_eq!(recipient.to_string().parse(), Ok(recipient.clone()));
        assert_eq!(recipient.to_string().len(), 1959);
    }

    #[test]
    fn a_typing_error_or_another_kind_of_key_is_refused() {
        let parse = |text: &str| text.parse::<Recipient>().expect_err("a bad recipient");
        assert!(matches!(parse(&CLASSIC.replace("zvk", "zvq")), RecipientError::Text(_)));
        assert!(matches!(parse(&CLASSIC.to_uppercase()), RecipientError::Text(_)));
        assert!(matches!(parse(&format!(" {CLASSIC}")), RecipientError::Text(_)));
        assert_eq!(parse("AGE-SECRET-KEY-1QQQ"), RecipientError::Secret);
        assert!(matches!(parse(""), RecipientError::Text(_)));
        assert_eq!(from_parts("age", &[0; 32]), Err(RecipientError::LowOrder));
        assert_eq!(from_parts("age", &[9; 31]), Err(RecipientError::Size));
        assert_eq!(from_parts("age1tag", &[5; 33]), Err(RecipientError::Point));
        assert_eq!(from_parts("age1tag", &[2; 32]), Err(RecipientError::Size));
        assert_eq!(from_parts("age1pq", &[0xff; 1216]), Err(RecipientError::MlKem));
        assert!(matches!(from_parts("age1tagpq", &[0; 33]), Err(RecipientError::Kind(_))));
    }

    #[test]
    fn a_hardware_key_finds_its_stanza_and_opens_it() {
        let (private, public) = <DhP256HkdfSha256 as Kem>::derive_keypair(&[9; 32]);
        let point = p256::PublicKey::from_sec1_bytes(&public.to_bytes()).expect("a point");
        let compressed = point.to_sec1_point(true);
        let recipient = from_parts("age1tag", compressed.as_bytes()).expect("valid");
        assert_eq!(recipient.to_string().parse(), Ok(recipient.clone()));
        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let file_key = FileKey::generate(rng);
        let stanza = recipient.wrap(&file_key, rng);
        let args: Vec<_> = stanza.args.iter().map(|a| BASE64.decode(a).expect("base64")).collect();
        let [tag, enc] = args.as_slice() else { panic!("two arguments") };
        assert_eq!((stanza.kind.as_str(), stanza.body.len(), enc.len()), (P256TAG, 32, 65));
        assert_eq!(tag.as_slice(), p256_tag(enc, compressed.as_bytes()));
        let enc = Deserializable::from_bytes(enc).expect("a point");
        let opened =
            hpke::single_shot_open::<
                hpke::aead::ChaCha20Poly1305,
                hpke::kdf::HkdfSha256,
                DhP256HkdfSha256,
            >(&hpke::OpModeR::Base, &private, &enc, P256TAG_INFO, &stanza.body, b"");
        assert_eq!(opened.expect("for this key"), file_key.as_bytes());
    }

    #[test]
    fn post_quantum_and_classic_recipients_never_mix() {
        let classic: Recipient = CLASSIC.parse().expect("valid");
        let (_, xwing) = <XWing as Kem>::derive_keypair(&[3; 32]);
        let hybrid = from_parts("age1pq", &xwing.to_bytes()).expect("valid");
        let mixed = Recipients::new(vec![classic.clone(), hybrid]);
        assert_eq!(mixed, Err(RecipientsError::Mixed));
        assert_eq!(Recipients::new(vec![]), Err(RecipientsError::Empty));
        let twice = Recipients::new(vec![classic.clone(), classic]);
        assert_eq!(twice, Err(RecipientsError::Twice { index: 1 }));
    }
}
