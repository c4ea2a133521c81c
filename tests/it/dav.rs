//! WebDAV buckets, on the two servers that people run: Apache and nginx.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dockseal::clip::Evidence;
use dockseal::edge::bucket::{Bucket, BucketError, Created};

use crate::contract::{
    LARGE, SMALL, Spooled, block_on, holds, keeps_the_contract, keeps_the_small_contract, put,
};
use crate::support::dav_servers::{DavServer, User};
use crate::support::files_beneath;
use crate::support::proxy::{Fault, Proxy};
use crate::support::tools::needs;

fn open(url: &str, user: User) -> Bucket {
    Bucket::open(url, &user.options()).unwrap()
}

fn open_freely(url: &str) -> Bucket {
    Bucket::open(url, &BTreeMap::new()).unwrap()
}

/// Names of all files beneath a folder of the server, looked at without our own code.
fn files(folder: &Path) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = files_beneath(folder).into_iter().map(name).collect();
    files.sort();
    files
}

#[test]
fn apache_keeps_the_contract() {
    needs!(Apache, Setpriv);
    let server = DavServer::apache();
    let folder = server.folder("contract");
    let bucket = open(&server.url(&folder), User::Admin);
    keeps_the_contract(&bucket, &bucket, Evidence::ReadBack);
    let left = files(&server.root().join(&folder));
    assert!(left.iter().all(|name| !name.ends_with(".unfinished")), "{left:?}");
    let behind = bucket.clock_behind_seconds().expect("the server says what time it is");
    assert!(behind.abs() < 60, "{behind}");

    let folder = server.folder("small");
    let bucket = open(&server.url(&folder), User::Admin);
    keeps_the_small_contract(&bucket, &bucket, Created::Equal);
    assert_eq!(files(&server.root().join(folder)), ["1", "checkpoint"]);
}

#[test]
fn nginx_keeps_the_contract() {
    needs!(Nginx, Setpriv);
    let server = DavServer::nginx();
    let folder = server.folder("contract");
    let bucket = open_freely(&server.url(&folder));
    keeps_the_contract(&bucket, &bucket, Evidence::ReadBack);
    let left = files(&server.root().join(&folder));
    assert!(left.iter().all(|name| !name.ends_with(".unfinished")), "{left:?}");

    let folder = server.folder("small");
    let bucket = open_freely(&server.url(&folder));
    keeps_the_small_contract(&bucket, &bucket, Created::Equal);
    assert_eq!(files(&server.root().join(folder)), ["1", "checkpoint"]);
}

#[test]
fn a_user_who_may_only_bring_brings_and_reads_nothing() {
    needs!(Apache, Setpriv);
    let server = DavServer::apache();
    let url = server.url(&server.folder("contract"));
    let (dock, admin) = (open(&url, User::Dock), open(&url, User::Admin));
    keeps_the_contract(&dock, &admin, Evidence::Acknowledged);
    let refused = |error| matches!(error, BucketError::Refused(_));
    let spooled = Spooled::new(SMALL);
    assert_eq!(put(&dock, &spooled).unwrap(), Evidence::Acknowledged);
    // Already there, and it may not look: sent over itself.
    assert_eq!(put(&dock, &spooled).unwrap(), Evidence::Acknowledged);
    assert!(holds(&admin, &spooled));
    assert!(refused(block_on(dock.size(&spooled.key)).unwrap_err()));
    assert!(refused(block_on(dock.read(&spooled.key, 0..1)).unwrap_err()));
    assert!(refused(block_on(dock.list("")).unwrap_err()));
    block_on(dock.probe("dock-1/clips/probe")).unwrap();

    let url = server.url(&server.folder("small"));
    let (dock, admin) = (open(&url, User::Dock), open(&url, User::Admin));
    keeps_the_small_contract(&dock, &admin, Created::Unseen);
}

#[test]
fn a_login_that_is_refused_or_a_folder_that_is_not_there_says_so() {
    needs!(Apache, Nginx, Setpriv);
    let server = DavServer::apache();
    let url = server.url(&server.folder("login"));
    let mut options = User::Admin.options();
    options.insert("webdav_password".into(), "not-the-secret".into());
    let not_ours = Bucket::open(&url, &options).unwrap();
    let nginx = DavServer::nginx();
    for size in [SMALL, LARGE] {
        let spooled = Spooled::new(size);
        let refused = put(&not_ours, &spooled);
        assert!(matches!(refused, Err(BucketError::Refused(_))), "{refused:?}");
        let text = format!("{refused:?}");
        assert!(text.contains("401") && !text.contains("not-the-secret"), "{text}");
        // The base is never made: a disk that is not mounted there must be seen.
        for missing in [
            open(&server.url("none"), User::Admin),
            open(&server.url("none"), User::Dock),
            open_freely(&nginx.url("none")),
        ] {
            let put_there = put(&missing, &spooled);
            assert!(matches!(put_there, Err(BucketError::Missing)), "{put_there:?}");
        }
    }
    assert!(matches!(block_on(not_ours.probe("d/clips/probe")), Err(BucketError::Refused(_))));
    for missing in [open(&server.url("none"), User::Admin), open_freely(&nginx.url("none"))] {
        for prefix in ["", "dock-1"] {
            let listed = block_on(missing.list(prefix));
            assert!(matches!(listed, Err(BucketError::Missing)), "{listed:?}");
        }
        let probed = block_on(missing.probe("d/clips/probe"));
        assert!(matches!(probed, Err(BucketError::Missing)), "{probed:?}");
    }
}

#[test]
fn a_probe_leaves_no_file_where_it_may_remove() {
    needs!(Apache, Nginx, Setpriv);
    let (apache, nginx) = (DavServer::apache(), DavServer::nginx());
    for (server, options) in [(apache, User::Admin.options()), (nginx, BTreeMap::new())] {
        let folder = server.folder("probe");
        let bucket = Bucket::open(&server.url(&folder), &options).unwrap();
        block_on(bucket.probe("dock-1/clips/probe")).unwrap();
        assert!(files(&server.root().join(folder)).is_empty());
    }
}

#[test]
fn a_line_cut_in_the_middle_leaves_no_object_and_the_next_put_is_good() {
    needs!(Apache, Nginx, Setpriv);
    let (apache, nginx) = (DavServer::apache(), DavServer::nginx());
    for (server, options) in [(apache, User::Admin.options()), (nginx, BTreeMap::new())] {
        let proxy = Proxy::to(&server.address);
        let folder = server.folder("cut");
        let url = format!("{}/{folder}", proxy.endpoint());
        let bucket = Bucket::open(&url, &options).unwrap();
        let spooled = Spooled::new(LARGE);
        proxy.set(Fault::CutAfter(LARGE as u64 / 2));
        let cut = put(&bucket, &spooled);
        assert!(matches!(cut, Err(BucketError::Failed { .. })), "{cut:?}");
        assert_eq!(proxy.fault(), Fault::None, "the line was cut");
        assert!(!files(&server.root().join(&folder)).contains(&format!("{}.age", spooled.name)));
        assert!(matches!(block_on(bucket.size(&spooled.key)), Err(BucketError::Missing)));
        assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
        assert!(holds(&bucket, &spooled));
        assert_eq!(files(&server.root().join(&folder)), [format!("{}.age", spooled.name)]);
    }
}

#[test]
fn an_answer_that_was_lost_costs_one_reading() {
    needs!(Apache, Setpriv);
    let server = DavServer::apache();
    let folder = server.folder("lost");
    let (direct, proxy) = (open(&server.url(&folder), User::Admin), Proxy::to(&server.address));
    let bucket = open(&format!("{}/{folder}", proxy.endpoint()), User::Admin);
    let spooled = Spooled::new(LARGE);
    // Somebody put it, and did not hear so.
    assert_eq!(put(&direct, &spooled).unwrap(), Evidence::ReadBack);
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
    assert!(proxy.sent_bytes() < 10_000, "it was sent again: {} bytes", proxy.sent_bytes());
}

#[test]
fn of_racing_writers_somebodys_bytes_are_there_whole_and_later_ones_lose() {
    needs!(Apache, Setpriv);
    let server = DavServer::apache();
    let url = server.url(&server.folder("race"));
    let bytes = |writer: usize| format!("writer {writer} ").repeat(1000);
    let create = |key: &str, writer| match block_on(
        open(&url, User::Admin).create(key, bytes(writer).into()),
    ) {
        Ok(Created::New | Created::Equal) => true,
        Err(BucketError::OtherContent) => false,
        other => panic!("{other:?}"),
    };
    for round in 0..3 {
        let key = format!("dock-1/log/0/checkpoints/{round}");
        let created: Vec<_> = std::thread::scope(|scope| {
            let (create, key) = (&create, &key);
            let writers = (0..16).map(|writer| scope.spawn(move || create(key, writer)));
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        // It should be one. Apache looks for the name and renames in two steps, so that two at
        // times hear that they created it; the bytes are those of one of them.
        assert!(created.contains(&true));
        let found = block_on(open(&url, User::Admin).read_all(&key, 1 << 20)).unwrap();
        let winner = (0..16).find(|writer| found == bytes(*writer)).expect("mixed bytes");
        assert!(created[winner]);
        assert!((0..16).all(|writer| create(&key, writer) == (writer == winner)));
    }
}

#[test]
fn a_server_that_knows_itself_by_the_other_scheme_is_told_that_one() {
    needs!(Apache, Setpriv);
    // As behind a proxy that ends TLS; it answers 502 to a `Destination` of our scheme.
    let server = DavServer::apache_with("ServerName https://127.0.0.1:443");
    let bucket = open(&server.url(&server.folder("scheme")), User::Admin);
    let spooled = Spooled::new(SMALL);
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
    assert!(holds(&bucket, &spooled));
}

/// Says the same to every request, as a captive portal does, until the test process ends.
fn portal(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { continue };
            std::thread::spawn(move || {
                let mut block = [0; 65536];
                // Whatever came: a client that sends on meets a closed door, as it would there.
                let _ = client.read(&mut block);
                let _ = client.write_all(answer.as_bytes());
            });
        }
    });
    format!("http://{address}/clips")
}

#[test]
fn a_captive_portal_is_never_taken_for_a_bucket() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nlogin",
        "HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\nbad",
    ] {
        let bucket = open_freely(&portal(answer));
        let failed = |error: BucketError| {
            assert!(matches!(error, BucketError::Failed { .. }), "{answer}: {error:?}");
            let text = error.to_string();
            assert!(!text.contains("login") && !text.contains('\n'), "{text}");
        };
        failed(put(&bucket, &Spooled::new(SMALL)).unwrap_err());
        failed(block_on(bucket.create("dock-1/log/0/tile", "x".into())).unwrap_err());
        failed(block_on(bucket.size("x")).unwrap_err());
        failed(block_on(bucket.read("x", 0..1)).unwrap_err());
        failed(block_on(bucket.read_all("x", 9)).unwrap_err());
        failed(block_on(bucket.list("")).unwrap_err());
    }
}

#[test]
fn a_full_disk_at_the_server_is_told_and_a_later_put_is_good() {
    needs!(Apache, Root, Setpriv);
    let server = DavServer::apache();
    let folder = server.small_disk(4 << 20);
    let bucket = open(&server.url(folder), User::Admin);
    let small = Spooled::new(SMALL);
    assert_eq!(put(&bucket, &small).unwrap(), Evidence::ReadBack);
    let ballast = server.root().join(folder).join("ballast");
    std::fs::write(&ballast, vec![1; 5 << 19]).unwrap();
    let other = Spooled::new(SMALL);
    let full = put(&bucket, &other);
    let Err(BucketError::Failed { text, .. }) = &full else { panic!("{full:?}") };
    assert!(text.contains("507"), "{text}");
    assert!(matches!(block_on(bucket.size(&other.key)), Err(BucketError::Missing)));
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(put(&bucket, &other).unwrap(), Evidence::ReadBack);
}

#[test]
fn a_folder_removed_behind_our_back_is_made_again() {
    needs!(Apache, Nginx, Setpriv);
    let (apache, nginx) = (DavServer::apache(), DavServer::nginx());
    for (server, options) in [(apache, User::Admin.options()), (nginx, BTreeMap::new())] {
        let folder = server.folder("removed");
        let bucket = Bucket::open(&server.url(&folder), &options).unwrap();
        let spooled = Spooled::new(SMALL);
        assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
        std::fs::remove_dir_all(server.root().join(&folder).join("dock-1")).unwrap();
        // nginx says 500, as to anything; the folders are made before the next attempt.
        let first = put(&bucket, &spooled);
        assert!(matches!(first, Ok(_) | Err(BucketError::Failed { .. })), "{first:?}");
        assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
    }
}

#[test]
fn a_listing_walks_all_folders_and_ranges_are_exact() {
    needs!(Apache, Nginx, Setpriv);
    let (apache, nginx) = (DavServer::apache(), DavServer::nginx());
    for (server, options) in [(apache, User::Admin.options()), (nginx, BTreeMap::new())] {
        let folder = server.folder("with space & é");
        let bucket = Bucket::open(&server.url(&folder), &options).unwrap();
        let keys = ["a", "b/c", "b/d e&<f>.age", "b/é/x", "b/g/h/i/j/k/l"];
        for key in keys {
            let path = server.root().join(&folder).join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, key).unwrap();
        }
        std::fs::write(server.root().join(&folder).join("b/.x.unfinished"), "half").unwrap();
        let list = |prefix| {
            let mut listed = block_on(bucket.list(prefix)).unwrap();
            listed.sort_by(|one, other| one.key.cmp(&other.key));
            assert!(listed.iter().all(|object| object.key.len() as u64 == object.size_bytes));
            let age = |object: &dockseal::edge::bucket::Object| {
                jiff::Timestamp::now().duration_since(object.stored).as_secs()
            };
            assert!(listed.iter().all(|object| age(object).abs() < 600), "{listed:?}");
            listed.into_iter().map(|object| object.key).collect::<Vec<_>>()
        };
        let mut sorted = keys.to_vec();
        sorted.sort();
        assert_eq!(list(""), sorted);
        assert_eq!(list("b/g"), ["b/g/h/i/j/k/l"]);
        assert!(list("none").is_empty());
        let read = |range| block_on(bucket.read("b/g/h/i/j/k/l", range)).unwrap();
        assert_eq!(read(0..3), "b/g");
        assert_eq!(read(2..5), "g/h");
        assert_eq!(read(10..99), "k/l"[..3]);
        assert_eq!(read(5..5), "");
        assert!(block_on(bucket.read("b/g/h/i/j/k/l", 13..14)).is_err());
    }
}

#[test]
fn plain_http_to_another_machine_needs_an_explicit_word() {
    let plain = |options| Bucket::open("http://nas.example/clips", &options);
    assert!(matches!(plain(BTreeMap::new()), Err(BucketError::PlainHttp)));
    plain([("allow_http".to_owned(), "true".to_owned())].into()).unwrap();
    let inside = Bucket::open("https://dock:hunter2@nas.example/clips", &BTreeMap::new());
    let text = format!("{inside:?}");
    assert!(inside.is_err() && !text.contains("hunter2"), "{text}");
}
