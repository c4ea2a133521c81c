//! Secrets of buckets: from a file, a systemd credential or the environment, never the config.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What is read from the environment, and the options that say the same.
const FROM_ENVIRONMENT: [(&str, &[&str]); 8] = [
    ("AWS_ACCESS_KEY_ID", &["aws_access_key_id", "access_key_id"]),
    ("AWS_SECRET_ACCESS_KEY", &["aws_secret_access_key", "secret_access_key"]),
    ("AWS_SESSION_TOKEN", &["aws_session_token", "aws_token", "session_token", "token"]),
    ("AWS_ENDPOINT_URL", &["aws_endpoint", "aws_endpoint_url", "endpoint", "endpoint_url"]),
    ("AWS_REGION", &["aws_region", "region"]),
    ("WEBDAV_USER", &["webdav_user"]),
    ("WEBDAV_PASSWORD", &["webdav_password"]),
    ("WEBDAV_TOKEN", &["webdav_token"]),
];

/// How the variables begin that are meant for a bucket of this URL. A folder has none.
fn environment_of(url: &str) -> Option<&'static str> {
    match url.split_once(':')?.0 {
        "s3" => Some("AWS_"),
        "http" | "https" => Some("WEBDAV_"),
        _ => None,
    }
}

/// Whether an option holds a secret. Such a one never stands in the config file, where backups
/// and tickets would copy it.
pub fn is_secret(option: &str) -> bool {
    let words = ["SECRET", "TOKEN", "PASSWORD"];
    let secret = |(name, _): &&(&str, &[&str])| words.iter().any(|word| name.contains(word));
    FROM_ENVIRONMENT.iter().filter(secret).any(|(_, same)| same.contains(&option))
}

/// The options of a dock's bucket together with its secrets: what the config says, then `file`,
/// then the systemd credential `bucket-<name>`, then the environment; the first that says
/// something counts. The files are read at every call, so that new credentials need no restart.
pub fn with_secrets(
    url: &str,
    name: &str,
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

/// Adds what the environment says to a bucket of this URL, and the options do not.
pub fn with_environment(url: &str, options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    add(url, options, |name| std::env::var(name).ok())
}

fn add(
    url: &str,
    mut options: BTreeMap<String, String>,
    variable: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let Some(prefix) = environment_of(url) else { return options };
    // A token of the environment's credentials fits no others; and who has a user and a password
    // is nobody else by a token.
    let own = |name| {
        let mut ours = FROM_ENVIRONMENT.iter().filter(|(ours, _)| *ours == name);
        ours.any(|(_, same)| same.iter().any(|option| options.contains_key(*option)))
    };
    let own_key = own("AWS_ACCESS_KEY_ID");
    let (own_user, own_token) = (own("WEBDAV_USER"), own("WEBDAV_TOKEN"));
    for (name, same) in FROM_ENVIRONMENT.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let given = same.iter().any(|option| options.contains_key(*option));
        let unfit = match *name {
            "AWS_SESSION_TOKEN" => own_key,
            "WEBDAV_TOKEN" => own_user,
            "WEBDAV_USER" | "WEBDAV_PASSWORD" => own_token,
            _ => false,
        };
        if given || unfit {
            continue;
        }
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            options.insert(same[0].to_owned(), value);
        }
    }
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
        let merged = with_secrets("s3://b", "primary", &options, Some(&path)).expect("read");
        assert_eq!(merged["aws_access_key_id"], "AK");
        assert_eq!(merged["aws_secret_access_key"], "a=b");
        assert_eq!(merged["aws_region"], "eu");
        std::fs::write(&path, "hunter2\n").expect("written");
        let error =
            with_secrets("s3://b", "primary", &options, Some(&path)).expect_err("malformed");
        assert!(error.to_string().contains("line 1") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_environment_fills_in_and_never_overrides() {
        let environment = |name: &str| Some(format!("{name} of the environment"));
        let of = |prefix: &str| {
            FROM_ENVIRONMENT.iter().filter(|(name, _)| name.starts_with(prefix)).count()
        };
        let options = add("s3://b", BTreeMap::new(), environment);
        assert_eq!(options.len(), of("AWS_"));
        let options = add("https://h/p", BTreeMap::new(), environment);
        assert_eq!(options.len(), of("WEBDAV_"));
        assert_eq!(add("file:///b", BTreeMap::new(), environment).len(), 0);
        let given = BTreeMap::from([("access_key_id".to_owned(), "mine".to_owned())]);
        let options = add("s3://b", given, environment);
        assert_eq!(options["access_key_id"], "mine");
        assert!(!options.contains_key("aws_access_key_id"));
        assert!(!options.contains_key("aws_session_token"));
        assert!(options.contains_key("aws_secret_access_key"));
        let given = BTreeMap::from([("webdav_user".to_owned(), "mine".to_owned())]);
        let options = add("https://h/p", given, environment);
        assert!(options.contains_key("webdav_password") && !options.contains_key("webdav_token"));
        let given = BTreeMap::from([("webdav_token".to_owned(), "mine".to_owned())]);
        assert_eq!(add("https://h/p", given, environment).len(), 1);
    }
}
