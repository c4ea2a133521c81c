//! `dockseal check`: everything that would make a bad night, tested now.

mod bucket;

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::json::SCHEMA_VERSION;
use super::{NEEDS_OPENAT2, load, standing};
use crate::cli::{Complaint, Exit, bytes_for_people, print_json};
use crate::clip::{Timestamp, printable};
use crate::dock::agent;
use crate::dock::config::{self, Config, EraseWhen, Watch};
use crate::dock::keys::{Keys, Known, Look};
use crate::dock::queue::Reader;
use crate::dock::signing;
use crate::edge::{clock, fs, monitor};
use crate::envelope::recipient::Recipient;
use crate::envelope::selftest;
use crate::error::chain;
use crate::keyring::{WARNING_DAYS, day_of};

/// Less free space than this is worth a word.
const SPOOL_FREE_BYTES_LOW: u64 = 10 << 30;

#[derive(Serialize)]
struct CheckJson {
    schema_version: u32,
    checks: Vec<Finding>,
}

/// One line of the preflight.
#[derive(Debug, Serialize)]
struct Finding {
    /// `ok`, `warn` or `fail`.
    result: &'static str,
    what: String,
    finding: String,
    fix: Option<String>,
}

fn ok(what: impl Into<String>, finding: impl Into<String>) -> Finding {
    Finding { result: "ok", what: what.into(), finding: finding.into(), fix: None }
}

fn warn(what: impl Into<String>, finding: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { result: "warn", fix: Some(fix.into()), ..ok(what, finding) }
}

fn fail(what: impl Into<String>, finding: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { result: "fail", fix: Some(fix.into()), ..ok(what, finding) }
}

pub(super) fn check(path: &Path, json: bool) -> Result<Exit, Complaint> {
    let config = load(path)?;
    let mut checks = vec![ok("config", format!("{} is well formed", printable(path)))];
    checks.push(match selftest::run() {
        Ok(()) => ok("sealing", "gives the known answers"),
        Err(error) => fail("sealing", chain(&error), "test the memory, and reinstall dockseal"),
    });
    match closed(&config) {
        // Nothing else has to work any more.
        Some(closed) => checks.push(closed),
        None => {
            checks.extend(recipients(&config));
            checks.extend(state(&config));
            checks.extend(config.watches.iter().map(|watch| folder(&config, watch)));
            checks.extend(bucket::buckets(&config)?);
            checks.extend(monitor(&config));
        }
    }
    let mut out = io::stdout().lock();
    let failed = checks.iter().filter(|check| check.result == "fail").count();
    if json {
        print_json(&mut out, &CheckJson { schema_version: SCHEMA_VERSION, checks })?;
    } else {
        for check in &checks {
            writeln!(out, "{:4}  {}: {}", check.result, check.what, check.finding)?;
            if let Some(fix) = &check.fix {
                writeln!(out, "      do: {fix}")?;
            }
        }
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Partial })
}

/// That the dock was taken out of service, where it was and all buckets know it.
fn closed(config: &Config) -> Option<Finding> {
    let reader = Reader::open(&config.state_dir.join(agent::files::QUEUE)).ok()?;
    let (words, cause) = standing::gather(config, &reader, clock::now()).ok()?.closed()?;
    Some(match cause {
        None => ok("dock", format!("{words}: its log has ended")),
        Some(cause) => fail("dock", words, cause.fix),
    })
}

fn recipients(config: &Config) -> Vec<Finding> {
    let what = "recipients";
    if config.has_example_recipient() {
        let fix = "the authority makes its own: dockseal-authority keygen";
        return vec![fail(what, "a key of keys-example/, whose private half is published", fix)];
    }
    match &config.keys {
        config::Keys::Here(recipients) => recipients.iter().map(recipient).collect(),
        config::Keys::Keyring { .. } => keyring(config),
    }
}

fn recipient(recipient: &Recipient) -> Finding {
    let kind = if recipient.is_post_quantum() { "post-quantum" } else { "classic" };
    // The end tells keys apart; the beginning is the same for all.
    let text = recipient.to_string();
    let end = text.get(text.len().saturating_sub(12)..).unwrap_or(&text);
    ok("recipients", format!("{kind}, ends in …{end}: compare it with the authority's"))
}

/// The keyring as the daemon would take it now.
fn keyring(config: &Config) -> Vec<Finding> {
    let what = "keyring";
    let ask = "ask the authority for a good one; clips are held until then";
    let key = match signing::load(&config.state_dir, &config.dock) {
        Ok(key) => key.verifier(),
        Err(error) => return vec![fail("signing key", chain(&error), "dockseal init")],
    };
    let mut findings = vec![ok("signing key", format!("fingerprint {}", key.fingerprint()))];
    let reader = Reader::open(&config.state_dir.join(agent::files::QUEUE));
    let Ok(taken) = reader.and_then(|reader| reader.keyrings()) else { return findings };
    let keys = Keys::new(&config.keys, &taken);
    if let Look::Usable(Some(offer)) = keys.look_at_file() {
        keys.take(offer);
    }
    let now = clock::now();
    let known = Known { latest: Timestamp(0), behind_seconds: None };
    let sealed_to = match keys.seal_to(&key, now, known) {
        Ok(sealed_to) => sealed_to,
        Err(error) => {
            findings.push(fail(what, chain(&error), ask));
            return findings;
        }
    };
    findings.extend(sealed_to.recipients.iter().map(recipient));
    let Some(keyring) = keys.keyring() else { return findings };
    let days = keyring.days_left(day_of(now));
    let text = format!("revision {}, {days} days left", keyring.revision);
    findings.push(match days {
        ..=WARNING_DAYS => warn(what, text, "ask the authority to extend it"),
        _ => ok(what, text),
    });
    findings
}

fn state(config: &Config) -> Vec<Finding> {
    let dir = printable(&config.state_dir);
    let mut findings = Vec::new();
    match Reader::open(&config.state_dir.join(agent::files::QUEUE)) {
        Ok(_) => findings.push(ok("queue", format!("in {dir}"))),
        Err(error) => findings.push(fail("queue", chain(&error), "dockseal init")),
    }
    match fs::free_bytes(&config.state_dir) {
        Err(error) => findings.push(fail("state_dir", chain(&error), format!("look at {dir}"))),
        Ok(free) if free < SPOOL_FREE_BYTES_LOW => {
            let text = format!("only {} are free", bytes_for_people(free));
            findings.push(warn("spool", text, "sealed clips wait here while a bucket is down"));
        }
        Ok(free) => findings.push(ok("spool", format!("{} are free", bytes_for_people(free)))),
    }
    match agent::running(&config.state_dir) {
        Ok(Some(pid)) => findings.push(ok("daemon", format!("runs (process {pid})"))),
        Ok(None) | Err(_) => {
            findings.push(warn("daemon", "does not run", "systemctl start dockseal"));
        }
    }
    findings
}

/// Whether a monitor can ask, or could if the daemon ran.
fn monitor(config: &Config) -> Option<Finding> {
    let address = config.metrics_listen?;
    let what = format!("metrics {address}");
    let runs = agent::running(&config.state_dir).is_ok_and(|pid| pid.is_some());
    let another = "choose another port for `listen`";
    Some(match monitor::is_ours(address) {
        Ok(true) => ok(what, "answered"),
        Ok(false) => warn(what, "another program answers", another),
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => {
            warn(what, format!("no answer: {}", chain(&error)), another)
        }
        Err(_) if runs => {
            let fix = "was it configured since the start? systemctl restart dockseal";
            warn(what, "nobody listens, though the daemon runs", fix)
        }
        Err(_) => ok(what, "free for the daemon"),
    })
}

fn folder(config: &Config, watch: &Watch) -> Finding {
    use rustix::fs::{Access, access};
    let what = format!("folder {}", printable(&watch.path));
    let folder = match fs::Folder::open(&watch.path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return warn(what, "does not exist yet", "it is waited for; is the dock mounted?");
        }
        Err(error) => return fail(what, chain(&error), "give user dockseal the right to read it"),
    };
    if let Some(problem) = agent::own_folder(config, watch) {
        return fail(what, problem, "name a folder of its own: clips alone belong in it");
    }
    if let Err(error) = folder.entries(Path::new("")) {
        if error.kind() == io::ErrorKind::Unsupported {
            return fail(what, "this kernel has no openat2(2)", NEEDS_OPENAT2);
        }
        return fail(what, chain(&error), "give user dockseal the right to list it");
    }
    let may_move = access(&watch.path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if watch.erase != EraseWhen::Never && !may_move {
        let fix = "give user dockseal the right to write in it, or set erase = \"never\"";
        return fail(what, "clips cannot be removed from it", fix);
    }
    if !fs::sends_notifications(&watch.path) {
        return ok(what, "readable; its file system does not notify, so it is polled");
    }
    ok(what, "readable")
}
