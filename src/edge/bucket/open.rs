//! Opening a bucket of each kind by its URL, options and credentials; no request is made.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as S3Key, Checksum};
use object_store::azure::{AzureConfigKey as AzureKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as GoogleKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, RetryConfig};
use zeroize::Zeroizing;

use super::dav::Dav;
use super::line::{Dialect, HttpOptions, Line, Signer};
use super::{Bucket, BucketError, Cloud, Kind, Store};
use crate::edge::limit::Limiter;

type Options = BTreeMap<String, String>;

/// What a bucket's URL may look like.
pub(super) const FORMS: &str = "expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, \
                                az://CONTAINER/PREFIX, https://HOST/PATH or file:///PATH";

pub(super) fn open(
    url: &str,
    options: &Options,
    limits: Vec<Arc<Limiter>>,
) -> Result<Bucket, BucketError> {
    let parsed = url::Url::parse(url)
        .map_err(|error| BucketError::Url { url: redacted(url), why: error.to_string() })?;
    let invalid = |why: &str| BucketError::Url { url: redacted(url), why: why.to_owned() };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid("credentials do not belong in a URL"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid("`?` and `#` are not allowed"));
    }
    if parsed.scheme() == "file" {
        return open_folder(&parsed, options);
    }
    let name = parsed.host_str().filter(|name| !name.is_empty()).ok_or_else(|| invalid(FORMS))?;
    let prefix = Key::parse(parsed.path().trim_matches('/'));
    let prefix = prefix.map_err(|error| invalid(&error.to_string()))?;
    let mut rest = options.clone();
    let http = HttpOptions::take(&mut rest)?;
    let cloud = match parsed.scheme() {
        "s3" => open_s3(name, rest, &http, limits)?,
        "gs" => open_google(name, rest, &http, limits)?,
        "az" => open_azure(name, rest, &http, limits)?,
        "http" | "https" => return open_dav(parsed, rest, &http, limits),
        _ => return Err(invalid(FORMS)),
    };
    Ok(Bucket { store: Store::Cloud(cloud), prefix, honours: Arc::default() })
}

fn open_dav(
    url: url::Url,
    options: Options,
    http: &HttpOptions,
    limits: Vec<Arc<Limiter>>,
) -> Result<Bucket, BucketError> {
    let line = Line::new(http, &url, Dialect::Dav, limits)?;
    let store = Store::Dav(Arc::new(Dav::open(url, &options, line)?));
    Ok(Bucket { store, prefix: Key::default(), honours: Arc::default() })
}

fn open_folder(url: &url::Url, options: &Options) -> Result<Bucket, BucketError> {
    if let Some(option) = options.keys().next() {
        return Err(wrong(option, "file:// has none"));
    }
    let invalid = |why: &str| BucketError::Url { url: url.to_string(), why: why.to_owned() };
    let root = url.to_file_path().map_err(|()| invalid("expected file:///ABSOLUTE/PATH"))?;
    if !root.is_dir() {
        // Not created: an unmounted disk would silently become a folder of the root file system.
        return Err(BucketError::NoFolder { root });
    }
    let store = LocalFileSystem::new_with_prefix(&root).map_err(BucketError::from_store)?;
    let store = Store::Folder { store: Arc::new(store), root, swept: Arc::default() };
    Ok(Bucket { store, prefix: Key::default(), honours: Arc::default() })
}

/// The options of a kind, by `object_store`'s keys.
struct Given<K>(Vec<(K, String, String)>);

impl<K: FromStr + PartialEq> Given<K> {
    /// `refused` are keys that mean something for `object_store`, and nothing good here.
    fn parse(
        options: Options,
        kind: &str,
        refused: impl Fn(&K) -> Option<&'static str>,
    ) -> Result<Given<K>, BucketError> {
        let mut given = Vec::new();
        for (option, value) in options {
            let Ok(key) = option.parse::<K>() else {
                return Err(wrong(&option, &format!("not an option of {kind}")));
            };
            if let Some(why) = refused(&key) {
                return Err(wrong(&option, why));
            }
            given.push((key, option, value));
        }
        Ok(Given(given))
    }

    fn value(&self, key: &K) -> Option<&str> {
        let found = self.0.iter().find(|(known, _, _)| known == key);
        found.map(|(_, _, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn url(&self, key: &K) -> Result<Option<url::Url>, BucketError> {
        let Some((_, option, value)) = self.0.iter().find(|(known, _, _)| known == key) else {
            return Ok(None);
        };
        let url = url::Url::parse(value).map_err(|error| wrong(option, &error.to_string()))?;
        if url.host_str().is_none() {
            return Err(wrong(option, "expected https://HOST"));
        }
        Ok(Some(url))
    }
}

const NOT_OURS: &str = "not supported: requests go over a client of our own";

fn open_s3(
    bucket: &str,
    options: Options,
    http: &HttpOptions,
    limits: Vec<Arc<Limiter>>,
) -> Result<Cloud, BucketError> {
    let given = Given::<S3Key>::parse(options, "s3://", |key| match key {
        S3Key::Client(_) => Some(NOT_OURS),
        _ => None,
    })?;
    let (Some(key_id), Some(secret)) =
        (given.value(&S3Key::AccessKeyId), given.value(&S3Key::SecretAccessKey))
    else {
        // Otherwise object_store would ask the metadata address of a cloud for credentials.
        let wanted = "aws_access_key_id and aws_secret_access_key are not set";
        return Err(BucketError::NoCredentials { wanted });
    };
    let region = given.value(&S3Key::Region).or(given.value(&S3Key::DefaultRegion));
    let signer = Signer {
        key_id: key_id.to_owned(),
        secret: Zeroizing::new(secret.to_owned()),
        region: region.unwrap_or("us-east-1").to_owned(),
    };
    let endpoint = match given.url(&S3Key::S3Endpoint)? {
        Some(url) => Some(url),
        None => given.url(&S3Key::Endpoint)?,
    };
    let is_virtual = given.value(&S3Key::VirtualHostedStyleRequest) == Some("true");
    let endpoint = match endpoint {
        Some(url) if is_virtual => Some(with_bucket_in_host(url, bucket)?),
        endpoint => endpoint,
    };
    let aws = || url::Url::parse("https://s3.amazonaws.com").expect("a URL");
    let reached = endpoint.clone().unwrap_or_else(aws);
    let line = Line::new(http, &reached, Dialect::S3(signer), limits)?;
    let client = |options: ClientOptions| -> Result<Arc<AmazonS3>, BucketError> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_client_options(options)
            .with_http_connector(line.clone())
            .with_retry(no_retry())
            .with_region("us-east-1")
            .with_disable_tagging(true)
            // One by one: some stores answer a request for several in a way that nobody reads.
            .with_disable_bulk_delete(true)
            .with_checksum_algorithm(Checksum::SHA256);
        for (key, _, value) in &given.0 {
            builder = builder.with_config(*key, value);
        }
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        let opened = builder.with_allow_http(true).build();
        Ok(Arc::new(opened.map_err(BucketError::from_store)?))
    };
    let store = client(ClientOptions::new())?;
    let completer = client(create_only())?;
    Ok(Cloud {
        kind: Kind::S3,
        store: store.clone(),
        parts: store,
        completer,
        line,
        keeps_promises: true,
    })
}

/// In virtual-host style the bucket's name is part of the server's.
fn with_bucket_in_host(mut url: url::Url, bucket: &str) -> Result<url::Url, BucketError> {
    let host = url.host_str().unwrap_or_default().to_owned();
    if !host.starts_with(&format!("{bucket}.")) {
        url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|error| {
            wrong("aws_virtual_hosted_style_request", &format!("{bucket}.{host}: {error}"))
        })?;
    }
    Ok(url)
}

fn open_azure(
    container: &str,
    options: Options,
    http: &HttpOptions,
    limits: Vec<Arc<Limiter>>,
) -> Result<Cloud, BucketError> {
    let given = Given::<AzureKey>::parse(options, "az://", |key| match key {
        AzureKey::Client(_) => Some(NOT_OURS),
        AzureKey::UseEmulator => {
            Some("name the emulator with azure_storage_endpoint = http://HOST:PORT/ACCOUNT instead")
        }
        AzureKey::UseAzureCli | AzureKey::MsiEndpoint | AzureKey::CredentialType => {
            Some("not supported: credentials are given here, not asked for elsewhere")
        }
        _ => None,
    })?;
    let (credential, dialect) = azure_credential(&given)?;
    let Some(account) = given.value(&AzureKey::AccountName) else {
        return Err(wrong("azure_storage_account_name", "az:// needs it"));
    };
    let endpoint = match given.url(&AzureKey::Endpoint)? {
        Some(endpoint) => endpoint,
        None => {
            let url = format!("https://{account}.blob.core.windows.net");
            let why =
                |error: url::ParseError| wrong("azure_storage_account_name", &error.to_string());
            url::Url::parse(&url).map_err(why)?
        }
    };
    // A default header is not part of an account key's signature, and breaks it.
    let is_signed = matches!(dialect, Dialect::AzureKey);
    let line = Line::new(http, &endpoint, dialect, limits)?;
    let client = |options: ClientOptions| {
        let mut builder = MicrosoftAzureBuilder::new()
            .with_container_name(container)
            .with_client_options(options)
            .with_http_connector(line.clone())
            .with_retry(no_retry())
            .with_disable_tagging(true)
            .with_config(AzureKey::CredentialType, credential)
            .with_allow_http(true);
        for (key, _, value) in &given.0 {
            builder = builder.with_config(*key, value);
        }
        Ok(Arc::new(builder.build().map_err(BucketError::from_store)?))
    };
    let store = client(ClientOptions::new())?;
    let completer = if is_signed { store.clone() } else { client(create_only())? };
    Ok(Cloud {
        kind: Kind::Azure,
        store: store.clone(),
        parts: store,
        completer,
        line,
        keeps_promises: true,
    })
}

/// Which of the credentials that are given is used, as `object_store` names it.
fn azure_credential(given: &Given<AzureKey>) -> Result<(&'static str, Dialect), BucketError> {
    let has = |key| given.value(&key).is_some();
    let has_client = has(AzureKey::ClientId) && has(AzureKey::ClientSecret);
    let has_client = has_client && has(AzureKey::AuthorityId);
    // The one with the fewest rights first. Left to itself, object_store would end with asking
    // the metadata address of a cloud.
    match () {
        () if has(AzureKey::SasKey) => Ok(("sas_token", Dialect::AzureToken)),
        () if has(AzureKey::Token) => Ok(("bearer_token", Dialect::AzureToken)),
        () if has_client => Ok(("client_secret", Dialect::AzureToken)),
        () if has(AzureKey::AccessKey) => Ok(("access_key", Dialect::AzureKey)),
        () => {
            let wanted = "azure_storage_sas_key, azure_storage_token or azure_storage_account_key \
                          is not set";
            Err(BucketError::NoCredentials { wanted })
        }
    }
}

fn open_google(
    bucket: &str,
    options: Options,
    http: &HttpOptions,
    limits: Vec<Arc<Limiter>>,
) -> Result<Cloud, BucketError> {
    let given = Given::<GoogleKey>::parse(options, "gs://", |key| match key {
        GoogleKey::Client(_) => Some(NOT_OURS),
        GoogleKey::SkipSignature => Some("not supported: nothing is put without credentials"),
        _ => None,
    })?;
    let credentials = [
        GoogleKey::ServiceAccount,
        GoogleKey::ServiceAccountKey,
        GoogleKey::ApplicationCredentials,
        GoogleKey::BearerToken,
    ];
    if !credentials.iter().any(|key| given.value(key).is_some()) {
        let wanted = "google_service_account (a file), google_service_account_key or \
                      google_bearer_token is not set";
        return Err(BucketError::NoCredentials { wanted });
    }
    let google = || url::Url::parse("https://storage.googleapis.com").expect("a URL");
    let endpoint = given.url(&GoogleKey::BaseUrl)?.unwrap_or_else(google);
    let line = Line::new(http, &endpoint, Dialect::Google, limits)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_http_connector(line.clone())
        .with_retry(no_retry())
        .with_client_options(ClientOptions::new().with_allow_http(true));
    for (key, _, value) in &given.0 {
        builder = builder.with_config(*key, value);
    }
    let store = Arc::new(builder.build().map_err(BucketError::from_store)?);
    // Google knows no condition on completing an upload of parts.
    Ok(Cloud {
        kind: Kind::Google,
        store: store.clone(),
        parts: store.clone(),
        completer: store,
        line,
        keeps_promises: true,
    })
}

/// The durable queue tries again; object_store's own retries would only hide the cause.
fn no_retry() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// `MultipartStore` has no mode in which it completes only where no object of the name is, so the
/// condition is a default header. For S3 these are signed like any other.
fn create_only() -> ClientOptions {
    let header = "if-none-match".parse().expect("a header's name");
    let headers = [(header, "*".parse().expect("a header's value"))].into_iter().collect();
    ClientOptions::new().with_default_headers(headers)
}

fn wrong(option: &str, why: &str) -> BucketError {
    BucketError::Option { option: option.to_owned(), why: why.to_owned() }
}

/// The URL without what somebody may have put in front of the host.
fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str, options: &[(&str, &str)]) -> Result<Bucket, BucketError> {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        open(url, &options.collect(), Vec::new())
    }

    const S3_KEY: [(&str, &str); 2] =
        [("aws_access_key_id", "AK"), ("aws_secret_access_key", "hunter2")];
    const HERE: (&str, &str) = ("azure_storage_endpoint", "http://127.0.0.1:1/account");

    #[test]
    fn each_kind_opens_with_credentials_of_its_own() {
        let account = ("azure_storage_account_name", "account");
        let google = ("google_base_url", "http://127.0.0.1:1");
        let endpoint = ("aws_endpoint", "http://127.0.0.1:1");
        for (url, options, kind) in [
            ("s3://b/p", &[S3_KEY[0], S3_KEY[1], endpoint][..], Kind::S3),
            ("az://c/p", &[account, HERE, ("azure_storage_sas_key", "sig=x")], Kind::Azure),
            ("az://c/p", &[account, HERE, ("azure_storage_account_key", "a2V5")], Kind::Azure),
            ("gs://b/p", &[google, ("google_bearer_token", "token")], Kind::Google),
        ] {
            let bucket = opened(url, options).unwrap_or_else(|error| panic!("{url}: {error}"));
            let Store::Cloud(cloud) = &bucket.store else { panic!("{url}: {bucket:?}") };
            assert_eq!(cloud.kind, kind);
            let text = format!("{bucket:?}");
            assert!(!text.contains("hunter2") && !text.contains("sig=x"), "{text}");
        }
        // Nobody's metadata address is asked, nobody's home is searched.
        for url in ["s3://b/p", "az://c/p", "gs://b/p"] {
            let error = opened(url, &[]).expect_err(url);
            assert!(matches!(error, BucketError::NoCredentials { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_needs_to_be_allowed_for_each_kind() {
        let far = "http://192.0.2.1";
        for (url, options) in [
            ("s3://b", [S3_KEY[0], S3_KEY[1], ("aws_endpoint", far)]),
            (
                "az://b",
                [("account_name", "a"), ("sas_key", "s=x"), ("azure_storage_endpoint", far)],
            ),
            ("gs://b", [("google_bearer_token", "t"), ("google_base_url", far), ("timeout", "9s")]),
        ] {
            let error = opened(url, &options).expect_err(url);
            assert!(matches!(error, BucketError::PlainHttp), "{url}: {error}");
            let allowed = [&options[..], &[("allow_http", "true")]].concat();
            opened(url, &allowed).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }

    #[test]
    fn a_wrong_url_or_option_is_named() {
        for (url, option, text) in [
            ("ftp://h/p", None, "expected s3://BUCKET/PREFIX, gs://"),
            ("s3:///p", None, "expected s3://BUCKET/PREFIX, gs://"),
            ("s3://u:hunter2@h", None, "credentials do not belong in a URL"),
            ("s3://b", Some(("google_base_url", "x")), "`google_base_url`: not an option of s3"),
            ("s3://b", Some(("aws_http1_only", "true")), "`aws_http1_only`: not supported"),
            ("az://b", Some(("use_emulator", "true")), "azure_storage_endpoint ="),
            ("s3://b", Some(("ca_file", "/nowhere")), "`ca_file`: /nowhere: No such file"),
        ] {
            let options: Vec<_> = S3_KEY.into_iter().chain(option).collect();
            let options = if url.starts_with("s3") { &options[..] } else { &options[2..] };
            let error = opened(url, options).expect_err(url).to_string();
            assert!(error.contains(text) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn in_virtual_host_style_the_bucket_stands_before_the_host_once() {
        for given in ["https://s3.example.test:9000/", "https://b.s3.example.test:9000/"] {
            let url = with_bucket_in_host(given.parse().expect("a URL"), "b").expect("a host");
            assert_eq!(url.as_str(), "https://b.s3.example.test:9000/");
        }
        let address = "https://192.0.2.1/".parse().expect("a URL");
        assert!(with_bucket_in_host(address, "b").is_err());
    }
}
