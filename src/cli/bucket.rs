//! The counter for buckets: how the authority and the auditor name one, and what goes wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Complaint, Exit};
use crate::clip::printable;
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::credentials;

/// How to reach a bucket.
#[derive(clap::Args)]
pub(super) struct BucketArgs {
    /// Option of the bucket, such as aws_endpoint=https://…; repeatable. The credentials are
    /// better left in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; or, for
    /// WebDAV, in WEBDAV_USER and WEBDAV_PASSWORD, or WEBDAV_TOKEN
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
}

/// Reads `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl BucketArgs {
    /// Opens the bucket of a URL with these options.
    pub(super) fn open(&self, url: &str) -> Result<Bucket, Complaint> {
        let given: BTreeMap<_, _> = self.options.iter().cloned().collect();
        open(url, given)
    }
}

/// Opens the bucket of a URL with these options and what the environment adds to them.
pub(super) fn open(url: &str, given: BTreeMap<String, String>) -> Result<Bucket, Complaint> {
    let options = credentials::with_environment(url, given);
    Bucket::open(url, &options).map_err(|error| {
        bucket_complaint(format!("cannot use the bucket {}", printable(Path::new(url))), &error)
    })
}

/// What an operator is told of a bucket's failure.
pub(super) fn bucket_complaint(title: impl std::fmt::Display, error: &BucketError) -> Complaint {
    let (exit, hint) = match error {
        BucketError::Failed(_) => {
            (Exit::Unreachable, "check network, address (-o aws_endpoint=URL) and server")
        }
        BucketError::Refused(_) => {
            (Exit::Unreachable, "reading needs the rights to list and to get; check credentials")
        }
        BucketError::Missing => {
            (Exit::Unreachable, "check the bucket's name, the prefix and the region")
        }
        BucketError::NoFolder { .. } => (Exit::Unreachable, "is the disk mounted?"),
        BucketError::NoCredentials => {
            (Exit::Usage, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
        }
        BucketError::Option { .. } => (Exit::Usage, "see --help for -o KEY=VALUE"),
        BucketError::PlainHttp => {
            (Exit::Usage, "use https://; or, inside a trusted network, -o allow_http=true")
        }
        BucketError::Url { .. } => {
            (Exit::Usage, "a bucket is s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH")
        }
        BucketError::AlreadyThere
        | BucketError::Credentials(_)
        | BucketError::Folder(_)
        | BucketError::OtherContent
        | BucketError::Spool(_)
        | BucketError::SpoolDamaged
        | BucketError::TooLarge { .. } => (Exit::Failed, "a fault of dockseal: please report it"),
    };
    Complaint::new(exit, title, error).hint(hint)
}

/// A runtime for the buckets.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Complaint> {
    tokio::runtime::Runtime::new().map_err(|error| {
        Complaint::new(Exit::Failed, "cannot start", &error)
            .hint("are threads exhausted? ulimit -u")
    })
}
