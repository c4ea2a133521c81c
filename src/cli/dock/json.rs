//! The stable JSON shapes of the dock's commands: fields are added, never renamed or removed.
//! docs/operations.md, "JSON".

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;

use crate::clip::{Clip, Delivery, SealedName, Timestamp};
use crate::hold::{Hold, Until};

/// Version of all shapes here.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// A clip. Times are RFC 3339 in UTC, sizes are bytes.
#[derive(Serialize)]
pub(super) struct ClipJson {
    pub number: i64,
    pub state: &'static str,
    pub plaintext: &'static str,
    /// The path with what is not UTF-8 replaced; null once the plaintext is gone.
    pub path: Option<String>,
    /// The path's exact bytes, standard base64.
    pub path_base64: Option<String>,
    pub size_bytes: u64,
    pub seen: String,
    pub settled: Option<String>,
    pub sealed: Option<String>,
    pub stored: Option<String>,
    pub plaintext_gone: Option<String>,
    pub sealed_name: Option<String>,
    pub sealed_size_bytes: Option<u64>,
    pub commitment: Option<String>,
    pub in_spool: bool,
    pub hold: Option<HoldJson>,
    pub deliveries: Vec<DeliveryJson>,
}

#[derive(Serialize)]
pub(super) struct HoldJson {
    pub reason: &'static str,
    pub cause: String,
    pub advice: &'static str,
    pub since: String,
    /// When it is tried again; null where it waits for an operator.
    pub until: Option<String>,
    pub attempts: u32,
}

#[derive(Serialize)]
pub(super) struct DeliveryJson {
    pub bucket: String,
    pub evidence: Option<&'static str>,
    pub stored: Option<String>,
    pub hold: Option<HoldJson>,
}

impl ClipJson {
    pub(super) fn new(clip: &Clip) -> ClipJson {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let path = clip.source.as_ref().map(|source| source.full());
        let sealed = clip.sealed.as_ref();
        ClipJson {
            number: clip.id.0,
            state: clip.state().word(),
            plaintext: clip.plaintext.word(),
            path: path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            path_base64: path.as_ref().map(|path| BASE64.encode(path.as_os_str().as_bytes())),
            size_bytes: clip.generation.size_bytes,
            seen: clip.seen_at.to_string(),
            settled: time(clip.settled_at),
            sealed: time(sealed.map(|sealed| sealed.sealed_at)),
            stored: time(clip.stored_at),
            plaintext_gone: time(clip.gone_at),
            sealed_name: sealed.map(|sealed| sealed.name.to_string()),
            sealed_size_bytes: sealed.map(|sealed| sealed.size_bytes),
            commitment: sealed.map(|sealed| SealedName(sealed.commitment).to_string()),
            in_spool: sealed.is_some_and(|sealed| sealed.in_spool),
            hold: clip.hold.as_ref().map(HoldJson::new),
            deliveries: clip.deliveries.iter().map(DeliveryJson::new).collect(),
        }
    }
}

impl HoldJson {
    pub(super) fn new(hold: &Hold) -> HoldJson {
        HoldJson {
            reason: hold.reason.code(),
            cause: hold.cause.clone(),
            advice: hold.reason.advice(),
            since: hold.since.to_string(),
            until: match hold.until {
                Until::Operator => None,
                Until::Time(time) => Some(time.to_string()),
            },
            attempts: hold.attempts,
        }
    }
}

impl DeliveryJson {
    fn new(delivery: &Delivery) -> DeliveryJson {
        let receipt = delivery.receipt.as_ref();
        DeliveryJson {
            bucket: delivery.bucket.clone(),
            evidence: receipt.map(|receipt| receipt.evidence.word()),
            stored: receipt.map(|receipt| receipt.stored_at.to_string()),
            hold: delivery.hold.as_ref().map(HoldJson::new),
        }
    }
}
