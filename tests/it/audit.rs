//! The audit: whatever is done to a bucket is found, and the untouched one passes.

mod live;
mod log_of_many;
mod matrix;
mod named;
mod witness;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dockseal::note::{Kind, VerifierKey};
use tempfile::TempDir;

use crate::support::dock::Finished;
use crate::support::ledger::{Place, keyring_text, signer};
use crate::support::scratch;
use crate::support::seaweed::Login;

/// An auditor: the keyring, the root's key, a folder for what is remembered.
struct Auditor {
    dir: TempDir,
}

impl Auditor {
    fn new() -> Auditor {
        let dir = scratch();
        std::fs::write(dir.path().join("keyring"), keyring_text()).unwrap();
        Auditor { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root() -> VerifierKey {
        signer("authority.example", Kind::Note, 1).verifier()
    }

    /// Runs the program on buckets, with more arguments.
    fn audit(&self, places: &[&Place], more: &[&str]) -> Finished {
        let mut command = program();
        for place in places {
            command.arg(place.url());
            if let Place::Seaweed(server, _) = place {
                command.args(["-o", &format!("aws_endpoint={}", server.endpoint())]);
                command.envs(Login::Admin.env());
            }
        }
        command.arg("--keyring").arg(self.path("keyring"));
        command.args(["--authority", &Auditor::root().to_string()]).args(more);
        Finished::new(command.output().expect("the program starts"))
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dockseal-audit"));
    program.stdin(Stdio::null());
    program
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
