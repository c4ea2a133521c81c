//! `dockseal-authority keygen`: a new identity.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand_core::UnwrapErr;

use super::super::{Complaint, Exit};
use crate::authority::identity::{Identity, Kind};
use crate::clip::printable;
use crate::edge::{clock, fs};

/// Makes a new private key, and prints the public one that docks seal to
///
/// The private key is written as an age identity file that only you can read. Whoever has it can
/// open every clip sealed to it; whoever loses it can open none. Keep it away from docks and
/// clouds, and keep a second copy.
#[derive(clap::Args)]
pub struct Args {
    /// A classic X25519 key (age1…) instead of a post-quantum one (age1pq1…)
    #[arg(long)]
    classic: bool,
    /// Write the private key to FILE, which must not exist; without it, to standard output
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same as FILE
    #[arg(long, short = 'o', value_name = "FILE", conflicts_with = "file")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let kind = if args.classic { Kind::Classic } else { Kind::PostQuantum };
    let identity = Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng));
    let text = identity.file_text(clock::now());
    match args.file.or(args.out) {
        Some(path) => {
            write_new(&path, text.as_bytes()).map_err(|error| complaint(&path, &error))?;
            writeln!(io::stdout().lock(), "{}", identity.recipient())?;
        }
        None => {
            io::stdout().lock().write_all(text.as_bytes())?;
            writeln!(io::stderr().lock(), "Public key: {}", identity.recipient())?;
        }
    }
    Ok(Exit::Ok)
}

/// Writes a file that was not there, for this user alone; it is durable, or gone again.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::create_private(path)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::sync_folder(folder));
    if written.is_err() {
        // Half a key is worse than none. The first error is the one that counts.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn complaint(path: &Path, error: &io::Error) -> Complaint {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "a private key is never overwritten: clips may be sealed to it; choose another name"
        }
        io::ErrorKind::NotFound => "make its folder first: mkdir -p",
        _ => "choose a file that you may create",
    };
    let title = format!("cannot write the identity {}", printable(path));
    Complaint::new(Exit::Failed, title, error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("authority.identity");
        write_new(&path, b"first").expect("written");
        let error = write_new(&path, b"second").expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("there"), b"first");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
