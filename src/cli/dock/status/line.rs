//! Lines of a screen in a few tones, and how they are painted.

use std::io::{self, Write};

use crate::clip::is_harmless;

/// What a piece of text means; colour only repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Good,
    Plain,
    Quiet,
    Strong,
    Warning,
}

impl Tone {
    /// Select Graphic Rendition, ECMA-48 §8.3.117.
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Bad => Some("1;31"),
            Tone::Good => Some("32"),
            Tone::Plain => None,
            Tone::Quiet => Some("2"),
            Tone::Strong => Some("1"),
            Tone::Warning => Some("33"),
        }
    }
}

/// Whether colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Colours,
    None,
}

impl Paint {
    /// On a terminal, unless its user wants none: <https://no-color.org>.
    pub(super) fn of_terminal(is_terminal: bool) -> Paint {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match is_terminal && !is_set("NO_COLOR") && !is_dumb {
            true => Paint::Colours,
            false => Paint::None,
        }
    }
}

/// One line, piece by piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    /// A line that begins with a piece.
    pub(super) fn of(tone: Tone, text: impl Into<String>) -> Line {
        Line::default().and(tone, text)
    }

    /// A label in the first ten columns, and a text.
    pub(super) fn labelled(label: &str, tone: Tone, text: impl Into<String>) -> Line {
        Line::of(Tone::Strong, format!("{label:10}")).and(tone, text)
    }

    /// One more piece. What a terminal obeys becomes spaces.
    pub(super) fn and(mut self, tone: Tone, text: impl Into<String>) -> Line {
        let text: String = text.into();
        self.0.push((tone, text.chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect()));
        self
    }

    /// So many columns of it; what is cut off is told by `…`.
    pub(super) fn cut(mut self, width: usize) -> Line {
        let length: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        if length <= width {
            return self;
        }
        let mut room = width.saturating_sub(1);
        for (_, text) in &mut self.0 {
            let kept: String = text.chars().take(room).collect();
            room -= kept.chars().count();
            *text = kept;
        }
        self.and(Tone::Quiet, "…")
    }

    /// Its pieces.
    pub(super) fn pieces(&self) -> &[(Tone, String)] {
        &self.0
    }

    pub(super) fn print(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        for (tone, text) in &self.0 {
            match (paint, tone.code()) {
                (Paint::Colours, Some(code)) => write!(out, "\u{1b}[{code}m{text}\u{1b}[0m")?,
                (Paint::Colours, None) | (Paint::None, _) => write!(out, "{text}")?,
            }
        }
        writeln!(out)
    }
}

/// A text in exactly so many columns; what is cut off at its end is told by `…`.
pub(super) fn fitted(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => format!("{text:width$}"),
    }
}

/// As [`fitted`], for paths: their ends tell them apart, their beginnings are often the same.
pub(super) fn path_fitted(path: &str, width: usize) -> String {
    let length = path.chars().count();
    match length > width {
        true => ['…'].into_iter().chain(path.chars().skip(length + 1 - width)).collect(),
        false => format!("{path:width$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_painted_piece_by_piece() {
        let line = Line::of(Tone::Bad, "ab\u{1b}c").and(Tone::Plain, "defgh");
        let printed = |line: &Line, paint| {
            let mut out = Vec::new();
            line.print(&mut out, paint).expect("printed");
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(printed(&line, Paint::None), "ab cdefgh\n");
        assert_eq!(printed(&line, Paint::Colours), "\u{1b}[1;31mab c\u{1b}[0mdefgh\n");
        assert_eq!(printed(&line.clone().cut(9), Paint::None), "ab cdefgh\n");
        assert_eq!(printed(&line.clone().cut(6), Paint::None), "ab cd…\n");
        assert_eq!(printed(&line.cut(3), Paint::None), "ab…\n");
    }

    #[test]
    fn a_name_that_is_too_long_keeps_what_tells_it_apart() {
        assert_eq!(
            (fitted("primary", 9), fitted("primary", 5)),
            ("primary  ".into(), "prim…".into())
        );
        assert_eq!(path_fitted("/srv/dock/left", 6), "…/left");
        assert_eq!(path_fitted("/srv", 6), "/srv  ");
    }
}
