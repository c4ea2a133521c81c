//! The line against answers that go wrong, given byte by byte over a real connection.

use std::collections::BTreeMap;
use std::time::Instant;

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"e\"\r\n\r\n";

/// Answers each request with the next of the texts, and an empty one with silence. Gives what it
/// was told, one text a request.
async fn serve(answers: Vec<String>) -> (url::Url, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut text = Vec::new();
            let end = loop {
                let found = text.windows(4).position(|window| window == b"\r\n\r\n");
                if let Some(end) = found {
                    break end + 4;
                }
                assert!(stream.read_buf(&mut text).await.expect("read") > 0, "an early end");
            };
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let size = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let size: usize = size.map_or(0, |size| size.trim().parse().expect("a number"));
            while text.len() < end + size {
                assert!(stream.read_buf(&mut text).await.expect("read") > 0, "an early end");
            }
            told.push(head);
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            let close = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            stream.write_all(close.as_bytes()).await.expect("written");
        }
        told
    });
    (url.parse().expect("a URL"), told)
}

fn line(url: &url::Url, dialect: Dialect, options: &[(&str, &str)]) -> Line {
    let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    let options = HttpOptions::take(&mut options.collect::<BTreeMap<_, _>>()).expect("taken");
    Line::new(&options, url, dialect, Vec::new()).expect("a line")
}

fn s3() -> Dialect {
    Dialect::S3(Signer {
        key_id: "key".into(),
        secret: Zeroizing::new("secret".into()),
        region: "us-east-1".into(),
    })
}

/// Puts 100,000 bytes over a line, through `object_store`.
async fn put(line: &Line, url: &url::Url) -> Result<(), BucketError> {
    let store = AmazonS3Builder::new()
        .with_bucket_name("b")
        .with_access_key_id("key")
        .with_secret_access_key("secret")
        .with_region("us-east-1")
        .with_endpoint(url.as_str().trim_end_matches('/'))
        .with_allow_http(true)
        .with_checksum_algorithm(object_store::aws::Checksum::SHA256)
        .with_retry(object_store::RetryConfig { max_retries: 0, ..Default::default() })
        .with_http_connector(line.clone())
        .build()
        .expect("built");
    let put = store.put(&Path::from("k"), vec![7; 100_000].into()).await;
    put.map(drop).map_err(BucketError::from_store)
}

fn http_date(seconds_from_now: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(clock::now().0).expect("now");
    let time = time + jiff::SignedDuration::from_secs(seconds_from_now);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[tokio::test]
async fn a_good_answer_is_taken_and_the_length_was_said() {
    let (url, told) = serve(vec![OK.into()]).await;
    let line = line(&url, s3(), &[]);
    put(&line, &url).await.expect("put");
    let told = told.await.expect("served");
    assert!(told[0].contains("content-length: 100000\r\n"), "{}", told[0]);
    assert!(!told[0].contains("transfer-encoding"), "{}", told[0]);
    assert_eq!(line.sent_bytes(), 100_000);
}

#[tokio::test]
async fn failures_that_look_like_answers_name_their_cause_first() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\netag: \"e\"\r\n\r\nHi";
    let away = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://elsewhere.test/x?sig=secret";
    let busy = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 8\r\n\r\n\
                SlowDown";
    let full = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 23\r\n\r\n\
                no space left on device";
    let begun = "a web page came instead of an answer: a captive portal or proxy?: ";
    for (answer, trouble, text) in [
        (html.into(), Trouble::Portal, begun),
        ("HTTP/1.1 511 X\r\n\r\n".into(), Trouble::Portal, begun),
        (
            format!("{away}\r\n\r\n"),
            Trouble::Redirect,
            "the server sends us to another address: \
                 307 to elsewhere.test",
        ),
        (
            busy.into(),
            Trouble::Throttled,
            "the server asks us to slow down: status 503 Service \
                 Unavailable: SlowDown",
        ),
        ("HTTP/1.1 507 X\r\n\r\n".into(), Trouble::Quota, "the server is full: status 507"),
        (full.into(), Trouble::Quota, "the server is full: status 500"),
        ("HTTP/1.1 502 X\r\n\r\n".into(), Trouble::Server, "the server failed: status 502"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), Trouble::Protocol, "the server's"),
        ("rubbish\r\n\r\n".into(), Trouble::Protocol, "the server's answer cannot be understood"),
    ] {
        let (url, _told) = serve(vec![answer]).await;
        let line = line(&url, s3(), &[]);
        let error = put(&line, &url).await.expect_err(text);
        assert_eq!(error.trouble(), Some(trouble), "{error}");
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(!error.to_string().contains("sig=secret"), "{error}");
        let wait = (trouble == Trouble::Throttled).then_some(Duration::from_secs(7));
        assert_eq!(line.take_retry_after(), wait);
        assert_eq!(line.take_retry_after(), None);
    }
}

#[tokio::test]
async fn webdavs_answers_are_its_own_modules_to_judge() {
    let answer = "HTTP/1.1 201 Created\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nHi";
    let (url, told) = serve(vec![answer.into(), answer.replace("201 Created", "507 Full")]).await;
    let line = line(&url, Dialect::Dav, &[]);
    let request = || {
        let mut request = reqwest::Request::new(Method::PUT, url.clone());
        *request.body_mut() = Some("clip".into());
        request
    };
    let answer = line.send(request()).await.expect("created");
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.text().await.expect("a body"), "Hi");
    let full = line.send(request()).await.expect("an answer all the same");
    assert_eq!(full.status(), StatusCode::INSUFFICIENT_STORAGE);
    assert!(told.await.expect("served")[0].contains("content-length: 4\r\n"));
}

#[tokio::test]
async fn a_server_that_takes_everything_and_says_nothing_is_a_stall() {
    let (url, _told) = serve(vec![String::new()]).await;
    let line = line(&url, s3(), &[("stall_timeout", "400ms")]);
    let begun = Instant::now();
    let error = put(&line, &url).await.expect_err("silence");
    assert_eq!(error.to_string(), "the line stalled: no byte for 0.4 s");
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn an_unknown_name_and_a_closed_port_are_told_apart() {
    let url: url::Url = "https://no-such-host.invalid/".parse().expect("a URL");
    let error = put(&line(&url, s3(), &[]), &url).await.expect_err("no such name");
    assert_eq!(error.trouble(), Some(Trouble::Dns), "{error}");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", closed.local_addr().expect("bound"));
    drop(closed);
    let url: url::Url = url.parse().expect("a URL");
    let error = put(&line(&url, s3(), &[]), &url).await.expect_err("nobody there");
    assert_eq!(error.trouble(), Some(Trouble::Connect), "{error}");
    let proxy = [("proxy_url", url.as_str())];
    let url: url::Url = "http://127.0.0.1:1/".parse().expect("a URL");
    let error = put(&line(&url, s3(), &proxy), &url).await.expect_err("no proxy there");
    assert_eq!(error.trouble(), Some(Trouble::Proxy), "{error}");
}

#[tokio::test]
async fn a_digest_that_the_server_names_is_evidence_and_another_one_a_failure() {
    let sha256 = <[u8; 32]>::from(sha2::Sha256::digest(vec![7; 100_000]));
    let echo = |digest: &[u8]| {
        let digest = BASE64.encode(digest);
        OK.replacen("etag", &format!("x-amz-checksum-sha256: {digest}\r\netag"), 1)
    };
    let (url, _told) = serve(vec![echo(&sha256), echo(&[0; 32])]).await;
    let line = line(&url, s3(), &[]);
    assert!(!line.was_checked(&sha256));
    put(&line, &url).await.expect("put");
    assert!(line.was_checked(&sha256));
    let error = put(&line, &url).await.expect_err("another digest");
    assert_eq!(error.trouble(), Some(Trouble::Digest), "{error}");
    assert!(!line.was_checked(&[0; 32]));
}

#[tokio::test]
async fn a_signature_refused_for_our_clock_is_made_again_with_the_servers_time() {
    let date = |seconds| format!("\r\ndate: {}\r\n", http_date(seconds));
    let day = 86_400;
    let refused = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
    let refused = refused.replacen("\r\n", &date(day), 1);
    let good = OK.replacen("\r\n", &date(day), 1);
    let (url, told) = serve(vec![refused, good.clone(), good]).await;
    let line = line(&url, s3(), &[]);
    put(&line, &url).await.expect("the second signature");
    put(&line, &url).await.expect("signed right at once");
    let behind = line.behind_seconds().expect("known");
    assert!(behind.abs_diff(day) < 5, "{behind}");
    let told = told.await.expect("served");
    let signed = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("x-amz-date: "));
        line.expect("signed")[..8].to_owned()
    };
    assert_ne!(signed(&told[0]), signed(&told[1]));
    assert_eq!(signed(&told[1]), signed(&told[2]));
}

#[tokio::test]
async fn a_refusal_that_no_signature_can_mend_is_asked_once() {
    let refused = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n";
    let (url, told) = serve(vec![format!("{refused}date: {}\r\n\r\n", http_date(0))]).await;
    let error = put(&line(&url, s3(), &[]), &url).await.expect_err("refused");
    assert!(matches!(error, BucketError::Refused(_)), "{error}");
    assert_eq!(told.await.expect("served").len(), 1);
    // An account's key at Azure: nothing to be done but to say so.
    let (url, _told) = serve(vec![format!("{refused}date: {}\r\n\r\n", http_date(-7200))]).await;
    let error = put(&line(&url, Dialect::AzureKey, &[]), &url).await.expect_err("refused");
    assert_eq!(error.trouble(), Some(Trouble::Clock), "{error}");
    assert!(error.to_string().contains("s ahead of the server's"), "{error}");
}
