//! The door for a monitor: a few pages over HTTP, on a thread of its own.
//!
//! Nothing that comes in here can hold up the agent: connections are few and short, requests
//! small, and a page is made at most once a second, whoever asks how often.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as PlainStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at the same time; others wait in the kernel.
const CONNECTION_COUNT_MAX: usize = 8;
/// A connection's whole life. Who sends a byte a minute gets no further.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Of a request's line and headers; the least that hyper takes.
const HEADER_SIZE_MAX: usize = 8 << 10;
const HEADER_COUNT_MAX: usize = 32;
/// For so long a page is given out as it was.
const PAGE_AGE_MAX: Duration = Duration::from_secs(1);
/// Until an address is tried again that another program has.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long [`is_ours`] waits.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);
/// By this it is known.
const NAME: &str = "dockseal";

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
}

/// Makes the page of a path; none where there is no such page.
type Make = Box<dyn Fn(&str) -> Option<Answer> + Send>;

/// The pages, and those that were given out a moment ago.
struct Pages {
    make: Make,
    fresh: HashMap<String, (Instant, Answer)>,
}

impl Pages {
    fn page(&mut self, path: &str) -> Option<Answer> {
        if let Some((made_at, answer)) = self.fresh.get(path)
            && made_at.elapsed() < PAGE_AGE_MAX
        {
            return Some(answer.clone());
        }
        // Only paths that there are pages for are kept: nobody fills the memory.
        let answer = (self.make)(path)?;
        self.fresh.insert(path.to_owned(), (Instant::now(), answer.clone()));
        Some(answer)
    }
}

/// Gives out pages at an address until the process ends. Where another program has the address,
/// that is said once, and tried again.
pub fn open(
    address: SocketAddr,
    make: impl Fn(&str) -> Option<Answer> + Send + 'static,
) -> io::Result<()> {
    let pages = Pages { make: Box::new(make), fresh: HashMap::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || runtime.block_on(serve(address, Arc::new(Mutex::new(pages))));
    std::thread::Builder::new().name("monitor".into()).spawn(serve)?;
    Ok(())
}

async fn serve(address: SocketAddr, pages: Arc<Mutex<Pages>>) {
    let listener = bind(address).await;
    let room = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&pages), permit));
            }
            // No descriptors left, or the client is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!("a monitor may ask at http://{address}/metrics and /healthz");
                return listener;
            }
            Err(error) if !is_told => {
                tracing::error!("no monitor can ask at {address}: {error}; clips do not wait");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BIND_AGAIN_AFTER).await;
    }
}

/// One request, and its answer.
async fn connection(stream: TcpStream, pages: Arc<Mutex<Pages>>, _permit: OwnedSemaphorePermit) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, &pages);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_headers(HEADER_COUNT_MAX).max_buf_size(HEADER_SIZE_MAX);
    let served = http.serve_connection(TokioIo::new(stream), answer);
    // Whatever a client does wrong is its own loss.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, served).await;
}

fn answer(request: &Request<Incoming>, pages: &Mutex<Pages>) -> Response<Full<Bytes>> {
    let text = |status: StatusCode| Answer {
        status: status.as_u16(),
        media_type: "text/plain; charset=utf-8",
        body: format!("{status}\n"),
    };
    let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
    let page = pages.page(request.uri().path());
    let is_get = request.method() == Method::GET;
    let answer = match page {
        Some(page) if is_get => page,
        Some(_) => text(StatusCode::METHOD_NOT_ALLOWED),
        None => text(StatusCode::NOT_FOUND),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static(NAME));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED.as_u16() {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// Whether it is a dockseal that answers at an address; an error where nobody does.
pub fn is_ours(address: SocketAddr) -> io::Result<bool> {
    let mut stream = PlainStream::connect_timeout(&address, ASK_TIME_MAX)?;
    stream.set_read_timeout(Some(ASK_TIME_MAX))?;
    stream.set_write_timeout(Some(ASK_TIME_MAX))?;
    // A path without a page: nothing has to be made for it.
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut said = Vec::new();
    stream.take(HEADER_SIZE_MAX as u64).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).contains(&format!("server: {NAME}\r\n")))
}
