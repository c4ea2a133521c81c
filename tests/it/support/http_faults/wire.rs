//! Where the heads and bodies of HTTP/1.1 begin and end (RFC 9112), and moving them on.

use std::io::{self, BufRead, Read, Write};

/// Bytes moved at once, at most.
const BLOCK_SIZE: usize = 64 * 1024;
/// Bytes of a line of a head, at most.
const LINE_SIZE_MAX: u64 = 64 * 1024;

/// Where a body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Bytes(u64),
    Chunked,
    UntilClosed,
}

/// The first lines of a request or an answer, as they came.
pub(super) struct Head {
    pub(super) text: String,
}

impl Head {
    /// `None` where the other end hung up in front of it.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut text = String::new();
        loop {
            let before = text.len();
            from.take(LINE_SIZE_MAX).read_line(&mut text)?;
            match &text[before..] {
                "" if before == 0 => return Ok(None),
                "\r\n" => return Ok(Some(Head { text })),
                line if line.ends_with('\n') => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn word(&self, index: usize) -> &str {
        self.text.split([' ', '\r']).nth(index).unwrap_or_default()
    }

    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    pub(super) fn target(&self) -> &str {
        self.word(1)
    }

    pub(super) fn status(&self) -> io::Result<u16> {
        self.word(1).parse().map_err(io::Error::other)
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let mut fields = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }

    fn size(&self) -> io::Result<Option<Size>> {
        if self.header("transfer-encoding").is_some() {
            return Ok(Some(Size::Chunked));
        }
        let size = self.header("content-length").map(str::parse).transpose();
        Ok(size.map_err(io::Error::other)?.map(Size::Bytes))
    }

    pub(super) fn request_size(&self) -> io::Result<Size> {
        Ok(self.size()?.unwrap_or(Size::Bytes(0)))
    }

    pub(super) fn answer_size(&self, method: &str) -> io::Result<Size> {
        if method == "HEAD" || matches!(self.status()?, 204 | 304) {
            return Ok(Size::Bytes(0));
        }
        Ok(self.size()?.unwrap_or(Size::UntilClosed))
    }
}

/// Asks how many bytes may go now; see `Line::admit`.
pub(super) type Admit<'a> = &'a dyn Fn(usize) -> io::Result<usize>;

/// Moves a body as it is framed.
pub(super) fn copy(
    from: &mut impl BufRead,
    to: &mut impl Write,
    size: Size,
    admit: Admit<'_>,
) -> io::Result<()> {
    match size {
        Size::Bytes(size) => copy_bytes(from, to, size, admit),
        Size::UntilClosed => io::copy(from, to).map(drop),
        Size::Chunked => loop {
            let mut line = String::new();
            from.take(LINE_SIZE_MAX).read_line(&mut line)?;
            to.write_all(line.as_bytes())?;
            let digits = line.split([';', '\r']).next().unwrap_or_default();
            let size = u64::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                return copy_trailers(from, to);
            }
            copy_bytes(from, to, size + 2, admit)?;
        },
    }
}

fn copy_trailers(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let mut line = String::new();
        from.take(LINE_SIZE_MAX).read_line(&mut line)?;
        to.write_all(line.as_bytes())?;
        if line.trim_end().is_empty() {
            return Ok(());
        }
    }
}

fn copy_bytes(
    from: &mut impl BufRead,
    to: &mut impl Write,
    mut left: u64,
    admit: Admit<'_>,
) -> io::Result<()> {
    let mut block = vec![0u8; BLOCK_SIZE];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(BLOCK_SIZE).min(BLOCK_SIZE);
        let size = from.read(&mut block[..wanted])?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &block[..size];
        while !rest.is_empty() {
            let admitted = admit(rest.len())?;
            to.write_all(&rest[..admitted])?;
            rest = &rest[admitted..];
        }
        left -= size as u64;
    }
    Ok(())
}
