//! Patterns of names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether a name matches a pattern, in which `*` stands for any bytes and nothing else is special.
pub fn name_matches(pattern: &str, name: &OsStr) -> bool {
    let mut rest = name.as_bytes();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("").as_bytes();
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let part = part.as_bytes();
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        let matches = |pattern, name: &str| name_matches(pattern, OsStr::new(name));
        assert!(matches("*.part", "a.mp4.part") && matches("*.part", ".part"));
        assert!(!matches("*.part", "a.partly") && !matches("*.part", "part"));
        assert!(matches(".~*", ".~lock") && !matches(".~*", "a.~"));
        assert!(matches("a*b*c", "a--b--c") && !matches("a*b*c", "acb"));
        assert!(matches("exact", "exact") && !matches("exact", "exactly"));
        assert!(matches("*", "") && matches("**", "x"));
    }
}
