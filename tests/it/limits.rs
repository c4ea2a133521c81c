//! Limits at the desk: what the timetable says, and what an operator sets in place of it.

use serde_json::{Value, json};

use crate::support::dock::Finished;
use crate::support::site::Site;

const MIB: u64 = 1 << 20;

/// A dock whose two entries hold at every hour of every day.
fn site() -> Site {
    Site::with(|choices| {
        choices.more += "\nlimit = [\"Mon-Sun 00:00-12:00 = 3 MiB/s\", \"12:00-24:00 = 3 MiB/s\"]";
    })
}

/// What `dockseal limit` says of the whole dock, and of its bucket.
fn lines(site: &Site, arguments: &[&str]) -> [Value; 2] {
    let said = site.dock.json(&[&["limit"], arguments].concat());
    let lines = said["limits"].as_array().expect("a list").clone();
    let [all, bucket] = lines.try_into().expect("the dock and one bucket");
    assert!(all["bucket"].is_null() && bucket["bucket"] == "primary", "{all} {bucket}");
    [all, bucket]
}

#[test]
fn a_limit_is_set_and_cleared_with_the_daemon_up_or_down() {
    let mut site = site();
    for is_up in [false, true] {
        if is_up {
            site.dock.start();
        }
        let [all, bucket] = lines(&site, &[]);
        assert_eq!([&all["now"], &all["timetable"]], [&json!(3 * MIB); 2]);
        assert!(all["set"].is_null(), "{all}");
        assert_eq!([&bucket["now"], &bucket["set"]], [&Value::Null; 2]);

        let [all, bucket] = lines(&site, &["set", "500", "KB/s", "--for", "2h"]);
        assert_eq!(all["now"], 500_000);
        assert_eq!(all["timetable"], 3 * MIB);
        let until: jiff::Timestamp = all["set"]["until"].as_str().unwrap().parse().unwrap();
        let left = (until - jiff::Timestamp::now()).total(jiff::Unit::Second).unwrap();
        assert!((7000.0..=7200.0).contains(&left), "{all}");
        assert!(bucket["set"].is_null(), "{bucket}");

        let [all, bucket] = lines(&site, &["set", "2MiB/s", "--bucket", "primary"]);
        assert_eq!([&all["now"], &bucket["now"]], [&json!(500_000), &json!(2 * MIB)]);
        assert!(bucket["set"]["until"].is_null(), "{bucket}");
        let said = site.dock.finish(&["limit"]).expect_code(0).stdout;
        assert!(said.contains("488.3 KiB/s, set until 2"), "{said}");
        assert!(said.contains("primary      2.0 MiB/s, set until it is cleared"), "{said}");

        let [all, bucket] = lines(&site, &["set", "unlimited"]);
        assert!(all["now"].is_null() && all["set"].is_object(), "{all}");
        assert_eq!(bucket["now"], 2 * MIB);
        let [all, bucket] = lines(&site, &["clear"]);
        assert_eq!([&all["now"], &bucket["now"]], [&json!(3 * MIB), &json!(2 * MIB)]);
        let [_, bucket] = lines(&site, &["clear", "--bucket", "primary"]);
        assert!(bucket["set"].is_null() && bucket["now"].is_null(), "{bucket}");
        let again = site.dock.finish(&["limit", "clear"]).expect_code(0);
        assert_eq!(again.stderr, "nothing was set: the timetable counts already\n");
    }
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_limit_whose_time_is_over_counts_no_more() {
    let site = site();
    let [all, _] = lines(&site, &["set", "unlimited", "--for", "1s"]);
    assert!(all["set"].is_object(), "{all}");
    let all = crate::support::wait_for("its end", crate::support::site::SOON, || {
        let [all, _] = lines(&site, &[]);
        all["set"].is_null().then_some(all)
    });
    assert_eq!(all["now"], 3 * MIB);
}

#[test]
fn what_cannot_be_set_says_what_can() {
    let site = site();
    for (arguments, why) in [
        (&["set", "off"][..], "`off`: a limit does not pause; the lowest rate is 1 KB/s"),
        (&["set", "2", "Mbit/s"], "expected bytes a second such as \"2 MiB/s\""),
        (&["set", "2 MiB/s", "--for", "0s"], "`0s` is not a time that an order holds for"),
        (&["set", "2 MiB/s", "--for", "9999d"], "`9999d` is not a time"),
        (&["set", "2 MiB/s", "--bucket", "other"], "no bucket `other` in the config"),
        (&["clear", "--bucket", "other"], "no bucket `other` in the config"),
        (&["set"], "required"),
    ] {
        let said = site.dock.finish(&[&["limit"], arguments].concat()).expect_code(2).stderr;
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let [all, bucket] = lines(&site, &[]);
    assert!(all["set"].is_null() && bucket["set"].is_null(), "{all} {bucket}");
}

#[test]
fn the_timetable_is_in_the_time_of_the_machines_own_zone() {
    let site = Site::with(|choices| {
        choices.more += "\nlimit = [\"00:00-12:00 = 1 MiB/s\", \"12:00-24:00 = 2 MiB/s\"]";
    });
    // Half a day apart, so that in each hour of the day one is before noon and one behind it.
    let rates = ["TZ=AAA0", "TZ=BBB-12"].map(|zone| {
        let said = site.dock.wrapped(&["env", zone], &["limit", "--json"]).output().unwrap();
        let said = Finished::new(said).expect_code(0).json();
        said["limits"][0]["now"].as_u64().expect("a rate")
    });
    assert_eq!(rates[0] + rates[1], 3 * MIB, "{rates:?}");
}
