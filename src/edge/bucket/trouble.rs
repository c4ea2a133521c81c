//! What is wrong between us and a bucket, in the first words that an operator reads.

use std::error::Error;
use std::io::ErrorKind;

use crate::error::chain;

/// What is wrong with a bucket or with the way to it. Who must act differs with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The server does not take our credentials, or not for this.
    Auth,
    /// The folder of a `file://` bucket is not there.
    Away,
    /// The connection ended in the middle.
    Broken,
    /// The server refuses requests because our clock is wrong.
    Clock,
    /// No connection could be made.
    Connect,
    /// The server says that it received other bytes than were sent.
    Digest,
    /// The name in the address is unknown.
    Dns,
    /// The server does not speak TLS as we do.
    Handshake,
    /// A page for people came where a machine's answer was expected.
    Portal,
    /// The answer is none that this kind of server gives.
    Protocol,
    /// The proxy refused or failed.
    Proxy,
    /// The server has no room left, or not for us.
    Quota,
    /// The server sends us to another address; we do not follow.
    Redirect,
    /// The server failed.
    Server,
    /// Nothing moved for too long.
    Stalled,
    /// The server asks us to slow down.
    Throttled,
    /// The request as a whole took longer than the option `timeout` allows.
    TimedOut,
    /// The server's certificate is not trusted.
    Tls,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 18] = [
        Trouble::Auth,
        Trouble::Away,
        Trouble::Broken,
        Trouble::Clock,
        Trouble::Connect,
        Trouble::Digest,
        Trouble::Dns,
        Trouble::Handshake,
        Trouble::Portal,
        Trouble::Protocol,
        Trouble::Proxy,
        Trouble::Quota,
        Trouble::Redirect,
        Trouble::Server,
        Trouble::Stalled,
        Trouble::Throttled,
        Trouble::TimedOut,
        Trouble::Tls,
    ];

    /// The stable word for the metrics.
    pub fn code(self) -> &'static str {
        match self {
            Trouble::Auth => "auth",
            Trouble::Away => "away",
            Trouble::Broken => "broken",
            Trouble::Clock => "clock",
            Trouble::Connect => "connect",
            Trouble::Digest => "digest",
            Trouble::Dns => "dns",
            Trouble::Handshake => "handshake",
            Trouble::Portal => "portal",
            Trouble::Protocol => "protocol",
            Trouble::Proxy => "proxy",
            Trouble::Quota => "quota",
            Trouble::Redirect => "redirect",
            Trouble::Server => "server",
            Trouble::Stalled => "stalled",
            Trouble::Throttled => "throttled",
            Trouble::TimedOut => "timed-out",
            Trouble::Tls => "tls",
        }
    }

    /// The one that a cause names first.
    pub fn named_in(cause: &str) -> Option<Trouble> {
        let named = Trouble::ALL
            .into_iter()
            .filter_map(|trouble| cause.find(&trouble.to_string()).map(|at| (at, trouble)));
        named.min_by_key(|(at, _)| *at).map(|(_, trouble)| trouble)
    }

    /// What an operator does about it. All but the first and those that say so are tried again by
    /// themselves.
    pub fn advice(self) -> &'static str {
        match self {
            Trouble::Auth => "correct the credentials or the bucket's policy; then: retry",
            Trouble::Away => "is its disk mounted? findmnt; it is tried again by itself",
            Trouble::Broken => "look at the line to the bucket; it goes on where it was",
            Trouble::Clock => "set the clock (timedatectl)",
            Trouble::Connect => "is the line up, and the bucket's server? ping, dockseal check",
            Trouble::Digest => "something between dock and server changes bytes: a proxy?",
            Trouble::Dns => "look at the resolver (resolvectl status) and at the bucket's url",
            Trouble::Handshake => "does the url begin with https where the server speaks it?",
            Trouble::Portal => "log the dock in to the network, or ask who runs its proxy",
            Trouble::Protocol => "is the url that of the bucket's API? dockseal check",
            Trouble::Proxy => "look at the proxy, and at proxy_url in the config",
            Trouble::Quota => "have the bucket enlarged; clips wait in the spool",
            Trouble::Redirect => "write the address that it names into the bucket's url",
            Trouble::Server => "nothing on the dock: ask the provider if it lasts",
            Trouble::Stalled => "look at the line to the bucket; it goes on where it was",
            Trouble::Throttled => "nothing: it is obeyed; fewer bytes: dockseal limit",
            Trouble::TimedOut => "raise the option timeout of the bucket, or mend the line",
            Trouble::Tls => "name the authority's certificate in ca_file, or set the clock",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Trouble::Auth => "the bucket refused",
            Trouble::Away => "the bucket's folder does not exist",
            Trouble::Broken => "the line broke",
            Trouble::Clock => "the server refuses our clock",
            Trouble::Connect => "the bucket's server cannot be reached",
            Trouble::Digest => "the server received other bytes than were sent",
            Trouble::Dns => "the bucket's address cannot be found (DNS)",
            Trouble::Handshake => "no secure connection with the server (TLS)",
            Trouble::Portal => "a web page came instead of an answer: a captive portal or proxy?",
            Trouble::Protocol => "the server's answer cannot be understood",
            Trouble::Proxy => "the proxy refused or failed",
            Trouble::Quota => "the server is full",
            Trouble::Redirect => "the server sends us to another address",
            Trouble::Server => "the server failed",
            Trouble::Stalled => "the line stalled",
            Trouble::Throttled => "the server asks us to slow down",
            Trouble::TimedOut => "the request took too long",
            Trouble::Tls => "the server's certificate is not trusted (TLS)",
        })
    }
}

/// A failure that the line itself found. It travels inside of `object_store`'s errors, and
/// [`LineError::find`] takes it out again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{trouble}: {text}")]
pub(super) struct LineError {
    pub(super) trouble: Trouble,
    /// One line.
    pub(super) text: String,
}

/// A name that no resolver knows, or no resolver that answers.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {source}")]
pub(super) struct NameError {
    pub(super) name: String,
    pub(super) source: std::io::Error,
}

impl LineError {
    pub(super) fn new(trouble: Trouble, text: impl AsRef<str>) -> LineError {
        LineError { trouble, text: one_line(text.as_ref()) }
    }

    /// Among an error's sources.
    pub(super) fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LineError> {
        sources(error).find_map(|source| source.downcast_ref())
    }

    /// What a failed request came to. The URL is left out of the text: it may hold a signature.
    pub(super) fn from_http(error: reqwest::Error, is_proxied: bool) -> LineError {
        if let Some(known) = LineError::find(&error) {
            return known.clone();
        }
        let error = error.without_url();
        let trouble = trouble_of(&error, is_proxied);
        let text = chain(&error);
        // What the crates say of each stage before they come to the point.
        let said = ["error sending request: ", "client error (Connect): ", "dns error: "];
        let text =
            said.iter().fold(text.as_str(), |text, words| text.strip_prefix(words).unwrap_or(text));
        LineError::new(trouble, text)
    }
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn trouble_of(error: &reqwest::Error, is_proxied: bool) -> Trouble {
    let text = chain(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_io = |kind| {
        let mut io = sources(error).filter_map(|source| source.downcast_ref::<std::io::Error>());
        io.any(|error| error.kind() == kind)
    };
    if sources(error).any(|source| source.is::<NameError>()) {
        return Trouble::Dns;
    }
    // rustls has no type of its own on this road; these are its words.
    if says(&["invalid peer certificate"]) {
        return Trouble::Tls;
    }
    if says(&["tunnel", "proxy auth"]) {
        return Trouble::Proxy;
    }
    if error.is_connect() {
        let is_tls = says(&["received corrupt message", "fatal alert", "peer is incompatible"]);
        return match () {
            () if is_tls => Trouble::Handshake,
            () if is_proxied => Trouble::Proxy,
            () => Trouble::Connect,
        };
    }
    // Only the kernel reports this: bytes stayed without acknowledgement for `stall_timeout`.
    if is_io(ErrorKind::TimedOut) {
        return Trouble::Stalled;
    }
    if error.is_timeout() {
        return Trouble::TimedOut;
    }
    if error.is_decode() || says(&["invalid HTTP", "invalid content-length", "parsed"]) {
        return Trouble::Protocol;
    }
    Trouble::Broken
}

/// An error as one line of bounded length: servers answer with pages of XML or HTML.
pub(super) fn one_line(text: &str) -> String {
    const LENGTH_MAX: usize = 300;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// Whether a server's words say that it has no room left.
pub(super) fn says_full(text: &str) -> bool {
    const WORDS: [&str; 6] = [
        "no space left",
        "QuotaExceeded",
        "StorageFull",
        "Insufficient Storage",
        "disk quota",
        "No writable volumes",
    ];
    WORDS.iter().any(|words| text.contains(words))
}
