//! The authority's desk: the commands of `dockseal-authority`, and what they share.

mod copy;
mod dialog;
mod drill;
mod find;
mod fleet;
mod identity;
mod interrupt;
mod keygen;
mod keyring;
mod list;
mod open;
mod origin;
mod part;
mod terminal;
mod verify;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use clap::{CommandFactory, Parser, Subcommand};
use rustix::process::DumpableBehavior;
use serde::Serialize;

use super::bucket::{BucketArgs, bucket_complaint, runtime};
use super::{Complaint, Exit, conclude};
use crate::authority::armor::{ArmorError, armor_error};
use crate::authority::fetch::bucket_error;
use crate::authority::open::OpenError;
use crate::authority::payload::PayloadError;
use crate::authority::plugin::Failure;
use crate::authority::restore::RestoreError;
use crate::clip::printable;
use crate::envelope::header::HeaderError;
use identity::IdentityArgs;
use interrupt::when_interrupted;

/// The program's name, as its messages begin.
const PROGRAM: &str = "dockseal-authority";

/// Opens the clips that docks sealed to this authority's keys.
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Copy(copy::Args),
    Drill(drill::Args),
    Fleet(fleet::Args),
    Keygen(keygen::Args),
    Keyring(keyring::Args),
    List(list::Args),
    Open(open::Args),
    Verify(verify::Args),
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program `dockseal-authority`.
pub fn run() -> ExitCode {
    // Before any private key is in memory: no core file, and no debugger of this user, has one.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        let title = "cannot keep private keys out of core files";
        return conclude(PROGRAM, Err(Complaint::new(Exit::Failed, title, &error)));
    }
    let result = match Cli::parse().command {
        Command::Copy(args) => copy::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Fleet(args) => fleet::run(args),
        Command::Keygen(args) => keygen::run(args),
        Command::Keyring(args) => keyring::run(args),
        Command::List(args) => list::run(args),
        Command::Open(args) => open::run(args),
        Command::Verify(args) => verify::run(args),
    };
    conclude(PROGRAM, result)
}

fn open_complaint(title: String, error: &OpenError) -> Complaint {
    let tampered = |hint: &str| Complaint::new(Exit::Tampered, &title, error).hint(hint);
    match error {
        OpenError::Header(HeaderError::Read(error)) => read_complaint(title, error),
        OpenError::Header(HeaderError::NotAge | HeaderError::NotAscii { line: 1 }) => {
            tampered("is it the sealed file? its first line is age-encryption.org/v1")
        }
        OpenError::Header(_) | OpenError::Mac(_) | OpenError::Stanza(_) => tampered(OTHER_COPY),
        OpenError::NoIdentity { .. } => Complaint::new(Exit::NoIdentity, title, error)
            .hint("give the identity of that time or site too: --identity FILE --identity FILE"),
        OpenError::Payload(error) => payload_complaint(title, error),
        OpenError::Plugin(error) => {
            let hint = match &error.failure {
                Failure::Missing => "install it, and see that its folder is in PATH",
                Failure::Said(_) => "is the device plugged in, and is it the right one?",
                Failure::Ended(_) | Failure::Protocol(_) | Failure::Silent | Failure::Start(_) => {
                    "does it work with age? age -d -i IDENTITY FILE"
                }
            };
            Complaint::new(Exit::Failed, title, error).hint(hint)
        }
    }
}

fn payload_complaint(title: String, error: &PayloadError) -> Complaint {
    match error {
        PayloadError::Read(error) => read_complaint(title, error),
        PayloadError::EmptyLast
        | PayloadError::NoNonce
        | PayloadError::Tampered { .. }
        | PayloadError::Trailing
        | PayloadError::Truncated => Complaint::new(Exit::Tampered, title, error).hint(OTHER_COPY),
    }
}

/// What an operator is told of a clip that was not opened.
fn restore_complaint(label: &str, error: &RestoreError, to_stdout: bool) -> Complaint {
    let title = format!("cannot open {label}");
    match error {
        RestoreError::Digest { .. } => Complaint::new(Exit::Tampered, title, error)
            .hint("somebody with a key to it made another file of it; look for an untouched copy"),
        RestoreError::Exists { path } => {
            let title = format!("cannot open {label} as {}", printable(path));
            Complaint::new(Exit::Failed, title, error)
                .hint("open it into another folder: --out DIR")
        }
        RestoreError::NotAuthentic(_) => Complaint::new(Exit::Tampered, title, error)
            .hint("keep it as it is, and find out who wrote it; to open it: --accept-unlogged"),
        RestoreError::Origin(error) => {
            bucket_complaint(format!("cannot check the origin of {label}"), error)
        }
        RestoreError::Open(error) => open_complaint(title, error),
        RestoreError::Payload(error) => payload_complaint(title, error),
        RestoreError::Read(_) => Complaint::new(Exit::Failed, title, error)
            .hint("open it into another folder: --out DIR"),
        // `open --out - | head`: the reader has seen enough.
        RestoreError::Write(error) if to_stdout && error.kind() == io::ErrorKind::BrokenPipe => {
            Complaint::text(Exit::Failed, format!("{title}: nobody reads the output"))
        }
        RestoreError::Write(_) => Complaint::new(Exit::Failed, title, error)
            .hint("make space, or choose another folder that you may write to: --out DIR"),
    }
}

/// What to do about a sealed file that is not what was sealed.
const OTHER_COPY: &str = "keep this one as it is; look for another copy: bucket, spool, backup";

/// What to do about a file of another kind.
const NOT_SEALED: &str = "is it the sealed file? its first line is age-encryption.org/v1";

/// Reading the sealed bytes failed: the armor's fault, the bucket's, or the file's.
fn read_complaint(title: String, error: &io::Error) -> Complaint {
    if let Some(error) = armor_error(error) {
        let hint = if *error == ArmorError::Begin { NOT_SEALED } else { OTHER_COPY };
        return Complaint::new(Exit::Tampered, title, error).hint(hint);
    }
    match bucket_error(error) {
        Some(error) => bucket_complaint(title, error),
        None => Complaint::new(Exit::Failed, title, error)
            .hint("check the path, the right to read it, and the medium"),
    }
}

/// A name in JSON: as text, and where the text is not the name exactly, its bytes too.
#[derive(Serialize)]
struct NameJson {
    name: String,
    /// Unpadded standard base64 of the bytes of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
}

impl NameJson {
    fn new(path: &Path) -> NameJson {
        use std::os::unix::ffi::OsStrExt;
        let name = printable(path);
        let plain = path.to_str() == Some(name.as_str());
        let name_base64 = (!plain).then(|| BASE64.encode(path.as_os_str().as_bytes()));
        NameJson { name, name_base64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_name_that_is_not_plain_comes_with_its_bytes() {
        let plain = NameJson::new(Path::new("Überfall 1.mp4"));
        assert_eq!((plain.name.as_str(), plain.name_base64), ("Überfall 1.mp4", None));
        let nasty = NameJson::new(Path::new("\u{1b}[2J"));
        assert_eq!(nasty.name, "\\u{1b}[2J");
        assert_eq!(nasty.name_base64.as_deref(), Some("G1sySg"));
    }
}
