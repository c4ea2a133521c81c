//! From a root key to an audit, with the three programs alone and a real S3 server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::dock::{BucketConfig, Choices, Dock, Finished, authority};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::{Tool, needs};
use crate::support::{scratch, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// A dock that an authority enrolled, and the authority's folder.
pub struct Force {
    dock: Dock,
    url: String,
    /// `-o aws_endpoint=…`, where the bucket has one.
    option: Vec<String>,
    dir: TempDir,
}

impl Force {
    fn at_seaweed(test: &str, more: &str) -> Force {
        let server = Seaweed::shared();
        Force::behind(&server.endpoint(), &server.url(test), more)
    }

    /// At a place of a SeaweedFS that is reached by this endpoint.
    pub fn behind(endpoint: &str, url: &str, more: &str) -> Force {
        let option = vec!["-o".to_owned(), format!("aws_endpoint={endpoint}")];
        Force::new(BucketConfig::s3(endpoint, url), option, more)
    }

    pub fn new(bucket: BucketConfig, option: Vec<String>, more: &str) -> Force {
        let (dir, url) = (scratch(), bucket.url.clone());
        let mut choices = Choices::new("", bucket);
        choices.recipients.clear();
        choices.settle_seconds = 0;
        let force = Force { dock: Dock::new(&choices), url, option, dir };
        force.desk(&["init", "bpol.example"]);
        force.desk(&["add-recipient", "evidence", "--new", "--classic"]);
        force.desk(&["add-recipient", "escrow", "--new", "--classic"]);
        let root = force.desk(&["show", "--json"]).json();
        let root = root["authority"].as_str().expect("the root's key").to_owned();
        let keyring = force.place("keyring");
        choices.more = format!(
            "rescan_seconds = 1\nkeyring = \"{}\"\nauthority = \"{root}\"\n{more}",
            keyring.display()
        );
        force.dock.reconfigure(&choices);
        let said = force.dock.finish(&["init"]).expect_code(0).stdout;
        let line = said.lines().find(|line| line.contains("dockseal-dock ")).expect("a line");
        let fingerprint = said.lines().find_map(|line| line.trim().strip_prefix("fingerprint "));
        let fingerprint = fingerprint.expect("a fingerprint");
        force.desk(&["add-dock", line.trim(), "--fingerprint", fingerprint]);
        force.desk(&["sign"]);
        force.publish();
        force
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join("authority").join(name)
    }

    fn desk(&self, words: &[&str]) -> Finished {
        let folder = self.place("");
        let mut command = authority(Login::Admin, &["keyring"]);
        command.args(words).arg("--dir").arg(&folder);
        Finished::new(command.output().expect("it starts")).expect_code(0)
    }

    fn publish(&self) {
        let option = self.option.iter().map(String::as_str);
        self.desk(&["publish", &self.url].into_iter().chain(option).collect::<Vec<_>>());
    }

    /// A command of the authority's program with its keyring, its identity and the bucket's place.
    fn authority(&self, words: &[&str]) -> Finished {
        let mut command = authority(Login::Admin, words);
        command.arg("--keyring").arg(self.place("keyring"));
        command.arg("-i").arg(self.place("identities/evidence.identity"));
        command.args(&self.option);
        Finished::new(command.output().expect("it starts"))
    }

    /// Leaves a drill's receipt in the bucket.
    pub fn drill(&self) {
        let mut drill = authority(Login::Admin, &["drill", &self.url]);
        drill.arg("--keyring").arg(self.place("keyring"));
        drill.arg("-i").arg(self.place("identities/escrow.identity"));
        drill.arg("--signing-key").arg(self.place("root.key"));
        drill.args(&self.option);
        Finished::new(drill.output().expect("it starts")).expect_code(0);
    }

    /// `dockseal-audit` with the authority's keyring.
    pub fn audit(&self, words: &[&str]) -> Finished {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockseal-audit"));
        command.env_clear().envs(Login::Admin.env()).args(words);
        command.arg("--keyring").arg(self.place("keyring"));
        command.args(&self.option);
        Finished::new(command.output().expect("it starts"))
    }

    /// `dockseal-authority fleet` with the authority's keyring.
    pub fn fleet(&self, words: &[&str]) -> Finished {
        let mut command = authority(Login::Admin, &["fleet", &self.url]);
        command.arg("--keyring").arg(self.place("keyring")).args(&self.option).args(words);
        Finished::new(command.output().expect("it starts"))
    }

    /// The dock.
    pub fn dock(&mut self) -> &mut Dock {
        &mut self.dock
    }

    /// Drops a clip and runs the dock until it is in the bucket.
    pub fn seal(&self, name: &str, content: &[u8]) {
        std::fs::write(self.dock.folder().join(name), content).expect("written");
        self.dock.run_until_idle().expect_code(0);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_clip_is_authentic_from_its_dock_to_the_desk_and_the_audit_needs_no_secret() {
    needs!(Weed, Setpriv);
    let force = Force::at_seaweed("trust", "");
    force.seal("a.mp4", b"the first clip");
    force.seal("b.mp4", &[7; 300_000]);

    let out = scratch();
    let out_dir = out.path().to_str().expect("UTF-8");
    let opened = force.authority(&["open", &force.url, "--out", out_dir]).expect_code(0);
    let said = format!("{}{}", opened.stdout, opened.stderr);
    assert_eq!(said.matches("authentic: sealed by test-dock-1").count(), 2, "{said}");
    assert_eq!(names(out.path()), ["a.mp4", "b.mp4"]);
    force.authority(&["verify", &force.url]).expect_code(0);

    let audited = force.audit(&[&force.url, "--full"]).expect_code(0);
    assert!(audited.stdout.contains("test-dock-1"), "{}", audited.stdout);

    // The authority proves that clips open; the dock may not read that, so it says nothing.
    let check = force.dock.finish(&["check"]).stdout;
    assert!(check.contains("`keyring` may not be read"), "{check}");
    force.drill();
    force.dock.run_until_idle().expect_code(0);
    assert!(force.dock.json(&["status"])["standing"]["drilled_seconds"].is_null());
    let waits = ["init", "--prove", "--drill", "10m"];
    let closed = force.dock.finish(&waits).expect_code(3).stdout;
    assert!(closed.contains("this dock may not read the authority's receipts"), "{closed}");
    force.audit(&[&force.url, "--full"]).expect_code(0);
}

#[test]
fn what_a_witness_saw_is_not_undone_by_whoever_has_the_docks_whole_disk() {
    needs!(Weed, Setpriv);
    let keys = scratch();
    let key_file = keys.path().join("witness.key");
    let program = env!("CARGO_BIN_EXE_dockseal-audit");
    let made = std::process::Command::new(program)
        .args(["witness", "keygen", "witness.example"])
        .arg(&key_file)
        .output();
    let made = Finished::new(made.expect("it starts")).expect_code(0).stdout;
    let vkey = made.split_whitespace().find(|word| word.starts_with("witness.example+"));
    let vkey = vkey.expect("the witness's public key").to_owned();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!("[witness]\nurl = \"http://127.0.0.1:{port}\"\nkey = \"{vkey}\"");
    let force = Force::at_seaweed("witnessed", &more);
    let witnessed = keys.path().join("witnessed");
    let witness = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", program, "witness", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("--key")
        .arg(&key_file)
        .arg("--keyring")
        .arg(force.place("keyring"))
        .arg("--state")
        .arg(&witnessed)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut witness = witness.expect("it starts");
    wait_for("the witness to listen", SOON, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
    });

    // The evil twin's beginning: the whole state directory, its signing key too.
    force.dock.run_until_idle().expect_code(0);
    let twin = keys.path().join("twin");
    let state = force.dock.state_dir();
    let copied = std::process::Command::new("cp").arg("-a").args([&state, &twin]).status();
    assert!(copied.unwrap().success());
    force.seal("a.mp4", b"what must not be forgotten");
    let status = force.dock.json(&["status"]);
    assert!(status["standing"]["witness_problem"].is_null(), "{status}");
    let words = [&force.url, "--full", "--witness", &vkey, "--witnessed"];
    let words = words.map(|word| word as &str);
    let with_witness = [&words[..], &[witnessed.to_str().expect("UTF-8")]].concat();
    force.audit(&with_witness).expect_code(0);

    // History is rewritten: all that the bucket has is removed, and the twin writes another log
    // of the same name, in which the clip never was.
    let server = Seaweed::shared();
    server.remove_all(&force.url);
    force.publish();
    std::fs::remove_dir_all(force.dock.state_dir()).unwrap();
    std::fs::rename(&twin, force.dock.state_dir()).unwrap();
    force.dock.run_until_idle();
    force.seal("b.mp4", b"what should be believed instead");
    let problem = force.dock.json(&["status"])["standing"]["witness_problem"].clone();
    assert!(problem.is_string(), "the witness cosigned a rewritten log");
    // Without a witness it looks well; with what the witness remembers it does not.
    force.audit(&[&force.url, "--full"]).expect_code(0);
    let caught = force.audit(&with_witness).expect_code(13);
    let said = format!("{}{}", caught.stdout, caught.stderr);
    assert!(said.contains("test-dock-1/log/"), "{said}");
    witness.kill().unwrap();
    witness.wait().unwrap();
}

#[test]
fn a_dock_that_may_read_it_shows_when_its_clips_were_last_proven_to_open() {
    let bucket = scratch();
    let force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    force.seal("a.mp4", b"a clip");
    assert!(force.dock.json(&["status"])["standing"]["drilled_seconds"].is_null());
    force.drill();
    force.dock.run_until_idle().expect_code(0);
    let status = force.dock.finish(&["status"]).expect_code(0).stdout;
    assert!(status.contains("proven to open"), "{status}");
    // What anybody could put there counts for nothing.
    let receipt = bucket.path().join("authority/drill/test-dock-1");
    let forged = std::fs::read_to_string(&receipt).unwrap().replace("opened 1", "opened 2");
    std::fs::write(&receipt, forged).unwrap();
    force.dock.run_until_idle().expect_code(0);
    assert!(force.dock.json(&["status"])["standing"]["drilled_seconds"].is_u64());
    let check = force.dock.finish(&["check"]).stdout;
    assert!(check.contains("`keyring` may be read"), "{check}");
}

#[test]
fn a_test_clip_is_confirmed_by_the_authoritys_drill() {
    let bucket = scratch();
    let force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    force.seal("a.mp4", b"a clip");
    force.drill();
    // A drill of other clips confirms nothing.
    let late = force.dock.finish(&["init", "--prove", "--drill", "1s"]).expect_code(3).stdout;
    assert!(late.contains("not confirmed: no drill of this clip within 1s\n"), "{late}");
    let mut proving = force.dock.command(&["init", "--prove", "--drill", "10m"]);
    let mut proving = proving.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(proving.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("waiting for its receipt, 10m 0s")));
    force.drill();
    let last = said.map(Result::unwrap).collect::<Vec<_>>().join("\n");
    assert!(last.starts_with("confirmed: the authority opened the test clip, 2"), "{last}");
    assert!(proving.wait().unwrap().success());
}

#[test]
fn a_second_verifier_agrees_about_the_bucket_of_a_real_dock() {
    needs!(Cryptography);
    let bucket = scratch();
    let force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    for number in 0..100 {
        std::fs::write(force.dock.folder().join(format!("{number}.mp4")), [number]).unwrap();
    }
    force.dock.run_until_idle().expect_code(0);
    force.seal("last.mp4", b"last");
    let entries = force.dock.json(&["log"])["size"].as_u64().expect("a number");
    assert!(entries > 256, "the log has no full tile: {entries}");
    let root = force.desk(&["show", "--json"]).json()["authority"].clone();
    let verify = || {
        let mut python = std::process::Command::new(Tool::Cryptography.path());
        python.arg("-B").arg("tests/second_verifier.py");
        python.arg("--keyring").arg(force.place("keyring"));
        python.arg("--root").arg(root.as_str().expect("a key")).arg(bucket.path());
        Finished::new(python.output().expect("python starts"))
    };
    verify().expect_code(0);
    force.audit(&[&force.url, "--full"]).expect_code(0);
    let clips = bucket.path().join("test-dock-1/clips");
    let shelf = clips.join(&names(&clips)[0]);
    let clip = shelf.join(&names(&shelf)[0]);
    std::fs::remove_file(&clip).unwrap();
    let name = clip.file_name().unwrap().to_str().unwrap();
    for caught in [verify().expect_code(13), force.audit(&[&force.url]).expect_code(13)] {
        let said = format!("{}{}", caught.stdout, caught.stderr);
        assert!(said.contains(name.strip_suffix(".age").unwrap()), "{said}");
    }
}
