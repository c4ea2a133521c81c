//! `dockseal demo`, as a newcomer tries it, and the command that it prints.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::dock::Finished;
use crate::support::scratch;

/// Newline, escape sequence, and what is not UTF-8.
const NASTY: &[u8] = b"a\nb\x1b[2J\xff 'quoted'.mp4";

/// A program in a folder of its own, with nothing but a path in its environment.
fn run_in(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let finished = Finished::new(command.output().expect("it starts"));
    for said in [&finished.stdout, &finished.stderr] {
        let raw = |c: char| c.is_control() && c != '\n';
        assert!(!said.contains(raw), "a control character was printed: {said:?}");
    }
    finished
}

fn demo(folder: &Path, arguments: &[&OsStr]) -> Finished {
    let arguments = [&[OsStr::new("demo")], arguments].concat();
    run_in(folder, env!("CARGO_BIN_EXE_dockseal"), &arguments)
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// Runs the commands that the demo printed, as they are, in a shell; gives what `open` said.
fn run_printed(folder: &Path, demo: &Finished) -> Finished {
    let printed = |word: &str| {
        let mut lines = demo.stdout.lines().filter(|line| line.starts_with("  "));
        let line = lines.find(|line| line.contains(&format!(" {word} ")));
        line.unwrap_or_else(|| panic!("no command with {word}:\n{}", demo.stdout)).to_owned()
    };
    let [list, open] = [printed("list"), printed("open")]
        .map(|line| run_in(folder, "sh", &words(&["-c", &line])).expect_code(0));
    assert!(list.stdout.contains("clips could be listed"), "{}", list.stdout);
    open
}

/// All files beneath a folder: their names, which are all different here, and their bytes.
fn files(folder: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.file_name().unwrap().to_owned();
                assert!(found.insert(name, std::fs::read(path).unwrap()).is_none());
            }
        }
    }
    found
}

#[test]
fn a_demo_ends_with_every_clip_stored_and_opened_by_the_printed_command_twice() {
    let dir = scratch();
    let opened = dir.path().join("dockseal-demo/opened");
    let mut known = BTreeMap::new();
    for round in 1..=2 {
        let demo = demo(dir.path(), &[]).expect_code(0);
        assert!(demo.stdout.contains("\nOK: every clip is stored\n"), "{}", demo.stdout);
        let objects = format!("what the provider sees: {} sealed clips", 6 * round);
        assert!(demo.stdout.contains(&objects), "{}", demo.stdout);
        let open = run_printed(dir.path(), &demo);
        let again = open.stdout.lines().filter(|line| line.starts_with("was there already"));
        assert_eq!(again.count(), 6 * (round - 1), "{}", open.stdout);
        let files = files(&opened);
        assert_eq!(files.len(), 6 * round);
        assert!(known.iter().all(|(name, bytes)| files.get(name) == Some(bytes)));
        known = files;
    }
    let videos: Vec<_> =
        known.iter().filter(|(name, _)| name.as_bytes().ends_with(b".y4m")).collect();
    assert_eq!(videos.len(), 6);
    for (name, bytes) in videos {
        // Two seconds of 160×120: a header, and 50 frames of 28 800 bytes.
        assert!(bytes.starts_with(b"YUV4MPEG2 W160 H120 F25:1"), "{name:?}");
        assert!(bytes.len() > 50 * 28_800, "{name:?}");
    }
    let at = |name: &str| dir.path().join("dockseal-demo").join(name);
    assert!(files(&at("dock")).is_empty(), "no plaintext stays in the dock folder");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing outside of the demo's folder");
}

#[test]
fn clips_of_ones_own_come_back_byte_for_byte_and_stay_where_they_were() {
    let dir = scratch();
    let nasty = OsStr::from_bytes(NASTY);
    // Two of one name, an empty one, and names that a dock would take for unfinished files.
    let names: [&OsStr; 6] = [
        OsStr::new("a/clip.mp4"),
        OsStr::new("b/clip.mp4"),
        OsStr::new("empty.mp4"),
        OsStr::new("video.tmp"),
        OsStr::new("-rf.part"),
        nasty,
    ];
    let mut clips: Vec<PathBuf> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let clip = dir.path().join("mine").join(name);
        std::fs::create_dir_all(clip.parent().unwrap()).unwrap();
        let size = if *name == "empty.mp4" { 0 } else { 70_000 * number + 1 };
        std::fs::write(&clip, vec![number as u8; size]).unwrap();
        clips.push(clip);
    }
    // What a shell and a URL would trip over.
    let folder = dir.path().join("a demo & b's 100%");
    let mut arguments = vec![OsStr::new("--dir"), folder.as_os_str()];
    arguments.extend(clips.iter().map(|clip| clip.as_os_str()));
    for round in 1..=2 {
        let demo = demo(dir.path(), &arguments).expect_code(0);
        assert!(demo.stdout.contains("(6 files put in)"), "{}", demo.stdout);
        run_printed(dir.path(), &demo);
        let opened = files(&folder.join("opened"));
        assert_eq!(opened.len(), clips.len(), "round {round}: {:?}", opened.keys());
        for (name, clip) in names.iter().zip(&clips) {
            let name = match *name {
                name if name == "b/clip.mp4" => OsStr::new("2-clip.mp4"),
                name => Path::new(name).file_name().unwrap(),
            };
            assert_eq!(opened.get(name), Some(&std::fs::read(clip).unwrap()), "{name:?}");
        }
    }
}

#[test]
fn what_a_demo_cannot_take_is_told_before_anything_is_made() {
    let dir = scratch();
    let clip = dir.path().join("clip.mp4");
    std::fs::write(&clip, b"clip").unwrap();
    let folder = dir.path().join("a folder");
    std::fs::create_dir(&folder).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let missing = dir.path().join(OsString::from_vec([NASTY, b".missing"].concat()));
    for (bad, said) in [
        (missing.as_path(), "cannot find "),
        (folder.as_path(), "a folder is not a regular file"),
        (fifo.as_path(), "fifo is not a regular file"),
        (Path::new("/dev/null"), "/dev/null is not a regular file"),
        (Path::new(".."), ".. is not a regular file"),
    ] {
        let refused = demo(dir.path(), &[clip.as_os_str(), bad.as_os_str()]).expect_code(2);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        assert!(refused.stderr.contains("\ndockseal: hint: "), "{}", refused.stderr);
        assert!(!dir.path().join("dockseal-demo").exists());
    }
}

#[test]
fn a_folder_that_cannot_be_a_demos_is_refused() {
    let dir = scratch();
    let file = dir.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    for (bad, code) in [
        (dir.path().join(OsStr::from_bytes(NASTY)), 2),
        (dir.path().join("a\tb"), 2),
        (file.clone(), 1),
        (file.join("below"), 1),
    ] {
        let arguments = [OsStr::new("--dir"), bad.as_os_str()];
        let refused = demo(dir.path(), &arguments).expect_code(code);
        let hint = "hint: choose another folder with --dir";
        assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_may_not_be_written_to_is_refused() {
    crate::support::tools::needs!(Setpriv);
    let dir = scratch();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(&closed, mode).unwrap();
    let program = env!("CARGO_BIN_EXE_dockseal");
    let mut all = vec![program, "demo", "--dir"];
    if rustix::process::geteuid().is_root() {
        // Root is asked nothing, unless it has given that right away.
        let less = "-dac_override,-dac_read_search";
        all.splice(0..0, ["setpriv", "--bounding-set", less, "--inh-caps", less]);
    }
    for place in [closed.clone(), closed.join("demo")] {
        let arguments = [&words(&all[1..])[..], &[place.as_os_str()]].concat();
        let refused = run_in(dir.path(), all[0], &arguments).expect_code(1);
        assert!(refused.stderr.contains("ermission denied"), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: choose another folder"), "{}", refused.stderr);
    }
}

#[test]
fn a_demo_touches_nothing_that_no_demo_made() {
    // Each would be erased, overwritten, or mixed with what is sealed to a published key.
    for (name, is_folder) in [
        ("dock/camera/real.mp4", false),
        ("dock", true),
        ("bucket", true),
        ("state/queue.db", false),
        ("authority.identity", false),
        ("dockseal.toml", false),
        ("opened", true),
    ] {
        let dir = scratch();
        let path = dir.path().join(name);
        if is_folder {
            std::fs::create_dir_all(&path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"mine").unwrap();
        }
        let refused = demo(dir.path(), &words(&["--dir", "."])).expect_code(1);
        assert!(refused.stderr.contains("no demo made it"), "{name}: {}", refused.stderr);
        assert!(is_folder || std::fs::read(&path).unwrap() == b"mine", "{name}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
    }
    // Other files beside it are nobody's business.
    let dir = scratch();
    std::fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    demo(dir.path(), &words(&["--dir", "."])).expect_code(0);
    assert_eq!(std::fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}
