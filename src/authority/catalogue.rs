//! The catalogue: what a bucket holds, read from the first bytes of each object.

use std::sync::Arc;

use futures_util::StreamExt;

use super::identity::Identities;
use super::open::{ManifestFinding, OpenError, Opened};
use crate::clip::{NotASealedName, SealedName};
use crate::edge::bucket::{Bucket, BucketError, Object};
use crate::edge::work::blocking;
use crate::envelope::header::{HEADER_SIZE_MAX, Header, HeaderError};

/// Bytes of an object that are read first. The header of a clip with its manifest and a handful of
/// post-quantum recipients fits; while it does not, twice as much is read.
const FIRST_READ_SIZE: u64 = 16 * 1024;
/// Objects that are read at the same time.
const READ_COUNT_MAX: usize = 8;

/// What the name of an object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// A sealed clip: `…/clips/<first 2 hex>/<64 hex>.age` (DESIGN §7).
    Clip(SealedName),
    /// It lies among the clips and ends in `.age`, but a dock does not name clips so.
    Misnamed,
    /// Something else: a log, a keyring, a dock's check, an upload that is not finished.
    Other,
}

impl Naming {
    /// Reads an object's name beneath the bucket's prefix.
    pub fn of(key: &str) -> Naming {
        let mut parts = key.rsplit('/');
        let Some(stem) = parts.next().and_then(|name| name.strip_suffix(".age")) else {
            return Naming::Other;
        };
        let folder = parts.next();
        // `None`: the bucket was opened at the folder `clips` itself.
        let beneath_clips = matches!(parts.next(), Some("clips") | None);
        match stem.parse() {
            Ok(name) if beneath_clips && folder == stem.get(..2) => Naming::Clip(name),
            Ok(_) | Err(NotASealedName) => {
                let among_clips = key.split('/').any(|part| part == "clips");
                if among_clips { Naming::Misnamed } else { Naming::Other }
            }
        }
    }
}

/// One object of the catalogue.
#[derive(Debug)]
pub struct Listed {
    /// The object.
    pub object: Object,
    /// Its sealed name; `None` where it is misnamed.
    pub name: Option<SealedName>,
    /// What its header says, or why it says nothing.
    pub finding: Result<ManifestFinding, ListError>,
}

/// Lists every clip that lies in a bucket. `seen` is told after each one how many are done, and of
/// how many.
///
/// An object that cannot be opened is in the list with its reason. Payloads are not looked at:
/// that a clip is listed does not mean that it is whole.
pub async fn list(
    bucket: &Bucket,
    identities: &Arc<Identities>,
    seen: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Listed>, BucketError> {
    let mut objects = bucket.list("").await?;
    objects.retain(|object| Naming::of(&object.key) != Naming::Other);
    let total = objects.len() as u64;
    let mut reading = futures_util::stream::iter(objects)
        .map(|object| look(bucket, object, Arc::clone(identities)))
        .buffer_unordered(READ_COUNT_MAX);
    let mut listed = Vec::new();
    while let Some(one) = reading.next().await {
        listed.push(one);
        seen(listed.len() as u64, total);
    }
    Ok(listed)
}

async fn look(bucket: &Bucket, object: Object, identities: Arc<Identities>) -> Listed {
    let name = match Naming::of(&object.key) {
        Naming::Clip(name) => name,
        Naming::Misnamed | Naming::Other => {
            return Listed { object, name: None, finding: Err(ListError::Misnamed) };
        }
    };
    let header = read_header(bucket, &object).await;
    let finding = match header {
        Err(error) => Err(error),
        // The asymmetric half of the work; it spreads over the cores.
        Ok(header) => {
            let opening = move || Opened::from_header(&header, &identities);
            let opened = blocking(opening).await;
            opened.map(|opened| opened.manifest).map_err(ListError::Open)
        }
    };
    Listed { object, name: Some(name), finding }
}

/// Reads the first bytes of an object, and more while the header goes on.
async fn read_header(bucket: &Bucket, object: &Object) -> Result<Header, ListError> {
    let mut bytes = Vec::new();
    let mut end = FIRST_READ_SIZE;
    loop {
        let begin = bytes.len() as u64;
        let end_now = end.min(object.size_bytes);
        if begin < end_now {
            let more = bucket.read(&object.key, begin..end_now).await;
            bytes.extend_from_slice(&more.map_err(ListError::Bucket)?);
        }
        match Header::read(&mut bytes.as_slice()) {
            Err(HeaderError::Truncated)
                if end < object.size_bytes && end < HEADER_SIZE_MAX as u64 =>
            {
                end *= 2;
            }
            read => return read.map_err(|error| ListError::Open(OpenError::Header(error))),
        }
    }
}

/// Why an object says nothing of its clip.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It could not be read.
    #[error(transparent)]
    Bucket(BucketError),
    /// It lies among the clips, but its name is not that of one.
    #[error("its name is not that of a sealed clip")]
    Misnamed,
    /// It could not be opened.
    #[error(transparent)]
    Open(OpenError),
}

#[cfg(test)]
mod tests {
    use super::super::identity::Kind;
    use super::super::open::tests::{identity, sealed};
    use super::*;
    use sha2::{Digest, Sha256};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Lists a folder bucket with these objects.
    fn list_of(objects: &[(String, Vec<u8>)], identities: Identities) -> Vec<Listed> {
        let dir = tempfile::tempdir().expect("tempdir");
        for (key, bytes) in objects {
            let path = dir.path().join(key);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, bytes).expect("written");
        }
        let url = url::Url::from_file_path(dir.path()).expect("absolute");
        let bucket = Bucket::open(url.as_str(), &BTreeMap::new()).expect("opened");
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let identities = Arc::new(identities);
        let listing = list(&bucket, &identities, &|_, _| {});
        let mut listed = runtime.block_on(listing).expect("listed");
        listed.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        listed
    }

    fn key_of(file: &[u8]) -> String {
        let name = SealedName(Sha256::digest(file).into()).to_string();
        format!("hannover/clips/{}/{name}.age", &name[..2])
    }

    #[test]
    fn a_clip_is_known_by_its_first_bytes() {
        let identity = identity(Kind::PostQuantum);
        let file = sealed(&identity, &vec![7; 300_000], Path::new("a.mp4"));
        let beginning = file[..FIRST_READ_SIZE as usize].to_vec();
        let listed = list_of(&[(key_of(&file), beginning)], Identities::one(identity));
        let [Listed { finding: Ok(ManifestFinding::Found(manifest)), .. }] = listed.as_slice()
        else {
            panic!("{listed:?}");
        };
        assert_eq!(manifest.name.to_path().as_deref(), Some(Path::new("a.mp4")));
    }

    #[test]
    fn a_long_header_is_read_in_further_steps() {
        use crate::envelope::{FileKey, header::Stanza};
        use rand_core::UnwrapErr;
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let identity = identity(Kind::PostQuantum);
        let file_key = FileKey::generate(rng);
        let mut stanzas: Vec<Stanza> =
            (0..60).map(|_| identity.recipient().wrap(&file_key, rng)).collect();
        stanzas.reverse();
        let file = Header::new(stanzas, &file_key).encode();
        assert!(file.len() as u64 > 4 * FIRST_READ_SIZE);
        let listed = list_of(&[(key_of(&file), file.clone())], Identities::one(identity));
        assert!(matches!(listed[0].finding, Ok(ManifestFinding::Absent)), "{listed:?}");
    }

    #[test]
    fn what_cannot_be_opened_is_listed_with_its_reason() {
        let ours = identity(Kind::Classic);
        let stranger = sealed(&identity(Kind::Classic), b"x", Path::new("a.mp4"));
        let good = sealed(&ours, b"x", Path::new("b.mp4"));
        let mut changed = good.clone();
        let at = changed.windows(4).position(|four| four == b"--- ").expect("a MAC") + 4;
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let objects = [
            ("log/1/clips.age".to_owned(), Vec::new()),
            (".upload/clips/ab/.x.unfinished".to_owned(), Vec::new()),
            ("a/clips/00/nonsense.age".to_owned(), good.clone()),
            (format!("b/clips/00/{}.age", "0".repeat(64)), Vec::new()),
            (format!("c/clips/11/{}.age", "1".repeat(64)), good[..100].to_vec()),
            (format!("d/clips/22/{}.age", "2".repeat(64)), changed),
            (format!("e/clips/33/{}.age", "3".repeat(64)), stranger),
            (format!("f/clips/44/{}.age", "4".repeat(64)), good),
        ];
        let listed = list_of(&objects, Identities::one(ours));
        let findings: Vec<_> = listed.iter().map(|one| &one.finding).collect();
        assert!(
            matches!(
                findings.as_slice(),
                [
                    Err(ListError::Misnamed),
                    Err(ListError::Open(OpenError::Header(HeaderError::Truncated))),
                    Err(ListError::Open(OpenError::Header(HeaderError::Truncated))),
                    Err(ListError::Open(OpenError::Mac(_))),
                    Err(ListError::Open(OpenError::NoIdentity { .. })),
                    Ok(ManifestFinding::Found(_)),
                ]
            ),
            "{findings:?}"
        );
    }

    #[test]
    fn a_clips_name_is_its_digest_in_its_folder() {
        let name = "ab".repeat(32);
        let clip = Naming::Clip(SealedName([0xab; 32]));
        assert_eq!(Naming::of(&format!("region/dock/clips/ab/{name}.age")), clip);
        assert_eq!(Naming::of(&format!("ab/{name}.age")), clip);
        assert_eq!(Naming::of(&format!("dock/clips/ac/{name}.age")), Naming::Misnamed);
        assert_eq!(Naming::of(&format!("dock/clips/{name}.age")), Naming::Misnamed);
        assert_eq!(Naming::of(&format!("dock/clips/ab/{name}")), Naming::Other);
        assert_eq!(Naming::of("region/dock/check"), Naming::Other);
        assert_eq!(Naming::of(&format!("dock/other/ab/{name}.age")), Naming::Other);
        assert_eq!(Naming::of("keyring"), Naming::Other);
    }
}
