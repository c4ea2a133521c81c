//! A Rust source file as the checks see it: text, code without comments, paths, functions.

/// One file, with what the checks ask of it.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Comments blanked, strings kept; every byte at its place.
    pub words: String,
    /// Comments and the content of strings blanked; every byte at its place.
    pub code: String,
}

/// A path such as `crate::dock::queue::Queue` in the code, resolved from the root of the crate.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    /// Counted from 1.
    pub line: usize,
    /// `["dock", "queue", "Queue"]`.
    pub path: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            words: blanked(text, Strings::Kept),
            code: blanked(text, Strings::Blanked),
        }
    }

    /// Whether the path begins with one of these.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The file's module: `["edge", "bucket"]` for `src/edge/bucket.rs`, nothing for a root.
    pub fn module(&self) -> Vec<String> {
        let Some(path) = self.path.strip_prefix("src/") else { return Vec::new() };
        if path == "lib.rs" || path.starts_with("bin/") {
            return Vec::new();
        }
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').map(str::to_owned).collect()
    }

    /// For each line, counted from 0, whether it is in `#[cfg(test)] mod …`.
    pub fn test_lines(&self) -> Vec<bool> {
        if self.path.ends_with("/tests.rs") {
            return self.code.lines().map(|_| true).collect();
        }
        let mut inside = false;
        let mut before = "";
        let mut lines = Vec::new();
        for line in self.code.lines() {
            if before == "#[cfg(test)]" && line.contains("mod ") && line.ends_with('{') {
                inside = true;
            }
            lines.push(inside);
            // rustfmt puts the brace that ends an item at the item's own column.
            inside = inside && line != "}";
            before = line;
        }
        lines
    }

    /// All paths into this crate, `super::` and grouped `use` resolved.
    pub fn mentions(&self) -> Vec<Mention> {
        let tests = self.test_lines();
        let mut mentions = Vec::new();
        let starts = ["crate::", "super::", "dockseal::"];
        let mut at = 0;
        while let Some(found) = self.next_of(&starts, at) {
            let (start, word) = found;
            at = start + word.len();
            let line = self.line_of(start);
            let mut base = Vec::new();
            if word == "super::" {
                base = self.module();
                if tests[line - 1] {
                    base.push("tests".to_owned());
                }
                base.pop();
                while self.code[at..].starts_with("super::") {
                    base.pop();
                    at += "super::".len();
                }
            } else if word == "dockseal::" && !self.path.starts_with("src/bin/") {
                continue;
            }
            let mut paths = Vec::new();
            at += tree(&self.code[at..], base, &mut paths);
            mentions.extend(paths.into_iter().map(|path| Mention { line, path }));
        }
        mentions
    }

    /// Every function: its name, its first line, and how many lines it has.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut functions = Vec::new();
        let mut at = 0;
        while let Some((start, _)) = self.next_of(&["fn "], at) {
            at = start + 3;
            let name: String = self.code[at..].chars().take_while(|c| is_word(*c)).collect();
            let Some(size) = body(&self.code[at..]) else { continue };
            let lines = self.code[at..at + size].matches('\n').count() + 1;
            if !name.is_empty() {
                functions.push((name, self.line_of(start), lines));
            }
        }
        functions
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The next of `words` at a word's beginning.
    fn next_of<'a>(&self, words: &[&'a str], from: usize) -> Option<(usize, &'a str)> {
        let begins = |at: &usize| !self.code[..*at].chars().next_back().is_some_and(is_word);
        let places = words.iter().filter_map(|word| {
            let found = self.code[from..].match_indices(word).map(|(at, _)| from + at);
            found.filter(|at| begins(at)).map(|at| (at, *word)).next()
        });
        places.min()
    }
}

pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Reads `a::{b, c::D}` and gives the bytes that it took.
fn tree(code: &str, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        if code[at..].starts_with('{') {
            at += 1;
            while !code[at..].starts_with('}') && at < code.len() {
                at += tree(&code[at..], path.clone(), paths);
                // Over ` as other` and the comma, to the next one of the group.
                let rest = &code[at..];
                at += rest.find([',', '}']).unwrap_or(rest.len());
                at += usize::from(code[at..].starts_with(','));
                at += code[at..].len() - code[at..].trim_start().len();
            }
            return (at + 1).min(code.len());
        }
        let word: String = code[at..].chars().take_while(|c| is_word(*c)).collect();
        at += word.len();
        if !word.is_empty() {
            path.push(word);
        }
        if !code[at..].starts_with("::") {
            paths.push(path);
            return at;
        }
        at += 2;
    }
}

/// Bytes up to the end of a function's body; `None` for one without a body.
fn body(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut round = 0usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round = round.saturating_sub(1),
            b';' if depth == 0 && round == 0 => return None,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return (depth == 1).then_some(at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strings {
    Blanked,
    Kept,
}

/// The text with a space for every byte of a comment, and of a string where it is not kept.
fn blanked(text: &str, strings: Strings) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        let (end, keep) = token(text, at);
        let keep = match keep {
            Kind::Code => true,
            Kind::Comment => false,
            Kind::Text => strings == Strings::Kept,
        };
        let blank = |byte: &u8| if keep || *byte == b'\n' { *byte } else { b' ' };
        out.extend(bytes[at..end].iter().map(blank));
    }
    String::from_utf8(out).expect("whole tokens are blanked")
}

enum Kind {
    Code,
    Comment,
    Text,
}

/// Where the token at `at` ends, and what it is. Code goes by character.
fn token(text: &str, at: usize) -> (usize, Kind) {
    let rest = &text[at..];
    let after_word = text[..at].chars().next_back().is_some_and(is_word);
    let end_of = |size: Option<usize>| at + size.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return (end_of(rest.find('\n')), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (end_of(rest.find("*/").map(|size| size + 2)), Kind::Comment);
    }
    if rest.starts_with('"') {
        return (end_of(quoted(rest, '"')), Kind::Text);
    }
    let raw = rest.trim_start_matches(['b', 'c']);
    if !after_word && raw.starts_with('r') {
        let hashes = raw[1..].len() - raw[1..].trim_start_matches('#').len();
        if raw[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let begin = rest.len() - raw.len() + 2 + hashes;
            let end = rest[begin..].find(&close).map(|size| begin + size + close.len());
            return (end_of(end), Kind::Text);
        }
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut inside = inside.chars();
        let first = inside.next();
        // Otherwise it is a lifetime.
        if first == Some('\\') || inside.next() == Some('\'') {
            return (end_of(quoted(rest, '\'')), Kind::Text);
        }
    }
    (end_of(rest.chars().next().map(char::len_utf8)), Kind::Code)
}

/// Bytes of a literal with its quotes, backslashes minded.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_strings_are_told_from_code() {
    let text = "let a = \"// no \\\" comment\"; // yes\nlet b = 'x'; /* gone */ let c: &'a u8;\n";
    let source = Source::new("src/x.rs", text);
    assert!(source.words.contains("no \\\" comment") && !source.words.contains("yes"));
    assert!(!source.code.contains("no") && !source.code.contains("gone"));
    assert!(source.code.contains("let c: &'a u8;"));
    let raw = Source::new("src/x.rs", "let r = r#\"a \" crate::b\"#; let q = '\"'; let d = 1;");
    assert!(!raw.code.contains("crate") && raw.code.contains("let d = 1;"));
    assert_eq!(raw.code.len(), raw.text.len());
}

#[test]
fn paths_are_resolved() {
    let text = "use crate::{clip::{Clip, State as S}, edge::fs};\nuse super::queue::Queue;\n\
        fn f() { super::super::error::chain(); $crate::x::y!(); }\n";
    let mentions = Source::new("src/dock/push.rs", text).mentions();
    let paths: Vec<_> = mentions.iter().map(|m| (m.line, m.path.join("::"))).collect();
    let wanted = [
        (1, "clip::Clip"),
        (1, "clip::State"),
        (1, "edge::fs"),
        (2, "dock::queue::Queue"),
        (3, "error::chain"),
        (3, "x::y"),
    ];
    assert_eq!(paths, wanted.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn tests_are_a_module_of_their_own() {
    let text = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\nfn g() {}\n";
    let source = Source::new("src/clip.rs", text);
    assert_eq!(source.test_lines(), [false, false, false, true, true, true, false]);
    assert_eq!(source.mentions()[0].path, ["clip"]);
}

#[test]
fn functions_are_measured() {
    let text = "trait T {\n    fn none(&self);\n}\nfn one() -> [u8; 2] { [0, 1] }\n\
        fn three(\n    f: impl Fn(u8),\n) { if true { \"}\"; } }\n";
    let functions = Source::new("src/x.rs", text).functions();
    assert_eq!(functions, [("one".into(), 4, 1), ("three".into(), 5, 3)]);
}
