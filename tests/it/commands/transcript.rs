//! A file of transcripts: its pieces, running them, and what came instead.

use std::path::PathBuf;

use snapbox::Assert;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::data::{Data, DataFormat};

use super::words;
use super::world::World;

/// Begins the line that says where what follows takes place.
const WHERE: &str = "Where: ";
const FENCE: &str = "```";
/// The language of the blocks that are transcripts.
const LANGUAGE: &str = "console";

/// What was typed, and what came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// As a shell takes it.
    pub command: String,
    /// The exit code.
    pub code: i32,
    /// Standard output and standard error, as a terminal shows them.
    pub output: String,
}

impl Step {
    /// As it stands in a file.
    pub fn text(&self) -> String {
        let command = self.command.replace('\n', "\n> ");
        let code = if self.code == 0 { String::new() } else { format!("? {}\n", self.code) };
        format!("$ {command}\n{code}{}", self.output)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A line for people, or a fence.
    Line(String),
    Step(Step),
}

/// A file of transcripts.
pub struct Transcript {
    path: PathBuf,
    pieces: Vec<Piece>,
}

impl Transcript {
    /// Reads a file; panics where it is not of the form that tests/commands/README.md describes.
    pub fn read(path: PathBuf) -> Transcript {
        let text = std::fs::read_to_string(&path).unwrap();
        let pieces = pieces(&text).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
        Transcript { path, pieces }
    }

    /// What was typed, and what came.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Step(step) => Some(step),
            Piece::Line(_) => None,
        })
    }

    /// Runs it all, and compares; gives the difference, unless SNAPSHOTS=overwrite wants the file
    /// to say what came.
    pub fn run(&self) -> Result<(), String> {
        let mut world: Option<World> = None;
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Line(line) => {
                    if let Some(place) = line.strip_prefix(WHERE) {
                        // One after the other: a daemon of the former is not in the way.
                        world = None;
                        world = world.or(Some(World::new(place)));
                    }
                    text.push_str(&format!("{line}\n"));
                }
                Piece::Step(step) => {
                    let path = self.path.display();
                    let world =
                        world.as_ref().unwrap_or_else(|| panic!("{path} says no `{WHERE}`"));
                    let (code, said) = world.run(&step.command);
                    let output = words::harmonised(&world.plain(&said), &step.output);
                    text.push_str(&Step { code, output, ..step.clone() }.text());
                }
            }
        }
        let expected = Data::read_from(&self.path, Some(DataFormat::Text)).raw();
        let assert = Assert::new().action_env(DEFAULT_ACTION_ENV);
        let came = assert.try_eq(Some(&"what came"), Data::text(text), expected);
        came.map_err(|difference| difference.to_string())
    }
}

/// The steps of a block, such as one of the documents.
pub fn steps_of(block: &str) -> Result<Vec<Step>, String> {
    let pieces = pieces(&format!("{FENCE}{LANGUAGE}\n{block}{FENCE}\n"))?;
    let step = |piece| match piece {
        Piece::Step(step) => Some(step),
        Piece::Line(_) => None,
    };
    Ok(pieces.into_iter().filter_map(step).collect())
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut is_block = false;
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.starts_with(FENCE);
        if !is_block || is_fence {
            is_block = is_fence && !is_block;
            if is_block && line != format!("{FENCE}{LANGUAGE}") {
                return Err(format!("line {}: a block that is no {LANGUAGE}", index + 1));
            }
            pieces.push(Piece::Line(line.to_owned()));
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            pieces.push(Piece::Step(Step { command: command.to_owned(), ..Step::default() }));
            continue;
        }
        let Some(Piece::Step(step)) = pieces.last_mut() else {
            return Err(format!("line {}: a block begins with `$ `", index + 1));
        };
        // Behind the first line of output, each line is output.
        let code = line.strip_prefix("? ").and_then(|code| code.parse().ok());
        match (line.strip_prefix("> "), code) {
            (Some(more), _) if step.output.is_empty() && step.code == 0 => {
                step.command = format!("{}\n{more}", step.command);
            }
            (_, Some(code)) if step.output.is_empty() && step.code == 0 => step.code = code,
            _ => step.output.push_str(&format!("{line}\n")),
        }
    }
    Ok(pieces)
}

#[test]
fn a_file_is_taken_apart_and_put_together_again() {
    let block = "$ dockseal check\n> --json\n? 3\n{\n? 4\n$ cat\n> \n\n";
    let steps = steps_of(block).unwrap();
    let step = |command: &str, code, output: &str| Step {
        command: command.into(),
        code,
        output: output.into(),
    };
    assert_eq!(steps, [step("dockseal check\n--json", 3, "{\n? 4\n"), step("cat\n", 0, "\n")]);
    assert_eq!(steps.iter().map(Step::text).collect::<String>(), block);
    assert!(steps_of("dockseal check\n").is_err(), "a block begins with a command");
    assert!(pieces("```\n$ dockseal check\n```\n").is_err(), "a block says what it is");
}
