//! Identities: the private keys that open clips, and the files that hold them. docs/format.md §3.

use std::fmt::{self, Write};
use std::io::Read;
use std::str::FromStr;

use bech32::Hrp;
use bech32::primitives::decode::CheckedHrpstring;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, Serializable};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::passphrase::Passphrase;
use super::plugin::{Dialog, PluginError, PluginIdentity, Plugins};
use crate::clip::Timestamp;
use crate::envelope::FileKey;
use crate::envelope::header::Header;
use crate::envelope::recipient::Recipient;
use crate::envelope::text::AgeBech32;

/// Bytes of either kind of private key (age.md: an X25519 scalar; an X-Wing seed).
const SECRET_SIZE: usize = 32;
/// Longest text that is looked at; an identity has 74 or 77 characters.
const TEXT_SIZE_MAX: usize = 128;
/// The most bytes of an identity file: some thousands of day keys.
pub const FILE_SIZE_MAX: usize = 1 << 20;
/// Prefix of a classic identity (age.md, "The X25519 recipient type").
const CLASSIC_HRP: &str = "AGE-SECRET-KEY-";
/// Prefix of a post-quantum identity (age.md, "The mlkem768x25519 recipient type").
const POST_QUANTUM_HRP: &str = "AGE-SECRET-KEY-PQ-";

/// What the identities of age plugins begin with (age-plugin.md).
pub(super) const PLUGIN_PREFIX: &str = "AGE-PLUGIN-";

/// Which kind of identity; the two never mix among the recipients of one clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// X25519 (`AGE-SECRET-KEY-1…`): readable by every age tool since 2019.
    Classic,
    /// X-Wing, ML-KEM-768 with X25519 (`AGE-SECRET-KEY-PQ-1…`). The default.
    PostQuantum,
}

/// One private key. It leaves this type only by [`Identity::reveal_into`].
pub struct Identity {
    kind: Kind,
    secret: Secret,
    recipient: Recipient,
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Secret(Box<[u8; SECRET_SIZE]>);

impl Secret {
    fn zero() -> Secret {
        Secret(Box::new([0u8; SECRET_SIZE]))
    }

    /// The scalar of a classic identity.
    fn x25519(&self) -> StaticSecret {
        StaticSecret::from(*self.0)
    }

    /// The decapsulation key of a post-quantum identity.
    fn xwing(&self) -> <XWing as Kem>::PrivateKey {
        let seed = self.0.as_slice();
        <XWing as Kem>::PrivateKey::from_bytes(seed).expect("32 bytes are always an X-Wing seed")
    }
}

impl Identity {
    /// A fresh one.
    pub fn generate(kind: Kind, rng: &mut impl CryptoRng) -> Identity {
        let mut secret = Secret::zero();
        rng.fill_bytes(secret.0.as_mut_slice());
        Identity::new(kind, secret)
    }

    fn new(kind: Kind, secret: Secret) -> Identity {
        let recipient = match kind {
            Kind::Classic => Recipient::X25519(PublicKey::from(&secret.x25519()).to_bytes()),
            Kind::PostQuantum => {
                let public = XWing::sk_to_pk(&secret.xwing()).to_bytes().to_vec();
                let public = public.try_into().expect("an X-Wing public key has one size");
                Recipient::MlKem768X25519(public)
            }
        };
        Identity { kind, secret, recipient }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The scalar of a classic identity.
    pub(super) fn x25519(&self) -> StaticSecret {
        assert_eq!(self.kind, Kind::Classic, "asked for its kind before");
        self.secret.x25519()
    }

    /// The decapsulation key of a post-quantum identity.
    pub(super) fn xwing(&self) -> <XWing as Kem>::PrivateKey {
        assert_eq!(self.kind, Kind::PostQuantum, "asked for its kind before");
        self.secret.xwing()
    }

    /// Appends the secret as text (`AGE-SECRET-KEY-…`): for a file that is written on purpose.
    ///
    /// The caller's buffer should have room, so that growing leaves no copy behind.
    pub fn reveal_into(&self, out: &mut Zeroizing<String>) {
        let hrp = match self.kind {
            Kind::Classic => CLASSIC_HRP,
            Kind::PostQuantum => POST_QUANTUM_HRP,
        };
        let hrp = Hrp::parse(hrp).expect("a fixed, valid prefix");
        let secret = self.secret.0.as_slice();
        bech32::encode_upper_to_fmt::<AgeBech32, String>(&mut *out, hrp, secret)
            .expect("32 bytes are always Bech32");
    }

    /// An identity file as `age-keygen` writes it: when, the public half, the secret.
    pub fn file_text(&self, created: Timestamp) -> Zeroizing<String> {
        // A post-quantum recipient has 1959 characters.
        let mut text = Zeroizing::new(String::with_capacity(4096));
        writeln!(text, "# created: {created}\n# public key: {}", self.recipient)
            .expect("a String takes any text");
        self.reveal_into(&mut text);
        text.push('\n');
        text
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    /// Takes only the one spelling that [`Identity::reveal_into`] writes.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.starts_with(PLUGIN_PREFIX) {
            return Err(IdentityError::Plugin);
        }
        if text.starts_with("age1") {
            return Err(IdentityError::Public);
        }
        if text.len() > TEXT_SIZE_MAX || !text.to_ascii_uppercase().starts_with(CLASSIC_HRP) {
            return Err(IdentityError::NotAnIdentity);
        }
        // The parser's own error may quote the secret; ours never does.
        let parsed = CheckedHrpstring::new::<AgeBech32>(text).map_err(|_| IdentityError::Text)?;
        let kind = match parsed.hrp().to_string().to_ascii_uppercase().as_str() {
            CLASSIC_HRP => Kind::Classic,
            POST_QUANTUM_HRP => Kind::PostQuantum,
            _ => return Err(IdentityError::NotAnIdentity),
        };
        let mut bytes = parsed.byte_iter();
        let mut secret = Secret::zero();
        for byte in secret.0.iter_mut() {
            *byte = bytes.next().ok_or(IdentityError::Size)?;
        }
        if bytes.next().is_some() {
            return Err(IdentityError::Size);
        }
        let identity = Identity::new(kind, secret);
        let mut canonical = Zeroizing::new(String::with_capacity(TEXT_SIZE_MAX));
        identity.reveal_into(&mut canonical);
        // Also refuses non-zero padding bits.
        if *canonical != text {
            return Err(IdentityError::NotCanonical);
        }
        Ok(identity)
    }
}

/// Why a text is not an identity. No variant repeats the text: it may be most of a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Neither of the two kinds.
    #[error("not an identity: expected AGE-SECRET-KEY-1… or AGE-SECRET-KEY-PQ-1…")]
    NotAnIdentity,
    /// Not the one spelling: lower case, or padding bits set.
    #[error("not in the canonical spelling: upper case, no spaces")]
    NotCanonical,
    /// A key that only another program can use, and not in the one spelling.
    #[error("a malformed identity of an age plugin: expected AGE-PLUGIN-NAME-1… in upper case")]
    Plugin,
    /// Somebody gave the public half.
    #[error("this is a public key (age1…); the private one is needed to open")]
    Public,
    /// A key of the wrong length.
    #[error("not a usable key: wrong length")]
    Size,
    /// Not Bech32, or its checksum does not fit.
    #[error("a typing error: the checksum does not fit")]
    Text,
}

/// What clips are opened with: keys, and whoever else can unwrap a file key. At least one.
#[derive(Default)]
pub struct Identities {
    keys: Vec<Identity>,
    passphrases: Vec<Passphrase>,
    plugins: Plugins,
}

impl Identities {
    /// One alone.
    pub fn one(identity: Identity) -> Identities {
        Identities { keys: vec![identity], ..Identities::default() }
    }

    /// A passphrase alone: for files that were made with `age -p`.
    pub fn passphrase(passphrase: Passphrase) -> Identities {
        Identities { passphrases: vec![passphrase], ..Identities::default() }
    }

    /// Reads an identity file: one a line; blank lines and lines that begin with `#` are skipped.
    pub fn read(input: &mut impl Read) -> Result<Identities, IdentityFileError> {
        Identities::parse(&read_bounded(input)?)
    }

    /// As [`Identities::read`], from its bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Identities, IdentityFileError> {
        let text = std::str::from_utf8(bytes).map_err(|_| IdentityFileError::NotText)?;
        let mut identities = Identities::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let added = if line.starts_with(PLUGIN_PREFIX) {
                line.parse().map(|identity: PluginIdentity| identities.plugins.add(identity))
            } else {
                line.parse().map(|identity| identities.keys.push(identity))
            };
            added.map_err(|error| IdentityFileError::Line { line: index + 1, error })?;
        }
        if identities.keys.is_empty() && identities.plugins.is_empty() {
            return Err(IdentityFileError::Empty);
        }
        Ok(identities)
    }

    /// Adds those of another file.
    pub fn append(&mut self, mut others: Identities) {
        self.keys.append(&mut others.keys);
        self.passphrases.append(&mut others.passphrases);
        self.plugins.append(others.plugins);
    }

    /// Whom plugins may ask for a PIN or tell to touch a key; else they are told that nobody is.
    pub fn set_dialog(&mut self, dialog: Box<dyn Dialog>) {
        self.plugins.set_dialog(dialog);
    }

    /// The keys, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.keys.iter()
    }

    pub(super) fn passphrases(&self) -> &[Passphrase] {
        &self.passphrases
    }

    /// The file key that a plugin unwraps; `None` where there is none that could. It may wait for
    /// a person, so it comes last.
    pub(super) fn ask_plugins(&self, header: &Header) -> Result<Option<FileKey>, PluginError> {
        self.plugins.unwrap(&header.stanzas)
    }
}

/// All of a small file, in a buffer that never moved: growing would leave copies of secrets behind.
pub(super) fn read_bounded(input: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, IdentityFileError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_SIZE_MAX + 64));
    let mut bounded = input.take(FILE_SIZE_MAX as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(IdentityFileError::Read)?;
    if bytes.len() > FILE_SIZE_MAX {
        return Err(IdentityFileError::TooLarge);
    }
    Ok(bytes)
}

/// Why a file holds no identities that can be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// Comments and blank lines only.
    #[error("the file holds no identity")]
    Empty,
    /// One of its lines is wrong.
    #[error("line {line}: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: IdentityError,
    },
    /// Not UTF-8.
    #[error("the file is not text")]
    NotText,
    /// Protected by a passphrase, but not the file that it was.
    #[error("the protected file cannot be opened: {0}")]
    Protected(String),
    /// Reading it failed.
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    /// Larger than [`FILE_SIZE_MAX`].
    #[error("larger than {FILE_SIZE_MAX} bytes: not an identity file")]
    TooLarge,
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
}

impl fmt::Display for Kind {
    /// The stanza type that it opens, as age.md names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Classic => crate::envelope::recipient::X25519,
            Kind::PostQuantum => crate::envelope::recipient::MLKEM768X25519,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::UnwrapErr;

    /// Its recipient below is what `age-keygen -y` of age 1.1.1 says.
    const CLASSIC: &str =
        "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6";

    fn identity(kind: Kind) -> Identity {
        Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng))
    }

    fn error(text: &str) -> IdentityError {
        text.parse::<Identity>().err().expect("a bad identity")
    }

    fn file_error(text: &[u8]) -> IdentityFileError {
        Identities::read(&mut &*text).err().expect("a bad identity file")
    }

    #[test]
    fn an_identity_survives_its_file() {
        for kind in [Kind::Classic, Kind::PostQuantum] {
            let identity = identity(kind);
            let text = identity.file_text(Timestamp(0));
            assert!(text.starts_with("# created: 1970-01-01T00:00:00Z\n# public key: age1"));
            let read = Identities::read(&mut text.as_bytes()).expect("own file");
            let recipients: Vec<_> = read.iter().map(Identity::recipient).collect();
            assert_eq!(recipients, [identity.recipient()]);
            assert_eq!(recipients[0].to_string().parse().as_ref(), Ok(recipients[0]));
        }
    }

    #[test]
    fn a_known_identity_has_its_known_recipient() {
        let identity: Identity = CLASSIC.parse().expect("valid");
        let recipient = "age1w3tyke4gev25vaxxsvcgqu4484rf6ejpmavs57p6yz6lhy2sfs5swrvwyn";
        assert_eq!(identity.recipient().to_string(), recipient);
    }

    #[test]
    fn comments_blank_lines_crlf_and_several_identities_are_taken() {
        let text = format!("# a\r\n\r\n{CLASSIC}\r\n  \n#b\n{CLASSIC}");
        let mut read = Identities::read(&mut text.as_bytes()).expect("an identity file");
        read.append(Identities::one(identity(Kind::PostQuantum)));
        let kinds: Vec<_> = read.iter().map(Identity::kind).collect();
        assert_eq!(kinds, [Kind::Classic, Kind::Classic, Kind::PostQuantum]);
    }

    #[test]
    fn a_bad_identity_says_what_is_wrong_and_never_quotes_it() {
        assert_eq!(error(&CLASSIC.replace("XMWW", "XMWQ")), IdentityError::Text);
        assert_eq!(error(&CLASSIC.to_lowercase()), IdentityError::NotCanonical);
        assert_eq!(error(&CLASSIC[..40]), IdentityError::Text);
        assert_eq!(error(&format!(" {CLASSIC}")), IdentityError::NotAnIdentity);
        assert_eq!(error(&"A".repeat(5000)), IdentityError::NotAnIdentity);
        assert_eq!(error("AGE-PLUGIN-YUBIKEY-1QQQ"), IdentityError::Plugin);
        assert_eq!(error("age1qqq"), IdentityError::Public);
        let hrp = Hrp::parse(CLASSIC_HRP).expect("valid");
        let long = bech32::encode_upper::<AgeBech32>(hrp, &[7; 33]).expect("encoded");
        assert_eq!(error(&long), IdentityError::Size);
        let short = bech32::encode_upper::<AgeBech32>(hrp, &[7; 31]).expect("encoded");
        assert_eq!(error(&short), IdentityError::Size);
        let other = Hrp::parse("AGE-SECRET-KEY-XX-").expect("valid");
        let other = bech32::encode_upper::<AgeBech32>(other, &[7; 32]).expect("encoded");
        assert_eq!(error(&other), IdentityError::NotAnIdentity);
    }

    #[test]
    fn a_bad_identity_file_names_the_line() {
        let text = format!("# mine\n{CLASSIC}\nhello\n");
        let IdentityFileError::Line { line, error } = file_error(text.as_bytes()) else {
            panic!("expected the line");
        };
        assert_eq!((line, error), (3, IdentityError::NotAnIdentity));
        assert!(matches!(file_error(b"# nothing\n\n"), IdentityFileError::Empty));
        assert!(matches!(file_error(b"\xff"), IdentityFileError::NotText));
        let huge = vec![b'\n'; FILE_SIZE_MAX + 1];
        assert!(matches!(file_error(&huge), IdentityFileError::TooLarge));
    }
}
