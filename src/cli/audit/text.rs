//! The report in plain words: what was proven, by which key, and what was not.

use std::io::{self, Write};

use crate::audit::finding::{Severity, What};
use crate::audit::report::{BucketReport, DockReport, FindingReport, Report};
use crate::cli::{bytes_for_people, count, seconds_for_people};
use crate::clip::harmless;

/// What no audit without keys can say.
pub const NOT_PROVEN: &str = "An audit without keys cannot prove for whose keys the stanzas of a \
clip are, beyond their number and kind (a p256tag stanza names its key), nor that a clip opens, \
nor what a dock never wrote into its log. That clips open, the authority's drill proves. History \
that nobody remembered, by --state or a witness, can have been cut off at its end.";

/// What to do where clips are missing, and it is not known whether they were ever there.
const NAME_HINT: &str = "hint: do docks require this bucket? Where not, NAME=BUCKET with its name \
in their configs misses only what it acknowledged";

/// Writes the report.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let keyring = &report.keyring;
    writeln!(out, "audit of {}", report.at)?;
    writeln!(out, "keyring   revision {} of {}", keyring.revision, harmless(&keyring.root.key))?;
    let by = match keyring.root_is_pinned {
        true => "given by you",
        false => "as the file itself names it: compare it with the authority",
    };
    writeln!(out, "root      fingerprint {}, {by}", keyring.root.fingerprint)?;
    for bucket in &report.buckets {
        writeln!(out)?;
        write_bucket(out, bucket)?;
    }
    writeln!(out)?;
    writeln!(out, "verdict: {}", verdict(report))?;
    writeln!(out)?;
    writeln!(out, "{NOT_PROVEN}")
}

/// The verdict in words.
pub fn verdict(report: &Report) -> &'static str {
    match report.worst() {
        None | Some(Severity::Notice) => "clean: nothing was changed, removed or forged",
        Some(Severity::Attention) => "no tampering was found, but somebody must look",
        Some(Severity::Tampering) => "TAMPERED: something was changed, removed, forged or cut off",
    }
}

fn write_bucket(out: &mut impl Write, bucket: &BucketReport) -> io::Result<()> {
    let size = bytes_for_people(bucket.size_bytes);
    writeln!(out, "bucket {}: {} objects, {size}", harmless(&bucket.url), bucket.object_count)?;
    for dock in &bucket.docks {
        for line in dock_lines(dock) {
            writeln!(out, "{line}")?;
        }
    }
    for finding in &bucket.findings {
        writeln!(out, "  {}: {}", severity(finding), finding.text)?;
    }
    let is_missing = |one: &FindingReport| matches!(one.finding.what, What::ClipMissing { .. });
    if bucket.name.is_none() && bucket.findings.iter().any(is_missing) {
        writeln!(out, "  {NAME_HINT}")?;
    }
    if bucket.findings_omitted_count > 0 {
        writeln!(out, "  and {} findings more", bucket.findings_omitted_count)?;
    }
    Ok(())
}

/// The word for a finding's severity.
pub fn severity(finding: &FindingReport) -> &'static str {
    match finding.severity {
        Severity::Notice => "notice",
        Severity::Attention => "attention",
        Severity::Tampering => "TAMPERING",
    }
}

/// What was proven of one dock, line by line.
pub fn dock_lines(dock: &DockReport) -> Vec<String> {
    let mut lines = vec![format!("  dock {}", harmless(&dock.name))];
    for log in &dock.logs {
        let by = &log.signed_by.fingerprint;
        lines.push(format!("    log {}: {} entries, signed by {by}", log.id, log.size));
        let known = |time: &Option<String>| time.clone().unwrap_or_else(|| "?".into());
        let mut times = format!("      from {} to {}", known(&log.started), known(&log.newest));
        if log.is_closed {
            times.push_str(", closed");
        }
        if let Some(previous) = &log.previous {
            times.push_str(&format!(", continues {previous}"));
        }
        lines.push(times);
        lines.push(match log.is_whole {
            true => format!(
                "      every entry and every tile leads to the signed root; {} checkpoints agree",
                log.checkpoint_count
            ),
            false => "      not all entries could be read and believed".to_owned(),
        });
    }
    lines.push(format!(
        "    clips: {} sealed, {} stored, {} pending, {} deleted after the retention",
        dock.sealed_count,
        dock.stored_count,
        dock.pending_count,
        dock.deleted_after_retention_count
    ));
    if dock.stored_elsewhere_count > 0 {
        let number = dock.stored_elsewhere_count;
        lines.push(format!("      not here, and never acknowledged by this bucket: {number}"));
    }
    if dock.pending_count > 0 {
        let oldest = seconds_for_people(dock.pending_oldest_seconds);
        lines.push(format!("      the oldest of the pending has waited for {oldest}"));
    }
    lines.push(format!(
        "    objects: {}, {}; read whole: {}, {}",
        count("clip", dock.object_count as usize),
        bytes_for_people(dock.object_size_bytes),
        dock.sampled_count,
        bytes_for_people(dock.sampled_size_bytes)
    ));
    lines
}
