//! A dock that goes on while it is audited: no false alarm.

use std::sync::atomic::{AtomicBool, Ordering};

use dockseal::custody::entry::Event;
use dockseal::edge::bucket::Bucket;

use super::Auditor;
use crate::support::ledger::{Objects, Place, World, recipient, world};
use crate::support::scratch;

/// Audits during the work; each sees another moment of it.
const AUDIT_COUNT: usize = 25;

/// Seals, puts and publishes as a dock does, until it is told to stop.
fn work(world: &mut World, url: &str, is_over: &AtomicBool) {
    let bucket = Bucket::open(url, &Default::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    while !is_over.load(Ordering::Relaxed) {
        let mut objects = Objects::new();
        world.one.seal(&mut objects, 1000, &[recipient()]);
        world.one.add(Event::Alive);
        world.one.publish(&mut objects);
        // The clip, then what its entries need, then the checkpoints, the replaced one last.
        let order = |key: &String| {
            (key.ends_with("/checkpoint"), key.contains("/checkpoints/"), key.contains("/log/"))
        };
        let mut ordered: Vec<_> = objects.into_iter().collect();
        ordered.sort_by_key(|(key, _)| order(key));
        for (key, bytes) in ordered {
            let put = async {
                match key.ends_with("/checkpoint") {
                    true => bucket.replace(&key, bytes.into()).await,
                    false => bucket.create(&key, bytes.into()).await.map(drop),
                }
            };
            runtime.block_on(put).unwrap();
        }
    }
}

#[test]
fn a_dock_at_work_raises_no_alarm() {
    let (auditor, place) = (Auditor::new(), Place::Folder(scratch()));
    let mut world = world();
    place.hold(&world.objects);
    let (url, is_over) = (place.url(), AtomicBool::new(false));
    let alarms = std::thread::scope(|scope| {
        let dock = scope.spawn(|| work(&mut world, &url, &is_over));
        let audits = (0..AUDIT_COUNT).map(|_| {
            // Drawn objects are not read here: what matters is what is said to be missing.
            let said = auditor.audit(&[&place], &["--json", "--sample", "3"]);
            let report = said.json();
            let findings = report["buckets"][0]["findings"].as_array().unwrap().clone();
            let is_alarm = |finding: &&serde_json::Value| {
                finding["severity"] != "notice" && finding["code"] != "clip-unpublished"
            };
            findings.iter().find(is_alarm).map(ToString::to_string)
        });
        let alarms: Vec<_> = audits.flatten().collect();
        is_over.store(true, Ordering::Relaxed);
        dock.join().unwrap();
        alarms
    });
    let published = world.one.entries.len();
    assert!(alarms.is_empty(), "of {published} entries: {alarms:#?}");
    assert!(published > 330, "the dock did next to nothing: {published} entries");
    let said = auditor.audit(&[&place], &["--full", "--stale-after", "9d"]).expect_code(0);
    assert!(said.stdout.contains(&format!("{published} entries")), "{}", said.stdout);
}
