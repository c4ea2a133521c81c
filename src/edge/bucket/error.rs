//! Why a bucket could not be used, and who must act.

use std::path::PathBuf;

use super::trouble::{LineError, Trouble, one_line, says_full};
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
    #[error("{trouble}: {text}")]
    Failed {
        /// What is wrong.
        trouble: Trouble,
        /// The rest, in one line.
        text: String,
    },
    /// Writing into the folder bucket failed.
    #[error("cannot write into the bucket's folder")]
    Folder(#[source] std::io::Error),
    /// No object of this name.
    #[error("the bucket has no such object")]
    Missing,
    /// Nothing to identify us with.
    #[error("no credentials: {wanted}")]
    NoCredentials {
        /// Which options are not set.
        wanted: &'static str,
    },
    /// The folder of a `file://` bucket is not there.
    #[error("{}: {}", Trouble::Away, root.display())]
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
    /// What is wrong with the bucket or the way to it; `None` where the fault is elsewhere.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            BucketError::Failed { trouble, .. } => Some(*trouble),
            BucketError::NoFolder { .. } => Some(Trouble::Away),
            BucketError::Refused(_) => Some(Trouble::Auth),
            BucketError::Folder(error) => match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Some(Trouble::Quota)
                }
                _ => Some(Trouble::Server),
            },
            BucketError::AlreadyThere
            | BucketError::Credentials(_)
            | BucketError::Missing
            | BucketError::NoCredentials { .. }
            | BucketError::Option { .. }
            | BucketError::OtherContent
            | BucketError::PlainHttp
            | BucketError::Spool(_)
            | BucketError::SpoolDamaged
            | BucketError::TooLarge { .. }
            | BucketError::Url { .. } => None,
        }
    }

    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        let passing = [Trouble::Broken, Trouble::Connect, Trouble::Server, Trouble::Stalled];
        matches!(self, BucketError::Failed { trouble, .. } if passing.contains(trouble))
    }

    /// A failure in our own words.
    pub(crate) fn failed(trouble: Trouble, text: impl Into<String>) -> BucketError {
        BucketError::Failed { trouble, text: text.into() }
    }

    pub(super) fn from_line(LineError { trouble, text }: LineError) -> BucketError {
        BucketError::Failed { trouble, text }
    }

    pub(super) fn from_store(error: object_store::Error) -> BucketError {
        use object_store::Error as E;
        if let Some(found) = LineError::find(&error) {
            return BucketError::from_line(found.clone());
        }
        // Looked through in full: what is shown of it may end before the server's own words.
        let full = chain(&error);
        let text = one_line(&full);
        let failed = |trouble| BucketError::Failed { trouble, text: text.clone() };
        let says = |words: &[&str]| words.iter().any(|word| full.contains(word));
        match error {
            // Two conditional puts met at the server; it asks for another try.
            _ if says(&["ConditionalRequestConflict", "OperationAborted"]) => {
                failed(Trouble::Server)
            }
            // The one precondition that we ever set is "no object of this name".
            E::AlreadyExists { .. } | E::Precondition { .. } => BucketError::AlreadyThere,
            _ if says_full(&full) => failed(Trouble::Quota),
            _ if says(&["RequestTimeTooSkewed"]) => failed(Trouble::Clock),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => BucketError::Refused(text),
            // "No such bucket", when it answers a put.
            E::NotFound { .. } => BucketError::Missing,
            // A listing has no error of its own; the answer's status stands in the text only.
            _ if says(&["NoSuchBucket"]) => BucketError::Missing,
            _ if says(&REFUSALS) => BucketError::Refused(text),
            // A success that carries an error, as S3 may answer a completed upload.
            _ if says(&["SlowDown"]) => failed(Trouble::Throttled),
            _ if says(&["InternalError"]) => failed(Trouble::Server),
            _ => failed(Trouble::Protocol),
        }
    }
}

/// How `object_store` words the answers 401 and 403 to a listing.
const REFUSALS: [&str; 2] = ["status code: 401", "status code: 403"];

impl Fault for BucketError {
    fn disposition(&self) -> Disposition {
        match self {
            BucketError::OtherContent
            | BucketError::SpoolDamaged
            | BucketError::TooLarge { .. } => Disposition::Park,
            BucketError::AlreadyThere
            | BucketError::Credentials(_)
            | BucketError::Failed { .. }
            | BucketError::Folder(_)
            | BucketError::Missing
            | BucketError::NoCredentials { .. }
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
            | BucketError::Failed { .. }
            | BucketError::Folder(_)
            | BucketError::NoFolder { .. } => Reason::BucketFailed,
            BucketError::Credentials(_)
            | BucketError::Missing
            | BucketError::NoCredentials { .. }
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
