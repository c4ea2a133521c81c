//! The auditor of an episode: whatever happened to the dock, its buckets show no tampering.

use std::collections::BTreeSet;

use super::episode::Episode;
use crate::audit::finding::{Finding, Severity, What};
use crate::audit::memory::Memory;
use crate::audit::report::FindingReport;
use crate::audit::run::{Question, Subject, audit};
use crate::audit::sample::Extent;
use crate::edge::bucket::Simulated;
use crate::edge::world::World;
use crate::envelope::recipient::Recipient;
use crate::keyring::{Days, Enrolled, Keyring, Member, Role};
use crate::note::{Kind, SignerKey, VerifierKey};

/// What an auditor has: the keyring, and what earlier audits saw.
pub(super) struct Auditor {
    keyring: Vec<u8>,
    memory: Memory,
}

/// When somebody audits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// At any time: what was put last may not be published yet.
    Meanwhile,
    /// All is done.
    AtRest,
}

impl Auditor {
    /// One who knows the dock by its key, on any day that a simulated clock may show.
    pub(super) fn of(dock: VerifierKey, recipient: Recipient) -> Auditor {
        let root = SignerKey::from_seed("authority", Kind::Note, &[1; 32]).expect("a name");
        let day = |text: &str| text.parse().expect("a day");
        let days = Days { from: day("1970-01-01"), until: day("9999-01-01") };
        let keyring = Keyring {
            authority: root.verifier(),
            revision: 1,
            issued: "1970-01-01T00:00:00Z".parse().expect("a time"),
            expires: days.until,
            retention_days: 10_000,
            members: vec![Member {
                role: Role::new("evidence").expect("a word"),
                days: None,
                recipient,
            }],
            docks: vec![Enrolled { key: dock, days }],
            successor: None,
        };
        let note = keyring.sign(&root).expect("it keeps the rules");
        Auditor { keyring: note.to_string().into_bytes(), memory: Memory::default() }
    }
}

impl Episode {
    /// Audits all buckets, and remembers what was seen.
    pub(super) fn audit(&mut self, when: When) -> Result<(), String> {
        let now = self.world.now();
        let buckets = self.world.state().buckets.clone();
        let subject = |(name, (simulated, _)): (String, (Simulated, _))| Subject {
            url: name.clone(),
            name: Some(name),
            bucket: simulated.open(),
        };
        let buckets: Vec<_> = buckets.into_iter().map(subject).collect();
        let question = Question {
            keyring: &self.auditor.keyring,
            authorities: &[],
            memory: &self.auditor.memory,
            witnesses: &[],
            witnessed: "",
            extent: Extent::Full,
            stale_after_seconds: u64::MAX,
            now,
        };
        let (report, memory) = aside(|| audit(&buckets, &question, &|_| ()))
            .map_err(|error| format!("the audit failed: {}", crate::error::chain(&error)))?;
        self.auditor.memory = memory;
        let mut state = self.world.state();
        for bucket in &report.buckets {
            let inside = state.buckets[&bucket.url].0.inside();
            let is_wrong =
                |one: &&FindingReport| !is_expected(&one.finding, when, &inside.forgotten);
            if let Some(wrong) = bucket.findings.iter().find(is_wrong) {
                return Err(format!("audited {when:?}, {}: {}", bucket.url, wrong.text));
            }
        }
        state.tried("audits");
        Ok(())
    }
}

/// Does it on a thread of its own: no world is there, so no fault meets it, and the dock's tasks
/// stand still meanwhile.
fn aside<F: Future<Output: Send>>(work: impl FnOnce() -> F + Send) -> F::Output {
    let alone = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(work())
    };
    std::thread::scope(|scope| scope.spawn(alone).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether a finding is no fault of dockseal, in a bucket that acknowledged what it forgot.
fn is_expected(finding: &Finding, when: When, forgotten: &BTreeSet<String>) -> bool {
    match &finding.what {
        // A bucket that is not required may get nothing; the clock jumped; a camera is away for
        // long; recipients come from the config, and nobody publishes a keyring.
        What::BucketUnnamed { .. }
        | What::EntryAhead { .. }
        | What::EntryTime { .. }
        | What::KeyringMissing
        | What::PendingLong { .. }
        | What::SealedWithoutKeyring { .. } => true,
        // The log comes after the clips. Ages of objects are not simulated.
        What::ClipUnlogged | What::ClipUnpublished | What::DockSilent | What::LogUnsigned => {
            when == When::Meanwhile
        }
        What::CheckpointRemoved { .. } | What::ClipMissing { .. } | What::PieceMissing => {
            forgotten.contains(&finding.object)
        }
        other => other.severity() == Severity::Notice,
    }
}
