//! What time a bucket's server says it is: the `Date` of its answers (RFC 9110 §6.6.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use reqwest::header::HeaderMap;

use crate::edge::clock;

/// No answer had a date yet.
const UNKNOWN: i64 = i64::MIN;

/// How far our clock is behind the server's, as of its last answer; shared by a bucket's clients.
#[derive(Debug, Clone)]
pub(super) struct ServerClock(Arc<AtomicI64>);

impl ServerClock {
    pub(super) fn unknown() -> ServerClock {
        ServerClock(Arc::new(AtomicI64::new(UNKNOWN)))
    }

    /// Seconds that our clock is behind; negative where it is ahead.
    pub(super) fn behind_seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }

    /// Notes the date of an answer, by its headers.
    pub(super) fn read(&self, headers: &HeaderMap) {
        let date = headers.get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        if let Some(date) = date {
            let behind = date.timestamp().as_second() - clock::now().0 / 1000;
            self.0.store(behind, Ordering::Relaxed);
        }
    }
}

/// Makes clients that note the date of each answer.
#[derive(Debug)]
pub(super) struct Connector(pub(super) ServerClock);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, clock: self.0.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    client: HttpClient,
    clock: ServerClock,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.client.execute(request).await?;
        self.clock.read(answer.headers());
        Ok(answer)
    }
}
