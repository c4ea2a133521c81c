//! The draft: the next revision of the keyring, while the authority edits it.

use jiff::civil::Date;

use crate::clip::is_plain_name;
use crate::envelope::recipient::{Recipient, RecipientsError};
use crate::keyring::{Days, ENROLMENT, Enrolled, Keyring, KeyringError, Member, Role};
use crate::note::{self, Kind, VerifierKey};

/// The last day of a dock that is enrolled until somebody retires it.
pub const OPEN_END: Date = Date::constant(9999, 12, 31);
/// Characters of a recipient that are enough to name it, where they name one alone.
const PREFIX_LENGTH_MIN: usize = 12;
/// What two people compare of a recipient: 64 bits of the text's SHA-256, in four groups.
pub fn fingerprint(recipient: &Recipient) -> String {
    note::fingerprint(&recipient.to_string())
}

/// The verifier key in the line that `dockseal init` prints: `dockseal-dock VKEY`, or VKEY alone.
pub fn enrolment(line: &str) -> Result<VerifierKey, DraftError> {
    let line = line.trim();
    let text = line.strip_prefix(ENROLMENT).and_then(|rest| rest.strip_prefix(' '));
    let text = text.unwrap_or(line).trim_start();
    let key: VerifierKey =
        text.parse().map_err(|error| DraftError::Enrolment(format!("{error}")))?;
    let name = key.name();
    match key.kind() {
        Kind::Note if is_plain_name(name) => Ok(key),
        Kind::Note => Err(DraftError::Enrolment(format!("{name:?} is no name of a dock"))),
        Kind::Cosignature => Err(DraftError::Enrolment("it is the key of a witness".into())),
    }
}

/// Adds a recipient. All have days, or none: clips would outlive the days otherwise.
pub fn add_recipient(draft: &mut Keyring, member: Member) -> Result<(), DraftError> {
    let first = draft.members.first();
    match (first.map(|first| first.days.is_some()), member.days.is_some()) {
        (Some(true), false) => return Err(DraftError::NeedsDays),
        (Some(false), true) => return Err(DraftError::NeedsNone),
        (Some(true), true) | (Some(false), false) | (None, _) => {}
    }
    draft.members.push(member);
    let mut probe = draft.clone();
    probe.revision = probe.revision.max(1);
    Ok(probe.check()?)
}

/// Enrols a dock. Its key counts from the day after that of an earlier key, or from `from`.
pub fn add_dock(
    draft: &mut Keyring,
    key: VerifierKey,
    from: Date,
    until: Date,
) -> Result<Days, DraftError> {
    let known = draft.docks.iter().filter(|dock| dock.key.name() == key.name());
    let last = known.max_by_key(|dock| dock.days.until);
    if let Some(last) = last.filter(|last| last.days.until >= from) {
        let (dock, until) = (key.name().to_owned(), last.days.until);
        let fingerprint = last.key.fingerprint();
        return Err(DraftError::Enrolled { dock, fingerprint, until });
    }
    let days = Days { from, until };
    if until < from {
        return Err(KeyringError::Days { from, until }.into());
    }
    draft.docks.push(Enrolled { key, days });
    Ok(days)
}

/// What was retired.
#[derive(Debug, PartialEq, Eq)]
pub enum Retired {
    /// A dock; its clips of the days before stay authentic.
    Dock,
    /// A recipient; what is sealed to it stays so.
    Recipient(Role),
}

/// Ends what a name, a recipient or a fingerprint stands for, after `last_day`.
pub fn retire(draft: &mut Keyring, what: &str, last_day: Date) -> Result<Retired, DraftError> {
    let is_meant = |dock: &Enrolled| dock.key.name() == what || dock.key.fingerprint() == what;
    if draft.docks.iter().any(is_meant) {
        // Enrolled for later days only: it never sealed a clip.
        draft.docks.retain(|dock| !is_meant(dock) || dock.days.from <= last_day);
        for dock in draft.docks.iter_mut().filter(|dock| is_meant(dock)) {
            dock.days.until = dock.days.until.min(last_day);
        }
        return Ok(Retired::Dock);
    }
    let fits = |member: &Member| {
        let text = member.recipient.to_string();
        let is_prefix = what.len() >= PREFIX_LENGTH_MIN && text.starts_with(what);
        is_prefix || text == what || fingerprint(&member.recipient) == what
    };
    let mut fitting = draft.members.iter().enumerate().filter(|(_, member)| fits(member));
    let (Some((at, _)), None) = (fitting.next(), fitting.next()) else {
        return Err(DraftError::NotOne { what: what.to_owned() });
    };
    let role = draft.members[at].role.clone();
    match &mut draft.members[at].days {
        Some(days) if days.from <= last_day => days.until = days.until.min(last_day),
        Some(_) | None => drop(draft.members.remove(at)),
    }
    let goes_on = |member: &Member| member.days.is_none_or(|days| days.until > last_day);
    if draft.members.iter().any(goes_on) {
        Ok(Retired::Recipient(role))
    } else {
        Err(DraftError::LastRecipient)
    }
}

/// Lets docks seal by the keyring for longer, or for shorter.
pub fn extend(draft: &mut Keyring, until: Date, today: Date) -> Result<(), DraftError> {
    if until < today {
        return Err(DraftError::Expired { on: until });
    }
    draft.expires = until;
    Ok(())
}

/// Whether the published keys may be recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// In a demo.
    Allow,
    /// Everywhere else: whoever has the program has their private halves.
    Refuse,
}

/// Whether docks could seal by it today.
pub fn expect_ready(draft: &Keyring, today: Date, published: Published) -> Result<(), DraftError> {
    let is_published = |member: &Member| member.recipient.is_example();
    if let Some(member) = draft.members.iter().find(|member| is_published(member))
        && published == Published::Refuse
    {
        return Err(DraftError::Published { role: member.role.as_str().to_owned() });
    }
    if draft.expires < today {
        return Err(DraftError::Expired { on: draft.expires });
    }
    match draft.recipients(today) {
        Ok(_) => Ok(()),
        Err(RecipientsError::Empty) if draft.members.is_empty() => Err(DraftError::NoRecipient),
        Err(RecipientsError::Empty) => Err(DraftError::NoRecipientOn { day: today }),
        Err(error) => Err(KeyringError::Recipients(error).into()),
    }
}

/// The first of some days, before the keyring expires, on which nothing could be sealed.
pub fn uncovered_day(keyring: &Keyring, today: Date, day_count: usize) -> Option<Date> {
    let days = today.series(jiff::Span::new().days(1)).take(day_count);
    days.take_while(|day| *day <= keyring.expires).find(|day| keyring.recipients(*day).is_err())
}

/// Why an edit is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// A dock of this name has a key on these days already.
    #[error("{dock} is enrolled until {until} with the key {fingerprint}")]
    Enrolled {
        /// Its name.
        dock: String,
        /// Of its key.
        fingerprint: String,
        /// Its last day.
        until: Date,
    },
    /// What was pasted is no enrolment.
    #[error("not the line that `dockseal init` prints: {0}")]
    Enrolment(String),
    /// Docks would hold every clip.
    #[error("a keyring that expires on {on} is over already")]
    Expired {
        /// The last day.
        on: Date,
    },
    /// A rule of all keyrings.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Nothing could be sealed any more.
    #[error("no recipient would be left, and docks would hold every clip")]
    LastRecipient,
    /// The others have days.
    #[error(
        "the recipients have days, and one for always would open what their days let go: all \
         recipients have days, or none"
    )]
    NeedsDays,
    /// The others have none.
    #[error(
        "the recipients are for always, so days of this one would let go of nothing: all \
         recipients have days, or none"
    )]
    NeedsNone,
    /// There is none yet.
    #[error("there is no recipient yet")]
    NoRecipient,
    /// Of the day keys, none is for today.
    #[error("no recipient is valid on {day}")]
    NoRecipientOn {
        /// The day.
        day: Date,
    },
    /// Nothing, or several things, are called so.
    #[error("{what:?} is no dock, and names no recipient alone")]
    NotOne {
        /// As given.
        what: String,
    },
    /// Everybody could open the clips.
    #[error("the recipient for {role} is one of keys-example/: everybody has its private half")]
    Published {
        /// Its role.
        role: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::SignerKey;

    const ONE: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    const TWO: &str = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z";

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    fn key(name: &str, seed: u8) -> VerifierKey {
        SignerKey::from_seed(name, Kind::Note, &[seed; 32]).expect("a name").verifier()
    }

    fn draft() -> Keyring {
        Keyring {
            authority: key("bpol.example", 1),
            revision: 0,
            issued: "2026-11-21T09:00:00Z".parse().expect("a time"),
            expires: date("2027-11-21"),
            retention_days: 180,
            members: vec![],
            docks: vec![],
            successor: None,
        }
    }

    fn member(recipient: &str, days: Option<(&str, &str)>) -> Member {
        let days = days.map(|(from, until)| Days { from: date(from), until: date(until) });
        let role = Role::new("evidence").expect("a word");
        Member { role, days, recipient: recipient.parse().expect("a recipient") }
    }

    #[test]
    fn all_recipients_have_days_or_none() {
        let mut one = draft();
        add_recipient(&mut one, member(ONE, None)).expect("the first");
        let days = Some(("2026-11-21", "2026-11-22"));
        assert_eq!(add_recipient(&mut one, member(TWO, days)), Err(DraftError::NeedsNone));
        let mut daily = draft();
        add_recipient(&mut daily, member(ONE, days)).expect("the first");
        assert_eq!(add_recipient(&mut daily, member(TWO, None)), Err(DraftError::NeedsDays));
        assert!(matches!(
            add_recipient(&mut one, member(ONE, None)),
            Err(DraftError::Keyring(KeyringError::Recipients(RecipientsError::Twice { .. })))
        ));
        assert_eq!(uncovered_day(&daily, date("2026-11-21"), 14), Some(date("2026-11-23")));
    }

    #[test]
    fn a_retired_dock_keeps_its_days_and_may_come_back_with_another_key() {
        let mut one = draft();
        let (from, today) = (date("2026-11-01"), date("2026-11-21"));
        add_dock(&mut one, key("dock-1", 2), from, OPEN_END).expect("new");
        let again = add_dock(&mut one, key("dock-1", 3), today, OPEN_END);
        assert!(matches!(again, Err(DraftError::Enrolled { .. })));
        assert_eq!(retire(&mut one, "dock-1", today), Ok(Retired::Dock));
        assert_eq!(one.docks[0].days.until, today);
        let tomorrow = today.tomorrow().expect("in range");
        add_dock(&mut one, key("dock-1", 3), tomorrow, OPEN_END).expect("the day after");
        assert_eq!(retire(&mut one, "dock-1", today), Ok(Retired::Dock));
        assert_eq!(one.docks.len(), 1, "the second key never counted");
    }

    #[test]
    fn the_last_recipient_stays() {
        let mut one = draft();
        let today = date("2026-11-21");
        add_recipient(&mut one, member(ONE, None)).expect("good");
        let mut alone = one.clone();
        assert_eq!(retire(&mut alone, ONE, today), Err(DraftError::LastRecipient));
        add_recipient(&mut one, member(TWO, None)).expect("good");
        assert!(matches!(retire(&mut one, "age1", today), Err(DraftError::NotOne { .. })));
        let by_fingerprint = fingerprint(&one.members[0].recipient);
        assert!(matches!(retire(&mut one, &by_fingerprint, today), Ok(Retired::Recipient(_))));
        assert_eq!(one.members.len(), 1);
    }

    #[test]
    fn an_enrolment_is_one_line_of_a_dock() {
        let vkey = key("hannover-03", 2);
        assert_eq!(enrolment(&format!("dockseal-dock {vkey}\n")), Ok(vkey.clone()));
        assert_eq!(enrolment(&vkey.to_string()), Ok(vkey));
        for bad in ["", "dockseal-dock", &key("../x", 2).to_string(), &key("a/b", 2).to_string()] {
            assert!(matches!(enrolment(bad), Err(DraftError::Enrolment(_))), "{bad}");
        }
    }

    #[test]
    fn published_keys_and_past_days_are_not_signed() {
        let today = date("2026-11-21");
        let mut one = draft();
        assert_eq!(expect_ready(&one, today, Published::Refuse), Err(DraftError::NoRecipient));
        add_recipient(&mut one, member(crate::envelope::recipient::EXAMPLE_RECIPIENTS[1], None))
            .expect("a recipient");
        let refused = expect_ready(&one, today, Published::Refuse);
        assert!(matches!(refused, Err(DraftError::Published { .. })));
        assert_eq!(expect_ready(&one, today, Published::Allow), Ok(()));
        let late = expect_ready(&one, date("2027-11-22"), Published::Allow);
        assert_eq!(late, Err(DraftError::Expired { on: date("2027-11-21") }));
        assert!(extend(&mut one, date("2026-11-20"), today).is_err());
    }
}
