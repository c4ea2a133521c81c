//! Names that a file system allows and nobody expects.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};

use crate::support::files_beneath;
use crate::support::site::{SOON, Site, is_harmless};
use crate::support::wait_for;

/// In each name, so that a log with any of them is found out.
const PART: &str = "Zeuge";

fn nasty_names() -> Vec<PathBuf> {
    let long = [b"Zeuge".to_vec(), vec![b'x'; 250]].concat();
    let names: Vec<Vec<u8>> = vec![
        b"Zeuge\nERROR all is lost\n.mp4".to_vec(),
        b"Zeuge\x1b[2J\x1b[31mred\x1b]0;title\x07.mp4".to_vec(),
        "Zeuge\u{9b}31m\u{7f}.mp4".into(),
        "Zeuge\u{202e}4pm.exe".into(),
        "Zeuge \u{200b}\u{feff}.mp4".into(),
        b"Zeuge\xff\xfe\xc3(.mp4".to_vec(),
        b"-rf Zeuge".to_vec(),
        b"--help=Zeuge".to_vec(),
        b" Zeuge ".to_vec(),
        b"Zeuge\r\x08\x08.mp4".to_vec(),
        b"Zeuge'\"\\$(reboot);`x`%s{}&|*?.mp4".to_vec(),
        "Zeuge Überführung 警察.mp4".into(),
        long.clone(),
        // Only dots, in a folder that has the marker.
        b"Zeuge/...".to_vec(),
        b"Zeuge\xff/\x1b[31m/....mp4".to_vec(),
        [&b"Zeuge/"[..], &long, b"/", &long, b"/a"].concat(),
        [b"Zeuge/".to_vec(), b"d/".repeat(60), b"deep".to_vec()].concat(),
    ];
    names.into_iter().map(dockseal::clip::path_from_bytes).collect()
}

#[test]
fn any_name_arrives_as_it_was_and_none_of_them_moves_the_cursor() {
    let mut site = Site::with(|choices| {
        choices.erase = "never";
        choices.camera = Some("{1}".into());
    });
    let contents: Vec<_> = nasty_names()
        .into_iter()
        .enumerate()
        .map(|(number, name)| (name, format!("clip {number}").into_bytes()))
        .collect();
    for (name, content) in &contents {
        site.put(name, content);
    }
    site.dock.start();
    site.wait_for_count("stored", contents.len() as u64);
    assert_eq!(site.dock.stop(), 0);
    let expected: Vec<_> = contents.iter().map(|(n, c)| (n.as_path(), c.as_slice())).collect();
    site.assert_opened(&expected);
    site.assert_clean_words(PART);
    for (name, _) in &contents {
        let clip = site.clip(name).expect("known by its path's exact bytes");
        assert_eq!(clip["state"], "stored");
        let mut show = site.dock.command(&["show"]);
        let said = show.arg("--").arg(site.dock.folder().join(name)).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap() + str::from_utf8(&said.stderr).unwrap();
        assert!(is_harmless(&text), "{text:?}");
        // An argument that is not UTF-8 is refused; such a clip has a number.
        let expected = if name.to_str().is_some() { 0 } else { 2 };
        assert_eq!(said.status.code(), Some(expected), "{name:?}: {text}");
    }
    // And now with erasing, which moves each into quarantine and removes it there.
    let mut choices = site.choices.clone();
    choices.erase = "when-stored";
    site.dock.reconfigure(&choices);
    site.dock.start();
    site.wait_for_count("erased", contents.len() as u64);
    assert_eq!(site.dock.stop(), 0);
    assert_eq!(files_beneath(&site.dock.folder()), Vec::<PathBuf>::new());
    site.assert_opened(&expected);
    site.assert_clean_words(PART);
}

#[test]
fn folders_deeper_than_a_path_can_name_hide_nothing_else() {
    let mut site = Site::new();
    // Each level opens the one above: no path of this length could be given to the kernel.
    let mut folder = rustix::fs::openat(
        CWD,
        site.dock.folder(),
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )
    .unwrap();
    let name = "d".repeat(255);
    for _ in 0..20 {
        rustix::fs::mkdirat(&folder, name.as_str(), Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, name.as_str(), flags, Mode::empty()).unwrap();
    }
    let create = OFlags::CREATE | OFlags::WRONLY;
    drop(rustix::fs::openat(&folder, "lost.mp4", create, Mode::RUSR).unwrap());
    site.put("Zeuge.mp4", b"seen");
    site.put(PathBuf::from("e/".repeat(70)).join("Zeuge2.mp4"), b"too deep");
    site.dock.start();
    site.wait_for_count("erased", 1);
    let status = site.dock.wait_for_json("the problem", &["status"], SOON, |status| {
        status["folders"][0]["problem"].is_string()
    });
    let problem = status["folders"][0]["problem"].as_str().unwrap();
    assert!(problem.starts_with("cannot be read in part: "), "{problem}");
    assert_eq!(status["verdict"], "attention");
    site.assert_opened(&[("Zeuge.mp4", &b"seen"[..])]);
    site.assert_clean_words(PART);
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn names_of_unfinished_files_are_not_clips_until_they_are_renamed() {
    let mut site = Site::new();
    let unfinished = ["a.part", "b.tmp", ".~c", "d.filepart", "e.mp4.crdownload", "cam/f.part"];
    for name in unfinished {
        site.put(name, name.as_bytes());
    }
    site.put("whole.mp4", b"whole");
    site.dock.start();
    site.wait_for_count("erased", 1);
    let status = site.dock.json(&["status"]);
    assert_eq!(status["folders"][0]["ignored_count"], 6);
    assert_eq!(site.clips().len(), 1);
    let finished = |name: &str| name.replace(".~", "").replace(".part", ".mp4") + ".whole";
    for name in unfinished {
        let from = site.dock.folder().join(name);
        std::fs::rename(&from, site.dock.folder().join(finished(name))).unwrap();
    }
    site.wait_for_count("erased", 7);
    let names = unfinished.map(|name| (finished(name), name));
    let mut expected: Vec<_> = names.iter().map(|(n, c)| (n.as_str(), c.as_bytes())).collect();
    expected.push(("whole.mp4", b"whole"));
    site.assert_opened(&expected);
}

#[test]
fn with_a_completion_marker_a_clip_waits_for_it_however_quiet() {
    let mut site = Site::with(|_| {});
    let config = std::fs::read_to_string(site.dock.config()).unwrap();
    let config = config.replace("settle_seconds = 0", "completion_marker = \".done\"");
    std::fs::write(site.dock.config(), config).unwrap();
    // The marker first, the clip first, and none at all.
    site.put("cam/1.mp4.done", b"");
    site.put("cam/1.mp4", b"one");
    site.put("cam/2.mp4", b"two");
    site.put("3.mp4", b"three");
    // A marker of another folder's clip.
    site.put("2.mp4.done", b"");
    site.dock.start();
    site.wait_for_count("erased", 1);
    // Some looks later.
    let looked = |site: &Site| site.dock.log().matches("sealed").count();
    wait_for("three more looks", SOON, || {
        let clips = site.clips();
        (clips.iter().all(|clip| clip["state"] != "sealed") && looked(&site) >= 1).then_some(())
    });
    assert_eq!(site.clip("cam/2.mp4").unwrap()["state"], "seen");
    site.put("cam/2.mp4.done", b"");
    site.wait_for_count("erased", 2);
    assert_eq!(site.clip("3.mp4").unwrap()["settled"], serde_json::Value::Null);
    site.put("3.mp4.done", b"");
    site.wait_for_count("erased", 3);
    site.assert_opened(&[("cam/1.mp4", &b"one"[..]), ("cam/2.mp4", b"two"), ("3.mp4", b"three")]);
    // Markers belong to whoever wrote them.
    assert_eq!(files_beneath(&site.dock.folder()).len(), 4);
}

#[test]
fn the_nasty_names_are_nasty() {
    let names = nasty_names();
    assert!(names.iter().all(|name| name.as_os_str().as_bytes().windows(5).any(|w| w == b"Zeuge")));
    assert!(names.iter().any(|name| name.to_str().is_none_or(|name| !is_harmless(name))));
    let longest = names.iter().flat_map(|name| name.iter().map(OsStr::len)).max();
    assert_eq!(longest, Some(255));
}
