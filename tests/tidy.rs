//! The countable rules of the house: floors, owners, words and sizes.
//!
//! To let a file mention another room, or a word appear elsewhere, edit the tables below and give
//! the reason in the commit message.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "tidy/named.rs"]
mod named;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use source::{Source, is_word};

const GROUND: &[&str] = &["clip", "error", "hold", "note", "envelope", "keyring", "custody"];
const EDGE: &[&str] = &["edge"];
/// What the rooms of the dock share: what the config says, what the lifecycle decides, and which
/// rate holds.
const SHARED: &[&str] = &["dock::config", "dock::lifecycle", "dock::limits"];

/// Which rooms a file may mention beside its own. The first row that its path begins with counts.
/// `dock` means the whole wing, `dock::config` one room of it.
const FLOORS: &[(&str, &[&[&str]])] = &[
    // Ground: words and rules.
    ("src/clip", &[&["hold"]]),
    ("src/hold.rs", &[&["clip"]]),
    ("src/error.rs", &[&["hold"]]),
    ("src/envelope/", &[&["clip", "error"]]),
    ("src/note", &[&["clip", "error"]]),
    ("src/keyring", &[&["clip", "error", "envelope", "note"]]),
    // `account` says what a fact, a hold among them, is in the log.
    ("src/custody/", &[&["clip", "error", "hold", "note"]]),
    // The doors.
    ("src/edge/", &[&["clip", "error", "hold"]]),
    // The wings never see each other. In the dock only the agent walks from room to room.
    ("src/dock/agent", &[GROUND, EDGE, &["dock"]]),
    ("src/dock/", &[GROUND, EDGE, SHARED]),
    ("src/authority/", &[GROUND, EDGE]),
    ("src/audit/", &[GROUND, EDGE]),
    // The simulation stands around the whole house, in unit tests only.
    ("src/sim/", &[GROUND, EDGE, &["dock", "authority", "audit"]]),
    // The front desk: one counter a wing.
    ("src/cli/dock", &[GROUND, EDGE, &["dock"]]),
    ("src/cli/demo", &[GROUND, EDGE, &["dock"]]),
    ("src/cli/authority", &[GROUND, EDGE, &["authority"]]),
    ("src/cli/audit", &[GROUND, EDGE, &["audit"]]),
    ("src/cli/", &[GROUND, EDGE]),
    ("src/bin/", &[&["cli"]]),
    // The plan declares the floors and mentions none.
    ("src/lib.rs", &[]),
];

/// Wings whose rooms are kept apart from each other.
const WINGS_OF_ROOMS: &[&str] = &["dock"];

/// What is owned, the words that give it away, and its only homes. Unit tests are free.
const OWNERS: &[(&str, &[&str], &[&str])] = &[
    (
        "SQL",
        &["rusqlite", "SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "CREATE TABLE", "PRAGMA "],
        &["src/dock/queue"],
    ),
    ("the object store", &["object_store"], &["src/edge/bucket"]),
    // Witnesses and monitors speak HTTP of their own kind, and are no buckets.
    (
        "HTTP",
        &["reqwest", "hyper", "hyper_util"],
        &["src/edge/bucket", "src/edge/witness", "src/edge/monitor.rs"],
    ),
    ("the witness's HTTP server", &["axum"], &["src/edge/witness"]),
    ("a whole terminal", &["ratatui", "crossterm"], &["src/cli/dock/status/live"]),
    ("the wall clock", &["Timestamp::now", "SystemTime::now"], &["src/edge/clock.rs"]),
    (
        "exit codes and printing",
        &["process::exit", "ExitCode", "println!", "eprintln!", "print!", "eprint!"],
        &["src/cli/", "src/bin/"],
    ),
    (
        "removing files",
        &["remove_file", "remove_dir", "remove_dir_all", "unlink", "unlinkat"],
        &[
            // Folder::remove itself.
            "src/edge/fs",
            // Its own unfinished copies in a folder bucket.
            "src/edge/bucket/folder.rs",
            // Sealed files, when the lifecycle says so.
            "src/dock/spool",
            "src/dock/erase",
            // Cameras and power cuts, in unit tests.
            "src/sim/",
            // Its own unfinished output.
            "src/authority/restore",
            "src/cli/authority/keygen",
        ],
    ),
    ("removing plaintext", &["Folder::remove", "FOLDER.remove("], &["src/dock/erase"]),
];

/// What must not be, where, and the words that give it away, in any case, tests included.
const BANS: &[(&str, &[&str], &[&str])] = &[
    (
        "the ground floor does no I/O",
        &[
            "src/clip",
            "src/error.rs",
            "src/hold.rs",
            "src/envelope/",
            "src/note",
            "src/keyring",
            "src/custody/",
        ],
        &["std::fs", "std::net", "std::env", "thread::sleep", "std::process", "tokio", "tracing::"],
    ),
    (
        "the dock cannot open a clip, and has no words for it",
        &["src/dock/", "src/cli/dock", "src/cli/demo", "src/bin/dockseal.rs"],
        &["identit", "decrypt", "unwrap_stanza", "unwrap_file_key", "age-secret-key", "unseal"],
    ),
];

/// Where a banned word may stand all the same: the file, what the line has, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("src/cli/", "--identity", "the command that the demo prints for the authority"),
    ("src/cli/dock/demo", "authority.identity", "the published file, only in builds of all roles"),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// A rule that a line breaks.
#[derive(Debug)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

fn finding(source: &Source, line: usize, what: String) -> Finding {
    Finding { path: source.path.clone(), line, what }
}

fn all_checks(source: &Source) -> Vec<Finding> {
    let checks = [floors, owners, bans, names, comments, sizes, first_line];
    checks.iter().flat_map(|check| check(source)).collect()
}

/// `dock::queue` for `["dock", "queue", "Queue"]`, `edge` for `["edge", "fs"]`.
fn room(path: &[String]) -> String {
    let [wing, rest @ ..] = path else { return String::new() };
    match rest {
        // An item of the wing's own `mod.rs` begins with a capital letter.
        [room, ..] if WINGS_OF_ROOMS.contains(&wing.as_str()) && !room.starts_with(is_capital) => {
            format!("{wing}::{room}")
        }
        _ => wing.clone(),
    }
}

fn is_capital(character: char) -> bool {
    character.is_uppercase()
}

fn floors(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let Some((_, rights)) = FLOORS.iter().find(|(place, _)| source.path.starts_with(place)) else {
        return vec![finding(source, 1, "no floor: give it a row in FLOORS".into())];
    };
    let own = room(&source.module());
    let wing = own.split("::").next().unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    for mention in source.mentions() {
        let room = room(&mention.path);
        let is_item_of_root = room.starts_with(is_capital) || room.is_empty();
        let is_right = |right: &str| room == right || room.starts_with(&format!("{right}::"));
        let granted = rights.iter().copied().flatten().any(|right| is_right(right));
        if !(is_item_of_root || room == own || room == wing || granted) {
            let what = format!("may not mention `{room}`");
            findings.push(finding(source, mention.line, what));
        }
    }
    findings
}

fn owners(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let tests = source.test_lines();
    let mut findings = Vec::new();
    for (what, words, homes) in OWNERS {
        if source.is_in(homes) {
            continue;
        }
        for (index, line) in source.words.lines().enumerate() {
            let given_away = words.iter().find(|word| match word.strip_prefix("FOLDER.") {
                Some(call) => is_called_on_a_folder(line, call),
                None => has_word(line, word),
            });
            if let (Some(word), false) = (given_away, tests[index]) {
                let what = format!("`{word}`: {what} belongs to {}", homes.join(", "));
                findings.push(finding(source, index + 1, what));
            }
        }
    }
    findings
}

/// `folder.remove(`, `self.watch_folder.remove(`: told by the name, so it must be a good one.
fn is_called_on_a_folder(line: &str, call: &str) -> bool {
    line.match_indices(&format!(".{call}")).any(|(at, _)| {
        let before = line[..at].trim_end_matches(['(', ')', '?']);
        let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
        before[start..].contains("folder")
    })
}

/// Whether `word` is in `line`, and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_word);
        let after = line[at + word.len()..].chars().next().is_some_and(is_word);
        !before && (!after || !word.ends_with(is_word))
    })
}

fn bans(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, places, words) in BANS {
        if !source.is_in(places) {
            continue;
        }
        for (index, line) in source.words.lines().enumerate() {
            let mut line = line.to_owned();
            for (place, words, _reason) in ALLOWED {
                if source.path.starts_with(place) {
                    line = line.replace(words, "");
                }
            }
            let line = line.to_lowercase();
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                findings.push(finding(source, index + 1, format!("`{word}`: {what}")));
            }
        }
    }
    findings
}

fn names(source: &Source) -> Vec<Finding> {
    const SAYS_NOTHING: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];
    let mut findings = Vec::new();
    let parts = source.path.trim_end_matches(".rs").split('/');
    if let Some(part) = parts.into_iter().find(|part| SAYS_NOTHING.contains(part)) {
        findings.push(finding(source, 1, format!("`{part}` does not say what is in it")));
    }
    for (index, line) in source.code.lines().enumerate() {
        let says_nothing = SAYS_NOTHING.iter().find(|name| {
            has_word(line, &format!("mod {name};")) || has_word(line, &format!("mod {name} {{"))
        });
        if let Some(name) = says_nothing {
            let what = format!("`mod {name}` does not say what is in it");
            findings.push(finding(source, index + 1, what));
        }
    }
    let functions = source.functions().into_iter();
    // One is a word of `object_store`'s trait.
    let is_getter = |name: &str| name.starts_with("get_") && name != "get_opts";
    let getters = functions.filter(|(name, _, _)| is_getter(name));
    findings
        .extend(getters.map(|(_, line, _)| finding(source, line, "`get_` says nothing".into())));
    findings
}

fn comments(source: &Source) -> Vec<Finding> {
    let numbered = |line: &str| {
        let mut after = line.split('#').skip(1);
        after.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let words = ["TODO", "FIXME", "XXX", "HACK"];
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        // This file has the words in its own table.
        let marked = words.iter().any(|word| has_word(line, word));
        if marked && !numbered(line) && source.path != "tests/tidy.rs" {
            findings.push(finding(source, index + 1, "a TODO names an issue: `#12`".into()));
        }
    }
    findings
}

fn sizes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines; a file has at most {FILE_LINES_MAX}");
        findings.push(finding(source, lines, what));
    }
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            let what = format!("{columns} columns; a line has at most {COLUMNS_MAX}");
            findings.push(finding(source, index + 1, what));
        }
    }
    for (name, line, lines) in source.functions() {
        if lines > FUNCTION_LINES_MAX {
            let what = format!("{name} has {lines} lines, more than {FUNCTION_LINES_MAX}");
            findings.push(finding(source, line, what));
        }
    }
    findings
}

/// `//! One sentence.`, behind which only a `docs/…` reference may stand.
fn first_line(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let sentence = first.split(" docs/").next().unwrap_or_default();
    let is_one = sentence.starts_with("//! ") && sentence.ends_with('.');
    if is_one && !sentence.contains(". ") {
        return Vec::new();
    }
    vec![finding(source, 1, "the first line says in one `//!` sentence what the file is".into())]
}

/// All Rust files beneath these folders of the repository.
fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders: Vec<_> = ["src", "tests", "benches", "fuzz/fuzz_targets", "packaging"]
        .map(|folder| root.join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir() else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.push(Source::new(name, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

#[test]
fn the_house_is_tidy() {
    let sources = repository();
    assert!(sources.len() > 10, "the sources were not found");
    let findings: Vec<_> = sources.iter().flat_map(all_checks).collect();
    let lines = findings.iter().map(|f| format!("{}:{}: {}\n", f.path, f.line, f.what));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), lines.collect::<String>());
}

/// Each check would find what it is there for, and lets pass what looks alike.
#[cfg(test)]
mod planted {
    use super::*;

    fn found(path: &str, code: &str) -> Vec<String> {
        let text = format!("//! A file.\n{code}\n");
        all_checks(&Source::new(path, &text)).into_iter().map(|finding| finding.what).collect()
    }

    #[track_caller]
    fn caught(path: &str, code: &str, part: &str) {
        let found = found(path, code);
        assert!(found.iter().any(|what| what.contains(part)), "{path}: {code:?} gave {found:?}");
    }

    #[track_caller]
    fn passes(path: &str, code: &str) {
        assert_eq!(found(path, code), Vec::<String>::new(), "{path}: {code:?}");
    }

    #[test]
    fn a_file_sees_only_the_floors_below() {
        caught("src/clip.rs", "use crate::error::chain;", "may not mention `error`");
        caught("src/envelope/seal.rs", "use crate::edge::fs;", "may not mention `edge`");
        caught("src/edge/fs.rs", "use crate::envelope::seal;", "may not mention `envelope`");
        caught("src/dock/seal.rs", "use crate::{clip::Clip, cli};", "may not mention `cli`");
        caught("src/dock/seal.rs", "use super::queue::Queue;", "may not mention `dock::queue`");
        caught("src/dock/push.rs", "fn f() { crate::authority::open() }", "`authority`");
        caught("src/authority/open.rs", "use crate::dock::config;", "`dock::config`");
        caught("src/cli/dock.rs", "use crate::authority::open;", "may not mention `authority`");
        caught("src/bin/dockseal.rs", "use dockseal::edge::fs;", "may not mention `edge`");
        caught("src/attic.rs", "", "no floor");
        passes("src/dock/agent.rs", "use super::{queue, seal};\nuse crate::dock::push::Push;");
        passes("src/dock/push.rs", "use super::config::Config;\nuse crate::envelope::seal;");
        passes("src/dock/queue/rows.rs", "use super::Queue;\nuse crate::dock::queue::Row;");
        passes("src/authority/open.rs", "use super::identity::Identity;");
        passes("src/edge/bucket.rs", "use super::fs;\n// crate::dock is far above");
        passes("src/bin/dockseal.rs", "use dockseal::cli::dock;");
    }

    #[test]
    fn what_has_an_owner_stays_with_it() {
        caught("src/dock/agent.rs", "use rusqlite::Connection;", "SQL belongs to");
        caught("src/cli/dock.rs", "let q = \"SELECT id FROM clips\";", "SQL belongs to");
        caught("src/dock/push.rs", "use object_store::path::Path;", "object store belongs");
        caught("src/dock/agent.rs", "fn f() { println!(\"x\") }", "printing belongs");
        caught("src/dock/agent.rs", "fn f() { std::process::exit(1) }", "exit codes");
        caught("src/dock/agent.rs", "let n = jiff::Timestamp::now();", "wall clock");
        caught("src/dock/agent.rs", "std::fs::remove_file(p)?;", "removing files");
        caught("src/dock/agent.rs", "self.folder.remove(path)?;", "removing plaintext");
        caught("src/cli/dock.rs", "watch_folder()?.remove(path)?;", "removing plaintext");
        passes("src/dock/erase.rs", "self.folder.remove(path)?;");
        passes("src/dock/agent.rs", "self.waiting.remove(&id);");
        passes("src/dock/queue.rs", "use rusqlite::Connection;");
        passes("src/edge/bucket/error.rs", "use object_store::Error;");
        passes("src/cli/mod.rs", "use std::process::ExitCode; // println! is for others");
        let unit_test = "#[cfg(test)]\nmod tests {\n    fn f() { std::fs::remove_file(p); }\n}";
        passes("src/dock/agent.rs", unit_test);
    }

    #[test]
    fn the_dock_has_no_words_for_opening() {
        caught("src/dock/seal.rs", "fn decrypt_chunk() {}", "cannot open a clip");
        caught("src/cli/dock.rs", "let key = \"AGE-SECRET-KEY-1\";", "cannot open a clip");
        caught("src/dock/config.rs", "struct IdentityFile;", "cannot open a clip");
        caught("src/dock/seal.rs", "fn unwrap_stanza() {}", "cannot open a clip");
        passes("src/cli/dock/demo.rs", "let path = \"authority.identity\";");
        passes("src/cli/demo.rs", "let hint = \"dockseal-authority open --identity FILE\";");
        passes("src/authority/open.rs", "fn decrypt_chunk(identity: &Identity) {}");
    }

    #[test]
    fn the_ground_floor_has_no_doors() {
        caught("src/clip.rs", "use std::fs::File;", "does no I/O");
        caught("src/envelope/seal.rs", "tracing::info!(\"x\");", "does no I/O");
        passes("src/envelope/seal.rs", "use std::io::{Read, Write};");
    }

    #[test]
    fn names_say_something() {
        caught("src/dock/agent.rs", "fn get_clip() {}", "`get_` says nothing");
        caught("src/dock/agent.rs", "mod util;", "does not say what is in it");
        caught("tests/it/common/mod.rs", "", "does not say what is in it");
        passes("src/dock/agent.rs", "fn target_gets() {}\nuse crate::edge::fs;");
    }

    #[test]
    fn a_todo_names_its_issue() {
        caught("src/dock/agent.rs", "// TODO: later", "names an issue");
        passes("src/dock/agent.rs", "// TODO(#12): when the log comes");
    }

    #[test]
    fn nothing_is_too_large() {
        let long = format!("fn f() {{\n{}}}", "    g();\n".repeat(FUNCTION_LINES_MAX - 1));
        caught("src/dock/agent.rs", &long, "f has 71 lines");
        let fits = format!("fn f() {{\n{}}}", "    g();\n".repeat(FUNCTION_LINES_MAX - 2));
        passes("src/dock/agent.rs", &fits);
        caught("src/dock/agent.rs", &"//\n".repeat(FILE_LINES_MAX), "a file has at most");
        caught("src/dock/agent.rs", &format!("// {}", "ä".repeat(98)), "101 columns");
        passes("src/dock/agent.rs", &format!("// {}", "ä".repeat(97)));
    }

    #[test]
    fn a_file_says_what_it_is() {
        let first = |text| !first_line(&Source::new("src/dock/agent.rs", text)).is_empty();
        assert!(first("use std::io;\n") && first("//! Two. Sentences.\n") && first("//! Half a\n"));
        assert!(!first("//! The header. docs/format.md §2.\n") && !first("//! The agent.\n"));
    }
}
