//! The five questions: each explained, each answer checked at once and asked for again.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::draft::{Draft, KeysText};
use crate::cli::{Complaint, Exit};
use crate::clip::harmless;
use crate::dock::push::Buckets;
use crate::edge::fs::Folder;
use crate::error::chain;

const KEYRING: &str = "/etc/dockseal/keyring";
const CREDENTIALS: &str = "/etc/dockseal/primary.credential";
/// An answer that means that there is none.
const NONE: &str = "-";

/// Asks until the answer is good. Where nobody answers any more, nothing was written.
pub(super) fn ask<T>(
    explained: &str,
    prompt: &str,
    default: Option<&str>,
    mut check: impl FnMut(&str) -> Result<T, String>,
) -> Result<T, Complaint> {
    let (mut out, input) = (io::stdout(), io::stdin());
    if !explained.is_empty() {
        writeln!(out, "\n{explained}")?;
    }
    loop {
        let shown = default.map_or(String::new(), |default| format!(" [{default}]"));
        write!(out, "{prompt}{shown}: ")?;
        out.flush()?;
        let mut line = String::new();
        if input.lock().read_line(&mut line)? == 0 {
            writeln!(out)?;
            return Err(Complaint::text(Exit::Interrupted, "no answer: nothing was written"));
        }
        let answer = match (line.trim(), default) {
            ("", Some(default)) => default,
            (answer, _) => answer,
        };
        match check(answer) {
            Ok(value) => return Ok(value),
            Err(why) => writeln!(out, "  no: {}", harmless(&why))?,
        }
    }
}

pub(super) fn name(draft: &mut Draft) -> Result<(), Complaint> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    ask(
        "1 of 5. The dock's name, unique within the authority. It is in the key of every object,\n\
         and stays for ever.",
        "name",
        Some(host).filter(|host| !host.is_empty()),
        |answer| {
            answer.clone_into(&mut draft.dock);
            draft.config().map(drop)
        },
    )
}

pub(super) fn folders(draft: &mut Draft) -> Result<(), Complaint> {
    let explained = "2 of 5. The folder that clips are copied into. Every file in it, and in all \
                     folders\nbeneath it, is a clip.";
    loop {
        let (explained, prompt, default) = match draft.folders.len() {
            0 => (explained, "folder", Some("/srv/dock")),
            _ => ("", "another one", Some(NONE)),
        };
        let is_last = ask(explained, prompt, default, |answer| {
            if answer == NONE && !draft.folders.is_empty() {
                return Ok(true);
            }
            let opened =
                Folder::open(Path::new(answer)).and_then(|folder| folder.entries("".as_ref()));
            opened.map_err(|error| format!("{answer}: {}", chain(&error)))?;
            draft.folders.push(answer.to_owned());
            let checked = draft.config().map(|_| false);
            if checked.is_err() {
                draft.folders.pop();
            }
            checked
        })?;
        if is_last {
            break;
        }
    }
    ask(
        "The camera's name, which is sealed with each clip: {1} is the first folder beneath.",
        "camera, or - for none",
        Some("{1}"),
        |answer| {
            draft.camera = Some(answer.to_owned()).filter(|answer| answer != NONE);
            draft.config().map(drop)
        },
    )
}

pub(super) fn keys(draft: &mut Draft) -> Result<(), Complaint> {
    let file = ask(
        "3 of 5. Whom clips are sealed to: the file of the authority's signed keyring; or, for a\n\
         small site without one, recipients (age1…), with a space between.",
        "keyring or recipients",
        Some(KEYRING),
        |answer| {
            if !answer.starts_with("age1") {
                let is_path = Path::new(answer).is_absolute();
                return is_path.then(|| Some(answer.to_owned())).ok_or("an absolute path".into());
            }
            let recipients = answer.split_whitespace().map(str::to_owned).collect();
            draft.keys = KeysText::Recipients(recipients);
            match draft.config()?.has_example_recipient() {
                true => Err("a key of keys-example/: everybody has its private half".into()),
                false => Ok(None),
            }
        },
    )?;
    let Some(file) = file else { return Ok(()) };
    ask(
        "The authority's root key, as `dockseal-authority keyring show` prints it. A keyring of\n\
         any other root is refused.",
        "authority",
        None,
        |answer| {
            let (file, authority) = (file.clone(), answer.to_owned());
            draft.keys = KeysText::Keyring { file, authority };
            draft.config().map(drop)
        },
    )
}

/// Gives how many seconds our clock is behind the bucket's server, where that said its time.
pub(super) fn bucket(draft: &mut Draft) -> Result<Option<i64>, Complaint> {
    let mut explained = "4 of 5. The bucket: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, \
                         gs://BUCKET/PREFIX,\nhttps://HOST/PATH (WebDAV) or file:///PATH.";
    loop {
        ask(explained, "url", None, |answer| {
            answer.clone_into(&mut draft.url);
            (draft.options, draft.credentials) = (vec![], None);
            draft.config().map(drop)
        })?;
        options(draft)?;
        if !draft.url.starts_with("file:") {
            credentials(draft)?;
        }
        match reach(draft) {
            Ok(behind) => {
                writeln!(io::stdout(), "  ok: it answers")?;
                return Ok(behind);
            }
            Err(why) => writeln!(io::stdout(), "  no: {}; once more", harmless(&why))?,
        }
        explained = "";
    }
}

/// What is no secret and differs from server to server.
fn options(draft: &mut Draft) -> Result<(), Complaint> {
    let asked: &[(&'static str, &str)] = match draft.url.split(':').next() {
        Some("s3") => &[("aws_endpoint", "- for AWS itself"), ("aws_region", "- for none")],
        Some("az") => &[("azure_storage_account_name", "the account")],
        _ => &[],
    };
    for (option, meaning) in asked {
        ask("", &format!("{option} ({meaning})"), Some(NONE), |answer| {
            draft.options.retain(|(known, _)| known != option);
            if answer != NONE {
                draft.options.push((*option, answer.to_owned()));
            }
            draft.config().map(drop)
        })?;
    }
    Ok(())
}

fn credentials(draft: &mut Draft) -> Result<(), Complaint> {
    ask(
        "The file with its secrets, lines of `option = value` (docs/operations.md, section 3).\n\
         Write it now, in another terminal; no secret is asked for here. - for none.",
        "file",
        Some(CREDENTIALS),
        |answer| {
            draft.credentials = Some(answer.to_owned()).filter(|answer| answer != NONE);
            if let Some(file) = &draft.credentials {
                crate::edge::credentials::read(Path::new(file)).map_err(|error| chain(&error))?;
            }
            draft.config().map(drop)
        },
    )
}

/// Whether the bucket answers, and what its server says of our clock.
fn reach(draft: &Draft) -> Result<Option<i64>, String> {
    let config = draft.config()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| chain(&error))?;
    let opened = Buckets::default();
    let bucket = opened.open(&config.buckets[0]).map_err(|error| chain(&error))?;
    let key = format!("{}/clips/probe", config.dock);
    runtime.block_on(bucket.probe(&key)).map_err(|error| chain(&error))?;
    Ok(bucket.clock_behind_seconds())
}

pub(super) fn erase(draft: &mut Draft) -> Result<(), Complaint> {
    ask(
        "5 of 5. When a clip's plaintext is removed: when-stored (the bucket acknowledged it with\n\
         proof), when-sealed (sooner: its sealed file is on this disk), or never.",
        "erase",
        Some("when-stored"),
        |answer| {
            let all = ["when-stored", "when-sealed", "never"];
            let known = all.into_iter().find(|word| *word == answer);
            draft.erase = known.ok_or_else(|| format!("one of {}", all.join(", ")))?;
            draft.config().map(drop)
        },
    )
}
