//! Secrets of buckets: from a file, a systemd credential or the environment, never the config.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A variable of the environment, and the options that say the same.
struct Variable {
    name: &'static str,
    options: &'static [&'static str],
    is_secret: bool,
}

const fn plain(name: &'static str, options: &'static [&'static str]) -> Variable {
    Variable { name, options, is_secret: false }
}

const fn secret(name: &'static str, options: &'static [&'static str]) -> Variable {
    Variable { name, options, is_secret: true }
}

const AWS: [Variable; 5] = [
    plain("AWS_ACCESS_KEY_ID", &["aws_access_key_id", "access_key_id"]),
    secret("AWS_SECRET_ACCESS_KEY", &["aws_secret_access_key", "secret_access_key"]),
    secret("AWS_SESSION_TOKEN", &["aws_session_token", "aws_token", "session_token", "token"]),
    plain("AWS_ENDPOINT_URL", &["aws_endpoint", "aws_endpoint_url", "endpoint", "endpoint_url"]),
    plain("AWS_REGION", &["aws_region", "region"]),
];
const AZURE: [Variable; 8] = [
    plain("AZURE_STORAGE_ACCOUNT_NAME", &["azure_storage_account_name", "account_name"]),
    plain("AZURE_STORAGE_ENDPOINT", &["azure_storage_endpoint", "azure_endpoint", "endpoint"]),
    secret(
        "AZURE_STORAGE_ACCOUNT_KEY",
        &[
            "azure_storage_account_key",
            "azure_storage_access_key",
            "azure_storage_master_key",
            "master_key",
            "account_key",
            "access_key",
        ],
    ),
    secret(
        "AZURE_STORAGE_SAS_KEY",
        &["azure_storage_sas_key", "azure_storage_sas_token", "sas_key", "sas_token"],
    ),
    secret("AZURE_STORAGE_TOKEN", &["azure_storage_token", "bearer_token", "token"]),
    plain("AZURE_CLIENT_ID", &["azure_client_id", "azure_storage_client_id", "client_id"]),
    plain(
        "AZURE_TENANT_ID",
        &["azure_tenant_id", "azure_storage_tenant_id", "azure_authority_id", "tenant_id"],
    ),
    secret(
        "AZURE_CLIENT_SECRET",
        &["azure_client_secret", "azure_storage_client_secret", "client_secret"],
    ),
];
const GOOGLE: [Variable; 4] = [
    plain(
        "GOOGLE_SERVICE_ACCOUNT",
        &["google_service_account", "service_account", "google_service_account_path"],
    ),
    secret("GOOGLE_SERVICE_ACCOUNT_KEY", &["google_service_account_key", "service_account_key"]),
    plain(
        "GOOGLE_APPLICATION_CREDENTIALS",
        &["google_application_credentials", "application_credentials"],
    ),
    secret("GOOGLE_BEARER_TOKEN", &["google_bearer_token", "bearer_token"]),
];
const WEBDAV: [Variable; 3] = [
    plain("WEBDAV_USER", &["webdav_user"]),
    secret("WEBDAV_PASSWORD", &["webdav_password"]),
    secret("WEBDAV_TOKEN", &["webdav_token"]),
];
const KINDS: [&[Variable]; 4] = [&AWS, &AZURE, &GOOGLE, &WEBDAV];

/// Secrets that nobody has in the environment.
const OTHER_SECRETS: [&str; 6] = [
    "aws_sse_customer_key_base64",
    "sse_customer_key_base64",
    "azure_storage_encryption_key",
    "encryption_key",
    "azure_fabric_session_token",
    "fabric_session_token",
];

/// What a bucket of this URL may take from the environment.
fn variables(url: &str) -> &'static [Variable] {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("s3") => &AWS,
        Some("az") => &AZURE,
        Some("gs") => &GOOGLE,
        Some("http" | "https") => &WEBDAV,
        // A folder has no options.
        Some(_) | None => &[],
    }
}

/// Whether an option holds a secret. Such a one never stands in the config file, where backups
/// and tickets would copy it.
pub fn is_secret(option: &str) -> bool {
    let all = KINDS.iter().flat_map(|kind| kind.iter());
    OTHER_SECRETS.contains(&option)
        || all.filter(|variable| variable.is_secret).any(|it| it.options.contains(&option))
}

/// The options of a dock's bucket together with its secrets: what the config says, then `file`,
/// then the systemd credential `bucket-<name>`, then the environment; the first that says
/// something counts. The files are read at every call, so that new credentials need no restart.
pub fn with_secrets(
    name: &str,
    url: &str,
    options: &BTreeMap<String, String>,
    file: Option<&Path>,
) -> io::Result<BTreeMap<String, String>> {
    let mut merged = BTreeMap::new();
    if let Some(credential) = systemd_credential(&format!("bucket-{name}"))
        && credential.exists()
    {
        merged.extend(read(&credential)?);
    }
    if let Some(file) = file {
        merged.extend(read(file)?);
    }
    merged.extend(options.clone());
    Ok(with_environment(url, merged))
}

/// Adds what the environment says for buckets of this URL's kind, and the options do not.
pub fn with_environment(url: &str, options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    add(variables(url), options, |name| std::env::var(name).ok())
}

fn add(
    variables: &[Variable],
    mut options: BTreeMap<String, String>,
    value: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let given = |variable: &Variable| variable.options.iter().any(|it| options.contains_key(*it));
    // A token of the environment's credentials fits no others; nor does one kind of credentials
    // stand beside another.
    let own_key = given(&AWS[0]);
    let (own_user, own_bearer) = (given(&WEBDAV[0]), given(&WEBDAV[2]));
    let own_secret = variables.iter().any(|variable| variable.is_secret && given(variable));
    let fits = |variable: &Variable| match variable.name {
        "AWS_SESSION_TOKEN" => !own_key,
        "AWS_SECRET_ACCESS_KEY" => true,
        // Who has a user and a password is nobody else by a token.
        "WEBDAV_TOKEN" => !own_user && !own_secret,
        "WEBDAV_USER" | "WEBDAV_PASSWORD" => !own_bearer,
        _ => !(variable.is_secret && own_secret),
    };
    let missing = variables.iter().filter(|variable| !given(variable) && fits(variable));
    let found: Vec<_> = missing
        .filter_map(|variable| {
            let value = value(variable.name).filter(|value| !value.is_empty())?;
            Some((variable.options[0].to_owned(), value))
        })
        .collect();
    options.extend(found);
    options
}

/// Where systemd puts a credential (`LoadCredential=NAME:FILE`, systemd.exec(5)).
pub fn systemd_credential(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(folder).join(name))
}

/// Lines of `option = value`; `#` begins a comment line.
pub fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let in_file = |error: io::Error| {
        io::Error::new(error.kind(), format!("credentials in {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(in_file)?;
    let mut options = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((option, value)) = line.split_once('=') else {
            // The line itself may be a secret: it is not repeated.
            let text = format!("line {}: expected `option = value`", index + 1);
            return Err(in_file(io::Error::new(io::ErrorKind::InvalidData, text)));
        };
        options.insert(option.trim().to_owned(), value.trim().trim_matches('"').to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_is_read_and_its_mistakes_do_not_repeat_a_secret() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("bucket-primary");
        let good = "# the dock's key\naws_access_key_id = AK\n\naws_secret_access_key=\"a=b\"\n";
        std::fs::write(&path, good).expect("written");
        let options = BTreeMap::from([("aws_region".to_owned(), "eu".to_owned())]);
        let merged = with_secrets("primary", "s3://b", &options, Some(&path)).expect("read");
        assert_eq!(merged["aws_access_key_id"], "AK");
        assert_eq!(merged["aws_secret_access_key"], "a=b");
        assert_eq!(merged["aws_region"], "eu");
        std::fs::write(&path, "hunter2\n").expect("written");
        let error =
            with_secrets("primary", "s3://b", &options, Some(&path)).expect_err("malformed");
        assert!(error.to_string().contains("line 1") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_environment_fills_in_and_never_overrides() {
        let environment = |name: &str| Some(format!("{name} of the environment"));
        let options = add(&AWS, BTreeMap::new(), environment);
        assert_eq!(options.len(), AWS.len());
        let given = BTreeMap::from([("access_key_id".to_owned(), "mine".to_owned())]);
        let options = add(&AWS, given, environment);
        assert_eq!(options["access_key_id"], "mine");
        assert!(!options.contains_key("aws_access_key_id"));
        assert!(!options.contains_key("aws_session_token"));
        assert!(options.contains_key("aws_secret_access_key"));
        let given = BTreeMap::from([("webdav_user".to_owned(), "mine".to_owned())]);
        let options = add(&WEBDAV, given, environment);
        assert!(options.contains_key("webdav_password") && !options.contains_key("webdav_token"));
        let given = BTreeMap::from([("webdav_token".to_owned(), "mine".to_owned())]);
        assert_eq!(add(&WEBDAV, given, environment).len(), 1);
        // A signed URL of its own: the account's key, which may do everything, stays away.
        let given = BTreeMap::from([("sas_token".to_owned(), "mine".to_owned())]);
        let options = add(&AZURE, given, environment);
        assert!(!options.contains_key("azure_storage_account_key"));
        assert!(options.contains_key("azure_storage_account_name"));
    }

    #[test]
    fn a_bucket_gets_what_is_of_its_kind_only() {
        let environment = |name: &str| Some(name.to_owned());
        for (url, prefix) in [
            ("s3://bucket", "aws_"),
            ("az://bucket", "azure_"),
            ("gs://bucket", "google_"),
            ("https://host/path", "webdav_"),
        ] {
            let options = add(variables(url), BTreeMap::new(), environment);
            assert!(!options.is_empty(), "{url}");
            assert!(options.keys().all(|option| option.starts_with(prefix)), "{url}");
        }
        assert!(add(variables("file:///path"), BTreeMap::new(), environment).is_empty());
        for option in ["account_key", "sas_token", "google_service_account_key", "webdav_token"] {
            assert!(is_secret(option), "{option}");
        }
        assert!(!is_secret("webdav_user") && !is_secret("azure_storage_endpoint"));
    }
}
