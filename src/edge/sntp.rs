//! Asking a time server once how far our clock is off.
//!
//! RFC 4330, the client's half.

use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::clock;

/// Where a time server listens, unless its name says otherwise.
const PORT: u16 = 123;
/// A server that is there answers at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest file of a time service that is read, in bytes.
const FILE_SIZE_MAX: usize = 64 << 10;
const PACKET_SIZE: usize = 48;
/// No warning, version 4, client.
const CLIENT: u8 = 0b00_100_011;
const MODE_SERVER: u8 = 4;
/// The server says of itself that its clock is not set.
const NOT_SET: u8 = 3;
/// Seconds from 1900 to 1970.
const ERA: u64 = 2_208_988_800;

/// Where a machine's time services name their servers, and by which words.
const PLACES: [(&str, &[&str]); 4] = [
    ("/etc/systemd/timesyncd.conf", &["NTP=", "FallbackNTP="]),
    ("/etc/chrony/chrony.conf", &["server ", "pool "]),
    ("/etc/ntpsec/ntp.conf", &["server ", "pool "]),
    ("/etc/ntp.conf", &["server ", "pool "]),
];

/// The servers that this machine is configured to ask, in the order of their files.
pub fn configured() -> Vec<String> {
    let read = |(path, words): &(&str, &[&str])| {
        let text = std::fs::read(Path::new(path)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(FILE_SIZE_MAX)]).into_owned();
        servers(&text, words)
    };
    PLACES.iter().flat_map(read).collect()
}

/// The servers that a file names: several behind `NTP=`, one behind `server` or `pool`.
fn servers(text: &str, words: &[&str]) -> Vec<String> {
    let mut servers = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some((word, rest)) =
            words.iter().find_map(|word| Some((word, line.strip_prefix(word)?)))
        else {
            continue;
        };
        let count_max = if word.ends_with('=') { usize::MAX } else { 1 };
        servers.extend(rest.split_whitespace().take(count_max).map(str::to_owned));
    }
    servers
}

/// How many milliseconds our clock is behind a server's; less than 0 where it is ahead. Blocks for
/// some seconds at most. An answer proves nothing: anybody on the way can send one.
pub fn behind_milliseconds(server: &str) -> io::Result<i64> {
    let address = match server.to_socket_addrs() {
        Ok(mut addresses) => addresses.next(),
        Err(_) => (server, PORT).to_socket_addrs()?.next(),
    };
    let address = address.ok_or(io::ErrorKind::NotFound)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    // Random, so that nobody answers who did not see the question.
    let mut cookie = [0u8; 8];
    getrandom::fill(&mut cookie).map_err(io::Error::other)?;
    let mut question = [0u8; PACKET_SIZE];
    question[0] = CLIENT;
    question[40..].copy_from_slice(&cookie);
    let sent = clock::now().0;
    socket.send(&question)?;
    let mut answer = [0u8; PACKET_SIZE];
    let size = socket.recv(&mut answer)?;
    let came = clock::now().0;
    let (received, answered) = times(&answer[..size], cookie)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer of a server"))?;
    Ok(((received - sent) + (answered - came)) / 2)
}

/// When the server received and answered, in milliseconds since 1970.
fn times(answer: &[u8], cookie: [u8; 8]) -> Option<(i64, i64)> {
    let first = *answer.first().filter(|_| answer.len() >= PACKET_SIZE)?;
    let is_set = first >> 6 != NOT_SET && (1..16).contains(&answer[1]);
    let is_ours = first & 7 == MODE_SERVER && answer[24..32] == cookie;
    (is_set && is_ours).then(|| (time(&answer[32..40]), time(&answer[40..48])))
}

/// Eight bytes: seconds since 1900, and a fraction of one. From 2036 on they begin again at 0.
fn time(bytes: &[u8]) -> i64 {
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let seconds = u64::from(word(0));
    let seconds = if seconds < ERA { seconds + (1 << 32) } else { seconds };
    let milliseconds = (u64::from(word(4)) * 1000) >> 32;
    i64::try_from((seconds - ERA) * 1000 + milliseconds).expect("until 2106")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(milliseconds: i64) -> [u8; 8] {
        let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
        let seconds = (seconds as u64 + ERA) as u32;
        let fraction = ((rest as u64) << 32).div_ceil(1000) as u32;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&fraction.to_be_bytes());
        bytes
    }

    /// A server whose clock is so far ahead of ours, and that then changes its answer.
    fn server(ahead: i64, change: impl Fn(&mut [u8; 48]) + Send + 'static) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let mut question = [0; 48];
            let (_, from) = socket.recv_from(&mut question).expect("a question");
            let mut answer = [0u8; 48];
            (answer[0], answer[1]) = (0b00_100_100, 2);
            answer[24..32].copy_from_slice(&question[40..48]);
            answer[32..40].copy_from_slice(&stamp(clock::now().0 + ahead));
            answer[40..48].copy_from_slice(&stamp(clock::now().0 + ahead));
            change(&mut answer);
            socket.send_to(&answer, from).expect("sent");
        });
        address
    }

    #[test]
    fn a_server_says_how_far_our_clock_is_off() {
        for ahead in [0, 100_000, -7_200_000] {
            let behind = behind_milliseconds(&server(ahead, |_| ())).expect("answered");
            // Half of what the way took at most; a machine that stands still takes its time.
            assert!((behind - ahead).abs() < 2_000, "{ahead}: {behind}");
        }
    }

    #[test]
    fn nobody_else_answers_and_nobody_who_does_not_know() {
        let refused = |change: fn(&mut [u8; 48])| {
            behind_milliseconds(&server(0, change)).expect_err("no answer of a server").kind()
        };
        assert_eq!(refused(|answer| answer[24] ^= 1), io::ErrorKind::InvalidData);
        assert_eq!(refused(|answer| answer[0] |= 0b11_000_000), io::ErrorKind::InvalidData);
        assert_eq!(refused(|answer| answer[1] = 0), io::ErrorKind::InvalidData);
        assert_eq!(refused(|answer| answer[0] = CLIENT), io::ErrorKind::InvalidData);
        assert!(times(&[0; 47], [0; 8]).is_none());
    }

    #[test]
    fn the_servers_are_those_of_the_files() {
        let timesyncd = "[Time]\n#NTP=old\nNTP=a.example b.example\nFallbackNTP=c.example\n";
        let found = servers(timesyncd, PLACES[0].1);
        assert_eq!(found, ["a.example", "b.example", "c.example"]);
        let chrony = "pool 2.debian.pool.ntp.org iburst\nserver d.example\nmakestep 1 3\n";
        assert_eq!(servers(chrony, PLACES[1].1), ["2.debian.pool.ntp.org", "d.example"]);
        assert_eq!(time(&[0, 0, 0, 0, 0, 0, 0, 0]), 2_085_978_496_000, "the second era");
    }
}
