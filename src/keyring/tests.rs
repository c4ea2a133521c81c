//! The keyring's rules.

use super::*;
use crate::note::Kind;

const CLASSIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const OTHER: &str = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z";

fn signer(name: &str, seed: u8) -> SignerKey {
    SignerKey::from_seed(name, Kind::Note, &[seed; 32]).expect("a name")
}

fn date(text: &str) -> Date {
    text.parse().expect("a date")
}

fn days(from: &str, until: &str) -> Days {
    Days { from: date(from), until: date(until) }
}

fn keyring(revision: u64) -> Keyring {
    Keyring {
        authority: signer("bpol.example", 1).verifier(),
        revision,
        issued: "2026-11-21T09:00:00Z".parse().expect("a time"),
        expires: date("2027-11-21"),
        retention_days: 180,
        members: vec![Member {
            role: Role::new("evidence").expect("a word"),
            days: None,
            recipient: CLASSIC.parse().expect("a recipient"),
        }],
        docks: vec![Enrolled {
            key: signer("hannover-03", 2).verifier(),
            days: days("2026-11-21", "2027-11-21"),
        }],
        successor: None,
    }
}

fn signed(keyring: &Keyring) -> Vec<u8> {
    keyring.sign(&signer("bpol.example", 1)).expect("good").to_string().into_bytes()
}

#[test]
fn a_keyring_survives_its_text() {
    let mut one = keyring(7);
    one.successor = Some(signer("bpol.example", 9).verifier());
    one.members[0].days = Some(days("2026-11-21", "2026-11-21"));
    let note = Note::parse(&signed(&one)).expect("a note");
    assert_eq!(Keyring::from_note(&note), Ok(one));
}

#[test]
fn a_text_has_one_spelling_and_keeps_the_rules() {
    let text = keyring(7).to_string();
    assert!(text::parse(&text).is_ok());
    let bad = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        text::parse(&changed).expect_err(to)
    };
    assert_eq!(bad("/v1", "/v2"), KeyringError::Version);
    assert_eq!(bad("dockseal.", "rockseal."), KeyringError::Head);
    assert_eq!(bad("revision 7", "revision 07"), KeyringError::Spelling);
    assert_eq!(bad("revision 7", "revision 0"), KeyringError::Revision);
    assert_eq!(bad("revision 7\n", ""), KeyringError::Missing { word: "revision" });
    assert_eq!(bad("expires 2027-11-21", "expires 2027-13-21"), KeyringError::Line { line: 5 });
    assert_eq!(bad("expires 2027", "expires -002027"), KeyringError::Line { line: 5 });
    assert_eq!(bad("issued 2026", "issued -002026"), KeyringError::Line { line: 4 });
    assert_eq!(bad("recipient evidence", "recipient e/e"), KeyringError::Line { line: 7 });
    for name in ["../log", ".hidden", "a/b", "hannover\u{e9}"] {
        let other = signer("hannover-03", 2).verifier().to_string();
        let name = signer(name, 2).verifier().to_string();
        assert!(matches!(bad(&other, &name), KeyringError::DockName { .. }));
    }
    assert!(matches!(bad("age1z", "age1q"), KeyringError::Recipient { line: 7, .. }));
    assert!(matches!(bad("hannover-03+", "hannover-04+"), KeyringError::Key { line: 8, .. }));
    assert!(matches!(bad("dock 2026", "dock 2028"), KeyringError::Days { .. }));
    assert_eq!(
        bad("recipient ", &format!("recipient spare 2026-01-01 2026-01-02 {OTHER}\nrecipient ")),
        KeyringError::SomeDays
    );
    let without = text.lines().filter(|line| !line.starts_with("recipient"));
    let without: String = without.map(|line| format!("{line}\n")).collect();
    assert!(matches!(text::parse(&without), Err(KeyringError::Recipients(_))));
    let dock = text.lines().last().expect("a dock");
    let twice = format!("{text}{dock}\n");
    assert!(matches!(text::parse(&twice), Err(KeyringError::DockTwice { .. })));
}

#[test]
fn a_dock_takes_newer_revisions_of_its_root_and_no_others() {
    let mut trust = Trust::pinned(signer("bpol.example", 1).verifier());
    assert_eq!(trust.take(&signed(&keyring(5))), Ok(true));
    assert_eq!(trust.take(&signed(&keyring(5))), Ok(false));
    let rollback = trust.take(&signed(&keyring(4)));
    assert_eq!(rollback, Err(Refusal::Rollback { last: 5, found: 4 }));
    let mut other = keyring(5);
    other.retention_days = 1;
    assert_eq!(trust.take(&signed(&other)), Err(Refusal::Fork(5)));
    let mut foreign = keyring(6);
    foreign.authority = signer("bpol.example", 3).verifier();
    let foreign = foreign.sign(&signer("bpol.example", 3)).expect("good").to_string();
    assert!(matches!(trust.take(foreign.as_bytes()), Err(Refusal::WrongRoot { .. })));
    let forged = keyring(6).sign(&signer("bpol.example", 3)).expect("good").to_string();
    assert_eq!(trust.take(forged.as_bytes()), Err(Refusal::NotSigned));
    assert!(matches!(trust.take(b"rubbish"), Err(Refusal::Unreadable(_))));
    assert_eq!(trust.last().map(|keyring| keyring.revision), Some(5));
}

#[test]
fn a_named_successor_takes_over_and_the_old_root_signs_no_more() {
    let (old, new) = (signer("bpol.example", 1), signer("bpol.example", 4));
    let mut trust = Trust::pinned(old.verifier());
    let mut early = keyring(2);
    early.authority = new.verifier();
    let early = early.sign(&new).expect("good").to_string();
    assert!(matches!(trust.take(early.as_bytes()), Err(Refusal::WrongRoot { .. })));
    let mut naming = keyring(1);
    naming.successor = Some(new.verifier());
    assert_eq!(trust.take(&signed(&naming)), Ok(true));
    assert_eq!(trust.take(early.as_bytes()), Ok(true));
    assert!(matches!(trust.take(&signed(&keyring(3))), Err(Refusal::WrongRoot { .. })));
}

#[test]
fn a_clip_of_a_day_goes_to_the_keys_of_that_day() {
    let mut daily = keyring(1);
    daily.members[0].days = Some(days("2026-11-21", "2026-11-22"));
    let other = Member {
        role: Role::new("evidence").expect("a word"),
        days: Some(days("2026-11-22", "2026-11-23")),
        recipient: OTHER.parse().expect("a recipient"),
    };
    daily.members.push(other);
    let count = |day| daily.recipients(date(day)).map(|all| all.iter().count());
    assert_eq!(count("2026-11-20"), Err(RecipientsError::Empty));
    assert_eq!(count("2026-11-21"), Ok(1));
    assert_eq!(count("2026-11-22"), Ok(2));
    assert!(daily.usable_on(date("2027-11-21")).is_ok());
    let expired = daily.usable_on(date("2027-11-22"));
    assert_eq!(expired, Err(Refusal::Expired { on: date("2027-11-21") }));
    assert_eq!(daily.days_left(date("2027-11-11")), 10);
    assert_eq!(daily.days_left(date("2026-11-21")), 365);
    assert!(daily.dock("hannover-03", date("2026-11-21")).is_some());
    assert!(daily.dock("hannover-03", date("2026-11-20")).is_none());
    assert!(daily.dock("hannover-04", date("2026-11-21")).is_none());
}

#[test]
fn a_draft_may_be_unfinished_and_is_never_signed_so() {
    let mut draft = keyring(1);
    (draft.revision, draft.members) = (0, vec![]);
    let read = Keyring::from_draft(&draft.to_string()).expect("a draft");
    assert_eq!(read, draft);
    assert_eq!(read.sign(&signer("bpol.example", 1)), Err(KeyringError::Revision));
}
