//! The text of keys: Bech32 as age uses it, with errors that say which character is wrong.

use bech32::Hrp;
use bech32::primitives::checksum::Checksum;
use bech32::primitives::decode::CheckedHrpstring;

/// Longest text that is looked at: a post-quantum recipient has 1959 characters.
const TEXT_SIZE_MAX: usize = 4096;
/// BIP 173's alphabet; the position of a character is its value.
const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// BIP 173's checksum without its limit of 90 characters (age.md: "no length limit").
pub enum AgeBech32 {}

impl Checksum for AgeBech32 {
    type MidstateRepr = u32;
    type CorrectionField = <bech32::Bech32 as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = bech32::Bech32::ROOT_GENERATOR;
    const ROOT_EXPONENTS: std::ops::RangeInclusive<usize> = bech32::Bech32::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = bech32::Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [u32; 5] = bech32::Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: u32 = bech32::Bech32::TARGET_RESIDUE;
}

/// The lower-case text of `bytes` under a prefix.
pub fn encode(prefix: &'static str, bytes: &[u8]) -> String {
    let prefix = Hrp::parse(prefix).expect("a fixed, valid prefix");
    bech32::encode_lower::<AgeBech32>(prefix, bytes).expect("there is no length limit")
}

/// The prefix and the bytes of a lower-case text.
pub fn decode(text: &str) -> Result<(String, Vec<u8>), TextError> {
    if text.len() > TEXT_SIZE_MAX {
        return Err(TextError::TooLong);
    }
    if let Some(at) = text.find(|c: char| !c.is_ascii_graphic()) {
        return Err(TextError::Character { number: text[..at].chars().count() + 1 });
    }
    if let Some(at) = text.find(|c: char| c.is_ascii_uppercase()) {
        return Err(TextError::UpperCase { number: at + 1 });
    }
    let Some((prefix, data)) = text.rsplit_once('1').filter(|(prefix, _)| !prefix.is_empty())
    else {
        return Err(TextError::NoSeparator);
    };
    if let Some(at) = data.bytes().position(|byte| value(byte).is_none()) {
        return Err(TextError::Character { number: prefix.len() + 1 + at + 1 });
    }
    match CheckedHrpstring::new::<AgeBech32>(text) {
        Ok(parsed) => Ok((prefix.to_owned(), parsed.byte_iter().collect())),
        Err(_) => Err(TextError::Checksum { number: wrong_character(prefix, data) }),
    }
}

fn value(byte: u8) -> Option<u32> {
    ALPHABET.iter().position(|known| *known == byte).map(|value| value as u32)
}

/// The number of the one character, counted from 1, whose exchange would make the checksum right.
///
/// The checksum is linear: exchanging a value by `d`, `n` characters before the end, changes it by
/// `d` put through `n` steps. BIP 173 allows to point at the place, not to propose a correction.
fn wrong_character(prefix: &str, data: &str) -> Option<usize> {
    let expanded = prefix.bytes().map(|b| u32::from(b >> 5)).chain([0]);
    let expanded = expanded.chain(prefix.bytes().map(|b| u32::from(b & 31)));
    let values = expanded.chain(data.bytes().filter_map(value));
    let wrong = values.fold(1, |state, value| step(state) ^ value) ^ AgeBech32::TARGET_RESIDUE;
    let mut effects: [u32; 31] = std::array::from_fn(|difference| difference as u32 + 1);
    for before_end in 0..data.len() {
        if effects.contains(&wrong) {
            return Some(prefix.len() + 1 + data.len() - before_end);
        }
        effects = effects.map(step);
    }
    None
}

/// One step of BIP 173's polynomial, for a value of 0.
fn step(state: u32) -> u32 {
    let top = state >> 25;
    let generators = AgeBech32::GENERATOR_SH.iter().enumerate();
    generators.fold((state & 0x1ff_ffff) << 5, |state, (bit, generator)| {
        if top >> bit & 1 == 1 { state ^ generator } else { state }
    })
}

/// Why a text is not Bech32.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A character that no key has.
    #[error("character {number} cannot be in a key")]
    Character {
        /// Counted from 1.
        number: usize,
    },
    /// The checksum does not fit.
    #[error("a typing error{}", number.map_or(String::new(), |n| format!(", at character {n}")))]
    Checksum {
        /// Counted from 1; `None` where more than one character is wrong, or the length.
        number: Option<usize>,
    },
    /// No `1` between prefix and data.
    #[error("there is no `1` behind a prefix such as age")]
    NoSeparator,
    /// Longer than any key.
    #[error("longer than any key")]
    TooLong,
    /// An upper-case letter where all must be lower case.
    #[error("character {number} is in upper case")]
    UpperCase {
        /// Counted from 1.
        number: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn one_wrong_character_is_named_wherever_it_is() {
        assert!(decode(TEXT).is_ok());
        for at in 4..TEXT.len() {
            let mut wrong = TEXT.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            let error = decode(std::str::from_utf8(&wrong).expect("ASCII")).expect_err("wrong");
            assert_eq!(error, TextError::Checksum { number: Some(at + 1) });
        }
    }

    #[test]
    fn other_mistakes_are_told_apart() {
        let character = |number| Err(TextError::Character { number });
        assert_eq!(decode(&TEXT.replace("zvk", "zbk")), character(6));
        assert_eq!(decode(&format!(" {TEXT}")), character(1));
        assert_eq!(decode(&TEXT.replace("zvk", "zük")), character(6));
        assert_eq!(decode(&TEXT.to_uppercase()), Err(TextError::UpperCase { number: 1 }));
        assert_eq!(decode("age"), Err(TextError::NoSeparator));
        assert_eq!(decode("1qqqqqq"), Err(TextError::NoSeparator));
        assert_eq!(decode(&"a".repeat(5000)), Err(TextError::TooLong));
        let cut = &TEXT[..TEXT.len() - 1];
        assert!(matches!(decode(cut), Err(TextError::Checksum { .. })));
        assert!(decode("").is_err() && decode("age1").is_err());
    }
}
