//! The options that say which docks count, and what their logs say of a clip.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::super::{Complaint, Exit};
use super::BucketArgs;
use crate::authority::origin::{Claim, Origin, Verdict};
use crate::authority::restore::{Facts, Overseer, RestoreError};
use crate::clip::printable;
use crate::keyring::{Keyring, Refusal, Trust, Unreadable};
use crate::note::{NOTE_SIZE_MAX, Note, VerifierKey};

/// Which docks count.
#[derive(clap::Args)]
pub struct KeyringArgs {
    /// The signed keyring: the docks whose logs are believed
    #[arg(long, value_name = "FILE", env = "DOCKSEAL_KEYRING")]
    keyring: Option<PathBuf>,
    /// The root's verifier key that must have signed the keyring. Without it, the keyring is taken
    /// as it is: keep it where nobody else can write
    #[arg(long, value_name = "VKEY", requires = "keyring")]
    authority: Option<VerifierKey>,
}

impl KeyringArgs {
    /// The keyring, where one was given.
    pub fn read(&self) -> Result<Option<Keyring>, Complaint> {
        let Some(path) = &self.keyring else { return Ok(None) };
        let title = || format!("cannot use the keyring {}", printable(path));
        let bytes = read_note(path).map_err(|error| {
            Complaint::new(Exit::Config, title(), &error)
                .hint("check the path; `dockseal-authority keyring publish` put it in the bucket")
        })?;
        verify(&bytes, self.authority.as_ref()).map(Some).map_err(|refusal| {
            Complaint::new(Exit::Config, title(), &refusal)
                .hint("only a signed revision counts, of the root that you trust")
        })
    }

    /// As [`KeyringArgs::read`], for commands that are nothing without one.
    pub fn read_required(&self) -> Result<Keyring, Complaint> {
        self.read()?.ok_or_else(|| {
            Complaint::text(Exit::Usage, "nothing says which docks count")
                .hint("give --keyring FILE, or set DOCKSEAL_KEYRING")
        })
    }
}

/// The bytes of a note, and no more than one has.
pub fn read_note(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let most = NOTE_SIZE_MAX as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A keyring that its root signed; the root must be `pinned`, where that is given.
pub fn verify(bytes: &[u8], pinned: Option<&VerifierKey>) -> Result<Keyring, Refusal> {
    let root = match pinned {
        Some(pinned) => pinned.clone(),
        None => {
            let note = Note::parse(bytes).map_err(Unreadable::from)?;
            Keyring::from_note(&note)?.authority
        }
    };
    Trust::pinned(root).verify(bytes)
}

/// The logs of all buckets that clips were named in.
pub struct Origins<'a> {
    keyring: &'a Keyring,
    access: &'a BucketArgs,
    runtime: &'a Runtime,
    by_url: HashMap<String, Origin<'a>>,
}

impl<'a> Origins<'a> {
    /// Nothing is opened yet.
    pub fn new(keyring: &'a Keyring, access: &'a BucketArgs, runtime: &'a Runtime) -> Origins<'a> {
        Origins { keyring, access, runtime, by_url: HashMap::new() }
    }

    /// The logs beside a clip.
    pub fn beside(
        &mut self,
        label: &str,
        logs_url: Option<&str>,
    ) -> Result<&mut Origin<'a>, Complaint> {
        let Some(url) = logs_url else {
            let message = format!("cannot check the origin of {label}: its log is in a bucket");
            let hint = "give --bucket URL, or leave out --keyring to open it unchecked";
            return Err(Complaint::text(Exit::Usage, message).hint(hint));
        };
        if !self.by_url.contains_key(url) {
            let bucket = self.access.open(url)?;
            let origin = Origin::new(bucket, self.keyring, self.runtime.handle().clone());
            self.by_url.insert(url.to_owned(), origin);
        }
        Ok(self.by_url.get_mut(url).expect("put there above"))
    }
}

/// What becomes of a clip that no dock logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlogged {
    /// It is opened all the same, loudly.
    Accept,
    /// It is refused.
    Refuse,
}

/// Counts the bytes of one clip, and judges it at the end.
pub struct Judge<'o, 'a> {
    /// Where the count is shown.
    pub bar: &'o ProgressBar,
    /// Who is asked; nobody without a keyring.
    pub origin: Option<&'o mut Origin<'a>>,
    /// Of those that no dock logged.
    pub unlogged: Unlogged,
    /// What was said.
    pub verdict: Option<Verdict>,
}

impl Overseer for Judge<'_, '_> {
    fn wrote(&mut self, size_bytes: u64) {
        self.bar.inc(size_bytes);
    }

    fn judge(&mut self, facts: &Facts) -> Result<(), RestoreError> {
        let Some(origin) = self.origin.as_mut() else { return Ok(()) };
        let claim = Claim {
            name: facts.name,
            size_bytes: Some(facts.sealed_size_bytes),
            manifest: &facts.manifest,
            plaintext_sha256: Some(facts.plaintext.sha256),
        };
        let verdict = origin.judge(&claim).map_err(RestoreError::Origin)?;
        if !verdict.is_authentic() && self.unlogged == Unlogged::Refuse {
            return Err(RestoreError::NotAuthentic(Box::new(verdict)));
        }
        self.verdict = Some(verdict);
        Ok(())
    }
}

/// A verdict in JSON.
#[derive(Serialize)]
pub struct VerdictJson {
    /// `authentic`, or the word of why not.
    word: &'static str,
    /// The sentence.
    text: String,
    dock: Option<String>,
    /// When it was sealed, by the dock's clock.
    at: Option<String>,
    log: Option<String>,
    /// From 0.
    entry: Option<u64>,
    /// Of the dock's key.
    fingerprint: Option<String>,
}

impl VerdictJson {
    /// All that it says.
    pub fn new(verdict: &Verdict) -> VerdictJson {
        let (word, text) = (verdict.word(), verdict.to_string());
        let (mut dock, mut at, mut log, mut entry, mut key) = (None, None, None, None, None);
        if let Verdict::Authentic { dock: by, at: when, number, log: id, fingerprint } = verdict {
            dock = Some(by.clone());
            at = Some(when.to_string());
            (log, entry, key) = (Some(id.to_string()), Some(*number), Some(fingerprint.clone()));
        }
        VerdictJson { word, text, dock, at, log, entry, fingerprint: key }
    }
}
