//! Buckets: the one door to `object_store`, for `file://` and `s3://`, and to WebDAV.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

mod date;
mod dav;
mod error;
mod folder;
mod parts;
mod put;
mod read;
mod rights;
mod small;

pub use error::BucketError;
pub use parts::{Journal, Part, Upload};
pub use rights::{Answer, CHECK, Honours, Rights};
pub use small::Created;

/// Bytes of a part, and the largest object that is sent in one request. S3 wants at least 5 MiB.
const PART_SIZE: u64 = 5 << 20;
/// A part of [`PART_SIZE`] arrives within this even at 9 KiB/s. A slow line is not a failure.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One bucket, opened; no request was made yet.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Store,
    prefix: Key,
    /// Whether the store refuses to create over an object, once that is known.
    honours: Arc<OnceLock<bool>>,
}

#[derive(Debug, Clone)]
enum Store {
    Dav(Arc<dav::Dav>),
    Folder { store: Arc<LocalFileSystem>, root: PathBuf },
    S3(S3),
}

/// Whose code reads objects.
enum Way<'a> {
    Dav(&'a dav::Dav),
    Objects(&'a dyn ObjectStore),
}

/// One S3 bucket, opened twice: what differs are the headers that every request carries.
#[derive(Debug, Clone)]
struct S3 {
    store: Arc<AmazonS3>,
    /// Completes uploads, and only where no object of the name is there. `MultipartStore` has no
    /// such mode, so the condition is a default header; these are signed like any other.
    completer: Arc<AmazonS3>,
    /// Never tries again by itself: "already there" is then never an echo of its own first try.
    creator: Arc<AmazonS3>,
    clock: date::ServerClock,
}

/// An object as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The name beneath the bucket's prefix.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// When the bucket stored it.
    pub stored: jiff::Timestamp,
}

impl Object {
    /// Whether it is a folder's put that is under way, or was killed half-way; no key of ours ends
    /// like this.
    pub fn is_unfinished(&self) -> bool {
        self.key.ends_with(folder::UNFINISHED)
    }
}

impl Bucket {
    /// Opens the bucket of a URL: `file:///path`, `s3://bucket/prefix` or `https://host/path`.
    ///
    /// `options` of S3 are named as `object_store` names them (`aws_endpoint`, `aws_region`, …);
    /// WebDAV has `webdav_user` and `webdav_password`, or `webdav_token`.
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Bucket, BucketError> {
        let parsed = url::Url::parse(url)
            .map_err(|error| BucketError::Url { url: redacted(url), why: error.to_string() })?;
        let invalid = |why: &str| BucketError::Url { url: redacted(url), why: why.to_owned() };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(invalid("credentials do not belong in a URL"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(invalid("`?` and `#` are not allowed"));
        }
        match parsed.scheme() {
            "file" => open_folder(&parsed, options),
            "http" | "https" => open_dav(parsed, options),
            "s3" => open_s3(&parsed, options),
            _ => Err(invalid("expected s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH")),
        }
    }

    /// As [`Bucket::open`], with limits to how fast bytes leave.
    pub fn open_limited(
        url: &str,
        options: &BTreeMap<String, String>,
        _limits: Vec<Arc<crate::edge::limit::Limiter>>,
    ) -> Result<Bucket, BucketError> {
        Bucket::open(url, options)
    }

    /// Whether the bucket is a folder of this machine, where reading back costs no traffic.
    pub fn is_local(&self) -> bool {
        matches!(self.store, Store::Folder { .. })
    }

    /// Seconds that our clock was behind the server's at its last answer; negative where ahead.
    pub fn clock_behind_seconds(&self) -> Option<i64> {
        match &self.store {
            Store::Dav(dav) => dav.clock.behind_seconds(),
            Store::Folder { .. } => None,
            Store::S3(s3) => s3.clock.behind_seconds(),
        }
    }

    /// How long the server asked us to wait, the last time that it did.
    pub fn take_retry_after(&self) -> Option<Duration> {
        None
    }

    /// Whether objects may be put. Begins an upload and gives it up, so that nothing stays; but on
    /// WebDAV an empty folder, and where none may be removed an unfinished file of a few bytes.
    pub async fn probe(&self, key: &str) -> Result<(), BucketError> {
        match &self.store {
            Store::Dav(dav) => dav.probe(&self.key(key)).await,
            Store::Folder { root, .. } => folder::probe(root).await,
            Store::S3(S3 { store, .. }) => {
                let key = self.key(key);
                let id = store.create_multipart(&key).await.map_err(BucketError::from_store)?;
                store.abort_multipart(&key, &id).await.map_err(BucketError::from_store)
            }
        }
    }

    /// Has the bucket let go of an upload that was given up; one that it does not know is gone.
    pub async fn abandon(&self, key: &str, upload_id: &str) -> Result<(), BucketError> {
        let Some((store, _)) = self.in_parts() else { return Ok(()) };
        let gone = store.abort_multipart(&self.key(key), &upload_id.to_owned()).await;
        match gone.map_err(BucketError::from_store) {
            Err(BucketError::Missing) => Ok(()),
            gone => gone,
        }
    }

    /// How its objects are read.
    fn way(&self) -> Way<'_> {
        match &self.store {
            Store::Dav(dav) => Way::Dav(dav),
            Store::Folder { store, .. } => Way::Objects(store.as_ref()),
            Store::S3(s3) => Way::Objects(s3.store.as_ref()),
        }
    }

    /// Where objects can be put in parts: what sends them, and what makes them an object only where
    /// there is none.
    fn in_parts(&self) -> Option<(&dyn MultipartStore, &dyn MultipartStore)> {
        match &self.store {
            Store::Dav(_) | Store::Folder { .. } => None,
            Store::S3(s3) => Some((s3.store.as_ref(), s3.completer.as_ref())),
        }
    }

    fn key(&self, key: &str) -> Key {
        self.prefix.parts().chain(Key::from(key).parts()).collect()
    }
}

fn open_folder(url: &url::Url, options: &BTreeMap<String, String>) -> Result<Bucket, BucketError> {
    if let Some(option) = options.keys().next() {
        return Err(BucketError::Option { option: option.clone(), why: "file:// has none".into() });
    }
    let invalid = |why: &str| BucketError::Url { url: url.to_string(), why: why.to_owned() };
    let root = url.to_file_path().map_err(|()| invalid("expected file:///ABSOLUTE/PATH"))?;
    if !root.is_dir() {
        // Not created: an unmounted disk would silently become a folder of the root file system.
        return Err(BucketError::NoFolder { root });
    }
    let store = LocalFileSystem::new_with_prefix(&root).map_err(BucketError::from_store)?;
    let store = Store::Folder { store: Arc::new(store), root };
    Ok(Bucket { store, prefix: Key::default(), honours: Arc::default() })
}

fn open_dav(url: url::Url, options: &BTreeMap<String, String>) -> Result<Bucket, BucketError> {
    if url.scheme() == "http" && !is_loopback(&url) && !allows_http(options) {
        return Err(BucketError::PlainHttp);
    }
    let dav = Arc::new(dav::Dav::open(url, options)?);
    Ok(Bucket { store: Store::Dav(dav), prefix: Key::default(), honours: Arc::default() })
}

fn open_s3(url: &url::Url, options: &BTreeMap<String, String>) -> Result<Bucket, BucketError> {
    let invalid = |why: &str| BucketError::Url { url: url.to_string(), why: why.to_owned() };
    let name = url.host_str().ok_or_else(|| invalid("expected s3://BUCKET/PREFIX"))?;
    let prefix = Key::parse(url.path().trim_matches('/')).map_err(|e| invalid(&e.to_string()))?;
    let client =
        ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
    let header = "if-none-match".parse().expect("a header's name");
    let headers = [(header, "*".parse().expect("a header's value"))].into_iter().collect();
    let clock = date::ServerClock::unknown();
    let store = Arc::new(s3_client(name, options, client.clone(), (&clock, 1))?);
    let creator = Arc::new(s3_client(name, options, client.clone(), (&clock, 0))?);
    let conditional = client.with_default_headers(headers);
    let completer = Arc::new(s3_client(name, options, conditional, (&clock, 1))?);
    let store = Store::S3(S3 { store, completer, creator, clock });
    Ok(Bucket { store, prefix, honours: Arc::default() })
}

fn s3_client(
    bucket: &str,
    options: &BTreeMap<String, String>,
    client: ClientOptions,
    (clock, max_retries): (&date::ServerClock, usize),
) -> Result<AmazonS3, BucketError> {
    // The durable queue tries again; object_store's own ten retries would only hide the cause.
    let retry = RetryConfig {
        max_retries,
        retry_timeout: REQUEST_TIMEOUT.saturating_mul(2),
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_client_options(client)
        .with_http_connector(date::Connector(clock.clone()))
        .with_retry(retry)
        .with_region("us-east-1")
        .with_disable_tagging(true)
        // One by one: some stores answer a bulk deletion in XML that cannot be read.
        .with_disable_bulk_delete(true)
        .with_checksum_algorithm(Checksum::SHA256);
    for (option, value) in options {
        let key = AmazonS3ConfigKey::from_str(option).map_err(|_| BucketError::Option {
            option: option.clone(),
            why: "not an option of s3://".into(),
        })?;
        builder = builder.with_config(key, value);
    }
    let configured = |key| builder.get_config_value(&key);
    if configured(AmazonS3ConfigKey::AccessKeyId).is_none()
        || configured(AmazonS3ConfigKey::SecretAccessKey).is_none()
    {
        // Otherwise object_store would ask the metadata address of a cloud for credentials.
        return Err(BucketError::NoCredentials);
    }
    if let Some(endpoint) = configured(AmazonS3ConfigKey::Endpoint) {
        let endpoint = url::Url::parse(&endpoint).map_err(|e| BucketError::Option {
            option: "aws_endpoint".into(),
            why: e.to_string(),
        })?;
        if endpoint.scheme() == "http" && is_loopback(&endpoint) {
            builder = builder.with_allow_http(true);
        } else if endpoint.scheme() == "http" && !allows_http(options) {
            return Err(BucketError::PlainHttp);
        }
    }
    builder.build().map_err(BucketError::from_store)
}

fn is_loopback(endpoint: &url::Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn allows_http(options: &BTreeMap<String, String>) -> bool {
    ["allow_http", "aws_allow_http"].iter().any(|o| options.get(*o).is_some_and(|v| v == "true"))
}

/// The URL without what somebody may have put in front of the host.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

/// Reads `size` bytes, or fewer at the end of the file.
fn read_block(file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    refill_block(Vec::new(), file, size)
}

/// As [`read_block`], into the memory of a block that is done with.
fn refill_block(mut block: Vec<u8>, file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    block.clear();
    block.reserve_exact(size as usize);
    file.take(size).read_to_end(&mut block)?;
    Ok(block)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
