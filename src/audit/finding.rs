//! Findings: what an audit has to say of an object, and how grave it is.

use std::fmt;

use serde::Serialize;

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Notice,
    /// Somebody must look; it proves no tampering.
    Attention,
    /// Something was changed, removed, forged or rolled back.
    Tampering,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object, log or dock that it is about, beneath the bucket's prefix.
    pub object: String,
    /// What is to be said of it.
    #[serde(flatten)]
    pub what: What,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// What there is to find. The text is one line and does not name the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[allow(missing_docs, reason = "the text of each finding says what its fields are")]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum What {
    /// The bucket lags behind another one of the same run.
    #[error("this bucket has {found} entries of the log, another one {other}")]
    BucketBehind { found: u64, other: u64 },
    /// No clip of the dock's is expected here: the name given may be wrong.
    #[error("no entry of the dock's logs has a receipt of a bucket called {name}")]
    BucketUnnamed { name: String },
    /// A signed checkpoint that the entries do not lead to.
    #[error("the entries in the bucket do not lead to the root that the dock signed here")]
    CheckpointDisagrees,
    /// Nobody whose signature counts signed it.
    #[error("not a checkpoint of an enrolled dock: {why}")]
    CheckpointForged { why: String },
    /// `checkpoint` names a size of which no `checkpoints/<size>` is left.
    #[error("the dock signed {size} entries, and the checkpoint of that size is gone")]
    CheckpointRemoved { size: u64 },
    /// Its bytes are not those of its name.
    #[error("its bytes were changed: their SHA-256 is not its name")]
    ClipChanged,
    /// Stored by the log, and not there.
    #[error("missing: stored by the log of {log}, sealed on {sealed}")]
    ClipMissing { log: String, sealed: String },
    /// Its entry is in another dock's log.
    #[error("no entry of this dock's logs seals it; the log of {dock} does")]
    ClipOfOtherDock { dock: String },
    /// Another size than its entry says.
    #[error("{found} bytes, where its entry says {recorded}")]
    ClipSize { recorded: u64, found: u64 },
    /// No entry.
    #[error("no entry of a log seals it: not from this dock")]
    ClipUnlogged,
    /// No entry, but younger than the log.
    #[error("no entry seals it yet; it is younger than the newest entry")]
    ClipUnpublished,
    /// A cosignature line with the witness's key that is none.
    #[error("a signature line of the witness {witness} is forged")]
    CosignatureForged { witness: String },
    /// The newest cosignature.
    #[error("last cosigned by {witness} at {seen}, {size} entries")]
    Cosigned { witness: String, seen: String, size: u64 },
    /// Enrolled, and nothing of it is there.
    #[error("enrolled, but the bucket has no log of this dock")]
    DockSilent,
    /// An entry from the future.
    #[error("its newest entry is dated {newest}, ahead of the auditor's clock")]
    EntryAhead { newest: String },
    /// A dock that no keyring enrols.
    #[error("no keyring enrols a dock of this name")]
    DockUnenrolled,
    /// An entry that cannot be.
    #[error("entry {index}: {why}")]
    EntryBroken { index: u64, why: String },
    /// An entry's time is before the log began.
    #[error("entry {index} is dated before the log began; {count} such entries")]
    EntryTime { index: u64, count: u64 },
    /// Nothing of ours.
    #[error("foreign: no object of dockseal has such a name")]
    Foreign,
    /// Not a canonical age header.
    #[error("not a sealed clip: {why}")]
    HeaderBroken { why: String },
    /// Two texts under one revision.
    #[error("another text than the keyring of the same revision elsewhere")]
    KeyringForked,
    /// Not signed by the root that it names, or not of its number.
    #[error("a forged keyring: {why}")]
    KeyringForged { why: String },
    /// The log names another text.
    #[error("entry {index} names revision {revision} with another digest than the keyring has")]
    KeyringMisnamed { index: u64, revision: u64 },
    /// A revision that should be there.
    #[error("this revision of the keyring is missing")]
    KeyringMissing,
    /// The bucket has a newer one.
    #[error("the bucket has revision {found}; the file given has {given}")]
    KeyringNewer { given: u64, found: u64 },
    /// An older revision than an audit before saw.
    #[error("an earlier audit saw revision {remembered}; the newest is now {found}")]
    KeyringRolledBack { remembered: u64, found: u64 },
    /// Signed by a root that the auditor did not name.
    #[error("signed by another root, {root}; give it with --authority to use it")]
    KeyringUnknownRoot { root: String },
    /// Two logs that continue one.
    #[error("continues {previous}, which {other} continues too")]
    LogForked { previous: String, other: String },
    /// No signed checkpoint.
    #[error("the log has no valid checkpoint: nothing that it says counts")]
    LogUnsigned,
    /// A second log that does not say what it continues.
    #[error("a further log of the dock that names no earlier one")]
    LogUnexplained,
    /// Not acknowledged by an operator.
    #[error("continues {previous}; no operator acknowledged that yet")]
    LogUnacknowledged { previous: String },
    /// The earlier log has more entries than the next one knew of.
    #[error("its successor {next} knew of {named} entries; it has {found}")]
    LogLonger { next: String, named: u64, found: u64 },
    /// What an audit before, or a witness, remembers has another root.
    #[error("rewritten: {by} has another root for {size} entries")]
    LogRewritten { by: String, size: u64 },
    /// Shorter than an audit before, a witness or a successor saw.
    #[error("rolled back: {by} has {remembered} entries, the newest checkpoint {found}")]
    LogRolledBack { by: String, remembered: u64, found: u64 },
    /// A log that was there.
    #[error("vanished: {by} has {remembered} entries of this log")]
    LogVanished { by: String, remembered: u64 },
    /// Two buckets show two histories.
    #[error("two histories: {other} has another root for {size} entries")]
    LogTwoHistories { other: String, size: u64 },
    /// The payload is no ciphertext.
    #[error("its payload is not random: no ciphertext (chi-square {score} over 255)")]
    NotRandom { score: u64 },
    /// No age file has this size.
    #[error("its payload cannot have {size} bytes")]
    PayloadSize { size: u64 },
    /// Sealed long ago, and still not stored.
    #[error("{count} clips wait for their receipts, the oldest for {oldest_seconds} seconds")]
    PendingLong { count: u64, oldest_seconds: u64 },
    /// A tile or bundle that is not what the signed tree has.
    #[error("not what the signed tree has here")]
    PieceDisagrees,
    /// A tile or bundle that the newest checkpoint needs.
    #[error("missing, and the newest checkpoint needs it")]
    PieceMissing,
    /// Pieces that no checkpoint covers yet.
    #[error("{count} pieces reach beyond the newest checkpoint")]
    PiecesAhead { count: u64 },
    /// Sealed by a keyring that no longer counted, or by an older one than the log had.
    #[error("sealed by keyring revision {revision}: {why}")]
    SealedByOld { revision: u64, why: String },
    /// Recipients from the dock's config.
    #[error("{count} clips sealed without a keyring: their recipients cannot be compared")]
    SealedWithoutKeyring { count: u64 },
    /// Quiet for too long.
    #[error("stale: the newest entry is of {newest}, {age_seconds} seconds ago")]
    Stale { newest: String, age_seconds: u64 },
    /// Other stanzas than its keyring wants.
    #[error("{why}")]
    StanzasDisagree { why: String },
    /// `stored` without `sealed`.
    #[error("stored by the log, but no entry seals it")]
    StoredUnsealed,
    /// The witness never cosigned the log.
    #[error("no checkpoint carries a cosignature of the witness {witness}")]
    Unwitnessed { witness: String },
    /// A note of the witness's own file that it did not cosign.
    #[error("no witness given cosigned this note of the --witnessed file")]
    WitnessedUnsigned,
}

impl What {
    /// How grave it is.
    pub fn severity(&self) -> Severity {
        use What as W;
        match self {
            W::BucketBehind { .. }
            | W::Cosigned { .. }
            | W::KeyringNewer { .. }
            | W::LogLonger { .. }
            | W::LogUnacknowledged { .. }
            | W::PiecesAhead { .. } => Severity::Notice,
            W::BucketUnnamed { .. }
            | W::ClipUnpublished
            | W::CosignatureForged { .. }
            | W::DockSilent
            | W::DockUnenrolled
            | W::EntryAhead { .. }
            | W::EntryTime { .. }
            | W::Foreign
            | W::KeyringMissing
            | W::KeyringUnknownRoot { .. }
            | W::LogForked { .. }
            | W::LogUnexplained
            | W::LogUnsigned
            | W::PendingLong { .. }
            | W::SealedByOld { .. }
            | W::SealedWithoutKeyring { .. }
            | W::Stale { .. }
            | W::StoredUnsealed
            | W::Unwitnessed { .. }
            | W::WitnessedUnsigned => Severity::Attention,
            W::CheckpointDisagrees
            | W::CheckpointForged { .. }
            | W::CheckpointRemoved { .. }
            | W::ClipChanged
            | W::ClipMissing { .. }
            | W::ClipOfOtherDock { .. }
            | W::ClipSize { .. }
            | W::ClipUnlogged
            | W::EntryBroken { .. }
            | W::HeaderBroken { .. }
            | W::KeyringForged { .. }
            | W::KeyringForked
            | W::KeyringMisnamed { .. }
            | W::KeyringRolledBack { .. }
            | W::LogRewritten { .. }
            | W::LogRolledBack { .. }
            | W::LogTwoHistories { .. }
            | W::LogVanished { .. }
            | W::NotRandom { .. }
            | W::PayloadSize { .. }
            | W::PieceDisagrees
            | W::PieceMissing
            | W::StanzasDisagree { .. } => Severity::Tampering,
        }
    }
}

/// The most findings that are kept: a bucket full of foreign objects must not fill the memory.
const FINDING_COUNT_MAX: usize = 10_000;

/// The findings of one bucket.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
    omitted_count: u64,
    worst: Option<Severity>,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, object: impl Into<String>, what: What) {
        self.worst = self.worst.max(Some(what.severity()));
        if self.all.len() < FINDING_COUNT_MAX {
            self.all.push(Finding { object: object.into(), what });
        } else {
            self.omitted_count += 1;
        }
    }

    /// All that were kept: the gravest first, else in the order of finding.
    pub fn sorted(mut self) -> Vec<Finding> {
        self.all.sort_by_key(|finding| std::cmp::Reverse(finding.what.severity()));
        self.all
    }

    /// How many were not kept.
    pub fn omitted_count(&self) -> u64 {
        self.omitted_count
    }

    /// The gravest, also among those that were not kept.
    pub fn worst(&self) -> Option<Severity> {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_the_gravest_counts_all_the_same() {
        let mut findings = Findings::default();
        for index in 0..FINDING_COUNT_MAX {
            findings.add(format!("x/{index}"), What::Foreign);
        }
        findings.add("log", What::PieceMissing);
        assert_eq!(findings.omitted_count(), 1);
        assert_eq!(findings.worst(), Some(Severity::Tampering));
        assert_eq!(findings.sorted().len(), FINDING_COUNT_MAX);
    }

    #[test]
    fn a_finding_is_one_line_and_has_a_code() {
        let what = What::ClipSize { recorded: 7, found: 5 };
        let finding = Finding { object: "d/clips/x.age".into(), what };
        assert_eq!(finding.to_string(), "d/clips/x.age: 5 bytes, where its entry says 7");
        let json = serde_json::to_value(&finding).expect("JSON");
        assert_eq!((&json["code"], &json["recorded"]), (&"clip-size".into(), &7.into()));
    }
}
