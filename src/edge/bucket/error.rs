//! Why a bucket could not be used, and who must act.

use std::path::PathBuf;

use crate::error::{Disposition, Fault, chain};
use crate::hold::Reason;

/// Why a bucket could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// An object of this name is there already.
    #[error("the bucket has an object of this name already")]
    AlreadyThere,
    /// The secrets could not be read.
    #[error("cannot read the bucket's credentials")]
    Credentials(#[source] std::io::Error),
    /// The bucket, or the way to it, failed.
    #[error("the bucket failed: {0}")]
    Failed(String),
    /// Writing into the folder bucket failed.
    #[error("cannot write into the bucket's folder")]
    Folder(#[source] std::io::Error),
    /// No object of this name.
    #[error("the bucket has no such object")]
    Missing,
    /// No key to sign requests with.
    #[error("no credentials: aws_access_key_id and aws_secret_access_key are not set")]
    NoCredentials,
    /// The folder of a `file://` bucket is not there.
    #[error("the bucket's folder does not exist: {}", root.display())]
    NoFolder {
        /// The folder.
        root: PathBuf,
    },
    /// An unknown or malformed option.
    #[error("option `{option}`: {why}")]
    Option {
        /// Its name.
        option: String,
        /// What is wrong with it.
        why: String,
    },
    /// An object of the clip's name holds something else.
    #[error("the bucket holds other bytes under the clip's name")]
    OtherContent,
    /// An unencrypted connection to another machine.
    #[error("http:// to another machine is not allowed without the option allow_http = \"true\"")]
    PlainHttp,
    /// The bucket refused the credentials or the request.
    #[error("the bucket refused: {0}")]
    Refused(String),
    /// Reading the sealed file failed.
    #[error("cannot read the sealed file in the spool")]
    Spool(#[source] std::io::Error),
    /// The sealed file is no longer what its name says.
    #[error("the sealed file in the spool was changed: its digest is not its name")]
    SpoolDamaged,
    /// The object has more bytes than any of its kind.
    #[error("the object has more than {size_max} bytes")]
    TooLarge {
        /// Of an object of its kind.
        size_max: u64,
    },
    /// The URL cannot be one of a bucket.
    #[error("{url}: {why}")]
    Url {
        /// As given, without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl BucketError {
    /// The way to a bucket failed.
    pub(super) fn failed(error: &dyn std::error::Error) -> BucketError {
        BucketError::Failed(one_line(&chain(error)))
    }

    pub(super) fn from_store(error: object_store::Error) -> BucketError {
        use object_store::Error as E;
        let text = one_line(&chain(&error));
        match error {
            // The one precondition that we ever set is "no object of this name".
            E::AlreadyExists { .. } | E::Precondition { .. } => BucketError::AlreadyThere,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => BucketError::Refused(text),
            // "No such bucket", when it answers a put.
            E::NotFound { .. } => BucketError::Missing,
            // A listing has no error of its own; the answer's status stands in the text only.
            _ if text.contains("NoSuchBucket") => BucketError::Missing,
            _ if REFUSALS.iter().any(|status| text.contains(status)) => BucketError::Refused(text),
            _ => BucketError::Failed(text),
        }
    }
}

impl BucketError {
    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, BucketError::Failed(_))
    }
}

/// How `object_store` words the answers 401 and 403 to a listing.
const REFUSALS: [&str; 2] = ["status code: 401", "status code: 403"];

/// An error as one line of bounded length: servers answer with pages of XML or HTML.
fn one_line(text: &str) -> String {
    const LENGTH_MAX: usize = 300;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

impl Fault for BucketError {
    fn disposition(&self) -> Disposition {
        match self {
            BucketError::OtherContent
            | BucketError::SpoolDamaged
            | BucketError::TooLarge { .. } => Disposition::Park,
            BucketError::AlreadyThere
            | BucketError::Credentials(_)
            | BucketError::Failed(_)
            | BucketError::Folder(_)
            | BucketError::Missing
            | BucketError::NoCredentials
            | BucketError::NoFolder { .. }
            | BucketError::Option { .. }
            | BucketError::PlainHttp
            | BucketError::Refused(_)
            | BucketError::Spool(_)
            | BucketError::Url { .. } => Disposition::Retry,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            BucketError::AlreadyThere
            | BucketError::Failed(_)
            | BucketError::Folder(_)
            | BucketError::NoFolder { .. } => Reason::BucketFailed,
            BucketError::Credentials(_)
            | BucketError::Missing
            | BucketError::NoCredentials
            | BucketError::Option { .. }
            | BucketError::OtherContent
            | BucketError::PlainHttp
            | BucketError::Refused(_)
            | BucketError::TooLarge { .. }
            | BucketError::Url { .. } => Reason::BucketRefused,
            BucketError::Spool(_) | BucketError::SpoolDamaged => Reason::SpoolDamaged,
        }
    }
}
