//! A header against the keyring: exactly the stanzas that a clip of its day has. docs/format.md §3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::envelope::TAG_SIZE;
use crate::envelope::header::{Header, Stanza};
use crate::envelope::manifest::{MANIFEST, MANIFEST_SIZE_MAX, PADDING, STANZA_SALT_SIZE};
use crate::envelope::recipient::{
    MLKEM768X25519, P256TAG, Recipient, Recipients, X25519, p256_tag,
};

/// Bytes of a wrapped file key: 16, and the tag.
const WRAPPED_SIZE: usize = 16 + TAG_SIZE;
/// Bytes of X-Wing's encapsulated key: ML-KEM-768's ciphertext and X25519's share.
const XWING_ENC_SIZE: usize = 1088 + 32;
/// Bytes of an uncompressed point of P-256.
const P256_ENC_SIZE: usize = 65;

/// Whether a header has exactly the manifest and one stanza for each recipient; without
/// recipients, whether its stanzas are of allowed kinds.
pub fn compare(header: &Header, recipients: Option<&Recipients>) -> Result<(), String> {
    let mut wrapped = Vec::new();
    let mut manifest_count = 0;
    for stanza in &header.stanzas {
        if stanza.kind == MANIFEST {
            manifest_count += 1;
            expect_manifest(stanza)?;
        } else {
            wrapped.push(Wrapped::parse(stanza)?);
        }
    }
    if manifest_count != 1 {
        return Err(format!("{manifest_count} manifests, where a sealed clip has one"));
    }
    let post_quantum = wrapped.iter().filter(|one| matches!(one, Wrapped::MlKem768X25519)).count();
    if post_quantum != 0 && post_quantum != wrapped.len() {
        return Err("post-quantum and classic recipients in one file".into());
    }
    match recipients {
        Some(recipients) => expect_each(&wrapped, recipients),
        None if wrapped.is_empty() => Err("no recipient".into()),
        None => Ok(()),
    }
}

/// A stanza with the file key, as far as one without keys can read it.
#[derive(Debug, PartialEq, Eq)]
enum Wrapped {
    MlKem768X25519,
    P256Tag { tag: [u8; 4], enc: Vec<u8> },
    X25519,
}

impl Wrapped {
    fn parse(stanza: &Stanza) -> Result<Wrapped, String> {
        let kind = crate::clip::harmless(&stanza.kind);
        let malformed = || format!("a malformed stanza of type {kind}");
        let args: Option<Vec<_>> = stanza.args.iter().map(|arg| BASE64.decode(arg).ok()).collect();
        let args = args.ok_or_else(malformed)?;
        let sizes: Vec<_> = args.iter().map(Vec::len).collect();
        if stanza.body.len() != WRAPPED_SIZE {
            return Err(malformed());
        }
        match (stanza.kind.as_str(), sizes.as_slice()) {
            (MLKEM768X25519, [XWING_ENC_SIZE]) => Ok(Wrapped::MlKem768X25519),
            (X25519, [32]) => Ok(Wrapped::X25519),
            (P256TAG, [4, P256_ENC_SIZE]) => {
                let tag = *args[0].first_chunk().expect("4 bytes");
                Ok(Wrapped::P256Tag { tag, enc: args[1].clone() })
            }
            (MLKEM768X25519 | X25519 | P256TAG, _) => Err(malformed()),
            _ => Err(format!("a stanza of type {kind}, which no dock writes")),
        }
    }

    /// Whether it can be for a recipient. Only a tag says for whom; the other kinds hide it.
    fn fits(&self, recipient: &Recipient) -> bool {
        match (self, recipient) {
            (Wrapped::MlKem768X25519, Recipient::MlKem768X25519(_))
            | (Wrapped::X25519, Recipient::X25519(_)) => true,
            (Wrapped::P256Tag { tag, enc }, Recipient::P256Tag(public)) => {
                p256_tag(enc, public) == *tag
            }
            (
                Wrapped::MlKem768X25519 | Wrapped::P256Tag { .. } | Wrapped::X25519,
                Recipient::MlKem768X25519(_) | Recipient::P256Tag(_) | Recipient::X25519(_),
            ) => false,
        }
    }
}

fn expect_each(wrapped: &[Wrapped], recipients: &Recipients) -> Result<(), String> {
    let count = recipients.iter().count();
    if wrapped.len() != count {
        return Err(format!(
            "sealed to {} recipients, where its keyring names {count} for that day",
            wrapped.len()
        ));
    }
    let mut rest: Vec<_> = wrapped.iter().collect();
    for recipient in recipients.iter() {
        let Some(index) = rest.iter().position(|one| one.fits(recipient)) else {
            return Err(format!("no stanza for the recipient {recipient:?} of its keyring"));
        };
        rest.swap_remove(index);
    }
    Ok(())
}

fn expect_manifest(stanza: &Stanza) -> Result<(), String> {
    let salt = match stanza.args.as_slice() {
        [salt] => BASE64.decode(salt).ok(),
        _ => None,
    };
    let padded = stanza.body.len().checked_sub(TAG_SIZE);
    let is_size = padded
        .is_some_and(|size| size > 0 && size <= MANIFEST_SIZE_MAX && size.is_multiple_of(PADDING));
    match salt {
        Some(salt) if salt.len() == STANZA_SALT_SIZE && is_size => Ok(()),
        Some(_) | None => Err("a malformed manifest".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::FileKey;
    use crate::envelope::manifest::tests::manifest;
    use rand_core::UnwrapErr;
    use std::path::Path;

    const CLASSIC: [&str; 2] = [
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
        "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z",
    ];
    const POST_QUANTUM: &str =
        include_str!("../../keys-example/authority.recipient").trim_ascii_end();

    fn recipients(texts: &[&str]) -> Recipients {
        let parsed = texts.iter().map(|text| text.parse().expect("a recipient"));
        Recipients::new(parsed.collect()).expect("good")
    }

    fn stanzas(texts: &[&str], manifest_count: usize) -> Header {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let key = FileKey::generate(rng);
        let parsed = texts.iter().map(|text| text.parse::<Recipient>().expect("a recipient"));
        let mut stanzas: Vec<_> = parsed.map(|recipient| recipient.wrap(&key, rng)).collect();
        for _ in 0..manifest_count {
            stanzas.push(manifest(Path::new("a")).wrap(&key, rng).expect("fits"));
        }
        Header::new(stanzas, &key)
    }

    #[test]
    fn one_recipient_too_many_or_too_few_is_seen() {
        let both = recipients(&CLASSIC);
        let one = recipients(&CLASSIC[..1]);
        assert_eq!(compare(&stanzas(&CLASSIC, 1), Some(&both)), Ok(()));
        assert!(compare(&stanzas(&CLASSIC, 1), Some(&one)).is_err());
        assert!(compare(&stanzas(&CLASSIC[..1], 1), Some(&both)).is_err());
        let post_quantum = recipients(&[POST_QUANTUM]);
        assert_eq!(compare(&stanzas(&[POST_QUANTUM], 1), Some(&post_quantum)), Ok(()));
        assert!(compare(&stanzas(&CLASSIC[..1], 1), Some(&post_quantum)).is_err());
    }

    #[test]
    fn the_manifest_is_there_once_and_foreign_stanzas_are_not() {
        let one = recipients(&CLASSIC[..1]);
        assert!(compare(&stanzas(&CLASSIC[..1], 0), Some(&one)).is_err());
        assert!(compare(&stanzas(&CLASSIC[..1], 2), Some(&one)).is_err());
        let mut header = stanzas(&CLASSIC[..1], 1);
        let stanza = Stanza { kind: "scrypt".into(), args: vec![], body: vec![0; WRAPPED_SIZE] };
        header.stanzas.push(stanza);
        assert!(compare(&header, Some(&one)).is_err());
        assert!(compare(&header, None).is_err());
        assert!(compare(&stanzas(&[CLASSIC[0], POST_QUANTUM], 1), None).is_err());
    }

    #[test]
    fn a_hardware_key_is_told_by_its_tag() {
        let ours = Wrapped::P256Tag { tag: p256_tag(&[4; 65], &[2; 33]), enc: vec![4; 65] };
        assert!(ours.fits(&Recipient::P256Tag([2; 33])));
        assert!(!ours.fits(&Recipient::P256Tag([3; 33])));
    }
}
