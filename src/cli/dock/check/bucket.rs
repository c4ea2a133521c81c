//! What `dockseal check` says of buckets: reachable, what the store honours, rights beyond need.

use super::{Finding, fail, ok, warn};
use crate::cli::{Complaint, Exit};
use crate::dock::config::{self, BucketConfig, Config};
use crate::dock::push::Buckets;
use crate::edge::bucket::{Answer, Bucket, BucketError, Rights, Trouble};
use crate::error::{Fault, chain};
use crate::hold::Reason;
use crate::note::NOTE_SIZE_MAX;

const ADVICE: &str = "docs/operations.md, \"Buckets\"";

pub(super) fn buckets(config: &Config) -> Result<Vec<Finding>, Complaint> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Complaint::new(Exit::Failed, "cannot start the network", &error))?;
    let opened = Buckets::default();
    let check = |bucket| runtime.block_on(check(config, &opened, bucket));
    let mut findings: Vec<_> = config.buckets.iter().flat_map(check).collect();
    if config.buckets.is_empty() {
        let fix = "add a [[bucket]]; until then sealed clips stay in the spool";
        findings.push(warn("bucket", "none is configured", fix));
    }
    Ok(findings)
}

/// Whether clips may be put, then what the store honours, then what the credentials may beside.
async fn check(config: &Config, opened: &Buckets, bucket: &BucketConfig) -> Vec<Finding> {
    let what = format!("bucket {}", bucket.name);
    let opened = match opened.open(bucket) {
        Ok(opened) => opened,
        Err(error) => return vec![fail(what, chain(&error), advice(&error, ADVICE))],
    };
    if let Err(error) = opened.probe(&format!("{}/clips/probe", config.dock)).await {
        let fix = match error.reason() {
            Reason::BucketRefused => "check name, credentials and policy",
            _ => "check the network and aws_endpoint",
        };
        return vec![fail(what, chain(&error), advice(&error, fix))];
    }
    let reach = reach(config, &opened).await;
    let rights = opened.probe_rights(&config.dock).await;
    let mut findings = vec![honours(&what, reach, &rights)];
    // Nobody hands out credentials for a folder.
    if !opened.is_local() {
        findings.extend(excess(&what, &rights));
    }
    findings
}

/// What to do about a bucket that cannot be used. A folder is no server.
fn advice(error: &BucketError, of_server: &'static str) -> &'static str {
    match error.trouble() {
        Some(Trouble::Away) => Trouble::Away.advice(),
        Some(_) | None => of_server,
    }
}

/// What may be done in a bucket that clips may be put in. Reading its `keyring` is a convenience.
async fn reach(config: &Config, bucket: &Bucket) -> &'static str {
    if let config::Keys::Here(_) = config.keys {
        return "reachable, and clips may be put";
    }
    match bucket.read_all("keyring", NOTE_SIZE_MAX as u64).await {
        Err(BucketError::Refused(_)) => {
            "clips may be put; `keyring` may not be read: new ones come by the file alone"
        }
        Ok(_) | Err(_) => "reachable, clips may be put, and `keyring` may be read",
    }
}

/// The line of a bucket that clips may be put in.
fn honours(what: &str, reach: &str, rights: &Rights) -> Finding {
    let ignores = match (&rights.put, &rights.create_only, &rights.complete_only) {
        (Answer::No | Answer::Unknown(_), _, _) => {
            let text = format!("{reach}; but not as `check`, so what it honours is not known");
            return warn(what, text, "let the dock put everything beneath its name");
        }
        (Answer::Yes, Answer::No, _) => {
            "WARNING: the store overwrites silently although asked not to: it ignores If-None-Match"
        }
        (Answer::Yes, Answer::Yes, Answer::No) => {
            "WARNING: the store overwrites silently when an upload in parts is completed, although \
             asked not to: it ignores If-None-Match there"
        }
        (Answer::Yes, Answer::Unknown(why), _) | (Answer::Yes, _, Answer::Unknown(why)) => {
            let text = format!("{reach}; whether creates are refused is not known: {why}");
            return warn(what, text, format!("try again; {ADVICE}"));
        }
        (Answer::Yes, Answer::Yes, Answer::Yes) => {
            let replaced = match rights.overwrite {
                Answer::No => {
                    ", and nothing may be replaced; unless `status` may, the fleet sees no news"
                }
                Answer::Unknown(_) | Answer::Yes => "",
            };
            let text = format!("{reach}; creates are refused when the name is taken{replaced}");
            return ok(what, text);
        }
    };
    let fix = match rights.get {
        Answer::Yes => "the dock can look first, as it may get; turn on versioning as well",
        Answer::No | Answer::Unknown(_) => "turn on versioning, or allow get: then it looks first",
    };
    warn(what, format!("{reach}; {ignores}"), format!("{fix}: {ADVICE}"))
}

/// Rights that a dock does not need. A stolen dock has them too.
fn excess(what: &str, rights: &Rights) -> Option<Finding> {
    // Where the store overwrites, looking first needs get.
    let needs_get = [&rights.create_only, &rights.complete_only].contains(&&Answer::No);
    let may = [
        ("get", rights.get == Answer::Yes && !needs_get),
        ("list", rights.list == Answer::Yes),
        ("delete", rights.delete == Answer::Yes),
    ];
    let more: Vec<_> = may.iter().filter(|(_, is_more)| *is_more).map(|(word, _)| *word).collect();
    if more.is_empty() {
        return None;
    }
    let text = format!("the credentials may more than a dock needs: {}", more.join(", "));
    Some(warn(what, text, format!("let them put alone: {ADVICE}")))
}
