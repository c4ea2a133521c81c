//! Names and foreign texts, so that a terminal cannot be tricked with them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path as one line that a terminal cannot be tricked with: control characters, invalid UTF-8
/// and invisible direction marks are written as escapes. Lossy on purpose; `--json` has the bytes.
pub fn printable(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_harmless(character) && character != '\\' {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A text that may quote somebody else's words as one that a terminal cannot be tricked with: as
/// [`printable`], but backslashes and line feeds stay, since the text may have escapes already.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || is_harmless(character) {
            harmless.push(character);
        } else {
            harmless.extend(character.escape_default());
        }
    }
    harmless
}

/// Whether a terminal shows the character and does nothing else: no control, and no bidirectional
/// or zero-width mark, which can make `gpj.exe` look like `exe.jpg`.
pub fn is_harmless(character: char) -> bool {
    let reorders = matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !character.is_control() && !reorders
}

/// Longest name of a dock or a bucket, in bytes: part of every object's key, or of the queue.
pub const NAME_SIZE_MAX: usize = 64;

/// Whether a text can be the name of a dock or a bucket: 1 to 64 of `a-z A-Z 0-9 - _ .`, where a
/// dot does not come first.
pub fn is_plain_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_sized = (1..=NAME_SIZE_MAX).contains(&text.len());
    is_sized && !text.starts_with('.') && text.chars().all(is_allowed)
}

/// The path from its bytes.
pub fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_move_the_cursor() {
        let nasty = path_from_bytes(b"a\n\x1b[31m\xff\xe2\x80\xae\\.mp4".to_vec());
        assert_eq!(printable(&nasty), "a\\n\\u{1b}[31m\\xff\\u{202e}\\\\.mp4");
        assert_eq!(harmless("a\\xff\n\u{9b}31m"), "a\\xff\n\\u{9b}31m");
    }
}
