//! Bodies on the line: sent at the pace of the limits, and watched in both directions.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::client::{HttpError, HttpErrorKind};
use tokio::time::{Instant, Sleep};

use super::super::trouble::{LineError, Trouble};
use super::peers::Peers;
use crate::edge::limit::Limiter;

/// Bytes that are admitted at once, at most.
const FRAME_SIZE_MAX: usize = 64 << 10;
/// And at least, however low the limit.
const FRAME_SIZE_MIN: usize = 1 << 10;
/// A frame is at most this part of what a limit gives in a second.
const FRAMES_PER_SECOND: u64 = 8;
/// However much the kernel's account moves (another request to the same server moves it as well),
/// this many times the stall timeout without a byte of a request is too long.
const STALLS_MAX: u32 = 10;

/// Whether a request moves.
#[derive(Debug, Default)]
pub(super) struct Progress {
    frames: AtomicU64,
    /// It waits for us: for our limits, or for the next bytes of a file.
    is_ours: AtomicBool,
}

impl Progress {
    /// Ends when nothing moved for `stall`.
    pub(super) async fn stalled(&self, peers: &Peers, stall: Duration) {
        let step = stall / 4;
        let (mut idle, mut silent) = (Duration::ZERO, Duration::ZERO);
        let (mut frames, mut unsent) = (0, None);
        while idle < stall && silent < stall * STALLS_MAX {
            tokio::time::sleep(step).await;
            let now = self.frames.load(Ordering::Relaxed);
            if now != frames || self.is_ours.load(Ordering::Relaxed) {
                (frames, unsent, idle, silent) = (now, None, Duration::ZERO, Duration::ZERO);
                continue;
            }
            silent += step;
            let before = std::mem::replace(&mut unsent, peers.unsent_bytes());
            let moved = before.is_some() && before != unsent;
            idle = if moved { Duration::ZERO } else { idle + step };
        }
    }
}

/// What all bodies of a bucket share.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) limits: Vec<Arc<Limiter>>,
    pub(super) sent_bytes: AtomicU64,
}

impl Gate {
    fn frame_size(&self) -> usize {
        let rates = self.limits.iter().filter_map(|limit| limit.bytes_per_second());
        let size = rates.min().map_or(u64::MAX, |rate| rate / FRAMES_PER_SECOND);
        usize::try_from(size).unwrap_or(usize::MAX).clamp(FRAME_SIZE_MIN, FRAME_SIZE_MAX)
    }

    fn admit(&self, size: usize) -> Duration {
        self.limits.iter().map(|limit| limit.admit(size)).max().unwrap_or_default()
    }
}

/// A request's body, cut into frames that leave when the limits allow.
pub(super) struct Paced<B> {
    inner: B,
    /// Of the inner body's last frame.
    rest: Bytes,
    /// Admitted, and when it may leave.
    next: Option<(Bytes, Pin<Box<Sleep>>)>,
    left_bytes: Option<u64>,
    gate: Arc<Gate>,
    progress: Arc<Progress>,
}

impl<B: Body<Data = Bytes> + Unpin> Paced<B> {
    pub(super) fn new(inner: B, gate: Arc<Gate>, progress: Arc<Progress>) -> Paced<B> {
        let left_bytes = inner.size_hint().exact();
        Paced { inner, rest: Bytes::new(), next: None, left_bytes, gate, progress }
    }

    fn leave(&mut self, frame: Bytes) -> Frame<Bytes> {
        let size = frame.len() as u64;
        self.left_bytes = self.left_bytes.map(|left| left.saturating_sub(size));
        self.gate.sent_bytes.fetch_add(size, Ordering::Relaxed);
        self.progress.frames.fetch_add(1, Ordering::Relaxed);
        self.progress.is_ours.store(false, Ordering::Relaxed);
        Frame::data(frame)
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        this.progress.is_ours.store(true, Ordering::Relaxed);
        loop {
            if let Some((frame, sleep)) = &mut this.next {
                ready!(sleep.as_mut().poll(cx));
                let frame = std::mem::take(frame);
                this.next = None;
                return Poll::Ready(Some(Ok(this.leave(frame))));
            }
            if !this.rest.is_empty() {
                let size = this.gate.frame_size().min(this.rest.len());
                let frame = this.rest.split_to(size);
                let wait = this.gate.admit(size);
                if wait.is_zero() {
                    return Poll::Ready(Some(Ok(this.leave(frame))));
                }
                this.next = Some((frame, Box::pin(tokio::time::sleep(wait))));
                continue;
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => {
                    this.progress.frames.fetch_add(1, Ordering::Relaxed);
                    this.progress.is_ours.store(false, Ordering::Relaxed);
                    return Poll::Ready(end.map(|end| end.map_err(Into::into)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left_bytes.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An answer's body. Fails where its next bytes do not come for `stall`.
pub(super) struct Watched {
    inner: reqwest::Body,
    stall: Duration,
    sleep: Pin<Box<Sleep>>,
    /// Since when `sleep` counts: only while somebody waits for bytes.
    is_waiting: bool,
}

impl Watched {
    pub(super) fn new(inner: reqwest::Body, stall: Duration) -> Watched {
        Watched { inner, stall, sleep: Box::pin(tokio::time::sleep(stall)), is_waiting: false }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.is_waiting = false;
            let failed = |error| http_error(LineError::from_http(error, false));
            return Poll::Ready(frame.map(|frame| frame.map_err(failed)));
        }
        if !this.is_waiting {
            this.is_waiting = true;
            this.sleep.as_mut().reset(Instant::now() + this.stall);
        }
        ready!(this.sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(http_error(stalled(this.stall)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pub(super) fn stalled(stall: Duration) -> LineError {
    LineError::new(Trouble::Stalled, format!("no byte for {} s", stall.as_secs_f64()))
}

/// As `object_store` carries it. Of a kind that it never tries again by itself.
pub(super) fn http_error(error: LineError) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn paced(limit: Option<u64>, size: usize) -> (Paced<Full<Bytes>>, Arc<Gate>) {
        let limiter = Arc::new(Limiter::default());
        limiter.set(limit);
        let gate = Arc::new(Gate { limits: vec![limiter], sent_bytes: AtomicU64::new(0) });
        let body = Full::new(Bytes::from(vec![7; size]));
        (Paced::new(body, gate.clone(), Arc::default()), gate)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_body_leaves_in_small_frames_and_keeps_its_length() {
        let (mut body, gate) = paced(None, 200_000);
        let mut left = 200_000;
        while left > 0 {
            assert_eq!(body.size_hint().exact(), Some(left));
            assert!(!body.is_end_stream());
            let frame = block_on(body.frame()).expect("more").expect("good");
            let size = frame.data_ref().expect("data").len();
            assert!(size <= FRAME_SIZE_MAX);
            left -= size as u64;
        }
        assert!(body.is_end_stream() && block_on(body.frame()).is_none());
        assert_eq!(gate.sent_bytes.load(Ordering::Relaxed), 200_000);
    }

    #[test]
    fn a_limit_paces_a_body() {
        // A burst of a quarter of a second leaves at once; the rest takes 0.75 s.
        let (body, _) = paced(Some(200_000), 200_000);
        let begun = std::time::Instant::now();
        let sent = block_on(body.collect()).expect("good").to_bytes();
        assert_eq!(sent.len(), 200_000);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(700), "{took:?}");
    }

    #[test]
    fn waiting_for_our_own_limit_is_no_stall() {
        let stall = Duration::from_millis(100);
        let (mut body, _) = paced(Some(4 * FRAME_SIZE_MIN as u64), 4 * FRAME_SIZE_MIN);
        let progress = body.progress.clone();
        block_on(async {
            let peers = Peers::default();
            let sending = async { while body.frame().await.is_some() {} };
            tokio::select! {
                () = sending => {}
                () = progress.stalled(&peers, stall) => panic!("called stalled"),
            }
            // Now everything was handed over, and nobody answers.
            let begun = Instant::now();
            progress.stalled(&peers, stall).await;
            assert!(begun.elapsed() >= stall);
        });
    }
}
