//! Reading from WebDAV: sizes, ranges, and listings folder by folder.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path as Key;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Body, Method, Request, Response, StatusCode};

use super::super::trouble::LineError;
use super::super::{BucketError, Level, Object, Trouble};
use super::{Dav, content_length, is_page, method, multistatus, refusal};

/// Bytes of one folder's listing: some 20,000 objects. A dock's clips lie in 256 folders.
const LISTING_SIZE_MAX: usize = 16 << 20;
/// How deep folders may lie within each other. Ours lie ten deep at most.
const DEPTH_MAX: usize = 32;
/// Folders of one listing.
const FOLDER_COUNT_MAX: usize = 1 << 20;

/// What we want to know of each object. `Depth: infinity` is refused by Apache.
const PROPFIND: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/>"#,
    "<getcontentlength/><getlastmodified/></prop></propfind>"
);

impl Dav {
    /// Size of an object in bytes.
    pub(in super::super) async fn size(&self, key: &Key) -> Result<u64, BucketError> {
        let answer = self.send(Request::new(Method::HEAD, self.url(key))).await?;
        if answer.status() != StatusCode::OK || is_page(&answer) {
            return Err(refusal(&Method::HEAD, &answer));
        }
        let unsaid =
            || BucketError::failed(Trouble::Protocol, "it does not say how large the object is");
        content_length(&answer).ok_or_else(unsaid)
    }

    /// Some bytes of an object; fewer where it ends earlier.
    pub(in super::super) async fn read(
        &self,
        key: &Key,
        range: Range<u64>,
    ) -> Result<Bytes, BucketError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut request = Request::new(Method::GET, self.url(key));
        let asked = format!("bytes={}-{}", range.start, range.end - 1);
        let asked = HeaderValue::from_str(&asked).expect("ASCII");
        request.headers_mut().insert(RANGE, asked);
        let answer = self.send(request).await?;
        let size = range.end - range.start;
        match answer.status() {
            _ if is_page(&answer) => Err(refusal(&Method::GET, &answer)),
            StatusCode::PARTIAL_CONTENT => {
                let Some(given) = given_range(&answer).filter(|given| answers(given, &range))
                else {
                    let text = format!("gave other bytes than {}-{}", range.start, range.end - 1);
                    return Err(BucketError::failed(Trouble::Protocol, text));
                };
                let bytes = collect(answer, 0, size).await?;
                if bytes.len() as u64 != given.last + 1 - range.start {
                    return Err(BucketError::failed(
                        Trouble::Broken,
                        "it gave fewer bytes than it said",
                    ));
                }
                Ok(bytes)
            }
            // It does not know ranges: what is before is read and let go.
            StatusCode::OK => collect(answer, range.start, size).await,
            _ => Err(refusal(&Method::GET, &answer)),
        }
    }

    /// A whole object of at most `size_max` bytes.
    pub(in super::super) async fn read_all(
        &self,
        key: &Key,
        size_max: u64,
    ) -> Result<Bytes, BucketError> {
        let answer = self.send(Request::new(Method::GET, self.url(key))).await?;
        if answer.status() != StatusCode::OK || is_page(&answer) {
            return Err(refusal(&Method::GET, &answer));
        }
        if content_length(&answer).is_some_and(|size| size > size_max) {
            return Err(BucketError::TooLarge { size_max });
        }
        let bytes = collect(answer, 0, size_max.saturating_add(1)).await?;
        if bytes.len() as u64 > size_max {
            return Err(BucketError::TooLarge { size_max });
        }
        Ok(bytes)
    }

    /// All objects beneath `prefix`, one after the other, folder by folder.
    pub(in super::super) async fn visit(
        &self,
        prefix: &Key,
        see: &mut (dyn FnMut(Object) + Send),
    ) -> Result<(), BucketError> {
        let prefix: Vec<String> = prefix.parts().map(|part| part.as_ref().to_owned()).collect();
        let mut folders = vec![prefix.clone()];
        let mut folder_count = 1;
        while let Some(folder) = folders.pop() {
            let listing = match self.listing(&folder).await {
                // Nothing is there yet, or no longer; but the bucket itself must be.
                Err(BucketError::Missing) if folder == prefix && !folder.is_empty() => {
                    self.listing(&[]).await?;
                    continue;
                }
                Err(BucketError::Missing) if folder != prefix => continue,
                listing => listing?,
            };
            for member in listing {
                let path = [folder.as_slice(), &[member.name]].concat();
                let Some(size_bytes) = member.size_bytes else {
                    folder_count += 1;
                    if path.len() > DEPTH_MAX || folder_count > FOLDER_COUNT_MAX {
                        return Err(BucketError::failed(
                            Trouble::Protocol,
                            "too many folders to list",
                        ));
                    }
                    folders.push(path);
                    continue;
                };
                see(Object { key: path.join("/"), size_bytes, stored: member.stored });
            }
        }
        Ok(())
    }

    /// What lies directly in a folder.
    pub(in super::super) async fn level(&self, folder: &Key) -> Result<Level, BucketError> {
        let folder: Vec<String> = folder.parts().map(|part| part.as_ref().to_owned()).collect();
        let listing = match self.listing(&folder).await {
            // Not there yet; but the bucket itself must be.
            Err(BucketError::Missing) if !folder.is_empty() => {
                self.listing(&[]).await?;
                return Ok(Level::default());
            }
            listing => listing?,
        };
        let (folders, objects): (Vec<_>, Vec<_>) =
            listing.into_iter().partition(|member| member.size_bytes.is_none());
        Ok(Level {
            folders: folders.into_iter().map(|member| member.name).collect(),
            objects: objects.into_iter().map(|member| (member.name, member.stored)).collect(),
        })
    }

    async fn listing(&self, folder: &[String]) -> Result<Vec<multistatus::Member>, BucketError> {
        let verb = method("PROPFIND");
        let url = self.folder_url(folder);
        let mut request = Request::new(verb.clone(), url.clone());
        request.headers_mut().insert("depth", HeaderValue::from_static("1"));
        let kind = HeaderValue::from_static("application/xml; charset=utf-8");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        *request.body_mut() = Some(Body::from(PROPFIND));
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::MULTI_STATUS {
            return Err(refusal(&verb, &answer));
        }
        let bytes = collect(answer, 0, LISTING_SIZE_MAX as u64 + 1).await?;
        if bytes.len() > LISTING_SIZE_MAX {
            return Err(BucketError::failed(
                Trouble::Protocol,
                "too many objects in a folder to list",
            ));
        }
        multistatus::members(&bytes, url.path())
            .map_err(|error| BucketError::failed(Trouble::Protocol, format!("a listing {error}")))
    }
}

/// First and last byte of a 206, and the size of the object where it is said.
struct Given {
    first: u64,
    last: u64,
    size: Option<u64>,
}

/// `Content-Range: bytes 0-499/1234`, RFC 9110 §14.4.
fn given_range(answer: &Response) -> Option<Given> {
    let text = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    Some(Given { first: first.parse().ok()?, last: last.parse().ok()?, size })
}

/// Whether it is what was asked for, or all of it that there is.
fn answers(given: &Given, asked: &Range<u64>) -> bool {
    let is_whole = given.last == asked.end - 1;
    let is_end = given.last < asked.end && given.size.is_some_and(|size| size == given.last + 1);
    given.first == asked.start && given.last >= given.first && (is_whole || is_end)
}

/// At most `size_max` bytes of a body, without the first `skip`. What comes behind is not read.
async fn collect(mut answer: Response, skip: u64, size_max: u64) -> Result<Bytes, BucketError> {
    let mut skip = skip;
    let mut bytes = Vec::new();
    while let Some(mut block) = answer.chunk().await.map_err(broken)? {
        let skipped = skip.min(block.len() as u64);
        skip -= skipped;
        let mut block = block.split_off(skipped as usize);
        let room = size_max - bytes.len() as u64;
        block.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        bytes.extend_from_slice(&block);
        if bytes.len() as u64 == size_max {
            break;
        }
    }
    Ok(bytes.into())
}

/// An answer that ended too early, or stood still.
fn broken(error: reqwest::Error) -> BucketError {
    BucketError::from_line(LineError::from_http(error, false))
}
