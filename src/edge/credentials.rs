//! Secrets of buckets: from a file, a systemd credential or the environment, never the config.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variables that are understood, and the option each sets.
const VARIABLES: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
    ("AWS_ENDPOINT_URL", "aws_endpoint"),
    ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
    ("AWS_SESSION_TOKEN", "aws_session_token"),
];

/// The options of a bucket together with its secrets.
///
/// Later ones win: the environment, then the systemd credential `bucket-<name>`, then
/// `file`, then what the config says. The files are read again at every call, so that new
/// credentials need no restart.
pub fn with_secrets(
    name: &str,
    options: &BTreeMap<String, String>,
    file: Option<&Path>,
) -> io::Result<BTreeMap<String, String>> {
    let mut merged = from_environment();
    if let Some(credential) = systemd_credential(name)
        && credential.exists()
    {
        merged.extend(read(&credential)?);
    }
    if let Some(file) = file {
        merged.extend(read(file)?);
    }
    merged.extend(options.clone());
    Ok(merged)
}

/// The options that the environment sets.
pub fn from_environment() -> BTreeMap<String, String> {
    let set = |&(variable, option): &(&str, &str)| {
        Some((option.to_owned(), std::env::var(variable).ok().filter(|value| !value.is_empty())?))
    };
    VARIABLES.iter().filter_map(set).collect()
}

/// Where systemd puts the credential of a bucket (`LoadCredential=bucket-NAME:FILE`).
fn systemd_credential(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(folder).join(format!("bucket-{name}")))
}

/// Lines of `option = value`; `#` begins a comment line.
fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
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
        let merged = with_secrets("primary", &options, Some(&path)).expect("read");
        assert_eq!(merged["aws_access_key_id"], "AK");
        assert_eq!(merged["aws_secret_access_key"], "a=b");
        assert_eq!(merged["aws_region"], "eu");
        std::fs::write(&path, "hunter2\n").expect("written");
        let error = with_secrets("primary", &options, Some(&path)).expect_err("malformed");
        assert!(error.to_string().contains("line 1") && !error.to_string().contains("hunter2"));
    }
}
