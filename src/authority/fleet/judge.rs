//! What a dock's word is worth: signed by whom, how old, and what follows.

use crate::clip::Timestamp;
use crate::custody::status::{self, Status};
use crate::keyring::{Enrolled, day_of};
use crate::note::Note;

/// How far ahead of ours a dock's clock may be.
const CLOCK_SLACK_SECONDS: u64 = 600;
/// Nobody is silent sooner than after twice this, and nobody is well for longer than twice that.
const PROMISE_SECONDS: std::ops::RangeInclusive<u64> = 60..=100_000;

/// How a dock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Dated ahead of our clock.
    Ahead,
    /// The dock says that a person must act.
    Attention,
    /// The dock was taken out of service: nothing more is heard of it, and nobody waits for it.
    Closed,
    /// Not signed by a key that the keyring enrols for the dock and the day.
    Forged,
    /// There is no status of it, and never was, as far as we know.
    Never,
    /// The dock says that all is well.
    Ok,
    /// Its log went on, and its status did not.
    Outdated,
    /// Older than one that was seen before.
    Replayed,
    /// The bucket has not the log of which it speaks.
    Shortened,
    /// No word for more than twice as long as it promised.
    Silent,
    /// No dock of the keyring.
    Unknown,
    /// Not a status, or one of a later version.
    Unreadable,
    /// The dock says that something waits and goes on by itself.
    Waiting,
}

impl Verdict {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ahead => "ahead",
            Verdict::Attention => "attention",
            Verdict::Closed => status::CLOSED,
            Verdict::Forged => "forged",
            Verdict::Never => "never",
            Verdict::Ok => "ok",
            Verdict::Outdated => "outdated",
            Verdict::Replayed => "replayed",
            Verdict::Shortened => "shortened",
            Verdict::Silent => "silent",
            Verdict::Unknown => "unknown",
            Verdict::Unreadable => "unreadable",
            Verdict::Waiting => "waiting",
        }
    }

    /// What to do about it; nothing where it goes on by itself.
    pub fn advice(self) -> &'static str {
        match self {
            Verdict::Ahead => "set the dock's clock, or this one: timedatectl",
            Verdict::Attention => "on the dock: dockseal why",
            Verdict::Forged => "compare the keys: dockseal check there, keyring show here",
            Verdict::Never => "does it run, and may it put its status? dockseal check there",
            Verdict::Closed | Verdict::Ok | Verdict::Waiting => "",
            Verdict::Outdated => "may it replace its status, and is its clock right?",
            Verdict::Replayed | Verdict::Shortened => "find out who changed it: dockseal-audit",
            Verdict::Silent => "is it switched on, and has it a line? dockseal status there",
            Verdict::Unknown => "enrol it, or find out who puts it there",
            Verdict::Unreadable => "has it a later dockseal? update this program",
        }
    }

    /// Whether somebody must see to it.
    pub fn needs_you(self) -> bool {
        !matches!(self, Verdict::Closed | Verdict::Ok | Verdict::Waiting)
    }

    /// Whether it is the dock's own word of now, or its last one.
    pub fn is_believed(self) -> bool {
        matches!(self, Verdict::Attention | Verdict::Closed | Verdict::Ok | Verdict::Waiting)
    }

    /// Silent docks first, then those whose word is not believed, then as they say themselves.
    pub fn rank(self) -> u8 {
        match self {
            Verdict::Never | Verdict::Silent => 0,
            Verdict::Ahead
            | Verdict::Forged
            | Verdict::Outdated
            | Verdict::Replayed
            | Verdict::Shortened
            | Verdict::Unknown
            | Verdict::Unreadable => 1,
            Verdict::Attention => 2,
            Verdict::Waiting => 3,
            Verdict::Ok => 4,
            Verdict::Closed => 5,
        }
    }
}

/// One dock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub dock: String,
    /// How it is.
    pub verdict: Verdict,
    /// What it said last, where a key of it signed that.
    pub status: Option<Status>,
    /// How long ago it said so, by its clock and ours, where they can both be right.
    pub said_seconds: Option<u64>,
    /// When the bucket stored the newest checkpoint of its log; only of a dock that is not heard.
    pub log_at: Option<jiff::Timestamp>,
}

impl Row {
    /// A dock that nobody enrolled. Nothing of what it says counts.
    pub(super) fn unknown(dock: String) -> Row {
        let verdict = Verdict::Unknown;
        Row { dock, verdict, status: None, said_seconds: None, log_at: None }
    }

    /// Clips that do not get to safety by themselves: as the dock says; of one that is not heard,
    /// all that were not safe when it was. `None` where it is not known.
    pub fn at_risk_count(&self) -> Option<u64> {
        let status = self.status.as_ref()?;
        let is_believed = self.verdict.is_believed();
        Some(if is_believed { status.at_risk_count } else { status.unsafe_count })
    }

    /// A dock that is not heard may be one whose status alone stands still.
    pub(super) fn log_went_on(&mut self) {
        let (Some(log_at), Some(status)) = (self.log_at, &self.status) else { return };
        let lag = log_at.as_second().saturating_sub(status.at.as_second());
        if lag > 0 && lag.unsigned_abs() > patience(status) {
            self.verdict = Verdict::Outdated;
        }
    }
}

/// What lies in the place of a dock's status.
#[derive(Debug)]
pub(super) enum Signed {
    /// A status that the dock signed.
    By(Box<Status>),
    /// A note that none of its keys signed, or not for that day or that dock.
    Forged,
    /// No object.
    Nothing,
    /// No status that we can read.
    Unreadable,
}

impl Signed {
    /// Reads it, and looks whose it is.
    pub(super) fn read(bytes: &[u8], dock: &str, keys: &[&Enrolled]) -> Signed {
        let Ok(note) = Note::parse(bytes) else { return Signed::Unreadable };
        let mut signers = keys.iter().filter(|one| note.verify(&one.key).is_ok()).peekable();
        if signers.peek().is_none() {
            return Signed::Forged;
        }
        let Ok(status) = Status::parse(note.text()) else { return Signed::Unreadable };
        let day = day_of(Timestamp(status.at.as_millisecond()));
        let counts = signers.any(|one| one.days.contains(day));
        if counts && status.dock == dock { Signed::By(Box::new(status)) } else { Signed::Forged }
    }
}

/// What follows from a dock's word, where the newest one before was said at `before`.
pub(super) fn judge(
    dock: &str,
    signed: Signed,
    now: Timestamp,
    before: Option<jiff::Timestamp>,
) -> Row {
    let row = |verdict, status: Option<Status>, said_seconds| Row {
        dock: dock.to_owned(),
        verdict,
        status,
        said_seconds,
        log_at: None,
    };
    let status = match signed {
        Signed::By(status) => *status,
        Signed::Forged => return row(Verdict::Forged, None, None),
        Signed::Nothing => return row(Verdict::Never, None, None),
        Signed::Unreadable => return row(Verdict::Unreadable, None, None),
    };
    let at = Timestamp(status.at.as_millisecond());
    let said_seconds = now.seconds_since(at);
    if now.plus_seconds(CLOCK_SLACK_SECONDS) < at {
        return row(Verdict::Ahead, Some(status), None);
    }
    let verdict = if before.is_some_and(|before| before > status.at) {
        Verdict::Replayed
    } else if status.verdict == status::CLOSED {
        // It promised no other word.
        Verdict::Closed
    } else if said_seconds > patience(&status) {
        Verdict::Silent
    } else {
        match status.verdict.as_str() {
            "ok" => Verdict::Ok,
            "waiting" => Verdict::Waiting,
            // A word of later: somebody should look.
            _ => Verdict::Attention,
        }
    };
    row(verdict, Some(status), Some(said_seconds))
}

/// After so many seconds without a word a dock is silent.
fn patience(status: &Status) -> u64 {
    2 * status.next_seconds.clamp(*PROMISE_SECONDS.start(), *PROMISE_SECONDS.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::LogId;
    use crate::keyring::Days;
    use crate::note::{Kind, SignerKey};

    /// 2026-11-21T12:00:00Z.
    const NOON: Timestamp = Timestamp(1_795_262_400_000);

    fn key(seed: u8) -> SignerKey {
        SignerKey::from_seed("d-1", Kind::Note, &[seed; 32]).expect("a name")
    }

    fn enrolled(seed: u8, from: &str, until: &str) -> Enrolled {
        let day = |text: &str| text.parse().expect("a day");
        Enrolled { key: key(seed).verifier(), days: Days { from: day(from), until: day(until) } }
    }

    /// What a dock says `ago` seconds before noon.
    fn status(ago: i64) -> Status {
        Status {
            dock: "d-1".into(),
            at: jiff::Timestamp::from_second(NOON.0 / 1000 - ago).expect("in range"),
            next_seconds: 690,
            version: "0.1.0".into(),
            log: LogId([1; 8]),
            log_size: 7,
            verdict: "ok".into(),
            needs: vec![],
            unsafe_count: 5,
            oldest_unsafe_seconds: 60,
            at_risk_count: 2,
            held: vec![],
            backlog_bytes: 0,
            free_bytes: None,
            keyring: None,
            drilled_seconds: None,
        }
    }

    fn judged(status: Status, before: Option<jiff::Timestamp>) -> Row {
        judge("d-1", Signed::By(Box::new(status)), NOON, before)
    }

    #[test]
    fn a_dock_is_as_it_says_until_it_is_silent() {
        let said = |word: &str| judged(Status { verdict: word.into(), ..status(0) }, None).verdict;
        assert_eq!(said("ok"), Verdict::Ok);
        assert_eq!(said("waiting"), Verdict::Waiting);
        assert_eq!(said("attention"), Verdict::Attention);
        assert_eq!(said("sleeping"), Verdict::Attention);
        for (ago, verdict) in [
            (1380, Verdict::Ok),
            (1381, Verdict::Silent),
            (NOON.0 / 1000, Verdict::Silent),
            (-600, Verdict::Ok),
            (-601, Verdict::Ahead),
        ] {
            assert_eq!(judged(status(ago), None).verdict, verdict, "{ago}");
        }
        // A closed one may be silent for ever.
        for (ago, verdict) in
            [(0, Verdict::Closed), (NOON.0 / 1000, Verdict::Closed), (-601, Verdict::Ahead)]
        {
            let closed = Status { verdict: "closed".into(), ..status(ago) };
            assert_eq!(judged(closed, None).verdict, verdict, "{ago}");
        }
        // What it had to lose when it was last heard.
        assert_eq!(judged(status(0), None).at_risk_count(), Some(2));
        assert_eq!(judged(status(7200), None).at_risk_count(), Some(5));
        assert_eq!(judge("d-1", Signed::Nothing, NOON, None).at_risk_count(), None);
        // Nobody who promises the impossible is silent at once, nor for ever.
        let promise = |next_seconds, ago| judged(Status { next_seconds, ..status(ago) }, None);
        assert_eq!(promise(0, 100).verdict, Verdict::Ok);
        assert_eq!(promise(u64::MAX, 200_000).verdict, Verdict::Ok);
        assert_eq!(promise(u64::MAX, 200_001).verdict, Verdict::Silent);
    }

    #[test]
    fn an_older_word_than_before_is_told_and_so_is_one_whose_log_went_on() {
        let at = |ago| Some(status(ago).at);
        assert_eq!(judged(status(100), at(100)).verdict, Verdict::Ok);
        assert_eq!(judged(status(100), at(99)).verdict, Verdict::Replayed);
        let mut silent = judged(status(7200), at(7200));
        for (log_ago, verdict) in
            [(7300, Verdict::Silent), (5900, Verdict::Silent), (5000, Verdict::Outdated)]
        {
            silent.log_at = at(log_ago);
            silent.log_went_on();
            assert_eq!(silent.verdict, verdict, "{log_ago}");
        }
    }

    #[test]
    fn only_a_key_of_the_dock_and_the_day_speaks_for_it() {
        let (old, new) =
            (enrolled(1, "2026-01-01", "2026-11-20"), enrolled(2, "2026-11-21", "2027-01-01"));
        let keys = [&old, &new];
        let read = |status: &Status, seed: u8| {
            Signed::read(status.sign(&key(seed)).to_string().as_bytes(), "d-1", &keys)
        };
        assert!(matches!(read(&status(0), 2), Signed::By(_)));
        assert!(matches!(read(&status(0), 1), Signed::Forged), "a key of yesterday");
        assert!(matches!(read(&status(86_400), 1), Signed::By(_)), "as it was said then");
        assert!(matches!(read(&status(0), 3), Signed::Forged), "nobody's key");
        let other = Status { dock: "d-2".into(), ..status(0) };
        assert!(matches!(read(&other, 2), Signed::Forged), "of another dock");
        let checkpoint = Note::sign("d-1/log/1\n7\nAAAA\n".into(), &key(2)).to_string();
        let checkpoint = Signed::read(checkpoint.as_bytes(), "d-1", &keys);
        assert!(matches!(checkpoint, Signed::Unreadable), "it signed something else");
        assert!(matches!(Signed::read(b"well\n", "d-1", &keys), Signed::Unreadable));
        let text = status(0).sign(&key(2)).to_string().replace("unsafe 5", "unsafe 4");
        assert!(matches!(Signed::read(text.as_bytes(), "d-1", &keys), Signed::Forged));
    }

    #[test]
    fn whoever_is_not_heard_comes_first_and_who_is_well_last() {
        use Verdict::*;
        let all = [
            Never, Silent, Ahead, Forged, Outdated, Replayed, Shortened, Unknown, Unreadable,
            Attention, Waiting, Ok, Closed,
        ];
        assert!(all.is_sorted_by_key(|verdict| verdict.rank()));
        for verdict in all {
            assert_eq!(verdict.needs_you(), !verdict.advice().is_empty(), "{verdict:?}");
            assert_eq!(verdict.needs_you(), verdict.rank() < Waiting.rank(), "{verdict:?}");
        }
    }
}
