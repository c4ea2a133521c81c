//! A dock with a keyring: what holds its clips, and what releases them.

use std::path::PathBuf;

use dockseal::clip::Timestamp;
use dockseal::keyring::{Days, Enrolled, Keyring, Member, Role, day_of};
use dockseal::note::{Kind, SignerKey, VerifierKey};
use jiff::ToSpan;
use jiff::civil::Date;

use crate::support::site::{SOON, Site, holds, our_keys};

fn root(seed: u8) -> SignerKey {
    SignerKey::from_seed("test.example", Kind::Note, &[seed; 32]).expect("a name")
}

fn today() -> Date {
    day_of(Timestamp(jiff::Timestamp::now().as_millisecond()))
}

/// A site whose dock seals by a keyring, the path of its file, and the dock's key.
pub(crate) struct Keyed {
    pub(crate) site: Site,
    file: PathBuf,
    dock: VerifierKey,
}

impl Keyed {
    pub(crate) fn new() -> Keyed {
        let site = Site::bare(|_| {});
        let file = site.outside().join("keyring");
        let mut choices = site.choices.clone();
        choices.recipients.clear();
        let authority = root(1).verifier();
        choices.more = format!(
            "rescan_seconds = 1\nkeyring = \"{}\"\nauthority = \"{authority}\"",
            file.display()
        );
        site.dock.reconfigure(&choices);
        let said = site.dock.finish(&["init"]).expect_code(0).stdout;
        let line = said.lines().find_map(|line| line.trim().strip_prefix("dockseal-dock "));
        let dock: VerifierKey = line.expect("the enrolment line").parse().expect("a key");
        assert!(said.contains(&format!("fingerprint {}", dock.fingerprint())), "{said}");
        Keyed { site, file, dock }
    }

    pub(crate) fn keyring(&self, revision: u64) -> Keyring {
        let span = |from: i32, until: i32| Days {
            from: today() + from.days(),
            until: today() + until.days(),
        };
        Keyring {
            authority: root(1).verifier(),
            revision,
            issued: jiff::Timestamp::now() - 1.hour(),
            expires: today() + 100.days(),
            retention_days: 30,
            members: vec![Member {
                role: Role::new("evidence").expect("a word"),
                days: None,
                recipient: our_keys().recipient.parse().expect("a recipient"),
            }],
            docks: vec![Enrolled { key: self.dock.clone(), days: span(-1, 100) }],
            successor: None,
        }
    }

    pub(crate) fn give(&self, text: &str) {
        // As a config management tool does it: never a half of a file.
        let unfinished = self.file.with_extension("new");
        std::fs::write(&unfinished, text).unwrap();
        std::fs::rename(unfinished, &self.file).unwrap();
    }

    pub(crate) fn signed(&self, keyring: &Keyring) -> String {
        keyring.sign(&root(1)).expect("a good keyring").to_string()
    }
}

#[test]
fn a_keyring_that_may_not_be_used_holds_clips_and_a_good_one_releases_them() {
    let mut keyed = Keyed::new();
    keyed.site.put("cam/a.mp4", b"evidence");
    keyed.site.dock.start();
    let held = keyed.site.wait_for_hold("cam/a.mp4", "keyring-unusable");
    assert!(held["hold"]["cause"].to_string().contains("no keyring yet"), "{held}");
    keyed.give(&keyed.signed(&keyed.keyring(5)));
    keyed.site.wait_for_count("erased", 1);

    let mut foreign = keyed.keyring(7);
    foreign.authority = root(2).verifier();
    let mut expired = keyed.keyring(7);
    expired.expires = today() - 1.days();
    let mut without_dock = keyed.keyring(8);
    without_dock.docks.clear();
    let mut other_key = keyed.keyring(9);
    other_key.docks[0].key =
        SignerKey::from_seed("test-dock-1", Kind::Note, &[8; 32]).expect("a name").verifier();
    let mut later = keyed.keyring(10);
    let recipient = later.members[0].recipient.clone();
    let days = Days { from: today() + 5.days(), until: today() + 6.days() };
    later.members[0].days = Some(days);
    let nobody = keyed.signed(&keyed.keyring(11)).replace(&format!("{recipient}\n"), "\n");
    let forged = keyed.keyring(11).sign(&root(2)).expect("good").to_string();
    let published = {
        let mut published = keyed.keyring(11);
        let text = std::fs::read_to_string("keys-example/classic.recipient").unwrap();
        published.members[0].recipient = text.trim().parse().expect("a recipient");
        keyed.signed(&published)
    };
    let bad = [
        ("rollback", keyed.signed(&keyed.keyring(4)), "older than 5"),
        ("wrong root", foreign.sign(&root(2)).unwrap().to_string(), "another authority"),
        ("forged", forged, "not signed by the authority"),
        ("cut", keyed.signed(&keyed.keyring(11))[..200].to_owned(), "not a signed note"),
        ("text", "not a keyring\n".to_owned(), "not a signed note"),
        ("published keys", published, "keys-example"),
        ("no recipient", nobody, "line 7"),
        ("expired", keyed.signed(&expired), "expired on"),
        ("not enrolled", keyed.signed(&without_dock), "does not name this dock"),
        ("other key", keyed.signed(&other_key), "another signing key"),
        ("nobody today", keyed.signed(&later), "nobody to seal to today"),
    ];
    for (number, (what, text, cause)) in bad.into_iter().enumerate() {
        keyed.give(&text);
        // The daemon looks at the file once a second, before it takes a clip.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let name = format!("cam/{number}.mp4");
        keyed.site.put(&name, what.as_bytes());
        let held = keyed.site.wait_for_hold(&name, "keyring-unusable");
        assert!(held["hold"]["cause"].to_string().contains(cause), "{what}: {held}");
        assert!(held["sealed_name"].is_null(), "{what}: {held}");
        let status = keyed.site.dock.finish(&["status"]).expect_code(3).stdout;
        assert!(status.contains("keyring-unusable"), "{what}: {status}");
        let check = keyed.site.dock.finish(&["check"]).stdout;
        assert!(check.contains("fail  keyring"), "{what}: {check}");
    }
    let clip = keyed.site.clips().last().cloned().expect("eleven");
    assert_eq!(holds(&clip), ["keyring-unusable"]);
    keyed.give(&keyed.signed(&keyed.keyring(12)));
    keyed.site.wait_for_count("erased", 12);
    assert_eq!(keyed.site.dock.stop(), 0);
    assert_eq!(keyed.site.opened().len(), 12);
    let log = keyed.site.dock.json(&["log", "-n", "1000"]);
    let entries = log["entries"].as_array().expect("a list");
    let revisions: Vec<_> = entries.iter().filter(|e| e["event"] == "keyring").collect();
    assert_eq!(revisions.first().map(|entry| &entry["revision"]), Some(&12.into()));
    let sealed = entries.iter().find(|entry| entry["event"] == "sealed").expect("the newest");
    assert_eq!(sealed["keyring"], 12);
}

#[test]
fn a_keyring_comes_from_the_bucket_too_where_it_may_be_read() {
    let mut keyed = Keyed::new();
    keyed.give(&keyed.signed(&keyed.keyring(1)));
    std::fs::write(keyed.site.bucket().join("keyring"), keyed.signed(&keyed.keyring(3))).unwrap();
    keyed.site.dock.start();
    keyed.site.dock.wait_for_json("revision 3", &["status"], SOON, |status| {
        status["standing"]["keyring"]["revision"] == 3
    });
    // The file is older now, but what it says was known before: nothing is held.
    keyed.site.put("a.mp4", b"clip");
    keyed.site.wait_for_count("erased", 1);
    assert_eq!(keyed.site.dock.stop(), 0);
    // What a provider puts there is worth its signature only.
    std::fs::write(keyed.site.bucket().join("keyring"), "rubbish").unwrap();
    keyed.site.put("b.mp4", b"clip");
    keyed.site.dock.run_until_idle().expect_code(0);
    keyed.site.wait_for_count("erased", 2);
}

#[test]
fn a_clock_that_cannot_be_right_holds_clips() {
    let keyed = Keyed::new();
    let mut keyring = keyed.keyring(1);
    keyring.issued = jiff::Timestamp::now() + 2.hours();
    keyed.give(&keyed.signed(&keyring));
    keyed.site.put("a.mp4", b"clip");
    keyed.site.dock.run_until_idle().expect_code(3);
    let clip = keyed.site.clip("a.mp4").expect("found");
    assert_eq!(holds(&clip), ["clock-wrong"]);
    assert!(clip["hold"]["cause"].to_string().contains("the clock says"), "{clip}");
}

#[test]
fn a_keyring_that_ends_soon_is_warned_of() {
    let keyed = Keyed::new();
    let mut keyring = keyed.keyring(1);
    keyring.expires = today() + 13.days();
    keyed.give(&keyed.signed(&keyring));
    keyed.site.dock.run_until_idle().expect_code(0);
    let status = keyed.site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(status.contains("the keyring expires in 13 days"), "{status}");
    let check = keyed.site.dock.finish(&["check"]).stdout;
    assert!(check.contains("warn  keyring: revision 1, 13 days left"), "{check}");
}
