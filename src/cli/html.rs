//! Text in a web page.

use crate::clip::harmless;

/// A text that is only text: in an element, and in an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in harmless(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            escaped("<a b='c' d=\"e\">&\n"),
            "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;\n"
        );
        assert!(!escaped("\u{202e}\u{1b}[2J").contains(['\u{202e}', '\u{1b}']));
    }
}
