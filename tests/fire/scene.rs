//! A dock with clips that are known to the byte, and a bucket that can be looked into.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::chance::Random;
use crate::support::dock::{BucketConfig, Choices, Finished, authority};
use crate::support::markers::Marker;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::{Site, our_keys};
use crate::support::{files_beneath, scratch, sha256, sha256_if_there};

/// Sealed in one block, and in several.
const SIZES: [usize; 3] = [3_000, 5_000, 300_000];
/// Sent in parts, for no request said yet how fast the line is.
const LARGE: usize = 14 << 20;

/// Runs the daemon until nothing is left to do.
pub const RUN: [&str; 2] = ["run", "--until-idle"];

/// Where the bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder,
    /// A SeaweedFS, with put-only rights; one clip goes there in parts.
    S3,
}

/// A clip as the camera left it.
pub struct Clip {
    /// Beneath the watch folder.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: String,
}

/// A dock and all that the test knows of it.
pub struct Scene {
    /// The dock.
    pub site: Site,
    /// What was put into its folder, in order.
    pub clips: Vec<Clip>,
    /// In the bytes of each clip, and in its name: what must not be found elsewhere.
    pub markers: [Marker; 2],
    /// Where clips come from: the dock folder, or what is mounted there.
    pub source: PathBuf,
    marks: [String; 2],
    random: Random,
    /// The URL, where the bucket is no folder.
    s3: Option<String>,
    logs: AtomicU32,
}

impl Scene {
    /// With three clips.
    pub fn new(random: Random, place: Place) -> Scene {
        let mut scene = Scene::empty(random, place, |_| {});
        scene.put_three();
        if place == Place::S3 {
            scene.put(LARGE);
        }
        scene
    }

    /// Without a clip, and with other choices.
    pub fn empty(random: Random, place: Place, change: impl FnOnce(&mut Choices)) -> Scene {
        let scene = Scene::bare(random, place, change);
        scene.site.dock.init();
        scene
    }

    /// As [`Scene::empty`], without `dockseal init`.
    pub fn bare(random: Random, place: Place, change: impl FnOnce(&mut Choices)) -> Scene {
        let s3 = (place == Place::S3).then(|| Seaweed::shared().url(&format!("{}", random.seed())));
        let site = Site::bare(|choices| {
            if let Some(url) = &s3 {
                choices.buckets = vec![BucketConfig::s3(&Seaweed::shared().endpoint(), url)];
            }
            change(choices);
        });
        let mut random = random;
        let marks = [(); 2].map(|()| format!("CANARY-{:016x}", random.next()));
        let markers = marks.each_ref().map(|mark| Marker::new(mark));
        let (source, logs) = (site.dock.folder(), AtomicU32::new(0));
        Scene { site, clips: vec![], markers, source, marks, random, s3, logs }
    }

    /// Three clips, tiny and small.
    pub fn put_three(&mut self) {
        SIZES.into_iter().for_each(|size| self.put(size));
    }

    /// One more clip, which appears at once and whole.
    pub fn put(&mut self, size: usize) {
        let number = self.clips.len();
        let [content, name] = &self.marks;
        let mut bytes = format!("{content} {number} ").into_bytes();
        bytes.extend(self.random.bytes(size));
        bytes.extend(content.as_bytes());
        let path = PathBuf::from(format!("cam-{}/{name}-{number}.mp4", number % 2));
        let target = self.source.join(&path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        // A name that is passed over until it has its last one.
        let unfinished = self.source.join(format!("{name}.part"));
        std::fs::write(&unfinished, &bytes).unwrap();
        let digest = sha256(&unfinished);
        std::fs::rename(unfinished, target).unwrap();
        self.clips.push(Clip { path, digest });
    }

    /// `dockseal ARGUMENTS`, run by another program. What it says goes into the log.
    pub fn run_by(&self, wrapper: &[&str], arguments: &[&str]) -> (Command, PathBuf) {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        let log = self.site.dock.log_dir().join(format!("run-{number:03}"));
        let mut command = self.site.dock.wrapped(wrapper, arguments);
        command.stdout(Stdio::null()).stderr(File::create_new(&log).unwrap());
        (command, log)
    }

    /// Whether a file belongs to the scene, the log aside.
    pub fn has(&self, path: &Path) -> bool {
        let beside = self.site.outside();
        let roots = [self.site.dock.folder(), self.site.dock.state_dir(), self.site.bucket()];
        roots.iter().any(|root| path.starts_with(root)) || path.starts_with(beside)
    }

    /// The digests of what lies in the dock folder, in quarantine or not. Beside a daemon, what was
    /// listed may be erased by now.
    pub fn plaintexts(&self) -> Vec<String> {
        files_beneath(&self.source).iter().filter_map(|path| sha256_if_there(path)).collect()
    }

    /// The keys of all objects in the bucket.
    pub fn keys(&self) -> Vec<String> {
        if let Some(url) = &self.s3 {
            return Seaweed::shared().keys(url);
        }
        let bucket = self.site.bucket();
        let key = |path: &PathBuf| path.strip_prefix(&bucket).unwrap().display().to_string();
        files_beneath(&bucket).iter().map(key).collect()
    }

    /// The bucket, as a folder to be searched: of an S3 server all but the clips.
    pub fn objects(&self) -> (PathBuf, Option<tempfile::TempDir>) {
        let Some(url) = &self.s3 else { return (self.site.bucket(), None) };
        let folder = scratch();
        for key in self.keys() {
            let to = folder.path().join(key.replace('/', "!"));
            match key.contains("/clips/") {
                true => std::fs::write(to, b"").unwrap(),
                false => Seaweed::shared().fetch(url, &key, &to),
            }
        }
        (folder.path().to_owned(), Some(folder))
    }

    /// The digests of all clips that the authority opens from the bucket.
    pub fn opened(&self) -> Vec<String> {
        let out = scratch();
        let folder = format!("file://{}", self.site.bucket().display());
        let url = self.s3.as_ref().unwrap_or(&folder);
        let mut open = authority(Login::Admin, &["open", url, "--json"]);
        if self.s3.is_some() {
            open.arg("-o").arg(format!("aws_endpoint={}", Seaweed::shared().endpoint()));
        }
        open.arg("--identity").arg(&our_keys().identity_file).arg("--out").arg(out.path());
        // A clip that is there twice is opened once, and refused the second time: the caller
        // compares what came out.
        let done = Finished::new(open.output().unwrap());
        assert!([0, 1, 3].contains(&done.code), "{done:#?}");
        files_beneath(out.path()).iter().map(|path| sha256(path)).collect()
    }

    /// `list --json`.
    pub fn listed(&self) -> Vec<Value> {
        self.site.clips()
    }
}
