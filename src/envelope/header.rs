//! The header of an age file: its stanzas and its MAC, written and parsed. docs/format.md §2.

use std::io::{BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{FileKey, derive};

/// The first line of every age v1 file.
pub const VERSION_LINE: &str = "age-encryption.org/v1";

/// The most that a reader takes for a header. A header with 500 post-quantum recipients fits.
pub const HEADER_SIZE_MAX: usize = 1 << 20;

/// The most stanzas that a reader takes: bounds the asymmetric operations a hostile file can ask.
pub const STANZA_COUNT_MAX: usize = 1024;

/// Columns of a full line of a stanza's body (age.md, "ABNF").
const BODY_COLUMNS: usize = 64;

/// One recipient stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// The type, such as `X25519`.
    pub kind: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Stanza {
    /// One stanza by itself, as age plugins are told of it; `None` where the input has ended.
    #[cfg(feature = "authority")]
    pub(crate) fn read(input: &mut impl BufRead) -> Result<Option<Stanza>, HeaderError> {
        if input.fill_buf().map_err(HeaderError::Read)?.is_empty() {
            return Ok(None);
        }
        let mut lines = Lines { input, line: Vec::new(), size_bytes: 0, number: 0 };
        let first = lines.next()?.to_owned();
        read_stanza(&first, &mut lines).map(Some)
    }

    pub(crate) fn encode_into(&self, out: &mut String) {
        out.push_str("-> ");
        out.push_str(&self.kind);
        for arg in &self.args {
            out.push(' ');
            out.push_str(arg);
        }
        out.push('\n');
        let body = BASE64.encode(&self.body);
        // The last line is always shorter than 64 columns, and empty where the rest fits exactly.
        let mut rest = body.as_str();
        while rest.len() >= BODY_COLUMNS {
            let (line, after) = rest.split_at(BODY_COLUMNS);
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str(rest);
        out.push('\n');
    }
}

/// A header as read or to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The stanzas, in their order in the file.
    pub stanzas: Vec<Stanza>,
    /// HMAC-SHA-256 over all that precedes it.
    pub mac: [u8; 32],
}

impl Header {
    /// A header whose MAC is made with `file_key`.
    pub fn new(stanzas: Vec<Stanza>, file_key: &FileKey) -> Header {
        assert!(!stanzas.is_empty(), "a sealed clip has at least one recipient");
        let mac = header_mac(file_key, authenticated(&stanzas).as_bytes());
        let mac = mac.finalize().into_bytes().into();
        Header { stanzas, mac }
    }

    /// The bytes of the header, up to and including the LF behind the MAC.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = authenticated(&self.stanzas);
        text.push(' ');
        text.push_str(&BASE64.encode(self.mac));
        text.push('\n');
        text.into_bytes()
    }

    /// Whether the MAC was made with `file_key`, compared in constant time.
    pub fn verify(&self, file_key: &FileKey) -> Result<(), MacMismatch> {
        header_mac(file_key, authenticated(&self.stanzas).as_bytes())
            .verify_slice(&self.mac)
            .map_err(|_| MacMismatch)
    }

    /// Reads exactly the header and leaves `input` at the first byte of the payload.
    ///
    /// Only the one canonical encoding is taken, so that [`Header::encode`] gives the same bytes.
    pub fn read(input: &mut impl BufRead) -> Result<Header, HeaderError> {
        let mut lines = Lines { input, line: Vec::new(), size_bytes: 0, number: 0 };
        if lines.next()? != VERSION_LINE {
            return Err(HeaderError::NotAge);
        }
        let mut stanzas = Vec::new();
        loop {
            let line = lines.next()?.to_owned();
            if let Some(mac) = line.strip_prefix("--- ") {
                let mac = decode(mac, lines.number)?;
                let mac = mac.try_into().map_err(|_| HeaderError::Mac)?;
                // age.md: at least one stanza. A header without one could not be opened by anybody.
                if stanzas.is_empty() {
                    return Err(HeaderError::NoStanza);
                }
                return Ok(Header { stanzas, mac });
            }
            if stanzas.len() == STANZA_COUNT_MAX {
                return Err(HeaderError::TooManyStanzas);
            }
            stanzas.push(read_stanza(&line, &mut lines)?);
        }
    }
}

fn read_stanza(first: &str, lines: &mut Lines<'_, impl BufRead>) -> Result<Stanza, HeaderError> {
    let malformed = HeaderError::Stanza { line: lines.number };
    let Some(words) = first.strip_prefix("-> ") else { return Err(malformed) };
    let mut words = words.split(' ');
    let visible = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    let Some(kind) = words.next().filter(visible) else { return Err(malformed) };
    let mut args = Vec::new();
    for word in words {
        if !visible(&word) {
            return Err(malformed);
        }
        args.push(word.to_owned());
    }
    let mut body = Vec::new();
    loop {
        let line = lines.next()?.to_owned();
        if line.len() > BODY_COLUMNS {
            return Err(HeaderError::BodyLine { line: lines.number });
        }
        // A full line is 48 whole bytes, so each line can be decoded, and be canonical, alone.
        body.extend_from_slice(&decode(&line, lines.number)?);
        if line.len() < BODY_COLUMNS {
            return Ok(Stanza { kind: kind.to_owned(), args, body });
        }
    }
}

/// The header's lines: ASCII, LF only, bounded in sum.
struct Lines<'a, R> {
    input: &'a mut R,
    line: Vec<u8>,
    size_bytes: usize,
    number: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<&str, HeaderError> {
        self.line.clear();
        let room = HEADER_SIZE_MAX - self.size_bytes;
        let mut bounded = Read::take(&mut *self.input, room as u64);
        bounded.read_until(b'\n', &mut self.line).map_err(HeaderError::Read)?;
        self.size_bytes += self.line.len();
        self.number += 1;
        if self.line.pop() != Some(b'\n') {
            let full = self.size_bytes == HEADER_SIZE_MAX;
            return Err(if full { HeaderError::TooLarge } else { HeaderError::Truncated });
        }
        let ascii = self.line.iter().all(|b| (0x20..0x7f).contains(b));
        if !ascii {
            return Err(HeaderError::NotAscii { line: self.number });
        }
        Ok(std::str::from_utf8(&self.line).expect("ASCII is UTF-8"))
    }
}

/// Canonical unpadded standard base64 (RFC 4648 §4, §3.5).
fn decode(text: &str, line: usize) -> Result<Vec<u8>, HeaderError> {
    BASE64.decode(text).map_err(|_| HeaderError::Base64 { line })
}

/// The header from its first byte through `---`: what the MAC covers.
fn authenticated(stanzas: &[Stanza]) -> String {
    let mut text = String::from(VERSION_LINE);
    text.push('\n');
    for stanza in stanzas {
        stanza.encode_into(&mut text);
    }
    text.push_str("---");
    text
}

fn header_mac(file_key: &FileKey, text: &[u8]) -> Hmac<Sha256> {
    let key = derive(file_key.as_bytes(), b"", b"header");
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes());
    mac.expect("HMAC takes a key of any length").chain_update(text)
}

/// The header does not belong to this file key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header was changed: its MAC does not fit")]
pub struct MacMismatch;

/// Why bytes are not the header of an age v1 file.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Not canonical unpadded base64.
    #[error("line {line} of the header: not canonical base64")]
    Base64 {
        /// Counted from 1.
        line: usize,
    },
    /// A line of a stanza's body has more than 64 columns.
    #[error("line {line} of the header: a body line longer than {BODY_COLUMNS} columns")]
    BodyLine {
        /// Counted from 1.
        line: usize,
    },
    /// The MAC is not 32 bytes.
    #[error("the header's MAC is not 32 bytes")]
    Mac,
    /// A header without any stanza.
    #[error("the header names no recipient")]
    NoStanza,
    /// The first line is another one.
    #[error("not an age v1 file")]
    NotAge,
    /// A control character or a byte above 0x7e; CR is one.
    #[error("line {line} of the header: a byte that is not printable ASCII")]
    NotAscii {
        /// Counted from 1.
        line: usize,
    },
    /// The input failed.
    #[error("cannot read the header")]
    Read(#[source] std::io::Error),
    /// A line that begins no stanza where one must begin, or has an empty argument.
    #[error("line {line} of the header: not a stanza")]
    Stanza {
        /// Counted from 1.
        line: usize,
    },
    /// More than [`HEADER_SIZE_MAX`].
    #[error("the header is larger than {HEADER_SIZE_MAX} bytes")]
    TooLarge,
    /// More than [`STANZA_COUNT_MAX`].
    #[error("the header has more than {STANZA_COUNT_MAX} stanzas")]
    TooManyStanzas,
    /// The input ended inside the header.
    #[error("the file ends inside its header")]
    Truncated,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_key() -> FileKey {
        FileKey(Box::new([7; 16]))
    }

    fn header(body_size: usize) -> Header {
        let stanza = Stanza {
            kind: "grease".into(),
            args: vec!["a".into(), "~".into()],
            body: vec![0x5a; body_size],
        };
        Header::new(vec![stanza], &file_key())
    }

    #[test]
    fn a_header_is_read_back_as_it_was_written() {
        for body_size in [0, 1, 47, 48, 49, 95, 96, 97, 1120] {
            let header = header(body_size);
            let mut bytes = header.encode();
            bytes.extend_from_slice(b"payload");
            let mut input = bytes.as_slice();
            let read = Header::read(&mut input).expect("own header");
            assert_eq!(read, header);
            assert_eq!(input, b"payload");
            assert_eq!(read.verify(&file_key()), Ok(()));
            assert_eq!(read.verify(&FileKey(Box::new([8; 16]))), Err(MacMismatch));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let bytes = header(100).encode();
        for size in 0..bytes.len() {
            assert!(Header::read(&mut &bytes[..size]).is_err(), "{size}");
        }
    }

    #[test]
    fn only_the_canonical_encoding_is_taken() {
        let good = String::from_utf8(header(4).encode()).expect("ASCII");
        let bad = [
            good.replace('\n', "\r\n"),
            good.replace("-> grease a", "-> grease  a"),
            good.replace("-> grease a", "->  grease a"),
            good.replace("-> grease a ~", "-> grease a ~ "),
            good.replace("WlpaWg\n", "WlpaWg==\n"),
            good.replace("WlpaWg\n", "WlpaWh\n"),
            good.replace("WlpaWg\n", "WlpaWg\n\n"),
            good.replace("--- ", "---  "),
            good.replace("v1\n", "v2\n"),
        ];
        for text in bad {
            assert_ne!(text, good, "the replacement did nothing");
            assert!(Header::read(&mut text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn hostile_sizes_are_refused_in_bounded_memory() {
        let endless = std::io::repeat(b'a');
        let mut input = std::io::BufReader::new(endless);
        assert!(matches!(Header::read(&mut input), Err(HeaderError::TooLarge)));
        let many = format!("{VERSION_LINE}\n{}", "-> x\n\n".repeat(10_000));
        let read = Header::read(&mut many.as_bytes());
        assert!(matches!(read, Err(HeaderError::TooManyStanzas)));
    }
}
