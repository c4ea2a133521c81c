//! The screen at its worst, and what a monitor reads.

use super::*;

fn worst() -> StatusJson {
    let held = |reason: &crate::hold::Reason| HeldJson {
        reason: reason.code(),
        bucket: Some("primary".into()),
        count: 10_000,
        operator_count: 10_000,
        since: String::new(),
        since_seconds: 90_061,
        first_clip: 123_456,
        cause: "x".repeat(300),
        advice: reason.advice(),
    };
    let folder = FolderJson {
        path: "/srv/".to_owned() + &"dock/".repeat(40),
        mode: Some("inotify".into()),
        looked_seconds: Some(3),
        file_count: 10_000,
        ignored_count: 4,
        problem: None,
        problem_seconds: None,
        mount_point: None,
        waiting_count: 10_000,
        safe_to_unplug: false,
    };
    let bucket = || BucketJson {
        name: "b".repeat(64),
        required: false,
        receipt_count: 1_000_000,
        waiting_count: 10_000,
        waiting_size_bytes: 1 << 50,
        rate_bytes_per_second: Some(1 << 30),
        drained_seconds: Some(1 << 20),
        last_receipt_seconds: Some(1),
        problem: Some("the bucket failed".into()),
        problem_seconds: Some(10_000),
        clock_behind_seconds: Some(86_400),
        paused: false,
    };
    let states = ["seen", "sealed", "stored", "erased"];
    let states = states.map(|state| StateJson { state, count: 1_000_000, size_bytes: 1 << 50 });
    let folder = |_| FolderJson {
        path: folder.path.clone(),
        mode: None,
        mount_point: None,
        problem: None,
        ..folder
    };
    let mut status = StatusJson {
        schema_version: 1,
        dock: "d".repeat(64),
        now: Timestamp(0).to_string(),
        verdict: "ok",
        summary: String::new(),
        daemon_pid: None,
        oldest_unsafe_seconds: Some(1_000_000),
        states: states.into(),
        held: crate::hold::Reason::ALL.iter().map(held).collect(),
        folders: (0..9).map(folder).collect(),
        buckets: (0..9).map(|_| bucket()).collect(),
        spool_free_bytes: Some(0),
        disk: full_disk(),
        standing: StandingJson::worst(),
    };
    (status.verdict, status.summary) = verdict(&status);
    status
}

fn full_disk() -> Disk {
    Disk {
        spool_count: 1_000_000,
        spool_size_bytes: 1 << 50,
        spool_room_bytes: Some(1 << 50),
        spool_growth_bytes_per_day: Some(1 << 40),
        spool_full_seconds: Some(1 << 20),
    }
}

/// The screen in so many columns and lines, as it is without colours.
fn screen(status: &StatusJson, width: usize, height: usize, holds: screen::Holds) -> String {
    let mut out = Vec::new();
    for line in screen::lines(status, width, height, holds) {
        line.print(&mut out, line::Paint::None).expect("printed");
    }
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn the_worst_night_fits_80_columns_and_24_lines() {
    let status = worst();
    let mut out = Vec::new();
    screen::print(&mut out, &status, line::Paint::None).expect("printed");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with("ATTENTION: the disk of state_dir is full: no clip is sealed\n"));
    assert!(text.lines().count() <= 23, "the 24th line is the shell's:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in ["cause     disk-full: ", "\ndo        make room", "FOLDER", "BUCKET", "\ndisk "] {
        assert!(text.contains(part), "no `{part}`:\n{text}");
    }
    assert!(text.contains("and 14 more: dockseal list --held"), "{text}");
    assert_eq!(text.matches(" more: dockseal status --json").count(), 2, "{text}");
}

#[test]
fn every_size_of_screen_is_kept() {
    let status = worst();
    for holds in [screen::Holds::Listed, screen::Holds::Told] {
        for (width, height) in [(60, 23), (80, 24), (120, 40), (300, 100)] {
            let text = screen(&status, width, height, holds);
            assert!(text.lines().count() <= height, "{width} x {height}:\n{text}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }
    // With room for all, nothing is summed up.
    let text = screen(&status, 80, 100, screen::Holds::Told);
    assert!(!text.contains(" more: "), "{text}");
    assert_eq!(text.matches("\nheld ").count(), crate::hold::Reason::ALL.len(), "{text}");
    // Beside the list of clips the live screen needs little.
    let text = screen(&status, 80, 13, screen::Holds::Listed);
    assert!(text.lines().count() <= 13 && text.contains("BUCKET"), "{text}");
}

#[test]
fn a_hold_has_its_clips_in_its_command() {
    let mut status = worst();
    (status.standing.needs, status.daemon_pid) = (Vec::new(), Some("7".into()));
    status.folders.clear();
    let refused = |count| HeldJson {
        reason: "hard-linked",
        bucket: None,
        count,
        operator_count: count,
        since: String::new(),
        since_seconds: 90,
        first_clip: 17,
        cause: "it has 2 names".into(),
        advice: "",
    };
    status.held = vec![refused(1)];
    let text = screen(&status, 80, 23, screen::Holds::Told);
    assert!(text.contains("\ncause     hard-linked for 1m 30s: it has 2 names\n"), "{text}");
    assert!(text.contains("other names; then: dockseal retry 17\n"), "{text}");
    status.held = vec![refused(2)];
    let text = screen(&status, 80, 23, screen::Holds::Told);
    assert!(text.contains("other names; then: dockseal retry --all\n"), "{text}");
    status.held = vec![HeldJson { reason: "vanished", ..refused(1) }];
    let text = screen(&status, 80, 23, screen::Holds::Told);
    assert!(text.contains("dockseal forget 17\n"), "{text}");
}
