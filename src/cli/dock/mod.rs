//! The desk of the dock's program: its commands, its config file, and how a clip is named.

mod check;
mod clips;
mod close;
mod control;
mod control_socket;
mod custody;
mod daemon;
mod demo;
mod guided;
mod json;
mod limit;
mod log;
mod metrics;
mod prove;
mod show;
mod standing;
mod status;
mod wait;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::{Complaint, Exit, conclude};
use crate::clip::{Clip, ClipId, SealedName, Source, printable};
use crate::dock::agent::{self, AgentError, is_full};
use crate::dock::config::Config;
use crate::dock::queue::{Operator, QueueError, Reader};
use crate::dock::signing::SigningError;
use crate::dock::spool::Spool;
use crate::edge::fs;

/// Where the config lies unless told otherwise.
const CONFIG_DEFAULT: &str = "/etc/dockseal/dockseal.toml";
/// What who may not read the dock's files can do.
const AS_ITS_USER: &str = "run it as the daemon's user: runuser -u dockseal -- dockseal …";
/// What a kernel without openat2 lacks.
const NEEDS_OPENAT2: &str =
    "Linux 5.6 or newer is needed: uname -r; or does a filter of system calls hide it?";
/// The fewest digits of a sealed name that name a clip.
const NAME_DIGITS_MIN: usize = 4;

#[derive(Parser)]
#[command(name = "dockseal", version, about, max_term_width = 100)]
#[command(after_help = "exit codes: 0 ok, 1 failed, 2 usage, 3 some clips are held, 10 config, \
    11 already running, 14 bucket unreachable, 130 interrupted")]
struct Arguments {
    /// The config file
    #[arg(long, global = true, env = "DOCKSEAL_CONFIG", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show it all in a folder: demo keys, a folder as bucket, clips sealed, pushed and shown
    Demo {
        /// The demo's folder; made where it is missing
        #[arg(long, default_value = "dockseal-demo")]
        dir: PathBuf,
        /// Clips to copy in; without any, a few are generated
        clips: Vec<PathBuf>,
    },
    /// Prepare the state directory: queue and spool
    Init(guided::InitArguments),
    /// Test everything that would make a bad night
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch, seal, push and erase
    Run {
        /// End when nothing is left that could be done now
        #[arg(long)]
        until_idle: bool,
    },
    /// One screen: what is safe, what is not, and what needs you
    Status(status::StatusArguments),
    /// The first cause of whatever waits, in words, and what to do about it
    Why(why::WhyArguments),
    /// Wait until every clip is safe, for scripts and eject buttons
    Wait(wait::WaitArguments),
    /// List clips, newest first
    List(clips::ListArguments),
    /// All that is known of one clip, and its life step by step
    Show {
        /// Number, beginning of the sealed name, or path
        clip: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try held clips again now
    Retry {
        /// All clips that are held
        #[arg(long, conflicts_with = "clips")]
        all: bool,
        /// Numbers, beginnings of sealed names, or paths
        #[arg(required_unless_present = "all")]
        clips: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send no clips to a bucket, or to any, for a while; they are sealed and wait
    Pause(control::PauseArguments),
    /// Go on with a bucket, or with all of them
    Resume(control::ResumeArguments),
    /// Have clips go to their buckets before all others
    Prioritise(control::PrioritiseArguments),
    /// Wait until what lies in a watch folder is sealed, and have the daemon let go of it
    Eject(control::EjectArguments),
    /// How fast bytes may leave: what holds now, or change it without a restart
    Limit(limit::LimitArguments),
    /// Figures for a monitor, as Prometheus reads them; with the daemon up or down
    Metrics(metrics::MetricsArguments),
    /// The custody log: what was sealed, stored and erased, newest first
    Log(custody::LogArguments),
    /// Acknowledge that the log begins anew, which allows erasing again
    Acknowledge,
    /// Take this dock out of service: nothing may be left to do, and its log ends
    Close(close::CloseArguments),
    /// Acknowledge that a clip vanished before it was sealed, or that its medium will not come back
    Forget {
        /// Numbers or paths
        #[arg(required = true)]
        clips: Vec<String>,
    },
    /// Answer a member of group dockseal-ops; dockseal-control.socket starts it
    #[command(hide = true)]
    Control,
}

impl Command {
    /// Whether the group dockseal-ops may have it done over the control socket: nothing that gives
    /// a clip up, allows erasing, ends the log or writes to a path that is named.
    fn is_for_operators(&self) -> bool {
        match self {
            Command::Check { .. }
            | Command::Eject(_)
            | Command::Limit(_)
            | Command::List(_)
            | Command::Log(_)
            | Command::Pause(_)
            | Command::Prioritise(_)
            | Command::Resume(_)
            | Command::Retry { .. }
            | Command::Show { .. }
            | Command::Status(_)
            | Command::Wait(_)
            | Command::Why(_) => true,
            Command::Metrics(arguments) => !arguments.writes(),
            Command::Acknowledge
            | Command::Close(_)
            | Command::Control
            | Command::Demo { .. }
            | Command::Forget { .. }
            | Command::Init(_)
            | Command::Run { .. } => false,
        }
    }
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program and returns its exit code.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Help for a closed pipe is nobody's loss.
            let _ = error.print();
            return exit.into();
        }
    };
    match control_socket::hand_over(&arguments) {
        None => conclude("dockseal", dispatch(&arguments)),
        Some(Ok(code)) => code.into(),
        Some(Err(complaint)) => conclude("dockseal", Err(complaint)),
    }
}

fn dispatch(arguments: &Arguments) -> Result<Exit, Complaint> {
    let config = &arguments.config;
    match &arguments.command {
        Command::Demo { dir, clips } => demo::demo(dir, clips),
        Command::Init(arguments) => guided::init(config, arguments),
        Command::Check { json } => check::check(config, *json),
        Command::Run { until_idle } => daemon::run(config, *until_idle),
        Command::Status(arguments) => status::command(config, arguments),
        Command::Why(arguments) => why::why(config, arguments),
        Command::Wait(arguments) => wait::wait(&load(config)?, arguments),
        Command::List(list) => clips::list(&open(&load(config)?)?, list),
        Command::Show { clip, json } => show::show(&load(config)?, clip, *json),
        Command::Retry { all, clips, json } => clips::retry(&load(config)?, *all, clips, *json),
        Command::Pause(arguments) => control::pause(&load(config)?, arguments),
        Command::Resume(arguments) => control::resume(&load(config)?, arguments),
        Command::Prioritise(arguments) => control::prioritise(&load(config)?, arguments),
        Command::Eject(arguments) => control::eject(&load(config)?, arguments),
        Command::Limit(arguments) => limit::limit(&load(config)?, arguments),
        Command::Metrics(arguments) => metrics::metrics(&load(config)?, arguments),
        Command::Log(arguments) => custody::log(&load(config)?, arguments),
        Command::Acknowledge => custody::acknowledge(&load(config)?),
        Command::Close(arguments) => close::close(&load(config)?, arguments),
        Command::Forget { clips } => clips::forget(&load(config)?, clips),
        Command::Control => control_socket::serve(config),
    }
}

/// Reads and parses the config; each mistake with its line and column.
fn load(path: &Path) -> Result<Config, Complaint> {
    let shown = printable(path);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name it with --config or $DOCKSEAL_CONFIG; to try without one: dockseal demo"
            }
            std::io::ErrorKind::PermissionDenied => AS_ITS_USER,
            _ => "the daemon runs as user `dockseal`; it must be able to read it",
        };
        Complaint::new(Exit::Config, format!("cannot read the config {shown}"), &error).hint(hint)
    })?;
    Config::parse(&text).map_err(|error| {
        let problems = error.problems.iter().map(|problem| {
            format!("{shown}:{}:{}: {}", problem.line, problem.column, problem.message)
        });
        let problems: Vec<_> = problems.collect();
        Complaint::text(Exit::Config, problems.join("\ndockseal: error: "))
            .hint("docs/operations.md lists every key of the config")
    })
}

/// Opens the queue for reading.
fn open(config: &Config) -> Result<Reader, Complaint> {
    Reader::open(&queue_path(config)).map_err(|error| queue_complaint(config, &error))
}

/// Opens the queue for an operator's changes.
fn operator(config: &Config) -> Result<Operator, Complaint> {
    let operator = Operator::open(&queue_path(config), &config.dock);
    operator.map_err(|error| queue_complaint(config, &error))
}

fn queue_path(config: &Config) -> PathBuf {
    config.state_dir.join(agent::files::QUEUE)
}

fn queue_complaint(config: &Config, error: &QueueError) -> Complaint {
    let path = printable(&queue_path(config));
    // A disk that is full or fails says nothing of the config: starting again may help.
    let exit = if error.is_of_the_disk() { Exit::Failed } else { Exit::Config };
    let complaint = Complaint::new(exit, format!("cannot use the queue {path}"), error);
    match error {
        QueueError::Closed(_) => complaint.hint(AS_ITS_USER),
        QueueError::Missing if Spool::is_in(&config.state_dir) => complaint
            .hint("it was lost: the daemon begins a new one from the spool when it is started"),
        QueueError::Missing => complaint.hint("prepare the state directory: dockseal init"),
        QueueError::Ended => complaint.hint("when, and how: dockseal status, dockseal log"),
        QueueError::Foreign | QueueError::Version { .. } => {
            complaint.hint("nothing was written to it; check state_dir and the installed version")
        }
        error if error.is_damage() && Spool::is_in(&config.state_dir) => complaint
            .hint("the daemon puts it aside when it is started again, and begins a new one"),
        // SQLite has no room to read, either: it says no more than that the disk failed.
        _ if error.is_of_the_disk() && is_full(config) => {
            complaint.hint("the disk of state_dir is full: make room; nothing is lost")
        }
        QueueError::Broken(_) | QueueError::Corrupt(_) | QueueError::Sqlite(_) => {
            complaint.hint("keep the state directory as it is and look at the disk: dmesg, df")
        }
        QueueError::Contradiction(_)
        | QueueError::Create(_)
        | QueueError::NoClip
        | QueueError::NotDurable { .. }
        | QueueError::Stopped => complaint,
    }
}

fn agent_complaint(config: &Config, error: &AgentError) -> Complaint {
    let title = || format!("state directory {}", printable(&config.state_dir));
    // As in `queue_complaint`.
    if let AgentError::Lock(cause)
    | AgentError::Signing(SigningError::File { error: cause, .. })
    | AgentError::StateDir(cause) = error
        && fs::is_disks(cause)
    {
        return Complaint::new(Exit::Failed, title(), error)
            .hint("nothing is lost; look at the disk (dmesg, df), then start it again");
    }
    match error {
        AgentError::AlreadyRunning { .. } => {
            Complaint::text(Exit::AlreadyRunning, error.to_string())
                .hint("see what it does: dockseal status")
        }
        AgentError::Closed { is_published, .. } => Complaint::text(Exit::Config, error.to_string())
            .hint(match is_published {
                true => {
                    "a new dock begins with another `dock` and state_dir in the config: \
                     dockseal init"
                }
                false => "a bucket has not the whole log yet: dockseal close",
            }),
        AgentError::NoOpenat2 => {
            Complaint::text(Exit::Config, error.to_string()).hint(NEEDS_OPENAT2)
        }
        AgentError::NotInitialised(_) => {
            Complaint::text(Exit::Config, error.to_string()).hint("prepare it: dockseal init")
        }
        AgentError::Queue(error) => queue_complaint(config, error),
        AgentError::Forked { .. } => Complaint::text(Exit::Failed, error.to_string()).hint(
            "is a copy of this state_dir running elsewhere? stop it; then: dockseal acknowledge",
        ),
        AgentError::Signing(inner) => {
            let hint = match inner {
                SigningError::Missing => "make it: dockseal init; then have the dock enrolled",
                SigningError::Open { .. } => "chmod 0600 it, and have the dock enrolled anew",
                SigningError::OtherDock { .. } => {
                    "`dock` in the config was changed, or the state directory is another dock's"
                }
                SigningError::File { .. } | SigningError::Key(_) => {
                    "it must belong to the user that dockseal runs as"
                }
            };
            Complaint::new(Exit::Config, "signing key", error).hint(hint)
        }
        AgentError::SelfTest(_) => Complaint::new(Exit::Failed, "self-test", error)
            .hint("test the memory, and reinstall dockseal; clips stay where they are"),
        AgentError::Halt(_) => Complaint::text(Exit::Failed, error.to_string())
            .hint("nothing is lost; look at the disk (dmesg, df), then start it again"),
        AgentError::Lock(_) | AgentError::StateDir(_) => {
            Complaint::new(Exit::Config, title(), error)
                .hint("it must belong to the user that dockseal runs as")
        }
    }
}

/// The clip that a person means: the queue's number, the beginning of a sealed name, or a path.
fn find(reader: &Reader, config: &Config, text: &str) -> Result<Clip, Complaint> {
    let failed = |error: QueueError| Complaint::new(Exit::Failed, "cannot read the queue", &error);
    let none = || {
        Complaint::text(Exit::Failed, format!("no clip `{}`", printable(Path::new(text))))
            .hint("name it by number, by 4 or more digits of its sealed name, or by its path")
    };
    if let Ok(number) = text.parse::<i64>()
        && let Some(clip) = reader.clip(ClipId(number)).map_err(failed)?
    {
        return Ok(clip);
    }
    let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && (NAME_DIGITS_MIN..=64).contains(&text.len()) {
        let mut named = reader.named(text, 2).map_err(failed)?;
        match (named.pop(), named.pop()) {
            (Some(clip), None) => return Ok(clip),
            (Some(_), Some(_)) => {
                return Err(Complaint::text(Exit::Failed, format!("`{text}` is not the only one"))
                    .hint("give more digits of the sealed name"));
            }
            (None, _) => {}
        }
    }
    let path = std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
    for watch in &config.watches {
        if let Ok(below) = path.strip_prefix(&watch.path) {
            let source = Source { folder: watch.path.clone(), path: below.to_owned() };
            if let Some(clip) = reader.at(&source).map_err(failed)? {
                return Ok(clip);
            }
        }
    }
    Err(none())
}

/// A sealed name short enough for a table, long enough to be copied.
fn short(name: SealedName) -> String {
    name.to_string().chars().take(12).collect()
}
