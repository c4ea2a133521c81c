//! The config file, parsed once into values that cannot be wrong.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::edge::credentials;
use crate::edge::fs::name_matches;
use crate::envelope::recipient::{Recipient, Recipients};

/// The published recipients of `keys-example/`: anybody has their private halves. The demo seals
/// to them, and `run` refuses them.
pub const EXAMPLE_RECIPIENTS: [&str; 2] = [
    include_str!("../../keys-example/authority.recipient").trim_ascii_end(),
    include_str!("../../keys-example/classic.recipient").trim_ascii_end(),
];

/// The folder, at the top of each medium, through which clips leave when they are erased.
pub const QUARANTINE: &str = ".dockseal-erasing";

/// Names that copy tools give to unfinished files.
const IGNORE_DEFAULT: [&str; 5] = ["*.part", "*.tmp", ".~*", "*.filepart", "*.crdownload"];
const SETTLE_SECONDS_DEFAULT: u64 = 5;
const RESCAN_SECONDS_DEFAULT: u64 = 60;
/// A name is part of every object's key, and of the queue's.
const NAME_LENGTH_MAX: usize = 64;

/// A whole config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The dock's name, unique within the authority; the bucket's first folder.
    pub dock: String,
    /// Where queue, spool and lock lie.
    pub state_dir: PathBuf,
    /// Whom clips are sealed to.
    pub recipients: Recipients,
    /// The dock folders.
    pub watches: Vec<Watch>,
    /// The buckets.
    pub buckets: Vec<BucketConfig>,
    /// How long a sealed file stays in the spool after every required receipt.
    pub keep_sealed_seconds: u64,
    /// How often each folder is looked through, whatever was notified.
    pub rescan_seconds: u64,
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
    /// Patterns of names that are not clips, because they are not finished.
    pub ignore: Vec<String>,
    /// A clip is finished when a file of its name and this suffix lies beside it.
    pub completion_marker: Option<String>,
}

impl Watch {
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
}

impl BucketConfig {
    /// The folder of a `file://` bucket.
    pub fn folder(&self) -> Option<PathBuf> {
        let url = url::Url::parse(&self.url).ok().filter(|url| url.scheme() == "file");
        url.and_then(|url| url.to_file_path().ok())
    }
}

impl Config {
    /// Parses the text of a config file. Every problem found is reported, not only the first.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            ConfigError { problems: vec![Problem::at(text, &span, error.message().to_owned())] }
        })?;
        let mut check = Check { text, problems: Vec::new() };
        let config = check.config(raw);
        match config {
            Some(config) if check.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: check.problems }),
        }
    }

    /// The watch folder of this path.
    pub fn watch(&self, folder: &Path) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.path == folder)
    }

    /// Whether clips would be sealed to a key whose private half is published.
    pub fn has_example_recipient(&self) -> bool {
        self.recipients.iter().any(|r| EXAMPLE_RECIPIENTS.contains(&r.to_string().as_str()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dock: Spanned<String>,
    state_dir: Spanned<PathBuf>,
    recipients: Spanned<Vec<Spanned<String>>>,
    keep_sealed: Option<Spanned<String>>,
    rescan_seconds: Option<Spanned<u64>>,
    watch: Spanned<Vec<RawWatch>>,
    #[serde(default)]
    bucket: Vec<RawBucket>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWatch {
    path: Spanned<PathBuf>,
    camera: Option<Spanned<String>>,
    settle_seconds: Option<Spanned<u64>>,
    erase: Option<Spanned<EraseWhen>>,
    ignore: Option<Vec<String>>,
    completion_marker: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBucket {
    name: Spanned<String>,
    url: Spanned<String>,
    #[serde(default)]
    options: BTreeMap<String, Spanned<String>>,
    credentials_file: Option<Spanned<PathBuf>>,
    required: Option<bool>,
    trust_acknowledgement: Option<bool>,
}

/// Collects problems while the raw values become checked ones.
struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn wrong<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.problems.push(Problem::at(self.text, &at.span(), message.into()));
    }

    fn config(&mut self, raw: Raw) -> Option<Config> {
        self.name(&raw.dock);
        self.absolute(&raw.state_dir);
        let recipients = self.recipients(&raw.recipients);
        if raw.watch.get_ref().is_empty() {
            self.wrong(&raw.watch, "at least one [[watch]] is needed");
        }
        let buckets: Vec<_> = raw.bucket.iter().map(|bucket| self.bucket(bucket)).collect();
        for (index, bucket) in raw.bucket.iter().enumerate() {
            let name = bucket.name.get_ref();
            if raw.bucket[..index].iter().any(|other| other.name.get_ref() == name) {
                self.wrong(&bucket.name, format!("bucket `{name}` is there twice"));
            }
        }
        let has_required = buckets.iter().any(|bucket| bucket.required);
        let mut watches = Vec::new();
        for watch in raw.watch.get_ref() {
            self.folders_apart(&watch.path, &watches, &raw.state_dir, &buckets);
            let checked = self.watch(watch);
            if checked.erase != EraseWhen::Never && !has_required {
                let message = "no bucket is required, so erasing would lose clips: add a \
                               [[bucket]], or set erase = \"never\"";
                self.wrong(&watch.path, message);
            }
            watches.push(checked);
        }
        let keep_sealed_seconds = match &raw.keep_sealed {
            None => 0,
            Some(text) => parse_seconds(text.get_ref()).unwrap_or_else(|| {
                self.wrong(text, "expected a duration such as \"0s\", \"12h\" or \"30d\"");
                0
            }),
        };
        let rescan_seconds = self.seconds(raw.rescan_seconds, RESCAN_SECONDS_DEFAULT, 1..86_401);
        Some(Config {
            dock: raw.dock.into_inner(),
            state_dir: raw.state_dir.into_inner(),
            recipients: recipients?,
            watches,
            buckets,
            keep_sealed_seconds,
            rescan_seconds,
        })
    }

    fn name(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > NAME_LENGTH_MAX || !text.chars().all(allowed) {
            let message = format!("expected 1 to {NAME_LENGTH_MAX} of a-z A-Z 0-9 - _ .");
            self.wrong(name, message);
        } else if text.starts_with('.') {
            self.wrong(name, "a name must not begin with a dot");
        }
    }

    fn absolute(&mut self, path: &Spanned<PathBuf>) {
        let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
        if !path.get_ref().is_absolute() || !path.get_ref().components().all(plain) {
            self.wrong(path, "expected an absolute path without `..`");
        }
    }

    fn recipients(&mut self, raw: &Spanned<Vec<Spanned<String>>>) -> Option<Recipients> {
        let mut recipients = Vec::new();
        for text in raw.get_ref() {
            match text.get_ref().parse::<Recipient>() {
                Ok(recipient) => recipients.push(recipient),
                Err(error) => self.wrong(text, format!("not a recipient: {error}")),
            }
        }
        if recipients.len() < raw.get_ref().len() {
            return None;
        }
        Recipients::new(recipients).map_err(|error| self.wrong(raw, error.to_string())).ok()
    }

    fn seconds(&mut self, raw: Option<Spanned<u64>>, default: u64, range: Range<u64>) -> u64 {
        let Some(seconds) = raw else { return default };
        if !range.contains(seconds.get_ref()) {
            let message = format!("expected {} to {} seconds", range.start, range.end - 1);
            self.wrong(&seconds, message);
        }
        seconds.into_inner()
    }

    /// A folder inside another one would be sealed twice, or sealed files sealed again.
    fn folders_apart(
        &mut self,
        path: &Spanned<PathBuf>,
        earlier: &[Watch],
        state_dir: &Spanned<PathBuf>,
        buckets: &[BucketConfig],
    ) {
        let overlap = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
        let path_text = path.get_ref();
        for watch in earlier {
            if overlap(&watch.path, path_text) {
                self.wrong(path, format!("overlaps the watch folder {}", watch.path.display()));
            }
        }
        if overlap(state_dir.get_ref(), path_text) {
            self.wrong(path, "overlaps state_dir: sealed clips would be sealed again");
        }
        for bucket in buckets {
            if bucket.folder().is_some_and(|folder| overlap(&folder, path_text)) {
                let message = format!("overlaps the folder of bucket `{}`", bucket.name);
                self.wrong(path, message);
            }
        }
    }

    fn watch(&mut self, raw: &RawWatch) -> Watch {
        self.absolute(&raw.path);
        let camera = raw.camera.as_ref().and_then(|rule| {
            CameraRule::parse(rule.get_ref()).map_err(|why| self.wrong(rule, why)).ok()
        });
        let marker = raw.completion_marker.as_ref();
        if let Some(marker) = marker
            && (marker.get_ref().is_empty() || marker.get_ref().contains(['/', '*']))
        {
            self.wrong(marker, "expected a suffix such as \".done\"");
        }
        let settle = raw.settle_seconds.clone();
        Watch {
            path: raw.path.get_ref().clone(),
            camera,
            settle_seconds: self.seconds(settle, SETTLE_SECONDS_DEFAULT, 0..86_401),
            erase: raw.erase.as_ref().map_or(EraseWhen::WhenStored, |erase| *erase.get_ref()),
            ignore: raw.ignore.clone().unwrap_or_else(|| IGNORE_DEFAULT.map(Into::into).into()),
            completion_marker: marker.map(|marker| marker.get_ref().clone()),
        }
    }

    fn bucket(&mut self, raw: &RawBucket) -> BucketConfig {
        self.name(&raw.name);
        let url = raw.url.get_ref();
        if !["s3://", "file:///"].iter().any(|scheme| url.starts_with(scheme)) {
            self.wrong(&raw.url, "expected s3://BUCKET/PREFIX or file:///PATH");
        }
        for (option, value) in &raw.options {
            if credentials::is_secret(option) {
                let message = format!(
                    "`{option}` is a secret: put it into a credentials_file, a systemd \
                     credential or the environment"
                );
                self.wrong(value, message);
            }
        }
        if let Some(file) = &raw.credentials_file {
            self.absolute(file);
        }
        let plain =
            |(key, value): (&String, &Spanned<String>)| (key.clone(), value.get_ref().clone());
        BucketConfig {
            name: raw.name.get_ref().clone(),
            url: url.clone(),
            options: raw.options.iter().map(plain).collect(),
            credentials_file: raw.credentials_file.as_ref().map(|file| file.get_ref().clone()),
            required: raw.required.unwrap_or(true),
            trust_acknowledgement: raw.trust_acknowledgement.unwrap_or(false),
        }
    }
}

/// `90s`, `15m`, `12h`, `30d`.
fn parse_seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
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
