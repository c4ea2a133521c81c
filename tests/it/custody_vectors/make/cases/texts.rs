//! The cases of what people read: keys, notes and keyrings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::keyring::Keyring;
use dockseal::note::{Kind, Note, SignerKey, VerifierKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::log::second;
use super::super::{
    CLASSIC, DOCK, Files, OTHER, OTHER_DOCK, days, dock, fork, hex, key, keyring, member, root,
    signed, stranger, successor, witness,
};

/// Keys in both text forms, and texts that are none.
pub fn keys() -> Vec<Value> {
    let good = [
        (root(), 1, "the authority's root"),
        (successor(), 2, "its successor"),
        (dock(), 3, "the dock"),
        (key(OTHER_DOCK, Kind::Note, 4), 4, "another dock"),
        (witness(), 5, "a witness"),
        (stranger(), 6, "another key with the dock's name"),
    ];
    let good = good.map(|(key, seed, why): (SignerKey, u8, &str)| {
        let verifier = key.verifier();
        let signs = match verifier.kind() {
            Kind::Note => "notes",
            Kind::Cosignature => "cosignatures",
        };
        json!({
            "expect": "read", "why": why, "name": verifier.name(), "id": hex(&verifier.id()),
            "seed": hex(&[seed; 32]), "private": key.to_text().as_str(),
            "verifier": verifier.to_string(), "fingerprint": verifier.fingerprint(),
            "signs": signs,
        })
    });
    let text = dock().verifier().to_string();
    let bad = [
        (text.replacen("03+", "04+", 1), "the key id is of another name"),
        (text.trim_end_matches(|c| c != '+').into(), "no key"),
        (text[..text.len() - 4].into(), "not 32 bytes"),
        (text.replacen("+A", "+B", 1), "an unknown type"),
        (text.replacen('-', " ", 1), "a space in the name"),
        (weak_key(), "a point of low order"),
    ];
    let bad = bad.map(|(text, why): (String, &str)| {
        assert!(text.parse::<VerifierKey>().is_err(), "{why}");
        json!({"expect": "refused", "why": why, "verifier": text})
    });
    good.into_iter().chain(bad).collect()
}

/// The neutral element, under which anything is signed by anybody.
fn weak_key() -> String {
    let key = [&[0x01, 0x01], [0; 31].as_slice()].concat();
    let id = Sha256::digest([b"weak\n".as_slice(), &key].concat());
    format!("weak+{}+{}", hex(&id[..4]), BASE64.encode(key))
}

/// Notes, each to be verified with one key.
pub fn notes(files: &mut Files) -> Vec<Value> {
    let (dock, witness) = (dock(), witness());
    let (dock_key, witness_key) = (dock.verifier(), witness.verifier());
    let text = "a text of a note\n\nwith an empty line\n";
    let good = Note::sign(text.into(), &dock).to_string();
    let mut checkpoint = Checkpoint::new(DOCK, second().head(17)).sign(&dock);
    checkpoint.cosign(&witness, 1_795_300_000);
    checkpoint.cosign(&witness, 1_795_300_600);
    let cosigned = checkpoint.to_string();
    let other = Note::sign("another text\n".into(), &dock).signature_lines();
    let foreign = Note::sign(text.into(), &root()).signature_lines();
    let line = good.rsplit_once("\n\n").unwrap().1;
    let large = cosigned.replace("\n17\n", "\n18\n");
    let cases: [(&str, &VerifierKey, &str, String, &str); 14] = [
        ("good", &dock_key, "signed", good.clone(), "one signature"),
        ("two-keys", &dock_key, "signed", format!("{good}{foreign}"), "and one of somebody else"),
        ("cosigned", &dock_key, "signed", cosigned.clone(), "a checkpoint with cosignatures"),
        ("witnessed", &witness_key, "signed", cosigned, "the later of two times counts"),
        ("witnessed-changed", &witness_key, "forged", large, "another size than was cosigned"),
        ("text-changed", &dock_key, "forged", good.replace("text", "test"), "a letter"),
        ("spoilt", &dock_key, "forged", format!("{good}{other}"), "a second line is wrong"),
        ("other-key", &stranger().verifier(), "not-signed", good.clone(), "same name, other id"),
        ("other-name", &root().verifier(), "not-signed", good.clone(), "another name"),
        ("no-signature", &dock_key, "malformed", format!("{text}\n"), "no line"),
        ("no-line-feed", &dock_key, "malformed", good.trim_end().into(), "at the end"),
        ("carriage-return", &dock_key, "malformed", good.replace("note\n", "note\r\n"), "a CR"),
        ("hyphen", &dock_key, "malformed", good.replace('\u{2014}', "-"), "no em dash"),
        ("no-text", &dock_key, "malformed", format!("\n\n{line}"), "an empty text"),
    ];
    let cases = cases.map(|(name, key, expect, note, why)| {
        files.insert(format!("notes/{name}"), note.into_bytes());
        let mut case = json!({
            "file": format!("notes/{name}"), "key": key.to_string(), "expect": expect, "why": why,
        });
        if name == "witnessed" {
            case["seconds"] = json!(1_795_300_600);
        }
        case
    });
    cases.into()
}

/// A good keyring with one thing changed, whether or not the rules allow it, and signed.
fn spelled(from: &str, to: &str) -> String {
    let text = keyring(1).to_string();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from}");
    Note::sign(changed, &root()).to_string()
}

struct Keyrings<'a> {
    files: &'a mut Files,
    cases: Vec<Value>,
}

impl Keyrings<'_> {
    /// `after` are the keyrings that a reader took before.
    fn add(
        &mut self,
        name: &str,
        note: String,
        after: &[&str],
        expect: &str,
        why: &str,
    ) -> &mut Value {
        let file = format!("keyrings/{name}");
        self.files.insert(file.clone(), note.into_bytes());
        let after: Vec<_> = after.iter().map(|name| format!("keyrings/{name}")).collect();
        self.cases.push(json!({
            "file": file, "after": after, "expect": expect, "why": why,
            "root": root().verifier().to_string(),
        }));
        self.cases.last_mut().unwrap()
    }
}

/// Keyrings, each offered to a reader that pins the root and took those in `after`.
pub fn keyrings(files: &mut Files) -> Vec<Value> {
    let mut all = Keyrings { files, cases: vec![] };
    trusted(&mut all);
    for (name, from, to, why) in [
        ("version", "keyring/v1", "keyring/v2", "a later version"),
        ("revision-zero", "revision 1", "revision 0", "revisions begin with 1"),
        ("leading-zero", "revision 1", "revision 01", "not the one spelling"),
        ("order", "revision 1\nissued", "issued", "a line is missing"),
        ("unknown-line", "\ndock", "\nremark none\ndock", "a line that is none"),
        ("two-spaces", "issued ", "issued  ", "not the one spelling"),
        ("day", "expires 2027-11-21", "expires 2027-02-30", "no such day"),
        ("fraction", "09:00:00Z", "09:00:00.5Z", "a time to the second"),
        ("days-backwards", "dock 2026", "dock 2028", "they end before they begin"),
        ("recipient-typo", "age1zvk", "age1zvq", "the checksum of Bech32"),
        ("dock-typo", "hannover-hbf-03+", "hannover-hbf-04+", "the key id"),
    ] {
        all.add(name, spelled(from, to), &[], "malformed", why);
    }
    let line = format!("recipient escrow 2026-11-21 2026-11-21 {OTHER}\n");
    let some = spelled("recipient", &format!("{line}recipient"));
    all.add("some-days", some, &[], "malformed", "all recipients have days, or none");
    let twice = spelled("recipient", &format!("recipient again always {CLASSIC}\nrecipient"));
    all.add("recipient-twice", twice, &[], "malformed", "one key in two lines");
    let nobody = spelled(&format!("recipient evidence always {CLASSIC}\n"), "");
    all.add("nobody", nobody, &[], "malformed", "no recipient");
    let second = format!("{}dock 2027-01-01 2027-12-31 {}\n", keyring(1), stranger().verifier());
    let twice = Note::sign(second, &root()).to_string();
    all.add("dock-twice", twice, &[], "malformed", "two keys of one dock on one day");
    let climbing = dock().verifier().to_string();
    let path = key("../log", Kind::Note, 3).verifier().to_string();
    let path = spelled(&climbing, &path);
    all.add("dock-path", path, &[], "malformed", "the name of a dock is a folder");
    all.cases
}

/// Those that no rule of the text forbids; who signed them, and when, decides.
fn trusted(all: &mut Keyrings<'_>) {
    let facts = |case: &mut Value, keyring: &Keyring| {
        case["sha256"] = json!(hex(&keyring.sha256()));
        case["revision"] = json!(keyring.revision);
    };
    let good = keyring(1);
    facts(all.add("good", signed(&good), &[], "taken", "the first one"), &good);
    all.add("good", signed(&good), &["good"], "known", "the same again");
    let mut daily = keyring(3);
    let one_day = |day| Some(days(day, day));
    daily.members = vec![
        member("evidence", one_day("2026-11-21"), CLASSIC),
        member("escrow", Some(days("2026-11-21", "2026-11-22")), OTHER),
    ];
    let case = all.add("day-keys", signed(&daily), &["good"], "taken", "later, with day keys");
    facts(case, &daily);
    case["recipients"] = json!({
        "2026-11-20": 0, "2026-11-21": 2, "2026-11-22": 1, "2026-11-23": 0,
    });
    all.add("good", signed(&good), &["day-keys"], "rollback", "an earlier revision");
    all.add("fork", signed(&fork()), &["good"], "fork", "another one with the same revision");
    let mut retired = keyring(2);
    retired.docks[0].days = days("2026-11-21", "2026-11-21");
    facts(all.add("dock-retired", signed(&retired), &["good"], "taken", "a dock ends"), &retired);
    let changed = signed(&good).replace("retention-days 180", "retention-days 181");
    all.add("changed", changed, &[], "forged", "a digit, without the root's key");
    let unsigned = Note::sign(good.to_string(), &stranger()).to_string();
    all.add("not-signed", unsigned, &[], "not-signed", "names the root, signed by another key");
    let mut new_root = keyring(2);
    new_root.authority = successor().verifier();
    let new_root = new_root.sign(&successor()).unwrap().to_string();
    all.add("new-root", new_root.clone(), &["good"], "wrong-root", "nobody named this root");
    let mut naming = keyring(1);
    naming.successor = Some(successor().verifier());
    all.add("successor", signed(&naming), &[], "taken", "names the next root");
    all.add("new-root", new_root, &["successor"], "taken", "signed by the named root");
    let back = signed(&daily);
    all.add("day-keys", back, &["successor", "new-root"], "wrong-root", "the old root, too late");
}
