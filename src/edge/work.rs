//! Work that may block, on a thread where nobody waits behind it.

/// Does it there. A panic goes on in whoever waits.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // A simulation has one thread, so that every run of a seed is the same.
    #[cfg(test)]
    if super::world::current().is_some() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is ending, and did not begin with it: nobody hears of it any more.
        Err(_) => std::future::pending().await,
    }
}
