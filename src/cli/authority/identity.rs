//! The options that name private keys, and how their files are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Complaint, Exit};
use super::dialog::Terminal;
use super::{PROGRAM, terminal};
use crate::authority::identity::{Identities, IdentityFileError};
use crate::authority::identity_file::{IdentityFile, Protected};
use crate::authority::passphrase::Passphrase;
use crate::clip::printable;

/// How often somebody at a terminal may mistype a passphrase.
const ATTEMPTS_MAX: usize = 3;
/// The mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Which private keys to open with.
#[derive(clap::Args)]
pub struct IdentityArgs {
    /// File with private keys (AGE-SECRET-KEY-…, AGE-PLUGIN-…), as keygen or age-keygen writes it,
    /// or the same protected with `age -p`; repeatable
    #[arg(long = "identity", short = 'i', value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The first line of FILE is the passphrase of the protected identity files; without it, the
    /// terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The same from a file descriptor that the caller opened, such as 3
    #[arg(long, value_name = "N", conflicts_with = "passphrase_file")]
    passphrase_fd: Option<u32>,
}

impl IdentityArgs {
    /// All of them. Asks for what it needs.
    pub fn read(&self) -> Result<Identities, Complaint> {
        let mut all = Identities::default();
        let mut passphrases = Passphrases { file: self.passphrase_path(), text: None };
        for path in &self.files {
            let read = open(path).and_then(|mut file| IdentityFile::read(&mut file));
            let read = match read {
                Ok(IdentityFile::Plain(identities)) => Ok(identities),
                Ok(IdentityFile::Protected(protected)) => passphrases.open(path, &protected)?,
                Err(error) => Err(error),
            };
            all.append(read.map_err(|error| identity_complaint(path, &error))?);
        }
        all.set_dialog(Box::new(Terminal));
        Ok(all)
    }

    fn passphrase_path(&self) -> Option<PathBuf> {
        let path = self.passphrase_fd.map(|number| format!("/proc/self/fd/{number}").into());
        path.or_else(|| self.passphrase_file.clone())
    }
}

fn open(path: &Path) -> Result<File, IdentityFileError> {
    let file = File::open(path).map_err(IdentityFileError::Read)?;
    let facts = file.metadata().map_err(IdentityFileError::Read)?;
    if facts.is_file() && facts.mode() & OTHERS != 0 {
        let line = format!(
            "{PROGRAM}: warning: others may use the identity file {}: chmod 0600 it\n",
            printable(path)
        );
        // Nowhere is left to say that standard error is closed.
        let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
    }
    Ok(file)
}

/// Where passphrases come from.
struct Passphrases {
    /// For scripts: one passphrase for all files.
    file: Option<PathBuf>,
    /// What stood in it. A pipe can be read only once.
    text: Option<Passphrase>,
}

impl Passphrases {
    fn open(
        &mut self,
        path: &Path,
        protected: &Protected,
    ) -> Result<Result<Identities, IdentityFileError>, Complaint> {
        if let Some(file) = &self.file {
            if self.text.is_none() {
                self.text = Some(from_file(file)?);
            }
            let passphrase = self.text.as_ref().expect("read above");
            return Ok(protected.open(passphrase.again()));
        }
        for attempt in 1.. {
            let opened = protected.open(from_terminal(path)?);
            match opened {
                Err(IdentityFileError::WrongPassphrase) if attempt < ATTEMPTS_MAX => {
                    let line = format!("{PROGRAM}: the passphrase is wrong; try again\n");
                    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
                }
                opened => return Ok(opened),
            }
        }
        unreachable!("the last attempt returns")
    }
}

fn from_file(path: &Path) -> Result<Passphrase, Complaint> {
    let title = || format!("cannot read the passphrase from {}", printable(path));
    let read = File::open(path).and_then(|mut file| Passphrase::read(&mut file));
    let read = read.map_err(|error| {
        Complaint::new(Exit::Failed, title(), &error)
            .hint("--passphrase-fd wants an open descriptor: 3<FILE; check the path otherwise")
    })?;
    read.ok_or_else(|| {
        let message = format!("{}: its first line is empty, too long or not text", title());
        Complaint::text(Exit::Failed, message).hint("it is one line of at most 4096 bytes of UTF-8")
    })
}

fn from_terminal(path: &Path) -> Result<Passphrase, Complaint> {
    let question = format!("Passphrase of {}: ", printable(path));
    let typed = terminal::ask_secret(&question).map_err(|error| {
        if error.kind() == io::ErrorKind::Interrupted {
            return Complaint::text(Exit::Interrupted, "interrupted; nothing was opened");
        }
        let title = format!("{} is protected, and nobody can be asked", printable(path));
        Complaint::new(Exit::Failed, title, &error)
            .hint("in a script: --passphrase-file FILE or --passphrase-fd N")
    })?;
    Ok(Passphrase::new(typed))
}

fn identity_complaint(path: &Path, error: &IdentityFileError) -> Complaint {
    let title = format!("cannot use the identity file {}", printable(path));
    let hint = match error {
        IdentityFileError::Empty => "it has only comments; is it the right file?",
        IdentityFileError::Line { .. } => {
            "each line is one AGE-SECRET-KEY-…, AGE-PLUGIN-…, a comment (#) or blank; public keys \
             go to the dock"
        }
        IdentityFileError::NotText | IdentityFileError::TooLarge => {
            "--identity takes the private key's file; the clip itself is named without an option"
        }
        IdentityFileError::Protected(_) => "only what `age -p` made is taken; look for a copy",
        IdentityFileError::Read(_) => "check the path and the right to read it",
        IdentityFileError::WrongPassphrase => "check case and keyboard; no attempt is counted",
    };
    Complaint::new(Exit::Failed, title, error).hint(hint)
}
