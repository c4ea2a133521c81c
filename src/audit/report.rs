//! The report: what an audit found and counted; its JSON is stable. docs/audit.md, "JSON".

use serde::Serialize;

use super::finding::{Finding, Severity};
use super::ledger::LogFacts;
use super::revisions::Revisions;
use super::sample::Sampled;
use super::stock::Stock;
use crate::note::VerifierKey;

/// The whole report. Fields only get more within one `schema_version`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this shape.
    pub schema_version: u32,
    /// When the audit began.
    pub at: String,
    /// `clean`, `notice`, `attention` or `tampering`.
    pub verdict: &'static str,
    /// By which keyring it was judged.
    pub keyring: KeyringReport,
    /// Bucket by bucket.
    pub buckets: Vec<BucketReport>,
}

/// The keyring that an audit believed.
#[derive(Debug, Serialize)]
pub struct KeyringReport {
    /// Of the file given.
    pub revision: u64,
    /// The newest that counts, of file and buckets.
    pub newest_revision: u64,
    /// The root that all trust goes back to.
    pub root: KeyReport,
    /// Whether the auditor named the root; otherwise the file did.
    pub root_is_pinned: bool,
}

/// A public key, for comparing.
#[derive(Debug, Clone, Serialize)]
pub struct KeyReport {
    /// Its text form.
    pub key: String,
    /// What two people compare by voice.
    pub fingerprint: String,
}

impl KeyReport {
    /// Of a key.
    pub fn new(key: &VerifierKey) -> KeyReport {
        KeyReport { key: key.to_string(), fingerprint: key.fingerprint() }
    }
}

/// What was found in one bucket.
#[derive(Debug, Serialize)]
pub struct BucketReport {
    /// Its URL, as given.
    pub url: String,
    /// What docks call it, where the auditor said it.
    pub name: Option<String>,
    /// All objects.
    pub object_count: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Dock by dock.
    pub docks: Vec<DockReport>,
    /// The gravest first.
    pub findings: Vec<FindingReport>,
    /// Findings that were too many to be kept.
    pub findings_omitted_count: u64,
    /// The gravest of all, also of those.
    #[serde(skip)]
    pub worst: Option<Severity>,
}

/// A finding with its severity and its line for people.
#[derive(Debug, Serialize)]
pub struct FindingReport {
    /// How grave.
    pub severity: Severity,
    /// The line.
    pub text: String,
    /// Object, code, and what belongs to the code.
    #[serde(flatten)]
    pub finding: Finding,
}

impl FindingReport {
    /// Of a finding.
    pub fn new(finding: Finding) -> FindingReport {
        let text = crate::clip::harmless(&finding.to_string()).replace('\n', "\\n");
        FindingReport { severity: finding.what.severity(), text, finding }
    }
}

/// What was counted of one dock.
#[derive(Debug, Serialize)]
pub struct DockReport {
    /// Its name.
    pub name: String,
    /// The keys that it was ever enrolled with.
    pub keys: Vec<KeyReport>,
    /// Its logs, by id.
    pub logs: Vec<LogReport>,
    /// Clips that the logs seal.
    pub sealed_count: u64,
    /// Clips that the logs say are stored.
    pub stored_count: u64,
    /// Sealed, and not stored yet.
    pub pending_count: u64,
    /// How long the oldest of them has waited.
    pub pending_oldest_seconds: u64,
    /// Stored, and neither acknowledged by this bucket nor in it.
    pub stored_elsewhere_count: u64,
    /// Stored, and gone after the retention.
    pub deleted_after_retention_count: u64,
    /// Damaged on the dock, and sealed again.
    pub damaged_count: u64,
    /// Objects with a clip's name.
    pub object_count: u64,
    /// Their bytes.
    pub object_size_bytes: u64,
    /// Clips that were read whole.
    pub sampled_count: u64,
    /// Their bytes.
    pub sampled_size_bytes: u64,
}

impl DockReport {
    /// Of a dock, before its clips are read.
    pub fn new(name: &str, revisions: &Revisions, logs: Vec<LogReport>, stock: &Stock) -> Self {
        let keys = revisions.keys_of(name).into_iter();
        DockReport {
            name: name.to_owned(),
            keys: keys.map(|enrolled| KeyReport::new(&enrolled.key)).collect(),
            logs,
            sealed_count: stock.sealed_count,
            stored_count: stock.stored_count,
            pending_count: stock.pending_count,
            pending_oldest_seconds: stock.pending_oldest_seconds,
            stored_elsewhere_count: stock.elsewhere_count,
            deleted_after_retention_count: stock.deleted_count,
            damaged_count: stock.damaged_count,
            object_count: stock.object_count,
            object_size_bytes: stock.size_bytes,
            sampled_count: 0,
            sampled_size_bytes: 0,
        }
    }

    /// Adds what was read.
    pub fn add(&mut self, sampled: Sampled) {
        self.sampled_count += sampled.clip_count;
        self.sampled_size_bytes += sampled.size_bytes;
    }
}

/// What was read of one log.
#[derive(Debug, Serialize)]
pub struct LogReport {
    /// Its id.
    pub id: String,
    /// Number of entries that the newest valid checkpoint signs.
    pub size: u64,
    /// The root over them, in hex.
    pub root: String,
    /// The key that signed it.
    pub signed_by: KeyReport,
    /// Valid checkpoints.
    pub checkpoint_count: u64,
    /// When it began, by the dock's clock.
    pub started: Option<String>,
    /// The time of its newest entry.
    pub newest: Option<String>,
    /// The log that it continues.
    pub previous: Option<String>,
    /// Whether the dock closed it.
    pub is_closed: bool,
    /// Whether all entries that the checkpoint signs were there and counted.
    pub is_whole: bool,
    /// How many entries each event has.
    pub events: std::collections::BTreeMap<&'static str, u64>,
}

impl LogReport {
    /// Of a log that was walked.
    pub fn new(facts: &LogFacts, heads: &super::heads::Heads, is_whole: bool) -> Option<LogReport> {
        let (size, head) = heads.by_size.last_key_value()?;
        Some(LogReport {
            id: facts.id.to_string(),
            size: *size,
            root: head.root.to_string(),
            signed_by: KeyReport::new(&heads.keys[head.key].0),
            checkpoint_count: heads.by_size.len() as u64,
            started: facts.started.map(|at| at.to_string()),
            newest: facts.newest.map(|at| at.to_string()),
            previous: facts.previous.map(|head| head.log.to_string()),
            is_closed: facts.is_closed,
            is_whole,
            events: facts.events.clone(),
        })
    }
}

impl Report {
    /// Of an audit that ran to its end.
    pub fn new(at: String, revisions: &Revisions, buckets: Vec<BucketReport>) -> Report {
        let (root, root_is_pinned) = revisions.root();
        let keyring = KeyringReport {
            revision: revisions.given(),
            newest_revision: revisions.newest().revision,
            root: KeyReport::new(root),
            root_is_pinned,
        };
        let mut report = Report { schema_version: 1, at, verdict: "", keyring, buckets };
        report.verdict = match report.worst() {
            None => "clean",
            Some(Severity::Notice) => "notice",
            Some(Severity::Attention) => "attention",
            Some(Severity::Tampering) => "tampering",
        };
        report
    }

    /// The gravest finding of all.
    pub fn worst(&self) -> Option<Severity> {
        self.buckets.iter().filter_map(|bucket| bucket.worst).max()
    }
}
