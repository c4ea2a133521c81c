//! Files that nobody sealed so: the documented exit code, nothing left behind, bounded memory.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::peers::seal_file;
use crate::support::peers::{Keys, classic_keys, hybrid_keys};
use crate::support::tools::{Tool, needs};
use crate::support::{authority, scratch};

/// docs/operations.md §4.
const NO_IDENTITY: u64 = 12;
/// See [`NO_IDENTITY`].
const TAMPERED: u64 = 13;
/// The most memory that opening may take, whatever it opens, in KiB.
const MEMORY_KIB_MAX: u64 = 64 * 1024;
const CLIP_SIZE: usize = 200_000;
const SEALED_CHUNK: usize = 65_552;

/// A good file, and bad ones made of it.
struct Bad {
    dir: TempDir,
    keys: Keys,
    good: Vec<u8>,
    header_size: usize,
    files: Vec<PathBuf>,
}

impl Bad {
    fn new(keys: fn(&Path) -> Keys) -> Bad {
        let dir = scratch();
        let keys = keys(dir.path());
        let clip = dir.path().join("clip.mp4");
        std::fs::write(&clip, vec![7; CLIP_SIZE]).unwrap();
        let sealed = dir.path().join("good.age");
        seal_file(&clip, &sealed, &keys);
        let good = std::fs::read(&sealed).unwrap();
        let header_size = good.len() - (16 + CLIP_SIZE + 16 * CLIP_SIZE.div_ceil(65_536));
        std::fs::create_dir(dir.path().join("out")).unwrap();
        Bad { dir, keys, good, header_size, files: Vec::new() }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join(format!("{name}.age"));
        std::fs::write(&path, bytes).unwrap();
        self.files.push(path);
    }

    /// The header as text, with something replaced; the payload stays.
    fn add_header(&mut self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.good[..self.header_size].to_vec()).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{name}: the replacement did nothing");
        let bytes = [changed.as_bytes(), &self.good[self.header_size..]].concat();
        self.add(name, &bytes);
    }

    /// Opens all of them at once; each fails with this code, and nothing is left.
    fn expect(self, exit: u64) {
        let out = self.dir.path().join("out");
        let mut open = authority::program();
        open.arg("open").arg("--json").arg("--identity").arg(&self.keys.identity_file);
        let done = authority::finish(open.arg("--out").arg(&out).args(&self.files));
        assert_eq!(done.code, exit as i32, "{}", done.stderr);
        let json: Value = serde_json::from_str(&done.stdout).unwrap();
        let clips = json["clips"].as_array().unwrap();
        assert_eq!(clips.len(), self.files.len());
        for clip in clips {
            assert_eq!(clip["error"]["exit"], exit, "{clip}");
            assert!(clip["error"]["hint"].is_string(), "{clip}");
        }
        let left: Vec<_> = out.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_file_cut_anywhere_in_its_header_or_around_a_chunks_end_is_refused() {
    needs!(Age, AgeEncryption);
    for keys in [classic_keys, hybrid_keys] {
        let mut bad = Bad::new(keys);
        let good = bad.good.clone();
        let begin = bad.header_size + 16;
        let borders = (0..4).map(|chunk| begin + chunk * SEALED_CHUNK).chain([good.len()]);
        let around = borders.flat_map(|at| at - 18..at + 18);
        let cuts: Vec<_> = (0..bad.header_size).chain(around).collect();
        for cut in cuts.into_iter().filter(|cut| *cut < good.len()) {
            bad.add(&format!("cut-{cut}"), &good[..cut]);
        }
        bad.expect(TAMPERED);
    }
}

#[test]
fn a_file_that_goes_on_or_begins_twice_is_refused() {
    needs!(Age);
    let mut bad = Bad::new(classic_keys);
    let good = bad.good.clone();
    let header = good[..bad.header_size].to_vec();
    for more in [1, 15, 16, 17, SEALED_CHUNK, 2 << 20] {
        bad.add(&format!("more-{more}"), &[good.clone(), vec![0; more]].concat());
    }
    bad.add("twice", &[good.clone(), good.clone()].concat());
    bad.add("two-headers", &[header.clone(), good.clone()].concat());
    bad.add("two-first-lines", &[b"age-encryption.org/v1\n", &good[..]].concat());
    let last_chunk = good[good.len() - (CLIP_SIZE % 65_536 + 16)..].to_vec();
    bad.add("two-ends", &[good, last_chunk].concat());
    bad.expect(TAMPERED);
}

#[test]
fn a_header_in_any_other_spelling_is_refused() {
    needs!(AgeEncryption);
    let mut bad = Bad::new(hybrid_keys);
    let header = String::from_utf8(bad.good[..bad.header_size].to_vec()).unwrap();
    let lines: Vec<_> = header.lines().collect();
    let share = lines[1].split(' ').nth(2).unwrap().to_owned();
    let body = lines[2].to_owned();
    let mac = lines.last().unwrap().to_string();
    bad.add_header("crlf-first", "v1\n", "v1\r\n");
    bad.add_header("crlf-mac", &format!("{mac}\n"), &format!("{mac}\r\n"));
    bad.add(
        "crlf",
        &[header.replace('\n', "\r\n").as_bytes(), &bad.good[bad.header_size..]].concat(),
    );
    bad.add_header("padding", &format!("{body}\n"), &format!("{body}=\n"));
    bad.add_header("spaces", "-> mlkem768x25519 ", "-> mlkem768x25519  ");
    bad.add_header("space-behind", &format!("{share}\n"), &format!("{share} \n"));
    bad.add_header("two-arguments", &format!("{share}\n"), &format!("{share} AAAA\n"));
    bad.add_header("no-argument", &format!(" {share}\n"), "\n");
    bad.add_header("short-argument", &share, &share[4..]);
    bad.add_header("long-body", &format!("{body}\n"), &format!("{body}AAAA\n"));
    bad.add_header("short-body", &format!("{body}\n"), &format!("{}\n", &body[4..]));
    bad.add_header("empty-body", &format!("{body}\n"), "\n");
    // 1120 and 32 bytes leave bits in their last character, which must be zero.
    for (name, text) in [("argument", &share), ("body", &body)] {
        let mut other = text.clone();
        let last = other.pop().unwrap();
        other.push(char::from(last as u8 + 1));
        bad.add_header(&format!("not-canonical-{name}"), text, &other);
    }
    // The X25519 half of the share is its end: 32 zero bytes are a point of low order.
    let low_order = format!("{}{}", &share[..share.len() - 44], "A".repeat(44));
    bad.add_header("low-order", &share, &low_order);
    bad.add_header(
        "mac-changed",
        &mac[..10],
        if &mac[4..10] == "AAAAAA" { "--- BBBBBB" } else { "--- AAAAAA" },
    );
    bad.add_header("mac-short", &mac, &mac[..mac.len() - 4]);
    bad.add_header("version", "org/v1", "org/v2");
    bad.add_header("scrypt-beside", "-> mlkem", "-> scrypt AAAA 10\n\n-> mlkem");
    bad.expect(TAMPERED);
}

#[test]
fn a_low_order_share_of_a_classic_recipient_is_refused() {
    needs!(Age);
    let mut bad = Bad::new(classic_keys);
    let header = String::from_utf8(bad.good[..bad.header_size].to_vec()).unwrap();
    let share = header.lines().nth(1).unwrap().rsplit(' ').next().unwrap().to_owned();
    // The points 0 and 1, and one that reduces to 0 (p).
    for (name, point) in [("zero", [0u8; 32]), ("one", one()), ("prime", the_prime())] {
        bad.add_header(name, &share, &base64(&point));
    }
    bad.expect(TAMPERED);
}

fn one() -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = 1;
    point
}

/// 2^255 - 19, little-endian (RFC 7748 §4.1).
fn the_prime() -> [u8; 32] {
    let mut point = [0xff; 32];
    (point[0], point[31]) = (0xed, 0x7f);
    point
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

#[test]
fn somebody_elses_file_is_told_from_a_changed_one() {
    needs!(Age, AgeEncryption);
    let mut bad = Bad::new(classic_keys);
    let (other, hybrid) = (Bad::new(classic_keys).good, Bad::new(hybrid_keys).good);
    bad.add("other", &other);
    bad.add("hybrid", &hybrid);
    bad.expect(NO_IDENTITY);
}

#[test]
fn hostile_headers_are_refused_in_bounded_memory() {
    needs!(Age, Time);
    let mut bad = Bad::new(classic_keys);
    let line = b"age-encryption.org/v1\n";
    bad.add("stanzas", &[line.as_slice(), &b"-> x\n\n".repeat(10_000)].concat());
    // A gigabyte that takes no space on the disk.
    let sparse = bad.dir.path().join("sparse.age");
    let mut file = File::create_new(&sparse).unwrap();
    file.write_all(&[line.as_slice(), b"-> x\n"].concat()).unwrap();
    file.set_len(1 << 30).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    bad.files.push(sparse);
    bad.expect(TAMPERED);
}

/// Feeds `open` from a pipe that never ends: only a bound of ours can.
fn opened_endless(begin: &[u8], block: &[u8]) -> (i32, u64) {
    let dir = scratch();
    let keys = classic_keys(dir.path());
    let mut open = Command::new(Tool::Time.path());
    open.args(["-f", "%M"]).arg(env!("CARGO_BIN_EXE_dockseal-authority"));
    open.args(["open", "--out", "-", "--identity"]).arg(&keys.identity_file).arg("/dev/stdin");
    open.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = open.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A gigabyte at most, or a program without a bound would read for ever.
    let _ = pipe.write_all(begin);
    let mut written = 0;
    while written < 1 << 30 && pipe.write_all(block).is_ok() {
        written += block.len();
    }
    drop(pipe);
    assert!(written < 100 << 20, "{written} bytes of a header were taken");
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    let memory = said.lines().last().unwrap().parse().unwrap();
    (done.status.code().unwrap(), memory)
}

#[test]
fn a_header_of_a_gigabyte_is_refused_after_a_megabyte() {
    needs!(Age, Time);
    let first = b"age-encryption.org/v1\n-> x\n";
    let body = [b"A".repeat(64), b"\n".to_vec()].concat().repeat(1000);
    let one_line = b"A".repeat(65_000);
    let argument = b"age-encryption.org/v1\n-> x ";
    let armor = b"-----BEGIN AGE ENCRYPTED FILE-----\n";
    for (begin, block) in [
        (first.as_slice(), body.as_slice()),
        (argument, &one_line),
        (armor, &one_line),
        (b"", &one_line),
        (b"", &b"\n".repeat(1000)),
    ] {
        let (code, memory) = opened_endless(begin, block);
        assert_eq!(code, TAMPERED as i32);
        assert!(memory < MEMORY_KIB_MAX, "{memory} KiB");
    }
}
