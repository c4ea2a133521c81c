//! From the text of a config file to checked values, or to every mistake in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{
    BucketConfig, CameraRule, Config, ConfigError, EraseWhen, Keys, Problem, Timetable, Watch,
    Witness,
};
use crate::clip::{NAME_SIZE_MAX, is_plain_name};
use crate::edge::credentials;
use crate::envelope::recipient::{Recipient, Recipients};
use crate::note::{Kind, VerifierKey};

/// Names that copy tools give to unfinished files.
const IGNORE_DEFAULT: [&str; 5] = ["*.part", "*.tmp", ".~*", "*.filepart", "*.crdownload"];
const SETTLE_SECONDS_DEFAULT: u64 = 5;
const RESCAN_SECONDS_DEFAULT: u64 = 60;
const HEARTBEAT_SECONDS_DEFAULT: u64 = 3600;
const STATUS_SECONDS_DEFAULT: u64 = 600;
const START_SPREAD_SECONDS_DEFAULT: u64 = 30;
const START_SPREAD_SECONDS_MAX: u64 = 3600;
const UPLOADS_DEFAULT: u64 = 4;
const UPLOADS_MAX: u64 = 16;

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dock: Spanned<String>,
    state_dir: Spanned<PathBuf>,
    recipients: Option<Spanned<Vec<Spanned<String>>>>,
    keyring: Option<Spanned<PathBuf>>,
    authority: Option<Spanned<String>>,
    witness: Option<RawWitness>,
    metrics: Option<RawMetrics>,
    limit: Option<RawLimit>,
    start_spread: Option<Spanned<String>>,
    keep_sealed: Option<Spanned<String>>,
    rescan_seconds: Option<Spanned<u64>>,
    heartbeat_seconds: Option<Spanned<u64>>,
    status_seconds: Option<Spanned<u64>>,
    watch: Spanned<Vec<RawWatch>>,
    #[serde(default)]
    bucket: Vec<RawBucket>,
}

/// The entries of a timetable.
type RawLimit = Vec<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWitness {
    url: Spanned<String>,
    key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetrics {
    listen: Spanned<String>,
    #[serde(default)]
    allow_remote: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWatch {
    path: Spanned<PathBuf>,
    camera: Option<Spanned<String>>,
    settle_seconds: Option<Spanned<u64>>,
    erase: Option<Spanned<EraseWhen>>,
    first: Option<Vec<Spanned<String>>>,
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
    limit: Option<RawLimit>,
    uploads: Option<Spanned<u64>>,
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
        let keys = self.keys(&raw);
        let witness = raw.witness.as_ref().and_then(|witness| self.witness(witness));
        let metrics_listen = raw.metrics.as_ref().and_then(|metrics| self.metrics(metrics));
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
        let keep_sealed_seconds = self.duration(raw.keep_sealed.as_ref(), 0, u64::MAX);
        let start_spread_seconds = self.duration(
            raw.start_spread.as_ref(),
            START_SPREAD_SECONDS_DEFAULT,
            START_SPREAD_SECONDS_MAX,
        );
        let rescan_seconds = self.seconds(raw.rescan_seconds, RESCAN_SECONDS_DEFAULT, 1..86_401);
        let heartbeat_seconds =
            self.seconds(raw.heartbeat_seconds, HEARTBEAT_SECONDS_DEFAULT, 1..86_401);
        let status_seconds = self.seconds(raw.status_seconds, STATUS_SECONDS_DEFAULT, 0..86_401);
        Some(Config {
            dock: raw.dock.into_inner(),
            state_dir: raw.state_dir.into_inner(),
            keys: keys?,
            watches,
            buckets,
            limit: self.limit(raw.limit.as_ref()),
            start_spread_seconds,
            keep_sealed_seconds,
            rescan_seconds,
            heartbeat_seconds,
            status_seconds,
            witness,
            metrics_listen,
        })
    }

    fn name(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        // Only the dot is wrong where the rest would do.
        if text.starts_with('.') && is_plain_name(&text.replacen('.', "-", 1)) {
            self.wrong(name, "a name must not begin with a dot");
        } else if !is_plain_name(text) {
            let message = format!("expected 1 to {NAME_SIZE_MAX} of a-z A-Z 0-9 - _ .");
            self.wrong(name, message);
        }
    }

    fn absolute(&mut self, path: &Spanned<PathBuf>) {
        let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
        if !path.get_ref().is_absolute() || !path.get_ref().components().all(plain) {
            self.wrong(path, "expected an absolute path without `..`");
        }
    }

    /// Either the config says whom to seal to, or the keyring of a pinned authority does.
    fn keys(&mut self, raw: &Raw) -> Option<Keys> {
        match (&raw.recipients, &raw.keyring, &raw.authority) {
            (Some(recipients), None, None) => self.recipients(recipients).map(Keys::Here),
            (None, Some(file), Some(authority)) => {
                self.absolute(file);
                let authority = self.verifier_key(authority, Kind::Note)?;
                Some(Keys::Keyring { file: file.get_ref().clone(), authority })
            }
            (None, Some(file), None) => {
                self.wrong(file, "a keyring needs `authority`, the root's verifier key");
                None
            }
            (None, None, Some(authority)) => {
                self.wrong(authority, "an authority needs `keyring`, the file of its keyring");
                None
            }
            (Some(recipients), _, _) => {
                self.wrong(recipients, "either `recipients`, or `keyring` and `authority`");
                None
            }
            (None, None, None) => {
                let message = "nobody to seal to: set `keyring` and `authority`, or `recipients`";
                self.wrong(&raw.dock, message);
                None
            }
        }
    }

    fn verifier_key(&mut self, raw: &Spanned<String>, kind: Kind) -> Option<VerifierKey> {
        match raw.get_ref().parse::<VerifierKey>() {
            Ok(key) if key.kind() == kind => return Some(key),
            Ok(_) => self.wrong(raw, "a key of the wrong kind: witness and authority differ"),
            Err(error) => self.wrong(raw, error.to_string()),
        }
        None
    }

    fn witness(&mut self, raw: &RawWitness) -> Option<Witness> {
        let url = raw.url.get_ref();
        if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
            self.wrong(&raw.url, "expected https://HOST");
        }
        let key = self.verifier_key(&raw.key, Kind::Cosignature)?;
        Some(Witness { url: url.clone(), key })
    }

    /// Figures are for this machine: whoever reaches the address may read them.
    fn metrics(&mut self, raw: &RawMetrics) -> Option<SocketAddr> {
        let Ok(address) = raw.listen.get_ref().parse::<SocketAddr>() else {
            self.wrong(&raw.listen, "expected ADDRESS:PORT, such as \"127.0.0.1:9464\"");
            return None;
        };
        if !address.ip().is_loopback() && !raw.allow_remote {
            let message = "other machines could read the figures: listen on 127.0.0.1 or [::1], \
                           or set allow_remote = true";
            self.wrong(&raw.listen, message);
        }
        Some(address)
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

    fn duration(&mut self, raw: Option<&Spanned<String>>, default: u64, max: u64) -> u64 {
        let Some(text) = raw else { return default };
        match parse_seconds(text.get_ref()) {
            Some(seconds) if seconds <= max => return seconds,
            Some(_) => self.wrong(text, format!("expected at most \"{max}s\"")),
            None => self.wrong(text, "expected a duration such as \"0s\", \"12h\" or \"30d\""),
        }
        default
    }

    fn limit(&mut self, raw: Option<&RawLimit>) -> Timetable {
        let Some(raw) = raw else { return Timetable::default() };
        match Timetable::parse(raw.iter().map(|entry| entry.get_ref().as_str())) {
            Ok(limit) => limit,
            Err(mistakes) => {
                mistakes.into_iter().for_each(|(index, why)| self.wrong(&raw[index], why));
                Timetable::default()
            }
        }
    }

    fn uploads(&mut self, raw: Option<&Spanned<u64>>) -> usize {
        let uploads = raw.map_or(UPLOADS_DEFAULT, |raw| *raw.get_ref());
        if let (Some(raw), false) = (raw, (1..=UPLOADS_MAX).contains(&uploads)) {
            self.wrong(raw, format!("expected 1 to {UPLOADS_MAX}"));
        }
        usize::try_from(uploads).unwrap_or(usize::MAX)
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
        let first = raw.first.as_deref().unwrap_or_default();
        for pattern in first.iter().filter(|pattern| pattern.get_ref().is_empty()) {
            self.wrong(pattern, "expected a pattern such as \"*/urgent/*\"");
        }
        let settle = raw.settle_seconds.clone();
        Watch {
            path: raw.path.get_ref().clone(),
            camera,
            settle_seconds: self.seconds(settle, SETTLE_SECONDS_DEFAULT, 0..86_401),
            erase: raw.erase.as_ref().map_or(EraseWhen::WhenStored, |erase| *erase.get_ref()),
            first: first.iter().map(|pattern| pattern.get_ref().clone()).collect(),
            ignore: raw.ignore.clone().unwrap_or_else(|| IGNORE_DEFAULT.map(Into::into).into()),
            completion_marker: marker.map(|marker| marker.get_ref().clone()),
        }
    }

    fn bucket(&mut self, raw: &RawBucket) -> BucketConfig {
        self.name(&raw.name);
        let url = raw.url.get_ref();
        let schemes = ["s3://", "gs://", "az://", "https://", "http://", "file:///"];
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            self.wrong(
                &raw.url,
                "expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, \
                 https://HOST/PATH or file:///PATH",
            );
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
            limit: self.limit(raw.limit.as_ref()),
            uploads: self.uploads(raw.uploads.as_ref()),
        }
    }
}

/// A duration in seconds: `90s`, `15m`, `12h`, `30d`.
pub fn parse_seconds(text: &str) -> Option<u64> {
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
