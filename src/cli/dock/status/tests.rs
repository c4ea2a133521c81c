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
    };
    let bucket = || BucketJson {
        name: "b".repeat(64),
        required: false,
        receipt_count: 1_000_000,
        waiting_count: 10_000,
        last_receipt_seconds: Some(1),
        problem: Some("the bucket failed".into()),
        problem_seconds: Some(10_000),
        clock_behind_seconds: Some(86_400),
    };
    let states = ["seen", "sealed", "stored", "erased"];
    let states = states.map(|state| StateJson { state, count: 1_000_000, size_bytes: 1 << 50 });
    let folder = |_| FolderJson { path: folder.path.clone(), mode: None, problem: None, ..folder };
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
        is_full: true,
        standing: StandingJson::worst(),
    };
    (status.verdict, status.summary) = verdict(&status);
    status
}

#[test]
fn the_worst_night_fits_80_columns_and_24_lines() {
    let mut out = Vec::new();
    print(&mut out, &worst()).expect("printed");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with("ATTENTION: 150000 clips need you\n"), "{text}");
    assert_eq!(text.lines().count(), LINES_MAX, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}
