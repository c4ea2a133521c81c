//! WebDAV buckets (RFC 4918): `http(s)://HOST/PATH`, on any server that can PUT and MOVE.
//!
//! An object appears by `MOVE` with `Overwrite: F` and by nothing else: of what WebDAV has, that is
//! the one condition which the common servers all honour. They ignore `If-None-Match`, or splice a
//! `Content-Range` into what is there.
//!
//! It is no lock: Apache looks and renames in two steps, and of writers that race within these two
//! may hear that they created. Clips bear it, as their names are their digests, and a log has one
//! writer.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use object_store::path::Path as Key;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode};
use url::Url;

use super::line::Line;
use super::{BucketError, Trouble};

mod body;
pub mod multistatus;
mod put;
mod read;

/// A folder of a WebDAV server.
#[derive(Debug)]
pub(super) struct Dav {
    line: Line,
    /// Without a slash at its end.
    base: Url,
    auth: Option<HeaderValue>,
    /// Folders beneath the base that need not be made any more.
    made: Mutex<HashSet<String>>,
}

impl Dav {
    /// Makes no request yet.
    pub(super) fn open(
        mut base: Url,
        options: &BTreeMap<String, String>,
        line: Line,
    ) -> Result<Dav, BucketError> {
        let auth = authorization(options)?;
        base.path_segments_mut().expect("http has a path").pop_if_empty();
        Ok(Dav { line, base, auth, made: Mutex::default() })
    }

    /// What it speaks over.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// The one place that talks to the server.
    async fn send(&self, mut request: Request) -> Result<Response, BucketError> {
        if let Some(auth) = &self.auth {
            request.headers_mut().insert(AUTHORIZATION, auth.clone());
        }
        self.line.send(request).await
    }

    /// The URL of an object.
    fn url(&self, key: &Key) -> Url {
        self.url_of(key.parts().map(|part| part.as_ref().to_owned()))
    }

    /// The URL of what lies beneath the base at these folders and this name.
    fn url_of(&self, parts: impl IntoIterator<Item = impl AsRef<str>>) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http has a path").pop_if_empty().extend(parts);
        url
    }

    /// The URL of a folder. It ends in a slash, which nginx asks for.
    fn folder_url(&self, parts: &[String]) -> Url {
        let mut url = self.url_of(parts);
        url.path_segments_mut().expect("http has a path").pop_if_empty().push("");
        url
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the options say of who we are.
fn authorization(options: &BTreeMap<String, String>) -> Result<Option<HeaderValue>, BucketError> {
    let wrong = |option: &str, why: &str| {
        Err(BucketError::Option { option: option.to_owned(), why: why.to_owned() })
    };
    let known = ["webdav_user", "webdav_password", "webdav_token"];
    if let Some(option) = options.keys().find(|option| !known.contains(&option.as_str())) {
        return wrong(option, "not an option of http:// or https://");
    }
    let [user, password, token] = known.map(|option| options.get(option));
    let (value, source) = match (user, password, token) {
        (None, None, None) => return Ok(None),
        (None, None, Some(token)) => (format!("Bearer {token}"), "webdav_token"),
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return wrong("webdav_token", "either a token, or user and password");
        }
        (None, Some(_), None) => return wrong("webdav_user", "a password needs a user"),
        (Some(_), None, None) => return wrong("webdav_password", "a user needs a password"),
        (Some(user), Some(_), None) if user.contains(':') => {
            // RFC 7617 §2: the first colon ends the user.
            return wrong("webdav_user", "a colon cannot be part of it");
        }
        (Some(user), Some(password), None) => {
            let pair =
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            (format!("Basic {pair}"), "webdav_password")
        }
    };
    match HeaderValue::from_str(&value) {
        Ok(mut value) => {
            // Left out where a request is printed.
            value.set_sensitive(true);
            Ok(Some(value))
        }
        Err(_) => wrong(source, "has characters that a header cannot hold"),
    }
}

/// What an answer means that is not the one hoped for. Its body is not looked at: servers send
/// pages, and the status says it.
fn refusal(method: &Method, answer: &Response) -> BucketError {
    let status = answer.status();
    let text = format!("answered {status} to {method}");
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => BucketError::Missing,
        // The one precondition that we ever set is "no object of this name".
        StatusCode::PRECONDITION_FAILED => BucketError::AlreadyThere,
        StatusCode::CONFLICT | StatusCode::LOCKED => BucketError::failed(Trouble::Server, text),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            BucketError::failed(Trouble::Throttled, text)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            BucketError::failed(Trouble::Server, text)
        }
        StatusCode::INSUFFICIENT_STORAGE => BucketError::failed(Trouble::Quota, text),
        StatusCode::NOT_IMPLEMENTED => BucketError::Refused(text),
        StatusCode::NETWORK_AUTHENTICATION_REQUIRED => BucketError::failed(Trouble::Portal, text),
        status if status.is_client_error() => BucketError::Refused(text),
        status if status.is_redirection() => {
            BucketError::failed(Trouble::Redirect, format!("{text}: redirects are not followed"))
        }
        status if status.is_success() && is_page(answer) => {
            BucketError::failed(Trouble::Portal, text)
        }
        status if status.is_success() => {
            let text = format!("{text}: not the answer of a WebDAV server");
            BucketError::failed(Trouble::Protocol, text)
        }
        _ => BucketError::failed(Trouble::Server, text),
    }
}

/// Whether an answer is a page: a captive portal's, or a login's. No object of ours is one.
fn is_page(answer: &Response) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// The size that the headers say. After HEAD the answer's own count is that of its empty body.
fn content_length(answer: &Response) -> Option<u64> {
    answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("a method's name")
}

#[cfg(test)]
mod tests {
    use super::super::line::{Dialect, HttpOptions};
    use super::*;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<Dav, BucketError> {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let url = Url::parse(url).expect("a URL");
        let http = BTreeMap::from([("allow_http".to_owned(), "true".to_owned())]);
        let http = HttpOptions::take(&mut http.clone())?;
        let line = Line::new(&http, &url, Dialect::Dav, vec![])?;
        Dav::open(url, &options.collect(), line)
    }

    #[test]
    fn keys_and_folders_become_urls_beneath_the_base() {
        for base in ["http://h/a%20b", "http://h/a%20b/"] {
            let dav = open(base, &[]).expect("opened");
            let url = dav.url(&Key::from("d-1/clips/é?#"));
            assert_eq!(url.as_str(), "http://h/a%20b/d-1/clips/%25C3%25A9%253F%2523");
            assert_eq!(dav.folder_url(&["d-1".into()]).as_str(), "http://h/a%20b/d-1/");
            assert_eq!(dav.folder_url(&[]).as_str(), "http://h/a%20b/");
        }
        let dav = open("http://h", &[]).expect("opened");
        assert_eq!(dav.url(&Key::from("x")).as_str(), "http://h/x");
        assert_eq!(dav.folder_url(&[]).as_str(), "http://h/");
    }

    #[test]
    fn an_unusable_login_is_told_and_no_secret_is_printed() {
        let (user, password) = (("webdav_user", "dock"), ("webdav_password", "hunter2"));
        let token = ("webdav_token", "hunter2");
        for (options, named) in [
            (&[user][..], "webdav_password"),
            (&[password], "webdav_user"),
            (&[user, password, token], "webdav_token"),
            (&[user, token], "webdav_token"),
            (&[("webdav_user", "a:b"), password], "webdav_user"),
            (&[("webdav_token", "hunter2\n")], "webdav_token"),
            (&[("aws_region", "x")], "aws_region"),
        ] {
            let error = open("http://h/x", options).expect_err(named);
            let text = format!("{error} {error:?}");
            assert!(text.contains(named) && !text.contains("hunter2"), "{text}");
        }
        let dav = open("http://h/x", &[user, password]).expect("opened");
        assert_eq!(
            dav.auth.as_ref().map(HeaderValue::as_bytes),
            Some(&b"Basic ZG9jazpodW50ZXIy"[..])
        );
        let text = format!("{dav:?}");
        assert!(!text.contains("hunter2") && !text.contains("ZG9j"), "{text}");
        assert!(open("http://h/x", &[token]).expect("opened").auth.is_some());
    }
}
