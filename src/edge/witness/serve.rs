//! The witness's HTTP server: bounded requests in, short texts out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// A connection's whole life: headers, body, answer. Who sends a byte a minute gets no further.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(20);
/// Connections at the same time.
const CONNECTION_COUNT_MAX: usize = 64;

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

/// Answers requests. Its functions may wait for the disk: they run on blocking threads.
pub trait Door: Send + Sync + 'static {
    /// `POST /add-checkpoint`.
    fn add_checkpoint(&self, body: &[u8]) -> Answer;
    /// `GET /checkpoints`.
    fn checkpoints(&self) -> Answer;
}

/// Binds an address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until SIGTERM or Ctrl-C; requests that are being answered are answered first.
pub async fn serve(
    listener: TcpListener,
    door: Arc<impl Door>,
    request_size_max: usize,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/checkpoints", get(checkpoints))
        .layer(DefaultBodyLimit::max(request_size_max))
        .with_state(door);
    let room = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    axum::serve(Bounded { listener, room }, router).with_graceful_shutdown(ended).await
}

async fn add_checkpoint<D: Door>(State(door): State<Arc<D>>, body: Bytes) -> Response {
    respond(move || door.add_checkpoint(&body)).await
}

async fn checkpoints<D: Door>(State(door): State<Arc<D>>) -> Response {
    respond(move || door.checkpoints()).await
}

async fn respond(work: impl FnOnce() -> Answer + Send + 'static) -> Response {
    let Ok(answer) = tokio::task::spawn_blocking(work).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.media_type)], answer.body).into_response()
}

/// A listener whose connections are bounded in number and in time; axum bounds neither.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let room = Arc::clone(&self.room);
        let permit = room.acquire_owned().await.expect("the semaphore is never closed");
        // axum's own accept goes on after errors, and waits where there are no descriptors left.
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(CONNECTION_TIME_MAX));
        (BoundedStream { stream, deadline, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct BoundedStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl BoundedStream {
    fn expect_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.expect_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.expect_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
