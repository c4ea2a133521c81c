//! The stable shape of `fleet --json`. docs/operations.md, "Many docks".

use serde::Serialize;

use crate::authority::fleet::{Fleet, Row};
use crate::custody::status::{Held, KeyringLine, Status};

/// All that was looked at. Times are RFC 3339 in UTC, sizes are bytes.
#[derive(Serialize)]
pub(super) struct FleetJson<'a> {
    schema_version: u32,
    at: String,
    /// Why this is an earlier look; null where it is of now.
    trouble: Option<&'a str>,
    keyring_revision: u64,
    dock_count: usize,
    need_you_count: usize,
    at_risk_count: u64,
    /// Docks of which it is not known how many clips are at risk.
    unknown_count: usize,
    docks: Vec<DockJson<'a>>,
}

#[derive(Serialize)]
struct DockJson<'a> {
    dock: &'a str,
    verdict: &'static str,
    needs_you: bool,
    /// What to do; empty where it goes on by itself.
    advice: &'static str,
    said_seconds: Option<u64>,
    at_risk_count: Option<u64>,
    /// When the log was added to, where the dock is not heard.
    log_at: Option<String>,
    /// What the dock said; null where no key of it signed anything.
    status: Option<StatusJson<'a>>,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    at: String,
    next_seconds: u64,
    version: &'a str,
    log: String,
    log_size: u64,
    verdict: &'a str,
    needs: &'a [String],
    unsafe_count: u64,
    oldest_unsafe_seconds: u64,
    at_risk_count: u64,
    held: Vec<HeldJson<'a>>,
    backlog_bytes: u64,
    free_bytes: Option<u64>,
    keyring: Option<KeyringJson>,
    drilled_seconds: Option<u64>,
}

#[derive(Serialize)]
struct HeldJson<'a> {
    reason: &'a str,
    count: u64,
    operator_count: u64,
}

#[derive(Serialize)]
struct KeyringJson {
    revision: u64,
    days_left: i64,
}

impl FleetJson<'_> {
    pub(super) fn new<'a>(fleet: &'a Fleet, trouble: Option<&'a str>) -> FleetJson<'a> {
        FleetJson {
            schema_version: 1,
            at: fleet.at.to_string(),
            trouble,
            keyring_revision: fleet.revision,
            dock_count: fleet.rows.len(),
            need_you_count: fleet.need_you_count(),
            at_risk_count: fleet.at_risk_count(),
            unknown_count: fleet.unknown_count(),
            docks: fleet.rows.iter().map(DockJson::new).collect(),
        }
    }
}

impl DockJson<'_> {
    fn new(row: &Row) -> DockJson<'_> {
        DockJson {
            dock: &row.dock,
            verdict: row.verdict.word(),
            needs_you: row.verdict.needs_you(),
            advice: row.verdict.advice(),
            said_seconds: row.said_seconds,
            at_risk_count: row.at_risk_count(),
            log_at: row.log_at.map(|at| format!("{at:.0}")),
            status: row.status.as_ref().map(StatusJson::new),
        }
    }
}

impl StatusJson<'_> {
    fn new(status: &Status) -> StatusJson<'_> {
        let held = |held| {
            let Held { reason, count, operator_count }: &Held = held;
            HeldJson { reason, count: *count, operator_count: *operator_count }
        };
        let keyring = |KeyringLine { revision, days_left }| KeyringJson { revision, days_left };
        StatusJson {
            at: format!("{:.0}", status.at),
            next_seconds: status.next_seconds,
            version: &status.version,
            log: status.log.to_string(),
            log_size: status.log_size,
            verdict: &status.verdict,
            needs: &status.needs,
            unsafe_count: status.unsafe_count,
            oldest_unsafe_seconds: status.oldest_unsafe_seconds,
            at_risk_count: status.at_risk_count,
            held: status.held.iter().map(held).collect(),
            backlog_bytes: status.backlog_bytes,
            free_bytes: status.free_bytes,
            keyring: status.keyring.map(keyring),
            drilled_seconds: status.drilled_seconds,
        }
    }
}
