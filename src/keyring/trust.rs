//! Which keyrings count: signed by a root that is trusted, and never older than the last one.

use jiff::civil::Date;

use super::{Keyring, KeyringError, Unreadable};
use crate::note::{Note, NoteError, VerifierKey};

/// What is trusted: the pinned root, the successors that it named, and the last good keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    roots: Vec<VerifierKey>,
    last: Option<Box<Keyring>>,
}

impl Trust {
    /// Trusts keyrings of this root, and of the successors that they name.
    pub fn pinned(root: VerifierKey) -> Trust {
        Trust { roots: vec![root], last: None }
    }

    /// Trusts one more root: that of an auditor who knows an earlier one.
    pub fn and(mut self, root: VerifierKey) -> Trust {
        self.roots.push(root);
        self
    }

    /// The last good keyring.
    pub fn last(&self) -> Option<&Keyring> {
        self.last.as_deref()
    }

    /// Reads a note whose signature counts. Its revision is not looked at.
    pub fn verify(&self, bytes: &[u8]) -> Result<Keyring, Refusal> {
        let note = Note::parse(bytes).map_err(Unreadable::from)?;
        let keyring = Keyring::from_note(&note).map_err(Unreadable::from)?;
        let root = self.roots.iter().find(|root| **root == keyring.authority);
        let root = root.ok_or_else(|| Refusal::WrongRoot { found: keyring.authority.clone() })?;
        match note.verify(root) {
            Ok(_) => Ok(keyring),
            Err(NoteError::NotSigned) => Err(Refusal::NotSigned),
            Err(error) => Err(Refusal::Unreadable(error.into())),
        }
    }

    /// Takes a keyring where it is signed and not older than the last one. Says whether it is a
    /// new revision.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        let keyring = self.verify(bytes)?;
        if let Some(last) = &self.last {
            if keyring.revision < last.revision {
                return Err(Refusal::Rollback { last: last.revision, found: keyring.revision });
            }
            if keyring.revision == last.revision {
                let is_same = keyring == **last;
                return if is_same { Ok(false) } else { Err(Refusal::Fork(keyring.revision)) };
            }
        }
        // The old root may still withdraw a successor that has not signed. Once it has, the old
        // root signs no more: it may be in other hands.
        if let Some(successor) = &keyring.successor {
            self.roots = vec![keyring.authority.clone(), successor.clone()];
        } else {
            self.roots.retain(|root| *root == keyring.authority);
        }
        self.last = Some(Box::new(keyring));
        Ok(true)
    }
}

impl Keyring {
    /// Whether a dock may seal by this keyring on a day.
    pub fn usable_on(&self, day: Date) -> Result<(), Refusal> {
        if day > self.expires {
            return Err(Refusal::Expired { on: self.expires });
        }
        Ok(())
    }
}

/// Why a keyring is not taken, or not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its last day is over.
    #[error("the keyring expired on {on}")]
    Expired {
        /// The last day.
        on: Date,
    },
    /// Two different keyrings with one revision.
    #[error("two different keyrings have revision {0}")]
    Fork(u64),
    /// The root that it names did not sign it.
    #[error("the keyring is not signed by the authority that it names")]
    NotSigned,
    /// Older than the last good one.
    #[error("the keyring has revision {found}, older than {last}, which was in use")]
    Rollback {
        /// In use.
        last: u64,
        /// Offered.
        found: u64,
    },
    /// Not a keyring at all.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Signed by somebody else's root.
    #[error("the keyring is of another authority: {found}")]
    WrongRoot {
        /// What it names.
        found: VerifierKey,
    },
}

impl From<KeyringError> for Refusal {
    fn from(error: KeyringError) -> Refusal {
        Refusal::Unreadable(error.into())
    }
}
