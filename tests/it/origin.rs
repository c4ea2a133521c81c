//! Who sealed a clip: opened with a verdict where a dock logged it, refused in words where not.

use std::path::{Path, PathBuf};
use std::process::Command;

use dockseal::clip::SealedName;
use dockseal::custody::drill::Drill;
use dockseal::custody::entry::{Entry, Event};
use dockseal::envelope::recipient::Recipients;
use tempfile::TempDir;

use crate::keyring_desk::Desk;
use crate::support::dock::Finished;
use crate::support::mini_log::{Clip, MiniLog};
use crate::support::{authority, scratch};

/// An authority, a bucket, and a dock that the keyring has.
struct Site {
    desk: Desk,
    dir: TempDir,
    recipients: Recipients,
    log: MiniLog,
}

impl Site {
    fn new() -> Site {
        let desk = Desk::with_recipient();
        let dir = scratch();
        for folder in ["bucket", "out"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let log = MiniLog::new(&dir.path().join("bucket"), "hannover-03", 2);
        desk.enrol(&log.verifier());
        desk.ok(&["sign"]);
        let members = desk.keyring().members.into_iter();
        let recipients = Recipients::new(members.map(|one| one.recipient).collect()).unwrap();
        Site { desk, dir, recipients, log }
    }

    fn seal(&mut self, name: &str) -> Clip {
        self.log.seal(&self.recipients, name, name.as_bytes())
    }

    fn url(&self) -> String {
        format!("file://{}", self.dir.path().join("bucket").display())
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    fn opened_count(&self) -> usize {
        std::fs::read_dir(self.out("")).unwrap().count()
    }

    fn command(&self, word: &str) -> Command {
        let mut command = authority::program();
        command.arg(word).arg("--identity").arg(self.desk.path("identities/evidence.identity"));
        command.env("DOCKSEAL_KEYRING", self.desk.path("keyring"));
        command
    }

    fn open(&self, clip: &Path, more: &[&str]) -> Finished {
        let mut open = self.command("open");
        open.arg(clip).args(more).arg("--out").arg(self.out(""));
        authority::finish(&mut open)
    }

    /// Refused as tampered, with this reason, and nothing is left behind.
    fn refused(&self, clip: &Clip, why: &str) {
        let done = self.open(&clip.path, &[]);
        assert_eq!(done.code, 13, "{done:?}");
        assert!(done.stderr.contains(why), "{why}: {done:?}");
        assert_eq!(self.opened_count(), 0, "no output of a refused clip");
    }

    fn drill(&self) -> Finished {
        let mut drill = self.command("drill");
        drill.arg(self.url()).arg("--signing-key").arg(self.desk.path("root.key"));
        authority::finish(&mut drill)
    }
}

#[test]
fn an_authentic_clip_opens_with_its_verdict() {
    let mut site = Site::new();
    site.log.beat(300);
    let clip = site.seal("a.mp4");
    site.log.beat(400);
    site.log.publish();
    let done = site.open(&clip.path, &[]);
    assert_eq!(done.code, 0, "{done:?}");
    let verdict = "authentic: sealed by hannover-03 on 2026-11-21T14:00:00Z, entry 300 of log \
                   0202020202020202";
    assert!(done.stderr.contains(verdict), "{done:?}");
    assert!(!done.stdout.contains("origin not checked"), "{done:?}");
    assert_eq!(std::fs::read(site.out("a.mp4")).unwrap(), b"a.mp4");
    // A copy elsewhere is looked up in the bucket that is named, and as JSON.
    let copy = site.dir.path().join("copy.age");
    std::fs::copy(&clip.path, &copy).unwrap();
    let unplaced = site.open(&copy, &[]);
    assert_eq!(unplaced.code, 2, "{unplaced:?}");
    assert!(unplaced.stderr.contains("give --bucket URL"), "{unplaced:?}");
    let done = site.open(&copy, &["--json", "--bucket", &site.url()]);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let opened = &json["clips"][0]["opened"];
    assert_eq!((&opened["origin"], &opened["was_there"]), (&"authentic".into(), &true.into()));
    assert_eq!(opened["verdict"]["entry"], 300);
    // Without a keyring it opens, and says so.
    let mut open = site.command("open");
    open.env_remove("DOCKSEAL_KEYRING").arg(&copy).arg("--out").arg(site.out(""));
    let done = authority::finish(&mut open);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("; origin not checked: give --keyring"), "{done:?}");
}

#[test]
fn a_forged_clip_is_refused_and_leaves_nothing_behind() {
    let mut site = Site::new();
    site.seal("a.mp4");
    let forged = site.log.forge(&site.recipients, "b.mp4", b"never seen by a camera");
    site.log.publish();
    site.refused(&forged, "the log of hannover-03 does not have it");
    // Within a whole bucket, the others open.
    let done = site.open(Path::new(&site.url()), &[]);
    assert_eq!((done.code, site.opened_count()), (3, 1), "{done:?}");
    // And all the same, loudly.
    let done = site.open(&forged.path, &["--accept-unlogged"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr.contains("WARNING") && done.stderr.contains("does not have it"),
        "{done:?}"
    );
    assert!(site.out("b.mp4").exists());
}

#[test]
fn what_the_log_does_not_say_so_is_refused() {
    let mut site = Site::new();
    let clip = site.log.forge(&site.recipients, "a.mp4", b"abc");
    let log = |site: &mut Site, change: &dyn Fn(&mut SealedName, &mut u64)| {
        let mut entry = clip.entry.clone();
        let Event::Sealed { commitment, size, .. } = &mut entry.event else { panic!("sealed") };
        change(commitment, size);
        site.log.entries = vec![entry.encode()];
        site.log.publish();
    };
    log(&mut site, &|commitment, _| commitment.0[0] ^= 1);
    site.refused(&clip, "the clip is not the one that hannover-03 logged");
    log(&mut site, &|_, size| *size += 1);
    site.refused(&clip, "bytes, and hannover-03 logged");
    // Logged on a day before the dock was enrolled.
    let early = Entry::new(dockseal::clip::Timestamp(0), clip.entry.event.clone());
    site.log.entries = vec![early.encode()];
    site.log.publish();
    site.refused(&clip, "was not enrolled with the log's key on 1970-01-01");
}

#[test]
fn a_log_that_was_cut_or_changed_is_not_believed() {
    let mut site = Site::new();
    let first = site.seal("a.mp4");
    site.log.publish();
    let second = site.seal("b.mp4");
    site.log.publish();
    // Rolled back to an older, valid checkpoint: what came later was never logged.
    let newest = site.log.folder().join("checkpoints/2");
    let note = std::fs::read(&newest).unwrap();
    std::fs::remove_file(&newest).unwrap();
    let older = site.log.folder().join("checkpoints/1");
    std::fs::copy(older, site.log.folder().join("checkpoint")).unwrap();
    site.refused(&second, "the log of hannover-03 does not have it");
    std::fs::write(&newest, note).unwrap();
    // A bundle that is gone, and one in which an entry was swapped for another.
    let bundle = site.log.folder().join("tile/entries/000.p/2");
    let bytes = std::fs::read(&bundle).unwrap();
    std::fs::remove_file(&bundle).unwrap();
    site.refused(&second, "tile/entries/000.p/2 is missing");
    std::fs::write(&bundle, &bytes[..bytes.len() - 1]).unwrap();
    site.refused(&second, "tile/entries/000.p/2 is malformed");
    let forged = site.log.forge(&site.recipients, "c.mp4", b"forged");
    let entries = [site.log.entries[0].clone(), forged.entry.encode()];
    let entries = entries.iter().map(Vec::as_slice);
    std::fs::write(&bundle, dockseal::custody::tile::encode_bundle(entries)).unwrap();
    site.refused(&forged, "entry 1 is not in what the dock signed");
    let done = site.open(&first.path, &[]);
    assert_eq!(done.code, 0, "what was not touched still opens: {done:?}");
}

#[test]
fn a_partial_piece_may_be_gone_where_the_full_one_is_there() {
    let mut site = Site::new();
    site.log.beat(299);
    let clip = site.seal("a.mp4");
    site.log.publish();
    site.log.beat(212);
    site.log.publish();
    let log = site.log.folder();
    std::fs::remove_file(log.join("checkpoints/512")).unwrap();
    std::fs::copy(log.join("checkpoints/300"), log.join("checkpoint")).unwrap();
    for folder in ["tile/0/001.p", "tile/entries/001.p"] {
        std::fs::remove_dir_all(log.join(folder)).unwrap();
    }
    let done = site.open(&clip.path, &[]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("entry 299 of log"), "{done:?}");
}

#[test]
fn a_dock_that_nobody_enrolled_counts_for_nothing() {
    let site = Site::new();
    let bucket = site.dir.path().join("bucket");
    let mut stranger = MiniLog::new(&bucket, "hannover-99", 9);
    let clip = stranger.seal(&site.recipients, "a.mp4", b"abc");
    stranger.publish();
    site.refused(&clip, "the keyring has no dock \"hannover-99\"");
    // An enrolled name with another key.
    let mut impostor = MiniLog::new(&bucket, "hannover-03", 9);
    let clip = impostor.seal(&site.recipients, "a.mp4", b"abc");
    impostor.publish();
    site.refused(&clip, "hannover-03 has no log here that its enrolled key signed");
    // A keyring of another root is none.
    let other = Desk::with_recipient();
    let root = other.root().verifier().to_string();
    let done = site.open(&clip.path, &["--authority", &root]);
    assert_eq!(done.code, 10, "{done:?}");
    assert!(done.stderr.contains("the keyring is of another authority"), "{done:?}");
}

#[test]
fn verify_writes_nothing_and_counts() {
    let mut site = Site::new();
    site.seal("a.mp4");
    site.seal("b.mp4");
    site.log.publish();
    let done = authority::finish(site.command("verify").arg(site.url()));
    assert_eq!(done.code, 0, "{done:?}");
    let end = "2 of 2 clips are whole and authentic, by revision 1 of the keyring\n";
    assert!(done.stdout.ends_with(end), "{done:?}");
    let forged = site.log.forge(&site.recipients, "c.mp4", b"forged");
    let done = authority::finish(site.command("verify").arg(site.url()).arg("--json"));
    assert_eq!(done.code, 3, "{done:?}");
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&json["authentic_count"], &json["failed_count"]), (&2.into(), &1.into()));
    let done = authority::finish(site.command("verify").arg(&forged.path));
    assert_eq!(done.code, 13, "{done:?}");
    assert!(done.stderr.contains("cannot verify"), "{done:?}");
    let mut without = site.command("verify");
    let done = authority::finish(without.env_remove("DOCKSEAL_KEYRING").arg(site.url()));
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn a_drill_leaves_a_receipt_that_verifies_where_all_passed() {
    let mut site = Site::new();
    let idle = MiniLog::new(&site.dir.path().join("bucket"), "idle-01", 5);
    site.desk.enrol(&idle.verifier());
    site.desk.ok(&["sign"]);
    for number in 0..6 {
        site.seal(&format!("{number}.mp4"));
    }
    site.log.publish();
    let done = site.drill();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("hannover-03: opened 4 of 6 clips; receipt authority/drills/"));
    assert!(done.stdout.contains("idle-01: no clips here"), "{done:?}");
    let newest = site.dir.path().join("bucket/authority/drill/hannover-03");
    let bytes = std::fs::read(&newest).unwrap();
    let drill = Drill::verify(&bytes, &site.desk.root().verifier()).expect("signed by the root");
    assert_eq!((drill.clip_count, drill.opened_count), (6, 4));
    assert!(site.dir.path().join("bucket").join(drill.key()).exists());
    // A newer clip that is damaged at its end: no new receipt.
    let clip = site.seal("late.mp4");
    site.log.publish();
    let mut file = std::fs::read(&clip.path).unwrap();
    *file.last_mut().unwrap() ^= 1;
    std::fs::write(&clip.path, file).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&clip.path).unwrap().set_modified(later).unwrap();
    let done = site.drill();
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stdout.contains("FAILED; no receipt"), "{done:?}");
    assert_eq!(std::fs::read(&newest).unwrap(), bytes, "the last good receipt stays");
    // The key of another authority signs nothing.
    let other = Desk::with_recipient();
    let mut drill = site.command("drill");
    drill.arg(site.url()).arg("--signing-key").arg(other.path("root.key"));
    assert_eq!(authority::finish(&mut drill).code, 10);
}
