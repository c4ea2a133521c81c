//! Parts of a clip: the bytes that were asked for, at the price of those bytes.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use dockseal::edge::bucket::Bucket;

use crate::peers::seal_file;
use crate::support::peers::hybrid_keys;
use crate::support::proxy::Proxy;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{authority, scratch};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A clip whose bytes tell their place.
fn write_clip(path: &Path, size: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path).unwrap());
    for at in 0..size / 8 {
        out.write_all(&at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).unwrap();
    }
    out.flush().unwrap();
}

fn part_of(clip: &Path, from: u64, size: u64) -> Vec<u8> {
    let mut clip = BufReader::new(File::open(clip).unwrap());
    clip.seek(SeekFrom::Start(from)).unwrap();
    let mut part = Vec::new();
    clip.take(size).read_to_end(&mut part).unwrap();
    part
}

/// What `open --bytes RANGE --out -` writes.
fn opened(mut open: Command, range: &str) -> Vec<u8> {
    let done = open.args(["--out", "-", &format!("--bytes={range}")]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[test]
fn a_mebibyte_of_a_gibibyte_in_a_bucket_costs_less_than_two() {
    needs!(AgeEncryption, Weed, Setpriv);
    let dir = scratch();
    let keys = hybrid_keys(dir.path());
    let (clip, sealed) = (dir.path().join("long.mp4"), dir.path().join("sealed"));
    write_clip(&clip, GIB);
    let name = seal_file(&clip, &sealed, &keys).name;
    // Its gigabyte goes with it; at the shared server it would lie until the last test.
    let server = Seaweed::start();
    let url = server.url("parts");
    let key = format!("dock-1/clips/{}/{name}.age", &name.to_string()[..2]);
    let bucket = Bucket::open(&url, &server.options(Login::Admin)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let put = bucket.put_sealed(&key, File::open(&sealed).unwrap(), name, &|_| {});
    runtime.block_on(put).unwrap();

    let proxy = Proxy::to(&server.address);
    let open = || {
        let mut open = authority::program();
        open.arg("open").arg(format!("{url}/{key}")).arg("--identity").arg(&keys.identity_file);
        open.args(["-o", &format!("aws_endpoint={}", proxy.endpoint())]);
        open.envs(Login::Admin.env());
        open
    };
    let from = GIB / 10 * 9 + 12_345;
    for (range, from) in
        [(format!("{from}-{}", from + MIB - 1), from), (format!("-{MIB}"), GIB - MIB)]
    {
        let before = proxy.received_bytes();
        assert!(opened(open(), &range) == part_of(&clip, from, MIB), "{range}");
        let cost = proxy.received_bytes() - before;
        eprintln!("{range}: {cost} bytes came from the bucket");
        assert!(cost < 2 * MIB, "{range} cost {cost} bytes");
    }
    let before = proxy.received_bytes();
    assert_eq!(opened(open(), "0-0"), part_of(&clip, 0, 1));
    let cost = proxy.received_bytes() - before;
    assert!(cost < 200_000, "one byte cost {cost} bytes");
}

#[test]
fn a_part_of_a_file_is_the_part_of_the_clip() {
    needs!(AgeEncryption);
    let dir = scratch();
    let keys = hybrid_keys(dir.path());
    let (clip, sealed) = (dir.path().join("clip.mp4"), dir.path().join("sealed.age"));
    write_clip(&clip, 1_000_000);
    seal_file(&clip, &sealed, &keys);
    let open = |path: &Path| {
        let mut open = authority::program();
        open.arg("open").arg(path).arg("--identity").arg(&keys.identity_file);
        open
    };
    for (range, from, size) in [
        ("0-0", 0, 1),
        ("65530-65545", 65_530, 16),
        ("999999-", 999_999, 1),
        ("0-", 0, 1_000_000),
        ("900000-2000000", 900_000, 100_000),
        ("-70000", 930_000, 70_000),
        ("-2000000", 0, 1_000_000),
    ] {
        assert!(opened(open(&sealed), range) == part_of(&clip, from, size), "{range}");
    }
    let failed = |path: &Path, range: &str, code| {
        let mut open = open(path);
        let open = open.args(["--out", "-", &format!("--bytes={range}")]);
        authority::finish(open).expect_code(code).stdout
    };
    assert_eq!(failed(&sealed, "1000000-", 2), "");
    let whole = std::fs::read(&sealed).unwrap();
    let cut = dir.path().join("cut.age");
    // At the end of a whole chunk: only the mark of the last one tells.
    std::fs::write(&cut, &whole[..whole.len() - (1_000_000 % 65_536 + 16)]).unwrap();
    assert_eq!(failed(&cut, "-10", 13), "");
    assert_eq!(failed(&cut, "983040-", 13), "");
    // A part that has its name would look whole.
    let mut named = open(&sealed);
    authority::finish(named.args(["--bytes", "0-9", "--out"]).arg(dir.path())).expect_code(2);
}
