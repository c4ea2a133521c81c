//! Questions to whoever sits at the terminal, with echo and without.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

/// The most bytes that are taken for an answer.
const ANSWER_SIZE_MAX: usize = 4096;
/// What Ctrl-C sends.
const CTRL_C: u8 = 0x03;

/// Asks at the terminal itself: standard input may be something else.
pub fn ask(question: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = open()?;
    terminal.write_all(question.as_bytes())?;
    read_answer(&terminal)
}

/// Asks for what nobody should see. The echo is off before the question is there.
pub fn ask_secret(question: &str) -> io::Result<Zeroizing<String>> {
    let terminal = open()?;
    let _silent = Silent::new(&terminal)?;
    (&terminal).write_all(question.as_bytes())?;
    let answer = read_answer(&terminal);
    // The line end that was not shown.
    (&terminal).write_all(b"\n")?;
    answer
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// A terminal without echo. Dropping it brings the echo back.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Silent<'_> {
    fn new(terminal: &File) -> io::Result<Silent<'_>> {
        let before = termios::tcgetattr(terminal)?;
        let mut modes = before.clone();
        // Ctrl-C ends the line instead of the process: a process that ends here would leave the
        // terminal without echo.
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        // What was typed before the question is not an answer to it.
        termios::tcsetattr(terminal, OptionalActions::Flush, &modes)?;
        Ok(Silent { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // It is gone, and then it needs no echo.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// One line, byte by byte: the rest is for whoever reads next.
fn read_answer(mut terminal: impl Read) -> io::Result<Zeroizing<String>> {
    // Room for all of it at once: growing would leave copies behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER_SIZE_MAX));
    let mut byte = [0u8];
    loop {
        if terminal.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match byte[0] {
            b'\n' => break,
            CTRL_C => return Err(io::ErrorKind::Interrupted.into()),
            _ if answer.len() == ANSWER_SIZE_MAX => return Err(io::ErrorKind::InvalidInput.into()),
            other => answer.push(other),
        }
    }
    let text = std::str::from_utf8(&answer).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_line_and_ctrl_c_is_none() {
        let read = |typed: &[u8]| read_answer(typed).map(|answer| answer.to_string());
        assert_eq!(read(b"correct horse\nbattery").expect("a line"), "correct horse");
        let kind = |typed: &[u8]| read(typed).expect_err("no answer").kind();
        assert_eq!(kind(b"corr\x03"), io::ErrorKind::Interrupted);
        assert_eq!(kind(b"corr"), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b"\xff\n"), io::ErrorKind::InvalidData);
        assert_eq!(kind(&[b'a'; ANSWER_SIZE_MAX + 1]), io::ErrorKind::InvalidInput);
    }
}
