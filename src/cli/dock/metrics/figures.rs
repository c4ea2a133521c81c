//! What a monitor is told of a dock: from queue, config and disk. docs/metrics.md

use std::path::Path;
use std::time::UNIX_EPOCH;

use jiff::ToSpan;

use super::text::{Figure, Kind, Sample};
use crate::cli::dock::{queue_path, standing};
use crate::clip::{State, Timestamp};
use crate::dock::agent;
use crate::dock::config::Config;
use crate::dock::queue::{Counted, QueueError, Reader, beside};
use crate::edge::{clock, fs};
use crate::keyring::Keyring;

/// The figures of one moment.
struct Sheet<'a> {
    config: &'a Config,
    reader: &'a Reader,
    totals: Vec<(Counted, u64)>,
    figures: Vec<Figure>,
}

/// All figures of a dock, whether its daemon runs or not.
pub(super) fn figures(config: &Config, reader: &Reader) -> Result<Vec<Figure>, QueueError> {
    let mut sheet = Sheet { config, reader, totals: reader.totals()?, figures: Vec::new() };
    sheet.daemon()?;
    sheet.clips()?;
    sheet.buckets()?;
    sheet.deliveries()?;
    sheet.folders()?;
    sheet.disk();
    sheet.standing()?;
    Ok(sheet.figures)
}

fn seconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1000)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn one(value: i64) -> Vec<Sample> {
    vec![Sample { labels: vec![], value }]
}

/// A value that may not be known: then there is no sample.
fn known(value: Option<i64>) -> Vec<Sample> {
    value.map_or(vec![], one)
}

fn of<'a>(label: &'static str, values: impl IntoIterator<Item = (&'a str, i64)>) -> Vec<Sample> {
    let sample = |(of, value): (&str, i64)| Sample { labels: vec![(label, of.into())], value };
    values.into_iter().map(sample).collect()
}

impl Sheet<'_> {
    fn gauge(&mut self, name: &'static str, help: &'static str, samples: Vec<Sample>) {
        self.figures.push(Figure { name, help, kind: Kind::Gauge, samples });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, samples: Vec<Sample>) {
        self.figures.push(Figure { name, help, kind: Kind::Counter, samples });
    }

    fn total(&self, wanted: &Counted) -> i64 {
        let found = self.totals.iter().find(|(counted, _)| counted == wanted);
        found.map_or(0, |(_, total)| whole(*total))
    }

    fn daemon(&mut self) -> Result<(), QueueError> {
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        let labels = vec![("dock", self.config.dock.clone()), version];
        let help = "Always 1; its labels say which dock and which version";
        self.gauge("dockseal_build_info", help, vec![Sample { labels, value: 1 }]);
        let state_dir = &self.config.state_dir;
        let runs = agent::running(state_dir).is_ok_and(|pid| pid.is_some());
        self.gauge("dockseal_up", "Whether the daemon runs", one(runs.into()));
        let closed = self.reader.closed()?.is_some();
        let help = "Whether the dock was taken out of service";
        self.gauge("dockseal_closed", help, one(closed.into()));
        // Written when a daemon takes it, and only then.
        let lock = state_dir.join(agent::files::LOCK).metadata();
        let started = lock.and_then(|facts| facts.modified()).ok().filter(|_| runs);
        let started = started.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let started = started.map(|since| whole(since.as_secs()));
        self.gauge("dockseal_start_timestamp_seconds", "When the daemon started", known(started));
        Ok(())
    }

    fn clips(&mut self) -> Result<(), QueueError> {
        let now = clock::now();
        let waiting = self.reader.waiting()?;
        let line = |state: State| {
            let line = waiting.iter().find(|line| line.state == state);
            line.map_or((0, 0), |line| (whole(line.count), whole(line.size_bytes)))
        };
        let states = [State::Seen, State::Sealed].map(|state| (state.word(), line(state)));
        let help = "Clips that are not in every required bucket yet, by state";
        let counts = of("state", states.map(|(word, (count, _))| (word, count)));
        self.gauge("dockseal_clips", help, counts);
        let sizes = of("state", states.map(|(word, (_, size))| (word, size)));
        self.gauge("dockseal_clips_bytes", "Their plaintext bytes", sizes);
        let oldest = self.reader.oldest_unsafe()?;
        let age = oldest.map_or(0, |oldest| whole(now.seconds_since(oldest)));
        let help = "Age of the oldest clip that is not in every required bucket; 0 without any";
        self.gauge("dockseal_oldest_unsafe_clip_age_seconds", help, one(age));
        let help = "Clips ever found";
        self.counter("dockseal_clips_found", help, one(whole(self.reader.found_count()?)));
        for (name, help, counted) in [
            ("dockseal_clips_sealed", "Clips sealed", Counted::Sealed),
            (
                "dockseal_clips_sealed_bytes",
                "Plaintext bytes of clips sealed",
                Counted::SealedBytes,
            ),
            ("dockseal_clips_stored", "Clips that every required bucket got", Counted::Stored),
            ("dockseal_clips_erased", "Clips whose plaintext was erased", Counted::Erased),
        ] {
            let total = self.total(&counted);
            self.counter(name, help, one(total));
        }
        self.held()
    }

    fn held(&mut self) -> Result<(), QueueError> {
        let mut samples = Vec::new();
        for line in self.reader.held()? {
            let of = |who: &str, count| Sample {
                labels: vec![
                    ("reason", line.reason.code().to_owned()),
                    ("bucket", line.bucket.clone().unwrap_or_default()),
                    ("waits_for", who.to_owned()),
                ],
                value: whole(count),
            };
            samples.push(of("operator", line.operator_count));
            samples.push(of("time", line.count - line.operator_count));
        }
        let help = "Clips, or their deliveries to a bucket, that wait for a time or an operator";
        self.gauge("dockseal_held_clips", help, samples);
        Ok(())
    }

    /// How the last attempts at each bucket went.
    fn buckets(&mut self) -> Result<(), QueueError> {
        let lines = self.reader.buckets()?;
        let used = || lines.iter().filter(|line| self.config.bucket(&line.name).is_some());
        // One that was never tried is neither.
        let tried = used().filter(|line| line.problem.is_some() || line.receipt_at.is_some());
        let up = of("bucket", tried.map(|line| (&*line.name, line.problem.is_none().into())));
        let receipts = used().filter_map(|line| Some((&*line.name, seconds(line.receipt_at?))));
        let receipts = of("bucket", receipts);
        let offsets = used().filter_map(|line| Some((&*line.name, -line.behind_seconds?)));
        let offsets = of("bucket", offsets);
        self.gauge("dockseal_bucket_up", "Whether the last attempt at a bucket succeeded", up);
        let help = "When a bucket gave its last receipt";
        self.gauge("dockseal_bucket_last_receipt_timestamp_seconds", help, receipts);
        let help = "Seconds that this dock's clock is ahead of a bucket's";
        self.gauge("dockseal_bucket_clock_offset_seconds", help, offsets);
        Ok(())
    }

    /// What waits for each bucket, and what it has got.
    fn deliveries(&mut self) -> Result<(), QueueError> {
        let mut backlogs = Vec::new();
        for bucket in &self.config.buckets {
            backlogs.push((&*bucket.name, self.reader.backlog(&bucket.name)?));
        }
        let clips = of("bucket", backlogs.iter().map(|(name, left)| (*name, whole(left.count))));
        let bytes = backlogs.iter().map(|(name, left)| (*name, whole(left.size_bytes)));
        let bytes = of("bucket", bytes);
        let help = "Sealed clips in the spool without a bucket's receipt";
        self.gauge("dockseal_bucket_backlog_clips", help, clips);
        self.gauge("dockseal_bucket_backlog_bytes", "Bytes of their sealed files", bytes);
        let names = || self.config.buckets.iter().map(|bucket| &bucket.name);
        let of_each = |counted: fn(String) -> Counted| {
            of("bucket", names().map(|name| (&**name, self.total(&counted(name.clone())))))
        };
        let receipts = of_each(Counted::Receipts);
        let received = of_each(Counted::ReceiptBytes);
        let failures = self.totals.iter().filter_map(|(counted, total)| {
            let Counted::Failures { bucket, trouble } = counted else { return None };
            let labels = vec![("bucket", bucket.clone()), ("trouble", trouble.clone())];
            Some(Sample { labels, value: whole(*total) })
        });
        let failures = failures.collect();
        self.counter("dockseal_bucket_receipts", "Receipts that a bucket gave", receipts);
        let help = "Bytes of the sealed files that a bucket gave receipts for";
        self.counter("dockseal_bucket_received_bytes", help, received);
        let help = "Attempts at a bucket that failed, by what was wrong";
        self.counter("dockseal_bucket_failures", help, failures);
        Ok(())
    }

    /// The watch folders by their place in the config, from 1: a path could name a person.
    fn folders(&mut self) -> Result<(), QueueError> {
        let lines = self.reader.folders()?;
        let (mut up, mut looked, mut files) = (vec![], vec![], vec![]);
        for (number, watch) in (1..).zip(&self.config.watches) {
            let Some(line) = lines.iter().find(|line| line.path == watch.path) else { continue };
            let of = |value| Sample { labels: vec![("folder", i32::to_string(&number))], value };
            up.push(of(line.problem.is_none().into()));
            looked.push(of(seconds(line.looked_at)));
            files.push(of(whole(line.file_count)));
        }
        self.gauge("dockseal_folder_up", "Whether a watch folder can be used", up);
        let help = "When a watch folder was last looked through";
        self.gauge("dockseal_folder_last_look_timestamp_seconds", help, looked);
        self.gauge("dockseal_folder_files", "Clips that lie in a watch folder", files);
        let overflows = self.total(&Counted::Overflows);
        let help = "Times that notifications were lost, and all folders looked through instead";
        self.counter("dockseal_watch_overflows", help, one(overflows));
        Ok(())
    }

    fn disk(&mut self) {
        let state_dir = &self.config.state_dir;
        let space = fs::space(state_dir).ok();
        let help = "Whether the disk of state_dir is so full that no clip is sealed";
        self.gauge("dockseal_spool_full", help, one(agent::is_full(self.config).into()));
        let free = space.map(|space| whole(space.free_bytes));
        self.gauge("dockseal_spool_free_bytes", "Free on the disk of state_dir", known(free));
        let size = space.map(|space| whole(space.size_bytes));
        self.gauge("dockseal_spool_size_bytes", "Size of the disk of state_dir", known(size));
        let files = space.and_then(|space| space.free_files).map(whole);
        let help = "Files that the disk of state_dir still takes";
        self.gauge("dockseal_spool_free_files", help, known(files));
        let queue = queue_path(self.config);
        let size = |path: &Path| path.metadata().map_or(0, |facts| whole(facts.len()));
        let sizes = size(&queue) + beside(&queue).iter().map(|path| size(path)).sum::<i64>();
        self.gauge("dockseal_queue_bytes", "Size of the queue's files", one(sizes));
    }

    /// How the dock stands with the authority and the auditor.
    fn standing(&mut self) -> Result<(), QueueError> {
        let (_, entries) = self.reader.log()?;
        self.gauge("dockseal_log_entries", "Entries of the custody log", one(whole(entries)));
        let mut published = Vec::new();
        for bucket in &self.config.buckets {
            published.push((&*bucket.name, whole(self.reader.published(&bucket.name)?.size)));
        }
        let published = of("bucket", published);
        self.gauge("dockseal_log_published_entries", "Those that a bucket has", published);
        let anew = self.reader.is_unacknowledged()?;
        let help = "Whether erasing waits until an operator acknowledges that the log begins anew";
        self.gauge("dockseal_log_unacknowledged", help, one(anew.into()));
        let forked = self.reader.forked()?.is_some();
        let help = "Whether another dock writes this dock's log, and sealing is stopped";
        self.gauge("dockseal_log_forked", help, one(forked.into()));
        let witness = self.config.witness.as_ref().map(|_| self.reader.witness_problem());
        let witness = witness.transpose()?.map(|problem| problem.is_none().into());
        let help = "Whether the witness cosigned the last checkpoint";
        self.gauge("dockseal_witness_up", help, known(witness));
        let drilled = self.reader.drilled()?.map(seconds);
        let help = "When the authority last proved that clips of this dock open";
        self.gauge("dockseal_last_drill_timestamp_seconds", help, known(drilled));
        let keyring = standing::keyring(self.config, self.reader)?;
        let revision = keyring.as_ref().map(|keyring| whole(keyring.revision));
        self.gauge("dockseal_keyring_revision", "Revision of the keyring", known(revision));
        let ends = keyring.as_ref().and_then(ends);
        self.gauge("dockseal_keyring_end_timestamp_seconds", "When the keyring ends", known(ends));
        Ok(())
    }
}

/// The end of a keyring's last day.
fn ends(keyring: &Keyring) -> Option<i64> {
    let after = keyring.expires.checked_add(1.day()).ok()?;
    let end = after.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(end.timestamp().as_second())
}
