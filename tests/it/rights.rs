//! What a store honours and what the credentials of a dock may, as found out at real servers.

use std::fs::File;

use dockseal::clip::{Evidence, SealedName};
use dockseal::edge::bucket::{Answer, Bucket, BucketError, CHECK, Created, Honours, Rights};
use sha2::{Digest, Sha256};

use crate::support::dock::BucketConfig;
use crate::support::juicefs::Juicefs;
use crate::support::scratch;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::Site;
use crate::support::tools::needs;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// All is granted and honoured.
fn everything() -> Rights {
    let yes = || Answer::Yes;
    Rights {
        put: yes(),
        create_only: yes(),
        complete_only: yes(),
        overwrite: yes(),
        get: yes(),
        list: yes(),
        delete: yes(),
    }
}

fn put_alone() -> Rights {
    Rights { get: Answer::No, list: Answer::No, delete: Answer::No, ..everything() }
}

#[test]
fn a_folder_honours_creates() {
    let dir = scratch();
    let url = format!("file://{}", dir.path().display());
    for _ in 0..2 {
        let bucket = Bucket::open(&url, &[].into()).unwrap();
        assert_eq!(block_on(bucket.probe_rights("d-1")), everything());
        assert_eq!(bucket.honours_create(), Some(true));
        assert_eq!(block_on(bucket.first_contact("d-1")).unwrap(), Honours::Creates);
    }
    assert_eq!(std::fs::read(dir.path().join("d-1/check")).unwrap(), CHECK);
    std::fs::write(dir.path().join("d-1/check"), "of somebody else").unwrap();
    let bucket = Bucket::open(&url, &[].into()).unwrap();
    let rights = block_on(bucket.probe_rights("d-1"));
    assert!(matches!(rights.overwrite, Answer::Unknown(_)), "{rights:?}");
    assert_eq!(std::fs::read(dir.path().join("d-1/check")).unwrap(), b"of somebody else");
}

#[test]
fn each_login_at_a_full_store_is_told_what_it_may() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    for (login, expected) in [(Login::Admin, everything()), (Login::Dock, put_alone())] {
        let url = server.url("rights");
        let open = || Bucket::open(&url, &server.options(login)).unwrap();
        let fresh = open();
        assert_eq!(fresh.honours_create(), None);
        assert_eq!(block_on(fresh.first_contact("d-1")).unwrap(), Honours::Creates, "{login:?}");
        assert_eq!(fresh.clone().honours_create(), Some(true), "clones share what is known");
        // Where the object is there already, and where it is not.
        assert_eq!(block_on(open().probe_rights("d-1")), expected, "{login:?}");
        assert_eq!(block_on(open().probe_rights("d-2")), expected, "{login:?}");
        assert_eq!(server.keys(&url), ["d-1/check", "d-2/check"]);
        assert!(server.uploads(&url).is_empty(), "an upload in parts was left behind");
    }
    let locked = server.locked_url("rights");
    for (login, expected) in [(Login::Dock, put_alone()), (Login::Admin, everything())] {
        let bucket = Bucket::open(&locked, &server.options(login)).unwrap();
        assert_eq!(block_on(bucket.probe_rights("d-1")), expected, "{login:?} with Object Lock");
    }
}

#[test]
fn a_store_that_cannot_be_asked_is_not_taken_for_one_that_overwrites() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let mut options = server.options(Login::Dock);
    options.insert("aws_secret_access_key".into(), "of somebody else".into());
    let refused = Bucket::open(&server.url("refused"), &options).unwrap();
    // Clips are not held for it: their own put says whether they may be put.
    let contact = block_on(refused.first_contact("d-1")).unwrap();
    assert!(matches!(contact, Honours::Unknown(_)), "{contact:?}");
    let rights = block_on(refused.probe_rights("d-1"));
    assert_eq!([rights.put, rights.get, rights.list, rights.delete], [const { Answer::No }; 4]);
    assert_eq!(refused.honours_create(), None);

    options.insert("aws_endpoint".into(), "http://127.0.0.1:1".into());
    let away = Bucket::open(&server.url("away"), &options).unwrap();
    assert!(matches!(block_on(away.first_contact("d-1")), Err(BucketError::Failed { .. })));
    let rights = block_on(away.probe_rights("d-1"));
    assert!(matches!(rights.put, Answer::Unknown(_)), "{rights:?}");
    assert_eq!(away.honours_create(), None);
}

/// A dock at the server, in a place of its own.
fn site(server: &Seaweed, login: Login) -> (Site, String) {
    let url = server.url("check");
    let bucket = BucketConfig::s3(&server.endpoint(), &url);
    let site = Site::with(|choices| {
        choices.login = login;
        choices.buckets = vec![bucket];
    });
    (site, url)
}

#[test]
fn check_warns_of_rights_beyond_need_and_of_nothing_else() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let honours = "ok    bucket primary: reachable, and clips may be put; creates are refused when \
                   the name is taken\n";
    let (frugal, url) = site(server, Login::Dock);
    let said = frugal.dock.finish(&["check"]).expect_code(0).stdout;
    assert!(said.contains(honours), "{said}");
    assert_eq!(said.matches("bucket primary").count(), 1, "{said}");
    assert_eq!(server.keys(&url), ["test-dock-1/check"]);

    let (lavish, _) = site(server, Login::Admin);
    let said = lavish.dock.finish(&["check"]).expect_code(0).stdout;
    let warning = "warn  bucket primary: the credentials may more than a dock needs: get, list, \
                   delete\n      do: let them put alone: docs/operations.md, \"Buckets\"\n";
    assert!(said.contains(&format!("{honours}{warning}")), "{said}");
    let said = lavish.dock.json(&["check"]);
    let lines = said["checks"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.filter(|line| line["what"] == "bucket primary").collect();
    assert_eq!([&lines[0]["result"], &lines[1]["result"]], ["ok", "warn"]);
}

#[test]
fn a_store_that_overwrites_is_found_out_and_looked_into_first() {
    needs!(Juicefs, Setpriv);
    let gateway = Juicefs::shared();
    let url = gateway.url("lies");
    let open = || Bucket::open(&url, &gateway.options()).unwrap();
    let create = |bucket: &Bucket, bytes: &'static str| {
        block_on(bucket.create("d-1/log/0/checkpoints/1", bytes.into()))
    };
    let there = |bucket: &Bucket| block_on(bucket.read_all("d-1/log/0/checkpoints/1", 9)).unwrap();
    // Without our looking first, it does lie.
    let unwarned = open();
    assert_eq!(create(&unwarned, "one").unwrap(), Created::New);
    assert_eq!(create(&unwarned, "two").unwrap(), Created::New);
    assert_eq!(there(&unwarned), "two");

    let rights = block_on(open().probe_rights("d-1"));
    let lies = Rights { create_only: Answer::No, complete_only: Answer::No, ..everything() };
    assert_eq!(rights, lies);
    let bucket = open();
    assert_eq!(block_on(bucket.first_contact("d-1")).unwrap(), Honours::Nothing);
    assert!(matches!(create(&bucket, "three"), Err(BucketError::OtherContent)));
    assert_eq!(create(&bucket, "two").unwrap(), Created::Equal);
    assert_eq!(there(&bucket), "two");

    let site = Site::with(|choices| {
        choices.login = Login::Admin;
        choices.buckets = vec![BucketConfig::s3(&gateway.endpoint(), &gateway.url("check"))];
    });
    let said = site.dock.finish(&["check"]).expect_code(0).stdout;
    let warning = "warn  bucket primary: reachable, and clips may be put; WARNING: the store \
                   overwrites silently although asked not to: it ignores If-None-Match\n";
    assert!(said.contains(warning), "{said}");
    assert!(said.contains("may more than a dock needs: list, delete\n"), "get is needed: {said}");

    // The same for a clip, in one request and in parts.
    for size in [1_000, 9 << 20] {
        let bytes = vec![7; size];
        let name = SealedName(Sha256::digest(&bytes).into());
        let dir = scratch();
        std::fs::write(dir.path().join("sealed"), &bytes).unwrap();
        let put = |key: &str| {
            let file = File::open(dir.path().join("sealed")).unwrap();
            block_on(bucket.put_sealed(key, file, name, &|_| {}))
        };
        let (free, taken) = (format!("d-1/{size}"), format!("d-1/{size}-taken"));
        assert_eq!(put(&free).unwrap(), Evidence::DigestChecked);
        assert_eq!(put(&free).unwrap(), Evidence::ReadBack, "it is there: not sent again");
        block_on(bucket.create(&taken, "of somebody else".into())).unwrap();
        assert!(matches!(put(&taken), Err(BucketError::OtherContent)));
        assert_eq!(block_on(bucket.read_all(&taken, 99)).unwrap(), "of somebody else");
    }
}
