//! The documents: each command that they name is there, and what they show is what comes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::transcript::{Step, Transcript, steps_of};
use super::{at, commands, programs, shell, words};

/// A fenced block, and the line that it begins on.
struct Block {
    language: String,
    line: usize,
    text: String,
}

/// The documents that an operator reads, as names and texts.
fn documents() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(at("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut paths: Vec<PathBuf> = docs.collect();
    paths.sort();
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md"] {
        paths.insert(0, at(name));
    }
    let name = |path: &PathBuf| path.strip_prefix(at("")).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks, and all the rest, with empty lines where the blocks were.
fn blocks(document: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut rest): (Vec<Block>, _) = (Vec::new(), String::new());
    let (mut is_block, mut indent) = (false, 0);
    for (index, line) in document.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (is_block, fence) {
            (false, Some(language)) => {
                let (language, text) = (language.to_owned(), String::new());
                blocks.push(Block { language, line: index + 1, text });
                (is_block, indent) = (true, line.find('`').expect("the fence"));
            }
            (true, Some(_)) => is_block = false,
            (true, None) => {
                let line = line.get(indent..).unwrap_or_default();
                blocks.last_mut().unwrap().text.push_str(&format!("{line}\n"));
            }
            (false, None) => rest.push_str(line),
        }
        rest.push('\n');
    }
    (blocks, rest)
}

/// What is wrong with a line that is for one of our programs; `None` where it is for none.
fn refusal(line: &[String]) -> Option<String> {
    let mut programs = programs().into_iter();
    let program = programs.find(|program| program.get_name() == line[0])?;
    let error = program.try_get_matches_from(line).err()?;
    let is_placeholder = |value: &str| value.contains('…') || value == value.to_uppercase();
    match (error.kind(), error.get(ContextKind::InvalidValue)) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => None,
        // `--authority KEY` stands for a key.
        (ErrorKind::ValueValidation, Some(ContextValue::String(value)))
            if is_placeholder(value) =>
        {
            None
        }
        _ => error.to_string().lines().next().map(str::to_owned),
    }
}

#[test]
fn every_command_in_a_block_of_the_documents_is_one() {
    let mut count = 0;
    let mut problems = Vec::new();
    for (name, text) in documents() {
        for block in blocks(&text).0 {
            let lines = match block.language.as_str() {
                "console" => {
                    steps_of(&block.text).unwrap().into_iter().map(|s| s.command).collect()
                }
                "" => vec![block.text],
                _ => continue,
            };
            for line in lines.iter().flat_map(|text| shell::command_lines(text)) {
                count += usize::from(line[0].starts_with("dockseal"));
                if let Some(why) = refusal(&line) {
                    problems.push(format!("{name}:{}: `{}`: {why}", block.line, line.join(" ")));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 20, "the documents have {count} commands of ours");
}

/// What is wrong with a command in a sentence, which may leave out what matters elsewhere.
fn stale(program: &Command, span: &str) -> Option<String> {
    let mut above: Vec<&Command> = Vec::new();
    let mut command = program;
    for word in span.split_whitespace().skip(1) {
        let ends_list = word.ends_with(',');
        let word = word.trim_matches(['[', ']', ',', '.', ';']);
        if let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) {
            let option = option.split('=').next().unwrap_or_default();
            let has = |command: &Command| {
                command.get_arguments().any(|argument| argument.get_long() == Some(option))
            };
            let of_clap = ["help", "version"].contains(&option);
            if !of_clap && !has(command) && !above.iter().any(|above| has(above)) {
                return Some(format!("`{}` has no --{option}", command.get_name()));
            }
        } else if let Some(below) = command.find_subcommand(word) {
            above.push(command);
            command = below;
        } else if command.is_subcommand_required_set() && is_word(word) {
            return Some(format!("`{}` has no command `{word}`", command.get_name()));
        }
        if ends_list {
            (command, above) = (program, vec![]);
        }
    }
    None
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// What stands in backticks, with its line. An odd one counts to the end of its paragraph only.
fn spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut line = 1;
    for paragraph in text.split("\n\n") {
        for (index, piece) in paragraph.split('`').enumerate() {
            if index % 2 == 1 {
                spans.push((line, piece.replace('\n', " ")));
            }
            line += piece.matches('\n').count();
        }
        line += 2;
    }
    spans
}

#[test]
fn every_command_in_a_sentence_of_the_documents_is_one() {
    let programs = programs();
    let mut count = 0;
    let mut problems = Vec::new();
    for (name, text) in documents() {
        for (line, span) in spans(&blocks(&text).1) {
            let first = span.split(' ').next().unwrap_or_default();
            let program = programs.iter().find(|program| program.get_name() == first);
            let Some(program) = program.filter(|_| span.contains(' ')) else { continue };
            count += 1;
            let why = stale(program, &span);
            problems.extend(why.map(|why| format!("{name}:{line}: `{span}`: {why}")));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 60, "the documents name {count} commands of ours");
    let dock = &programs[0];
    assert!(stale(dock, "dockseal limit set 2 MiB/s --for 2h").is_none());
    assert!(stale(dock, "dockseal list, shove, log").is_some_and(|why| why.contains("shove")));
    assert!(stale(dock, "dockseal status --wetch").is_some_and(|why| why.contains("--wetch")));
}

#[test]
fn the_readme_lists_every_command() {
    let readme = std::fs::read_to_string(at("README.md")).unwrap();
    let spans = spans(&blocks(&readme).1);
    for program in &programs()[..2] {
        let name = program.get_name();
        let begin = format!("{name} ");
        let lists = spans.iter().filter_map(|(_, span)| span.strip_prefix(&begin));
        let list = lists.filter(|list| list.contains(", ")).flat_map(|list| list.split(", "));
        let listed: BTreeSet<_> = list.map(str::to_owned).collect();
        // Not those that only a unit types.
        let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
        let known: BTreeSet<_> = shown.map(|command| command.get_name().to_owned()).collect();
        let missing: Vec<_> = known.difference(&listed).collect();
        assert_eq!(listed, known, "README.md, \"What is built\", `{name} …`; missing: {missing:?}");
    }
}

/// The commands that a line of an output tells to type: behind a colon, a semicolon or a backtick.
fn advised(line: &str) -> Vec<&str> {
    let begins = line.match_indices("dockseal").filter(|(at, _)| {
        let before = line[..*at].trim_end();
        before.ends_with([':', ';', '`', '"'])
    });
    let command = |(at, _)| {
        let rest: &str = &line[at..];
        rest.split([';', ',', ')', '`', '"', ':']).next().unwrap_or_default()
    };
    begins.map(command).collect()
}

#[test]
fn every_command_that_the_programs_tell_to_type_is_one() {
    let programs = programs();
    let mut count = 0;
    let mut problems = Vec::new();
    for step in all_steps() {
        for advised in step.output.lines().flat_map(advised) {
            let first = advised.split(' ').next().unwrap_or_default();
            let program = programs.iter().find(|program| program.get_name() == first);
            let Some(program) = program.filter(|_| advised.contains(' ')) else { continue };
            count += 1;
            let why = stale(program, advised);
            problems.extend(why.map(|why| format!("{}: `{advised}`: {why}", step.command)));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 60, "the transcripts advise {count} commands of ours");
    assert_eq!(
        advised("first: dockseal check; then: dockseal run"),
        ["dockseal check", "dockseal run"]
    );
}

/// All steps of all transcripts.
fn all_steps() -> Vec<Step> {
    let all = programs().iter().flat_map(|program| commands(program, "")).collect::<Vec<_>>();
    let transcripts: Vec<Transcript> =
        all.iter().filter_map(|(words, _)| super::read(words)).collect();
    transcripts.iter().flat_map(Transcript::steps).cloned().collect()
}

#[test]
fn what_the_documents_show_of_a_command_is_what_its_transcript_shows() {
    let known = all_steps();
    let mut problems = Vec::new();
    let mut count = 0;
    for (name, text) in documents() {
        for block in blocks(&text).0.iter().filter(|block| block.language == "console") {
            let steps = steps_of(&block.text).unwrap();
            for shown in steps.iter().filter(|step| !step.output.is_empty()) {
                count += 1;
                // A document may show real words, and may leave out the exit code.
                let output = words::harmonised(&shown.output, "");
                let is_it = |step: &Step| {
                    let is_same = step.command == shown.command;
                    let is_code = shown.code == 0 || shown.code == step.code;
                    is_same && is_code && words::harmonised(&step.output, &output) == output
                };
                if !known.iter().any(is_it) {
                    let (line, command) = (block.line, &shown.command);
                    problems.push(format!(
                        "{name}:{line}: no transcript in tests/commands has `{command}` with this \
                         output: correct it, or write one"
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count > 1, "the documents show the output of {count} commands");
}

/// Shapes of JSON: the document, the heading before the shape, how the command begins, and keys
/// that the document leaves open.
type Shape = (&'static str, &'static str, &'static str, &'static [&'static str]);
const SHAPES: [Shape; 3] = [
    // What else a finding has belongs to its code.
    ("docs/audit.md", "## JSON", "dockseal-audit ", &["log", "sealed"]),
    ("docs/operations.md", "### Many docks", "dockseal-authority fleet ", &[]),
    ("docs/operations.md", "### Moving a history", "dockseal-authority copy ", &[]),
];

/// The keys of JSON or of a shape: what is quoted and no value.
fn keys(json: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let pieces: Vec<&str> = json.split('"').collect();
    for quoted in 0..pieces.len() / 2 {
        let (before, key) = (pieces[2 * quoted].trim_end(), pieces[2 * quoted + 1]);
        if !before.ends_with([':', '|']) && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert(key.to_owned());
        }
    }
    keys
}

/// JSON without the words of the log, which are data.
fn without_words(json: &str) -> String {
    let mut kept = json.to_owned();
    while let Some(at) = kept.find("\"events\": {").map(|at| at + "\"events\"".len()) {
        let end = kept[at..].find('}').expect("it ends") + at + 1;
        kept.replace_range(at..end, "");
    }
    kept
}

#[test]
fn the_shapes_of_json_in_the_documents_have_the_keys_that_come() {
    let steps = all_steps();
    for (name, heading, command, open) in SHAPES {
        let document = std::fs::read_to_string(at(name)).unwrap();
        let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("{name}: {heading}"));
        let (blocks, _) = blocks(section);
        let shape = blocks.iter().find(|block| block.text.starts_with('{')).unwrap();
        let told = keys(&shape.text);
        let is_of_it =
            |step: &&Step| step.command.contains(command) && step.command.contains("--json");
        let outputs: Vec<_> = steps.iter().filter(is_of_it).map(|step| &step.output).collect();
        let mut come: BTreeSet<_> =
            outputs.iter().flat_map(|output| keys(&without_words(output))).collect();
        come.retain(|key| !open.contains(&key.as_str()));
        let only: Vec<_> = told.symmetric_difference(&come).collect();
        assert!(only.is_empty(), "{name}, {heading}: only on one side: {only:?}");
    }
}
