//! Armor: an age file as text, read back strictly. docs/format.md §1.

use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The first line of an armored file (age.md, "ASCII armor").
const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
/// Its last line.
const END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";
/// Columns of every line of base64 but the last.
const COLUMNS: usize = 64;
/// The most white space before and behind the armor, as the reference takes it.
const WHITESPACE_MAX: usize = 1024;

/// A file as it is, or taken out of its armor: its first byte tells which.
///
/// Errors of the armor are [`ArmorError`]s inside of `io::Error`s; see [`armor_error`].
pub struct Unarmored<R> {
    input: R,
    form: Form,
}

enum Form {
    /// Nothing was read yet.
    Unknown,
    /// Without armor: passed on as it is.
    Binary,
    Armored(Lines),
}

/// Where the reading of an armored file is.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    bytes: Vec<u8>,
    taken: usize,
    stage: Stage,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Begin,
    Body,
    Ended,
    Failed(ArmorError),
}

impl<R: BufRead> Unarmored<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Unarmored<R> {
        Unarmored { input, form: Form::Unknown }
    }

    /// The input back. Where all of it was read, an armored one was read to its end.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// Every age file begins with `age-encryption.org/`; anything else must be armor.
    fn form(&mut self) -> io::Result<&mut Form> {
        if let Form::Unknown = self.form {
            self.form = match self.input.fill_buf()?.first() {
                Some(b'a') | None => Form::Binary,
                Some(_) => Form::Armored(Lines::default()),
            };
        }
        Ok(&mut self.form)
    }
}

impl<R: BufRead> Read for Unarmored<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Form::Binary = self.form()? {
            return self.input.read(out);
        }
        let size = self.fill_buf()?.len().min(out.len());
        out[..size].copy_from_slice(&self.fill_buf()?[..size]);
        self.consume(size);
        Ok(size)
    }
}

impl<R: BufRead> BufRead for Unarmored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.form()?;
        match &mut self.form {
            Form::Unknown | Form::Binary => self.input.fill_buf(),
            Form::Armored(lines) => {
                if lines.taken == lines.bytes.len() {
                    lines.advance(&mut self.input)?;
                }
                Ok(&lines.bytes[lines.taken..])
            }
        }
    }

    fn consume(&mut self, size: usize) {
        match &mut self.form {
            Form::Unknown | Form::Binary => self.input.consume(size),
            Form::Armored(lines) => lines.taken += size,
        }
    }
}

impl Lines {
    /// Decodes the next line, or nothing at the end.
    fn advance(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        self.bytes.clear();
        self.taken = 0;
        match self.stage {
            Stage::Ended => return Ok(()),
            Stage::Failed(error) => return Err(wrapped(error)),
            Stage::Begin | Stage::Body => {}
        }
        let advanced = self.decode_next(input);
        if let Err(error) = &advanced
            && let Some(error) = armor_error(error)
        {
            self.stage = Stage::Failed(*error);
            self.bytes.clear();
        }
        advanced
    }

    fn decode_next(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        if self.stage == Stage::Begin {
            self.skip_to_begin(input)?;
            self.stage = Stage::Body;
        }
        self.next_line(input)?;
        if self.line == END {
            return self.expect_nothing_more(input);
        }
        if self.line.is_empty() || self.line.len() > COLUMNS {
            return Err(wrapped(ArmorError::Line));
        }
        let decoded = BASE64.decode(&self.line);
        self.bytes = decoded.map_err(|_| wrapped(ArmorError::Base64))?;
        // Only the last line may be short, and padding stands in the last line only.
        if self.bytes.len() < COLUMNS / 4 * 3 {
            self.next_line(input)?;
            if self.line != END {
                return Err(wrapped(ArmorError::End));
            }
            self.expect_nothing_more(input)?;
        }
        Ok(())
    }

    fn skip_to_begin(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut skipped = 0;
        loop {
            self.next_line(input).map_err(|error| match armor_error(&error) {
                Some(_) => wrapped(ArmorError::Begin),
                None => error,
            })?;
            if self.line == BEGIN {
                return Ok(());
            }
            skipped += self.line.len() + 1;
            if !self.line.iter().all(u8::is_ascii_whitespace) || skipped > WHITESPACE_MAX {
                return Err(wrapped(ArmorError::Begin));
            }
        }
    }

    fn expect_nothing_more(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut rest = Vec::new();
        Read::take(input, WHITESPACE_MAX as u64).read_to_end(&mut rest)?;
        if rest.len() == WHITESPACE_MAX || !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(wrapped(ArmorError::Trailing));
        }
        self.stage = Stage::Ended;
        Ok(())
    }

    /// One line without its end, LF or CRLF, in bounded memory.
    fn next_line(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        self.line.clear();
        let mut bounded = Read::take(input, WHITESPACE_MAX as u64 + 2);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Err(wrapped(ArmorError::End));
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(())
    }
}

/// Why an armored file is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArmorError {
    /// Not canonical base64 with padding.
    #[error("the armor was changed: a line is not canonical base64")]
    Base64,
    /// Neither an age file nor its armor.
    #[error("not an age v1 file, nor an armored one")]
    Begin,
    /// It ends without its last line, or a short line stands inside.
    #[error("the armor was changed or cut short: a short line is not followed by its end")]
    End,
    /// An empty line, or one of more than 64 columns.
    #[error("the armor was changed: a line is empty or longer than {COLUMNS} columns")]
    Line,
    /// Something behind the last line.
    #[error("the armored file was changed: text follows behind its end")]
    Trailing,
}

fn wrapped(error: ArmorError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The armor's own error, where one stopped an [`Unarmored`].
pub fn armor_error(error: &io::Error) -> Option<&ArmorError> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armor(bytes: &[u8]) -> String {
        let text = BASE64.encode(bytes);
        let lines: Vec<_> =
            text.as_bytes().chunks(COLUMNS).map(|line| String::from_utf8_lossy(line)).collect();
        let [begin, end] = [BEGIN, END].map(String::from_utf8_lossy);
        let body = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        format!("{begin}\n{body}{end}\n")
    }

    fn read(text: &[u8]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        // A small buffer, so that lines and reads never coincide.
        let input = io::BufReader::with_capacity(7, text);
        let mut unarmored = Unarmored::new(input);
        let read = unarmored.read_to_end(&mut bytes);
        if read.is_ok() {
            assert_eq!(unarmored.into_inner().buffer(), b"", "it was read to its end");
        }
        read.map(|_| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn armor_comes_off_and_anything_else_passes() {
        for size in [1, 47, 48, 49, 95, 96, 97, 1000] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let text = armor(&bytes);
            assert_eq!(read(text.as_bytes()), Ok(bytes.clone()), "{size}");
            let text = format!(" \n\r\n{}\n \t\n", text.replace('\n', "\r\n"));
            assert_eq!(read(text.as_bytes()), Ok(bytes), "{size}");
        }
        assert_eq!(read(b"age-encryption.org/v1\n"), Ok(b"age-encryption.org/v1\n".to_vec()));
        assert_eq!(read(b""), Ok(Vec::new()));
    }

    #[test]
    fn only_the_canonical_armor_is_taken() {
        let good = armor(&[0x5a; 100]);
        let lines: Vec<_> = good.lines().collect();
        let bad = [
            good.replace("BEGIN AGE", "BEGIN PGP"),
            good.replace(lines[1], &lines[1][..60]),
            good.replace(lines[1], &format!("{}AAAA", lines[1])),
            good.replace(lines[1], &format!("{} ", lines[1])),
            good.replace(lines[1], &format!("\n{}", lines[1])),
            good.replace("==", ""),
            good.replace("Wg==", "Wh=="),
            good.replace(lines[4], ""),
            format!("{good}x"),
            format!("x{good}"),
            format!("{good}{}", "\n".repeat(WHITESPACE_MAX)),
            format!("{}{good}", "\n".repeat(WHITESPACE_MAX + 1)),
            "-".repeat(1 << 20),
        ];
        for text in bad {
            assert_ne!(text, good, "the replacement did nothing");
            assert!(read(text.as_bytes()).is_err(), "{}", &text[..text.len().min(300)]);
        }
    }

    #[test]
    fn armor_cut_anywhere_is_refused() {
        let good = armor(&[0x5a; 100]);
        for size in 1..good.len() - 1 {
            assert!(read(&good.as_bytes()[..size]).is_err(), "{size}");
        }
    }
}
