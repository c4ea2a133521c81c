//! The status screen as lines: the verdict, the one number, folders, buckets, disk, holds.

use std::io::{self, Write};

use super::line::{Line, Paint, Tone, fitted, path_fitted};
use super::{BucketJson, CLOCK_WRONG_SECONDS, FolderJson, StatusJson, not_safe};
use crate::cli::dock::clips::count;
use crate::cli::dock::why::{self, Cause};
use crate::cli::{bytes_for_people, seconds_for_people};

pub(super) const WIDTH: usize = 80;
/// The 24th line of the terminal is the shell's.
const HEIGHT: usize = 23;
/// Columns of a folder's and of a bucket's line behind its name.
const BEHIND_FOLDER: usize = 54;
const BEHIND_BUCKET: usize = 66;
/// Lines for folders and buckets beside a list, before log and number of clips get one.
const LISTED_LINES_MIN: usize = 7;
const YEAR_SECONDS: u64 = 365 * 86_400;
const DAY_SECONDS: u64 = 86_400;

/// Whether holds are told: beside a list of the clips they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Listed,
    Told,
}

pub(super) fn print(out: &mut impl Write, status: &StatusJson, paint: Paint) -> io::Result<()> {
    lines(status, WIDTH, HEIGHT, Holds::Told).iter().try_for_each(|line| line.print(out, paint))
}

/// The screen in so many columns and at most so many lines. Folders, buckets and holds share what
/// is left by the rest; those with a problem come first.
pub(super) fn lines(status: &StatusJson, width: usize, height: usize, holds: Holds) -> Vec<Line> {
    let shown = first_cause(status);
    let mut top = top(status, shown.as_ref());
    top.push(oldest(status));
    top.push(daemon(status));
    let mut bottom = bottom(status);
    let heads = [folder_head(width), bucket_head(width)];
    let groups = [
        folder_groups(status, width),
        bucket_groups(status, width),
        match holds {
            Holds::Told => held_groups(status, shown.as_ref()),
            Holds::Listed => Vec::new(),
        },
    ];
    let fixed = |bottom: &Vec<Line>| top.len() + bottom.len() + heads.len() + 1;
    // On a small screen beside a list: the log and the number of clips can wait.
    while holds == Holds::Listed && fixed(&bottom) + LISTED_LINES_MIN > height && !bottom.is_empty()
    {
        bottom.pop();
    }
    let fixed = fixed(&bottom);
    let wanted = groups.each_ref().map(|groups| groups.iter().map(Vec::len).sum());
    let rooms = shares(height.saturating_sub(fixed), wanted);
    let used: usize = fixed + rooms.iter().sum::<usize>();
    let gap = if used + 3 <= height { vec![Line::default()] } else { Vec::new() };
    let [folders, buckets, held] = groups;
    let [folder_room, bucket_room, held_room] = rooms;
    let mut lines = top;
    let [folder_head, bucket_head] = heads;
    lines.extend(gap.clone());
    lines.push(folder_head);
    lines.extend(fitting(folders, folder_room, "dockseal status --json"));
    lines.extend(gap.clone());
    lines.push(bucket_head);
    lines.extend(fitting(buckets, bucket_room, "dockseal status --json"));
    lines.extend(gap);
    lines.push(disk(status));
    lines.extend(fitting(held, held_room, "dockseal list --held"));
    lines.extend(bottom);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// How many lines each of three gets of what there is: what it wants, or a fair share.
fn shares(room: usize, wanted: [usize; 3]) -> [usize; 3] {
    let mut rooms = [0; 3];
    let mut left = room;
    while left > 0 && rooms != wanted {
        for (given, wanted) in rooms.iter_mut().zip(wanted) {
            if left > 0 && *given < wanted {
                *given += 1;
                left -= 1;
            }
        }
    }
    rooms
}

/// The first groups, and how many there are more, in so many lines.
fn fitting(groups: Vec<Vec<Line>>, room: usize, more: &str) -> Vec<Line> {
    let count = groups.len();
    if groups.iter().map(Vec::len).sum::<usize>() <= room {
        return groups.into_iter().flatten().collect();
    }
    let mut lines = Vec::new();
    let mut shown = 0;
    for group in groups {
        if lines.len() + group.len() >= room {
            break;
        }
        shown += 1;
        lines.extend(group);
    }
    if room > 0 {
        let text = format!("and {} more: {more}", count - shown);
        lines.push(Line::of(Tone::Plain, "          ").and(Tone::Warning, text));
    }
    lines
}

/// What a person must see first. Where nothing waits, a daemon that does not run is no cause.
fn first_cause(status: &StatusJson) -> Option<Cause> {
    let (daemon_down, _, _) = why::DAEMON_DOWN;
    let is_idle = not_safe(status).count == 0;
    status.causes().into_iter().find(|cause| !(is_idle && cause.code == daemon_down))
}

/// The tone that a verdict has, and its word.
pub(super) fn verdict_word(status: &StatusJson) -> (Tone, &'static str) {
    match status.verdict {
        "ok" => (Tone::Good, "OK"),
        "waiting" => (Tone::Warning, "WAITING"),
        _ => (Tone::Bad, "ATTENTION"),
    }
}

/// The verdict, its worst cause and since when, and the one command.
fn top(status: &StatusJson, cause: Option<&Cause>) -> Vec<Line> {
    let (tone, word) = verdict_word(status);
    let mut lines = vec![Line::of(tone, word).and(Tone::Strong, format!(": {}", status.summary))];
    if let Some(cause) = cause {
        let tone = if cause.needs_you { Tone::Bad } else { Tone::Warning };
        lines.push(Line::labelled("cause", tone, cause_text(cause)));
        lines.push(Line::labelled("do", Tone::Strong, cause.command()));
    }
    lines
}

fn cause_text(cause: &Cause) -> String {
    let since = cause.since_seconds.map(seconds_for_people);
    let since = since.map_or(String::new(), |since| format!(" for {since}"));
    format!("{}{since}: {}", cause.code, cause.what)
}

fn oldest(status: &StatusJson) -> Line {
    let Some(seconds) = status.oldest_unsafe_seconds else {
        return Line::labelled("oldest", Tone::Plain, "no clip is waiting to be stored");
    };
    let waiting = not_safe(status);
    let tone = if status.verdict == "ok" { Tone::Strong } else { Tone::Warning };
    let (clips, size) =
        (count("clip", waiting.count as usize), bytes_for_people(waiting.size_bytes));
    let text = match waiting.count {
        1 => format!(": {clips} ({size}) is not safe yet"),
        _ => format!(": the oldest of {clips} ({size}) that are not safe yet"),
    };
    Line::labelled("oldest", tone, seconds_for_people(seconds)).and(Tone::Plain, text)
}

fn daemon(status: &StatusJson) -> Line {
    let rest = format!("; {}, {}", status.dock, status.now);
    match &status.daemon_pid {
        None if status.standing.is_closed() => {
            Line::labelled("daemon", Tone::Plain, "none runs here any more")
        }
        Some(pid) => Line::labelled("daemon", Tone::Plain, format!("runs (process {pid})")),
        None => {
            // Its last look at a folder is its last sign of life.
            let looked = status.folders.iter().filter_map(|folder| folder.looked_seconds).min();
            let when = looked.map_or(String::new(), |age| format!("; as of {}", ago(Some(age))));
            let text = format!("does not run{when}");
            Line::labelled("daemon", Tone::Warning, text)
        }
    }
    .and(Tone::Quiet, rest)
}

/// The age of something, in its largest unit: `2s ago`, `100d ago`.
fn ago(seconds: Option<u64>) -> String {
    seconds.map_or("-".into(), |seconds| {
        let text = seconds_for_people(seconds);
        format!("{} ago", text.split(' ').next().unwrap_or_default())
    })
}

fn folder_head(width: usize) -> Line {
    let name = width.saturating_sub(BEHIND_FOLDER);
    let head = format!("{:name$}  STATE             LOOKED    WAITING  SAFE TO UNPLUG", "FOLDER");
    Line::of(Tone::Quiet, head)
}

fn folder_groups(status: &StatusJson, width: usize) -> Vec<Vec<Line>> {
    let mut folders: Vec<_> = status.folders.iter().collect();
    // What may not be unplugged before what may.
    folders.sort_by_key(|folder| (folder.problem.is_none(), folder.safe_to_unplug));
    folders.into_iter().map(|folder| vec![folder_line(folder, width)]).collect()
}

fn folder_line(folder: &FolderJson, width: usize) -> Line {
    let name = path_fitted(&folder.path, width.saturating_sub(BEHIND_FOLDER));
    let line = Line::of(Tone::Plain, name + "  ");
    if let Some(problem) = &folder.problem {
        let since = folder.problem_seconds.map(seconds_for_people);
        let since = since.map_or(String::new(), |since| format!(" ({since})"));
        return line.and(Tone::Bad, format!("{problem}{since}"));
    }
    let Some(mode) = &folder.mode else {
        return line.and(Tone::Warning, "not looked through yet");
    };
    let place = if folder.mount_point.is_some() { "mounted" } else { "there" };
    let (state, looked) = (format!("{place}, {mode}"), ago(folder.looked_seconds));
    let line =
        line.and(Tone::Plain, format!("{state:16}  {looked:8}  {:>7}  ", folder.waiting_count));
    match folder.safe_to_unplug {
        true => line.and(Tone::Good, "yes"),
        false if folder.waiting_count > 0 => line.and(Tone::Warning, "NO"),
        // Nobody looks.
        false => line.and(Tone::Warning, "not known"),
    }
}

fn bucket_head(width: usize) -> Line {
    let name = width.saturating_sub(BEHIND_BUCKET);
    let head = "STATE         RATE         RECEIPT   BACKLOG             DONE IN";
    Line::of(Tone::Quiet, format!("{:name$}  {head}", "BUCKET"))
}

fn bucket_groups(status: &StatusJson, width: usize) -> Vec<Vec<Line>> {
    let mut buckets: Vec<_> = status.buckets.iter().collect();
    buckets.sort_by_key(|bucket| (bucket.problem.is_none(), !bucket.required));
    buckets.into_iter().map(|bucket| bucket_group(bucket, width)).collect()
}

fn bucket_group(bucket: &BucketJson, width: usize) -> Vec<Line> {
    let name = fitted(&bucket.name, width.saturating_sub(BEHIND_BUCKET));
    let since = seconds_for_people(bucket.problem_seconds.unwrap_or(0));
    let bad = if bucket.required { Tone::Bad } else { Tone::Warning };
    let (tone, state) = match (&bucket.problem, bucket.last_receipt_seconds, bucket.required) {
        (Some(_), _, true) => (bad, format!("DOWN {since}")),
        (Some(_), _, false) => (bad, format!("down {since}")),
        (None, _, _) if bucket.paused => (Tone::Warning, "paused".into()),
        (None, None, _) => (Tone::Plain, "not used yet".into()),
        (None, Some(_), true) => (Tone::Good, "up".into()),
        (None, Some(_), false) => (Tone::Good, "up, optional".into()),
    };
    let (rate, done) = match (bucket.waiting_count, &bucket.problem, bucket.rate_bytes_per_second) {
        (0, None, _) => ("idle".into(), "-".into()),
        (0, Some(_), _) => ("-".into(), "-".into()),
        (_, None, Some(rate)) => {
            let done = bucket.drained_seconds.map_or("unknown".into(), seconds_for_people);
            (format!("{}/s", bytes_for_people(rate)), done)
        }
        (_, Some(_), _) => ("-".into(), "unknown".into()),
        (_, None, None) => ("unknown".into(), "unknown".into()),
    };
    let backlog = match bucket.waiting_count {
        0 => "-".into(),
        count => format!("{count}, {}", bytes_for_people(bucket.waiting_size_bytes)),
    };
    let receipt = ago(bucket.last_receipt_seconds);
    let rest = format!("  {rate:11}  {receipt:8}  {backlog:18}  {done}");
    let line = Line::of(Tone::Plain, name + "  ");
    let mut group = vec![line.and(tone, format!("{state:12}")).and(Tone::Plain, rest)];
    if let Some(problem) = &bucket.problem {
        group.push(Line::of(bad, format!("  {problem}")));
    }
    let off = bucket.clock_behind_seconds.unwrap_or(0);
    if off.unsigned_abs() >= CLOCK_WRONG_SECONDS {
        let side = if off > 0 { "behind" } else { "ahead of" };
        let off = seconds_for_people(off.unsigned_abs());
        group.push(Line::of(Tone::Bad, format!("  our clock is {off} {side} its server's")));
    }
    group
}

fn disk(status: &StatusJson) -> Line {
    let disk = &status.disk;
    let size = bytes_for_people(disk.spool_size_bytes);
    let spool = match disk.spool_count {
        0 => "the spool is empty".to_owned(),
        number => format!("spool {size} in {}", count("file", number as usize)),
    };
    let room = disk.spool_room_bytes.map_or("unknown".into(), bytes_for_people);
    let (tone, full) = match (disk.spool_full_seconds, disk.spool_growth_bytes_per_day) {
        _ if status.is_full() => (Tone::Bad, "; FULL".into()),
        (Some(seconds), _) if seconds < YEAR_SECONDS => {
            let tone = if seconds < DAY_SECONDS { Tone::Bad } else { Tone::Plain };
            (tone, format!("; full in {}", seconds_for_people(seconds)))
        }
        (Some(_), _) => (Tone::Plain, "; not full within a year".into()),
        (None, Some(_)) => (Tone::Plain, "; it does not grow".into()),
        (None, None) => (Tone::Quiet, "; full: unknown".into()),
    };
    Line::labelled("disk", Tone::Plain, format!("{spool}, room for {room} more")).and(tone, full)
}

/// Holds that are not the first cause, each with what to do.
fn held_groups(status: &StatusJson, shown: Option<&Cause>) -> Vec<Vec<Line>> {
    let is_shown = |cause: &Cause| {
        shown.is_some_and(|shown| (shown.code, &shown.what) == (cause.code, &cause.what))
    };
    let held = status.causes().into_iter().filter(|cause| cause.count.is_some());
    held.filter(|cause| !is_shown(cause))
        .map(|cause| {
            let clips = count("clip", cause.count.unwrap_or(0) as usize);
            let tone = if cause.needs_you { Tone::Bad } else { Tone::Warning };
            let text = format!(", {}", cause_text(&cause));
            vec![
                Line::labelled("held", tone, clips).and(Tone::Plain, text),
                Line::labelled("  do", Tone::Plain, cause.command()),
            ]
        })
        .collect()
}

/// Log, keyring, and how many clips are how far.
fn bottom(status: &StatusJson) -> Vec<Line> {
    let states = status.states.iter().map(|state| format!("{} {}", state.count, state.state));
    let states = states.collect::<Vec<_>>().join(", ");
    let mut lines = vec![Line::labelled("clips", Tone::Plain, states)];
    lines.extend(status.standing.lines().iter().map(|line| {
        let (label, text) = line.split_at_checked(10).unwrap_or(("", line));
        Line::labelled(label.trim_end(), Tone::Plain, text)
    }));
    lines
}
