//! Keys that only a plugin can use: with age's own plugins, and with none that behaves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::{SIZES, seal_file, seal_file_to};
use crate::support::peers::{Keys, Peer, classic_keys, hybrid_keys};
use crate::support::tools::{Tool, needs};
use crate::support::{authority, peers, scratch, sha256};

/// What `age-plugin-tagtest` opens, a stand-in for a hardware key: its source has it.
pub const TAG_RECIPIENT: &str =
    "age1tag1qwe0kafsjrar4txm6heqnhpfuggzr0gvznz7fvygxrlq90u5mq2pysxtw6h";

/// Its post-quantum key, an `mlkem768p256tag`; behind a line that says so.
const TAG_PQ_RECIPIENT: &str = include_str!("support/tagtest-pq.recipient");

/// age 1.3's plugins, before all other programs.
fn path() -> OsString {
    let plugins = Tool::Age13.path().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [plugins].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap()
}

fn plugin(name: &str) -> PathBuf {
    Tool::Age13.path().with_file_name(format!("age-plugin-{name}"))
}

/// An identity file with the identity of a plugin that keeps no data in it.
fn empty_identity(name: &str, folder: &Path) -> PathBuf {
    let hrp = format!("AGE-PLUGIN-{}-", name.to_uppercase());
    let hrp = bech32::Hrp::parse(&hrp).unwrap();
    let text = bech32::encode_upper::<bech32::Bech32>(hrp, &[]).unwrap();
    write_identity(&text, folder, name)
}

fn write_identity(text: &str, folder: &Path, name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("{name}.plugin"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// `age-plugin-pq` keeps an ordinary post-quantum key in its identity.
fn pq_identity(keys: &Keys, folder: &Path) -> PathBuf {
    let text = peers::run(Command::new(plugin("pq")).arg("-identity").arg(&keys.identity_file));
    write_identity(&String::from_utf8(text).unwrap(), folder, "pq")
}

fn clip(folder: &Path) -> PathBuf {
    clip_of(200_000, folder)
}

fn clip_of(size: usize, folder: &Path) -> PathBuf {
    let clip = folder.join("0001.mp4");
    std::fs::write(&clip, vec![7; size]).unwrap();
    clip
}

fn open_with(identity: &Path, sealed: &Path, out: &Path) -> Command {
    let mut open = authority::program();
    open.arg("open").arg("--identity").arg(identity).arg(sealed).arg("--out").arg(out);
    open.env("PATH", path());
    open
}

#[test]
fn a_plugin_opens_a_clip() {
    needs!(Age13, AgeEncryption);
    let dir = scratch();
    let (clip, sealed) = (clip(dir.path()), dir.path().join("sealed.age"));
    let keys = hybrid_keys(dir.path());
    seal_file(&clip, &sealed, &keys);
    let out = scratch();
    let identity = pq_identity(&keys, dir.path());
    let done = authority::finish(&mut open_with(&identity, &sealed, out.path())).expect_code(0);
    assert_eq!(sha256(&out.path().join("0001.mp4")), sha256(&clip));
    assert_eq!(done.stderr, "");
    // Through the catalogue too, one plugin for each clip.
    let bucket = scratch();
    let name = sha256(&sealed);
    let folder = bucket.path().join("dock/clips").join(&name[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(&sealed, folder.join(format!("{name}.age"))).unwrap();
    let mut list = authority::program();
    list.arg("list").arg(format!("file://{}", bucket.path().display()));
    list.arg("--identity").arg(&identity).env("PATH", path());
    assert!(authority::finish(&mut list).expect_code(0).stdout.contains("0001.mp4"));
}

#[test]
fn a_plugin_without_the_key_says_so() {
    needs!(Age13, AgeEncryption);
    let dir = scratch();
    let (clip, sealed) = (clip(dir.path()), dir.path().join("sealed.age"));
    seal_file(&clip, &sealed, &hybrid_keys(dir.path()));
    let other = scratch();
    let identity = pq_identity(&hybrid_keys(other.path()), dir.path());
    let out = scratch();
    authority::finish(&mut open_with(&identity, &sealed, out.path())).expect_code(12);
    assert_eq!(out.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_hardware_key_opens_what_others_sealed_to_it() {
    needs!(Age13, AgeEncryption, Pyrage);
    let dir = scratch();
    let identity = empty_identity("tagtest", dir.path());
    let recipients = [TAG_RECIPIENT, TAG_PQ_RECIPIENT.lines().last().unwrap()];
    // Not the last, 100 MB: six times that would take minutes, and `peers.rs` has it of each peer.
    let sizes = SIZES.into_iter().take(SIZES.len() - 1);
    for (size, recipient) in sizes.flat_map(|size| recipients.map(|it| (size, it))) {
        let dir = scratch();
        let clip = clip_of(size, dir.path());
        for peer in [Peer::Age13, Peer::AgeEncryption, Peer::Pyrage] {
            let sealed = dir.path().join(format!("{peer:?}.age"));
            peers::encrypt(peer, recipient, &clip, &sealed);
            let out = scratch();
            authority::finish(&mut open_with(&identity, &sealed, out.path())).expect_code(0);
            let opened = out.path().join(format!("{peer:?}"));
            assert_eq!(sha256(&opened), sha256(&clip), "{size} bytes of {peer:?}");
        }
    }
}

/// Opens with age 1.3 and its plugin.
fn sha256_by_age(identity: &Path, sealed: &Path) -> String {
    let dir = scratch();
    let opened = dir.path().join("opened");
    let mut age = Command::new(Tool::Age13.path());
    age.arg("-d").arg("-i").arg(identity).arg(sealed).env("PATH", path());
    age.stdout(std::fs::File::create_new(&opened).unwrap());
    peers::run(&mut age);
    sha256(&opened)
}

#[test]
fn a_hardware_key_opens_what_we_seal_to_it() {
    needs!(Age13);
    let dir = scratch();
    let identity = empty_identity("tagtest", dir.path());
    for size in SIZES {
        let dir = scratch();
        let clip = clip_of(size, dir.path());
        let sealed = dir.path().join("sealed.age");
        seal_file_to(&clip, &sealed, &[TAG_RECIPIENT]);
        assert_eq!(sha256_by_age(&identity, &sealed), sha256(&clip), "{size} bytes");
        let out = scratch();
        authority::finish(&mut open_with(&identity, &sealed, out.path())).expect_code(0);
        let opened = out.path().join(clip.file_name().unwrap());
        assert_eq!(sha256(&opened), sha256(&clip), "{size} bytes");
    }
}

#[test]
fn a_clip_for_hardware_and_for_a_file_opens_with_either() {
    needs!(Age, Age13);
    let dir = scratch();
    let (clip, sealed) = (clip(dir.path()), dir.path().join("sealed.age"));
    let keys = classic_keys(dir.path());
    // The order of the stanzas is the config's: the hardware's may be the first and the last.
    for recipients in [[TAG_RECIPIENT, &keys.recipient], [&keys.recipient, TAG_RECIPIENT]] {
        seal_file_to(&clip, &sealed, &recipients);
        let identity = empty_identity("tagtest", dir.path());
        assert_eq!(sha256_by_age(&identity, &sealed), sha256(&clip));
        for peer in [Peer::Age, Peer::Age13] {
            assert_eq!(peers::sha256_opened(peer, &keys, &sealed), sha256(&clip), "{peer:?}");
        }
        let opened = authority::sha256_opened(&keys.identity_file, &sealed);
        assert_eq!(opened, sha256(&clip));
        std::fs::remove_file(&sealed).unwrap();
    }
}

#[test]
fn a_plugin_is_asked_only_where_no_key_of_ours_fits() {
    needs!(Age13, AgeEncryption);
    let dir = scratch();
    let (clip, sealed) = (clip(dir.path()), dir.path().join("sealed.age"));
    let keys = hybrid_keys(dir.path());
    seal_file(&clip, &sealed, &keys);
    let identity = empty_identity("not-installed", dir.path());
    let out = scratch();
    let mut open = open_with(&identity, &sealed, out.path());
    authority::finish(open.arg("--identity").arg(&keys.identity_file)).expect_code(0);
    let failed = authority::finish(&mut open_with(&identity, &sealed, out.path()));
    let failed = failed.expect_code(1);
    let name = "age-plugin-not-installed: this program is not in PATH";
    assert!(failed.stderr.contains(name) && failed.stderr.contains("hint: install it"));
}
