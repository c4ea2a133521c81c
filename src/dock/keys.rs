//! Whom clips are sealed to right now: the config's recipients, or those of the keyring.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::config;
use crate::clip::{SealedName, Timestamp};
use crate::envelope::recipient::{Recipients, RecipientsError};
use crate::error::{Disposition, Fault, chain};
use crate::hold::Reason;
use crate::keyring::{Keyring, Refusal, Trust, day_of};
use crate::note::{NOTE_SIZE_MAX, VerifierKey};

/// How far the clock may lie before a time that is known to be over.
const CLOCK_SLACK_SECONDS: u64 = 600;
/// How far the clock may be from that of a bucket's server.
const CLOCK_SKEW_SECONDS_MAX: u64 = 3600;

/// What is known of the time, besides the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The latest time that was recorded.
    pub latest: Timestamp,
    /// Seconds that the clock is behind that of a bucket's server; negative where ahead.
    pub behind_seconds: Option<i64>,
}

/// Whom to seal to, and by which keyring.
#[derive(Debug, Clone, PartialEq)]
pub struct SealTo {
    /// The recipients.
    pub recipients: Recipients,
    /// The keyring's revision; none where the config names them.
    pub revision: Option<u64>,
}

/// Where a keyring came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A bucket: its operator may offer an old one, which is of no use to him.
    Bucket,
    /// The file that the config names.
    File,
}

impl From {
    /// The word that the queue keeps.
    pub fn word(self) -> &'static str {
        match self {
            From::Bucket => "bucket",
            From::File => "file",
        }
    }
}

/// A new revision that is good, to be recorded and then taken.
#[derive(Debug)]
pub struct Offer {
    /// The note, as it was read.
    pub note: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of its text.
    pub sha256: SealedName,
    /// Where it came from.
    pub from: From,
    trust: Trust,
}

/// What a look at the keyring's file gave.
#[derive(Debug)]
pub enum Look {
    /// It cannot be used, or could not be read.
    Refused,
    /// It is as it was.
    Same,
    /// It changed, and is good; it may be a new revision.
    Usable(Option<Offer>),
}

/// The room's state.
pub struct Keys(Mutex<Inner>);

enum Inner {
    Here(Recipients),
    Keyring {
        file: PathBuf,
        trust: Trust,
        seen: Vec<u8>,
        file_revision: u64,
        refused: Option<String>,
    },
}

impl Keys {
    /// Begins with what the config says and with the keyrings that were taken before, oldest
    /// first, with the word of where each came from.
    pub fn new(config: &config::Keys, taken: &[(String, String)]) -> Keys {
        Keys(Mutex::new(match config {
            config::Keys::Here(recipients) => Inner::Here(recipients.clone()),
            config::Keys::Keyring { file, authority } => {
                let mut trust = Trust::pinned(authority.clone());
                let mut file_revision = 0;
                for (note, from) in taken {
                    // Of a root that was pinned before: of no use any more.
                    let is_taken = trust.take(note.as_bytes()).is_ok();
                    if is_taken && from == From::File.word() {
                        file_revision = trust.last().map_or(0, |keyring| keyring.revision);
                    }
                }
                let (seen, refused, file) = (Vec::new(), None, file.clone());
                Inner::Keyring { file, trust, seen, file_revision, refused }
            }
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the keyring's file where it changed. A file that is there and cannot be used holds
    /// all clips: somebody must look at it. One that is missing changes nothing.
    pub fn look_at_file(&self) -> Look {
        let mut inner = self.lock();
        let Inner::Keyring { file, trust, seen, file_revision, refused } = &mut *inner else {
            return Look::Same;
        };
        let bytes = match read(file) {
            Ok(bytes) if bytes == *seen => return Look::Same,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                seen.clear();
                return refused.take().map_or(Look::Same, |_| Look::Usable(None));
            }
            Err(error) => {
                *refused = Some(format!("cannot read the keyring: {error}"));
                seen.clear();
                return Look::Refused;
            }
        };
        let offered = match offer(trust, &bytes, From::File) {
            // A bucket had a later one since: what the file has is known, and no rollback.
            Err(KeysFault::Refused(Refusal::Rollback { found, .. })) if found >= *file_revision => {
                Ok(None)
            }
            offered => offered,
        };
        *seen = bytes;
        match offered {
            Ok(offer) => {
                *refused = None;
                Look::Usable(offer)
            }
            Err(error) => {
                tracing::error!("the keyring is refused: {}", chain(&error));
                *refused = Some(chain(&error));
                Look::Refused
            }
        }
    }

    /// Looks at a keyring that a bucket has. One that is of no use changes nothing.
    pub fn look_at(&self, bytes: &[u8]) -> Result<Option<Offer>, KeysFault> {
        match &*self.lock() {
            Inner::Here(_) => Ok(None),
            Inner::Keyring { trust, .. } => offer(trust, bytes, From::Bucket),
        }
    }

    /// Takes an offer that was recorded.
    pub fn take(&self, offer: Offer) {
        if let Inner::Keyring { trust, file_revision, .. } = &mut *self.lock() {
            *trust = offer.trust;
            if offer.from == From::File {
                *file_revision = offer.revision;
            }
        }
    }

    /// Whether clips are sealed by a keyring.
    pub fn is_keyring(&self) -> bool {
        matches!(&*self.lock(), Inner::Keyring { .. })
    }

    /// Whom to seal to at `now`.
    pub fn seal_to(
        &self,
        dock: &VerifierKey,
        now: Timestamp,
        known: Known,
    ) -> Result<SealTo, KeysFault> {
        let inner = self.lock();
        let (trust, refused) = match &*inner {
            Inner::Here(recipients) => {
                return Ok(SealTo { recipients: recipients.clone(), revision: None });
            }
            Inner::Keyring { trust, refused, .. } => (trust, refused),
        };
        if let Some(refused) = refused {
            return Err(KeysFault::File(refused.clone()));
        }
        let keyring = trust.last().ok_or(KeysFault::None)?;
        right_clock(keyring, now, known)?;
        let today = day_of(now);
        keyring.usable_on(today)?;
        let enrolled = keyring.dock(dock.name(), today).ok_or(KeysFault::NotEnrolled)?;
        if enrolled.key != *dock {
            return Err(KeysFault::OtherKey);
        }
        let recipients = keyring.recipients(today).map_err(KeysFault::Recipients)?;
        Ok(SealTo { recipients, revision: Some(keyring.revision) })
    }

    /// The last good keyring.
    pub fn keyring(&self) -> Option<Keyring> {
        match &*self.lock() {
            Inner::Here(_) => None,
            Inner::Keyring { trust, .. } => trust.last().cloned(),
        }
    }
}

/// A clock that lies before a time that is over would seal to a key of a wrong day.
fn right_clock(keyring: &Keyring, now: Timestamp, known: Known) -> Result<(), KeysFault> {
    let over = known.latest.max(Timestamp(keyring.issued.as_millisecond()));
    if now.plus_seconds(CLOCK_SLACK_SECONDS) < over {
        return Err(KeysFault::Clock { now, known: over });
    }
    match known.behind_seconds {
        Some(behind) if behind.unsigned_abs() > CLOCK_SKEW_SECONDS_MAX => {
            Err(KeysFault::Skew { now, server: Timestamp(now.0.saturating_add(behind * 1000)) })
        }
        Some(_) | None => Ok(()),
    }
}

fn read(file: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(NOTE_SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn offer(trust: &Trust, bytes: &[u8], from: From) -> Result<Option<Offer>, KeysFault> {
    let mut trust = trust.clone();
    if !trust.take(bytes)? {
        return Ok(None);
    }
    let keyring = trust.last().expect("just taken");
    if keyring.members.iter().any(|member| member.recipient.is_example()) {
        return Err(KeysFault::Example);
    }
    let (revision, sha256) = (keyring.revision, SealedName(keyring.sha256()));
    let note = String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Offer { note, revision, sha256, from, trust }))
}

/// Why nothing may be sealed now.
#[derive(Debug, thiserror::Error)]
pub enum KeysFault {
    /// The clock lies before a time that is over.
    #[error("the clock says {now}, but {known} is over")]
    Clock {
        /// What the clock says.
        now: Timestamp,
        /// What was recorded, or signed.
        known: Timestamp,
    },
    /// A published key.
    #[error("the keyring has a key of keys-example/: everybody has its private half")]
    Example,
    /// The keyring's file cannot be used.
    #[error("{0}")]
    File(String),
    /// There never was a keyring.
    #[error("there is no keyring yet")]
    None,
    /// The keyring does not name this dock for today.
    #[error("the keyring does not name this dock for today")]
    NotEnrolled,
    /// The keyring names another key for this dock.
    #[error("the keyring names another signing key for this dock")]
    OtherKey,
    /// Nobody to seal to today.
    #[error("the keyring has nobody to seal to today")]
    Recipients(#[source] RecipientsError),
    /// It is expired, of a wrong root, older, or not readable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The clock is far from that of a bucket's server.
    #[error("the clock says {now}, a bucket's server says {server}")]
    Skew {
        /// What our clock says.
        now: Timestamp,
        /// What the server's says.
        server: Timestamp,
    },
}

impl Fault for KeysFault {
    /// A good keyring, or clock, releases its clips at once; until then asking again costs nothing.
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn reason(&self) -> Reason {
        match self {
            KeysFault::Clock { .. } | KeysFault::Skew { .. } => Reason::ClockWrong,
            KeysFault::Example
            | KeysFault::File(_)
            | KeysFault::None
            | KeysFault::NotEnrolled
            | KeysFault::OtherKey
            | KeysFault::Recipients(_)
            | KeysFault::Refused(_) => Reason::KeyringUnusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{Days, Enrolled, Member, Role};
    use crate::note::{Kind, SignerKey};

    const RECIPIENT: &str = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z";
    /// 2026-11-21T12:00:00Z.
    const NOON: Timestamp = Timestamp(1_795_262_400_000);

    fn key(name: &str) -> SignerKey {
        SignerKey::from_seed(name, Kind::Note, &[1; 32]).expect("a name")
    }

    fn keys() -> Keys {
        let day = |text: &str| text.parse().expect("a day");
        let keyring = Keyring {
            authority: key("a.example").verifier(),
            revision: 1,
            issued: "2026-11-21T09:00:00Z".parse().expect("a time"),
            expires: day("2027-11-21"),
            retention_days: 1,
            members: vec![Member {
                role: Role::new("evidence").expect("a word"),
                days: None,
                recipient: RECIPIENT.parse().expect("a recipient"),
            }],
            docks: vec![Enrolled {
                key: key("dock-1").verifier(),
                days: Days { from: day("2026-11-21"), until: day("2027-11-21") },
            }],
            successor: None,
        };
        let note = keyring.sign(&key("a.example")).expect("good").to_string();
        let config = config::Keys::Keyring {
            file: "/nowhere".into(),
            authority: key("a.example").verifier(),
        };
        Keys::new(&config, &[(note, From::File.word().into())])
    }

    #[test]
    fn a_clock_that_others_contradict_seals_nothing() {
        let dock = key("dock-1").verifier();
        let seal_to = |now, latest, behind_seconds| {
            keys().seal_to(&dock, now, Known { latest, behind_seconds })
        };
        let hour = |hours: i64| Timestamp(NOON.0 + hours * 3_600_000);
        assert_eq!(seal_to(NOON, Timestamp(0), None).expect("good").revision, Some(1));
        assert!(seal_to(NOON, NOON, Some(3600)).is_ok());
        let wrong = [
            // Before the keyring was issued.
            (hour(-4), Timestamp(0), None),
            // Before what the log has.
            (NOON, hour(1), None),
            // Far from a server's, either way.
            (NOON, NOON, Some(3601)),
            (NOON, NOON, Some(-90_000)),
        ];
        for (now, latest, behind) in wrong {
            let fault = seal_to(now, latest, behind).expect_err("the clock is wrong");
            assert_eq!(fault.reason(), Reason::ClockWrong, "{fault}");
            assert_eq!(fault.disposition(), Disposition::Retry);
        }
    }
}
