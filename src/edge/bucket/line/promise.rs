//! The digest that a body must have before a byte of it leaves.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use object_store::HeaderMap;
use object_store::client::HttpRequestBody;
use sha2::Sha256;

use super::super::trouble::{LineError, Trouble};
use super::digest_of;

/// Travels with a request of `object_store`, which hashes what it sends to S3 anyway: to hash it
/// here as well would cost more than sealing it did.
#[derive(Debug)]
pub(in super::super) struct Promise {
    sha256: [u8; 32],
    is_broken: AtomicBool,
}

impl Promise {
    pub(in super::super) fn of(sha256: [u8; 32]) -> Promise {
        Promise { sha256, is_broken: AtomicBool::new(false) }
    }

    /// Whether a request was stopped because its body was something else.
    pub(in super::super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Fails where the body is not what was promised. Where its digest stands in the head it was
    /// made of this body, in this process.
    pub(super) async fn compare(
        &self,
        head: &HeaderMap,
        body: &HttpRequestBody,
    ) -> Result<(), LineError> {
        let is_kept = match head.get("x-amz-checksum-sha256") {
            Some(value) => value.as_bytes() == BASE64.encode(self.sha256).as_bytes(),
            None => digest_of::<Sha256>(body.clone()).await[..] == self.sha256,
        };
        if is_kept {
            return Ok(());
        }
        self.is_broken.store(true, Ordering::Relaxed);
        Err(LineError::new(Trouble::Digest, "stopped before anything was sent"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sha2::Digest;

    use super::*;

    async fn keeps(promised: &[u8], head: Option<&[u8]>, body: &'static [u8]) -> bool {
        let promise = Promise::of(Sha256::digest(promised).into());
        let mut headers = HeaderMap::new();
        if let Some(hashed) = head {
            let value = BASE64.encode(Sha256::digest(hashed)).parse().expect("base64");
            headers.insert("x-amz-checksum-sha256", value);
        }
        let is_kept = promise
            .compare(&headers, &HttpRequestBody::from(Bytes::from_static(body)))
            .await
            .is_ok();
        assert_eq!(promise.is_broken(), !is_kept);
        is_kept
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_was_promised_does_not_leave() {
        assert!(keeps(b"sealed", Some(b"sealed"), b"sealed").await);
        assert!(!keeps(b"sealed", Some(b"damaged"), b"damaged").await);
        // Of a kind whose client hashes nothing, or was told to hash in another way.
        assert!(keeps(b"sealed", None, b"sealed").await);
        assert!(!keeps(b"sealed", None, b"damaged").await);
    }
}
