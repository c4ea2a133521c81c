//! Three open files and a request, handed from one process to another over a Unix socket (unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recv, recvmsg, send, sendmsg, socket_with, sockopt,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A longer request is refused by both sides.
pub const REQUEST_SIZE_MAX: usize = 64 << 10;

/// A connection that keeps the bounds of messages, so that files stay with their request.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// A request and the standard input, output and error that came with it.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub bytes: Vec<u8>,
    /// Descriptors 0, 1 and 2 of who asks.
    pub files: [OwnedFd; 3],
    /// The user id of who asks, as the kernel tells it.
    pub uid: u32,
}

/// What ended first.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// The process.
    Process,
    /// The connection: who asked is gone.
    Connection,
}

impl Connection {
    /// Connects to the socket at a path.
    pub fn open(path: &Path) -> io::Result<Connection> {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Connection(socket))
    }

    /// The connection that came as standard input: systemd.socket(5) with `Accept=yes`.
    pub fn of_stdin() -> io::Result<Connection> {
        Ok(Connection(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Asks, and hands over standard input, output and error.
    pub fn ask(&self, request: &[u8]) -> io::Result<()> {
        if request.len() > REQUEST_SIZE_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let files: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        // It has the room of three.
        beside.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(&self.0, &[IoSlice::new(request)], &mut beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for what is asked.
    pub fn asked(&self) -> io::Result<Request> {
        let mut bytes = vec![0; REQUEST_SIZE_MAX];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let message = recvmsg(&self.0, into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let is_whole = !message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        let files = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let files: Result<[OwnedFd; 3], _> = files.flatten().collect::<Vec<_>>().try_into();
        let (true, Ok(files)) = (is_whole, files) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        bytes.truncate(message.bytes);
        let uid = sockopt::socket_peercred(&self.0)?.uid.as_raw();
        Ok(Request { bytes, files, uid })
    }

    /// Answers with an exit code.
    pub fn answer(&self, code: u8) -> io::Result<()> {
        send(&self.0, &[code], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the exit code; `None` where the other side ended without one.
    pub fn answered(&self) -> io::Result<Option<u8>> {
        let mut code = [0];
        let (size, _) = rustix::io::retry_on_intr(|| recv(&self.0, &mut code, RecvFlags::empty()))?;
        Ok((size == 1).then_some(code[0]))
    }

    /// Waits until a child ends, which nobody waited for yet, or who asked is gone.
    pub fn watch(&self, child: Pid) -> io::Result<First> {
        let child = pidfd_open(child, PidfdFlags::empty())?;
        let mut both = [
            PollFd::new(&child, PollFlags::IN),
            // Nothing more is said on it: whatever happens to it is its end.
            PollFd::new(&self.0, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut both, None))?;
        Ok(if both[0].revents().is_empty() { First::Connection } else { First::Process })
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::socketpair;

    use super::*;

    fn pair() -> (Connection, Connection) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a pair");
        (Connection(one), Connection(other))
    }

    #[test]
    fn a_request_and_its_three_files_arrive_and_an_exit_code_comes_back() {
        let (asker, answerer) = pair();
        asker.ask(b"status").expect("asked");
        let request = answerer.asked().expect("asked");
        assert_eq!(request.bytes, b"status");
        assert_eq!(request.uid, rustix::process::geteuid().as_raw());
        answerer.answer(3).expect("answered");
        assert_eq!(asker.answered().expect("answered"), Some(3));
        drop(answerer);
        assert_eq!(asker.answered().expect("ended"), None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (asker, answerer) = pair();
        let too_long = vec![b'x'; REQUEST_SIZE_MAX + 1];
        assert!(asker.ask(&too_long).is_err());
        for bytes in [&b"status"[..], &too_long] {
            send(&asker.0, bytes, SendFlags::empty()).expect("sent");
            let refused = answerer.asked().expect_err("no files, or not whole");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
        }
        drop(asker);
        assert!(answerer.asked().is_err());
    }
}
