//! The revisions of the keyring: which are signed by a root that is trusted. docs/custody.md §2.

use std::collections::BTreeMap;

use super::finding::{Findings, What};
use super::shelf::Shelf;
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::{Enrolled, Keyring, Refusal, Trust, Unreadable};
use crate::note::{NOTE_SIZE_MAX, Note, VerifierKey};

/// All revisions that count, of the file given and of the buckets.
#[derive(Debug)]
pub struct Revisions {
    trust: Trust,
    /// What the auditor named, or the root that the file names itself.
    root: VerifierKey,
    is_pinned: bool,
    by_number: BTreeMap<u64, Keyring>,
    given: u64,
}

impl Revisions {
    /// Begins with the roots that the auditor named; without any, with the one of the file.
    ///
    /// The file may be signed by a successor that only earlier revisions name, so it counts once
    /// [`Revisions::take_file`] says so.
    pub fn new(file: &[u8], authorities: &[VerifierKey]) -> Result<Revisions, Refusal> {
        let note = Note::parse(file).map_err(Unreadable::from)?;
        let keyring = Keyring::from_note(&note).map_err(Unreadable::from)?;
        let (root, more) = match authorities {
            [] => (keyring.authority, [].as_slice()),
            [first, more @ ..] => (first.clone(), more),
        };
        let trust = Trust::pinned(root.clone());
        let trust = more.iter().fold(trust, |trust, root| trust.and(root.clone()));
        let by_number = BTreeMap::new();
        let is_pinned = !authorities.is_empty();
        Ok(Revisions { trust, root, is_pinned, by_number, given: keyring.revision })
    }

    /// Takes the file that the auditor gave.
    pub fn take_file(&mut self, file: &[u8]) -> Result<(), Refusal> {
        let keyring = self.trust.verify(file)?;
        match self.by_number.get(&keyring.revision) {
            Some(other) if *other != keyring => Err(Refusal::Fork(keyring.revision)),
            Some(_) | None => {
                self.keep(keyring);
                Ok(())
            }
        }
    }

    fn keep(&mut self, keyring: Keyring) {
        if let Some(successor) = &keyring.successor {
            self.trust = self.trust.clone().and(successor.clone());
        }
        self.by_number.insert(keyring.revision, keyring);
    }

    /// Reads the revisions of a bucket, the oldest first: each may name the next one's root.
    pub async fn read(
        &mut self,
        bucket: &Bucket,
        shelf: &Shelf,
        findings: &mut Findings,
    ) -> Result<(), BucketError> {
        for number in &shelf.revisions {
            let key = format!("keyrings/{number}");
            let Some(bytes) = read_note(bucket, &key).await? else {
                findings.add(key, What::KeyringMissing);
                continue;
            };
            match self.take(Some(*number), &bytes) {
                Ok(()) => {}
                Err(what) => findings.add(key, what),
            }
        }
        if shelf.has_keyring
            && let Some(bytes) = read_note(bucket, "keyring").await?
            && let Err(what) = self.take(None, &bytes)
        {
            findings.add("keyring", what);
        }
        Ok(())
    }

    fn take(&mut self, number: Option<u64>, bytes: &[u8]) -> Result<(), What> {
        let keyring = match self.trust.verify(bytes) {
            Ok(keyring) => keyring,
            Err(Refusal::WrongRoot { found }) => {
                return Err(What::KeyringUnknownRoot { root: found.to_string() });
            }
            Err(refusal) => {
                return Err(What::KeyringForged { why: crate::error::chain(&refusal) });
            }
        };
        if number.is_some_and(|number| number != keyring.revision) {
            let why = format!("it is revision {}", keyring.revision);
            return Err(What::KeyringForged { why });
        }
        match self.by_number.get(&keyring.revision) {
            Some(other) if *other != keyring => Err(What::KeyringForked),
            Some(_) => Ok(()),
            None => {
                self.keep(keyring);
                Ok(())
            }
        }
    }

    /// Says what is missing of the revisions that were ever issued, and whether the file is old.
    pub fn compare(&self, shelf: &Shelf, findings: &mut Findings) {
        // Bounded: a revision number of the file is the authority's own, and it counts by one.
        let missing = (1..=self.given).filter(|number| !shelf.revisions.contains(number));
        for number in missing.take(REPORTED_MAX) {
            findings.add(format!("keyrings/{number}"), What::KeyringMissing);
        }
        let found = self.newest().revision;
        if found > self.given {
            let key = format!("keyrings/{found}");
            findings.add(key, What::KeyringNewer { given: self.given, found });
        }
    }

    /// The root of the trust, and whether the auditor named it.
    pub fn root(&self) -> (&VerifierKey, bool) {
        (&self.root, self.is_pinned)
    }

    /// The revision of the file given.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// A revision.
    pub fn number(&self, number: u64) -> Option<&Keyring> {
        self.by_number.get(&number)
    }

    /// The newest revision that counts.
    pub fn newest(&self) -> &Keyring {
        self.by_number.values().next_back().expect("the file given is one")
    }

    /// The keys that a dock was ever enrolled with; the days are those of the newest revision that
    /// names the key, because retiring a key ends its days.
    pub fn keys_of(&self, dock: &str) -> Vec<&Enrolled> {
        let mut keys: Vec<&Enrolled> = Vec::new();
        for keyring in self.by_number.values().rev() {
            for enrolled in keyring.docks.iter().filter(|enrolled| enrolled.key.name() == dock) {
                if keys.iter().all(|known| known.key != enrolled.key) {
                    keys.push(enrolled);
                }
            }
        }
        keys
    }

    /// For how many days after sealing a clip must be there: what its own keyring says, or the
    /// newest one, whichever is longer.
    pub fn retention_days(&self, revision: Option<u64>) -> u32 {
        let own = revision.and_then(|number| self.number(number)).map_or(0, |k| k.retention_days);
        own.max(self.newest().retention_days)
    }
}

/// Missing revisions that are named one by one.
const REPORTED_MAX: usize = 1000;

/// A note of a bucket; `None` where it is gone, nothing where it is too large to be one.
async fn read_note(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, BucketError> {
    match bucket.read_all(key, NOTE_SIZE_MAX as u64).await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(BucketError::Missing) => Ok(None),
        Err(BucketError::TooLarge { .. }) => Ok(Some(vec![])),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keyring::{Days, Member, Role};
    use crate::note::{Kind, SignerKey};

    fn signer(name: &str, seed: u8) -> SignerKey {
        SignerKey::from_seed(name, Kind::Note, &[seed; 32]).expect("a name")
    }

    fn keyring(revision: u64, root: u8, dock_until: &str) -> Keyring {
        let date = |text: &str| text.parse().expect("a date");
        let days = Days { from: date("2026-01-01"), until: date(dock_until) };
        let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        Keyring {
            authority: signer("a", root).verifier(),
            revision,
            issued: "2026-01-01T00:00:00Z".parse().expect("a time"),
            expires: date("2027-01-01"),
            retention_days: 10,
            members: vec![Member {
                role: Role::new("evidence").expect("a word"),
                days: None,
                recipient: recipient.parse().expect("a recipient"),
            }],
            docks: vec![Enrolled { key: signer("d", 9).verifier(), days }],
            successor: None,
        }
    }

    fn signed(keyring: &Keyring, root: u8) -> Vec<u8> {
        keyring.sign(&signer("a", root)).expect("good").to_string().into_bytes()
    }

    /// One revision, with a retention of ten days.
    pub fn revisions() -> Revisions {
        let file = signed(&keyring(1, 1, "2027-01-01"), 1);
        let mut revisions = Revisions::new(&file, &[]).expect("a keyring");
        revisions.take_file(&file).expect("signed");
        revisions
    }

    #[test]
    fn a_root_that_an_earlier_revision_named_counts() {
        let mut naming = keyring(1, 1, "2027-01-01");
        naming.successor = Some(signer("a", 2).verifier());
        let file = signed(&keyring(2, 2, "2027-01-01"), 2);
        let mut revisions = Revisions::new(&file, &[signer("a", 1).verifier()]).expect("a keyring");
        assert!(matches!(revisions.take_file(&file), Err(Refusal::WrongRoot { .. })));
        assert_eq!(revisions.take(Some(1), &signed(&naming, 1)), Ok(()));
        assert_eq!(revisions.take_file(&file), Ok(()));
        assert_eq!(revisions.newest().revision, 2);
    }

    #[test]
    fn forged_misplaced_and_doubled_revisions_are_told_apart() {
        let mut revisions = revisions();
        let good = signed(&keyring(1, 1, "2027-01-01"), 1);
        assert_eq!(revisions.take(Some(1), &good), Ok(()));
        assert!(matches!(revisions.take(Some(2), &good), Err(What::KeyringForged { .. })));
        assert!(matches!(revisions.take(Some(1), b"x"), Err(What::KeyringForged { .. })));
        let other = signed(&keyring(1, 1, "2026-05-01"), 1);
        assert_eq!(revisions.take(Some(1), &other), Err(What::KeyringForked));
        let stranger = signed(&keyring(2, 3, "2027-01-01"), 3);
        let taken = revisions.take(Some(2), &stranger);
        assert!(matches!(taken, Err(What::KeyringUnknownRoot { .. })));
        let forged = signed(&keyring(2, 1, "2027-01-01"), 3);
        assert!(matches!(revisions.take(Some(2), &forged), Err(What::KeyringForged { .. })));
    }

    #[test]
    fn the_newest_revision_that_names_a_key_says_its_days() {
        let mut revisions = revisions();
        assert_eq!(revisions.take(Some(2), &signed(&keyring(2, 1, "2026-05-01"), 1)), Ok(()));
        let keys = revisions.keys_of("d");
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].days.until.to_string(), "2026-05-01");
        assert!(revisions.keys_of("e").is_empty());
    }
}
