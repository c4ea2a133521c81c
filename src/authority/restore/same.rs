//! Whether the file that has a clip's name already is the clip.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use super::{Arrival, Facts, ManifestFinding, READ_SIZE, RestoreError, Restored};

/// Compares a clip with the file that has its name, byte by byte, and ends at the first difference.
pub(super) struct Same {
    path: PathBuf,
    file: BufReader<File>,
    differs: bool,
}

impl Same {
    /// Refuses at once what cannot be the clip: no regular file, or one of another size.
    pub(super) fn of(
        path: PathBuf,
        facts: &Metadata,
        manifest: &ManifestFinding,
    ) -> Result<Same, RestoreError> {
        let may_be = match manifest {
            ManifestFinding::Found(manifest) => facts.len() == manifest.size_bytes,
            ManifestFinding::Absent | ManifestFinding::Unreadable(_) => true,
        };
        if !facts.is_file() || !may_be {
            return Err(RestoreError::Exists { path });
        }
        let file = File::open(&path).map_err(RestoreError::Read)?;
        Ok(Same { path, file: BufReader::with_capacity(READ_SIZE, file), differs: false })
    }

    /// The clip is there only where all of it verified and the file ends where the clip does.
    pub(super) fn conclude(
        mut self,
        facts: Result<Facts, RestoreError>,
    ) -> Result<Restored, RestoreError> {
        match facts {
            Err(RestoreError::Write(_)) if self.differs => {
                Err(RestoreError::Exists { path: self.path })
            }
            Err(RestoreError::Write(error)) => Err(RestoreError::Read(error)),
            Err(error) => Err(error),
            Ok(facts) => match self.file.fill_buf().map_err(RestoreError::Read)? {
                [] => Ok(Restored { path: self.path, arrival: Arrival::WasThere, facts }),
                [..] => Err(RestoreError::Exists { path: self.path }),
            },
        }
    }
}

impl Write for Same {
    fn write(&mut self, clip: &[u8]) -> io::Result<usize> {
        let there = self.file.fill_buf()?;
        let size = there.len().min(clip.len());
        if size == 0 || there[..size] != clip[..size] {
            self.differs = true;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.file.consume(size);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
