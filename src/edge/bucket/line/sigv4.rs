//! Signing an S3 request again with another time: AWS Signature Version 4.
//!
//! `object_store` signs with our clock, and a server refuses that where the clock is wrong by a
//! quarter of an hour. The scheme is the one that AWS documents under "Authenticating Requests
//! (AWS Signature Version 4)", with the payload's digest taken over from the first signature.

use std::collections::BTreeMap;
use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clip::to_hex;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SCHEME: &str = "AWS4-HMAC-SHA256";
/// On the way, others may change these.
const UNSIGNED: [&str; 3] = ["authorization", "content-length", "user-agent"];

/// What requests are signed with.
pub(in super::super) struct Signer {
    pub(in super::super) key_id: String,
    pub(in super::super) secret: Zeroizing<String>,
    pub(in super::super) region: String,
}

impl Signer {
    /// Signs as of `now`, in the place of the signature that is there.
    pub(super) fn sign(&self, request: &mut reqwest::Request, now: jiff::Timestamp) {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let (day, _) = time.split_once('T').expect("the format has one");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        headers.insert(DATE, HeaderValue::from_str(&time).expect("digits and letters"));
        let (names, canonical) = canonical_request(request);
        let digest = to_hex(&Sha256::digest(canonical));
        let text = format!("{SCHEME}\n{time}\n{scope}\n{digest}");
        let signature = to_hex(hmac(self.key(day).as_slice(), &text).as_slice());
        let value = format!(
            "{SCHEME} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.key_id
        );
        // A key id with a control character was refused before, by the first signature.
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }

    fn key(&self, day: &str) -> Zeroizing<[u8; 32]> {
        let secret = Zeroizing::new(format!("AWS4{}", self.secret.as_str()));
        let mut key = hmac(secret.as_bytes(), day);
        for word in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(key.as_slice(), word);
        }
        key
    }
}

/// Whether a request carries a signature of this scheme in its headers.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with(SCHEME))
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any size");
    Zeroizing::new(mac.chain_update(text).finalize().into_bytes().into())
}

/// The names of the signed headers, and the request as the server will spell it.
fn canonical_request(request: &reqwest::Request) -> (String, String) {
    let url = request.url();
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut headers = BTreeMap::from([("host", host.to_owned())]);
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let words = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if !UNSIGNED.contains(&name.as_str()) {
            let joined = headers.entry(name.as_str()).or_default();
            if !joined.is_empty() && name.as_str() != "host" {
                joined.push(',');
            }
            joined.push_str(&words);
        }
    }
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let digest = request.headers().get(CONTENT_SHA256).and_then(|value| value.to_str().ok());
    let mut text = format!("{}\n{}\n{}\n", request.method(), url.path(), canonical_query(url));
    for (name, value) in &headers {
        let _infallible = writeln!(text, "{name}:{value}");
    }
    let _infallible = write!(text, "\n{names}\n{}", digest.unwrap_or("UNSIGNED-PAYLOAD"));
    (names, text)
}

fn canonical_query(url: &url::Url) -> String {
    let pairs = url.query_pairs().map(|(key, value)| (encoded(&key), encoded(&value)));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("&")
}

/// Everything but the unreserved characters of RFC 3986 §2.3.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HELLO: &str = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";

    /// The examples of AWS's "Signature Calculations for the Authorization Header: Transferring
    /// Payload in a Single Chunk": one bucket, one key, one second.
    #[test]
    fn the_examples_that_aws_documents_come_out() {
        let signer = Signer {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            region: "us-east-1".into(),
        };
        let date = ("date", "Fri, 24 May 2013 00:00:00 GMT");
        let class = ("x-amz-storage-class", "REDUCED_REDUNDANCY");
        let none: &[(&str, &str)] = &[];
        let examples = [
            (
                "GET",
                "test.txt",
                &[("range", "bytes=0-9")][..],
                EMPTY,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "test%24file.text",
                &[date, class][..],
                HELLO,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "?lifecycle",
                none,
                EMPTY,
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "?max-keys=2&prefix=J",
                none,
                EMPTY,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ];
        for (method, path, headers, digest, signature) in examples {
            let url = format!("https://examplebucket.s3.amazonaws.com/{path}");
            let method = method.parse().expect("a method");
            let mut request = reqwest::Request::new(method, url.parse().expect("a URL"));
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().expect("a value"));
            }
            request.headers_mut().insert(CONTENT_SHA256, digest.parse().expect("a digest"));
            // What is replaced, and what is never signed.
            request.headers_mut().insert(AUTHORIZATION, "AWS4-HMAC-SHA256 old".parse().expect("x"));
            request.headers_mut().insert("x-amz-date", "20000101T000000Z".parse().expect("x"));
            request.headers_mut().insert("user-agent", "changed on the way".parse().expect("x"));
            signer.sign(&mut request, "2013-05-24T00:00:00Z".parse().expect("a time"));
            let value = request.headers()[AUTHORIZATION].to_str().expect("text");
            assert!(value.ends_with(&format!("Signature={signature}")), "{path}: {value}");
            assert!(is_signed(request.headers()));
        }
    }
}
