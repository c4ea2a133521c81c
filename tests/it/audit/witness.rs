//! The witness: asked over HTTP, killed, started again, and believed by the audit.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dockseal::custody::entry::Event;
use dockseal::custody::merkle::{Hash, Hashes, consistency_proof, leaf_hash};
use dockseal::custody::tile::perfect_root;
use dockseal::note::Note;

use super::{Auditor, program, text};
use crate::support::dock::Finished;
use crate::support::ledger::{Ledger, Place, World, world};
use crate::support::scratch;

/// A running witness; dropping it kills it.
struct Witness {
    process: Child,
    address: String,
    key: String,
}

impl Witness {
    fn keygen(auditor: &Auditor) {
        let mut command = program();
        command.args(["witness", "keygen", "witness.example"]).arg(auditor.path("witness.key"));
        let said = Finished::new(command.output().unwrap()).expect_code(0);
        assert!(said.stdout.starts_with("witness.example+"));
        let again = Finished::new(command.output().unwrap()).expect_code(1);
        assert!(again.stderr.contains("never overwritten"), "{}", again.stderr);
    }

    fn start(auditor: &Auditor) -> Witness {
        let mut command = program();
        command.args(["witness", "--listen", "127.0.0.1:0"]);
        for name in ["key", "keyring", "state"] {
            let file = if name == "keyring" { "keyring".into() } else { format!("witness.{name}") };
            command.arg(format!("--{name}")).arg(auditor.path(&file));
        }
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut line = |words: &str| {
            let line = lines.next().expect("it says").expect("UTF-8");
            line.strip_prefix(words).expect("in this order").to_owned()
        };
        let (key, address) = (line("witness "), line("listening on "));
        Witness { process, address, key }
    }

    /// Status, headers and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let size = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: witness\r\nContent-Length: {size}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    fn add(&self, old: u64, proof: &[Hash], note: &str) -> (u16, String, String) {
        let proof: String = proof.iter().map(|h| format!("{}\n", BASE64.encode(h.0))).collect();
        self.ask("POST", "/add-checkpoint", &format!("old {old}\n{proof}\n{note}"))
    }

    /// Has the newest checkpoint of a ledger cosigned, and puts it in place.
    fn cosign(&self, world: &mut World, ledger: &Ledger, seed: u8, old: u64, proof: &[Hash]) {
        let note = ledger.checkpoint(seed);
        let (status, _, lines) = self.add(old, proof, &note);
        assert_eq!(status, 200, "{lines}");
        let mut note = Note::parse(note.as_bytes()).unwrap();
        note.add_lines(&lines).unwrap();
        let size = ledger.entries.len();
        let key = format!("{}/checkpoints/{size}", ledger.folder());
        world.objects.insert(key, note.to_string().into_bytes());
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Leaves<'a>(&'a Ledger);

impl Hashes for Leaves<'_> {
    type Error = ();

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, ()> {
        let range = (index << level) as usize..((index + 1) << level) as usize;
        let leaves: Vec<_> = self.0.entries[range].iter().map(|entry| leaf_hash(entry)).collect();
        Ok(perfect_root(&leaves))
    }
}

fn proof(ledger: &Ledger, old: u64) -> Vec<Hash> {
    consistency_proof(&mut Leaves(ledger), old, ledger.entries.len() as u64).unwrap()
}

/// Who has the dock's state directory, its key too, and may write to the bucket, writes its history
/// anew from some entry on.
fn rewrite(world: &mut World, from: usize) -> Ledger {
    let mut forged = world.one.clone();
    forged.entries.truncate(from);
    world.objects.retain(|key, _| !key.starts_with("d-1/log/"));
    while forged.entries.len() < 310 {
        forged.add(Event::Forgotten { number: 7 });
    }
    forged.forget();
    forged.publish(&mut world.objects);
    forged
}

#[test]
fn history_before_the_last_witnessed_checkpoint_cannot_be_altered_unseen() {
    let (auditor, place) = (Auditor::new(), Place::Folder(scratch()));
    Witness::keygen(&auditor);
    let mut world = world();
    let witness = Witness::start(&auditor);
    let key = witness.key.clone();
    let (one, two) = (world.one.clone(), world.two.clone());
    witness.cosign(&mut world, &two, 12, 0, &[]);
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &["--witness", &key]).expect_code(3);
    let line = format!("{}: no checkpoint carries a cosignature", one.folder());
    assert!(said.stdout.contains(&line), "{}", said.stdout);
    witness.cosign(&mut world, &one, 11, 0, &[]);
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &["--witness", &key]).expect_code(0);
    assert!(said.stdout.contains("last cosigned by witness.example"), "{}", said.stdout);

    let (status, _, seen) = witness.ask("GET", "/checkpoints", "");
    assert_eq!(status, 200);
    let file = auditor.path("witnessed");
    std::fs::write(&file, seen).unwrap();
    let remembering = ["--witness", &key, "--witnessed", text(&file), "--stale-after", "9d"];
    auditor.audit(&[&place], &remembering).expect_code(0);
    let mut altered = world.clone();
    let forged = rewrite(&mut altered, 297);
    // The dock's own key signs it, so nobody sees it who remembers nothing.
    place.hold(&altered.objects);
    auditor.audit(&[&place], &["--stale-after", "9d"]).expect_code(0);
    let said = auditor.audit(&[&place], &remembering).expect_code(13);
    let line = format!("{}: rewritten: the witness witness.example", one.folder());
    assert!(said.stdout.contains(&line), "{}", said.stdout);
    // Nor does the witness cosign it, whatever is claimed.
    let note = forged.checkpoint(11);
    assert_eq!(witness.add(300, &proof(&forged, 300), &note).0, 422);
    assert_eq!(witness.add(297, &proof(&forged, 297), &note).0, 409);
    assert_eq!(witness.add(0, &[], &note).0, 409);

    // Rolled back to before: shorter than the witness saw.
    let mut rolled_back = world.clone();
    let newest = format!("{}/checkpoints/300", one.folder());
    rolled_back.objects.remove(&newest);
    rolled_back.objects.remove(&format!("{}/checkpoint", one.folder()));
    place.hold(&rolled_back.objects);
    let said = auditor.audit(&[&place], &remembering).expect_code(13);
    let line = format!("{}: rolled back: the witness witness.example", one.folder());
    assert!(said.stdout.contains(&line), "{}", said.stdout);
}

#[test]
fn a_witness_that_was_killed_forgot_nothing() {
    let auditor = Auditor::new();
    Witness::keygen(&auditor);
    let mut world = world();
    let mut one = world.one.clone();
    let witness = Witness::start(&auditor);
    witness.cosign(&mut world, &one, 11, 0, &[]);
    // SIGKILL, right behind the answer.
    drop(witness);
    let witness = Witness::start(&auditor);
    let (status, head, body) = witness.add(0, &[], &one.checkpoint(11));
    assert_eq!((status, body.as_str()), (409, "300\n"));
    assert!(head.contains("content-type: text/x.tlog.size"), "{head}");
    one.add(Event::Alive);
    witness.cosign(&mut world, &one, 11, 300, &proof(&one, 300));
    let state = std::fs::read(auditor.path("witness.state")).unwrap();
    assert_eq!(witness.ask("GET", "/checkpoints", "").2.into_bytes(), state);
    // Another witness's memory, or rubbish, is not taken for none.
    std::fs::write(auditor.path("witness.state"), "rubbish\n").unwrap();
    drop(witness);
    let mut command = program();
    command.args(["witness", "--listen", "127.0.0.1:0", "--key"]).arg(auditor.path("witness.key"));
    command.arg("--keyring").arg(auditor.path("keyring"));
    command.arg("--state").arg(auditor.path("witness.state"));
    Finished::new(command.output().unwrap()).expect_code(10);
}

#[test]
fn strangers_and_rubbish_get_the_answers_of_the_specification() {
    let auditor = Auditor::new();
    Witness::keygen(&auditor);
    let one = world().one;
    let mut witness = Witness::start(&auditor);
    let note = one.checkpoint(11);
    assert_eq!(witness.add(0, &[], &note.replace("d-1/", "d-9/")).0, 404);
    assert_eq!(witness.add(0, &[], &one.checkpoint(66)).0, 403);
    assert_eq!(witness.add(301, &[], &note).0, 400);
    assert_eq!(witness.add(0, &[one.head().root], &note).0, 422);
    assert_eq!(witness.ask("POST", "/add-checkpoint", "rubbish").0, 400);
    let large = "x".repeat(65 << 10);
    assert_eq!(witness.ask("POST", "/add-checkpoint", &large).0, 413);
    assert_eq!(witness.ask("GET", "/other", "").0, 404);
    assert!(!Path::new(&auditor.path("witness.state")).exists());
    // SIGTERM ends it at once and in order.
    let id = rustix::process::Pid::from_child(&witness.process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let asked = Instant::now();
    assert_eq!(witness.process.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5));
}
