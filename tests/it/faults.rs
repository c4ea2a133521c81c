//! The fault table: what can go wrong between a dock and its bucket, each row at a real server.
//!
//! While a fault lasts, `status` and `list` name its cause. After it the clip arrives by itself: it
//! opens with the authority's key, there is one object for it, and nothing else stays behind.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::dock::{BucketConfig, Finished, authority};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::{SOON, Site, our_keys};
use crate::support::{scratch, wait_for};

mod answers;
mod clock;
mod drill;
mod full;
mod lines;
mod names;

/// What an operator finds in the cause, row by row: a word to look for, not the whole text.
mod words {
    pub const CUT: &str = "the line broke";
    pub const ERROR_IN_COMPLETION: &str = "the server failed";
    pub const ERROR_IN_SUCCESS: &str = "the server's answer";
    pub const MOVED: &str = "another address";
    pub const NOT_ALLOWED: &str = "the bucket refused";
    pub const NO_NAME: &str = "(DNS)";
    pub const NO_ROOM: &str = "Insufficient Storage";
    pub const NO_SERVER: &str = "cannot be reached";
    pub const SERVER_FAILED: &str = "the server failed";
    pub const SLOW_DOWN: &str = "slow down";
    pub const STALLED: &str = "stalled";
    pub const TOO_MANY: &str = "slow down";
    pub const UNKNOWN_AUTHORITY: &str = "certificate is not trusted (TLS)";
    pub const WEB_PAGE: &str = "a web page";
    pub const WEB_PAGE_IN_COMPLETION: &str = "a web page";
}

/// Whatever is left unfinished must be given up within this.
const LEFT_WITHIN: Duration = Duration::from_secs(15);
/// Sent in one request.
const SMALL: usize = 20_000;
/// Sent in parts, however fast the line is.
const LARGE: usize = 34 << 20;

/// A dock with a bucket at the shared SeaweedFS, reached through something that can fail.
struct Scene {
    site: Site,
    url: String,
    /// What was put so far, by name.
    clips: Vec<(String, Vec<u8>)>,
}

impl Scene {
    /// Without a daemon yet. `endpoint` is what the dock is told.
    fn new(test: &str, endpoint: &str) -> Scene {
        Scene::with(test, endpoint, |_| {})
    }

    fn with(test: &str, endpoint: &str, change: impl FnOnce(&mut BucketConfig)) -> Scene {
        let url = Seaweed::shared().url(test);
        let mut bucket = BucketConfig::s3(endpoint, &url);
        change(&mut bucket);
        let site = Site::with(|choices| choices.buckets = vec![bucket]);
        Scene { site, url, clips: vec![] }
    }

    /// As [`Scene::new`], with a running daemon.
    fn started(test: &str, endpoint: &str) -> Scene {
        let mut scene = Scene::new(test, endpoint);
        scene.site.dock.start();
        scene
    }

    /// One more clip of so many bytes that no other one has.
    fn put(&mut self, size: usize) {
        let number = self.clips.len();
        let content: Vec<u8> =
            (0..size as u64).map(|at| (at.wrapping_mul(31 + number as u64) >> 3) as u8).collect();
        let name = format!("clip-{number}.mp4");
        self.site.put(&name, &content);
        self.clips.push((name, content));
    }

    /// What `status` says of the bucket, and `list` of each clip that waits for it.
    fn causes(&self) -> (Option<String>, Vec<String>) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let problem = text(&self.site.dock.json(&["status"])["buckets"][0]["problem"]);
        let clips = self.site.clips();
        let held = clips.iter().map(|clip| &clip["deliveries"][0]["hold"]["cause"]);
        (problem, held.filter_map(text).collect())
    }

    /// Waits until both say the word, and something keeps the fault going meanwhile.
    #[track_caller]
    fn names_while(&mut self, word: &str, mut meanwhile: impl FnMut()) {
        let started = std::time::Instant::now();
        loop {
            meanwhile();
            assert!(self.site.dock.is_running(), "the daemon ended");
            let causes = self.causes();
            let says = |text: &String| text.contains(word);
            if causes.0.as_ref().is_some_and(says) && causes.1.iter().any(says) {
                return;
            }
            assert!(started.elapsed() < SOON, "no {word:?} in {causes:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until both say the word.
    #[track_caller]
    fn names(&mut self, word: &str) {
        self.names_while(word, || {});
    }

    /// All clips arrive by themselves, each as one object that opens to what it was, and nothing
    /// else stays at the server.
    #[track_caller]
    fn arrives(&mut self) {
        self.site.wait_for_count("erased", self.clips.len() as u64);
        let (problem, held) = self.causes();
        assert!(held.is_empty(), "{held:?}");
        assert_eq!(problem, None);
        let server = Seaweed::shared();
        // Waited for: what a dock tries at a store that it meets again may be under way just now.
        let none_left = || server.uploads(&self.url).is_empty().then_some(());
        wait_for("the end of all uploads", LEFT_WITHIN, none_left);
        let keys = server.keys(&self.url);
        let clips: Vec<_> = keys.iter().filter(|key| key.contains("/clips/")).collect();
        assert_eq!(clips.len(), self.clips.len(), "objects: {keys:?}");
        let folder = scratch();
        let (out, identity) = (folder.path(), our_keys().identity_file.clone());
        let option = format!("aws_endpoint={}", server.endpoint());
        let mut open = authority(Login::Admin, &["open", &self.url, "-o", &option, "--json"]);
        open.arg("--identity").arg(identity).arg("--out").arg(out);
        Finished::new(open.output().unwrap()).expect_code(0);
        for (name, content) in &self.clips {
            let opened = std::fs::read(out.join(name)).unwrap();
            assert!(&opened == content, "{name} opens to something else");
        }
    }
}

/// A file of the test's own, beside everything else.
fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}
