//! `dockseal init`, and with `--guided` five questions whose answers become a config.

mod ask;
mod draft;

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::status::CLOCK_WRONG_SECONDS;
use super::{daemon, load, prove};
use crate::cli::{Complaint, Exit};
use crate::clip::printable;
use crate::dock::config::{Config, Keys};
use crate::edge::{clock, durable, sntp};
use crate::error::chain;
use draft::Draft;

/// Time servers that are asked before it is given up.
const SERVER_COUNT_MAX: usize = 3;

#[derive(Args)]
pub(super) struct InitArguments {
    /// Ask five questions, check each answer, write the config, and send a test clip the whole way
    #[arg(long)]
    guided: bool,
    /// Send a test clip the whole way, as --guided does at its end
    #[arg(long, conflicts_with = "guided")]
    prove: bool,
    /// With --prove: wait so long, such as 15m, for a drill of the authority that opened the clip
    #[arg(long, value_name = "TIME", requires = "prove")]
    drill: Option<String>,
    /// With --guided: where queue and spool are to lie
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dockseal")]
    state_dir: PathBuf,
    /// With --guided: a time server to ask, instead of those of this machine
    #[arg(long, value_name = "HOST[:PORT]")]
    time_server: Option<String>,
}

pub(super) fn init(path: &Path, arguments: &InitArguments) -> Result<Exit, Complaint> {
    match arguments {
        InitArguments { guided: true, .. } => guided(path, arguments),
        InitArguments { prove: true, drill, .. } => {
            prove::prove(&daemon::prepare(path)?, drill.as_deref())
        }
        _ => daemon::init(path, &load(path)?),
    }
}

fn guided(path: &Path, arguments: &InitArguments) -> Result<Exit, Complaint> {
    refuse(path)?;
    let mut out = io::stdout();
    writeln!(out, "Five questions; an empty answer takes what stands in [brackets]. Nothing is")?;
    writeln!(out, "written before the last one; Ctrl-C ends it at any time.")?;
    let mut draft = Draft::new(&arguments.state_dir);
    ask::name(&mut draft)?;
    ask::folders(&mut draft)?;
    ask::keys(&mut draft)?;
    let behind = ask::bucket(&mut draft)?;
    ask::erase(&mut draft)?;
    let config = draft.config().map_err(|problem| Complaint::text(Exit::Config, problem))?;
    writeln!(out)?;
    tell_clock(&mut out, behind, arguments.time_server.as_deref())?;
    let owner = owner(&config.state_dir);
    let group = owner.map(|(_, group)| group);
    durable::create_for_group(path, draft.text().as_bytes(), group).map_err(|error| {
        Complaint::new(Exit::Failed, format!("cannot write {}", printable(path)), &error)
            .hint("its folder must be there, and yours to write in")
    })?;
    writeln!(out, "written: {}", printable(path))?;
    begin(path, &config, owner)
}

/// Without a person nobody answers, and what is there is nobody's to overwrite.
fn refuse(path: &Path) -> Result<(), Complaint> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Complaint::text(Exit::Usage, "questions need a terminal")
            .hint("write the config yourself, see dockseal.toml(5); then: dockseal init"));
    }
    if path.symlink_metadata().is_ok() {
        let message = format!("{} is there already; nothing is overwritten", printable(path));
        return Err(Complaint::text(Exit::Config, message)
            .hint("is it good? dockseal check; to begin anew, move it away first"));
    }
    Ok(())
}

/// Who the state directory belongs to, where that is another user than root, who asks: the daemon.
fn owner(state_dir: &Path) -> Option<(u32, u32)> {
    let facts = state_dir.metadata().ok()?;
    let is_another = rustix::process::geteuid().is_root() && facts.uid() != 0;
    is_another.then(|| (facts.uid(), facts.gid()))
}

/// `init` and the proof of life, as the daemon's user.
fn begin(path: &Path, config: &Config, owner: Option<(u32, u32)>) -> Result<Exit, Complaint> {
    if run(path, owner, &["init"])? != Exit::Ok {
        return Ok(Exit::Failed);
    }
    if let Keys::Keyring { file, .. } = &config.keys {
        let question = format!(
            "The authority enrols this dock and signs a keyring. Lies it in {}?\n\
             Enter: yes, send a test clip; n: later (dockseal init --prove)",
            printable(file)
        );
        if ask::ask(&question, "now", Some("yes"), |answer| Ok(answer.starts_with('n')))? {
            return Ok(Exit::Ok);
        }
    }
    let exit = run(path, owner, &["init", "--prove"])?;
    if exit == Exit::Ok {
        writeln!(io::stdout(), "next: systemctl enable --now dockseal")?;
    }
    Ok(exit)
}

fn run(path: &Path, owner: Option<(u32, u32)>, words: &[&str]) -> Result<Exit, Complaint> {
    let failed = |error: io::Error| Complaint::new(Exit::Failed, "cannot go on", &error);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("--config").arg(path).args(words);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    let ended = command.status().map_err(failed)?;
    let all = [Exit::Ok, Exit::Partial, Exit::Config, Exit::AlreadyRunning, Exit::Unreachable];
    let exit = all.into_iter().find(|exit| ended.code() == Some(*exit as i32));
    Ok(exit.unwrap_or(Exit::Failed))
}

/// What the bucket's server and a time server say of our clock. A day's key depends on it.
fn tell_clock(
    out: &mut impl Write,
    behind_bucket: Option<i64>,
    server: Option<&str>,
) -> io::Result<()> {
    let mut tell = |who: &str, behind: i64| {
        let (word, off) = (if behind < 0 { "ahead of" } else { "behind" }, behind.unsigned_abs());
        match off < CLOCK_WRONG_SECONDS {
            true => writeln!(out, "ok    clock: as {who} has it"),
            false => {
                let off = crate::cli::seconds_for_people(off);
                writeln!(out, "warn  clock: {off} {word} {who}: timedatectl set-ntp true")
            }
        }
    };
    if let Some(behind) = behind_bucket {
        tell("the bucket's server", behind)?;
    }
    let servers = server.map_or_else(sntp::configured, |server| vec![server.to_owned()]);
    let mut failed = String::from("no time server is configured");
    for server in servers.iter().take(SERVER_COUNT_MAX) {
        match sntp::behind_milliseconds(server) {
            Ok(behind) => return tell(&format!("time server {server}"), behind / 1000),
            Err(error) => failed = format!("time server {server}: {}", chain(&error)),
        }
    }
    let now = clock::now();
    writeln!(out, "warn  clock: {failed}; it shows {now}: is that right?")
}
