//! A TCP proxy that records what it is told, and breaks the line when it is asked to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How often an idle thread looks whether something changed.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// Bytes moved at once, at most.
const BLOCK_SIZE: usize = 64 * 1024;

/// What is wrong with the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes vanish both ways, and no connection ends: a firewall that drops.
    BlackHole,
    /// The connection breaks once this many more bytes went to the server; then the line is good.
    CutAfter(u64),
    /// The next answer of the server is lost and its connection broken; then the line is good.
    LoseAnswer,
    /// All is well.
    None,
    /// As if the server's process had ended: connections break, new ones are refused.
    Refuse,
    /// This many bytes a second to the server, over all connections.
    Throttle(u64),
}

/// A running proxy on a free port. Dropping it ends it.
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
    recording: TempDir,
}

/// What all threads of a proxy share.
struct Line {
    upstream: String,
    fault: Mutex<Fault>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    connections: AtomicU64,
    cuts: AtomicU64,
    stopped: AtomicBool,
    /// How often all connections are cut, and when next.
    next_cut: Mutex<Option<(Duration, Instant)>>,
    /// When the throttled line has room again.
    free_at: Mutex<Instant>,
}

impl Proxy {
    /// To a server such as `127.0.0.1:9000`, which need not be up yet.
    pub fn to(upstream: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let recording = super::scratch();
        let line = Arc::new(Line {
            upstream: upstream.to_owned(),
            fault: Mutex::new(Fault::None),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            next_cut: Mutex::default(),
            free_at: Mutex::new(Instant::now()),
        });
        let (shared, folder) = (Arc::clone(&line), recording.path().to_owned());
        let acceptor = std::thread::spawn(move || accept(&shared, listener, address, &folder));
        Proxy { address, line, acceptor: Some(acceptor), recording }
    }

    /// The URL for an S3 client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks or mends the line, for connections that are there and for new ones.
    pub fn set(&self, fault: Fault) {
        *self.line.fault() = fault;
    }

    /// What is wrong with the line now: [`Fault::None`] again after a cut that happened.
    pub fn fault(&self) -> Fault {
        *self.line.fault()
    }

    /// Cuts all connections every so long, whatever else is wrong with the line; `None` no longer
    /// does.
    pub fn cut_every(&self, interval: Option<Duration>) {
        let next = interval.map(|interval| (interval, Instant::now() + interval));
        *self.line.next_cut.lock().expect("no thread panics with the lock") = next;
    }

    /// Cuts all connections that there are, with what is on its way in them.
    pub fn cut_now(&self) {
        self.line.cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// How often all connections were cut so far.
    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that went to the server.
    pub fn sent_bytes(&self) -> u64 {
        self.line.sent_bytes.load(Ordering::SeqCst)
    }

    /// Bytes that came from the server, whether or not the client got them.
    pub fn received_bytes(&self) -> u64 {
        self.line.received_bytes.load(Ordering::SeqCst)
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.line.connections.load(Ordering::SeqCst)
    }

    /// Every byte that clients sent, one file a connection, in the order sent.
    pub fn recording(&self) -> &Path {
        self.recording.path()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.stopped.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let ended = acceptor.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy's acceptor panicked");
        }
    }
}

impl Line {
    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().expect("no thread panics with the lock")
    }

    /// Whether a connection that began after so many cuts is broken.
    fn is_cut(&self, born: u64) -> bool {
        self.stopped.load(Ordering::SeqCst)
            || self.cuts.load(Ordering::SeqCst) != born
            || *self.fault() == Fault::Refuse
    }

    fn cut_when_due(&self) {
        let mut next = self.next_cut.lock().expect("no thread panics with the lock");
        if let Some((interval, due)) = &mut *next
            && *due <= Instant::now()
        {
            *due = Instant::now() + *interval;
            self.cuts.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How many of `size` bytes may go to the server now; waits where the line is slow.
    fn admit(&self, size: usize) -> usize {
        let rate = match &mut *self.fault() {
            Fault::BlackHole => return 0,
            Fault::CutAfter(left) => {
                let admitted = usize::try_from(*left).unwrap_or(usize::MAX).min(size);
                *left -= admitted as u64;
                return admitted;
            }
            Fault::Throttle(rate) => (*rate).max(1),
            Fault::LoseAnswer | Fault::None | Fault::Refuse => return size,
        };
        let size = size.min(usize::try_from(rate / 4).unwrap_or(size).max(1));
        let mut free_at = self.free_at.lock().expect("no thread panics with the lock");
        let start = (*free_at).max(Instant::now());
        *free_at = start + Duration::from_secs_f64(size as f64 / rate as f64);
        let wait = free_at.saturating_duration_since(Instant::now());
        drop(free_at);
        std::thread::sleep(wait);
        size
    }

    /// Whether a cut is due; the line is good from then on.
    fn take_cut(&self) -> bool {
        self.fault_once(|fault| matches!(fault, Fault::CutAfter(0)))
    }

    fn fault_once(&self, due: impl Fn(Fault) -> bool) -> bool {
        let mut fault = self.fault();
        let is_due = due(*fault);
        if is_due {
            *fault = Fault::None;
        }
        is_due
    }
}

fn accept(line: &Arc<Line>, listener: TcpListener, address: SocketAddr, recording: &Path) {
    let mut listener = Some(listener);
    while !line.stopped.load(Ordering::SeqCst) {
        line.cut_when_due();
        if *line.fault() == Fault::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let client = listener.as_ref().and_then(|listener| {
            listener.set_nonblocking(true).expect("a socket");
            listener.accept().ok()
        });
        let Some((client, _)) = client else {
            std::thread::sleep(LOOK_AGAIN_AFTER);
            continue;
        };
        let number = line.connections.fetch_add(1, Ordering::SeqCst);
        let record = File::create(recording.join(format!("{number:06}"))).expect("scratch");
        let line = Arc::clone(line);
        std::thread::spawn(move || connect(&line, client, record));
    }
}

fn connect(line: &Arc<Line>, client: TcpStream, record: File) {
    let born = line.cuts.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(&line.upstream) else { return };
    for stream in [&client, &server] {
        stream.set_nonblocking(false).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(LOOK_AGAIN_AFTER)).expect("a socket");
    }
    let back = {
        let line = Arc::clone(line);
        let ends = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        std::thread::spawn(move || answers(&line, born, ends.0, ends.1))
    };
    requests(line, born, client, server, record);
    // It ended with an error of a socket at worst, and the client saw that.
    let _ = back.join();
}

/// Client to server: recorded before it is sent, so that no byte is sent unrecorded.
fn requests(
    line: &Line,
    born: u64,
    mut client: TcpStream,
    mut server: TcpStream,
    mut record: File,
) {
    let mut block = vec![0u8; BLOCK_SIZE];
    loop {
        let size = match read(line, born, &mut client, &mut block) {
            Ok(Some(0)) => {
                let _ = server.shutdown(Shutdown::Write);
                return;
            }
            Ok(Some(size)) => size,
            Ok(None) => continue,
            Err(_) => break,
        };
        let mut rest = &block[..size];
        while !rest.is_empty() && !line.is_cut(born) {
            let admitted = line.admit(rest.len());
            record.write_all(&rest[..admitted]).expect("the recording can be written");
            // Counted before, too: the answer can be there before this thread goes on.
            line.sent_bytes.fetch_add(admitted as u64, Ordering::SeqCst);
            if server.write_all(&rest[..admitted]).is_err() {
                break;
            }
            rest = &rest[admitted..];
            if line.take_cut() {
                return hang_up(&client, &server);
            }
            if admitted == 0 {
                std::thread::sleep(LOOK_AGAIN_AFTER);
            }
        }
    }
    hang_up(&client, &server);
}

/// Server to client.
fn answers(line: &Line, born: u64, mut server: TcpStream, mut client: TcpStream) {
    let mut block = vec![0u8; BLOCK_SIZE];
    loop {
        match read(line, born, &mut server, &mut block) {
            Ok(Some(0)) => {
                let _ = client.shutdown(Shutdown::Write);
                return;
            }
            Ok(Some(size)) => {
                // Counted before the client has them, so that who has them knows how many.
                line.received_bytes.fetch_add(size as u64, Ordering::SeqCst);
                if line.fault_once(|fault| fault == Fault::LoseAnswer) {
                    break;
                }
                while *line.fault() == Fault::BlackHole && !line.is_cut(born) {
                    std::thread::sleep(LOOK_AGAIN_AFTER);
                }
                if client.write_all(&block[..size]).is_err() {
                    break;
                }
            }
            Ok(None) => {}
            Err(_) => break,
        }
    }
    hang_up(&client, &server);
}

/// What came; `None` where nothing did for a moment, an error where the line was cut.
fn read(
    line: &Line,
    born: u64,
    from: &mut TcpStream,
    block: &mut [u8],
) -> io::Result<Option<usize>> {
    if line.is_cut(born) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    match from.read(block) {
        Ok(size) => Ok(Some(size)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn hang_up(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        // One that is closed already is closed.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each byte with itself, for any number of connections.
    fn echo_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                std::thread::spawn(move || {
                    let mut client = client.unwrap();
                    let mut block = [0u8; 4096];
                    while let Ok(size) = client.read(&mut block) {
                        if size == 0 || client.write_all(&block[..size]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        address
    }

    fn connect_to(proxy: &Proxy) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(proxy.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    /// Sends `bytes` and gives what comes back.
    fn echo(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(bytes)?;
        let mut back = vec![0u8; bytes.len()];
        stream.read_exact(&mut back)?;
        Ok(back)
    }

    #[test]
    fn every_byte_arrives_and_is_recorded_by_connection() {
        let proxy = Proxy::to(&echo_server());
        for text in [b"the first".as_slice(), b"the second"] {
            assert_eq!(echo(&mut connect_to(&proxy).unwrap(), text).unwrap(), text);
        }
        let recorded = |name| std::fs::read(proxy.recording().join(name)).unwrap();
        assert_eq!(recorded("000000"), b"the first");
        assert_eq!(recorded("000001"), b"the second");
        assert_eq!((proxy.connections(), proxy.sent_bytes()), (2, 19));
        assert_eq!(proxy.received_bytes(), 19);
    }

    #[test]
    fn a_cut_comes_after_exactly_so_many_bytes_and_once() {
        let proxy = Proxy::to(&echo_server());
        proxy.set(Fault::CutAfter(100_000));
        let mut stream = connect_to(&proxy).unwrap();
        // Written from another thread: what nobody reads would fill the line both ways.
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&[7; 1 << 20]).is_ok());
        let mut back = Vec::new();
        let _ = stream.read_to_end(&mut back);
        assert!(back.len() <= 100_000);
        let _ = writing.join();
        assert_eq!(proxy.sent_bytes(), 100_000);
        assert_eq!(proxy.fault(), Fault::None);
        assert_eq!(echo(&mut connect_to(&proxy).unwrap(), b"well").unwrap(), b"well");
    }

    #[test]
    fn a_refusing_server_refuses_and_comes_back_at_the_same_address() {
        let proxy = Proxy::to(&echo_server());
        let mut before = connect_to(&proxy).unwrap();
        assert_eq!(echo(&mut before, b"well").unwrap(), b"well");
        proxy.set(Fault::Refuse);
        assert!(echo(&mut before, b"gone").is_err());
        let limit = Duration::from_secs(5);
        super::super::wait_for("a refusal", limit, || connect_to(&proxy).is_err().then_some(()));
        proxy.set(Fault::None);
        let mut after = super::super::wait_for("the server", limit, || connect_to(&proxy).ok());
        assert_eq!(echo(&mut after, b"well").unwrap(), b"well");
    }

    #[test]
    fn a_line_that_is_cut_every_so_often_breaks_each_connection_once() {
        let proxy = Proxy::to(&echo_server());
        proxy.cut_every(Some(Duration::from_millis(50)));
        for number in 1..=2 {
            let mut stream = connect_to(&proxy).unwrap();
            let mut back = Vec::new();
            let _ = stream.read_to_end(&mut back);
            assert!(proxy.cuts() >= number);
        }
        proxy.cut_every(None);
        let cuts = proxy.cuts();
        let mut stream = connect_to(&proxy).unwrap();
        assert_eq!(echo(&mut stream, b"well").unwrap(), b"well");
        assert_eq!(proxy.cuts(), cuts);
    }

    #[test]
    fn a_black_hole_swallows_and_lets_go() {
        let proxy = Proxy::to(&echo_server());
        let mut stream = connect_to(&proxy).unwrap();
        proxy.set(Fault::BlackHole);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let error = echo(&mut stream, b"hello").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(proxy.sent_bytes(), 0);
        proxy.set(Fault::None);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut back = [0u8; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }

    #[test]
    fn a_lost_answer_reached_the_server() {
        let proxy = Proxy::to(&echo_server());
        proxy.set(Fault::LoseAnswer);
        assert!(echo(&mut connect_to(&proxy).unwrap(), b"stored").is_err());
        assert_eq!(proxy.sent_bytes(), 6);
        assert_eq!(echo(&mut connect_to(&proxy).unwrap(), b"again").unwrap(), b"again");
    }

    #[test]
    fn a_slow_line_is_slow() {
        let proxy = Proxy::to(&echo_server());
        proxy.set(Fault::Throttle(100_000));
        let started = Instant::now();
        echo(&mut connect_to(&proxy).unwrap(), &[1; 30_000]).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        assert!(seconds >= 0.29, "30 kB at 100 kB/s took {seconds} s");
    }
}
