//! The dock's desk: one screen, stable JSON, clips by any of their names, codes as documented.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dockseal::cli::Exit;
use dockseal::clip::{
    Clip, Delivery, Evidence, Generation, Plaintext, Receipt, SealedFile, SealedName, Source,
    Timestamp,
};
use dockseal::dock::queue::Queue;
use dockseal::hold::{Hold, Reason, Until};
use serde_json::Value;

use crate::support::dock::{BucketConfig, Finished};
use crate::support::site::{SOON, Site};
use crate::support::tools::needs;
use crate::support::wait_for;

/// Clips of each kind in a long queue: four kinds, 10,000 clips.
const OF_EACH: i64 = 2500;
/// The promise is "at once". Two seconds on a machine that runs other tests as well.
const AT_ONCE: Duration = Duration::from_secs(2);

fn clip(site: &Site, number: i64) -> Clip {
    let path = format!("camera-{}/clip-{number:06}.mp4", number % 40).into();
    let source = Source { folder: site.dock.folder(), path };
    let generation = Generation {
        device_number: 1,
        inode_number: 1_000_000 + number as u64,
        size_bytes: 1 << 30,
        modified_ns: number,
        changed_ns: number,
    };
    Clip::seen(source, generation, Timestamp(1_760_000_000_000 + number))
}

fn name(number: i64) -> SealedName {
    let mut name = [0xab; 32];
    // The first two bytes are the same for all: too short a prefix names several.
    name[2..10].copy_from_slice(&number.to_be_bytes());
    SealedName(name)
}

fn sealed(clip: Clip, number: i64) -> Clip {
    let sealed = SealedFile {
        name: name(number),
        size_bytes: 1 << 30,
        commitment: [7; 32],
        sealed_at: clip.seen_at.plus_seconds(1),
        reread: false,
        in_spool: false,
        keyring_revision: None,
    };
    Clip { sealed: Some(sealed), settled_at: Some(clip.seen_at), ..clip }
}

fn stored(clip: Clip) -> Clip {
    let stored_at = clip.seen_at.plus_seconds(2);
    let bucket = String::from("primary");
    let evidence = Evidence::DigestChecked;
    let receipt = Some(Receipt { bucket: bucket.clone(), evidence, stored_at });
    let deliveries = vec![Delivery { bucket, receipt, hold: None }];
    Clip { stored_at: Some(stored_at), deliveries, ..clip }
}

fn hold(reason: Reason, number: i64) -> Hold {
    let until = match number % 2 {
        0 => Until::Operator,
        _ => Until::Time(Timestamp(4_000_000_000_000)),
    };
    let cause = "the server said: ".to_owned() + &"no ".repeat(60);
    Hold { reason, until, since: Timestamp(1_760_000_000_000), attempts: 3, cause }
}

/// 10,000 clips: held for all reasons, held by their buckets, stored, and erased.
fn fill(site: &Site) {
    let mut clips = Vec::new();
    for number in 0..OF_EACH {
        let reason = Reason::ALL[number as usize % Reason::ALL.len()];
        clips.push(Clip { hold: Some(hold(reason, number)), ..clip(site, number) });
    }
    for number in OF_EACH..2 * OF_EACH {
        let clip = sealed(clip(site, number), number);
        let bucket = format!("bucket-{}", number % 9);
        let reason = [Reason::BucketFailed, Reason::BucketRefused][number as usize % 2];
        let delivery = Delivery { bucket, receipt: None, hold: Some(hold(reason, number)) };
        clips.push(Clip { deliveries: vec![delivery], ..clip });
    }
    for number in 2 * OF_EACH..3 * OF_EACH {
        clips.push(stored(sealed(clip(site, number), number)));
    }
    for number in 3 * OF_EACH..4 * OF_EACH {
        let clip = stored(sealed(clip(site, number), number));
        let gone_at = Some(clip.seen_at.plus_seconds(3));
        clips.push(Clip { source: None, plaintext: Plaintext::Erased, gone_at, ..clip });
    }
    let queue = Queue::open(&site.dock.state_dir().join("queue.db"), "dock").unwrap();
    queue.found_blocking(clips).unwrap();
}

/// Nine buckets, two of them with names as long as they may be, and a folder that is not there:
/// so that a daemon concludes nothing about the clips in it.
fn busy_site() -> Site {
    let site = Site::with(|choices| {
        choices.erase = "never";
        let first = choices.buckets[0].clone();
        choices.buckets.extend(
            (0..9).map(|number| BucketConfig { name: format!("bucket-{number}"), ..first.clone() }),
        );
        choices.buckets[1].name = "b".repeat(64);
    });
    std::fs::remove_dir(site.dock.folder()).unwrap();
    fill(&site);
    site
}

#[track_caller]
fn answers_at_once(site: &Site, arguments: &[&str], code: i32) -> String {
    let started = Instant::now();
    let said = site.dock.finish(arguments).expect_code(code);
    let took = started.elapsed();
    assert!(took < AT_ONCE, "{arguments:?} took {took:?}");
    said.stdout
}

#[track_caller]
fn assert_fits_a_screen(screen: &str) {
    // The 24th line is the shell's.
    assert!(screen.lines().count() <= 23, "{} lines:\n{screen}", screen.lines().count());
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "wider than 80:\n{screen}");
}

#[test]
fn status_of_ten_thousand_clips_fits_a_screen_and_comes_at_once() {
    let mut site = busy_site();
    let screen = answers_at_once(&site, &["status"], 3);
    assert_fits_a_screen(&screen);
    let mut lines = screen.lines();
    let first = lines.next().unwrap();
    // 1250 clips and 1250 deliveries wait for a person, the rest for a time.
    assert_eq!(first, "ATTENTION: 2500 clips need you, and the daemon does not run");
    // The first cause stands before everything else, with what to type.
    assert_eq!(lines.next(), Some("cause     daemon-down: the daemon does not run"), "{screen}");
    assert!(lines.next().unwrap().starts_with("do        systemctl start dockseal"), "{screen}");
    for expected in ["dockseal list --held", "then: dockseal retry --all"] {
        assert!(screen.contains(expected), "no `{expected}`:\n{screen}");
    }
    assert!(screen.contains("clips     2500 seen, 2500 sealed, 2500 stored, 2500 erased\n"));
    answers_at_once(&site, &["status", "--json"], 3);
    answers_at_once(&site, &["list"], 0);
    answers_at_once(&site, &["list", "--held", "--json"], 0);
    answers_at_once(&site, &["show", "9999"], 0);
    site.dock.start();
    site.dock.wait_for_json("the daemon", &["status"], SOON, |status| {
        status["daemon_pid"].is_string() && status["folders"][0]["looked_seconds"].is_number()
    });
    for _ in 0..5 {
        let screen = answers_at_once(&site, &["status"], 3);
        assert_fits_a_screen(&screen);
        assert!(screen.contains("does not exist yet; waiting for it"), "{screen}");
        assert!(screen.contains("runs (process "), "{screen}");
    }
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let site = busy_site();
    for arguments in [&["list", "--limit", "0"][..], &["list", "--limit", "0", "--json"]] {
        let mut list = site.dock.command(arguments);
        let mut list = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 20];
        list.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = list.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // A full disk is one.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = site.dock.command(&["list"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.starts_with("dockseal: error: cannot write the output: "), "{said}");
}

#[test]
fn a_clip_is_named_by_number_by_digest_or_by_path() {
    let site = busy_site();
    let number = |arguments: &[&str]| {
        let show = [&["show", "--json"], arguments].concat();
        site.dock.finish(&show).expect_code(0).json()["clip"]["number"].as_i64().unwrap()
    };
    assert_eq!(number(&["1"]), 1);
    assert_eq!(number(&["10000"]), 10_000);
    let digest = name(4242).to_string();
    assert_eq!(number(&[&digest]), 4243);
    assert_eq!(number(&[&digest[..20]]), 4243);
    let path = site.dock.folder().join("camera-7/clip-000007.mp4");
    assert_eq!(number(&[path.to_str().unwrap()]), 8);
    let mut relative = site.dock.command(&["show", "--json", "./../dock/camera-7/clip-000007.mp4"]);
    std::fs::create_dir(site.dock.folder()).unwrap();
    let said = relative.current_dir(site.dock.folder()).output().unwrap();
    assert_eq!(said.status.code(), Some(1), "`..` is not looked at; it could cross a link");
    let mut relative = site.dock.command(&["show", "--json", "./camera-7/clip-000007.mp4"]);
    let said = relative.current_dir(site.dock.folder()).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "a path below the current folder");
    let refused = |text: &str, why: &str, hint: &str| {
        for command in ["show", "retry", "forget"] {
            let said = site.dock.finish(&[command, text]).expect_code(1);
            assert!(said.stderr.starts_with(&format!("dockseal: error: {why}")), "{}", said.stderr);
            assert!(said.stderr.contains(&format!("hint: {hint}")), "{}", said.stderr);
        }
    };
    refused("abab", "`abab` is not the only one", "give more digits of the sealed name");
    refused("10001", "no clip `10001`", "name it by number, by 4 or more digits");
    refused("0", "no clip `0`", "name it by number");
    refused("99999999999999999999999", "no clip `9999", "name it by number");
    refused("aba", "no clip `aba`", "name it by number");
    refused("/etc/passwd", "no clip `/etc/passwd`", "name it by number");
    refused("", "no clip ``", "name it by number");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The keys of an object, sorted, as one line to compare with.
#[track_caller]
fn assert_keys(value: &Value, expected: &str) {
    let expected: BTreeSet<&str> = expected.split_whitespace().collect();
    assert_eq!(keys(value).into_iter().collect::<BTreeSet<_>>(), expected);
}

const CLIP_KEYS: &str = "commitment deliveries hold in_spool number path path_base64 plaintext \
    plaintext_gone sealed sealed_name sealed_size_bytes seen settled size_bytes state stored";
const HOLD_KEYS: &str = "advice attempts cause reason since until";

#[test]
fn the_shapes_of_json_are_stable() {
    let site = busy_site();
    let status = site.dock.json(&["status"]);
    assert_keys(
        &status,
        "buckets daemon_pid dock folders held now oldest_unsafe_seconds schema_version \
         spool_count spool_free_bytes spool_full_seconds spool_growth_bytes_per_day \
         spool_room_bytes spool_size_bytes standing states summary verdict",
    );
    assert_eq!(status["schema_version"], 1);
    assert_keys(
        &status["standing"],
        "behind closed drilled_seconds forked keyring log log_size lost paused unacknowledged \
         witness_problem",
    );
    assert_keys(&status["states"][0], "count size_bytes state");
    assert_keys(
        &status["held"][0],
        "advice bucket cause count first_clip operator_count reason since since_seconds",
    );
    let folder_keys = "file_count ignored_count looked_seconds mode mount_point path problem \
         problem_seconds safe_to_unplug waiting_count";
    assert_keys(&status["folders"][0], folder_keys);
    assert_keys(
        &status["buckets"][0],
        "clock_behind_seconds drained_seconds last_receipt_seconds name paused problem \
         problem_seconds rate_bytes_per_second receipt_count required waiting_count \
         waiting_size_bytes",
    );
    let list = site.dock.json(&["list", "--state", "sealed", "--limit", "1"]);
    assert_keys(&list, "clips schema_version");
    let clip = &list["clips"][0];
    assert_keys(clip, CLIP_KEYS);
    assert_keys(&clip["deliveries"][0], "bucket evidence hold stored");
    assert_keys(&clip["deliveries"][0]["hold"], HOLD_KEYS);
    let show = site.dock.json(&["show", "1"]);
    assert_keys(
        &show,
        "clip plaintext_seconds safe_after_seconds schema_version timeline timeline_is_whole waits",
    );
    let step_keys = "after_seconds at bucket evidence keyring_revision log_index text what";
    assert_keys(&show["timeline"][0], step_keys);
    assert_keys(&show["waits"][0], "clip code count fix needs_you since_seconds what");
    assert_keys(&show["clip"], CLIP_KEYS);
    assert_keys(&show["clip"]["hold"], HOLD_KEYS);
    let retry = site.dock.json(&["retry", "1", "7500"]);
    assert_keys(&retry, "retried schema_version");
    assert_eq!(retry["retried"], serde_json::json!([1]), "7500 is not held");
    let check = site.dock.json(&["check"]);
    assert_keys(&check, "checks schema_version");
    for line in check["checks"].as_array().unwrap() {
        assert_keys(line, "finding fix result what");
        assert!(["ok", "warn", "fail"].contains(&line["result"].as_str().unwrap()));
    }
}

#[test]
fn check_says_of_each_part_what_is_so_and_what_to_do() {
    let mut site = Site::new();
    let folder = site.dock.folder();
    let good = site.dock.finish(&["check"]).expect_code(0).stdout;
    let begins = [
        "ok    config: ".to_owned(),
        "ok    sealing: gives the known answers".to_owned(),
        "ok    recipients: post-quantum, ends in …".to_owned(),
        format!("ok    queue: in {}", site.dock.state_dir().display()),
        "ok    spool: ".to_owned(),
        "warn  daemon: does not run".to_owned(),
        "      do: systemctl start dockseal".to_owned(),
        format!("ok    folder {}: readable", folder.display()),
        "ok    bucket primary: reachable, and clips may be put".to_owned(),
    ];
    assert_eq!(good.lines().count(), begins.len(), "{good}");
    for (line, begin) in good.lines().zip(&begins) {
        let enough = line.starts_with(begin) || begin.starts_with("ok    spool");
        assert!(enough, "{line:?}, expected {begin:?}");
    }
    site.dock.start();
    wait_for("the daemon", SOON, || {
        let said = site.dock.finish(&["check"]).expect_code(0).stdout;
        said.contains(&format!("ok    daemon: runs (process {})", site.dock.pid())).then_some(())
    });
    assert_eq!(site.dock.stop(), 0);
    assert!(site.opened().is_empty(), "check left something in the bucket");
    site.take_bucket_away();
    let bad = site.dock.finish(&["check"]).expect_code(3).stdout;
    let failed = "fail  bucket primary: the bucket's folder does not exist: ";
    assert!(bad.contains(failed), "{bad}");
    let bare = Site::bare(|_| {});
    let bad = bare.dock.finish(&["check"]).expect_code(3).stdout;
    assert!(bad.contains("fail  queue: there is no queue\n      do: dockseal init\n"), "{bad}");
}

#[test]
fn another_user_is_told_to_become_the_daemons() {
    needs!(Setpriv, Root);
    let site = Site::new();
    let above = site.dock.config().parent().unwrap().to_owned();
    std::fs::set_permissions(above, PermissionsExt::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    for command in ["status", "list", "run", "init"] {
        let said = site.dock.wrapped(&nobody, &[command]).output().unwrap();
        let said = Finished::new(said).expect_code(10).stderr;
        let hint = match command {
            "run" | "init" => "hint: it must belong to the user that dockseal runs as",
            _ => "hint: run it as the daemon's user: runuser -u dockseal -- dockseal …",
        };
        assert!(said.contains("ermission denied") && said.contains(hint), "{command}: {said}");
        assert!(!said.contains("dockseal init"), "{said}");
    }
}

#[test]
fn a_kernel_that_opens_no_clip_is_told_before_anything_is_taken_for_empty() {
    needs!(Strace);
    let site = Site::new();
    site.put("a.mp4", b"one");
    let old = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2"];
    let old = [&old[..], &["-e", "inject=openat2:error=ENOSYS"]].concat();
    let run = site.dock.wrapped(&old, &["run", "--until-idle"]).output().unwrap();
    let said = Finished::new(run).expect_code(10).stderr;
    assert!(said.contains("this kernel has no openat2(2)") && said.contains("uname -r"), "{said}");
    let check = site.dock.wrapped(&old, &["check"]).output().unwrap();
    let said = Finished::new(check).expect_code(3).stdout;
    assert!(said.contains(": this kernel has no openat2(2)\n      do: Linux 5.6"), "{said}");
    assert_eq!(site.dock.run_until_idle().code, 0);
    assert_eq!(site.opened().len(), 1);
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let table = docs.split("## 4. Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.parse::<u8>().ok()?, cells.next()?.to_owned()))
    });
    let documented: Vec<_> = rows.collect();
    let all = [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::Partial,
        Exit::Config,
        Exit::AlreadyRunning,
        Exit::NoIdentity,
        Exit::Tampered,
        Exit::Unreachable,
        Exit::Interrupted,
    ];
    let words = |exit: Exit| {
        let mut words = String::new();
        for letter in format!("{exit:?}").chars() {
            if letter.is_uppercase() && !words.is_empty() {
                words.push(' ');
            }
            words.extend(letter.to_lowercase());
        }
        words
    };
    let known: Vec<_> = all.iter().map(|exit| (*exit as u8, words(*exit))).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_command_explains_itself() {
    let site = Site::bare(|_| {});
    let all = site.dock.finish(&["--help"]).expect_code(0).stdout;
    let commands = [
        "demo", "init", "check", "run", "status", "list", "show", "retry", "limit", "metrics",
        "close", "forget",
    ];
    for command in commands {
        assert!(all.contains(&format!("\n  {command} ")), "{command} is not in:\n{all}");
        let help = site.dock.finish(&[command, "--help"]).expect_code(0);
        assert!(help.stdout.contains(&format!("Usage: dockseal {command}")), "{}", help.stdout);
        assert!(help.stdout.lines().all(|line| line.chars().count() <= 100), "{}", help.stdout);
        assert_eq!(help.stderr, "");
        let wrong = site.dock.finish(&[command, "--no-such-option"]).expect_code(2);
        assert!(wrong.stderr.contains("--no-such-option"), "{}", wrong.stderr);
    }
    assert!(all.contains("exit codes: 0 ok"), "{all}");
    site.dock.finish(&[]).expect_code(2);
    site.dock.finish(&["no-such-command"]).expect_code(2);
    site.dock.finish(&["retry"]).expect_code(2);
    site.dock.finish(&["retry", "--all", "1"]).expect_code(2);
    let version = site.dock.finish(&["--version"]).expect_code(0).stdout;
    assert_eq!(version, format!("dockseal {}\n", env!("CARGO_PKG_VERSION")));
}
