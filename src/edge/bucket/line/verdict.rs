//! What an answer is worth: the failures that look like answers, and the digests that it proves.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Limited};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};

use super::super::trouble::{LineError, Trouble, says_full};

/// What is read of an error's page.
const PAGE_SIZE_MAX: usize = 16 << 10;
/// Digests that are remembered; the uploader asks right after its request.
const CHECKED_COUNT_MAX: usize = 1024;
/// Nobody lets us wait longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The question, as far as the answer is measured against it.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) host: String,
    /// `x-amz-checksum-sha256` and `content-md5`.
    pub(super) digests: Vec<(&'static str, String)>,
}

/// Digests that a server computed itself of what it received, because it named them in its answer.
#[derive(Default)]
pub(super) struct Checked(Mutex<VecDeque<Vec<u8>>>);

/// Headers with a digest of the body, in questions and answers alike.
pub(super) const DIGEST_HEADERS: [&str; 2] = ["x-amz-checksum-sha256", "content-md5"];

impl Checked {
    pub(super) fn has(&self, digest: &[u8]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|known| known == digest)
    }

    pub(super) fn remember(&self, digest: Vec<u8>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHECKED_COUNT_MAX {
            known.pop_front();
        }
        known.push_back(digest);
    }
}

/// The answer, if it is one. Whatever an object store or WebDAV says with 1xx to 4xx is left to
/// who asked; what can only be a fault of the line or the server is not.
pub(super) async fn judge(
    asked: &Asked,
    answer: reqwest::Response,
    checked: &Checked,
) -> Result<reqwest::Response, LineError> {
    let (status, headers) = (answer.status(), answer.headers());
    let fail = |trouble, text: String| Err(LineError::new(trouble, text));
    if status.is_redirection()
        && status != StatusCode::NOT_MODIFIED
        && let Some(location) = headers.get(LOCATION)
    {
        let to = location.to_str().ok().and_then(|text| url::Url::parse(text).ok());
        let to = to.and_then(|url| Some(url.host_str()?.to_owned()));
        let to = to.unwrap_or_else(|| asked.host.clone());
        return fail(Trouble::Redirect, format!("{} to {to}", status.as_u16()));
    }
    let is_page = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
    if status == StatusCode::OK && is_page {
        return fail(Trouble::Portal, format!("200 with text/html to {}", asked.method));
    }
    if status.is_success() {
        compare_digests(asked, headers, checked)?;
        return Ok(answer);
    }
    let trouble = match status.as_u16() {
        407 => Trouble::Proxy,
        429 | 503 => Trouble::Throttled,
        507 => Trouble::Quota,
        511 => Trouble::Portal,
        // "I cannot do this" is an answer.
        501 | 505 => return Ok(answer),
        500..=599 => Trouble::Server,
        _ => return Ok(answer),
    };
    let page = if is_page { String::new() } else { page(answer).await };
    let trouble = if says_full(&page) { Trouble::Quota } else { trouble };
    let name = status.canonical_reason().unwrap_or("without a name");
    let page = if page.is_empty() { page } else { format!(": {page}") };
    fail(trouble, format!("status {} {name}{page}", status.as_u16()))
}

/// The beginning of what a server says of its error. Best effort: the status is the news.
async fn page(answer: reqwest::Response) -> String {
    const PATIENCE: Duration = Duration::from_secs(5);
    let body = Limited::new(reqwest::Body::from(answer), PAGE_SIZE_MAX).collect();
    match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes.to_bytes()).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

fn compare_digests(asked: &Asked, headers: &HeaderMap, checked: &Checked) -> Result<(), LineError> {
    for (name, sent) in &asked.digests {
        let Some(received) = headers.get(*name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if received != sent {
            let text = format!("{name} is {received} there and {sent} here");
            return Err(LineError::new(Trouble::Digest, text));
        }
        if let Ok(digest) = BASE64.decode(sent) {
            checked.remember(digest);
        }
    }
    Ok(())
}

/// How long the server asks us to wait (RFC 9110 §10.2.3), where it does.
pub(super) fn retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    now: jiff::Timestamp,
) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            // Against the server's own time, where it says: ours may be wrong.
            let now = date(headers).unwrap_or(now);
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(until.as_second().saturating_sub(now.as_second())).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What time the server says it is (RFC 9110 §6.6.1).
pub(super) fn date(headers: &HeaderMap) -> Option<jiff::Timestamp> {
    let text = headers.get("date")?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}
