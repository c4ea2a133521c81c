//! What every bucket does, whatever its kind: one suite for all of them.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use dockseal::clip::{Evidence, SealedName};
use dockseal::edge::bucket::{Bucket, BucketError, Created};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::scratch;

/// Sent in one request.
pub(crate) const SMALL: usize = 1_000_000;
/// Sent in three parts.
pub(crate) const LARGE: usize = 20 << 20;

/// A file in a spool, as `dock::spool` leaves it: named by its digest.
pub(crate) struct Spooled {
    dir: TempDir,
    pub(crate) name: SealedName,
    pub(crate) key: String,
    pub(crate) size_bytes: u64,
}

impl Spooled {
    /// Incompressible bytes that no other call gives.
    pub(crate) fn new(size: usize) -> Spooled {
        static SEED: AtomicU64 = AtomicU64::new(0);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let blocks = (0..size.div_ceil(32) as u64).map(|index| {
            let digest = Sha256::new().chain_update(seed.to_le_bytes());
            <[u8; 32]>::from(digest.chain_update(index.to_le_bytes()).finalize())
        });
        let mut bytes: Vec<u8> = blocks.flatten().collect();
        bytes.truncate(size);
        let dir = scratch();
        std::fs::write(dir.path().join("sealed"), &bytes).unwrap();
        let name = SealedName(Sha256::digest(&bytes).into());
        let text = name.to_string();
        let key = format!("dock-1/clips/{}/{text}.age", &text[..2]);
        Spooled { dir, name, key, size_bytes: size as u64 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("sealed")
    }

    pub(crate) fn damage(&self) {
        let mut bytes = std::fs::read(self.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(self.path(), bytes).unwrap();
    }

    /// Takes its end away.
    fn cut(&self) {
        let file = std::fs::File::options().write(true).open(self.path()).unwrap();
        file.set_len(self.size_bytes / 2).unwrap();
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Puts a file as the dock does.
pub(crate) fn put(bucket: &Bucket, spooled: &Spooled) -> Result<Evidence, BucketError> {
    let sent = AtomicU64::new(0);
    let count = |bytes| {
        sent.fetch_add(bytes, Ordering::Relaxed);
    };
    let file = File::open(spooled.path()).unwrap();
    let put = block_on(bucket.put_sealed(&spooled.key, file, spooled.name, &count));
    if let Ok(Evidence::DigestChecked) = put {
        assert_eq!(sent.load(Ordering::Relaxed), spooled.size_bytes);
    }
    put
}

/// Whether the object is there and is the file.
pub(crate) fn holds(bucket: &Bucket, spooled: &Spooled) -> bool {
    let Ok(size) = block_on(bucket.size(&spooled.key)) else { return false };
    let bytes = block_on(bucket.read(&spooled.key, 0..size)).unwrap();
    size == spooled.size_bytes && SealedName(Sha256::digest(&bytes).into()) == spooled.name
}

/// Whether a store keeps what it was asked: to create an object, and not to replace one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateOnly {
    /// It takes the condition and ignores it.
    Ignored,
    /// As it should be.
    Kept,
}

/// What every bucket does, whatever its kind. `reader` is the same place with the right to read.
pub(crate) fn keeps_the_contract(bucket: &Bucket, reader: &Bucket, first: Evidence) {
    keeps_as_honoured(bucket, reader, first, CreateOnly::Kept);
}

/// As [`keeps_the_contract`], of a store that may ignore conditions.
pub(crate) fn keeps_as_honoured(
    bucket: &Bucket,
    reader: &Bucket,
    first: Evidence,
    create_only: CreateOnly,
) {
    let again = match create_only {
        CreateOnly::Kept => Evidence::ReadBack,
        // It was put over itself, without anybody noticing. The bytes are equal by construction.
        CreateOnly::Ignored => first,
    };
    for size in [SMALL, LARGE] {
        let spooled = Spooled::new(size);
        assert_eq!(put(bucket, &spooled).unwrap(), first, "{size} bytes");
        assert!(holds(reader, &spooled), "{size} bytes");
        // The answer was lost, or the queue was: the same clip once more.
        assert_eq!(put(reader, &spooled).unwrap(), again, "{size} bytes");
        assert!(holds(reader, &spooled), "{size} bytes");
        // Where ours is the one that was cut, the bucket's is not called another one.
        spooled.cut();
        let refused = put(reader, &spooled);
        assert!(matches!(refused, Err(BucketError::SpoolDamaged)), "{size} bytes: {refused:?}");

        let damaged = Spooled::new(size);
        damaged.damage();
        let refused = put(bucket, &damaged);
        assert!(matches!(refused, Err(BucketError::SpoolDamaged)), "{size} bytes: {refused:?}");
        assert!(block_on(reader.size(&damaged.key)).is_err(), "a damaged clip became an object");
    }
    let listed = block_on(reader.list("dock-1")).unwrap();
    // Nothing of the damaged ones, nor of what was unfinished on the way.
    let mut sizes: Vec<_> = listed.iter().map(|object| object.size_bytes).collect();
    sizes.sort();
    assert_eq!(sizes, [SMALL as u64, LARGE as u64]);
    assert!(listed.iter().all(|object| object.key.starts_with("dock-1/clips/")));
}

/// The same for small objects. `reader` is as above; `unread` is what a writer without the right
/// to read finds out about an object that is there.
pub(crate) fn keeps_the_small_contract(bucket: &Bucket, reader: &Bucket, unread: Created) {
    keeps_small_as_honoured(bucket, reader, unread, CreateOnly::Kept);
}

/// As [`keeps_the_small_contract`], of a store that may ignore conditions.
pub(crate) fn keeps_small_as_honoured(
    bucket: &Bucket,
    reader: &Bucket,
    unread: Created,
    create_only: CreateOnly,
) {
    const KEY: &str = "dock-1/log/0/checkpoints/1";
    let create = |key, bytes: &'static str| block_on(bucket.create(key, bytes.into()));
    let read = |key, size_max| block_on(reader.read_all(key, size_max));
    assert_eq!(create(KEY, "one").unwrap(), Created::New);
    match create_only {
        CreateOnly::Kept => {
            assert_eq!(create(KEY, "one").unwrap(), unread);
            match (create(KEY, "two"), unread) {
                (Err(BucketError::OtherContent), Created::Equal) => {}
                (Ok(Created::Unseen), Created::Unseen) => {}
                other => panic!("{other:?}"),
            }
        }
        CreateOnly::Ignored => {
            // Wrong: we say that it is new, and somebody's bytes are gone. Whoever teaches
            // `create` to look first at such a store changes this.
            assert_eq!(create(KEY, "one").unwrap(), Created::New);
            assert_eq!(create(KEY, "two").unwrap(), Created::New);
            assert_eq!(read(KEY, 3).unwrap(), "two");
            block_on(bucket.replace(KEY, "one".into())).unwrap();
        }
    }
    assert_eq!(read(KEY, 3).unwrap(), "one");
    let small = read(KEY, 2);
    assert!(matches!(small, Err(BucketError::TooLarge { size_max: 2 })), "{small:?}");
    for text in ["one", "two"] {
        block_on(bucket.replace("dock-1/log/0/checkpoint", text.into())).unwrap();
        assert_eq!(read("dock-1/log/0/checkpoint", 9).unwrap(), text);
    }
    assert!(matches!(read("dock-1/none", 9), Err(BucketError::Missing)));
}
