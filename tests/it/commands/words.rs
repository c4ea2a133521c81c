//! Words of an output that differ from run to run, each told by what stands around it.

use std::sync::OnceLock;

use regex::Regex;
use snapbox::Redactions;
use snapbox::data::Data;
use snapbox::filter::NormalizeToExpected;

/// An age as people read it: `41s`, `3m 20s`. Behind `#`, each is spelled out.
const AGE: &str = "[0-9]+[smhd](?: [0-9]+[smhd])?";

/// What stands for a word, and how the word is told: by all of the pattern, or by its group
/// `redacted`. In this order. In a column of a table both are equally wide. `#` is an age.
const VARYING: [(&str, &str); 59] = [
    // Times.
    ("[TIME]", "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]+)?Z"),
    ("[TIME__MINUTES_]", "20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}"),
    ("[TIME]", "20[0-9]{6}T[0-9]{6}"),
    ("[SECONDS]", "drills?/[a-z0-9-]+/(?<redacted>[0-9]{10})"),
    ("[DAYS]", "(?<redacted>36[4-6]) days"),
    ("[DAYS]", "\"days_left\": (?<redacted>36[4-6])"),
    ("[DAYS]", "(?<redacted>36[4-6])d  ?0[.]"),
    // Ages.
    ("[SAID]", "(?:attention|ok) (?<redacted> *#)  "),
    ("[OLDEST]", "  (?<redacted> *#)      [0-9]+/[0-9]+  "),
    ("[SINCE]", "(?:[0-9a-f]{12}|- {11})  (?<redacted>[0-9][0-9smhd ]{6})  "),
    ("[SINCE]", "(?i:DOWN) (?<redacted>[0-9][0-9smhd ]{6})"),
    ("[AGE]", "\\[TIME\\]  (?<redacted> *#) ago"),
    ("[_AGO__]", "(?<redacted>[0-9][smhd] ago |[0-9]{2}[smhd] ago)  "),
    ("[AGE]", "(?<redacted>#) ago"),
    ("[AGE]", "(?:oldest    |after )(?<redacted>#)[:;\n]"),
    ("[AGE]", "(?<redacted>#) after it was seen"),
    ("[AGE]", " for (?<redacted>#)[:;,\n]"),
    ("[AGE]", "again in (?<redacted>#)[,\n]"),
    ("[AGE]", "\\[TIME\\] [(](?<redacted>#)[)]"),
    ("[AFTER___]", "\\[TIME\\](?<redacted> +[+]#)  "),
    ("[AGE]", "next try +in (?<redacted>#)\n"),
    (
        "[SECONDS]",
        "\"(?:after|drilled|last_receipt|looked|oldest_unsafe|pending_oldest|plaintext|problem\
         |safe_after|said|since|waited)_seconds\": (?<redacted>[0-9]+)",
    ),
    ("[SECONDS]", "oldest=(?<redacted>[0-9]+)s"),
    ("[SECONDS]", "_(?:age_seconds|timestamp_seconds)(?:[{][^}]*[}])? (?<redacted>[0-9.e]+)\n"),
    // Keys and digests.
    ("[DIGEST]", "[0-9a-f]{64}"),
    ("[XX]", "clips/(?<redacted>[0-9a-f]{2})/\\[DIGEST\\]"),
    ("[KEY]", "[+](?<redacted>[0-9a-f]{8}[+][A-Za-z0-9+/]{44})"),
    ("[RECIPIENT]", "age1(?:pq1)?(?<redacted>[a-z0-9]{50,})"),
    ("[END_OF_KEY]", "ends in …(?<redacted>[a-z0-9]{12})"),
    ("[FINGERPRINT]", "[0-9a-f]{4}(?:-[0-9a-f]{4}){3}"),
    ("[PATH_AS_BYTES]", "\"path_base64\": \"(?<redacted>[A-Za-z0-9+/=]+)\""),
    // What the machine has.
    ("[PID]", "process (?<redacted>[0-9]+)"),
    ("[PID]", "\"daemon_pid\": \"(?<redacted>[0-9]+)\""),
    ("[HOW_MUCH_IS_FREE]", "ok    spool: [0-9.]+ [GTP]iB are free"),
    (
        "[HOW_MUCH_IS_FREE]",
        "warn  spool: only [0-9.]+ [MG]iB are free\n      do: sealed clips wait here while a \
         bucket is down",
    ),
    ("[FREE]", "(?:room for|least free) (?<redacted>[0-9.]+ [MGTP]iB)"),
    (
        "[HOW_MUCH_IS_FREE]",
        "\"result\": \"[a-z]+\",\n +\"what\": \"spool\",\n +\"finding\": \"(?:only )?[0-9.]+ \
         [MGTP]iB are free\",\n +\"fix\": [^\n]+",
    ),
    ("[FREE]", "  (?<redacted> *[0-9.]+ [MGTP]iB)    [0-9]+ \\[DAYS\\]d"),
    ("[FREE]", "\"(?:spool_free|spool_room|free)_bytes\": (?<redacted>[0-9]+)"),
    ("[FREE]", "(?:free=|free_bytes |room_bytes )(?<redacted>[0-9]+)"),
    (
        "[COUNT]",
        "_(?:failures_total|queue_bytes|spool_free_files|spool_size_bytes)(?:[{][^}]*[}])? \
         (?<redacted>[0-9]+)\n",
    ),
    ("[THERE__INOTIFY]", "there, inotify  |mounted, inotify"),
    ("[THERE__EJECTED]", "there, ejected  |mounted, ejected"),
    ("[MOUNT_POINT]", "\"mount_point\": (?<redacted>null|\"[^\"]*\")"),
    ("[PORT]", "127[.]0[.]0[.]1:(?<redacted>[0-9]{4,5})"),
    // How often the log was published on the way is a matter of moments.
    ("[OBJECTS]", "[1-9][0-9]* objects, [0-9.]+ (?:B|[KM]iB)"),
    ("[COUNT]", "digest, (?<redacted>[1-9][0-9]*) read back"),
    ("[COUNT]", "(?<redacted>[1-9][0-9]*) checkpoints agree"),
    ("[COUNT]", "in (?<redacted>[0-9]+) pieces"),
    ("[ATTEMPTS]", "[0-9]+ attempts?"),
    ("[ATTEMPTS]", "\"attempts\": (?<redacted>[0-9]+)"),
    ("[RATE]", "\"rate_bytes_per_second\": (?<redacted>[0-9]+)"),
    ("[COUNT]", "\"entry_count\": (?<redacted>[0-9]+)"),
    ("[COUNT]", "\"(?:checkpoint_count|objects|read_back)\": (?<redacted>[1-9][0-9]*)"),
    ("[BYTES]", "objects\": \\[COUNT\\],\n *\"size_bytes\": (?<redacted>[0-9]+)"),
    ("[COUNT]", "\"url\": \"[^\"]*\",\n *\"name\": null,\n *\"object_count\": (?<redacted>[0-9]+)"),
    ("[BYTES]", "object_count\": \\[COUNT\\],\n *\"size_bytes\": (?<redacted>[0-9]+)"),
    // Shorter than all that begins with them.
    ("[LOG_OF_THE_DOCK]", "(?:^|[^0-9a-f])(?<redacted>[0-9a-f]{16})(?:[^0-9a-f]|$)"),
    ("[SHORT_NAME]", "(?:^|[^0-9a-f])(?<redacted>[0-9a-f]{12})(?:[^0-9a-f]|$)"),
];

/// The days that a transcript may have to do with: it may run over midnight.
fn days() -> [(&'static str, String); 2] {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let tomorrow = today.tomorrow().expect("there is one");
    let year = jiff::Span::new().years(1);
    let both = |days: [jiff::civil::Date; 2]| days.map(|day| day.to_string()).join("|");
    let in_a_year = [today, tomorrow].map(|day| day.saturating_add(year));
    [("[TODAY]", both([today, tomorrow])), ("[IN_A_YEAR]", both(in_a_year))]
}

fn version() -> [(&'static str, String); 3] {
    let version = env!("CARGO_PKG_VERSION").replace('.', "[.]");
    let programs = "dockseal(?:-authority|-audit)?";
    [
        ("[VERSION]", format!("{programs} (?<redacted>{version})")),
        ("[VERSION]", format!("version=\"(?<redacted>{version})\"")),
        ("[VERSION]", format!("\"version\": \"(?<redacted>{version})\"")),
    ]
}

fn varying() -> &'static [Redactions] {
    static VARYING_ONE_BY_ONE: OnceLock<Vec<Redactions>> = OnceLock::new();
    VARYING_ONE_BY_ONE.get_or_init(|| {
        let fixed = VARYING.map(|(word, pattern)| (word, pattern.replace('#', AGE)));
        let all = fixed.into_iter().chain(days()).chain(version());
        // The first digits of a name, where a table begins with them.
        let all = all.chain([("[DIGITS]", "(?m)^(?<redacted>[0-9a-f]{8})  ".to_owned())]);
        all.map(|(word, pattern)| {
            let mut one = Redactions::new();
            one.insert(word, Regex::new(&pattern).unwrap()).unwrap();
            one
        })
        .collect()
    })
}

/// What came, with placeholders for what differs from run to run, and with `...` and `[..]`
/// wherever `expected` has them and all else fits.
pub fn harmonised(came: &str, expected: &str) -> String {
    let came = varying().iter().fold(came.to_owned(), |text, one| one.redact(&text));
    let fitted = NormalizeToExpected::new().redact();
    let fitted = fitted.normalize(Data::text(came), &Data::text(expected));
    fitted.render().expect("text stays text")
}

#[test]
fn what_differs_is_told_and_nothing_else() {
    let log = "     3  2026-11-22T15:55:48Z  2m 10s ago  clip 226461ec9fe7 stored in primary\n";
    let plain = "     3  [TIME]  [AGE] ago  clip [SHORT_NAME] stored in primary\n";
    assert_eq!(harmonised(log, ""), plain);
    let shorter = "     3  2026-11-22T15:55:48Z      9s ago  clip 226461ec9fe7 stored in primary\n";
    assert_eq!(harmonised(shorter, ""), plain, "an age of another width");
    assert_eq!(harmonised("one\ntwo 12\nthree\n", "...\nthree\n"), "...\nthree\n");
    assert_eq!(harmonised("two 12 pages\n", "two [..] pages\n"), "two [..] pages\n");
    assert_eq!(harmonised("two 12 sheets\n", "two [..] pages\n"), "two 12 sheets\n");
    // A digest that is too short, and a day that is not today.
    let wrong = format!("{} 2020-02-02 0.0.1\n", "a".repeat(63));
    assert_eq!(harmonised(&wrong, ""), wrong);
}

#[test]
fn every_placeholder_is_needed() {
    let read = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path();
    let files = std::fs::read_dir(super::at("tests/commands")).unwrap().map(read);
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let unused: Vec<_> = VARYING.iter().filter(|(word, _)| !text.contains(word)).collect();
    assert!(unused.is_empty(), "in no transcript: {unused:?}");
}
