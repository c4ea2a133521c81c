//! The keyring's commands as transcripts: what is made, what is refused, and how it is said.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dockseal::keyring::{Keyring, Trust};
use dockseal::note::{Kind, Note, SignerKey, VerifierKey};
use tempfile::TempDir;

use crate::support::dock::Finished;
use crate::support::tools::{Tool, needs};
use crate::support::{authority, peers, scratch};

/// An authority's folder, and its commands.
pub struct Desk {
    dir: TempDir,
}

impl Desk {
    /// A folder with a root key and, where it is wanted, one classic recipient for evidence.
    pub fn new() -> Desk {
        let desk = Desk { dir: scratch() };
        desk.ok(&["init", "bpol.example", "--expires", "2099-12-31"]);
        desk
    }

    pub fn with_recipient() -> Desk {
        let desk = Desk::new();
        desk.ok(&["add-recipient", "evidence", "--new", "--classic"]);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("authority").join(name)
    }

    pub fn run(&self, args: &[&str]) -> Finished {
        let mut program = authority::program();
        program.env_remove("DOCKSEAL_AUTHORITY").arg("keyring").args(args);
        program.arg("--dir").arg(self.path(""));
        authority::finish(&mut program)
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done.stdout
    }

    /// What is said of a command that is refused, and changes nothing.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let before = std::fs::read(self.path("draft")).ok();
        let done = self.run(args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.stderr.contains("hint: "), "{done:?}");
        assert_eq!(std::fs::read(self.path("draft")).ok(), before, "{args:?} changed the draft");
        done.stderr
    }

    /// The newest signed revision.
    pub fn keyring(&self) -> Keyring {
        let bytes = std::fs::read(self.path("keyring")).unwrap();
        let keyring = Keyring::from_note(&Note::parse(&bytes).unwrap()).unwrap();
        Trust::pinned(self.root().verifier()).verify(&bytes).expect("signed by the root");
        keyring
    }

    pub fn root(&self) -> SignerKey {
        let text = std::fs::read_to_string(self.path("root.key")).unwrap();
        SignerKey::parse(text.trim()).unwrap()
    }

    pub fn enrol(&self, key: &VerifierKey) {
        let (line, fingerprint) = (format!("dockseal-dock {key}"), key.fingerprint());
        self.ok(&["add-dock", &line, "--fingerprint", &fingerprint, "--from", "2026-01-01"]);
    }
}

fn dock(name: &str, seed: u8) -> VerifierKey {
    SignerKey::from_seed(name, Kind::Note, &[seed; 32]).unwrap().verifier()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_begins_signs_and_publishes() {
    let desk = Desk::new();
    let root = desk.root();
    assert_eq!(mode(&desk.path("root.key")), 0o600);
    let again = desk.refused(10, &["init", "bpol.example"]);
    assert!(again.contains("root.key is there already, and is never overwritten"), "{again}");
    let empty = desk.refused(1, &["sign"]);
    assert!(empty.contains("there is no recipient yet"), "{empty}");

    let made = desk.ok(&["add-recipient", "evidence", "--new"]);
    assert!(made.contains("identities/evidence.identity"), "{made}");
    assert_eq!(mode(&desk.path("identities/evidence.identity")), 0o600);
    desk.enrol(&dock("hannover-03", 2));
    let signed = desk.ok(&["sign"]);
    assert!(signed.starts_with("signed revision 1: 1 recipient, 1 dock, to 2099-12-31"));
    let first = std::fs::read(desk.path("keyrings/1")).unwrap();
    assert_eq!(std::fs::read(desk.path("keyring")).unwrap(), first);

    let said = desk.ok(&["show"]);
    let fingerprint = root.verifier().fingerprint();
    assert!(said.contains(&format!("authority   bpol.example  {fingerprint}")), "{said}");
    assert!(said.contains("signature   signed by the root"), "{said}");
    assert!(said.contains("hannover-03          from 2026-01-01"), "{said}");
    desk.ok(&["extend", "--until", "2098-01-01"]);
    assert!(desk.ok(&["show"]).contains("the draft has changes that are not signed"));
    desk.ok(&["sign"]);
    let json: serde_json::Value = serde_json::from_str(&desk.ok(&["show", "--json"])).unwrap();
    assert_eq!((&json["revision"], &json["signature"]["counts"]), (&2.into(), &true.into()));
    assert_eq!(std::fs::read(desk.path("keyrings/1")).unwrap(), first, "never written again");

    let bucket = desk.dir.path().join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    let url = format!("file://{}", bucket.display());
    let published = desk.ok(&["publish", &url]);
    assert_eq!(published, "keyrings/1: created\nkeyrings/2: created\nkeyring: revision 2\n");
    let newest = std::fs::read(desk.path("keyring")).unwrap();
    assert_eq!(std::fs::read(bucket.join("keyring")).unwrap(), newest);
    assert!(desk.ok(&["publish", &url]).starts_with("keyrings/1: was there already, the same"));
    std::fs::write(bucket.join("keyrings/1"), "something else").unwrap();
    assert!(desk.refused(13, &["publish", &url]).contains("has another keyring as keyrings/1"));
    std::fs::write(bucket.join("keyrings/7"), "later").unwrap();
    assert!(desk.refused(1, &["publish", &url]).contains("has revision 7, and this folder only 2"));
}

#[test]
fn a_dock_is_enrolled_only_by_its_fingerprint() {
    let desk = Desk::with_recipient();
    let key = dock("hannover-03", 2);
    let line = format!("dockseal-dock {key}");
    let wrong = ["add-dock", &line, "--fingerprint", "0000-0000-0000-0000"];
    assert!(desk.refused(1, &wrong).contains(&key.fingerprint()));
    assert!(desk.refused(2, &["add-dock", &line]).contains("nobody can be asked"));
    assert!(desk.refused(2, &["add-dock", "dockseal-dock"]).contains("expected NAME+ID+BASE64"));
    let upper = key.fingerprint().to_uppercase();
    desk.ok(&["add-dock", "dockseal-dock", &key.to_string(), "--fingerprint", &upper]);
    let other = dock("hannover-03", 3);
    let again = ["add-dock", &other.to_string(), "--fingerprint", &other.fingerprint()];
    assert!(desk.refused(2, &again).contains("is enrolled until"));
    desk.ok(&["retire", "hannover-03", "--last-day", "2000-01-01"]);
    desk.ok(&again);
    desk.ok(&["sign"]);
    assert_eq!(desk.keyring().docks.iter().map(|dock| &dock.key).collect::<Vec<_>>(), [&other]);
}

#[test]
fn at_a_terminal_somebody_compares_the_fingerprint() {
    needs!(Pyrage);
    let desk = Desk::with_recipient();
    let key = dock("hannover-03", 2);
    let answered = |answer: &str| {
        let mut terminal = Command::new(Tool::Pyrage.path());
        terminal.arg(peers::script("terminal.py")).args(["yes/no:", answer]);
        terminal.arg(env!("CARGO_BIN_EXE_dockseal-authority")).args(["keyring", "add-dock"]);
        terminal.arg(key.to_string()).arg("--dir").arg(desk.path(""));
        authority::finish(&mut terminal)
    };
    let done = answered("no").expect_code(1);
    assert!(done.stdout.contains(&key.fingerprint()), "{done:?}");
    assert!(done.stdout.contains("hannover-03 was not enrolled"), "{done:?}");
    answered("yes").expect_code(0);
    desk.ok(&["sign"]);
    assert_eq!(desk.keyring().docks[0].key, key);
}

#[test]
fn recipients_keep_the_rules() {
    let desk = Desk::with_recipient();
    let published = include_str!("../../keys-example/classic.recipient").trim_ascii_end();
    let days = ["--from", "2026-11-01", "--until", "2099-01-01"];
    let mixed = [&["add-recipient", "escrow", "--new", "--classic"][..], &days].concat();
    assert!(desk.refused(2, &mixed).contains("all recipients have days, or none"));
    let quantum = desk.refused(2, &["add-recipient", "escrow", "--new"]);
    assert!(quantum.contains("must not be mixed"), "{quantum}");
    assert!(!desk.path("identities/escrow.identity").exists(), "no key of a refused recipient");
    assert!(desk.refused(2, &["add-recipient", "escrow", "age1typo"]).contains("not a recipient"));
    let only = dockseal::keyring::Keyring::from_draft(
        &std::fs::read_to_string(desk.path("draft")).unwrap(),
    );
    let only = only.unwrap().members[0].recipient.to_string();
    assert!(desk.refused(1, &["retire", &only]).contains("no recipient would be left"));
    assert!(desk.refused(2, &["retire", "nobody"]).contains("is no dock"));

    desk.ok(&["add-recipient", "demo", published]);
    assert!(desk.refused(1, &["sign"]).contains("everybody has its private half"));
    desk.ok(&["sign", "--demo"]);
    desk.ok(&["retire", published]);
    desk.ok(&["sign"]);
    assert_eq!(desk.keyring().members.len(), 1);
    assert!(desk.refused(1, &["extend", "--until", "2001-01-01"]).contains("over already"));
}

#[test]
fn day_keys_are_one_file_a_day() {
    let desk = Desk::new();
    let span = ["--from", "2098-01-01", "--until", "2098-01-03", "--classic"];
    desk.ok(&[&["add-day-keys", "evidence"][..], &span].concat());
    for day in ["2098-01-01", "2098-01-02", "2098-01-03"] {
        assert!(desk.path(&format!("identities/evidence-{day}.identity")).exists(), "{day}");
    }
    assert!(desk.refused(1, &["sign"]).contains("no recipient is valid on 20"));
    let always = desk.refused(2, &["add-recipient", "escrow", "--new", "--classic"]);
    assert!(always.contains("escrow keys have days too"), "{always}");
    let long = ["add-day-keys", "x", "--from", "2098-01-01", "--until", "2100-01-01"];
    assert!(desk.refused(2, &long).contains("are more than 400 days"));
    let backwards = ["add-day-keys", "x", "--from", "2098-01-02", "--until", "2098-01-01"];
    assert!(desk.refused(2, &backwards).contains("2098-01-01 is before 2098-01-02"));
}

#[test]
fn an_old_or_foreign_draft_is_not_signed() {
    let desk = Desk::with_recipient();
    let old = std::fs::read(desk.path("draft")).unwrap();
    desk.ok(&["sign"]);
    // Ended between the revision and the draft: the same meaning goes on from the new revision.
    std::fs::write(desk.path("draft"), &old).unwrap();
    desk.ok(&["extend", "--until", "2090-01-01"]);
    desk.ok(&["sign"]);
    assert_eq!(desk.keyring().revision, 2);
    std::fs::write(desk.path("draft"), &old).unwrap();
    let said = desk.refused(10, &["sign"]);
    assert!(said.contains("made from revision 0, and revision 2 is signed"), "{said}");
    std::fs::remove_file(desk.path("draft")).unwrap();
    desk.ok(&["sign"]);
    assert_eq!(desk.keyring().revision, 3);

    let other = Desk::with_recipient();
    std::fs::copy(other.path("root.key"), desk.path("root.key")).unwrap();
    let said = desk.refused(10, &["sign"]);
    assert!(said.contains("revision 3 in keyrings/: not signed by the expected key"), "{said}");
    let shown = desk.run(&["show"]);
    assert_eq!(shown.code, 13, "{shown:?}");
    assert!(shown.stdout.contains("DOES NOT COUNT: the keyring is of another authority"));
}

#[test]
fn a_successor_takes_over_once_a_revision_names_it() {
    let desk = Desk::with_recipient();
    let old = desk.root().verifier();
    desk.ok(&["sign"]);
    desk.ok(&["successor", "--new"]);
    assert!(desk.refused(10, &["successor", "--take-over"]).contains("does not name"));
    desk.ok(&["sign"]);
    desk.ok(&["successor", "--take-over"]);
    desk.ok(&["sign"]);
    let mut trust = Trust::pinned(old);
    for number in 1..=3 {
        let bytes = std::fs::read(desk.path(&format!("keyrings/{number}"))).unwrap();
        assert_eq!(trust.take(&bytes), Ok(true), "revision {number}");
    }
    assert_eq!(desk.keyring().authority, desk.root().verifier());
}
