//! Putting into WebDAV: an unfinished name first, then a `MOVE` that never replaces.

use std::fs::File;

use bytes::Bytes;
use object_store::PutMode;
use object_store::path::Path as Key;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::super::folder::UNFINISHED;
use super::super::put::Put;
use super::super::{BucketError, Trouble};
use super::{Dav, body, content_length, is_page, method, refusal};
use crate::clip::{Evidence, SealedName, to_hex};
use crate::edge::fs::from_start;

/// Hex digits of a small object's digest in the unfinished name.
const DIGITS: usize = 16;

/// What a probe ends as.
const PROBED: &str = ".probed.unfinished";

/// Where an object is put, and where it is while it is not whole.
struct Place {
    /// The folders beneath the base.
    folders: Vec<String>,
    unfinished: Url,
    finished: Url,
}

/// What is put.
enum Content<'a> {
    File { file: File, size: u64, name: SealedName, sent: &'a (dyn Fn(u64) + Sync) },
    Small(Bytes),
}

impl Dav {
    /// Streams a sealed file to its unfinished name, and moves it to its own.
    ///
    /// Nobody checked a digest: the evidence is an acknowledgement, and the caller reads back.
    pub(in super::super) async fn put(
        &self,
        file: File,
        put: Put<'_>,
    ) -> Result<Evidence, BucketError> {
        let (mode, Put { key, name, size, journal, .. }) = (put.mode(), put);
        let sent = &|bytes| journal.sent(bytes);
        let place = self.place(key, &name.to_string());
        // Where an earlier answer was lost, this spares sending the whole clip again.
        if mode == PutMode::Create && self.is_there(&place.finished).await? {
            return Err(BucketError::AlreadyThere);
        }
        let content = Content::File { file, size, name, sent };
        self.put_unfinished(&place, &content, size).await?;
        self.publish(&place, &mode).await?;
        Ok(Evidence::Acknowledged)
    }

    /// Puts a small object, over the one that may be there or never.
    ///
    /// Its digest is in the unfinished name: of several writers none publishes another's bytes.
    pub(in super::super) async fn put_small(
        &self,
        key: &Key,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<(), BucketError> {
        let digest = to_hex(&Sha256::digest(&bytes));
        let name = key.filename().expect("a key has a file name");
        let place = self.place(key, &format!("{name}-{}", &digest[..DIGITS]));
        let size = bytes.len() as u64;
        let content = Content::Small(bytes);
        self.put_unfinished(&place, &content, size).await?;
        match self.publish(&place, &mode).await {
            // Another writer of the same bytes moved it away. Then it is there, or was removed.
            Err(BucketError::Missing) => {
                self.put_unfinished(&place, &content, size).await?;
                self.publish(&place, &mode).await
            }
            published => published,
        }
    }

    /// Puts a few bytes beside where `key` would be, moves them, and removes them where that is
    /// allowed. They keep an unfinished name, which the next probe takes again.
    pub(in super::super) async fn probe(&self, key: &Key) -> Result<(), BucketError> {
        let mut place = self.place(key, "probe");
        place.finished = place.unfinished.clone();
        place.finished.path_segments_mut().expect("http has a path").pop().push(PROBED);
        let bytes = Bytes::from_static(b"dockseal check\n");
        let size = bytes.len() as u64;
        self.put_unfinished(&place, &Content::Small(bytes), size).await?;
        self.publish(&place, &PutMode::Overwrite).await?;
        self.remove(&place.finished).await;
        Ok(())
    }

    fn place(&self, key: &Key, unfinished: &str) -> Place {
        let mut folders: Vec<_> = key.parts().map(|part| part.as_ref().to_owned()).collect();
        let _ = folders.pop();
        let unfinished = format!(".{unfinished}{UNFINISHED}");
        let unfinished = self.url_of(folders.iter().chain([&unfinished]));
        Place { folders, unfinished, finished: self.url(key) }
    }

    /// Whether an object is there, as far as we may know.
    async fn is_there(&self, url: &Url) -> Result<bool, BucketError> {
        let answer = self.send(Request::new(Method::HEAD, url.clone())).await?;
        Ok(answer.status() == StatusCode::OK && !is_page(&answer))
    }

    /// Puts the unfinished object, its folders where they are missing, and compares the size.
    async fn put_unfinished(
        &self,
        place: &Place,
        content: &Content<'_>,
        size: u64,
    ) -> Result<(), BucketError> {
        let mut answer = self.put_once(place, content).await;
        let status = answer.as_ref().map_or(StatusCode::OK, Response::status);
        if status.is_server_error() || is_folder_missing(status) {
            // Somebody may have removed a folder that we remember. nginx says 500 to that, which
            // says too little to send the whole clip again at once.
            self.made().clear();
        }
        if is_folder_missing(status) {
            answer = self.put_once(place, content).await;
        }
        if let Err(BucketError::SpoolDamaged | BucketError::Spool(_)) = &answer {
            // Some servers keep half an object.
            self.remove(&place.unfinished).await;
        }
        let answer = answer?;
        let is_taken = match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => true,
            // A captive portal says so to anything; Apache sends a page only with 201.
            StatusCode::OK => !is_page(&answer),
            _ => false,
        };
        if !is_taken {
            return Err(refusal(&Method::PUT, &answer));
        }
        let answer = self.send(Request::new(Method::HEAD, place.unfinished.clone())).await?;
        match content_length(&answer).filter(|_| answer.status() == StatusCode::OK) {
            Some(stored) if stored != size => {
                self.remove(&place.unfinished).await;
                let text = format!("it stored {stored} of {size} bytes");
                Err(BucketError::failed(Trouble::Digest, text))
            }
            // As it should be; or we may not look.
            Some(_) | None => Ok(()),
        }
    }

    async fn put_once(
        &self,
        place: &Place,
        content: &Content<'_>,
    ) -> Result<Response, BucketError> {
        self.make_folders(&place.folders).await?;
        let mut request = Request::new(Method::PUT, place.unfinished.clone());
        let kind = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        match content {
            Content::Small(bytes) => {
                *request.body_mut() = Some(Body::from(bytes.clone()));
                self.send(request).await
            }
            Content::File { file, size, name, sent } => {
                let file = from_start(file).map_err(BucketError::Spool)?;
                self.send_file(request, (file, *size, *name), *sent).await
            }
        }
    }

    async fn send_file(
        &self,
        mut request: Request,
        (file, size, name): (File, u64, SealedName),
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, BucketError> {
        let (taken, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (body, reading) = body::body(file, size, name, taken);
        *request.body_mut() = Some(body);
        // Without it the body would be chunked, which nginx and others refuse.
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
        let sending = self.send(request);
        tokio::pin!(sending);
        let answer = loop {
            tokio::select! {
                answer = &mut sending => break answer,
                Some(size) = told.recv() => sent(size),
            }
        };
        while let Ok(size) = told.try_recv() {
            sent(size);
        }
        // The file's own fault first: a request that we cut off ourselves failed in some way.
        let is_whole = reading.ended_whole()?;
        match answer {
            Ok(answer) if answer.status().is_success() && !is_whole => {
                let text = format!("answered {} before it had the clip", answer.status());
                Err(BucketError::failed(Trouble::Protocol, text))
            }
            answer => answer,
        }
    }

    /// Gives an unfinished object its name. Where it cannot have it, it is removed as far as we
    /// may: what stays is overwritten by the next attempt.
    async fn publish(&self, place: &Place, mode: &PutMode) -> Result<(), BucketError> {
        let mut answer = self.move_to(place, place.finished.as_str(), mode).await?;
        if matches!(answer.status(), StatusCode::BAD_REQUEST | StatusCode::BAD_GATEWAY) {
            // Behind a proxy that ends TLS, Apache knows itself by the other scheme, and takes our
            // URL for another server's. The path alone, as RFC 4918 §8.3 allows it, it refuses.
            let mut other = place.finished.clone();
            let scheme = if other.scheme() == "http" { "https" } else { "http" };
            other.set_scheme(scheme).expect("http and https change places");
            answer = self.move_to(place, other.as_str(), mode).await?;
        }
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            StatusCode::PRECONDITION_FAILED => {
                self.remove(&place.unfinished).await;
                Err(BucketError::AlreadyThere)
            }
            _ => Err(refusal(&method("MOVE"), &answer)),
        }
    }

    async fn move_to(
        &self,
        place: &Place,
        destination: &str,
        mode: &PutMode,
    ) -> Result<Response, BucketError> {
        let mut request = Request::new(method("MOVE"), place.unfinished.clone());
        let overwrite = if *mode == PutMode::Create { "F" } else { "T" };
        let destination = HeaderValue::from_str(destination).expect("a URL is ASCII");
        request.headers_mut().insert("destination", destination);
        request.headers_mut().insert("overwrite", HeaderValue::from_static(overwrite));
        self.send(request).await
    }

    /// Removes an object.
    pub(in super::super) async fn delete(&self, key: &Key) -> Result<(), BucketError> {
        let answer = self.send(Request::new(Method::DELETE, self.url(key))).await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(refusal(&Method::DELETE, &answer)),
        }
    }

    /// Best effort: what may not be removed stays unfinished, and no listing shows it.
    async fn remove(&self, url: &Url) {
        let _ = self.send(Request::new(Method::DELETE, url.clone())).await;
    }

    /// As `mkdir -p` beneath the base, once a process. The base itself is not made: a disk that
    /// the server did not mount would silently become a folder of another one.
    async fn make_folders(&self, folders: &[String]) -> Result<(), BucketError> {
        for depth in 1..=folders.len() {
            let folder = folders[..depth].join("/");
            if self.made().contains(&folder) {
                continue;
            }
            let verb = method("MKCOL");
            let url = self.folder_url(&folders[..depth]);
            let answer = self.send(Request::new(verb.clone(), url)).await?;
            match answer.status() {
                StatusCode::CREATED
                // It is there.
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::MOVED_PERMANENTLY
                // It may be there all the same, made by who set the bucket up. PUT will tell.
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN => {}
                StatusCode::CONFLICT => return Err(BucketError::Missing),
                _ => return Err(refusal(&verb, &answer)),
            }
            let _ = self.made().insert(folder);
        }
        Ok(())
    }
}

fn is_folder_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::CONFLICT | StatusCode::NOT_FOUND)
}
