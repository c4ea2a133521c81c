//! The config file, parsed once into values that cannot be wrong.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::edge::fs::name_matches;
use crate::envelope::recipient::{Recipient, Recipients};
use crate::note::VerifierKey;

mod parse;
mod timetable;

pub use parse::parse_seconds;
pub use timetable::{Timetable, parse_rate};

/// The folder, at the top of each medium, through which clips leave when they are erased.
pub const QUARANTINE: &str = ".dockseal-erasing";

/// A whole config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The dock's name, unique within the authority; the bucket's first folder.
    pub dock: String,
    /// Where queue, spool and lock lie.
    pub state_dir: PathBuf,
    /// Who says whom clips are sealed to.
    pub keys: Keys,
    /// The dock folders.
    pub watches: Vec<Watch>,
    /// The buckets.
    pub buckets: Vec<BucketConfig>,
    /// How fast bytes may leave the dock, all buckets together.
    pub limit: Timetable,
    /// How much the first push after a start is spread, so that many docks do not come at once.
    pub start_spread_seconds: u64,
    /// How long a sealed file stays in the spool after every required receipt.
    pub keep_sealed_seconds: u64,
    /// How often each folder is looked through, whatever was notified.
    pub rescan_seconds: u64,
    /// How often the log is published at least, also when nothing happened.
    pub heartbeat_seconds: u64,
    /// How often the dock says how it is, beside its log; 0 is never.
    pub status_seconds: u64,
    /// Who cosigns the log's checkpoints.
    pub witness: Option<Witness>,
    /// Where a monitor may ask for figures; nowhere unless configured.
    pub metrics_listen: Option<SocketAddr>,
}

/// Who says whom clips are sealed to.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// The config itself.
    Here(Recipients),
    /// The authority, by its signed keyring.
    Keyring {
        /// The file that it is taken from.
        file: PathBuf,
        /// The pinned root.
        authority: VerifierKey,
    },
}

/// A witness that cosigns the log's checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// Where it listens.
    pub url: String,
    /// Its key.
    pub key: VerifierKey,
}

/// When plaintext is removed from a dock folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EraseWhen {
    /// Once every required bucket gave a sufficient receipt.
    WhenStored,
    /// Once the sealed file is durable in the spool and source and spool were read again and agree.
    WhenSealed,
    /// By somebody else.
    Never,
}

/// One dock folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The folder.
    pub path: PathBuf,
    /// How the manifest's camera is named.
    pub camera: Option<CameraRule>,
    /// How long a file must be unchanged before it is taken as finished.
    pub settle_seconds: u64,
    /// When its clips are erased.
    pub erase: EraseWhen,
    /// Patterns of paths whose clips are pushed before others.
    pub first: Vec<String>,
    /// Patterns of names that are not clips, because they are not finished.
    pub ignore: Vec<String>,
    /// A clip is finished when a file of its name and this suffix lies beside it.
    pub completion_marker: Option<String>,
}

impl Watch {
    /// Whether the clip at `path` beneath the watch folder is pushed before others.
    ///
    /// `*` stands for any bytes, `/` among them. A pattern may begin with the watch folder's own
    /// slash: `*/urgent/*` is a folder `urgent` at any depth, `/urgent/*` the one at the top.
    pub fn is_first(&self, path: &Path) -> bool {
        let rooted = Path::new("/").join(path);
        let matches = |pattern: &String| {
            name_matches(pattern, path.as_os_str()) || name_matches(pattern, rooted.as_os_str())
        };
        self.first.iter().any(matches)
    }

    /// Whether a name is one of an unfinished file, or a completion marker.
    pub fn ignores(&self, name: &OsStr) -> bool {
        let marker = self.completion_marker.as_ref().map(|suffix| format!("*{suffix}"));
        self.ignore.iter().chain(marker.as_ref()).any(|pattern| name_matches(pattern, name))
    }
}

/// How the camera's name is made from the path: text in which `{1}` is the first folder below the
/// watch folder, `{2}` the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraRule(Vec<CameraPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum CameraPart {
    Text(String),
    Folder(usize),
}

impl CameraRule {
    fn parse(rule: &str) -> Result<CameraRule, String> {
        let mut parts = Vec::new();
        let mut rest = rule;
        while let Some((text, after)) = rest.split_once('{') {
            let (number, after) = after.split_once('}').ok_or("`{` without `}`")?;
            let number: usize =
                number.parse().map_err(|_| format!("`{{{number}}}`: not a number"))?;
            if number == 0 {
                return Err("folders are counted from {1}".into());
            }
            parts.push(CameraPart::Text(text.to_owned()));
            parts.push(CameraPart::Folder(number));
            rest = after;
        }
        parts.push(CameraPart::Text(rest.to_owned()));
        Ok(CameraRule(parts))
    }

    /// The camera of the clip at `path` below the watch folder; `None` where it lies less deep.
    pub fn camera(&self, path: &Path) -> Option<String> {
        let folders: Vec<_> = path.parent()?.components().map(Component::as_os_str).collect();
        let mut camera = String::new();
        for part in &self.0 {
            match part {
                CameraPart::Text(text) => camera.push_str(text),
                CameraPart::Folder(number) => {
                    camera.push_str(&folders.get(number - 1)?.to_string_lossy());
                }
            }
        }
        Some(camera)
    }
}

/// One bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketConfig {
    /// Its name in the queue, the CLI and the logs.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Options as `object_store` names them; no secrets.
    pub options: BTreeMap<String, String>,
    /// A file of `option = value` lines with the secrets.
    pub credentials_file: Option<PathBuf>,
    /// Whether a clip counts as stored only with its receipt.
    pub required: bool,
    /// Whether a bare acknowledgement is enough to erase a clip.
    pub trust_acknowledgement: bool,
    /// How fast bytes may leave for it.
    pub limit: Timetable,
    /// Most clips that are on their way to it at the same time.
    pub uploads: usize,
}

impl BucketConfig {
    /// The folder of a `file://` bucket.
    pub fn folder(&self) -> Option<PathBuf> {
        let url = url::Url::parse(&self.url).ok().filter(|url| url.scheme() == "file");
        url.and_then(|url| url.to_file_path().ok())
    }
}

impl Config {
    /// The watch folder of this path.
    pub fn watch(&self, folder: &Path) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.path == folder)
    }

    /// The bucket of this name.
    pub fn bucket(&self, name: &str) -> Option<&BucketConfig> {
        self.buckets.iter().find(|bucket| bucket.name == name)
    }

    /// Whether clips would be sealed to a key whose private half is published.
    pub fn has_example_recipient(&self) -> bool {
        match &self.keys {
            Keys::Here(recipients) => recipients.iter().any(Recipient::is_example),
            // Looked at whenever a keyring is taken.
            Keys::Keyring { .. } => false,
        }
    }
}

/// One mistake in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl Problem {
    fn at(text: &str, span: &Range<usize>, message: String) -> Problem {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.replace('\n', " "),
        }
    }
}

/// Everything that is wrong with a config file.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, column, message }) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_first_clips_is_one_of_paths() {
        let is_first = |pattern: &str, path: &str| {
            let config = format!(
                "dock = \"d-1\"\nstate_dir = \"/s\"\nrecipients = \
                 [\"age1j9mdfsjntxpqyyucjy7zw730ysdl4zduphj8kdvk4nj78smklc9sysfnem\"]\n\
                 [[watch]]\npath = \"/d\"\nerase = \"never\"\nfirst = [\"x\", \"{pattern}\"]"
            );
            let config = Config::parse(&config).expect("well formed");
            config.watches[0].is_first(Path::new(path))
        };
        for (pattern, path, expected) in [
            ("*/urgent/*", "urgent/a.mp4", true),
            ("*/urgent/*", "cam-1/urgent/b/a.mp4", true),
            ("*/urgent/*", "not-urgent/a.mp4", false),
            ("/urgent/*", "urgent/a.mp4", true),
            ("/urgent/*", "cam-1/urgent/a.mp4", false),
            ("urgent/*", "urgent/a.mp4", true),
            ("*.flagged.mp4", "cam-1/a.flagged.mp4", true),
            ("*.flagged.mp4", "cam-1/a.flagged.mp4.txt", false),
            ("y", "x", true),
            ("y", "cam-1/x", false),
        ] {
            assert_eq!(is_first(pattern, path), expected, "{pattern} {path}");
        }
    }
}
