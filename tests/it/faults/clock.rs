//! A dock whose clock is wrong by a day: its requests are signed with the server's time.

use super::{LARGE, SMALL, Scene};
use crate::support::seaweed::Seaweed;
use crate::support::tools::{Tool, needs};

const DAY_SECONDS: i64 = 86_400;
/// Timers go on as they are: only the day is wrong.
pub(super) const REAL_TIMERS: [&str; 2] =
    ["FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];

fn clips_arrive_with_a_clock_that_is_off(by: &str, behind: i64) {
    needs!(Weed, Setpriv, Faketime);
    let mut scene = Scene::new("clock", &Seaweed::shared().endpoint());
    scene.put(SMALL);
    scene.put(LARGE);
    scene.site.dock.start_with(&[], |daemon| {
        daemon.envs(REAL_TIMERS.map(|word| word.split_once('=').unwrap()));
        daemon.env("LD_PRELOAD", Tool::Faketime.path()).env("FAKETIME", by);
    });
    scene.arrives();
    let status = scene.site.dock.json(&["status"]);
    let told = status["buckets"][0]["clock_behind_seconds"].as_i64().unwrap();
    assert!((told - behind).abs() < 60, "{status:#}");
    let words = scene.site.dock.finish(&["status"]).stdout;
    let side = if behind > 0 { "behind" } else { "ahead" };
    assert!(words.contains("our clock is") && words.contains(side), "{words}");
}

#[test]
fn a_clock_a_day_ahead_stops_no_clip_and_is_told() {
    clips_arrive_with_a_clock_that_is_off("+1d", -DAY_SECONDS);
}

#[test]
fn a_clock_a_day_behind_stops_no_clip_and_is_told() {
    clips_arrive_with_a_clock_that_is_off("-1d", DAY_SECONDS);
}
