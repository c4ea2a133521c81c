//! The status screen: one glance, one cause, one command; on paper and live, in a real terminal.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::dock::BucketConfig;
use crate::support::site::{SOON, Site, is_harmless};
use crate::support::tmux::Tmux;
use crate::support::tools::needs;

/// `dockseal status`, which must fit 80 columns and 23 lines and be no more than text.
#[track_caller]
fn screen(site: &Site, code: i32) -> String {
    let screen = site.dock.finish(&["status"]).expect_code(code).stdout;
    // The 24th line is the shell's.
    assert!(screen.lines().count() <= 23, "{} lines:\n{screen}", screen.lines().count());
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "wider than 80:\n{screen}");
    assert!(is_harmless(&screen), "no colours in a pipe:\n{screen:?}");
    screen
}

/// The line that begins with a word.
#[track_caller]
fn line<'a>(screen: &'a str, begin: &str) -> &'a str {
    let found = screen.lines().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no line `{begin}`:\n{screen}"))
}

/// The line of a folder: the end of its path tells it apart.
#[track_caller]
fn folder_line<'a>(screen: &'a str, end: &str) -> &'a str {
    let found = screen.lines().find(|line| line.split("  ").next().unwrap().ends_with(end));
    found.unwrap_or_else(|| panic!("no folder `{end}`:\n{screen}"))
}

/// Several names for a file beneath the watch folder: it is stored, and cannot be erased.
fn put_with_two_names(site: &Site, name: &str) -> std::path::PathBuf {
    let second = site.outside().join(name);
    std::fs::write(&second, name).unwrap();
    std::fs::hard_link(&second, site.dock.folder().join(name)).unwrap();
    second
}

#[test]
fn when_all_is_well_one_glance_says_so_and_without_a_daemon_it_says_that() {
    let mut site = Site::new();
    site.put("a.mp4", b"one");
    site.dock.start();
    site.wait_for_count("erased", 1);
    let up = screen(&site, 0);
    assert!(up.starts_with("OK: every clip is stored\n"), "{up}");
    assert_eq!(line(&up, "oldest "), "oldest    no clip is waiting to be stored");
    assert!(line(&up, "daemon ").contains(&format!("runs (process {})", site.dock.pid())), "{up}");
    let folder = folder_line(&up, "/dock");
    assert!(folder.contains(", inotify") && folder.ends_with("  yes"), "{up}");
    let bucket = line(&up, "primary ");
    assert!(bucket.contains(" up ") && bucket.contains(" idle "), "{up}");
    assert!(line(&up, "disk ").contains("the spool is empty, room for "), "{up}");
    assert_eq!(line(&up, "clips "), "clips     0 seen, 0 sealed, 0 stored, 1 erased");
    assert!(!up.contains("\ncause ") && !up.contains("\ndo "), "{up}");
    let json = site.dock.json(&["status"]);
    assert_eq!(json["folders"][0]["safe_to_unplug"], true);
    assert_eq!(json["buckets"][0]["drained_seconds"], Value::Null);
    assert!(json["spool_room_bytes"].is_u64() && json["spool_count"] == 0, "{json}");
    assert_eq!(site.dock.stop(), 0);
    let down = screen(&site, 0);
    assert!(down.starts_with("OK: every clip is stored\n"), "{down}");
    assert!(line(&down, "daemon ").contains("does not run; as of "), "{down}");
    // Nobody looks: nobody knows.
    assert!(folder_line(&down, "/dock").ends_with("  not known"), "{down}");
}

#[test]
fn a_bucket_that_is_down_is_the_cause_and_a_daemon_that_is_down_comes_before_it() {
    let mut site = Site::with(|choices| {
        let good = choices.buckets[0].url.strip_prefix("file://").unwrap();
        let good = Path::new(good).with_file_name("outside");
        choices
            .buckets
            .push(BucketConfig { name: "offsite".into(), ..BucketConfig::folder(&good) });
    });
    site.take_bucket_away();
    site.dock.start();
    site.put("a.mp4", &[7; 70_000]);
    site.wait_for_hold("a.mp4", "bucket-failed");
    site.dock.wait_for_json("the other bucket", &["status"], SOON, |status| {
        status["buckets"][1]["receipt_count"] == 1
    });
    let up = screen(&site, 3);
    assert!(up.starts_with("WAITING: 1 clip held, tried again by itself\n"), "{up}");
    let cause = line(&up, "cause ");
    assert!(cause.starts_with("cause     bucket-failed for "), "{up}");
    assert!(cause.contains("s: bucket primary: the bucket's folder does not "), "{up}");
    assert!(line(&up, "do ").starts_with("do        is its disk mounted? "), "{up}");
    assert!(line(&up, "oldest ").contains("s: 1 clip (68.4 KiB) is not safe yet"), "{up}");
    let (bad, good) = (line(&up, "primary "), line(&up, "offsite "));
    assert!(bad.contains("  DOWN ") && bad.contains("  1, 70."), "{up}");
    assert!(bad.ends_with("  unknown"), "nobody knows when it comes back:\n{up}");
    assert!(good.contains("  up  ") && good.contains(" ago  ") && good.ends_with("  -"), "{up}");
    // What is wrong stands below the bucket, and the bucket before the others.
    let below = up.lines().skip_while(|line| !line.starts_with("primary ")).nth(1).unwrap();
    assert!(below.starts_with("  the bucket's folder does not exist"), "{up}");
    assert!(folder_line(&up, "/dock").ends_with("  yes"), "sealed here: {up}");
    assert_eq!(site.dock.stop(), 0);
    let down = screen(&site, 3);
    assert!(down.starts_with("ATTENTION: the daemon does not run, 1 clip waits\n"), "{down}");
    assert_eq!(line(&down, "cause "), "cause     daemon-down: the daemon does not run");
    assert!(line(&down, "do ").contains("systemctl start dockseal"), "{down}");
    // What was the cause is now a hold among others.
    assert!(line(&down, "held ").starts_with("held      1 clip, bucket-failed for "), "{down}");
    assert!(line(&down, "  do ").starts_with("  do      is its disk mounted?"), "{down}");
}

#[test]
fn holds_have_their_commands_and_what_is_too_much_is_summed_up() {
    let mut site = Site::with(|choices| {
        // More tables of the config, behind the bucket.
        let folders = (0..30).map(|n| format!("\n[[watch]]\npath = \"/nowhere/dock-{n}\"\n"));
        choices.buckets[0].more = folders.collect();
    });
    put_with_two_names(&site, "one.mp4");
    std::os::unix::fs::symlink("/etc/passwd", site.dock.folder().join("link.mp4")).unwrap();
    site.dock.start();
    let linked = site.wait_for_hold("one.mp4", "hard-linked");
    site.wait_for_hold("link.mp4", "not-a-file");
    site.dock.wait_for_json("the looks", &["status"], SOON, |status| {
        let folders = status["folders"].as_array().unwrap().iter();
        folders.filter(|folder| folder["problem"].is_string()).count() == 30
    });
    let held = screen(&site, 3);
    assert!(held.starts_with("ATTENTION: 2 clips need you\n"), "{held}");
    // Holds come before folders that are not there, and the first before the second.
    let cause = line(&held, "cause ");
    assert!(["hard-linked", "not-a-file"].iter().any(|code| cause.contains(code)), "{held}");
    assert!(line(&held, "held ").starts_with("held      1 clip, "), "{held}");
    assert!(folder_line(&held, "/dock-0").contains("does not exist yet; waiting for it"), "{held}");
    assert!(held.contains(" more: dockseal status --json\n"), "{held}");
    assert!(held.contains("\nBUCKET ") && held.contains("\nprimary "), "{held}");
    let retry = format!("other names; then: dockseal retry {}\n", linked["number"]);
    assert!(held.contains(&retry), "{held}");
    assert!(held.contains("only regular files are sealed; move it out of the folder"), "{held}");
}

#[test]
fn a_live_screen_wants_a_terminal_and_programs_get_a_line_each_time() {
    let mut site = Site::new();
    let refused = site.dock.finish(&["status", "--watch"]).expect_code(2);
    assert!(refused.stderr.starts_with("dockseal: error: --watch needs a terminal\n"));
    assert!(refused.stderr.contains("hint: once: dockseal status; "), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    let mut stream = site.dock.command(&["status", "--watch", "--json"]);
    let mut stream = stream.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(stream.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&next()["verdict"], &next()["schema_version"]), (&"ok".into(), &1.into()));
    site.dock.start();
    // It follows: nobody has to start it anew.
    while next()["daemon_pid"].is_null() {}
    drop(lines);
    let ended = stream.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

/// `dockseal status ARGUMENTS` in a terminal.
fn in_terminal(site: &Site, arguments: &[&str], env: &[(&str, &str)]) -> Tmux {
    let mut command: Command = site.dock.command(&[&["status"], arguments].concat());
    command.envs(env.iter().copied());
    Tmux::run(&command)
}

#[test]
fn colours_are_for_terminals_whose_users_want_them() {
    needs!(Tmux, Setpriv);
    let site = Site::new();
    for (env, is_painted) in
        [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let tmux = in_terminal(&site, &[], env);
        tmux.assert_ended_sane(0);
        let painted = tmux.painted();
        assert!(painted.contains("OK"), "{painted}");
        assert_eq!(painted.contains("\u{1b}[32mOK"), is_painted, "{env:?}: {painted:?}");
    }
    let tmux = in_terminal(&site, &["--watch"], &[("NO_COLOR", "1")]);
    tmux.wait_for("the verdict", |screen| screen.contains("OK: every clip is stored"));
    let painted = tmux.painted();
    assert!(!painted.contains("[32m") && !painted.contains("[33m"), "{painted:?}");
}

#[test]
fn a_held_clip_is_looked_at_and_retried_on_the_live_screen() {
    needs!(Tmux, Setpriv);
    let mut site = Site::new();
    for number in 0..20 {
        site.put(format!("{number:02}.mp4"), &[number; 1000]);
    }
    site.dock.start();
    site.wait_for_count("erased", 20);
    let second = put_with_two_names(&site, "zeuge.mp4");
    let held = site.wait_for_hold("zeuge.mp4", "hard-linked")["number"].clone();
    let tmux = in_terminal(&site, &["--watch"], &[]);
    let shown = tmux.wait_for("the verdict", |screen| {
        screen.contains("ATTENTION: 1 clip needs you") && screen.contains("held: hard-linked")
    });
    for part in ["cause     hard-linked for ", "FOLDER ", "BUCKET ", "primary ", "sent ", "q quit"]
    {
        assert!(shown.contains(part), "no `{part}`:\n{shown}");
    }
    assert_eq!(shown.lines().count(), 24, "{shown}");
    // Held ones come first, and the first is chosen.
    tmux.keys(&["Enter"]);
    let detail = tmux.wait_for("the detail", |screen| screen.contains("\nwhy       hard-linked"));
    assert!(detail.contains(&format!("then: dockseal retry {held}\n")), "{detail}");
    assert!(detail.contains("zeuge.mp4\n"), "{detail}");
    tmux.keys(&["?"]);
    tmux.wait_for("the help", |screen| screen.contains("try the chosen clip again now"));
    tmux.keys(&["Escape"]);
    tmux.wait_for("the facts", |screen| screen.contains("\nFOLDER "));
    // The other end of the list, where nothing is held.
    tmux.keys(&["End"]);
    tmux.wait_for("the first clip", |screen| screen.contains("\n     1  erased"));
    tmux.keys(&["r"]);
    tmux.wait_for("the refusal", |screen| screen.contains("clip 1 is not held"));
    tmux.keys(&["u"]);
    tmux.wait_for("no use", |screen| screen.contains("clip 1 is in every bucket already"));
    tmux.keys(&["p"]);
    tmux.wait_for("the pause", |screen| screen.contains("\nprimary         paused "));
    tmux.keys(&["p"]);
    tmux.wait_for("the end of it", |screen| screen.contains("\nprimary         up "));
    tmux.keys(&["Home", "j", "k"]);
    std::fs::remove_file(second).unwrap();
    tmux.keys(&["r"]);
    tmux.wait_for("the retry", |screen| {
        screen.contains("is tried again now")
            && screen.contains("OK: every clip is stored")
            && !screen.contains("held:")
    });
    site.wait_for_count("erased", 21);
    tmux.resize(120, 40);
    tmux.wait_for("the wider screen", |screen| {
        let head = screen.lines().find(|line| line.starts_with("FOLDER "));
        head.is_some_and(|head| head.chars().count() > 80) && screen.lines().count() == 40
    });
    tmux.resize(50, 10);
    tmux.wait_for("the refusal", |screen| screen.contains("too small"));
    tmux.resize(80, 24);
    tmux.wait_for("all of it", |screen| screen.contains("\nFOLDER ") && screen.contains("q quit"));
    tmux.keys(&["q"]);
    tmux.assert_ended_sane(0);
}

#[test]
fn the_terminal_is_restored_however_the_live_screen_ends() {
    needs!(Tmux, Setpriv);
    let site = Site::new();
    let begin = || {
        let tmux = in_terminal(&site, &["--watch"], &[]);
        tmux.wait_for("the screen", |screen| screen.contains("q quit"));
        tmux
    };
    let tmux = begin();
    tmux.keys(&["C-c"]);
    tmux.assert_ended_sane(130);
    for signal in [Signal::TERM, Signal::INT] {
        let tmux = begin();
        kill_process(Pid::from_raw(tmux.pid() as i32).unwrap(), signal).unwrap();
        tmux.assert_ended_sane(130);
    }
    // A queue that goes away is said on the screen; the screen stays.
    let tmux = begin();
    let away = site.outside().join("state");
    std::fs::rename(site.dock.state_dir(), &away).unwrap();
    tmux.wait_for("the trouble", |screen| screen.contains("cannot refresh: cannot use the queue"));
    std::fs::rename(&away, site.dock.state_dir()).unwrap();
    tmux.wait_for("the verdict", |screen| screen.contains("OK: every clip is stored"));
    tmux.keys(&["q"]);
    tmux.assert_ended_sane(0);
}
