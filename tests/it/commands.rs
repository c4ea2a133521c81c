//! Transcripts of every command, in `tests/commands`: they are run, and none is stale.

mod documents;
mod shell;
mod transcript;
mod words;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Command;
use dockseal::cli;

use transcript::{Step, Transcript};

/// Commands that serve until they are stopped.
const FOR_EVER: [&str; 1] = ["dockseal-audit witness"];
/// Transcripts that run at the same time: they mostly wait.
const LANES: usize = 4;

/// The three programs, as their own parsers know them.
fn programs() -> [Command; 3] {
    [cli::dock::command(), cli::authority::command(), cli::audit::command()]
}

/// A file of the repository.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `dockseal-authority keyring sign`, and every other command, with what the parser knows of it.
fn commands(command: &Command, before: &str) -> Vec<(String, Command)> {
    let words = format!("{before}{}", command.get_name());
    let below = format!("{words} ");
    let mut all = vec![(words, command.clone())];
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    all.extend(shown.flat_map(|command| commands(command, &below)));
    all
}

/// Where the transcripts of a command are: named as its man page.
fn file_of(words: &str) -> String {
    format!("tests/commands/{}.md", words.replace(' ', "-"))
}

fn read(words: &str) -> Option<Transcript> {
    let path = at(&file_of(words));
    path.exists().then(|| Transcript::read(path))
}

/// Runs all transcripts of a program; each difference is told before the test fails.
fn run_all(program: &Command) {
    let all = commands(program, "");
    let left = Mutex::new(all.iter().filter_map(|(words, _)| read(words)));
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let next = || left.lock().unwrap().next();
                while let Some(transcript) = next() {
                    let run = transcript.run();
                    problems.lock().unwrap().extend(run.err());
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{} stale:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_docks_commands_do_what_their_transcripts_show() {
    run_all(&cli::dock::command());
}

#[test]
fn the_authoritys_commands_do_what_their_transcripts_show() {
    run_all(&cli::authority::command());
}

#[test]
fn the_auditors_commands_do_what_their_transcripts_show() {
    run_all(&cli::audit::command());
}

/// What is missing in the transcripts of a command.
fn missing(words: &str, command: &Command) -> Vec<&'static str> {
    const ALL: [&str; 3] = ["`--help`", "a run that succeeds", "a run that is refused"];
    let Some(transcript) = read(words) else { return ALL.into() };
    let programs = programs();
    let of_ours = |line: &[String]| {
        let program = programs.iter().find(|program| program.get_name() == line[0])?;
        Some(shell::addressed(program, line))
    };
    let is_of_it = |step: &&Step| {
        let lines = shell::command_lines(&step.command);
        lines.iter().any(|line| of_ours(line).as_deref() == Some(words))
    };
    let steps: Vec<_> = transcript.steps().filter(is_of_it).collect();
    let has = |test: &dyn Fn(&Step) -> bool| steps.iter().copied().any(test);
    let is_help = |step: &Step| step.command.ends_with("--help");
    // A group of commands does nothing by itself.
    let is_group = command.is_subcommand_required_set() && words.contains(' ');
    let never_succeeds = is_group || FOR_EVER.contains(&words);
    let takes_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
    let with_json = |step: &Step| step.command.contains("--json") && [0, 3].contains(&step.code);
    let wanted = [
        (ALL[0], has(&is_help)),
        (ALL[1], never_succeeds || has(&|step| step.code == 0 && !is_help(step))),
        (ALL[2], has(&|step| ![0, 3, 130].contains(&step.code))),
        ("`--json`", !takes_json || has(&with_json)),
    ];
    wanted.into_iter().filter(|(_, is_there)| !is_there).map(|(what, _)| what).collect()
}

#[test]
fn every_command_has_transcripts_and_every_transcript_a_command() {
    let all = programs().iter().flat_map(|program| commands(program, "")).collect::<Vec<_>>();
    let mut problems = Vec::new();
    for (words, command) in &all {
        let missing = missing(words, command);
        if !missing.is_empty() {
            let (file, missing) = (file_of(words), missing.join(", "));
            problems.push(format!(
                "`{words}` has no transcript of: {missing}; write them into {file} (how: \
                 tests/commands/README.md)"
            ));
        }
    }
    let known: BTreeSet<_> = all.iter().map(|(words, _)| at(&file_of(words))).collect();
    for entry in std::fs::read_dir(at("tests/commands")).unwrap() {
        let path = entry.unwrap().path();
        if !known.contains(&path) && !path.ends_with("README.md") {
            problems.push(format!("{} is of no command: remove it", path.display()));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
