//! What is remembered of logs: by an earlier audit, or by a witness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{Findings, What};
use crate::custody::checkpoint::Checkpoint;
use crate::custody::merkle::Hash;
use crate::note::{Note, NoteError, VerifierKey};

/// The version of the state file that this code writes.
const SCHEMA_VERSION: u32 = 1;
/// What begins a signature line.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// The state file of audits: public, but whoever can change it can hide a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    schema_version: u32,
    /// The highest revision of the keyring that was seen.
    pub keyring_revision: u64,
    /// By URL.
    pub buckets: BTreeMap<String, BTreeMap<String, Remembered>>,
}

/// The end of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Number of entries.
    pub size: u64,
    /// The root over them, in hex.
    pub root: String,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { schema_version: SCHEMA_VERSION, keyring_revision: 0, buckets: BTreeMap::new() }
    }
}

impl Memory {
    /// Reads a state file.
    pub fn parse(bytes: &[u8]) -> Result<Memory, MemoryError> {
        let memory: Memory = serde_json::from_slice(bytes).map_err(MemoryError::Json)?;
        match memory.schema_version {
            SCHEMA_VERSION => Ok(memory),
            other => Err(MemoryError::Version(other)),
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("words and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// What an audit of any bucket remembers of a log: sizes and roots.
    pub fn of_log<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = &'a Remembered> {
        self.buckets.values().filter_map(move |logs| logs.get(origin))
    }

    /// Remembers the end of a log, unless it was longer already.
    pub fn remember(&mut self, url: &str, origin: &str, size: u64, root: Hash) {
        let logs = self.buckets.entry(url.to_owned()).or_default();
        let remembered = Remembered { size, root: root.to_string() };
        match logs.get(origin) {
            Some(before) if before.size >= size => {}
            Some(_) | None => {
                logs.insert(origin.to_owned(), remembered);
            }
        }
    }
}

/// Why a file is not the state of audits.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Not JSON of its shape.
    #[error("not a state file of dockseal-audit")]
    Json(#[source] serde_json::Error),
    /// Of a later version.
    #[error("a state file of version {0}: install a newer dockseal")]
    Version(u32),
}

/// Compares the logs of a bucket with what is remembered of them. `roots` are those of a walk.
pub fn compare(
    url: &str,
    memory: &Memory,
    walked: &BTreeMap<String, (u64, BTreeMap<u64, Hash>)>,
    findings: &mut Findings,
) {
    let by = || "an earlier audit".to_owned();
    for (origin, Remembered { size, .. }) in memory.buckets.get(url).into_iter().flatten() {
        match walked.get(origin) {
            None => {
                findings.add(origin, What::LogVanished { by: by(), remembered: *size });
            }
            Some((found, _)) if found < size => {
                let (remembered, found) = (*size, *found);
                findings.add(origin, What::LogRolledBack { by: by(), remembered, found });
            }
            Some(_) => {}
        }
    }
    for (origin, (_, roots)) in walked {
        for Remembered { size, root } in memory.of_log(origin) {
            if roots.get(size).is_some_and(|found| found.to_string() != *root) {
                let what = What::LogRewritten { by: by(), size: *size };
                findings.add(origin, what);
            }
        }
    }
}

/// One checkpoint that a witness saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What it saw.
    pub checkpoint: Checkpoint,
    /// Who saw it.
    pub witness: String,
}

/// Reads the public file of a witness: notes, one after another, each with its text. The text of
/// one that no witness given cosigned is in the second list.
pub fn parse_witnessed(
    text: &str,
    witnesses: &[VerifierKey],
) -> (Vec<(Witnessed, String)>, Vec<String>) {
    let (mut seen, mut unsigned) = (Vec::new(), Vec::new());
    for text in split_notes(text) {
        let note = Note::parse(text.as_bytes()).ok();
        let checkpoint = note.as_ref().and_then(|note| Checkpoint::parse(note.text()).ok());
        let cosigned = |note: &Note| {
            let by = |key: &&VerifierKey| match note.verify_cosignature(key) {
                Ok(_) => true,
                Err(NoteError::NotSigned) | Err(_) => false,
            };
            witnesses.iter().find(by).map(|key| key.name().to_owned())
        };
        match (checkpoint, note.as_ref().and_then(cosigned)) {
            (Some(checkpoint), Some(witness)) => {
                seen.push((Witnessed { checkpoint, witness }, text));
            }
            (_, _) => {
                unsigned.push(crate::clip::harmless(text.lines().next().unwrap_or_default()));
            }
        }
    }
    (seen, unsigned)
}

/// A note ends with its last signature line; what follows begins the next one.
fn split_notes(text: &str) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut is_signed = true;
    for line in text.lines() {
        let is_signature = line.starts_with(SIGNATURE_MARK);
        if is_signed && !is_signature {
            if line.is_empty() {
                continue;
            }
            notes.push(String::new());
        }
        is_signed = is_signature;
        if let Some(note) = notes.last_mut() {
            note.push_str(line);
            note.push('\n');
        }
    }
    notes
}

/// Compares the logs of a bucket with what a witness saw. `longest` are the sizes over all buckets
/// of the run: a bucket that only lags behind another one lost nothing.
pub fn compare_witnessed(
    seen: &[Witnessed],
    walked: &BTreeMap<String, (u64, BTreeMap<u64, Hash>)>,
    longest: &BTreeMap<String, u64>,
    findings: &mut Findings,
) {
    for Witnessed { checkpoint, witness } in seen {
        let (origin, remembered) = (&checkpoint.origin, checkpoint.size);
        let by = format!("the witness {witness}");
        let is_elsewhere = longest.get(origin).is_some_and(|size| *size >= remembered);
        match walked.get(origin) {
            None if is_elsewhere => {}
            None => findings.add(origin, What::LogVanished { by, remembered }),
            Some((found, _)) if *found < remembered => {
                if !is_elsewhere {
                    findings.add(origin, What::LogRolledBack { by, remembered, found: *found });
                }
            }
            Some((_, roots)) if roots.get(&remembered) != Some(&checkpoint.root) => {
                findings.add(origin, What::LogRewritten { by, size: remembered });
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::merkle::leaf_hash;
    use crate::note::{Kind, SignerKey};

    fn walked(size: u64, roots: &[(u64, Hash)]) -> BTreeMap<String, (u64, BTreeMap<u64, Hash>)> {
        [("d/log/0011223344556677".to_owned(), (size, roots.iter().copied().collect()))].into()
    }

    #[test]
    fn a_log_only_grows() {
        let (old, new) = (leaf_hash(b"old"), leaf_hash(b"new"));
        let mut memory = Memory::default();
        memory.remember("u", "d/log/0011223344556677", 5, old);
        memory.remember("u", "d/log/0011223344556677", 3, new);
        let again = Memory::parse(&memory.encode()).expect("our own");
        assert_eq!(again, memory);
        let found = |url: &str, walked| {
            let mut findings = Findings::default();
            compare(url, &memory, &walked, &mut findings);
            findings.sorted().into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        let by = "an earlier audit".to_owned();
        assert_eq!(found("u", walked(7, &[(5, old), (7, new)])), []);
        let rolled_back = What::LogRolledBack { by: by.clone(), remembered: 5, found: 3 };
        assert_eq!(found("u", walked(3, &[(3, old)])), [rolled_back]);
        let rewritten = What::LogRewritten { by: by.clone(), size: 5 };
        for url in ["u", "another"] {
            let found = found(url, walked(7, &[(5, new)]));
            assert_eq!(found.as_slice(), std::slice::from_ref(&rewritten));
        }
        assert_eq!(found("u", BTreeMap::new()), [What::LogVanished { by, remembered: 5 }]);
        // Another bucket may have begun later.
        assert_eq!(found("another", walked(3, &[(3, old)])), []);
    }

    #[test]
    fn notes_stand_one_after_another() {
        let dock = SignerKey::from_seed("d", Kind::Note, &[1; 32]).expect("a name");
        let witness = SignerKey::from_seed("w", Kind::Cosignature, &[2; 32]).expect("a name");
        let note = |size, is_cosigned| {
            let root = leaf_hash(b"x");
            let checkpoint = Checkpoint { origin: "d/log/0011223344556677".into(), size, root };
            let mut note = checkpoint.sign(&dock);
            if is_cosigned {
                note.cosign(&witness, 9);
            }
            note.to_string()
        };
        let text = [note(1, true), "\n".into(), note(2, false), note(3, true)].concat();
        let (seen, unsigned) = parse_witnessed(&text, &[witness.verifier()]);
        assert_eq!(seen.iter().map(|(one, _)| one.checkpoint.size).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(unsigned, ["d/log/0011223344556677"]);
    }
}
