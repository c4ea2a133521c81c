//! From what the operator named to the sealed files that are meant.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use super::super::{Complaint, Exit};
use super::{BucketArgs, bucket_complaint};
use crate::authority::catalogue::Naming;
use crate::authority::fetch::{ObjectReader, ObjectSeeker};
use crate::authority::restore::{Source, sealed_name_of};
use crate::clip::{SealedName, printable};
use crate::edge::bucket::{Bucket, BucketError, Object};
use crate::edge::fs;

/// The fewest digits that name a clip of a bucket.
const PREFIX_DIGITS_MIN: usize = 4;
/// The most clips that an ambiguous prefix lists.
const AMBIGUOUS_COUNT_MAX: usize = 6;

/// Something that was named, and the sealed file that it is, if it is one.
pub struct Named {
    /// As messages call it.
    pub label: String,
    /// The file, or why there is none.
    pub found: Result<Found, Complaint>,
    /// The bucket with the logs of the docks, where one is known.
    pub logs_url: Option<String>,
}

impl Named {
    fn new(label: String, found: Result<Found, Complaint>) -> Named {
        Named { label, found, logs_url: None }
    }
}

/// A sealed file that was not looked into yet.
pub struct Found {
    place: Place,
    sealed_name: Option<SealedName>,
}

enum Place {
    File(PathBuf),
    Object { bucket: Bucket, object: Object },
}

/// The bytes of a sealed file, and how many they are where that is known.
type Opened = (Source<Box<dyn Read>>, Option<u64>);

/// A sealed file that is read where it is wanted.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl Found {
    /// Opens it to be read in part.
    pub fn open_part(self, label: &str, runtime: &Runtime) -> Result<Box<dyn ReadSeek>, Complaint> {
        match self.place {
            Place::File(path) => {
                let (file, size_bytes) = open_file(&path, label)?;
                // A pipe cannot be sought in.
                if size_bytes.is_none() {
                    let message = format!("cannot read a part of {label}: it is not a file");
                    return Err(Complaint::text(Exit::Failed, message).hint("leave out --bytes"));
                }
                Ok(Box::new(file))
            }
            Place::Object { bucket, object: Object { key, size_bytes, .. } } => {
                let runtime = runtime.handle().clone();
                Ok(Box::new(ObjectSeeker::new(bucket, key, size_bytes, runtime)))
            }
        }
    }

    /// Begins to read it.
    pub fn open(self, label: &str, runtime: &Runtime) -> Result<Opened, Complaint> {
        let sealed_name = self.sealed_name;
        match self.place {
            Place::File(path) => {
                let (file, size_bytes) = open_file(&path, label)?;
                let file_name = path.file_name().map_or(OsString::from("clip"), OsString::from);
                Ok((Source { bytes: Box::new(file), file_name, sealed_name }, size_bytes))
            }
            Place::Object { bucket, object: Object { key, size_bytes, .. } } => {
                let file_name = key.rsplit('/').next().unwrap_or("clip").into();
                let reader = ObjectReader::new(bucket, key, size_bytes, runtime.handle().clone());
                Ok((Source { bytes: Box::new(reader), file_name, sealed_name }, Some(size_bytes)))
            }
        }
    }
}

fn open_file(path: &Path, label: &str) -> Result<(File, Option<u64>), Complaint> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (facts, file) = opened.map_err(|error| {
        Complaint::new(Exit::Failed, format!("cannot read {label}"), &error)
            .hint("is the path right? a clip of a bucket needs: --bucket URL")
    })?;
    if facts.is_dir() {
        let message = format!("cannot open {label}: it is a folder");
        let hint = "to open every clip in a folder bucket: file:///ABSOLUTE/PATH";
        return Err(Complaint::text(Exit::Failed, message).hint(hint));
    }
    fs::read_ahead(&file);
    Ok((file, facts.is_file().then_some(facts.len())))
}

/// Looks up what was named. Keeps the listing of `--bucket` between two names.
pub struct Find<'a> {
    access: &'a BucketArgs,
    bucket_url: Option<&'a str>,
    runtime: &'a Runtime,
    listing: Option<Listing>,
}

struct Listing {
    bucket: Bucket,
    objects: Vec<Object>,
}

impl<'a> Find<'a> {
    /// `bucket_url` is that of `--bucket`.
    pub fn new(
        access: &'a BucketArgs,
        bucket_url: Option<&'a str>,
        runtime: &'a Runtime,
    ) -> Find<'a> {
        Find { access, bucket_url, runtime, listing: None }
    }

    /// All that `what` names: one file or object, or all clips of a bucket.
    pub fn resolve(&mut self, what: &Path) -> Vec<Named> {
        let logs_url = self.bucket_url.map(str::to_owned).or_else(|| logs_url(what));
        let mut named = self.look_up(what);
        named.iter_mut().for_each(|one| one.logs_url.clone_from(&logs_url));
        named
    }

    fn look_up(&mut self, what: &Path) -> Vec<Named> {
        let label = printable(what);
        let text = what.to_str().unwrap_or("");
        let one = match (text.contains("://"), self.bucket_url) {
            (true, _) => match object_url(text) {
                Some((bucket, key)) => self.object(text, bucket, key),
                None => return self.all_clips(text).unwrap_or_else(|error| refused(label, error)),
            },
            (false, Some(url)) if is_hex(text) => match self.clip(url, text) {
                Ok((label, found)) => return vec![Named::new(label, Ok(found))],
                Err(complaint) => Err(complaint),
            },
            (false, Some(_) | None) => Ok(file(what)),
        };
        vec![Named::new(label, one)]
    }

    /// The object of a URL; of a local one, the file.
    fn object(&self, url: &str, bucket_url: &str, key: &str) -> Result<Found, Complaint> {
        if url.starts_with("file://") {
            let path = url::Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            return path.map(|path| file(&path)).ok_or_else(|| {
                let message = format!("not the URL of a file: {}", printable(Path::new(url)));
                Complaint::text(Exit::Usage, message).hint("write file:///ABSOLUTE/PATH.age")
            });
        }
        let bucket = self.access.open(bucket_url)?;
        let title = || format!("cannot read {}", printable(Path::new(url)));
        let size_bytes = match self.runtime.block_on(bucket.size(key)) {
            Ok(size_bytes) => size_bytes,
            Err(error @ BucketError::Missing) => {
                return Err(Complaint::new(Exit::Failed, title(), &error)
                    .hint("`list` shows the objects of a bucket"));
            }
            Err(error) => return Err(bucket_complaint(title(), &error)),
        };
        let stored = jiff::Timestamp::UNIX_EPOCH;
        let object = Object { key: key.to_owned(), size_bytes, stored };
        let sealed_name = sealed_name_of(key.as_ref());
        Ok(Found { place: Place::Object { bucket, object }, sealed_name })
    }

    /// Every clip of a bucket, once each, by name; what is misnamed is among them as an error.
    fn all_clips(&self, url: &str) -> Result<Vec<Named>, Complaint> {
        let Listing { bucket, mut objects } = self.list(url)?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        let mut seen = std::collections::BTreeSet::new();
        let mut all = Vec::new();
        for object in objects {
            let label = printable(Path::new(&object.key));
            match Naming::of(&object.key) {
                Naming::Clip(name) if seen.insert(name) => {
                    let place = Place::Object { bucket: bucket.clone(), object };
                    all.push(Named::new(label, Ok(Found { place, sealed_name: Some(name) })));
                }
                // Two docks sealed nothing alike; a second object of this name is a copy.
                Naming::Clip(_) | Naming::Other => {}
                Naming::Misnamed => {
                    let message = format!("cannot open {label}: a dock names no clip so");
                    let complaint = Complaint::text(Exit::Tampered, message)
                        .hint("ask who wrote it; to open it anyway, download it and name the file");
                    all.extend(refused(label, complaint));
                }
            }
        }
        if all.is_empty() {
            let message = format!("no clips in {}", printable(Path::new(url)));
            return Err(Complaint::text(Exit::Failed, message)
                .hint("clips are named …/clips/<2 hex>/<64 hex>.age; is the prefix right?"));
        }
        Ok(all)
    }

    /// The one clip of `--bucket` whose sealed name begins so.
    fn clip(&mut self, url: &str, digits: &str) -> Result<(String, Found), Complaint> {
        if digits.len() < PREFIX_DIGITS_MIN {
            let message = format!("{digits} is too short to name a clip");
            let hint = format!("give at least {PREFIX_DIGITS_MIN} digits, as `list` shows them");
            return Err(Complaint::text(Exit::Usage, message).hint(hint));
        }
        if self.listing.is_none() {
            self.listing = Some(self.list(url)?);
        }
        let Listing { bucket, objects } = self.listing.as_ref().expect("set above");
        let mut fitting: Vec<(SealedName, &Object)> = Vec::new();
        for object in objects {
            if let Naming::Clip(name) = Naming::of(&object.key) {
                let known = fitting.iter().any(|(other, _)| *other == name);
                if name.to_string().starts_with(digits) && !known {
                    fitting.push((name, object));
                }
            }
        }
        match fitting.as_slice() {
            [] => Err(Complaint::text(Exit::Failed, format!("no clip begins with {digits}"))
                .hint("`list` shows the clips of a bucket and how their names begin")),
            [(name, object)] => {
                let object = (*object).clone();
                let label = printable(Path::new(&object.key));
                let place = Place::Object { bucket: bucket.clone(), object };
                Ok((label, Found { place, sealed_name: Some(*name) }))
            }
            several => Err(ambiguous(digits, several.iter().map(|(name, _)| *name))),
        }
    }

    fn list(&self, url: &str) -> Result<Listing, Complaint> {
        let bucket = self.access.open(url)?;
        let objects = self.runtime.block_on(bucket.list("")).map_err(|error| {
            bucket_complaint(format!("cannot list {}", printable(Path::new(url))), &error)
        })?;
        Ok(Listing { bucket, objects })
    }
}

fn refused(label: String, complaint: Complaint) -> Vec<Named> {
    vec![Named::new(label, Err(complaint))]
}

fn file(path: &Path) -> Found {
    let sealed_name = path.file_name().and_then(sealed_name_of);
    Found { place: Place::File(path.to_owned()), sealed_name }
}

fn ambiguous(digits: &str, names: impl ExactSizeIterator<Item = SealedName>) -> Complaint {
    let count = names.len();
    let mut list: Vec<_> = names
        .take(AMBIGUOUS_COUNT_MAX)
        .map(|name| name.to_string().chars().take(digits.len() + 8).collect::<String>())
        .collect();
    if count > list.len() {
        list.push("…".into());
    }
    let message = format!("{digits} fits {count} clips: {}", list.join(", "));
    Complaint::text(Exit::Usage, message).hint("give more digits")
}

/// The bucket and the object's name, where a URL is one of an object.
fn object_url(url: &str) -> Option<(&str, &str)> {
    let (bucket, key) = url.rsplit_once('/')?;
    let has_bucket = !bucket.ends_with('/') && bucket.contains("://");
    let local = bucket == "file://";
    (key.ends_with(".age") && (has_bucket || local)).then_some((bucket, key))
}

/// The bucket in which a clip lies as a dock puts it, and so beside its log.
fn logs_url(what: &Path) -> Option<String> {
    let text = what.to_str()?;
    let url = match text.contains("://") {
        true if object_url(text).is_none() => return Some(text.to_owned()),
        true => text.to_owned(),
        false => url::Url::from_file_path(std::path::absolute(what).ok()?).ok()?.into(),
    };
    let mut parts = url.rsplitn(5, '/').skip(2);
    let is_clips = parts.next() == Some("clips") && parts.next().is_some();
    let bucket = parts.next().filter(|_| is_clips)?;
    Some(bucket.to_owned())
}

fn is_hex(text: &str) -> bool {
    let digits = !text.is_empty() && text.len() <= 64;
    digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_url_is_told_from_a_buckets() {
        let object = Some(("s3://evidence/region-3", "ab.age"));
        assert_eq!(object_url("s3://evidence/region-3/ab.age"), object);
        assert_eq!(object_url("s3://evidence/ab.age"), Some(("s3://evidence", "ab.age")));
        assert_eq!(object_url("file:///ab.age"), Some(("file://", "ab.age")));
        for bucket in ["s3://evidence", "s3://evidence/region-3/", "s3://x.age", "file:///srv"] {
            assert_eq!(object_url(bucket), None, "{bucket}");
        }
    }

    #[test]
    fn a_clip_lies_beside_its_log() {
        let logs = |what: &str| logs_url(Path::new(what));
        let bucket = Some("s3://evidence/region-3".to_owned());
        assert_eq!(logs("s3://evidence/region-3/dock-1/clips/ab/abcd.age"), bucket);
        assert_eq!(logs("s3://evidence/region-3"), bucket);
        assert_eq!(logs("/srv/b/dock-1/clips/ab/abcd.age"), Some("file:///srv/b".into()));
        assert_eq!(logs("/srv/abcd.age"), None);
        assert_eq!(logs("s3://evidence/abcd.age"), None);
    }

    #[test]
    fn an_ambiguous_prefix_lists_what_it_fits() {
        let names = [SealedName([0xab; 32]), SealedName([0xac; 32])];
        let complaint = ambiguous("a", names.into_iter());
        assert_eq!(complaint.message, "a fits 2 clips: ababababa, acacacaca");
    }

    #[test]
    fn digits_name_a_clip_and_nothing_else_does() {
        assert!(is_hex("01ab") && is_hex(&"a".repeat(64)));
        assert!(!is_hex("") && !is_hex("AB12") && !is_hex("ab12.age") && !is_hex(&"a".repeat(65)));
    }
}
