//! `dockseal-authority open --bytes`: a part of one clip, for players and for a quick look.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::str::FromStr;

use tokio::runtime::Runtime;

use super::super::{Complaint, Exit, bytes_for_people};
use super::find::Named;
use super::{open_complaint, payload_complaint, read_complaint};
use crate::authority::identity::Identities;
use crate::authority::payload::{PayloadError, payload_error};
use crate::authority::seek::SeekReader;

/// Bytes that are written at once.
const WRITE_SIZE: u64 = 64 * 1024;

/// Some bytes of a clip, as HTTP names them (RFC 9110 §14.1.2): counted from 0, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `FROM-TO`
    Between(u64, u64),
    /// `FROM-`
    From(u64),
    /// `-COUNT`
    Last(u64),
}

impl FromStr for ByteRange {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteRange, String> {
        let malformed = "expected FROM-TO, FROM- or -COUNT, such as 0-499";
        let (from, to) = text.split_once('-').ok_or(malformed)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| text.parse::<u64>().map_err(|_| malformed);
        if !digits(from) || !digits(to) {
            return Err(malformed.into());
        }
        Ok(match (from.is_empty(), to.is_empty()) {
            (true, true) => return Err(malformed.into()),
            (true, false) => ByteRange::Last(number(to)?),
            (false, true) => ByteRange::From(number(from)?),
            (false, false) => match (number(from)?, number(to)?) {
                (from, to) if from > to => return Err("FROM is behind TO".into()),
                (from, to) => ByteRange::Between(from, to),
            },
        })
    }
}

/// Writes a part of the only clip of `named` to standard output.
pub fn run(
    named: Vec<Named>,
    range: &ByteRange,
    identities: &Identities,
    runtime: &Runtime,
) -> Result<Exit, Complaint> {
    let Some(Named { label, found, .. }) = named.into_iter().next() else {
        return Ok(Exit::Ok);
    };
    let source = found?.open_part(&label, runtime)?;
    let title = || format!("cannot open a part of {label}");
    let opened = SeekReader::open(source, identities);
    let (_, mut clip) = opened.map_err(|error| open_complaint(title(), &error))?;
    let count = place(&mut clip, range).map_err(|error| complaint(title(), &error))?;
    let Some(count) = count else {
        let size = clip.size_bytes().map_err(|error| payload_complaint(title(), &error))?;
        let message = format!("{}: it has only {size} bytes", title());
        return Err(Complaint::text(Exit::Usage, message).hint("bytes are counted from 0"));
    };
    let written = write(&mut clip.take(count), &title)?;
    let size = bytes_for_people(written);
    let line = format!("opened {size} of {label}; origin not checked, nor the rest of it\n");
    // The part is there; that nobody reads of it is no failure of the clip.
    let _ = io::stderr().lock().write_all(line.as_bytes());
    Ok(Exit::Ok)
}

/// Seeks to the range, and says how many bytes it may have; `None` where it lies behind the end.
fn place(clip: &mut (impl Read + Seek), range: &ByteRange) -> io::Result<Option<u64>> {
    let (from, count) = match *range {
        ByteRange::Between(from, to) => (from, (to - from).saturating_add(1)),
        ByteRange::From(from) => (from, u64::MAX),
        ByteRange::Last(count) => {
            let size = clip.seek(SeekFrom::End(0))?;
            (size.saturating_sub(count), count)
        }
    };
    clip.seek(SeekFrom::Start(from))?;
    // The reader knows the end by reading to it, and proves it then.
    let is_behind = from > 0 && count > 0 && clip.read(&mut [0])? == 0;
    clip.seek(SeekFrom::Start(from))?;
    Ok((!is_behind).then_some(count))
}

fn write(clip: &mut impl Read, title: &impl Fn() -> String) -> Result<u64, Complaint> {
    let out = &mut io::stdout().lock();
    let mut block = zeroize::Zeroizing::new(vec![0; WRITE_SIZE as usize]);
    let mut written = 0;
    loop {
        let size = clip.read(&mut block).map_err(|error| complaint(title(), &error))?;
        if size == 0 {
            out.flush()?;
            return Ok(written);
        }
        out.write_all(&block[..size])?;
        written += size as u64;
    }
}

/// Reading a part failed: the chunk does not verify, or the source cannot be read.
pub fn complaint(title: String, error: &io::Error) -> Complaint {
    match payload_error(error) {
        None | Some(PayloadError::Read(_)) => read_complaint(title, error),
        Some(error) => payload_complaint(title, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_written_as_for_curl() {
        let range = |text: &str| text.parse::<ByteRange>().ok();
        assert_eq!(range("0-499"), Some(ByteRange::Between(0, 499)));
        assert_eq!(range("500-"), Some(ByteRange::From(500)));
        assert_eq!(range("-500"), Some(ByteRange::Last(500)));
        for bad in ["", "-", "5", "5-4", "+5-9", "a-b", "1-2-3", "-99999999999999999999"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_is_found_in_a_clip() {
        let part = |text: &str| {
            let mut clip = io::Cursor::new(b"0123456789");
            let range = text.parse().expect("a range");
            let count = place(&mut clip, &range).expect("readable")?;
            let mut part = String::new();
            clip.take(count).read_to_string(&mut part).expect("ASCII");
            Some(part)
        };
        assert_eq!(part("0-0").as_deref(), Some("0"));
        assert_eq!(part("8-20").as_deref(), Some("89"));
        assert_eq!(part("9-").as_deref(), Some("9"));
        assert_eq!(part("-3").as_deref(), Some("789"));
        assert_eq!(part("-30").as_deref(), Some("0123456789"));
        assert_eq!(part("-0").as_deref(), Some(""));
        assert_eq!(part("10-"), None);
    }
}
