//! `dockseal-authority keyring publish`: every revision into a bucket.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use super::super::super::{Complaint, Exit};
use super::super::{BucketArgs, bucket_complaint, runtime};
use super::{office_complaint, open};
use crate::authority::office::OfficeError;
use crate::clip::printable;
use crate::edge::bucket::{Bucket, BucketError, Created};

/// Puts every signed revision into a bucket, and the newest where docks look for it
///
/// Revisions are created as keyrings/<n> and never replaced, so that old clips can be audited;
/// `keyring` is replaced by the newest.
#[derive(clap::Args)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX, https://HOST/PATH or file:///PATH
    bucket: String,
    #[command(flatten)]
    access: BucketArgs,
}

/// Runs the command.
pub fn run(dir: &Path, args: &Args) -> Result<Exit, Complaint> {
    let office = open(dir)?;
    let refused = |error: OfficeError| office_complaint(dir, &error);
    let Some(newest) = office.newest().map_err(refused)? else {
        return Err(
            Complaint::text(Exit::Failed, "no revision is signed yet").hint("first: keyring sign")
        );
    };
    let bucket = args.access.open(&args.bucket)?;
    let runtime = runtime()?;
    let place = printable(Path::new(&args.bucket));
    let failed = |key: &str, error: &BucketError| {
        bucket_complaint(format!("cannot put {key} into {place}"), error)
    };
    if let Some(later) = runtime.block_on(newest_there(&bucket)).filter(|n| *n > newest.revision) {
        let message =
            format!("{place} has revision {later}, and this folder only {}", newest.revision);
        return Err(Complaint::text(Exit::Failed, message)
            .hint("is the folder an old copy? docks refuse a keyring that goes back"));
    }
    let out = &mut io::stdout().lock();
    let mut bytes = Bytes::new();
    for number in office.revisions().map_err(refused)? {
        let key = format!("keyrings/{number}");
        bytes = office.revision(number).map_err(refused)?.into();
        match runtime.block_on(bucket.create(&key, bytes.clone())) {
            Ok(Created::New) => writeln!(out, "{key}: created")?,
            Ok(Created::Equal) => writeln!(out, "{key}: was there already, the same")?,
            Ok(Created::Unseen) => writeln!(out, "{key}: was there already, and may not be read")?,
            Err(BucketError::OtherContent) => {
                let message = format!("{place} has another keyring as {key}");
                return Err(Complaint::text(Exit::Tampered, message).hint(
                    "two folders signed one revision, or somebody wrote there; compare them",
                ));
            }
            Err(error) => return Err(failed(&key, &error)),
        }
    }
    let replaced = runtime.block_on(bucket.replace("keyring", bytes));
    replaced.map_err(|error| failed("keyring", &error))?;
    writeln!(out, "keyring: revision {}", newest.revision)?;
    Ok(Exit::Ok)
}

/// The newest revision that the bucket has; `None` where we may not look.
async fn newest_there(bucket: &Bucket) -> Option<u64> {
    let objects = bucket.list("keyrings").await.ok()?;
    objects.iter().filter_map(|object| object.key.strip_prefix("keyrings/")?.parse().ok()).max()
}
