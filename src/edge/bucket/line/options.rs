//! The options of a bucket that are about HTTP, and the client that they make.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::super::BucketError;
use super::peers::Peers;
use crate::error::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A server closes what is idle after 5 s (Apache) to some minutes. A request into a connection
/// that is being closed is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// What object_store's options may begin with.
const PREFIXES: [&str; 4] = ["aws_", "azure_", "google_", "webdav_"];

/// How a bucket is reached, apart from its kind.
pub(in super::super) struct HttpOptions {
    allow_http: bool,
    connect_timeout: Duration,
    pub(super) stall_timeout: Duration,
    timeout: Option<Duration>,
    proxy: Option<url::Url>,
    ca_file: Option<String>,
}

impl HttpOptions {
    /// Takes them out of a bucket's options.
    pub(in super::super) fn take(
        options: &mut BTreeMap<String, String>,
    ) -> Result<HttpOptions, BucketError> {
        let mut found = HttpOptions {
            allow_http: false,
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            timeout: None,
            proxy: None,
            ca_file: None,
        };
        let mut others = BTreeMap::new();
        for (option, value) in std::mem::take(options) {
            let name = PREFIXES.iter().find_map(|prefix| option.strip_prefix(prefix));
            match name.unwrap_or(&option) {
                "allow_http" => found.allow_http = yes_or_no(&option, &value)?,
                "allow_invalid_certificates" => {
                    if yes_or_no(&option, &value)? {
                        let why = "whoever is on the way could fake receipts; name the CA's \
                                   certificate with ca_file instead";
                        return Err(wrong(&option, why));
                    }
                }
                "ca_file" => found.ca_file = Some(value),
                "connect_timeout" => found.connect_timeout = duration(&option, &value)?,
                "proxy_url" => found.proxy = Some(proxy(&option, &value)?),
                "stall_timeout" => found.stall_timeout = duration(&option, &value)?,
                "timeout" => found.timeout = Some(duration(&option, &value)?),
                _ => {
                    others.insert(option, value);
                }
            }
        }
        *options = others;
        Ok(found)
    }

    /// Refuses an unencrypted way to another machine.
    pub(super) fn allow(&self, endpoint: &url::Url) -> Result<(), BucketError> {
        match endpoint.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http || is_loopback(endpoint) => Ok(()),
            "http" => Err(BucketError::PlainHttp),
            _ => Err(wrong("endpoint", "expected https://HOST")),
        }
    }

    pub(super) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// The addresses at which bytes for a bucket leave.
    pub(super) fn peers(&self, endpoint: &url::Url) -> Peers {
        let peers = Peers::default();
        let environment = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"];
        let environment = environment.iter().filter_map(|name| std::env::var(name).ok());
        let proxies = environment.filter_map(|text| text.parse().ok()).chain(self.proxy.clone());
        for url in proxies.chain([endpoint.clone()]) {
            peers.expect(&url);
        }
        peers
    }

    /// A client for `endpoint`. It follows no redirect: an answer from elsewhere proves nothing,
    /// and a signature is for nobody else.
    pub(super) fn client(
        &self,
        endpoint: &url::Url,
        peers: &Peers,
    ) -> Result<reqwest::Client, BucketError> {
        let is_plain = endpoint.scheme() == "http";
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dockseal/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .https_only(!is_plain)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(self.stall_timeout / 4)
            .tcp_keepalive_interval(self.stall_timeout / 4)
            .tcp_keepalive_retries(3)
            // The kernel alone sees a line on which nothing is acknowledged any more.
            .tcp_user_timeout(self.stall_timeout)
            .dns_resolver(peers.clone());
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(proxy) = &self.proxy {
            let proxy = reqwest::Proxy::all(proxy.as_str())
                .map_err(|error| wrong("proxy_url", &chain(&error.without_url())))?;
            builder = builder.proxy(proxy);
        }
        builder = match &self.ca_file {
            Some(file) => builder.tls_certs_merge(certificates(file)?),
            // It verifies nobody; a machine without any trusted certificate must do.
            None if is_plain => builder.tls_certs_only([]),
            None => builder,
        };
        builder.build().map_err(|error| {
            let text = chain(&error);
            if text.contains("No CA certificates") {
                let why = "this machine trusts no certificate authority: install \
                           ca-certificates, or name a CA's certificate here";
                return wrong("ca_file", why);
            }
            wrong("https", &text)
        })
    }
}

fn certificates(file: &str) -> Result<Vec<reqwest::Certificate>, BucketError> {
    let pem = std::fs::read(file).map_err(|error| wrong("ca_file", &format!("{file}: {error}")))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| wrong("ca_file", &format!("{file}: {}", chain(&error))))?;
    if found.is_empty() {
        return Err(wrong("ca_file", &format!("{file}: no certificate in PEM form")));
    }
    Ok(found)
}

fn proxy(option: &str, value: &str) -> Result<url::Url, BucketError> {
    // The value is not repeated: it may hold a password.
    let url = url::Url::parse(value).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    url.ok_or_else(|| wrong(option, "expected http://HOST:PORT"))
}

fn yes_or_no(option: &str, value: &str) -> Result<bool, BucketError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(option, "expected true or false")),
    }
}

/// As humans write it: `30s`, `2 minutes`, `1h 30m`.
fn duration(option: &str, value: &str) -> Result<Duration, BucketError> {
    let parsed = jiff::SignedDuration::from_str(value).ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    let parsed = parsed.filter(|duration| *duration >= Duration::from_millis(100));
    parsed.ok_or_else(|| wrong(option, "expected a duration such as 30s or 5m"))
}

fn wrong(option: &str, why: &str) -> BucketError {
    BucketError::Option { option: option.to_owned(), why: why.to_owned() }
}

fn is_loopback(endpoint: &url::Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pairs: &[(&str, &str)]) -> Result<HttpOptions, BucketError> {
        let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        HttpOptions::take(&mut pairs.collect())
    }

    #[test]
    fn durations_are_taken_as_people_and_object_store_write_them() {
        for text in ["30s", "30 seconds", "PT30S"] {
            let taken = take(&[("stall_timeout", text), ("aws_connect_timeout", text)]);
            let taken = taken.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(taken.stall_timeout, Duration::from_secs(30), "{text}");
            assert_eq!(taken.connect_timeout, Duration::from_secs(30), "{text}");
        }
        for text in ["", "30", "-30s", "0s", "soon"] {
            assert!(take(&[("timeout", text)]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_would_let_others_in_is_refused() {
        let error = take(&[("aws_allow_invalid_certificates", "true")]).err().expect("refused");
        assert!(error.to_string().contains("ca_file"), "{error}");
        let error = take(&[("proxy_url", "socks5://u:hunter2@h")]).err().expect("refused");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let https = "https://h/".parse().expect("a URL");
        let plain = "http://192.0.2.1/".parse().expect("a URL");
        let here = "http://[::1]:9000/".parse().expect("a URL");
        let strict = take(&[]).expect("taken");
        assert!(strict.allow(&https).is_ok() && strict.allow(&here).is_ok());
        assert!(matches!(strict.allow(&plain), Err(BucketError::PlainHttp)));
        assert!(take(&[("allow_http", "true")]).expect("taken").allow(&plain).is_ok());
    }
}
