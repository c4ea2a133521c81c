//! `dockseal-authority keyring show`: a keyring for people, and whether its signature counts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::Serialize;

use super::super::super::{Complaint, Exit, print_json};
use super::super::origin::{read_note, verify};
use super::today;
use crate::authority::draft::{OPEN_END, fingerprint};
use crate::authority::office::read_signer;
use crate::clip::printable;
use crate::keyring::{Days, Keyring, WARNING_DAYS};
use crate::note::VerifierKey;

/// Shows a keyring: recipients, docks, days left, and whether it is signed by the root
///
/// Exits with 13 where the signature does not count.
#[derive(clap::Args)]
pub struct Args {
    /// The keyring, or the draft [default: the newest revision in the folder]
    file: Option<PathBuf>,
    /// The root that must have signed it [default: the folder's, where there is one]
    #[arg(long, value_name = "VKEY")]
    authority: Option<VerifierKey>,
    /// Print one JSON document, of a shape that only grows within its schema_version
    #[arg(long)]
    json: bool,
}

/// Whether the signature counts, and in words.
struct Signature {
    counts: bool,
    text: String,
}

/// Runs the command.
pub fn run(dir: &Path, args: &Args) -> Result<Exit, Complaint> {
    let newest = || Some(dir.join("keyring")).filter(|path| path.exists());
    let path = args.file.clone().or_else(newest).unwrap_or_else(|| dir.join("draft"));
    let title = || format!("cannot show {}", printable(&path));
    let bytes = read_note(&path).map_err(|error| {
        Complaint::new(Exit::Failed, title(), &error)
            .hint("give a FILE, or --dir DIR of the authority; begin one: keyring init NAME")
    })?;
    let root = read_signer(&dir.join("root.key")).ok().map(|key| key.verifier());
    let pinned = args.authority.clone().or(root);
    let (keyring, signature) = match verify(&bytes, pinned.as_ref()) {
        Ok(keyring) => {
            let by = if pinned.is_some() { "the root" } else { "the authority that it names" };
            (keyring, Signature { counts: true, text: format!("signed by {by}") })
        }
        Err(refusal) => {
            // What it says is shown all the same, and what it is worth.
            let text = String::from_utf8_lossy(&bytes);
            let body = text.rsplit_once("\n\n").map_or(&*text, |(body, _)| body);
            let keyring = Keyring::from_draft(body).map_err(|error| {
                Complaint::new(Exit::Failed, title(), &error).hint("is it a keyring?")
            })?;
            let text = match text.contains("\n\n") {
                true => format!("DOES NOT COUNT: {refusal}"),
                false => "none: a draft".to_owned(),
            };
            (keyring, Signature { counts: !text.starts_with("DOES"), text })
        }
    };
    let out = &mut io::stdout().lock();
    if args.json {
        print_json(out, &KeyringJson::new(&keyring, &signature, today()))?;
    } else {
        write_table(out, &keyring, &signature, today())?;
        let draft = std::fs::read_to_string(dir.join("draft")).ok();
        if args.file.is_none() && draft.is_some_and(|draft| draft != keyring.to_string()) {
            writeln!(out, "\nthe draft has changes that are not signed: keyring show DIR/draft")?;
        }
    }
    Ok(if signature.counts { Exit::Ok } else { Exit::Tampered })
}

fn write_table(
    out: &mut impl Write,
    keyring: &Keyring,
    signature: &Signature,
    today: Date,
) -> io::Result<()> {
    let Keyring { authority, revision, issued, expires, retention_days, .. } = keyring;
    let left = keyring.days_left(today);
    let soon = match left {
        ..0 => "  EXPIRED: docks hold every clip",
        0..=WARNING_DAYS => "  SOON: keyring extend",
        _ => "",
    };
    writeln!(out, "authority   {}  {}", authority.name(), authority.fingerprint())?;
    writeln!(out, "revision    {revision}, issued {issued:.0}")?;
    writeln!(out, "signature   {}", signature.text)?;
    writeln!(out, "expires     {expires}, {left} days left{soon}")?;
    writeln!(out, "retention   {retention_days} days")?;
    if let Some(successor) = &keyring.successor {
        writeln!(out, "successor   {}", successor.fingerprint())?;
    }
    writeln!(out, "\nRECIPIENT            DAYS                      FINGERPRINT")?;
    for member in &keyring.members {
        let days = member.days.map_or("always".into(), days_text);
        let print = fingerprint(&member.recipient);
        let kind = if member.recipient.is_post_quantum() { "" } else { "  classic" };
        writeln!(out, "{:<20} {days:<25} {print}{kind}", member.role.as_str())?;
    }
    writeln!(out, "\nDOCK                 DAYS                      FINGERPRINT")?;
    for dock in &keyring.docks {
        let (name, print) = (dock.key.name(), dock.key.fingerprint());
        let over = if dock.days.until < today { "  retired" } else { "" };
        writeln!(out, "{name:<20} {:<25} {print}{over}", days_text(dock.days))?;
    }
    Ok(())
}

fn days_text(days: Days) -> String {
    match days.until {
        OPEN_END => format!("from {}", days.from),
        until => format!("{} to {until}", days.from),
    }
}

/// What `keyring show --json` prints; fields only get more within one `schema_version`.
#[derive(Serialize)]
struct KeyringJson {
    schema_version: u32,
    authority: String,
    fingerprint: String,
    revision: u64,
    issued: jiff::Timestamp,
    expires: Date,
    days_left: i32,
    retention_days: u32,
    successor: Option<String>,
    signature: SignatureJson,
    recipients: Vec<MemberJson>,
    docks: Vec<DockJson>,
}

#[derive(Serialize)]
struct SignatureJson {
    counts: bool,
    text: String,
}

#[derive(Serialize)]
struct MemberJson {
    role: String,
    /// Null is always.
    from: Option<Date>,
    until: Option<Date>,
    recipient: String,
    fingerprint: String,
}

#[derive(Serialize)]
struct DockJson {
    name: String,
    from: Date,
    until: Date,
    key: String,
    fingerprint: String,
}

impl KeyringJson {
    fn new(keyring: &Keyring, signature: &Signature, today: Date) -> KeyringJson {
        let recipients = keyring.members.iter().map(|member| MemberJson {
            role: member.role.as_str().to_owned(),
            from: member.days.map(|days| days.from),
            until: member.days.map(|days| days.until),
            recipient: member.recipient.to_string(),
            fingerprint: fingerprint(&member.recipient),
        });
        let docks = keyring.docks.iter().map(|dock| DockJson {
            name: dock.key.name().to_owned(),
            from: dock.days.from,
            until: dock.days.until,
            key: dock.key.to_string(),
            fingerprint: dock.key.fingerprint(),
        });
        let signature = SignatureJson { counts: signature.counts, text: signature.text.clone() };
        KeyringJson {
            schema_version: 1,
            authority: keyring.authority.to_string(),
            fingerprint: keyring.authority.fingerprint(),
            revision: keyring.revision,
            issued: keyring.issued,
            expires: keyring.expires,
            days_left: keyring.days_left(today),
            retention_days: keyring.retention_days,
            successor: keyring.successor.as_ref().map(ToString::to_string),
            signature,
            recipients: recipients.collect(),
            docks: docks.collect(),
        }
    }
}
