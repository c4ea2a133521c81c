//! A bucket that the dock does not require misses nothing that it never acknowledged.

use std::path::Path;
use std::time::Duration;

use crate::support::dock::BucketConfig;
use crate::support::{scratch, wait_for};
use crate::trust::Force;

const SOON: Duration = Duration::from_secs(60);

fn clips(bucket: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(bucket.join("test-dock-1/clips")).into_iter().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// The newest checkpoint of the only log.
fn head(bucket: &Path) -> Option<Vec<u8>> {
    let log = std::fs::read_dir(bucket.join("test-dock-1/log")).ok()?.next()?.ok()?;
    std::fs::read(log.path().join("checkpoint")).ok()
}

#[test]
fn a_bucket_that_never_acknowledged_a_clip_did_not_lose_it() {
    let (first, parent) = (scratch(), scratch());
    let second = parent.path().join("second");
    let url = format!("file://{}", second.display());
    let mut config = BucketConfig::folder(first.path());
    config.more = format!("[[bucket]]\nname = \"second\"\nurl = \"{url}\"\nrequired = false\n");
    let mut force = Force::new(config, vec![], "");
    let spool = force.dock().state_dir().join("spool");
    let is_empty = || {
        let files = std::fs::read_dir(&spool).unwrap().map(|file| file.unwrap().file_name());
        files.filter(|name| name != "unfinished").count() == 0
    };
    // While its disk is away, the second one gets nothing, and the clip does not wait for it.
    std::fs::write(force.dock().folder().join("a.mp4"), b"the first clip").unwrap();
    force.dock().start();
    let arrived = |bucket: &Path, count| (clips(bucket).len() == count && is_empty()).then_some(());
    wait_for("the first clip", SOON, || arrived(first.path(), 1));
    std::fs::create_dir(&second).unwrap();
    std::fs::create_dir(second.join("keyrings")).unwrap();
    let keyring = first.path().join("keyrings/1");
    std::fs::copy(keyring, second.join("keyrings/1")).unwrap();
    force.dock().finish(&["retry", "--all"]);
    std::fs::write(force.dock().folder().join("b.mp4"), b"the second clip").unwrap();
    wait_for("the second clip", SOON, || arrived(&second, 1));
    let is_told = || head(&second).is_some() && head(&second) == head(first.path());
    wait_for("the log", SOON, || is_told().then_some(()));
    assert_eq!(force.dock().stop(), 0);

    force.audit(&[&format!("file://{}", first.path().display())]).expect_code(0);
    let said = force.audit(&[&url]).expect_code(13).stdout;
    assert!(said.contains("missing: stored by the log"), "{said}");
    assert!(said.contains("hint: do docks require this bucket?"), "{said}");
    let said = force.audit(&[&format!("second={url}")]).expect_code(0).stdout;
    assert!(said.contains("not here, and never acknowledged by this bucket: 1\n"), "{said}");
    let said = force.audit(&[&format!("sceond={url}")]).expect_code(3).stdout;
    assert!(said.contains("a receipt of a bucket called sceond"), "{said}");

    // What it acknowledged is missed.
    std::fs::remove_file(&clips(&second)[0]).unwrap();
    let said = force.audit(&[&format!("second={url}")]).expect_code(13).stdout;
    assert_eq!(said.matches("missing: stored by the log").count(), 1, "{said}");
}
