//! The commands that change the draft: recipients, day keys, docks, and how long it is good.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use jiff::civil::Date;
use rand_core::UnwrapErr;

use super::super::super::{Complaint, Exit};
use super::super::terminal;
use super::{draft_complaint, office_complaint, open, today, unsigned};
use crate::authority::draft::{self, OPEN_END, Retired};
use crate::authority::identity::{Identity, Kind};
use crate::authority::office::{Office, OfficeError};
use crate::clip::printable;
use crate::edge::clock;
use crate::keyring::{Days, Keyring, Member, Role};
use crate::note::VerifierKey;

/// The most day keys that one command makes.
const DAY_KEYS_MAX: usize = 400;

/// Adds a recipient: whom docks seal every clip to
#[derive(clap::Args)]
pub struct RecipientArgs {
    /// What it is there for: evidence, escrow, …
    #[arg(value_parser = role)]
    role: Role,
    /// The public key: age1pq1…, age1…, age1tag1…
    #[arg(required_unless_present = "new")]
    recipient: Option<String>,
    /// Make a new key; the private half goes to identities/ in the folder
    #[arg(long, conflicts_with = "recipient")]
    new: bool,
    /// With --new: a classic X25519 key instead of a post-quantum one
    #[arg(long, requires = "new")]
    classic: bool,
    /// The first UTC day on which clips are sealed to it; all recipients have days, or none
    #[arg(long, value_name = "DAY", value_parser = day, requires = "until")]
    from: Option<Date>,
    /// The last such day
    #[arg(long, value_name = "DAY", value_parser = day, requires = "from")]
    until: Option<Date>,
}

/// Makes one key for each day, to be destroyed when that day's retention ends
#[derive(clap::Args)]
pub struct DayKeysArgs {
    /// What they are there for: evidence, escrow, …
    #[arg(value_parser = role)]
    role: Role,
    /// The first UTC day
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Date,
    /// The last day
    #[arg(long, value_name = "DAY", value_parser = day)]
    until: Date,
    /// Classic X25519 keys instead of post-quantum ones
    #[arg(long)]
    classic: bool,
}

/// Enrols a dock: its log counts from now on
#[derive(clap::Args)]
pub struct DockArgs {
    /// The line that `dockseal init` printed on the dock: dockseal-dock NAME+ID+KEY
    #[arg(required = true, value_name = "LINE")]
    line: Vec<String>,
    /// The fingerprint that the dock shows, for scripts; otherwise the terminal is asked
    #[arg(long, value_name = "XXXX-XXXX-XXXX-XXXX")]
    fingerprint: Option<String>,
    /// The first UTC day on which its signatures count [default: today]
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Option<Date>,
    /// The last such day [default: until it is retired]
    #[arg(long, value_name = "DAY", value_parser = day)]
    until: Option<Date>,
}

/// Ends a dock or a recipient
///
/// What a dock sealed until then stays authentic. What was sealed to a recipient stays so, too:
/// nothing is sealed to it any more.
#[derive(clap::Args)]
pub struct RetireArgs {
    /// The dock's name, or the recipient, or the fingerprint of either
    #[arg(value_name = "DOCK|RECIPIENT")]
    what: String,
    /// The last UTC day that counts; of a dock that was stolen, the day before [default: today]
    #[arg(long, value_name = "DAY", value_parser = day)]
    last_day: Option<Date>,
}

/// Sets the last day on which docks seal by the keyring
#[derive(clap::Args)]
pub struct ExtendArgs {
    /// The last day
    #[arg(long, value_name = "DATE", value_parser = day)]
    until: Date,
}

/// A day as all of the keyring's are written.
pub(super) fn day(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| "expected a day, such as 2027-06-30".to_owned())
}

fn role(word: &str) -> Result<Role, String> {
    Role::new(word).ok_or_else(|| "expected a word of letters, digits and hyphens".to_owned())
}

/// Reads the draft, and writes it back where `edit` made of it what is said on standard output.
fn edited(
    dir: &Path,
    edit: impl FnOnce(&Office, &mut Keyring) -> Result<String, Complaint>,
) -> Result<Exit, Complaint> {
    let office = open(dir)?;
    let refused = |error: OfficeError| office_complaint(dir, &error);
    let mut draft = office.draft().map_err(refused)?;
    let said = edit(&office, &mut draft)?;
    office.save_draft(&draft).map_err(refused)?;
    let out = &mut io::stdout().lock();
    writeln!(out, "{said}")?;
    unsigned(out)?;
    Ok(Exit::Ok)
}

/// `keyring add-recipient`
pub fn add_recipient(dir: &Path, args: RecipientArgs) -> Result<Exit, Complaint> {
    let days = args.from.zip(args.until).map(|(from, until)| Days { from, until });
    edited(dir, |office, draft| {
        let Some(text) = &args.recipient else {
            return make(dir, (office, draft), args.role, days, kind_of(args.classic));
        };
        let recipient = text.parse().map_err(|error| {
            Complaint::new(Exit::Usage, "not a recipient", &error)
                .hint("paste the public key whole; keygen and `age-keygen -y` print it")
        })?;
        let said = format!("added {} {}", args.role.as_str(), draft::fingerprint(&recipient));
        draft::add_recipient(draft, Member { role: args.role, days, recipient })
            .map_err(|error| draft_complaint("cannot add the recipient", &error))?;
        Ok(said)
    })
}

/// `keyring add-day-keys`
pub fn add_day_keys(dir: &Path, args: DayKeysArgs) -> Result<Exit, Complaint> {
    let DayKeysArgs { role, from, until, classic } = args;
    let days = from.series(jiff::Span::new().days(1)).take_while(|day| *day <= until);
    let days: Vec<_> = days.take(DAY_KEYS_MAX + 1).collect();
    if days.is_empty() {
        let message = format!("{until} is before {from}");
        return Err(Complaint::text(Exit::Usage, message).hint("give the first day as --from"));
    }
    if days.len() > DAY_KEYS_MAX {
        let message = format!("{from} to {until} are more than {DAY_KEYS_MAX} days");
        return Err(Complaint::text(Exit::Usage, message).hint("a keyring of a year is large too"));
    }
    edited(dir, |office, draft| {
        for day in &days {
            let span = Some(Days { from: *day, until: *day });
            make(dir, (office, draft), role.clone(), span, kind_of(classic))?;
        }
        Ok(format!("made {} day keys for {}, in identities/", days.len(), role.as_str()))
    })
}

fn kind_of(classic: bool) -> Kind {
    if classic { Kind::Classic } else { Kind::PostQuantum }
}

/// Makes an identity, keeps it, and adds its recipient.
fn make(
    dir: &Path,
    (office, draft): (&Office, &mut Keyring),
    role: Role,
    days: Option<Days>,
    kind: Kind,
) -> Result<String, Complaint> {
    let identity = Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng));
    let recipient = identity.recipient().clone();
    let stem = match days {
        Some(days) => format!("{}-{}", role.as_str(), days.from),
        None => role.as_str().to_owned(),
    };
    let fingerprint = draft::fingerprint(&recipient);
    let word = role.as_str().to_owned();
    draft::add_recipient(draft, Member { role, days, recipient })
        .map_err(|error| draft_complaint("cannot add the recipient", &error))?;
    // Before the draft: a recipient whose private half is nowhere must not be signed.
    let path = office.keep_identity(&stem, &identity.file_text(clock::now()));
    let path = path.map_err(|error| office_complaint(dir, &error))?;
    let place = printable(&path);
    Ok(format!("added {word} {fingerprint}; its private key, which opens every clip: {place}"))
}

/// `keyring add-dock`
pub fn add_dock(dir: &Path, args: DockArgs) -> Result<Exit, Complaint> {
    const TITLE: &str = "cannot enrol the dock";
    let key =
        draft::enrolment(&args.line.join(" ")).map_err(|error| draft_complaint(TITLE, &error))?;
    let name = key.name().to_owned();
    let from = args.from.unwrap_or_else(today);
    let until = args.until.unwrap_or(OPEN_END);
    edited(dir, |_, draft| {
        // On a copy first: nobody compares fingerprints for nothing.
        draft::add_dock(&mut draft.clone(), key.clone(), from, until)
            .map_err(|error| draft_complaint(TITLE, &error))?;
        compare(&key, args.fingerprint.as_deref())?;
        draft::add_dock(draft, key, from, until).map_err(|error| draft_complaint(TITLE, &error))?;
        Ok(format!("enrolled {name} from {from}"))
    })
}

/// Whoever stands at the dock must see the same fingerprint: the line came by some way.
fn compare(key: &VerifierKey, expected: Option<&str>) -> Result<(), Complaint> {
    let (dock, found) = (key.name(), key.fingerprint());
    if let Some(expected) = expected {
        if expected.to_ascii_lowercase() == found {
            return Ok(());
        }
        let message = format!("the line of {dock} has the fingerprint {found}, not {expected}");
        return Err(Complaint::text(Exit::Failed, message)
            .hint("do not enrol it: somebody may have changed the line on its way"));
    }
    let nobody = || {
        let message =
            format!("the fingerprint of {dock} must be compared, and nobody can be asked");
        Complaint::text(Exit::Usage, message)
            .hint("read it on the dock's own screen, and give --fingerprint XXXX-XXXX-XXXX-XXXX")
    };
    if !io::stdin().is_terminal() {
        return Err(nobody());
    }
    let question = format!(
        "The line of {dock} has the fingerprint {found}.\n\
         Does the dock's own screen show the same? yes/no: "
    );
    let answer = terminal::ask(&question).map_err(|_| nobody())?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Complaint::text(Exit::Failed, format!("{dock} was not enrolled"))
        .hint("compare again; where they differ, somebody may have changed the line on its way"))
}

/// `keyring retire`
pub fn retire(dir: &Path, args: &RetireArgs) -> Result<Exit, Complaint> {
    let last_day = args.last_day.unwrap_or_else(today);
    edited(dir, |_, draft| {
        let retired = draft::retire(draft, &args.what, last_day)
            .map_err(|error| draft_complaint("cannot retire it", &error))?;
        Ok(match retired {
            Retired::Dock => format!("retired the dock {}; its last day: {last_day}", args.what),
            Retired::Recipient(role) => format!(
                "retired a recipient for {}; keep its identity while clips are sealed to it",
                role.as_str()
            ),
        })
    })
}

/// `keyring extend`
pub fn extend(dir: &Path, args: &ExtendArgs) -> Result<Exit, Complaint> {
    edited(dir, |_, draft| {
        draft::extend(draft, args.until, today())
            .map_err(|error| draft_complaint("cannot extend the keyring", &error))?;
        Ok(format!("docks seal by it to {}", args.until))
    })
}
