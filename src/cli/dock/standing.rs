//! How the dock stands with the authority and the auditor: keyring and custody log, for `status`.

use serde::Serialize;

use super::control::{self, PauseJson};
use super::why::{self, Cause};
use crate::cli::seconds_for_people;
use crate::clip::Timestamp;
use crate::dock::agent::{Need, needs};
use crate::dock::config::{self, Config};
use crate::dock::keys::Keys;
use crate::dock::queue::{QueueError, Reader};
use crate::keyring::{Keyring, day_of};

/// What `status` says of log and keyring.
#[derive(Serialize)]
pub(super) struct StandingJson {
    /// The current log's id.
    log: String,
    /// Its number of entries.
    log_size: u64,
    /// When the dock was taken out of service, RFC 3339; null where it was not.
    closed: Option<String>,
    /// The object that shows that another dock writes this log.
    forked: Option<String>,
    /// Whether the log does not continue an earlier one, and erasing waits because of it.
    unacknowledged: bool,
    /// That the queue before was lost; until an operator acknowledges it.
    lost: Option<LostJson>,
    /// Buckets that have not the whole log.
    behind: Vec<BehindJson>,
    /// Why the last checkpoint has no cosignature of the witness.
    witness_problem: Option<String>,
    /// How long ago the authority last proved that clips of this dock can be opened.
    drilled_seconds: Option<u64>,
    /// The last good keyring; none where the recipients stand in the config.
    keyring: Option<KeyringJson>,
    /// Buckets that an operator paused.
    paused: Vec<PauseJson>,
    /// What a person must see to beside held clips, worst first.
    #[serde(skip)]
    pub(super) needs: Vec<Need>,
}

#[derive(Serialize)]
struct BehindJson {
    bucket: String,
    entry_count: u64,
    problem: Option<String>,
    problem_seconds: Option<u64>,
}

#[derive(Serialize)]
struct LostJson {
    cause: String,
    seconds: u64,
    found_count: u64,
}

#[derive(Serialize)]
struct KeyringJson {
    revision: u64,
    expires: String,
    days_left: i32,
}

/// The last good keyring; none where the recipients stand in the config.
pub(super) fn keyring(config: &Config, reader: &Reader) -> Result<Option<Keyring>, QueueError> {
    match &config.keys {
        config::Keys::Here(_) => Ok(None),
        keys @ config::Keys::Keyring { .. } => Ok(Keys::new(keys, &reader.keyrings()?).keyring()),
    }
}

pub(super) fn gather(
    config: &Config,
    reader: &Reader,
    now: Timestamp,
) -> Result<StandingJson, QueueError> {
    let (log, log_size) = reader.log()?;
    let keyring = keyring(config, reader)?;
    let needs = needs(config, reader, keyring.as_ref(), now)?;
    let mut behind = Vec::new();
    for bucket in &config.buckets {
        let published = reader.published(&bucket.name)?.size;
        let problem = reader.publish_problem(&bucket.name)?;
        if published < log_size {
            behind.push(BehindJson {
                bucket: bucket.name.clone(),
                entry_count: log_size - published,
                problem_seconds: problem.as_ref().map(|(_, since)| now.seconds_since(*since)),
                problem: problem.map(|(problem, _)| problem),
            });
        }
    }
    let keyring = keyring.map(|keyring| KeyringJson {
        revision: keyring.revision,
        expires: keyring.expires.to_string(),
        days_left: keyring.days_left(day_of(now)),
    });
    let (forked, unacknowledged) = (reader.forked()?, reader.is_unacknowledged()?);
    let witness_problem = config.witness.as_ref().map(|_| reader.witness_problem()).transpose()?;
    Ok(StandingJson {
        log: log.to_string(),
        log_size,
        closed: reader.closed()?.map(|at| at.to_string()),
        forked,
        unacknowledged,
        lost: reader.lost()?.map(|lost| LostJson {
            seconds: now.seconds_since(Timestamp(lost.at_ms)),
            cause: lost.cause,
            found_count: lost.found_count,
        }),
        behind,
        needs,
        witness_problem: witness_problem.flatten(),
        drilled_seconds: reader.drilled()?.map(|at| now.seconds_since(at)),
        keyring,
        paused: control::pauses(config, &reader.orders()?, now),
    })
}

impl StandingJson {
    /// Whether the dock was taken out of service.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// That the dock was taken out of service, and which bucket does not know it yet.
    pub(super) fn closed(&self) -> Option<(String, Option<Cause>)> {
        let closed = format!("closed on {}", self.closed.as_ref()?);
        let Some(behind) = self.behind.first() else { return Some((closed, None)) };
        let what = format!("{closed}, and bucket {} has not the whole log", behind.bucket);
        let cause = Cause::of(why::CLOSED_BEHIND, Some(what.clone()), behind.problem_seconds);
        Some((what, Some(cause)))
    }

    /// What a person must see to, in the words of a verdict.
    pub(super) fn in_words(&self, need: Need) -> String {
        match need {
            Need::DiskFull => why::DISK_FULL.1.into(),
            Need::Folder => why::FOLDER.1.into(),
            Need::LogForked => why::LOG_FORKED.1.into(),
            Need::QueueLost => "the queue was lost, erasing waits: dockseal acknowledge".into(),
            Need::LogAnew => "the log begins anew, erasing waits: dockseal acknowledge".into(),
            Need::KeyringEnds => match self.keyring.as_ref().map_or(0, |keyring| keyring.days_left)
            {
                ..0 => "the keyring expired".into(),
                days_left => format!("the keyring expires in {days_left} days"),
            },
            Need::DrillOld => {
                let ago = seconds_for_people(self.drilled_seconds.unwrap_or(0));
                format!("clips were last proven to open {ago} ago; ask the authority")
            }
            Need::Paused => self.paused.first().map_or("a bucket is paused".into(), paused),
        }
    }

    /// Whether an operator paused a bucket.
    pub(super) fn is_paused(&self, bucket: &str) -> bool {
        self.paused.iter().any(|pause| pause.bucket == bucket)
    }

    /// All that a person should know of log, keyring and pauses, worst first.
    pub(super) fn causes(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut add = |row, what, since| causes.push(Cause::of(row, what, since));
        for &need in &self.needs {
            match need {
                Need::LogForked => add(why::LOG_FORKED, None, None),
                Need::QueueLost => {
                    let lost = self.lost.as_ref();
                    let what = lost.map(|LostJson { cause, .. }| {
                        format!("the queue was lost ({cause}), and erasing waits")
                    });
                    add(why::QUEUE_LOST, what, lost.map(|lost| lost.seconds));
                }
                Need::LogAnew => add(why::LOG_ANEW, None, None),
                Need::KeyringEnds => add(why::KEYRING_ENDS, Some(self.in_words(need)), None),
                Need::DrillOld => add(why::DRILL_OLD, None, self.drilled_seconds),
                // Told by `StatusJson::causes`, and below.
                Need::DiskFull | Need::Folder | Need::Paused => {}
            }
        }
        if let Some(problem) = &self.witness_problem {
            add(why::WITNESS, Some(format!("the witness failed: {problem}")), None);
        }
        for behind in &self.behind {
            if let Some(problem) = &behind.problem {
                let (count, bucket) = (behind.entry_count, &behind.bucket);
                let what = format!("{count} entries of the log are not in {bucket} yet: {problem}");
                add(why::LOG_BEHIND, Some(what), behind.problem_seconds);
            }
        }
        for pause in &self.paused {
            add(why::PAUSED, Some(paused(pause)), None);
        }
        causes
    }

    /// One line of the screen, or two where there is a keyring, or the queue was lost.
    pub(super) fn lines(&self) -> Vec<String> {
        let worst = self.behind.iter().max_by_key(|behind| (&behind.problem, behind.entry_count));
        let published = match worst {
            None => "published everywhere".to_owned(),
            Some(behind) => {
                let since = behind.problem_seconds.map_or(String::new(), |seconds| {
                    format!(" for {}", seconds_for_people(seconds))
                });
                format!("{} not in {} yet{since}", behind.entry_count, behind.bucket)
            }
        };
        let witness = if self.witness_problem.is_some() { "; the witness failed" } else { "" };
        let mut lines = Vec::new();
        if let Some(LostJson { cause, seconds, found_count }) = &self.lost {
            let ago = seconds_for_people(*seconds);
            let cause: String = cause.chars().take(26).collect();
            lines.push(format!(
                "queue     begun anew {ago} ago ({cause}); {found_count} found in the spool"
            ));
        }
        let ended = if self.is_closed() { ", ended" } else { "" };
        lines.push(format!("log       {} entries{ended}{witness}; {published}", self.log_size));
        // The screen is full: what was lost comes before what is as it was.
        if let (Some(KeyringJson { revision, days_left, .. }), None) = (&self.keyring, &self.lost) {
            let drilled = self.drilled_seconds.map_or(String::new(), |seconds| {
                format!("; clips proven to open {} ago", seconds_for_people(seconds))
            });
            lines.push(format!("keyring   revision {revision}, {days_left} days left{drilled}"));
        }
        lines
    }
}

fn paused(PauseJson { bucket, until }: &PauseJson) -> String {
    let until = until.as_deref().unwrap_or("it is resumed");
    format!("bucket {bucket} is paused until {until}")
}

#[cfg(test)]
impl StandingJson {
    /// As bad as it can be.
    pub(super) fn worst() -> StandingJson {
        let behind = BehindJson {
            bucket: "b".repeat(64),
            entry_count: 1_000_000,
            problem: Some("the bucket failed".into()),
            problem_seconds: Some(1_000_000),
        };
        StandingJson {
            log: "0".repeat(16),
            log_size: 1_000_000,
            closed: None,
            forked: Some("key".into()),
            unacknowledged: true,
            lost: Some(LostJson {
                cause: "c".repeat(200),
                seconds: 1_000_000,
                found_count: 1_000_000,
            }),
            behind: vec![behind],
            witness_problem: Some("the witness failed".into()),
            drilled_seconds: Some(1_000_000),
            keyring: Some(KeyringJson {
                revision: 1_000_000,
                expires: "2026-11-21".into(),
                days_left: -1000,
            }),
            needs: Need::ALL.into(),
            paused: vec![PauseJson { bucket: "b".repeat(64), until: None }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::WARNING_DAYS;

    #[test]
    fn what_a_person_must_see_to_has_its_words() {
        let mut standing = StandingJson::worst();
        let words = [
            "is full",
            "a watch folder",
            "another dock",
            "was lost",
            "begins anew",
            "the keyring expired",
            "11d 13h ago",
            "is paused until it is resumed",
        ];
        for (need, words) in Need::ALL.into_iter().zip(words) {
            let said = standing.in_words(need);
            assert!(said.contains(words), "{need:?}: {said}");
        }
        standing.keyring.as_mut().expect("a keyring").days_left = WARNING_DAYS;
        assert_eq!(standing.in_words(Need::KeyringEnds), "the keyring expires in 14 days");
        let listed = standing.causes();
        let codes: Vec<_> = listed.iter().map(|cause| cause.code).collect();
        let words = ["log-forked", "queue-lost", "log-anew", "keyring-ends", "drill-old"];
        assert_eq!(codes[..words.len()], words);
        assert_eq!(codes.last(), Some(&"paused"));
    }
}
