//! The line to a bucket: everything that is said over HTTP to any kind of bucket goes through it.
//!
//! It paces and counts what is sent, knows a slow line from one that stands still, refuses answers
//! that only look like one, and corrects signatures where our clock is wrong. Trust: whoever can
//! answer here in a server's name (inside of TLS) can make us wait or fail. Digests that it echoes
//! count as checked, so a receipt is worth what the server is worth.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use md5::digest::Output;
use md5::{Digest, Md5};
use object_store::ClientOptions;
use object_store::HeaderMap;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use reqwest::{Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::BucketError;
use super::trouble::{LineError, Trouble};
use crate::edge::clock::{self, Instant};
use crate::edge::limit::Limiter;

mod body;
mod options;
mod peers;
mod promise;
mod sigv4;
mod verdict;

pub(super) use options::HttpOptions;
pub(super) use promise::Promise;
pub(super) use sigv4::Signer;

use body::{Gate, Paced, Progress, Watched, http_error};
use verdict::Asked;

/// Requests that say something of the line's speed.
const LARGE_SIZE: u64 = 1 << 20;
/// Memory is counted in these.
const ROOM_UNIT: u64 = 1 << 20;
/// Room for what is on its way to one bucket: 128 MiB. Each bucket has its own, so that one which
/// stands still does not keep others from theirs.
const ROOM_UNITS: usize = 128;
/// No answer had a date yet.
const UNKNOWN: i64 = i64::MIN;
/// From this difference on we sign with the server's time. Below it, second-sized differences and
/// slow answers would only make noise.
const CORRECT_FROM_SECONDS: u64 = 60;
/// A refusal at this difference is laid on the clock. Servers refuse from five minutes (Azure:
/// fifteen) on.
const SUSPECT_FROM_SECONDS: u64 = 300;

/// One bucket's line. Its copies share connections, limits and what was seen.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    client: reqwest::Client,
    dialect: Dialect,
    stall: Duration,
    is_proxied: bool,
    peers: peers::Peers,
    gate: Arc<Gate>,
    /// Seconds that our clock is behind the server's, as of its last answer, or [`UNKNOWN`].
    behind_seconds: AtomicI64,
    retry_after: Mutex<Option<Duration>>,
    /// Of the last large request; 0 where it failed.
    bytes_per_second: AtomicU64,
    room: Arc<Semaphore>,
    checked: verdict::Checked,
}

/// What a server's kind means for its requests.
pub(super) enum Dialect {
    /// Requests are signed with an account's key. A wrong clock cannot be corrected: the signature
    /// is made inside of `object_store`, over the time that it has.
    AzureKey,
    /// Requests carry a signed URL or a token; a wrong clock does not matter to them.
    AzureToken,
    /// WebDAV: name and password, or a token.
    Dav,
    /// Requests carry a token, which is asked for with our time. A wrong clock cannot be
    /// corrected, as with [`Dialect::AzureKey`].
    Google,
    /// Requests are signed, and we can sign them as well: a wrong clock is corrected.
    S3(Signer),
}

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Line")
    }
}

impl Line {
    /// To `endpoint`. No connection is made yet.
    pub(super) fn new(
        options: &HttpOptions,
        endpoint: &url::Url,
        dialect: Dialect,
        limits: Vec<Arc<Limiter>>,
    ) -> Result<Line, BucketError> {
        options.allow(endpoint)?;
        let peers = options.peers(endpoint);
        Ok(Line(Arc::new(Shared {
            client: options.client(endpoint, &peers)?,
            dialect,
            stall: options.stall_timeout,
            is_proxied: options.is_proxied(),
            peers,
            gate: Arc::new(Gate { limits, ..Gate::default() }),
            behind_seconds: AtomicI64::new(UNKNOWN),
            retry_after: Mutex::new(None),
            bytes_per_second: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(ROOM_UNITS)),
            checked: verdict::Checked::default(),
        })))
    }

    /// Seconds that our clock is behind the server's; negative where it is ahead.
    pub(super) fn behind_seconds(&self) -> Option<i64> {
        let behind = self.0.behind_seconds.load(Ordering::Relaxed);
        Some(behind).filter(|seconds| *seconds != UNKNOWN)
    }

    /// Bytes of bodies that left, those of failed requests as well.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.0.gate.sent_bytes.load(Ordering::Relaxed)
    }

    /// What one request carries in so many seconds, in whole MiB, but not less nor more than this.
    /// The least where the last large request failed, or there was none.
    pub(super) fn carries(&self, seconds: u64, least: u64, most: u64) -> u64 {
        let bytes = self.0.bytes_per_second.load(Ordering::Relaxed).saturating_mul(seconds);
        (bytes & !((1 << 20) - 1)).clamp(least, most)
    }

    /// Waits until there is room in memory for so many bytes on their way to this bucket; the room
    /// is free again when what is returned is dropped.
    pub(super) async fn room(&self, size_bytes: u64) -> OwnedSemaphorePermit {
        let units = size_bytes.div_ceil(ROOM_UNIT).min(ROOM_UNITS as u64) as u32;
        let room = Arc::clone(&self.0.room).acquire_many_owned(units).await;
        room.expect("it is never closed")
    }

    /// How long the server asked us to wait since this was asked last.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        self.0.retry_after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the server named this SHA-256 as that of a body which it received lately.
    pub(super) fn was_checked(&self, sha256: &[u8; 32]) -> bool {
        self.0.checked.has(sha256)
    }

    /// The same of an MD5.
    pub(super) fn was_checked_md5(&self, md5: &[u8; 16]) -> bool {
        self.0.checked.has(md5)
    }

    /// Sends a request as it is, watched and paced. Every status is the caller's: WebDAV's mean
    /// something else than those of object stores.
    pub(super) async fn send(
        &self,
        mut request: reqwest::Request,
    ) -> Result<reqwest::Response, BucketError> {
        let body = request.body_mut().take();
        let answer = self.watched(&request, body).await.map_err(BucketError::from_line)?;
        Ok(self.response(answer).map(reqwest::Body::wrap).into())
    }

    /// One request, watched, and its answer, judged.
    async fn attempt(
        &self,
        head: &reqwest::Request,
        body: HttpRequestBody,
    ) -> Result<reqwest::Response, LineError> {
        let digests = verdict::DIGEST_HEADERS.iter().filter_map(|name| {
            let value = head.headers().get(*name)?.to_str().ok()?;
            Some((*name, value.to_owned()))
        });
        let asked = Asked {
            method: head.method().clone(),
            host: head.url().host_str().unwrap_or_default().to_owned(),
            digests: digests.collect(),
        };
        let (size, began) = (body.content_length() as u64, Instant::now());
        let answer = match self.watched(head, Some(body)).await {
            Ok(answer) => verdict::judge(&asked, answer, &self.0.checked).await,
            Err(error) => Err(error),
        };
        if size >= LARGE_SIZE {
            let is_success = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
            let rate = if is_success { size as f64 / began.elapsed().as_secs_f64() } else { 0.0 };
            self.0.bytes_per_second.store(rate as u64, Ordering::Relaxed);
        }
        answer
    }

    /// One request, watched.
    async fn watched<B>(
        &self,
        head: &reqwest::Request,
        body: Option<B>,
    ) -> Result<reqwest::Response, LineError>
    where
        B: Body<Data = Bytes> + Unpin + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let line = &self.0;
        let progress = Arc::<Progress>::default();
        let mut request = head.try_clone().expect("a head without a body can be copied");
        *request.body_mut() = body.map(|body| match body.is_end_stream() {
            true => reqwest::Body::from(Bytes::new()),
            false => reqwest::Body::wrap(Paced::new(body, line.gate.clone(), progress.clone())),
        });
        let answer = tokio::select! {
            answer = line.client.execute(request) => {
                answer.map_err(|error| LineError::from_http(error, line.is_proxied))?
            }
            () = progress.stalled(&line.peers, line.stall) => {
                return Err(body::stalled(line.stall));
            }
        };
        self.note(&answer);
        Ok(answer)
    }

    /// Notes what an answer says besides.
    fn note(&self, answer: &reqwest::Response) {
        if let Some(date) = verdict::date(answer.headers()) {
            let behind = date.as_second() - clock::now().0.div_euclid(1000);
            self.0.behind_seconds.store(behind, Ordering::Relaxed);
        }
        if let Some(wait) = verdict::retry_after(answer.status(), answer.headers(), self.now()) {
            let mut known = self.0.retry_after.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(known.map_or(wait, |known| known.max(wait)));
        }
    }

    /// The server's time, as far as it is known.
    fn now(&self) -> jiff::Timestamp {
        let millis = clock::now().0.saturating_add(self.behind_seconds().unwrap_or(0) * 1000);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    fn response(&self, answer: reqwest::Response) -> HttpResponse {
        let (status, version, headers) =
            (answer.status(), answer.version(), answer.headers().clone());
        let body = Watched::new(reqwest::Body::from(answer), self.0.stall);
        let mut response = HttpResponse::new(HttpResponseBody::new(body));
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        response
    }

    /// A request of `object_store`, and once more where that alone can help.
    async fn ask(
        &self,
        mut head: reqwest::Request,
        body: HttpRequestBody,
    ) -> Result<reqwest::Response, LineError> {
        if let Dialect::AzureToken = self.0.dialect
            && head.method() == Method::PUT
            && !head.headers().contains_key("content-md5")
        {
            let value =
                BASE64.encode(digest_of::<Md5>(body.clone()).await).parse().expect("base64");
            head.headers_mut().insert("content-md5", value);
        }
        let promised = head.headers().get("content-md5").and_then(|md5| BASE64.decode(md5).ok());
        let signed_with = self.correct(&mut head, CORRECT_FROM_SECONDS, 0);
        let mut answer = self.attempt(&head, body.clone()).await;
        let is_reading = [Method::GET, Method::HEAD].contains(head.method());
        if let Err(LineError { trouble: Trouble::Broken, .. }) = &answer
            && is_reading
        {
            // Most often the server closed an idle connection just when we used it. A reading may
            // be asked again; what changes something is left to the queue.
            answer = self.attempt(&head, body.clone()).await;
        }
        let answer = answer?;
        if let (Dialect::AzureToken, StatusCode::CREATED, Some(md5)) =
            (&self.0.dialect, answer.status(), promised)
        {
            // Azure compares the header with what it received, and refuses what differs; of a
            // block it does not repeat the digest.
            self.0.checked.remember(md5);
        }
        if answer.status() == StatusCode::FORBIDDEN
            && self.correct(&mut head, SUSPECT_FROM_SECONDS, signed_with) != signed_with
        {
            return self.attempt(&head, body).await;
        }
        self.suspect_clock(answer)
    }

    /// Signs an S3 request again where our clock differs from the server's by `from_seconds` more
    /// than the request allows for; returns what it allows for then.
    fn correct(&self, head: &mut reqwest::Request, from_seconds: u64, signed_with: i64) -> i64 {
        let (Dialect::S3(signer), Some(behind)) = (&self.0.dialect, self.behind_seconds()) else {
            return signed_with;
        };
        if behind.abs_diff(signed_with) < from_seconds || !sigv4::is_signed(head.headers()) {
            return signed_with;
        }
        signer.sign(head, self.now());
        behind
    }

    /// Says so where a refusal comes from a clock that we cannot correct.
    fn suspect_clock(&self, answer: reqwest::Response) -> Result<reqwest::Response, LineError> {
        let refusals: &[u16] = match self.0.dialect {
            Dialect::AzureKey => &[403],
            Dialect::Google => &[400, 401, 403],
            Dialect::AzureToken | Dialect::Dav | Dialect::S3(_) => &[],
        };
        let behind = self.behind_seconds().unwrap_or(0);
        if refusals.contains(&answer.status().as_u16())
            && behind.unsigned_abs() >= SUSPECT_FROM_SECONDS
        {
            let side = if behind > 0 { "behind" } else { "ahead of" };
            let text = format!(
                "our clock is {} s {side} the server's, and credentials of this kind depend on it \
                 (status {})",
                behind.unsigned_abs(),
                answer.status().as_u16()
            );
            return Err(LineError::new(Trouble::Clock, text));
        }
        Ok(answer)
    }
}

/// The digest of a body whose bytes are in memory.
async fn digest_of<D: Digest>(mut body: HttpRequestBody) -> Output<D> {
    let mut hash = D::new();
    // No frame is waited for, and none fails.
    while let Some(Ok(frame)) = body.frame().await {
        hash.update(frame.data_ref().map_or(&[][..], |data| data));
    }
    hash.finalize()
}

impl HttpConnector for Line {
    /// Of `object_store`'s own options, headers alone count: the rest was taken by
    /// [`HttpOptions`].
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let headers = options.get_default_headers().cloned().unwrap_or_default();
        Ok(HttpClient::new(Service { line: self.clone(), headers }))
    }
}

#[derive(Debug)]
struct Service {
    line: Line,
    /// What each request carries that does not say otherwise.
    headers: HeaderMap,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        if let Some(promise) = parts.extensions.get::<Arc<Promise>>() {
            promise.compare(&parts.headers, &body).await.map_err(http_error)?;
        }
        let url = parts.uri.to_string().parse().map_err(|error: url::ParseError| {
            http_error(LineError::new(Trouble::Protocol, error.to_string()))
        })?;
        let mut head = reqwest::Request::new(parts.method, url);
        *head.headers_mut() = parts.headers;
        for (name, value) in &self.headers {
            if !head.headers().contains_key(name) {
                head.headers_mut().insert(name, value.clone());
            }
        }
        let answer = self.line.ask(head, body).await.map_err(http_error)?;
        Ok(self.line.response(answer))
    }
}

#[cfg(test)]
mod tests;
