//! `dockseal-authority keyring`: the authority's signed list of recipients and docks.

mod edit;
mod publish;
mod show;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::civil::Date;
use rand_core::UnwrapErr;

use super::super::{Complaint, Exit, count};
use super::PROGRAM;
use crate::authority::draft::{self, DraftError, Published};
use crate::authority::office::{Office, OfficeError};
use crate::clip::printable;
use crate::edge::clock;
use crate::keyring::{Keyring, KeyringError, WARNING_DAYS, day_of};
use crate::note::VerifierKey;

/// Makes and signs the keyring: whom docks seal to, and which docks count
///
/// The folder has the root key, the draft that these commands change, and every revision that was
/// signed. Nothing counts before `sign`, and no dock knows of it before `publish`, or before you
/// carry the file `keyring` there. Keep the folder away from docks and clouds, and keep a second
/// copy.
#[derive(clap::Args)]
pub struct Args {
    /// The authority's folder
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCKSEAL_AUTHORITY",
        default_value = "./authority",
        global = true
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(InitArgs),
    AddRecipient(edit::RecipientArgs),
    AddDayKeys(edit::DayKeysArgs),
    AddDock(edit::DockArgs),
    Retire(edit::RetireArgs),
    Extend(edit::ExtendArgs),
    Successor(SuccessorArgs),
    Sign(SignArgs),
    Show(show::Args),
    Publish(publish::Args),
}

/// Makes the folder with a new root key, and prints the line for dockseal.toml
#[derive(clap::Args)]
struct InitArgs {
    /// The authority's name, such as bpol.example
    name: String,
    /// How many days after sealing a clip may be deleted
    #[arg(long, value_name = "DAYS", default_value_t = 180)]
    retention_days: u32,
    /// The last day on which docks seal by it [default: in a year]
    #[arg(long, value_name = "DATE", value_parser = edit::day)]
    expires: Option<Date>,
}

/// Makes the root key that follows this one, and later lets it take over
///
/// First --new, sign and publish: docks learn who follows. Once all have that revision,
/// --take-over, sign and publish: from then on docks believe the new root alone.
#[derive(clap::Args)]
struct SuccessorArgs {
    /// Make successor.key, and name it in the draft
    #[arg(long, conflicts_with = "take_over", required_unless_present = "take_over")]
    new: bool,
    /// Let successor.key be the root
    #[arg(long)]
    take_over: bool,
}

/// Signs the draft as the next revision
#[derive(clap::Args)]
struct SignArgs {
    /// Allow the published keys of keys-example/, in a demo
    #[arg(long)]
    demo: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit, Complaint> {
    let dir = &args.dir;
    match args.command {
        Command::Init(args) => init(dir, args),
        Command::AddRecipient(args) => edit::add_recipient(dir, args),
        Command::AddDayKeys(args) => edit::add_day_keys(dir, args),
        Command::AddDock(args) => edit::add_dock(dir, args),
        Command::Retire(args) => edit::retire(dir, &args),
        Command::Extend(args) => edit::extend(dir, &args),
        Command::Successor(args) => successor(dir, &args),
        Command::Sign(args) => sign(dir, &args),
        Command::Show(args) => show::run(dir, &args),
        Command::Publish(args) => publish::run(dir, &args),
    }
}

fn init(dir: &Path, args: InitArgs) -> Result<Exit, Complaint> {
    let today = today();
    let next_year = today.saturating_add(jiff::Span::new().years(1));
    let expires = args.expires.unwrap_or(next_year);
    if expires < today {
        let refused = DraftError::Expired { on: expires };
        return Err(draft_complaint("cannot make the authority", &refused));
    }
    let draft = |authority| Keyring {
        authority,
        revision: 0,
        issued: now(),
        expires,
        retention_days: args.retention_days,
        members: vec![],
        docks: vec![],
        successor: None,
    };
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let made = Office::create(dir, draft, &args.name, rng);
    let (_, root) = made.map_err(|error| office_complaint(dir, &error))?;
    let out = &mut io::stdout().lock();
    writeln!(out, "made the root key in {}/root.key; keep a second copy of it", printable(dir))?;
    tell_root(out, &root)?;
    writeln!(out, "next: {PROGRAM} keyring add-recipient evidence --new")?;
    Ok(Exit::Ok)
}

/// What every dock's config pins.
fn tell_root(out: &mut impl Write, root: &VerifierKey) -> io::Result<()> {
    writeln!(out, "for dockseal.toml:\nauthority = \"{root}\"")?;
    writeln!(out, "fingerprint {}", root.fingerprint())
}

fn sign(dir: &Path, args: &SignArgs) -> Result<Exit, Complaint> {
    let office = open(dir)?;
    let draft = office.draft().map_err(|error| office_complaint(dir, &error))?;
    let published = if args.demo { Published::Allow } else { Published::Refuse };
    let today = today();
    draft::expect_ready(&draft, today, published)
        .map_err(|error| draft_complaint("cannot sign the draft", &error))?;
    let signed = office.sign(draft, now()).map_err(|error| office_complaint(dir, &error))?;
    let members = count("recipient", signed.members.len());
    let docks = count("dock", signed.docks.len());
    let (revision, expires) = (signed.revision, signed.expires);
    let out = &mut io::stdout().lock();
    writeln!(out, "signed revision {revision}: {members}, {docks}, to {expires}")?;
    warn_of_uncovered(&signed, today);
    writeln!(
        out,
        "next: {PROGRAM} keyring publish BUCKET; or carry {}/keyring to the docks",
        printable(dir)
    )?;
    Ok(Exit::Ok)
}

/// Says loudly which day nothing could be sealed on.
fn warn_of_uncovered(keyring: &Keyring, today: Date) {
    let days = usize::try_from(WARNING_DAYS).expect("a few days");
    if let Some(day) = draft::uncovered_day(keyring, today, days) {
        let line = format!("{PROGRAM}: warning: no recipient is valid on {day}: docks will hold\n");
        // Nowhere is left to say that standard error is closed.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

fn successor(dir: &Path, args: &SuccessorArgs) -> Result<Exit, Complaint> {
    let office = open(dir)?;
    let refused = |error: OfficeError| office_complaint(dir, &error);
    let out = &mut io::stdout().lock();
    if args.new {
        let mut draft = office.draft().map_err(refused)?;
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let key = office.make_successor(rng).map_err(refused)?;
        draft.successor = Some(key.clone());
        office.save_draft(&draft).map_err(refused)?;
        writeln!(out, "made successor.key: {key}")?;
        writeln!(out, "fingerprint {}", key.fingerprint())?;
    } else {
        let key = office.take_over().map_err(refused)?;
        writeln!(out, "the successor is the root now; the former is former-root.key")?;
        tell_root(out, &key)?;
    }
    unsigned(out)?;
    Ok(Exit::Ok)
}

fn unsigned(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "next: {PROGRAM} keyring sign")
}

fn open(dir: &Path) -> Result<Office, Complaint> {
    Office::open(dir).map_err(|error| office_complaint(dir, &error))
}

fn now() -> jiff::Timestamp {
    let seconds = clock::now().0.div_euclid(1000);
    jiff::Timestamp::from_second(seconds).expect("the clock is within 9999 years")
}

fn today() -> Date {
    day_of(clock::now())
}

fn office_complaint(dir: &Path, error: &OfficeError) -> Complaint {
    let title = format!("the authority in {}", printable(dir));
    let hint = match error {
        OfficeError::Busy => "wait for it",
        OfficeError::Draft(_) => "edit it, or remove it to begin from the newest signed revision",
        OfficeError::Exists { .. } => {
            "another authority needs another folder: --dir DIR; this one goes on"
        }
        OfficeError::Io { .. } => "check the folder and the right to write there",
        OfficeError::Key { .. } => "it is one line: PRIVATE+KEY+…; look for a copy of it",
        OfficeError::Name(_) => "a name is such as bpol.example",
        OfficeError::None { .. } => "give --dir DIR, or begin one: keyring init NAME",
        OfficeError::NotNamed => {
            "first: keyring successor --new, sign, and publish it to all docks"
        }
        OfficeError::OldDraft { .. } => {
            "was an old copy put back? remove `draft` to begin from the newest signed revision"
        }
        OfficeError::OtherRoot { .. } => "is root.key the right one? the draft names its authority",
        OfficeError::Revision { .. } => "the folder was changed; look for a copy of it",
    };
    let was_typed = matches!(error, OfficeError::Name(_));
    let exit = if was_typed { Exit::Usage } else { Exit::Config };
    Complaint::text(exit, format!("{title}: {error}")).hint(hint)
}

fn draft_complaint(title: &str, error: &DraftError) -> Complaint {
    let hint = match error {
        DraftError::Enrolled { .. } => {
            "the same dock with a new key? first: keyring retire DOCK [--last-day DAY]"
        }
        DraftError::Enrolment(_) => "paste it whole: dockseal-dock NAME+ID+KEY",
        DraftError::Expired { .. } => "give a day to come: keyring extend --until DATE",
        DraftError::Keyring(KeyringError::Days { .. }) => "give the first day before the last one",
        DraftError::Keyring(KeyringError::Recipients(_)) => {
            "each recipient once, all post-quantum (age1pq1…) or all classic"
        }
        DraftError::Keyring(_) => "see docs/keyring.md",
        DraftError::LastRecipient => "first add another: keyring add-recipient ROLE RECIPIENT",
        DraftError::NeedsDays => "add --from DAY --until DAY; escrow keys have days too",
        DraftError::NeedsNone => "leave out --from and --until, or begin anew with day keys only",
        DraftError::NoRecipient => "keyring add-recipient evidence --new",
        DraftError::NoRecipientOn { .. } => "keyring add-day-keys ROLE --from DAY --until DAY",
        DraftError::NotOne { .. } => "keyring show names docks, recipients and fingerprints",
        DraftError::Published { .. } => "make one: keyring add-recipient ROLE --new; demo: --demo",
    };
    let exit = match error {
        DraftError::Enrolled { .. }
        | DraftError::Enrolment(_)
        | DraftError::NotOne { .. }
        | DraftError::Keyring(_)
        | DraftError::NeedsDays
        | DraftError::NeedsNone => Exit::Usage,
        DraftError::Expired { .. }
        | DraftError::LastRecipient
        | DraftError::NoRecipient
        | DraftError::NoRecipientOn { .. }
        | DraftError::Published { .. } => Exit::Failed,
    };
    Complaint::text(exit, format!("{title}: {error}")).hint(hint)
}
