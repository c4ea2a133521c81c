//! The report as one web page: no script, nothing fetched, every text escaped.

use super::text::{NOT_PROVEN, dock_lines, severity, verdict};
use crate::audit::report::Report;
use crate::cli::html::escaped;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
pre{background:#f4f4f4;padding:1em;overflow-x:auto}.TAMPERING{color:#a00;font-weight:bold}\
.attention{color:#850}table{border-collapse:collapse}td{padding:.2em .6em;vertical-align:top;\
border-top:1px solid #ccc;overflow-wrap:anywhere}";

/// The page.
pub fn page(report: &Report) -> String {
    let keyring = &report.keyring;
    let by = match keyring.root_is_pinned {
        true => "given by the auditor",
        false => "as the keyring itself names it: compare it with the authority",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>dockseal audit of {at}</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>Audit of {at}</h1>\n<p><strong>{verdict}</strong></p>\n\
         <p>Judged by keyring revision {revision} of <code>{root}</code>, \
         fingerprint <code>{fingerprint}</code>, {by}.</p>\n",
        at = escaped(&report.at),
        verdict = escaped(verdict(report)),
        revision = keyring.revision,
        root = escaped(&keyring.root.key),
        fingerprint = escaped(&keyring.root.fingerprint),
    );
    for bucket in &report.buckets {
        page.push_str(&format!("<h2>{}</h2>\n", escaped(&bucket.url)));
        for dock in &bucket.docks {
            let lines = dock_lines(dock).join("\n");
            page.push_str(&format!("<pre>{}</pre>\n", escaped(&lines)));
        }
        if bucket.findings.is_empty() {
            page.push_str("<p>No findings.</p>\n");
            continue;
        }
        page.push_str("<table>\n");
        for finding in &bucket.findings {
            let word = severity(finding);
            let text = escaped(&finding.text);
            page.push_str(&format!("<tr><td class=\"{word}\">{word}</td><td>{text}</td></tr>\n"));
        }
        page.push_str("</table>\n");
        if bucket.findings_omitted_count > 0 {
            let count = bucket.findings_omitted_count;
            page.push_str(&format!("<p>And {count} findings more.</p>\n"));
        }
    }
    page.push_str(&format!("<p>{}</p>\n</body></html>\n", escaped(NOT_PROVEN)));
    page
}
