//! Four hundred docks in one bucket, some of which are not as they should be.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dockseal::clip::Timestamp;
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::merkle::{Frontier, Hash};
use dockseal::custody::status::{KeyringLine, Status, key};
use dockseal::custody::{Head, LogId, folder};
use dockseal::keyring::{Enrolled, Keyring, day_of};
use dockseal::note::{Kind, SignerKey};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::dock::{Finished, authority};
use crate::support::ledger::{self, Objects, Place};
use crate::support::scratch;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;

const LOG: LogId = LogId([7; 8]);
const COUNT: usize = 400;

fn name(number: usize) -> String {
    format!("dock-{number:03}")
}

fn key_of(number: usize) -> SignerKey {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    SignerKey::from_seed(&name(number), Kind::Note, &seed).expect("a name")
}

/// What a dock that is well says, so many seconds ago.
pub fn well(dock: &str, ago: i64) -> Status {
    let at = jiff::Timestamp::now().as_second() - ago;
    Status {
        dock: dock.to_owned(),
        at: jiff::Timestamp::from_second(at).expect("in range"),
        next_seconds: 690,
        version: "0.1.0".into(),
        log: LOG,
        log_size: 12,
        verdict: "ok".into(),
        needs: vec![],
        unsafe_count: 3,
        oldest_unsafe_seconds: 40,
        at_risk_count: 0,
        held: vec![],
        backlog_bytes: 3 << 20,
        free_bytes: Some(90 << 30),
        keyring: Some(KeyringLine { revision: 1, days_left: 30 }),
        drilled_seconds: Some(3600),
    }
}

/// The checkpoint of a dock's log at a size.
fn checkpoint(number: usize, size: u64) -> (String, Vec<u8>) {
    let mut frontier = Frontier::default();
    (0..size).for_each(|entry| frontier.push(Hash([entry as u8; 32])));
    let head = Head { log: LOG, size, root: frontier.root() };
    let note = Checkpoint::new(&name(number), head).sign(&key_of(number)).to_string();
    (folder(&name(number), LOG), note.into_bytes())
}

/// A keyring of all docks, and a bucket in which all are well.
struct Force {
    objects: Objects,
    place: Place,
    desk: TempDir,
}

impl Force {
    fn new(place: Place, count: usize) -> Force {
        let mut keyring = ledger::keyring();
        let days = keyring.docks[0].days;
        let enrolled = |number| Enrolled { key: key_of(number).verifier(), days };
        keyring.docks = (0..count).map(enrolled).collect();
        // One that was retired yesterday is nobody's business.
        let yesterday = day_of(Timestamp(jiff::Timestamp::now().as_millisecond()))
            .saturating_sub(jiff::Span::new().days(1));
        let mut retired = enrolled(count);
        retired.days.until = yesterday;
        keyring.docks.push(retired);
        let mut objects = Objects::new();
        for number in 0..count {
            let (folder, note) = checkpoint(number, 12);
            objects.insert(format!("{folder}/checkpoints/12"), note.clone());
            objects.insert(format!("{folder}/checkpoint"), note);
            let status = well(&name(number), 60 + number as i64);
            let note = status.sign(&key_of(number)).to_string();
            objects.insert(key(&name(number)), note.into_bytes());
        }
        let force = Force { objects, place, desk: scratch() };
        force.sign(&keyring);
        force.place.hold(&force.objects);
        force
    }

    fn sign(&self, keyring: &Keyring) {
        let root = ledger::signer("authority.example", Kind::Note, 1);
        let text = keyring.sign(&root).expect("good").to_string();
        std::fs::write(self.desk.path().join("keyring"), text).unwrap();
    }

    fn says(&mut self, number: usize, change: impl FnOnce(&mut Status)) {
        let mut status = well(&name(number), 60);
        change(&mut status);
        let note = status.sign(&key_of(number)).to_string();
        self.objects.insert(key(&name(number)), note.into_bytes());
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = authority(Login::Admin, &["fleet", &self.place.url()]);
        command.arg("--keyring").arg(self.desk.path().join("keyring")).args(words);
        if let Place::Seaweed(server, _) = &self.place {
            command.args(["-o", &format!("aws_endpoint={}", server.endpoint())]);
        }
        command
    }

    fn fleet(&self, words: &[&str]) -> Finished {
        Finished::new(self.command(words).output().expect("it starts"))
    }

    fn page(&self) -> PathBuf {
        self.desk.path().join("fleet.html")
    }
}

/// Spoils what some docks say; gives their names and the verdicts that must follow, in the order of
/// the table.
fn spoil(force: &mut Force) -> Vec<(String, &'static str)> {
    let at_seconds = |ago: i64| {
        jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - ago).expect("in range")
    };
    force.objects.remove(&key(&name(20)));
    force.objects.retain(|key, _| !key.starts_with("dock-021/"));
    force.says(22, |status| status.at = at_seconds(-7200));
    let forged = well(&name(23), 60).sign(&key_of(24)).to_string();
    force.objects.insert(key(&name(23)), forged.into_bytes());
    let of_another = well(&name(25), 60).sign(&key_of(25)).to_string();
    force.objects.insert(key(&name(24)), of_another.into_bytes());
    // Its log is as young as this bucket.
    force.says(26, |status| {
        status.at = at_seconds(7200);
        (status.unsafe_count, status.backlog_bytes) = (8, 8 << 30);
    });
    force.says(27, |status| status.log_size = 13);
    force.objects.insert(key(&name(28)), b"well\n".to_vec());
    force.objects.insert(key("stranger"), b"well\n".to_vec());
    force.says(30, |status| {
        status.verdict = "attention".into();
        status.needs = vec!["disk-full".into()];
        (status.unsafe_count, status.at_risk_count) = (40, 5);
        status.oldest_unsafe_seconds = 90_000;
    });
    force.says(31, |status| status.verdict = "waiting".into());
    force.place.hold(&force.objects);
    vec![
        (name(20), "never"),
        (name(21), "never"),
        (name(22), "ahead"),
        (name(23), "forged"),
        (name(24), "forged"),
        (name(26), "outdated"),
        (name(27), "shortened"),
        (name(28), "unreadable"),
        (name(30), "attention"),
        (name(31), "waiting"),
    ]
}

fn docks(said: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let docks = said["docks"].as_array().expect("a list");
    docks.iter().map(|dock| (text(&dock["dock"]), text(&dock["verdict"]))).collect()
}

/// Four hundred docks in this place: first all are well, then some are spoilt.
fn look_at_many(place: Place) {
    let mut force = Force::new(place, COUNT);
    let said = force.fleet(&[]).expect_code(0).stdout;
    assert!(said.starts_with("400 docks, 0 need you, 0 clips at risk\n"), "{said}");
    assert!(said.contains("400 ok; 1200 clips on the way (1.2 GiB, oldest 40s)"), "{said}");
    assert_eq!(said.lines().count(), 4, "those that are well are one line: {said}");

    let expected = spoil(&mut force);
    let said = force.fleet(&["--json"]).expect_code(3).json();
    let (strangers, found): (Vec<_>, Vec<_>) =
        docks(&said).into_iter().partition(|(_, verdict)| verdict == "unknown");
    assert_eq!(strangers.len(), 1, "{strangers:?}");
    let found: Vec<_> = found.iter().map(|(dock, word)| (dock.clone(), word.as_str())).collect();
    assert_eq!(found[..expected.len()], expected);
    assert!(found[expected.len()..].iter().all(|(_, word)| *word == "ok"));
    assert_eq!(said["dock_count"], COUNT + 1);
    assert_eq!(said["need_you_count"], 10, "nine and the stranger");
    // What it says itself; all that was not safe, where its word is old.
    assert_eq!(said["at_risk_count"], 5 + 8 + 3 + 3, "{said:#}");
    assert_eq!(said["unknown_count"], 6);
    let table = force.fleet(&[]).expect_code(3).stdout;
    let first = "401 docks, 10 need you, 19 clips at risk (of 6 docks not known)\n";
    assert!(table.starts_with(first), "{table}");
    assert!(table.contains("its log is not in the bucket up to entry 13"), "{table}");
    assert!(table.contains("\n390 ok; "), "{table}");
    assert!(!table.contains("dock-400"), "retired: {table}");
    let all = force.fleet(&["--all"]).expect_code(3).stdout;
    assert!(all.contains("dock-399") && all.lines().count() > COUNT, "{all}");
}

#[test]
fn of_four_hundred_docks_those_come_first_that_need_somebody() {
    look_at_many(Place::Folder(scratch()));
}

#[test]
fn four_hundred_docks_of_an_s3_server_are_one_look() {
    needs!(Weed);
    let server = Seaweed::shared();
    look_at_many(Place::Seaweed(server, server.url("fleet-many")));
}

#[test]
fn a_silent_dock_comes_first_with_all_that_it_had_to_lose() {
    let mut force = Force::new(Place::Folder(scratch()), 3);
    force.says(1, |status| {
        let yesterday = status.at.as_second() - 86_400;
        status.at = jiff::Timestamp::from_second(yesterday).expect("in range");
        (status.unsafe_count, status.at_risk_count) = (17, 1);
    });
    force.place.hold(&force.objects);
    let Place::Folder(dir) = &force.place else { unreachable!("a folder") };
    // Its log ended when it did.
    let latest = dir.path().join(folder(&name(1), LOG)).join("checkpoint");
    let file = std::fs::File::options().write(true).open(&latest).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(86_400))
        .unwrap();
    let said = force.fleet(&[]).expect_code(3).stdout;
    assert!(said.starts_with("3 docks, 1 needs you, 17 clips at risk\n"), "{said}");
    assert!(said.contains("dock-001             silent"), "{said}");
    assert!(said.contains("no word for 1d 0h; it promised one within 11m 30s"), "{said}");
}

#[test]
fn a_keyring_that_somebody_else_signed_shows_nothing() {
    let force = Force::new(Place::Folder(scratch()), 1);
    let other = ledger::signer("authority.example", Kind::Note, 2).verifier().to_string();
    let said = force.fleet(&["--authority", &other]).expect_code(10);
    assert_eq!(said.stdout, "");
    let mut without = authority(Login::Admin, &["fleet", &force.place.url()]);
    Finished::new(without.output().unwrap()).expect_code(2);
}

/// Reads pretty JSON documents, one after the other, as they come.
fn next_document(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Value {
    let mut text = String::new();
    for line in lines {
        let line = line.expect("the program writes");
        text.push_str(&line);
        if line == "}" {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
    panic!("it ended: {text}");
}

/// The first document of which this is so.
fn document_until(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        let said = next_document(lines);
        if is_so(&said) {
            return said;
        }
    }
}

#[test]
fn a_watch_notices_an_old_word_and_a_bucket_that_is_gone_and_the_wall_says_so() {
    let mut force = Force::new(Place::Folder(scratch()), 2);
    let page = force.page();
    let words = ["--json", "--watch", "5", "--html", page.to_str().unwrap()];
    let mut watch = force.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let said = next_document(&mut lines);
    assert_eq!(said["need_you_count"], 0, "{said:#}");
    let on_the_wall = std::fs::read_to_string(&page).unwrap();
    assert!(on_the_wall.contains("<meta http-equiv=\"refresh\" content=\"5\">"), "{on_the_wall}");
    assert!(on_the_wall.contains("Nothing to do."), "{on_the_wall}");

    // Signed by the dock, and older than what was heard: somebody put it back.
    force.says(1, |status| *status = well(&name(1), 300));
    force.place.hold(&force.objects);
    document_until(&mut lines, |said| said["docks"][0]["verdict"] == "replayed");

    let Place::Folder(dir) = &force.place else { unreachable!("a folder") };
    let away = force.desk.path().join("away");
    std::fs::rename(dir.path(), &away).unwrap();
    let said = document_until(&mut lines, |said| said["trouble"].is_string());
    assert_eq!(said["docks"][0]["verdict"], "replayed", "the last look stays: {said:#}");
    let on_the_wall = std::fs::read_to_string(&page).unwrap();
    assert!(on_the_wall.contains("<p class=\"trouble\">Not new: "), "{on_the_wall}");
    std::fs::rename(&away, dir.path()).unwrap();
    document_until(&mut lines, |said| said["trouble"].is_null());
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));
}

/// All that a browser would fetch, or run from elsewhere.
fn fetched(page: &str) -> Vec<&str> {
    let ways = [" src=", " href=", "url(", "@import", "http:", "https:", "<link", "<iframe"];
    ways.into_iter().filter(|way| page.contains(way)).collect()
}

#[test]
fn the_page_of_a_wall_fetches_nothing_and_others_may_read_it() {
    let mut force = Force::new(Place::Folder(scratch()), COUNT);
    spoil(&mut force);
    let page = force.page();
    force.fleet(&["--html", page.to_str().unwrap()]).expect_code(3);
    let text = std::fs::read_to_string(&page).unwrap();
    // For the browser of the wall, which is somebody else.
    assert_eq!(mode(&page), 0o644);
    assert_eq!(std::fs::read_dir(force.desk.path()).unwrap().count(), 2, "keyring and page");
    assert_eq!(text.matches("<li class=").count(), COUNT + 1);
    assert_eq!(fetched(&text), Vec::<&str>::new());
    assert!(text.contains("default-src 'none'"), "{text}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
