//! The auditor's desk: the program `dockseal-audit`.

mod page;
mod text;
mod witness;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::bucket::{BucketArgs, bucket_complaint, runtime};
use super::{Complaint, Exit, conclude, print_json};
use crate::audit::Step;
use crate::audit::finding::Severity;
use crate::audit::memory::Memory;
use crate::audit::report::Report;
use crate::audit::run::{AuditError, Question, Subject, audit};
use crate::audit::sample::Extent;
use crate::clip::printable;
use crate::edge::{clock, durable};
use crate::note::{Kind, VerifierKey};

/// The program's name, as its messages begin.
const PROGRAM: &str = "dockseal-audit";

/// Proves what buckets hold, and that nothing is missing. Needs no secret
///
/// Reads only: the credentials need the rights to list and to get. Exits with 0 where all is well,
/// 3 where somebody must look, 13 where something was changed, removed, forged or rolled back, 14
/// where a bucket could not be read, 10 where the keyring does not count.
#[derive(Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    audit: Args,
}

#[derive(Subcommand)]
enum Command {
    Witness(witness::Args),
}

#[derive(clap::Args)]
struct Args {
    /// The buckets: s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH; the logs of several are
    /// compared. With the name that docks give it in their configs, only clips that it acknowledged
    /// are missed in it
    #[arg(required = true, value_name = "[NAME=]BUCKET")]
    buckets: Vec<String>,
    /// The authority's keyring
    #[arg(long, value_name = "FILE", required = true)]
    keyring: Option<PathBuf>,
    /// The authority's root key, from a source that you trust; repeatable. Without it, the root
    /// that the keyring names is believed, and the report says which
    #[arg(long = "authority", value_name = "VKEY")]
    authorities: Vec<VerifierKey>,
    /// Remembers what this audit saw, and compares with what the last one saw
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The key of a witness whose cosignature each log must carry; repeatable
    #[arg(long = "witness", value_name = "VKEY", value_parser = witness_key)]
    witnesses: Vec<VerifierKey>,
    /// What a witness remembers, as it publishes it; needs --witness
    #[arg(long, value_name = "FILE", requires = "witnesses")]
    witnessed: Option<PathBuf>,
    /// How many clips of each dock are read whole, drawn at random
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    sample: usize,
    /// Read every clip whole
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// For how long a dock may be quiet: seconds, or with a unit: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    stale_after: u64,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
    /// Write the report as a web page too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    access: BucketArgs,
}

fn witness_key(text: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = text.parse().map_err(|error| format!("{error}"))?;
    match key.kind() {
        Kind::Cosignature => Ok(key),
        Kind::Note => Err("this key signs notes; a witness's key cosigns".into()),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        Some(_) | None => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| "expected seconds, or 90m, 24h, 7d")?;
    number.checked_mul(factor).ok_or_else(|| "too long".into())
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program `dockseal-audit`.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Witness(args)) => witness::run(args),
        None => run_audit(&cli.audit),
    };
    conclude(PROGRAM, result)
}

fn run_audit(args: &Args) -> Result<Exit, Complaint> {
    let path = args.keyring.as_deref().expect("clap requires it where there is no subcommand");
    let keyring = read(path, "the keyring")?;
    let memory = match &args.state {
        Some(path) => read_memory(path)?,
        None => Memory::default(),
    };
    let witnessed = match &args.witnessed {
        Some(path) => read(path, "the witness's file")?,
        None => vec![],
    };
    let witnessed = String::from_utf8(witnessed).map_err(|error| {
        Complaint::new(Exit::Config, "cannot use the witness's file", &error)
            .hint("it is the text that GET /checkpoints of the witness gives")
    })?;
    if let Some(key) = args.authorities.iter().find(|key| key.kind() != Kind::Note) {
        let message = format!("--authority {key}: this key cosigns; a root's key signs notes");
        return Err(Complaint::text(Exit::Usage, message).hint("see the keyring's first lines"));
    }
    let mut buckets = Vec::new();
    for text in &args.buckets {
        let (name, url) = name_and_url(text);
        let bucket = args.access.open(url)?;
        // Remembered under one name, with and without a slash at its end.
        let url = url.trim_end_matches('/').to_owned();
        buckets.push(Subject { url, name: name.map(str::to_owned), bucket });
    }
    let question = Question {
        keyring: &keyring,
        authorities: &args.authorities,
        memory: &memory,
        witnesses: &args.witnesses,
        witnessed: &witnessed,
        extent: if args.full { Extent::Full } else { Extent::Sample(args.sample) },
        stale_after_seconds: args.stale_after,
        now: clock::now(),
    };
    let bar = progress_bar();
    let progress = |step| show(&bar, step);
    let audited = runtime()?.block_on(audit(&buckets, &question, &progress));
    bar.finish_and_clear();
    let (report, memory) = audited.map_err(|error| audit_complaint(&error, path))?;
    if let Some(path) = &args.state {
        write(path, &memory.encode(), "the state")?;
    }
    if let Some(path) = &args.report {
        write(path, page::page(&report).as_bytes(), "the report")?;
    }
    let out = &mut io::stdout().lock();
    if args.json {
        print_json(out, &report)?;
    } else {
        text::write(out, &report)?;
    }
    out.flush()?;
    Ok(exit_of(&report))
}

/// A bucket's name, where one stands before its URL: a URL has a colon before any `=`.
fn name_and_url(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, url)) if !name.contains(':') => (Some(name), url),
        Some(_) | None => (None, text),
    }
}

fn exit_of(report: &Report) -> Exit {
    match report.worst() {
        None | Some(Severity::Notice) => Exit::Ok,
        Some(Severity::Attention) => Exit::Partial,
        Some(Severity::Tampering) => Exit::Tampered,
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, Complaint> {
    std::fs::read(path).map_err(|error| {
        let title = format!("cannot read {what}: {}", printable(path));
        Complaint::new(Exit::Config, title, &error).hint("check the path and the right to read it")
    })
}

fn read_memory(path: &Path) -> Result<Memory, Complaint> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::default()),
        Err(error) => {
            let title = format!("cannot read the state: {}", printable(path));
            Err(Complaint::new(Exit::Config, title, &error).hint("check the right to read it"))
        }
        Ok(bytes) => Memory::parse(&bytes).map_err(|error| {
            let title = format!("cannot use the state: {}", printable(path));
            Complaint::new(Exit::Config, title, &error)
                .hint("it is what guards against a rollback: restore it, or begin with a new file")
        }),
    }
}

fn write(path: &Path, bytes: &[u8], what: &str) -> Result<(), Complaint> {
    durable::replace(path, bytes).map_err(|error| {
        let title = format!("cannot write {what}: {}", printable(path));
        Complaint::new(Exit::Failed, title, &error).hint("check the folder and the right to write")
    })
}

fn audit_complaint(error: &AuditError, keyring: &Path) -> Complaint {
    match error {
        AuditError::Bucket { url, source } => {
            let url = printable(Path::new(url));
            bucket_complaint(format!("cannot audit the bucket {url}"), source)
        }
        AuditError::Keyring(refusal) => {
            let title = format!("cannot use the keyring: {}", printable(keyring));
            Complaint::new(Exit::Config, title, refusal)
                .hint("get it from the authority, and its root key by another way: --authority")
        }
    }
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {pos}  {elapsed}")
        .expect("a fixed, valid template");
    let bar = ProgressBar::no_length().with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, step: Step) {
    let (words, count) = match step {
        Step::Listed => ("objects listed:", 1),
        Step::Entries(count) => ("entries read:", count),
        Step::Bytes(count) => ("bytes of clips read:", count),
    };
    if bar.message() != words {
        bar.set_message(words);
        bar.set_position(0);
    }
    bar.inc(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bucket_may_have_a_name() {
        assert_eq!(name_and_url("two=file:///b"), (Some("two"), "file:///b"));
        for url in ["file:///b", "file:///a=b", "https://u@h/p?x=y", "b"] {
            assert_eq!(name_and_url(url), (None, url));
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("2d"), Ok(172_800));
        for bad in ["", "h", "-1", "1w", "99999999999999999999", "9999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
