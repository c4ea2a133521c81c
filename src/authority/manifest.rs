//! The manifest's text: the one form that writers give it, and nothing looser. docs/format.md §5.
//!
//! Two readers that make different things of one text could be told different stories of a clip:
//! the name that one of them takes from it must be the name that every other one takes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::envelope::manifest::Manifest;

/// The manifest that `text` is, padded with spaces; `None` where it is anything else.
///
/// Says no more of what is wrong: the text is secret, and may be in a log after all.
pub fn from_text(text: &[u8]) -> Option<Manifest> {
    let size = text.iter().rposition(|byte| *byte != b' ')? + 1;
    let json = &text[..size];
    // JSON allows tabs and line ends around an object. They are no padding of ours.
    if !(json.starts_with(b"{") && json.ends_with(b"}")) {
        return None;
    }
    serde_json::from_slice::<NoNameTwice>(json).ok()?;
    let object = serde_json::from_slice::<Map<String, Value>>(json).ok()?;
    let fits = |name: &str, rule: fn(&Value) -> bool| object.get(name).is_some_and(rule);
    let all_fit = fits("version", |value| value.as_u64().is_some_and(|version| version > 0))
        && fits("name", is_name)
        && fits("folder", is_name)
        && fits("modified", is_time)
        && fits("sealed", is_time)
        && fits("commitment_salt", is_salt)
        && object.get("camera").is_none_or(Value::is_string);
    if !all_fit {
        return None;
    }
    serde_json::from_value(Value::Object(object)).ok()
}

/// Plain text without control characters, or the bytes of a name and nothing beside them.
fn is_name(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.chars().any(char::is_control),
        Value::Object(object) if object.len() == 1 => {
            object.get("base64").and_then(Value::as_str).is_some_and(|it| BASE64.decode(it).is_ok())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            false
        }
    }
}

/// `2026-11-18T10:46:40.123456789Z`, with 0 to 9 digits of fraction. That there is such a day is
/// left to the type that it is read into.
fn is_time(value: &Value) -> bool {
    const SECONDS: &[u8] = b"dddd-dd-ddTdd:dd:";
    let Some(text) = value.as_str().and_then(|text| text.strip_suffix('Z')) else { return false };
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((most, last)) = seconds.as_bytes().split_at_checked(SECONDS.len()) else {
        return false;
    };
    let shape = |(byte, wanted): (&u8, &u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    // No leap second and no year 0: not every reader has a place for them.
    let last_fits = matches!(last, [b'0'..=b'5', b'0'..=b'9']) && !seconds.starts_with("0000");
    most.iter().zip(SECONDS).all(shape)
        && last_fits
        && fraction.is_none_or(|it| (1..=9).contains(&it.len()) && digits(it))
}

fn is_salt(value: &Value) -> bool {
    let salt = value.as_str().and_then(|text| BASE64.decode(text).ok());
    salt.is_some_and(|salt| salt.len() == 32)
}

/// Any JSON in which no object, however deep, has a name twice: of two, each reader takes another.
struct NoNameTwice;

impl<'de> Deserialize<'de> for NoNameTwice {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<NoNameTwice, D::Error> {
        json.deserialize_any(NoNameTwice)
    }
}

impl<'de> Visitor<'de> for NoNameTwice {
    type Value = NoNameTwice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with no name twice in an object")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<NoNameTwice, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<NoNameTwice, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<NoNameTwice, E> {
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoNameTwice, A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some((name, NoNameTwice)) = map.next_entry::<String, NoNameTwice>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<NoNameTwice, A::Error> {
        while let Some(NoNameTwice) = array.next_element()? {}
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<NoNameTwice, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<NoNameTwice, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<NoNameTwice, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::manifest::tests::manifest;
    use std::path::Path;

    /// What the dock writes is never refused: the form and its writer are compared here, and all
    /// that is refused in `tests/vectors/clip`.
    #[test]
    fn what_the_dock_writes_is_read_with_every_name() {
        for name in ["a.mp4", "", "\u{7f}", "a\nb", "ü.mp4", "\u{85}", "\"\\", "{}", "a "] {
            let mut manifest = manifest(Path::new(name));
            manifest.modified = jiff::Timestamp::from_nanosecond(1).expect("a time");
            manifest.sealed = jiff::Timestamp::from_nanosecond(i64::MIN.into()).expect("a time");
            let mut text = serde_json::to_vec(&manifest).expect("JSON");
            text.resize(text.len().next_multiple_of(512), b' ');
            assert_eq!(from_text(&text), Some(manifest), "{name:?}");
        }
    }
}
