//! Sealing one clip of a dock folder: what is asked of the file before, while and after it is read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand_core::{CryptoRng, UnwrapErr};

use crate::clip::{Generation, Timestamp};
use crate::edge::fs::{self, Facts};
use crate::envelope::manifest::{Manifest, Name, VERSION};
use crate::envelope::on_scrubbed_stack;
use crate::envelope::recipient::Recipients;
use crate::envelope::seal::{SealError, Sealed, seal as seal_stream};
use crate::error::{Disposition, Fault};
use crate::hold::Reason;

/// What is known of a clip before it is read.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The dock's name.
    pub dock: &'a str,
    /// The camera, where the folder's rule names one.
    pub camera: Option<&'a str>,
    /// The path beneath the watch folder.
    pub path: &'a Path,
    /// The generation that the queue knows.
    pub generation: &'a Generation,
    /// The time of sealing.
    pub now: Timestamp,
}

/// What a running seal tells and is told.
#[derive(Debug, Default)]
pub struct Control {
    /// Bytes of plaintext read so far, of all clips.
    pub read_bytes: AtomicU64,
    /// Set when the process is to end: sealing stops at the next block.
    pub stop: AtomicBool,
}

/// Seals an open clip into `out`. The file must be the generation that the queue knows, before and
/// after it was read, or what was written is of no use to anybody.
pub fn seal(
    file: &mut File,
    origin: Origin<'_>,
    recipients: &Recipients,
    out: &mut (impl Write + Send),
    control: &Control,
) -> Result<Sealed, SealFault> {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    unchanged(file, origin.generation)?;
    fs::read_ahead(file);
    let manifest = manifest(origin, rng);
    let mut reading = Reading { file, control };
    let sealed = on_scrubbed_stack(|| {
        seal_stream(&mut reading, out, recipients, &manifest, rng).map(Box::new).map_err(Box::new)
    })
    .map_err(|error| *error)?;
    unchanged(file, origin.generation)?;
    Ok(*sealed)
}

/// Reads the source once more, from the medium, and seals it to nothing under the same key and
/// nonces: an equal name proves that what was read is what lies there (DESIGN §8, `when-sealed`).
pub fn is_same_again(
    file: &mut File,
    sealed: &Sealed,
    control: &Control,
) -> Result<bool, SealFault> {
    fs::drop_cache(file).map_err(SealFault::Read)?;
    io::Seek::rewind(file).map_err(SealFault::Read)?;
    let mut reading = Reading { file, control };
    let is_same = on_scrubbed_stack(|| {
        let name = sealed.resealer.name_again(&mut reading).map_err(Box::new)?;
        Ok(name == sealed.name)
    });
    is_same.map_err(|error: Box<SealError>| (*error).into())
}

fn manifest(origin: Origin<'_>, rng: &mut impl CryptoRng) -> Manifest {
    let time = |nanoseconds: i64| {
        jiff::Timestamp::from_nanosecond(i128::from(nanoseconds))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    };
    let empty = Path::new("");
    Manifest {
        version: VERSION,
        dock: origin.dock.to_owned(),
        name: Name::from_path(origin.path.file_name().map_or(empty, Path::new)),
        folder: Name::from_path(origin.path.parent().unwrap_or(empty)),
        camera: origin.camera.map(str::to_owned),
        size_bytes: origin.generation.size_bytes,
        modified: time(origin.generation.modified_ns),
        sealed: time(origin.now.0.saturating_mul(1_000_000)),
        commitment_salt: Manifest::new_salt(rng),
        more: serde_json::Map::new(),
    }
}

fn unchanged(file: &File, generation: &Generation) -> Result<(), SealFault> {
    let facts = Facts::of(file).map_err(SealFault::Read)?;
    if facts.generation.same_content(generation) { Ok(()) } else { Err(SealFault::Changed) }
}

struct Reading<'a> {
    file: &'a mut File,
    control: &'a Control,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.control.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Stopped));
        }
        #[cfg(test)]
        if let Some(world) = crate::edge::world::current() {
            world.read()?;
        }
        let size = self.file.read(buffer)?;
        self.control.read_bytes.fetch_add(size as u64, Ordering::Relaxed);
        Ok(size)
    }
}

/// Marks a read that was given up because the process ends.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

/// Why a clip was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// It was written to between being found and being read, or while it was read.
    #[error("the clip was written to while it was read")]
    Changed,
    /// Its names do not fit a manifest.
    #[error("cannot describe the clip")]
    Manifest(#[source] crate::envelope::manifest::TooLarge),
    /// It could not be read.
    #[error("cannot read the clip")]
    Read(#[source] io::Error),
    /// The process is ending.
    #[error("stopped before the clip was sealed")]
    Stopped,
    /// The sealed file could not be written.
    #[error("cannot write the sealed file")]
    Write(#[source] io::Error),
}

impl From<SealError> for SealFault {
    fn from(error: SealError) -> SealFault {
        match error {
            SealError::Manifest(error) => SealFault::Manifest(error),
            SealError::Read(error) => match error.get_ref() {
                Some(inner) if inner.is::<Stopped>() => SealFault::Stopped,
                _ => SealFault::Read(error),
            },
            SealError::SizeChanged => SealFault::Changed,
            SealError::Write(error) => SealFault::Write(error),
        }
    }
}

impl Fault for SealFault {
    fn disposition(&self) -> Disposition {
        match self {
            SealFault::Changed | SealFault::Read(_) | SealFault::Stopped => Disposition::Retry,
            SealFault::Manifest(_) => Disposition::Park,
            SealFault::Write(error) if fs::is_full(error) => Disposition::Retry,
            SealFault::Write(_) => Disposition::Halt,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            SealFault::Changed => Reason::ChangedWhileRead,
            SealFault::Manifest(_) | SealFault::Stopped => Reason::Internal,
            SealFault::Read(_) => Reason::Unreadable,
            SealFault::Write(_) => Reason::SpoolFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    fn clip(content: &[u8]) -> (tempfile::NamedTempFile, Generation) {
        let file = tempfile::NamedTempFile::new().expect("created");
        std::fs::write(file.path(), content).expect("written");
        let generation = Facts::of(file.as_file()).expect("looked").generation;
        (file, generation)
    }

    fn seal_it(
        file: &mut File,
        generation: &Generation,
        control: &Control,
    ) -> Result<Sealed, SealFault> {
        let recipients = Recipients::new(vec![RECIPIENT.parse().expect("valid")]).expect("one");
        let path = Path::new("cam/a.mp4");
        let now = Timestamp(5);
        let origin = Origin { dock: "d", camera: None, path, generation, now };
        seal(file, origin, &recipients, &mut io::sink(), control)
    }

    #[test]
    fn a_clip_that_was_written_to_is_refused() {
        let (clip, generation) = clip(b"first");
        std::fs::write(clip.path(), b"other").expect("rewritten");
        let mut file = File::open(clip.path()).expect("opened");
        let result = seal_it(&mut file, &generation, &Control::default());
        assert!(matches!(result, Err(SealFault::Changed)));
    }

    #[test]
    fn reading_again_notices_another_content() {
        let (clip, generation) = clip(b"first");
        let mut file = File::open(clip.path()).expect("opened");
        let control = Control::default();
        let sealed = seal_it(&mut file, &generation, &control).expect("sealed");
        assert!(is_same_again(&mut file, &sealed, &control).expect("read"));
        std::fs::write(clip.path(), b"secon").expect("rewritten");
        assert!(!is_same_again(&mut file, &sealed, &control).expect("read"));
        assert_eq!(control.read_bytes.load(Ordering::Relaxed), 15);
    }

    #[test]
    fn sealing_stops_when_it_is_told_to() {
        let (clip, generation) = clip(b"first");
        let mut file = File::open(clip.path()).expect("opened");
        let control = Control::default();
        control.stop.store(true, Ordering::Relaxed);
        assert!(matches!(seal_it(&mut file, &generation, &control), Err(SealFault::Stopped)));
    }
}
