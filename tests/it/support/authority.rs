//! The `dockseal-authority` program, and files that it opens.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::dock::Finished;

/// The program, ready for arguments. Nobody is at a terminal.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dockseal-authority"));
    program.stdin(Stdio::null());
    program
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    Finished::new(command.output().expect("the program starts"))
}

/// Opens one file into another one, as `open --out -`; `Err` has what the program said.
pub fn try_open(identity: &Path, sealed: &Path, opened: &Path) -> Result<(), Finished> {
    let mut open = program();
    open.args(["open", "--out", "-", "--identity"]).arg(identity).arg(sealed);
    open.stdout(File::create_new(opened).expect("a new file"));
    let done = finish(&mut open);
    if done.code == 0 { Ok(()) } else { Err(done) }
}

/// Opens one file, and gives the SHA-256 of what came out; panics where it fails.
pub fn sha256_opened(identity: &Path, sealed: &Path) -> String {
    let dir = super::scratch();
    let opened = dir.path().join("opened");
    if let Err(said) = try_open(identity, sealed, &opened) {
        panic!("cannot open {}: {said:?}", sealed.display());
    }
    super::sha256(&opened)
}
