//! The dock alone cannot open a clip: not with its program, and not with anything that it keeps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::dock::{BucketConfig, Choices, Dock, Finished, authority};
use crate::support::peers::{self, Keys, Peer};
use crate::support::scratch;
use crate::support::seaweed::Login;
use crate::support::tools::needs;

mod binary;
mod search;

use search::{Sealed, candidates_in};

/// Names without folders of what a state directory holds after sealing: lock, queue and spool.
const KEPT: [&str; 4] = ["lock", "queue.db", "queue.db-shm", "queue.db-wal"];
const ERASED_WITHIN: Duration = Duration::from_secs(60);

/// A dock that sealed, pushed and erased its clips and was then cut off: with all that lies there.
fn dock_after_sealing(keys: &Keys, bucket: &Path) -> Dock {
    let mut choices = Choices::new(&keys.recipient, BucketConfig::folder(bucket));
    choices.more = "keep_sealed = \"1d\"".into();
    let mut dock = Dock::new(&choices);
    dock.init();
    std::fs::write(dock.folder().join("clip.mp4"), vec![7; 200_000]).unwrap();
    std::fs::write(dock.folder().join("clip.json"), b"{\"officer\": \"0417\"}").unwrap();
    dock.start();
    dock.wait_for_json("both to be erased", &["list"], ERASED_WITHIN, |list| {
        let clips = list["clips"].as_array().unwrap();
        clips.len() == 2 && clips.iter().all(|clip| clip["state"] == "erased")
    });
    // Not stopped in order: that would tidy up the WAL.
    dock.kill();
    for name in KEPT {
        assert!(dock.state_dir().join(name).is_file(), "{name}");
    }
    dock
}

/// Every file that a thief of the dock's disk has.
fn files_of(dock: &Dock) -> Vec<PathBuf> {
    let mut files = vec![dock.config()];
    let mut folders = vec![dock.state_dir(), dock.log_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

fn with_ending(files: &[PathBuf], ending: &str) -> Vec<PathBuf> {
    let has = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == ending);
    files.iter().filter(has).cloned().collect()
}

/// Whether any of the tools opens a sealed file with this file as the identity.
fn opens(identity: &Path, recipient: &str, sealed: &Path) -> bool {
    let keys = Keys { identity_file: identity.to_owned(), recipient: recipient.to_owned() };
    let dir = scratch();
    let by_peer = [Peer::Age, Peer::AgeEncryption].iter().any(|peer| {
        let opened = dir.path().join(format!("{peer:?}"));
        peers::try_open(*peer, &keys, sealed, &opened).is_ok()
    });
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let [identity, sealed, out_text] = [identity, sealed, &out].map(|path| path.to_str().unwrap());
    let arguments = ["open", sealed, "--identity", identity, "--out", out_text];
    let done = authority(Login::Dock, &arguments).output().unwrap();
    let by_us = done.status.success();
    assert_eq!(by_us, std::fs::read_dir(&out).unwrap().count() == 1, "{done:?}");
    by_peer || by_us
}

fn nothing_kept_opens(keys: &Keys) {
    let bucket = scratch();
    let dock = dock_after_sealing(keys, bucket.path());
    let files = files_of(&dock);
    let sealed = with_ending(&files, "age");
    assert_eq!(sealed.len(), 2, "the spool has both: {files:?}");

    // As identities.
    for file in &files {
        for sealed in &sealed {
            assert!(!opens(file, &keys.recipient, sealed), "{} opens it", file.display());
        }
    }
    for sealed in &sealed {
        assert!(opens(&keys.identity_file, &keys.recipient, sealed), "the right one opens it");
    }

    // As the key of a file or of its payload, at any place in any file.
    let candidates = candidates_in(&files);
    assert!(candidates.len() > 10_000, "{} is not all there is", candidates.len());
    for sealed in &sealed {
        let sealed = Sealed::read(sealed);
        let found = candidates.iter().find(|candidate| sealed.is_opened_by(candidate));
        assert_eq!(found, None, "a key lies in the state directory");
    }
}

#[test]
fn no_file_of_the_dock_opens_what_it_sealed() {
    needs!(Setpriv, Age, AgeEncryption);
    let dir = scratch();
    nothing_kept_opens(&peers::classic_keys(dir.path()));
}

#[test]
fn no_file_of_the_dock_opens_what_it_sealed_to_a_post_quantum_key() {
    needs!(Setpriv, Age, AgeEncryption);
    let dir = scratch();
    nothing_kept_opens(&peers::hybrid_keys(dir.path()));
}

#[test]
fn a_key_that_was_kept_would_be_found() {
    let dir = scratch();
    let planted = dir.path().join("queue.db");
    for file_key in [[0x5a; 16], *b"not such a good "] {
        let sealed = search::sealed_with(&file_key);
        for secret in [file_key.to_vec(), sealed.payload_key(&file_key).to_vec()] {
            let noise: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
            std::fs::write(&planted, [&noise[..4097], &secret, &noise[4097..]].concat()).unwrap();
            let found = candidates_in(std::slice::from_ref(&planted));
            let found = found.iter().find(|candidate| sealed.is_opened_by(candidate));
            assert_eq!(found.map(|found| &found[..secret.len()]), Some(&secret[..]));
            std::fs::write(&planted, &noise).unwrap();
            let found = candidates_in(std::slice::from_ref(&planted));
            assert!(!found.iter().any(|candidate| sealed.is_opened_by(candidate)));
        }
    }
}

#[test]
fn the_program_of_the_dock_alone_has_nothing_to_open_with() {
    needs!(Strings);
    let dock = binary::build_dock_alone();
    assert_eq!(binary::findings(&dock), Vec::<String>::new());
    // It is the program, and its symbols are there to be looked at.
    let version = Finished::new(Command::new(&dock).arg("--version").output().unwrap());
    assert!(version.expect_code(0).stdout.starts_with("dockseal "));
    let symbols = binary::symbols(&dock);
    for wanted in ["dockseal::envelope::recipient", "hpke::kem::xwing::XWing::encap"] {
        assert!(symbols.contains(wanted), "no {wanted}: are there symbols at all?");
    }
    // The same look finds each kind of thing where it is.
    let authority = binary::findings(Path::new(env!("CARGO_BIN_EXE_dockseal-authority")));
    for wanted in binary::KINDS {
        assert!(
            authority.iter().any(|found| found.starts_with(wanted)),
            "{wanted}: {authority:#?}"
        );
    }
    // As is the demo's key, in the program that is built for all roles together.
    let full = binary::findings(Path::new(env!("CARGO_BIN_EXE_dockseal")));
    assert!(full.iter().any(|found| found.starts_with("text: ")), "{full:#?}");
}
