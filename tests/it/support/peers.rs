//! Other people's age: keys made and sealed files opened by tools that share no code with ours.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::Tool;

/// An implementation of age that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Debian's age 1.1.1, in Go. Opens X25519. Needs `Age`.
    Age,
    /// age 1.3, in Go. Opens X25519 and mlkem768x25519. Needs `Age13`.
    Age13,
    /// npm's age-encryption, in TypeScript. Opens X25519 and mlkem768x25519. Needs `AgeEncryption`.
    AgeEncryption,
    /// pyrage, which is rage, in Rust. Opens X25519, seals to tags too. Needs `Pyrage`.
    Pyrage,
}

/// A pair of keys that a peer made.
pub struct Keys {
    /// The age identity file.
    pub identity_file: PathBuf,
    /// Its recipient.
    pub recipient: String,
}

/// A classic X25519 pair, by age-keygen. Needs `Age`.
pub fn classic_keys(folder: &Path) -> Keys {
    let identity_file = folder.join("classic.identity");
    run(Command::new("age-keygen").arg("-o").arg(&identity_file));
    keys(identity_file)
}

/// A post-quantum mlkem768x25519 pair, by npm's age-encryption. Needs `AgeEncryption`.
pub fn hybrid_keys(folder: &Path) -> Keys {
    let identity_file = folder.join("hybrid.identity");
    let mut node = Command::new("node");
    node.arg(script("keygen.mjs")).arg(Tool::AgeEncryption.path()).arg(&identity_file);
    run(&mut node);
    keys(identity_file)
}

/// The keys of an identity file that names its recipient in a comment, as all makers of them do.
pub fn keys(identity_file: PathBuf) -> Keys {
    let text = std::fs::read_to_string(&identity_file).expect("an identity file");
    let recipient = text
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .expect("the identity file names its recipient")
        .to_owned();
    Keys { identity_file, recipient }
}

/// Opens a sealed file with a peer; `Err` has what the peer said.
pub fn try_open(peer: Peer, keys: &Keys, sealed: &Path, opened: &Path) -> Result<(), String> {
    let mut command = match peer {
        Peer::Age | Peer::Age13 => {
            let mut age = Command::new(age(peer).path());
            age.arg("-d").arg("-i").arg(&keys.identity_file).arg(sealed);
            // Not `-o`: age 1.1.1 makes no file at all where the clip is empty.
            age.stdout(File::create_new(opened).expect("a new file"));
            age
        }
        Peer::AgeEncryption => {
            let mut node = Command::new("node");
            node.arg(script("open.mjs")).arg(Tool::AgeEncryption.path());
            node.arg(&keys.identity_file).arg(sealed).arg(opened);
            node
        }
        Peer::Pyrage => {
            let mut python = Command::new(Tool::Pyrage.path());
            python.arg(script("open.py")).arg(&keys.identity_file).arg(sealed).arg(opened);
            python
        }
    };
    let done = command.output().expect("the peer starts");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(said) }
}

/// Opens a sealed file with a peer and gives the SHA-256 of what came out; panics where it fails.
pub fn sha256_opened(peer: Peer, keys: &Keys, sealed: &Path) -> String {
    let dir = super::scratch();
    let opened = dir.path().join("opened");
    if let Err(said) = try_open(peer, keys, sealed, &opened) {
        panic!("{peer:?} cannot open {}: {said}", sealed.display());
    }
    super::sha256(&opened)
}

/// Encrypts a file with a peer, as somebody does who has a recipient and no dockseal.
pub fn encrypt(peer: Peer, recipient: &str, clip: &Path, sealed: &Path) {
    let mut command = match peer {
        Peer::Age | Peer::Age13 => {
            let mut age = Command::new(age(peer).path());
            age.args(["-e", "-r", recipient, "-o"]).arg(sealed).arg(clip);
            age
        }
        Peer::AgeEncryption => {
            let mut node = Command::new("node");
            node.arg(script("encrypt.mjs")).arg(Tool::AgeEncryption.path());
            node.arg(recipient).arg(clip).arg(sealed);
            node
        }
        Peer::Pyrage => {
            let mut python = Command::new(Tool::Pyrage.path());
            python.arg(script("encrypt.py")).arg(recipient).arg(clip).arg(sealed);
            python
        }
    };
    run(&mut command);
}

fn age(peer: Peer) -> Tool {
    match peer {
        Peer::Age => Tool::Age,
        Peer::Age13 => Tool::Age13,
        Peer::AgeEncryption | Peer::Pyrage => unreachable!("not in Go"),
    }
}

/// A script beside this file.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(name)
}

/// Runs a command to its end; panics where it fails. Gives what it printed.
pub fn run(command: &mut Command) -> Vec<u8> {
    let done = command.output().expect("the peer starts");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
