//! The man pages and completions: whole, well formed, and of the programs that are there.

#[path = "../../packaging/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use dockseal::dock::config::Config;

use crate::support::scratch;
use crate::support::tools::{Tool, needs};

fn written(folder: &Path) -> Vec<PathBuf> {
    let pages = pages::all("2026-11-22").unwrap();
    let write = |page: pages::Page| {
        let path = folder.join(page.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page.text).unwrap();
        path
    };
    pages.into_iter().map(write).collect()
}

fn ends_with(path: &Path, ending: &str) -> bool {
    path.to_str().unwrap().ends_with(ending)
}

/// What the parser itself says that it knows, where it is given a key that nobody knows.
fn parsers_keys(table: &str) -> BTreeSet<String> {
    let error = Config::parse(&format!("{table}\nno-such-key = 1\n")).unwrap_err();
    let message = &error.problems[0].message;
    let known = message.split_once("expected ").unwrap_or_else(|| panic!("{message}")).1;
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table that a row of docs/operations.md or a section of the page is about, and its keys.
fn keys_of_the_parser() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let tables = ["", "[[watch]]", "[[bucket]]", "[witness]", "[metrics]"];
    for table in tables {
        let name = table.trim_matches(['[', ']']);
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        keys.extend(parsers_keys(table).into_iter().map(|key| format!("{prefix}{key}")));
    }
    // These are tables, and stand as their headings.
    for table in ["watch", "bucket", "witness", "metrics"] {
        assert!(keys.remove(table), "{table} is no key");
    }
    keys
}

/// `.SS [[watch]]` and what follows it: `watch.path`.
fn keys_of_the_page(page: &str) -> BTreeSet<String> {
    let (mut keys, mut prefix) = (BTreeSet::new(), String::new());
    let page = page.split(".SH KEYS").nth(1).unwrap().split("\n.SH ").next().unwrap();
    for section in page.split("\n.SS ").skip(1) {
        let name = section.lines().next().unwrap();
        prefix.clear();
        if name.starts_with('[') {
            prefix = format!("{}.", name.trim_matches(['[', ']']));
        }
        for item in section.split("\n.TP\n.B ").skip(1) {
            keys.insert(format!("{prefix}{}", item.lines().next().unwrap()));
        }
    }
    keys
}

/// The first cells of the tables in the section on the config.
fn keys_of_the_operations() -> BTreeSet<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let section = docs.split("\n## 2. The config").nth(1).unwrap().split("\n## ").next().unwrap();
    let (config, line) = section.split_once("**Options of the line**").unwrap();
    let cells = |text: &str, prefix: &str| -> Vec<String> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let names = rows.map(|row| format!("{prefix}{}", row.split('`').next().unwrap()));
        names.collect()
    };
    let mut keys: BTreeSet<_> = cells(config, "").into_iter().collect();
    keys.extend(cells(line, "bucket.options."));
    for table in ["[[watch]]", "[[bucket]]", "[witness]", "[metrics]"] {
        assert!(keys.remove(table), "{table}");
    }
    let short = ["witness.url", "witness.key", "metrics.listen", "metrics.allow_remote"];
    keys.extend(short.map(str::to_owned));
    keys
}

#[test]
fn the_page_of_the_config_has_every_key_and_no_other() {
    let pages = pages::all("2026-11-22").unwrap();
    let page = pages.iter().find(|page| ends_with(&page.path, "dockseal.toml.5")).unwrap();
    let page = keys_of_the_page(std::str::from_utf8(&page.text).unwrap());
    let is_of_the_line = |key: &String| key.starts_with("bucket.options.");
    let parsed: BTreeSet<_> = page.iter().filter(|key| !is_of_the_line(key)).cloned().collect();
    assert_eq!(parsed, keys_of_the_parser());
    assert_eq!(page, keys_of_the_operations());
}

#[test]
fn every_command_has_a_page_that_is_well_formed() {
    needs!(Mandoc);
    let folder = scratch();
    let paths = written(folder.path());
    let pages: Vec<_> = paths.iter().filter(|path| ends_with(path, ".1")).collect();
    for name in ["dockseal-status.1", "dockseal-authority-keyring-sign.1", "dockseal-audit.1"] {
        assert!(pages.iter().any(|path| ends_with(path, name)), "{name}: {pages:?}");
    }
    for path in paths.iter().filter(|path| ends_with(path, ".1") || ends_with(path, ".5")) {
        let lint = |path: &Path| {
            let mut mandoc = Command::new(Tool::Mandoc.path());
            let said = mandoc.args(["-Tlint", "-Wwarning"]).arg(path).output().unwrap();
            String::from_utf8_lossy(&said.stdout).into_owned()
        };
        assert_eq!(lint(path), "", "{}", path.display());
        // And it would say so.
        let broken = folder.path().join("broken");
        let page = std::fs::read_to_string(path).unwrap();
        std::fs::write(&broken, page.replace("\n.SH ", "\n.SX ")).unwrap();
        assert_ne!(lint(&broken), "", "{}", path.display());
    }
    let main = std::fs::read_to_string(folder.path().join("dockseal/man/dockseal.1")).unwrap();
    let status = main.split(".SH \"EXIT STATUS\"").nth(1).unwrap();
    assert!(status.contains("\n.B 11\nanother daemon runs"), "{status}");
    assert_eq!(status.split(".SH ").next().unwrap().matches(".TP\n").count(), 10, "{status}");
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = scratch();
    written(folder.path());
    // As bash does it: the function that `complete` named, with the words so far.
    let complete = |program: &str, words: &[&str]| {
        let script = "source \"$1\"; shift; entry=$(complete -p \"$1\") || exit; \
            function=${entry#*-F }; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
            ${function%% *} \"$1\" \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash"]);
        bash.arg(folder.path().join(program).join("bash").join(program)).arg(program).args(words);
        let said = bash.output().unwrap();
        let stdout = String::from_utf8(said.stdout).unwrap();
        assert!(said.stderr.is_empty(), "{program}: {}", String::from_utf8_lossy(&said.stderr));
        stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("dockseal", &["sta"]), ["status"]);
    assert_eq!(complete("dockseal", &["list", "--he"]), ["--held", "--help"]);
    assert_eq!(
        complete("dockseal-authority", &["keyring", "add-"]),
        ["add-recipient", "add-day-keys", "add-dock"]
    );
    assert_eq!(complete("dockseal-audit", &["--wit"]), ["--witness", "--witnessed"]);
}

#[test]
fn fish_and_zsh_complete_too() {
    needs!(Fish, Zsh);
    let folder = scratch();
    let paths = written(folder.path());
    let fish = folder.path().join("dockseal/fish/dockseal.fish");
    let script = format!("source {}; complete -C 'dockseal sta'", fish.display());
    let said = Command::new(Tool::Fish.path()).args(["--no-config", "-c", &script]).output();
    let said = said.unwrap();
    let stdout = String::from_utf8_lossy(&said.stdout);
    assert!(stdout.starts_with("status\tOne screen"), "{said:?}");
    let zsh = paths.iter().filter(|path| path.parent().unwrap().ends_with("zsh"));
    let checked = zsh.map(|path| {
        let said = Command::new(Tool::Zsh.path()).arg("-n").arg(path).output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("#compdef dockseal"), "zsh would not take {}", path.display());
    });
    assert_eq!(checked.count(), 3);
}
