//! The words of a line that is typed into a shell, and which command of ours they are for.

use clap::Command;

/// Programs that run another one, named behind these words.
const WRAPPERS: [&[&str]; 2] =
    [&["runuser", "-u", "dockseal", "--"], &["cargo", "run", "--release", "--"]];

/// Each command of some lines as words: without comments, redirections, and what wraps it.
///
/// Knows what documents use: quotes, `\` at the end of a line, `|`, `&&`, `||`, `;`, `&`, `#`.
pub fn command_lines(text: &str) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = vec![vec![]];
    for word in words(text) {
        match word.as_str() {
            "\n" | "|" | "&&" | "||" | ";" | "&" => lines.push(vec![]),
            _ => lines.last_mut().expect("never empty").push(word),
        }
    }
    for line in &mut lines {
        for wrapper in WRAPPERS {
            if line.starts_with(&wrapper.map_words()) {
                let program = if wrapper[0] == "cargo" { vec!["dockseal".into()] } else { vec![] };
                line.splice(..wrapper.len(), program);
            }
        }
        // `VARIABLE=value program …`
        let is_setting = |word: &String| word.split('=').next().is_some_and(is_variable);
        while line.first().is_some_and(|word| word.contains('=') && is_setting(word)) {
            line.remove(0);
        }
        if let Some(at) = line.iter().position(|word| is_redirection(word)) {
            line.truncate(at);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

trait Words {
    fn map_words(&self) -> Vec<String>;
}

impl Words for [&str] {
    fn map_words(&self) -> Vec<String> {
        self.iter().map(|word| (*word).to_owned()).collect()
    }
}

fn is_variable(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn is_redirection(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['>', '<'])
}

/// Words, and operators and line feeds as words of their own.
fn words(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(letter);
            }
            (None, '#') if word.is_none() => while letters.next_if(|c| *c != '\n').is_some() {},
            (None, '\n' | ';' | '|') => {
                words.extend(word.take());
                letters.next_if(|c| letter == '|' && *c == '|');
                words.push(letter.to_string());
            }
            // Not `2>&1`.
            (None, '&') if !word.as_ref().is_some_and(|word| word.ends_with('>')) => {
                words.extend(word.take());
                letters.next_if_eq(&'&');
                words.push("&".to_owned());
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The command of a program that a line is for, as words: `dockseal limit set`.
pub fn addressed(program: &Command, line: &[String]) -> String {
    let (mut command, mut words) = (program, program.get_name().to_owned());
    for word in line.iter().skip(1).filter(|word| !word.starts_with('-')) {
        let Some(below) = command.find_subcommand(word) else { continue };
        command = below;
        words.push_str(&format!(" {}", below.get_name()));
    }
    words
}

#[test]
fn lines_are_taken_as_a_shell_takes_them() {
    let text = "VARIABLE=1 dockseal check | head -3 # a comment\n\n\
        runuser -u dockseal -- dockseal wait --safe && cargo run --release -- demo\n\
        age -d -i FILE CLIP.age > clip.mp4; dockseal run 2>&1 &\n\
        dockseal limit \\\n  set \"2 MiB/s\" '' a#b 'c;d'\n";
    let lines = command_lines(text);
    let lines: Vec<Vec<&str>> =
        lines.iter().map(|line| line.iter().map(String::as_str).collect()).collect();
    let expected: [&[&str]; 7] = [
        &["dockseal", "check"],
        &["head", "-3"],
        &["dockseal", "wait", "--safe"],
        &["dockseal", "demo"],
        &["age", "-d", "-i", "FILE", "CLIP.age"],
        &["dockseal", "run"],
        &["dockseal", "limit", "set", "2 MiB/s", "", "a#b", "c;d"],
    ];
    assert_eq!(lines, expected);
    let line = ["dockseal", "--json", "limit", "set", "2 MiB/s"].map_words();
    assert_eq!(addressed(&dockseal::cli::dock::command(), &line), "dockseal limit set");
}
