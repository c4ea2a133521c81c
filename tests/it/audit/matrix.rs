//! The tamper matrix: one row for each thing that somebody may do to a bucket.

use dockseal::clip::SealedName;
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::Event;
use dockseal::custody::merkle::leaf_hash;
use dockseal::custody::tile::{decode_bundle, encode_bundle, encode_tile};
use dockseal::envelope::recipient::Recipient;
use dockseal::note::Kind;

use super::{Auditor, text};
use crate::support::ledger::{Place, World, clip_key, recipient, seal_bytes, signer, world};
use crate::support::scratch;
use crate::support::seaweed::Seaweed;
use crate::support::tools::needs;

/// What is done, which object the audit must name, and how it must exit.
struct Row {
    what: &'static str,
    tamper: fn(&mut World) -> String,
    code: i32,
}

const MATRIX: [Row; 21] = [
    Row { what: "nothing at all", tamper: |_| String::new(), code: 0 },
    Row { what: "a clip deleted", tamper: delete_a_clip, code: 13 },
    Row { what: "a clip truncated", tamper: truncate_a_clip, code: 13 },
    Row { what: "one bit flipped", tamper: flip_a_bit, code: 13 },
    Row { what: "a clip swapped with another", tamper: swap_clips, code: 13 },
    Row { what: "a clip replaced by a forged one", tamper: replace_by_forged, code: 13 },
    Row { what: "a forged clip in its place", tamper: forge_in_place, code: 13 },
    Row { what: "a forged clip added", tamper: add_forged, code: 3 },
    Row { what: "a foreign object added", tamper: add_foreign, code: 3 },
    Row { what: "plaintext as a clip", tamper: add_plaintext, code: 13 },
    Row { what: "an entry removed", tamper: remove_an_entry, code: 13 },
    Row { what: "an entry removed, all tiles new", tamper: remove_and_rebuild, code: 13 },
    Row { what: "entries reordered", tamper: reorder_entries, code: 13 },
    Row { what: "a tile replaced", tamper: replace_a_tile, code: 13 },
    Row { what: "a partial tile removed", tamper: remove_a_tile, code: 13 },
    Row { what: "a checkpoint by a stranger", tamper: sign_as_a_stranger, code: 13 },
    Row { what: "a recipient too many", tamper: seal_to_a_stranger, code: 13 },
    Row { what: "a log of another dock", tamper: copy_a_log, code: 13 },
    Row { what: "a checkpoint of a size that cannot be", tamper: sign_a_huge_size, code: 13 },
    Row { what: "clips sealed by no keyring", tamper: seal_without_keyring, code: 3 },
    Row { what: "a keyring removed", tamper: remove_the_keyring, code: 3 },
];

fn delete_a_clip(world: &mut World) -> String {
    world.objects.remove(&world.clips[1]);
    world.clips[1].clone()
}

fn truncate_a_clip(world: &mut World) -> String {
    let key = world.clips[2].clone();
    world.objects.get_mut(&key).unwrap().truncate(40_000);
    key
}

fn flip_a_bit(world: &mut World) -> String {
    let key = world.clips[2].clone();
    let bytes = world.objects.get_mut(&key).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    key
}

fn swap_clips(world: &mut World) -> String {
    // Of one size: only reading them tells.
    let [one, other] = [1, 3].map(|index| world.clips[index].clone());
    let [first, second] = [&one, &other].map(|key| world.objects[key].clone());
    assert_eq!(first.len(), second.len());
    world.objects.insert(one, second);
    world.objects.insert(other.clone(), first);
    other
}

fn replace_by_forged(world: &mut World) -> String {
    let key = world.clips[1].clone();
    let (name, _, sealed) = seal_bytes(1000, &[recipient()]);
    world.objects.remove(&key);
    world.objects.insert(clip_key("d-1", name), sealed);
    key
}

fn forge_in_place(world: &mut World) -> String {
    let key = world.clips[1].clone();
    let (_, _, sealed) = seal_bytes(1000, &[recipient()]);
    world.objects.insert(key.clone(), sealed);
    key
}

fn add_forged(world: &mut World) -> String {
    let (name, _, sealed) = seal_bytes(1000, &[recipient()]);
    let key = clip_key("d-1", name);
    world.objects.insert(key.clone(), sealed);
    key
}

fn add_foreign(world: &mut World) -> String {
    world.objects.insert("d-1/notes/readme.txt".into(), b"hello".to_vec());
    "d-1/notes/readme.txt".into()
}

fn add_plaintext(world: &mut World) -> String {
    let (name, _, _) = seal_bytes(0, &[recipient()]);
    let key = clip_key("d-1", name);
    world.objects.insert(key.clone(), b"\0\0\0\x20ftypisom".repeat(100));
    key
}

fn piece(world: &World, path: &str) -> String {
    format!("{}/{path}", world.one.folder())
}

fn remove_an_entry(world: &mut World) -> String {
    let key = piece(world, "tile/entries/001.p/44");
    let bytes = world.objects[&key].clone();
    let mut entries = decode_bundle(&bytes, 44).unwrap();
    entries.remove(3);
    world.objects.insert(key.clone(), encode_bundle(entries.into_iter()));
    key
}

/// Somebody who writes the whole log anew, but has not the dock's key.
fn remove_and_rebuild(world: &mut World) -> String {
    let key = piece(world, "checkpoints/300");
    world.objects.retain(|key, _| !key.contains("d-1/log/") || key.contains("/checkpoint"));
    world.one.entries.remove(5);
    world.one.add(Event::Alive);
    world.one.forget();
    world.one.publish_pieces(&mut world.objects);
    key
}

fn reorder_entries(world: &mut World) -> String {
    let key = piece(world, "tile/entries/000");
    let bytes = world.objects[&key].clone();
    let mut entries = decode_bundle(&bytes, 256).unwrap();
    entries.swap(2, 4);
    world.objects.insert(key.clone(), encode_bundle(entries.into_iter()));
    key
}

fn replace_a_tile(world: &mut World) -> String {
    let key = piece(world, "tile/0/000");
    world.objects.insert(key.clone(), encode_tile(&[leaf_hash(b"other"); 256]));
    key
}

fn remove_a_tile(world: &mut World) -> String {
    let key = piece(world, "tile/0/001.p/44");
    world.objects.remove(&key);
    key
}

fn sign_as_a_stranger(world: &mut World) -> String {
    let key = piece(world, "checkpoints/300");
    world.objects.insert(key.clone(), world.one.checkpoint(66).into_bytes());
    key
}

/// As a malicious dock would: with entries of its own, all signed.
fn seal_to_a_stranger(world: &mut World) -> String {
    // Another post-quantum key, made for this test and forgotten.
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let key = dockseal::authority::identity::Identity::generate(
        dockseal::authority::identity::Kind::PostQuantum,
        rng,
    );
    let stranger: Recipient = key.recipient().to_string().parse().unwrap();
    let key = world.one.seal(&mut world.objects, 1000, &[recipient(), stranger]);
    world.one.publish(&mut world.objects);
    key
}

fn copy_a_log(world: &mut World) -> String {
    let (from, log) = (world.two.folder(), world.two.log);
    let copied: Vec<_> = world.objects.iter().filter(|(key, _)| key.starts_with(&from)).collect();
    let renamed =
        |(key, bytes): (&String, &Vec<u8>)| (key.replacen("d-2", "d-1", 1), bytes.clone());
    let copied: Vec<_> = copied.into_iter().map(renamed).collect();
    world.objects.extend(copied);
    format!("d-1/log/{log}/checkpoint")
}

/// As a malicious dock would: its signature is good, and nothing may be reserved for the size.
fn sign_a_huge_size(world: &mut World) -> String {
    let (origin, size) = (world.one.folder(), 1 << 47);
    let checkpoint = Checkpoint { origin, size, root: leaf_hash(b"none") };
    let note = checkpoint.sign(&signer("d-1", Kind::Note, 11)).to_string();
    world.objects.insert(piece(world, &format!("checkpoints/{size}")), note.into_bytes());
    piece(world, "tile/entries/001")
}

fn seal_without_keyring(world: &mut World) -> String {
    let (clip, commitment, sealed) = seal_bytes(1000, &[recipient()]);
    let (size, commitment) = (sealed.len() as u64, SealedName(commitment));
    // Revision 0 is as good as none, and must not pass as one that is merely unknown.
    world.one.add(Event::Sealed { clip, number: 9, size, commitment, keyring: Some(0) });
    world.one.publish(&mut world.objects);
    world.objects.insert(clip_key("d-1", clip), sealed);
    "keyrings/0".into()
}

fn remove_the_keyring(world: &mut World) -> String {
    world.objects.remove("keyrings/1");
    "keyrings/1".into()
}

fn try_all(rows: &[Row], place: impl Fn() -> Place) {
    let auditor = Auditor::new();
    for Row { what, tamper, code } in rows {
        let mut world = world();
        let object = tamper(&mut world);
        let place = place();
        place.hold(&world.objects);
        let said = auditor.audit(&[&place], &["--json"]);
        assert_eq!(said.code, *code, "{what}:\n{}\n{}", said.stdout, said.stderr);
        let report = said.json();
        let findings = report["buckets"][0]["findings"].as_array().unwrap();
        let names = |finding: &serde_json::Value| finding["object"] == object.as_str();
        let is_named = findings.iter().any(names);
        assert_eq!(is_named, !object.is_empty(), "{what}, {object}:\n{}", said.stdout);
        // In words too, and in the same order.
        let said = auditor.audit(&[&place], &[]).expect_code(*code);
        assert!(said.stdout.contains(&object), "{what}");
    }
}

fn folder() -> Place {
    Place::Folder(scratch())
}

#[test]
fn nothing_that_is_done_to_a_folder_passes() {
    try_all(&MATRIX, folder);
}

#[test]
fn nothing_that_is_done_to_a_real_bucket_passes() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    try_all(&MATRIX, || Place::Seaweed(server, server.url("audit")));
}

/// The newest checkpoint of an earlier day, with all that it needs: valid by itself.
fn roll_back(world: &mut World) {
    let folder = world.one.folder();
    let checkpoint = world.objects[&format!("{folder}/checkpoints/270")].clone();
    world.objects.remove(&format!("{folder}/checkpoints/300"));
    world.objects.insert(format!("{folder}/checkpoint"), checkpoint);
    let ahead = ["tile/entries/001.p/44", "tile/0/001.p/44"];
    ahead.iter().for_each(|path| drop(world.objects.remove(&format!("{folder}/{path}"))));
    for key in &world.clips[3..] {
        world.objects.remove(key);
    }
}

#[test]
fn a_log_that_was_rolled_back_is_found_by_who_remembers_it() {
    let (auditor, place) = (Auditor::new(), folder());
    let state = auditor.path("state");
    let mut world = world();
    place.hold(&world.objects);
    auditor.audit(&[&place], &["--state", text(&state)]).expect_code(0);
    let before = std::fs::read(&state).unwrap();
    roll_back(&mut world);
    place.hold(&world.objects);
    // Cut off cleanly, it looks like a younger log; that is why somebody must remember.
    let forgetful = auditor.audit(&[&place], &["--stale-after", "9d"]).expect_code(0);
    assert!(forgetful.stdout.contains("can have been cut off at its end"));
    let said = auditor.audit(&[&place], &["--state", text(&state)]).expect_code(13);
    let line = format!("{}: rolled back: an earlier audit has 300 entries", world.one.folder());
    assert!(said.stdout.contains(&line), "{}", said.stdout);
    // What was remembered stays remembered.
    assert_eq!(std::fs::read(&state).unwrap(), before);
    auditor.audit(&[&place], &["--state", text(&state)]).expect_code(13);
    world.objects.retain(|key, _| !key.starts_with("d-1/"));
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &["--state", text(&state)]).expect_code(13);
    assert!(said.stdout.contains(&format!("{}: vanished", world.one.folder())), "{}", said.stdout);
}

#[test]
fn a_quiet_dock_is_stale_and_a_closed_one_is_not() {
    let (auditor, place) = (Auditor::new(), folder());
    let mut world = world();
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &["--stale-after", "30s"]).expect_code(3);
    assert!(said.stdout.contains(&format!("{}: stale", world.one.folder())), "{}", said.stdout);
    for ledger in [&mut world.one, &mut world.two] {
        ledger.add(Event::Closed);
        ledger.publish(&mut world.objects);
    }
    place.hold(&world.objects);
    auditor.audit(&[&place], &["--stale-after", "30s"]).expect_code(0);
}

#[test]
fn a_log_that_was_lost_is_named_by_the_next_one() {
    let (auditor, place) = (Auditor::new(), folder());
    let mut world = world();
    // The database of the day before was restored: it knew 271 entries, and no checkpoint has that
    // size.
    let mut next = world.one.continued(271, 77);
    next.publish(&mut world.objects);
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &[]).expect_code(0);
    let old = world.one.folder();
    let line = format!("{}: continues {old}; no operator acknowledged", next.folder());
    assert!(said.stdout.contains(&line), "{}", said.stdout);
    let line = format!("{old}: its successor {} knew of 271 entries; it has 300", next.log);
    assert!(said.stdout.contains(&line), "{}", said.stdout);
    next.add(Event::Acknowledged);
    next.publish(&mut world.objects);
    world.objects.retain(|key, _| !key.starts_with(&old));
    place.hold(&world.objects);
    let said = auditor.audit(&[&place], &[]).expect_code(13);
    assert!(said.stdout.contains(&format!("{old}: vanished: its successor")), "{}", said.stdout);
}

#[test]
fn two_buckets_show_one_history() {
    let auditor = Auditor::new();
    let (first, second) = (folder(), folder());
    let mut one = world();
    first.hold(&one.objects);
    second.hold(&one.objects);
    auditor.audit(&[&first, &second], &[]).expect_code(0);
    // One that is behind is told of, and no more.
    let mut other = one.clone();
    one.one.add(Event::Alive);
    one.one.publish(&mut one.objects);
    first.hold(&one.objects);
    let said = auditor.audit(&[&first, &second], &[]).expect_code(0);
    assert!(said.stdout.contains("this bucket has 300 entries of the log"), "{}", said.stdout);
    // The dock itself, or who stole its key, writes two continuations.
    other.one.add(Event::Forgotten { number: 1 });
    other.one.publish(&mut other.objects);
    second.hold(&other.objects);
    let said = auditor.audit(&[&first, &second], &[]).expect_code(13);
    assert!(said.stdout.contains(&format!("{}: two histories", one.one.folder())));
    for place in [&first, &second] {
        auditor.audit(&[place], &[]).expect_code(0);
    }
}

#[test]
fn who_cannot_audit_says_why() {
    let auditor = Auditor::new();
    let gone = {
        let place = folder();
        place.url()
    };
    let run = |url: &str, keyring: &str| {
        let mut command = super::program();
        command.args([url, "--keyring", keyring]);
        crate::support::dock::Finished::new(command.output().unwrap())
    };
    let keyring = auditor.path("keyring");
    run(&gone, text(&keyring)).expect_code(14);
    run("ftp://x", text(&keyring)).expect_code(2);
    let place = folder();
    place.hold(&world().objects);
    // Without --authority the file's own root is believed, and the report says so.
    let said = run(&place.url(), text(&keyring)).expect_code(0);
    assert!(said.stdout.contains("compare it with the authority"), "{}", said.stdout);
    assert!(said.stdout.contains(&Auditor::root().fingerprint()));
    let forged = auditor.path("forged");
    let keyring = std::fs::read_to_string(keyring).unwrap();
    std::fs::write(&forged, keyring.replace("retention-days 180", "retention-days 1")).unwrap();
    run(&place.url(), text(&forged)).expect_code(10);
}

#[test]
fn the_page_has_the_findings_and_no_script() {
    let (auditor, place) = (Auditor::new(), folder());
    let mut world = world();
    let object = delete_a_clip(&mut world);
    place.hold(&world.objects);
    let page = auditor.path("report.html");
    auditor.audit(&[&place], &["--full", "--report", text(&page)]).expect_code(13);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&object) && page.contains("TAMPERED") && !page.contains("<script"));
}
