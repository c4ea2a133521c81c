//! Identity files as authorities keep them: protected, several at once, and not too open.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::peers::seal_file;
use crate::support::peers::{Keys, classic_keys, hybrid_keys};
use crate::support::tools::{Tool, needs};
use crate::support::{authority, peers, scratch, sha256};

const PASSPHRASE: &str = "correct horse battery staple";

/// A clip that is sealed to `keys`, and a folder for what is opened.
struct Case {
    dir: TempDir,
    keys: Keys,
    sha256: String,
}

impl Case {
    fn new(keys: fn(&Path) -> Keys) -> Case {
        let dir = scratch();
        let keys = keys(dir.path());
        let clip = dir.path().join("clip.mp4");
        std::fs::write(&clip, b"what the camera saw").unwrap();
        seal_file(&clip, &dir.path().join("sealed.age"), &keys);
        let sha256 = sha256(&clip);
        std::fs::create_dir(dir.path().join("out")).unwrap();
        Case { dir, keys, sha256 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The identity file, protected by age 1.3; `more` may ask for armor.
    fn protected(&self, more: &[&str]) -> PathBuf {
        let path = self.path("protected.identity");
        let _ = std::fs::remove_file(&path);
        let mut age = Command::new(Tool::Age13.path());
        age.args(["-e", "-j", "batchpass"]).args(more).arg("-o").arg(&path);
        age.arg(&self.keys.identity_file).env("AGE_PASSPHRASE", PASSPHRASE);
        let folder = Tool::Age13.path().parent().unwrap().to_owned();
        peers::run(age.env("PATH", folder));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn open(&self, identities: &[&Path]) -> Command {
        let mut open = authority::program();
        open.arg("open").arg(self.path("sealed.age")).arg("--out").arg(self.path("out"));
        for identity in identities {
            open.arg("--identity").arg(identity);
        }
        open
    }

    /// That it was opened, and by this command: the clip is taken away again.
    fn expect_opened(&self) {
        assert_eq!(sha256(&self.path("out/clip.mp4")), self.sha256);
        std::fs::remove_file(self.path("out/clip.mp4")).unwrap();
    }
}

#[test]
fn a_protected_identity_file_opens_with_its_passphrase_from_a_file_or_descriptor() {
    needs!(Age13, AgeEncryption);
    let case = Case::new(hybrid_keys);
    let (good, bad) = (case.path("good"), case.path("bad"));
    std::fs::write(&good, format!("{PASSPHRASE}\nnot this line\n")).unwrap();
    std::fs::write(&bad, "wrong\n").unwrap();
    for armor in [&[][..], &["--armor"]] {
        let protected = case.protected(armor);
        let mut open = case.open(&[&protected]);
        let done = authority::finish(open.arg("--passphrase-file").arg(&good)).expect_code(0);
        assert_eq!(done.stderr, "");
        case.expect_opened();
    }
    let protected = case.protected(&[]);
    let mut open = case.open(&[&protected]);
    let failed = authority::finish(open.arg("--passphrase-file").arg(&bad)).expect_code(1);
    assert!(failed.stderr.contains("the passphrase is wrong"), "{}", failed.stderr);
    // Nobody is at a terminal, and no file was named.
    let failed =
        authority::finish(Command::new("setsid").arg("-w").args(words(&case.open(&[&protected]))));
    assert!(failed.expect_code(1).stderr.contains("--passphrase-file FILE"));
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<\"$0\"; exec \"$@\" --passphrase-fd 3"]).arg(&good);
    authority::finish(shell.args(words(&case.open(&[&protected])))).expect_code(0);
    case.expect_opened();
    let mut shell = Command::new("sh");
    shell.args(["-c", "printf %s \"$0\" | \"$@\" --passphrase-fd 0"]).arg(PASSPHRASE);
    authority::finish(shell.args(words(&case.open(&[&protected])))).expect_code(0);
    case.expect_opened();
}

/// A command's program and arguments, to be run by another one.
fn words(command: &Command) -> Vec<std::ffi::OsString> {
    let program = std::iter::once(command.get_program());
    program.chain(command.get_args()).map(ToOwned::to_owned).collect()
}

#[test]
fn a_terminal_asks_three_times_and_shows_no_passphrase() {
    needs!(Age13, AgeEncryption, Pyrage);
    let case = Case::new(hybrid_keys);
    let open = words(&case.open(&[&case.protected(&[])]));
    let python = Tool::Pyrage.path();
    let on_terminal = |typed: &str| {
        let mut terminal = Command::new(&python);
        terminal.arg(peers::script("terminal.py")).args(["Passphrase of", typed]).args(&open);
        authority::finish(&mut terminal)
    };
    let done = on_terminal(PASSPHRASE).expect_code(0);
    case.expect_opened();
    assert!(!done.stdout.contains(PASSPHRASE), "{}", done.stdout);
    let failed = on_terminal("a wrong one").expect_code(1);
    assert_eq!(failed.stdout.matches("Passphrase of").count(), 3, "{}", failed.stdout);
    assert!(!failed.stdout.contains("a wrong one"));
    on_terminal("\u{3}").expect_code(130);
}

#[test]
fn the_identity_that_fits_is_found_among_several() {
    needs!(Age, Age13, AgeEncryption);
    let case = Case::new(hybrid_keys);
    let others = [scratch(), scratch()];
    let [classic, hybrid] = [classic_keys(others[0].path()), hybrid_keys(others[1].path())];
    let good = case.path("good");
    std::fs::write(&good, PASSPHRASE).unwrap();
    let protected = case.protected(&[]);
    let all = [classic.identity_file.as_path(), &hybrid.identity_file, &protected];
    authority::finish(case.open(&all).arg("--passphrase-file").arg(&good)).expect_code(0);
    case.expect_opened();
    authority::finish(&mut case.open(&all[..2])).expect_code(12);
}

#[test]
fn an_identity_file_that_others_may_read_is_named() {
    needs!(AgeEncryption);
    let case = Case::new(hybrid_keys);
    let file = &case.keys.identity_file;
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o640)).unwrap();
    let done = authority::finish(&mut case.open(&[file])).expect_code(0);
    assert!(done.stderr.contains("warning: others may use the identity file"), "{}", done.stderr);
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::remove_file(case.path("out/clip.mp4")).unwrap();
    let done = authority::finish(&mut case.open(&[file])).expect_code(0);
    assert_eq!(done.stderr, "");
}
