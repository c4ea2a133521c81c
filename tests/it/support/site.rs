//! A dock with a folder as its bucket and the keys of its authority: all a test needs, no servers.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use tempfile::TempDir;

use super::dock::{BucketConfig, Choices, Dock, Finished, authority, give_to_nobody};
use super::peers::{Keys, keys};
use super::seaweed::Login;

/// Small clips pass a dock in about a second; two cores are shared by many tests.
pub const SOON: Duration = Duration::from_secs(60);

/// A pair of keys, made once for all tests by our own program.
pub fn our_keys() -> &'static Keys {
    static KEYS: OnceLock<(TempDir, Keys)> = OnceLock::new();
    let (_, keys) = KEYS.get_or_init(|| {
        let dir = super::scratch();
        let file = dir.path().join("authority.identity");
        let made = authority(Login::Admin, &["keygen"]).arg(&file).output().expect("it starts");
        assert!(made.status.success(), "{made:?}");
        (dir, keys(file))
    });
    keys
}

/// A dock, its bucket and its authority.
pub struct Site {
    /// The dock; `dockseal init` was run.
    pub dock: Dock,
    /// What its config was made of.
    pub choices: Choices,
    beside: TempDir,
}

impl Site {
    /// With a folder as bucket. Looks through its folder every second, and takes a file as
    /// finished at the first look.
    pub fn new() -> Site {
        Site::with(|_| {})
    }

    /// As [`Site::new`], with other choices.
    pub fn with(change: impl FnOnce(&mut Choices)) -> Site {
        let site = Site::bare(change);
        site.dock.init();
        site
    }

    /// As [`Site::with`], without `dockseal init`.
    pub fn bare(change: impl FnOnce(&mut Choices)) -> Site {
        let beside = super::scratch();
        let bucket = beside.path().join("bucket");
        std::fs::create_dir(&bucket).expect("scratch can be written");
        std::fs::create_dir(beside.path().join("outside")).expect("scratch can be written");
        let mut choices = Choices::new(&our_keys().recipient, BucketConfig::folder(&bucket));
        choices.settle_seconds = 0;
        choices.more = "rescan_seconds = 1".into();
        change(&mut choices);
        Site { dock: Dock::new(&choices), choices, beside }
    }

    /// Copies the state directory, as a backup, or somebody with evil in mind, does.
    pub fn copy_state(&self, to: &Path) {
        let copied = Command::new("cp").arg("-a").arg(self.dock.state_dir()).arg(to).status();
        assert!(copied.expect("cp starts").success());
    }

    /// The folder of the dock's only log in the bucket, or of the newest one.
    pub fn log_folders(&self) -> Vec<PathBuf> {
        let logs = std::fs::read_dir(self.bucket().join("test-dock-1/log")).expect("published");
        logs.map(|log| log.expect("readable").path()).collect()
    }

    /// The folder that is the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.beside.path().join("bucket")
    }

    /// A folder that is nobody's business but the test's.
    pub fn outside(&self) -> PathBuf {
        self.beside.path().join("outside")
    }

    /// Takes the bucket away, so that pushes wait.
    pub fn take_bucket_away(&self) {
        std::fs::rename(self.bucket(), self.beside.path().join("away")).expect("it was there");
    }

    /// Gives the bucket back, and has what waits for it tried at once.
    pub fn give_bucket_back(&self) {
        std::fs::rename(self.beside.path().join("away"), self.bucket()).expect("it was away");
        self.dock.finish(&["retry", "--all"]).expect_code(0);
    }

    /// Lets the dock run as a user without rights, who owns all that is here so far. Needs
    /// `Setpriv`, and root.
    pub fn give_to_nobody(&mut self) {
        self.dock.run_as_nobody();
        give_to_nobody(self.beside.path());
    }

    /// Writes a file beneath the watch folder, and the folders on the way.
    pub fn put(&self, path: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.dock.folder().join(path);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
        std::fs::write(&path, content).expect("written");
        path
    }

    /// `list --json` of all clips, in the order in which they were found.
    pub fn clips(&self) -> Vec<Value> {
        let list = self.dock.json(&["list", "--limit", "0"]);
        let mut clips = list["clips"].as_array().expect("a list").clone();
        clips.reverse();
        clips
    }

    /// The clip at a path beneath the watch folder.
    pub fn clip(&self, path: impl AsRef<Path>) -> Option<Value> {
        let wanted = STANDARD.encode(self.dock.folder().join(path).as_os_str().as_bytes());
        self.clips().into_iter().find(|clip| clip["path_base64"] == wanted.as_str())
    }

    /// Waits until the clip at a path, or its delivery, is held for a reason; gives the clip.
    #[track_caller]
    pub fn wait_for_hold(&mut self, path: impl AsRef<Path>, reason: &str) -> Value {
        let what = format!("the hold {reason}");
        super::wait_for(&what, SOON, || {
            let clip = self.clip(&path)?;
            holds(&clip).contains(&reason).then_some(clip)
        })
    }

    /// Waits until so many clips are in a state.
    #[track_caller]
    pub fn wait_for_count(&mut self, state: &str, count: u64) {
        let what = format!("{count} clips to be {state}");
        self.dock.wait_for_json(&what, &["status"], SOON, |status| {
            let states = status["states"].as_array().expect("a list");
            let line = states.iter().find(|line| line["state"] == state).expect("all states");
            line["count"] == count
        });
    }

    /// Every clip in the bucket as the authority gets it: path beneath the watch folder, content.
    pub fn opened(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let url = format!("file://{}", self.bucket().display());
        let key = our_keys().identity_file.to_str().expect("UTF-8");
        let list = authority(Login::Admin, &["list", &url, "--json", "-i", key]).output();
        let list = Finished::new(list.expect("it starts")).expect_code(0).json();
        let clips = list["clips"].as_array().expect("a list").iter();
        let mut opened: Vec<_> = clips
            .map(|clip| {
                let object = self.bucket().join(clip["key"].as_str().expect("a key"));
                let file = object.to_str().expect("UTF-8");
                let open = authority(Login::Admin, &["open", file, "-i", key, "--out", "-"]);
                (path_in_manifest(&clip["manifest"]), content_of(open))
            })
            .collect();
        opened.sort();
        opened
    }

    /// Asserts that the bucket holds exactly these clips.
    #[track_caller]
    pub fn assert_opened<P: AsRef<Path>>(&self, expected: &[(P, &[u8])]) {
        let mut expected: Vec<_> =
            expected.iter().map(|(path, bytes)| (path.as_ref().to_owned(), *bytes)).collect();
        expected.sort();
        let opened = self.opened();
        let opened: Vec<_> = opened.iter().map(|(path, b)| (path.clone(), b.as_slice())).collect();
        let short = |clips: &[(PathBuf, &[u8])]| -> Vec<_> {
            clips.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect()
        };
        let same = opened == expected;
        assert!(same, "opened {:?}\nexpected {:?}", short(&opened), short(&expected));
    }

    /// Everything that the desk has to say, each command with what it printed.
    pub fn desk(&self) -> Vec<(String, Finished)> {
        let mut commands: Vec<String> = ["status", "list --limit 0", "list --held", "check"]
            .iter()
            .flat_map(|command| [(*command).to_owned(), format!("{command} --json")])
            .collect();
        for clip in self.clips() {
            commands.push(format!("show {}", clip["number"]));
            commands.push(format!("show {} --json", clip["number"]));
        }
        let say = |command: String| {
            let words: Vec<&str> = command.split(' ').collect();
            let finished = self.dock.finish(&words);
            (command, finished)
        };
        commands.into_iter().map(say).collect()
    }

    /// Asserts that nothing that was said can do more to a terminal than write on it, and that
    /// no part of a name, which each of the test's file names has, is in the log.
    #[track_caller]
    pub fn assert_clean_words(&self, part_of_names: &str) {
        for (command, said) in self.desk() {
            for (stream, text) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
                assert!(is_harmless(text), "{command} on {stream}: {text:?}");
            }
        }
        let log = self.dock.log();
        assert!(is_harmless(&log), "the log: {log:?}");
        assert!(!log.is_empty() && !log.contains(part_of_names), "the log has a name:\n{log}");
    }
}

/// The reasons for which a clip or one of its deliveries waits.
pub fn holds(clip: &Value) -> Vec<&str> {
    let deliveries = clip["deliveries"].as_array().expect("a list");
    let holds = deliveries.iter().map(|delivery| &delivery["hold"]).chain([&clip["hold"]]);
    holds.filter_map(|hold| hold["reason"].as_str()).collect()
}

/// Whether a terminal shows the text as it is: no escape sequence, no mark that reorders it.
pub fn is_harmless(text: &str) -> bool {
    let reorders = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    text.chars().all(|c| c == '\n' || !(c.is_control() || reorders(c)))
}

/// Counts how often each content is there.
pub fn counted(opened: &[(PathBuf, Vec<u8>)]) -> BTreeMap<&[u8], usize> {
    let mut counted = BTreeMap::new();
    for (_, content) in opened {
        *counted.entry(content.as_slice()).or_default() += 1;
    }
    counted
}

fn path_in_manifest(manifest: &Value) -> PathBuf {
    let name = |value: &Value| match value["name_base64"].as_str() {
        Some(text) => {
            dockseal::clip::path_from_bytes(STANDARD_NO_PAD.decode(text).expect("base64"))
        }
        None => PathBuf::from(value["name"].as_str().expect("text")),
    };
    name(&manifest["folder"]).join(name(manifest))
}

fn content_of(mut command: Command) -> Vec<u8> {
    let opened = command.stdout(Stdio::piped()).output().expect("it starts");
    if !opened.status.success() {
        // Captured with the test's own output, and shown with it.
        std::io::stderr().write_all(&opened.stderr).expect("standard error is open");
        panic!("the authority cannot open a clip of the bucket");
    }
    opened.stdout
}
