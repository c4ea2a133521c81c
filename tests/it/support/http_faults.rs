//! An HTTP proxy that answers some requests itself, loses some answers, and remembers each request.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wire::{Head, Size, copy};

mod wire;

/// Of all times: until [`HttpFaults::heal`].
pub const ALWAYS: usize = usize::MAX;

/// Which requests a fault is for.
#[derive(Debug, Clone, Default)]
pub struct Which {
    method: Option<&'static str>,
    /// Each must be in the target: path and query.
    parts: Vec<&'static str>,
    /// None may be in the target.
    others: Vec<&'static str>,
}

impl Which {
    /// Every request.
    pub fn all() -> Which {
        Which::default()
    }

    /// Those of a method.
    pub fn of(method: &'static str) -> Which {
        Which { method: Some(method), ..Which::default() }
    }

    /// Of these, those with a text in their path or query, such as `/clips/` or `uploadId=`.
    pub fn with(mut self, part: &'static str) -> Which {
        self.parts.push(part);
        self
    }

    /// Of these, those without it.
    pub fn without(mut self, part: &'static str) -> Which {
        self.others.push(part);
        self
    }

    fn is(&self, method: &str, target: &str) -> bool {
        self.method.is_none_or(|wanted| wanted == method)
            && self.parts.iter().all(|part| target.contains(part))
            && !self.others.iter().any(|part| target.contains(part))
    }
}

/// An answer that no server gave.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// Without a body.
    pub fn new(status: u16) -> Answer {
        Answer { status, headers: vec![], body: String::new() }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With an error of S3's kind.
    pub fn s3_error(self, code: &str) -> Answer {
        let xml = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
        );
        self.body("application/xml", &xml)
    }

    /// With a body of a type.
    pub fn body(mut self, media_type: &str, body: &str) -> Answer {
        body.clone_into(&mut self.body);
        self.header("content-type", media_type)
    }

    fn write(&self, method: &str, mut to: impl Write) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} By-the-proxy\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", self.body.len());
        let body = if method == "HEAD" { "" } else { &self.body };
        to.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())
    }
}

/// A request that passed, or did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Such as `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What the client was told; `None` where the line broke before.
    pub status: Option<u16>,
}

enum Fault {
    Answer(Answer),
    LoseAnswer,
}

struct Rule {
    which: Which,
    fault: Arc<Fault>,
    left: usize,
}

/// A running proxy on a free port. Dropping it ends it and all its connections.
pub struct HttpFaults {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

/// What all threads of a proxy share.
struct Line {
    upstream: String,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    clients: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    /// Bytes a second to the server, and when the line has room again.
    slow: Mutex<Option<(u64, Instant)>>,
}

impl HttpFaults {
    /// To a server such as `127.0.0.1:9000`, which need not be up yet.
    pub fn to(upstream: &str) -> HttpFaults {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let line = Arc::new(Line {
            upstream: upstream.to_owned(),
            rules: Mutex::default(),
            seen: Mutex::default(),
            clients: Mutex::default(),
            stopped: AtomicBool::new(false),
            slow: Mutex::default(),
        });
        let shared = Arc::clone(&line);
        let acceptor = std::thread::spawn(move || accept(&shared, &listener));
        HttpFaults { address, line, acceptor: Some(acceptor) }
    }

    /// The URL for a client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next requests of a kind itself; the server never hears of them.
    pub fn answer_next(&self, count: usize, which: Which, answer: Answer) {
        self.line.add(Rule { which, fault: Arc::new(Fault::Answer(answer)), left: count });
    }

    /// Lets the next request of a kind reach the server, and breaks the line instead of passing
    /// its answer on.
    pub fn lose_answer_of(&self, which: Which) {
        self.line.add(Rule { which, fault: Arc::new(Fault::LoseAnswer), left: 1 });
    }

    /// So many bytes a second to the server, over all connections; `None` is as fast as it gets.
    pub fn slow(&self, bytes_per_second: Option<u64>) {
        *locked(&self.line.slow) = bytes_per_second.map(|rate| (rate.max(1), Instant::now()));
    }

    /// From now on all is well.
    pub fn heal(&self) {
        locked(&self.line.rules).clear();
        self.slow(None);
    }

    /// How many faults are still to come.
    pub fn left(&self) -> usize {
        locked(&self.line.rules).iter().fold(0, |sum, rule| sum.saturating_add(rule.left))
    }

    /// The requests so far, in the order in which their ends were seen.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.line.seen).clone()
    }

    /// How many requests of a kind were seen so far.
    pub fn count(&self, which: &Which) -> usize {
        let seen = locked(&self.line.seen);
        seen.iter().filter(|seen| which.is(&seen.method, &seen.target)).count()
    }
}

impl Drop for HttpFaults {
    fn drop(&mut self) {
        self.line.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let ended = acceptor.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy's acceptor panicked");
        }
        for client in locked(&self.line.clients).iter() {
            // One that is closed already is closed.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with the lock")
}

impl Line {
    fn add(&self, rule: Rule) {
        locked(&self.rules).push(rule);
    }

    /// The fault that is for a request: of the rule that was made first.
    fn take(&self, method: &str, target: &str) -> Option<Arc<Fault>> {
        let mut rules = locked(&self.rules);
        let index = rules.iter().position(|rule| rule.which.is(method, target))?;
        let rule = &mut rules[index];
        let fault = Arc::clone(&rule.fault);
        if rule.left != ALWAYS {
            rule.left -= 1;
        }
        if rule.left == 0 {
            rules.remove(index);
        }
        Some(fault)
    }

    fn saw(&self, head: &Head, status: Option<u16>) {
        let (method, target) = (head.method().to_owned(), head.target().to_owned());
        locked(&self.seen).push(Seen { method, target, status });
    }

    /// How many of `size` bytes may go to the server now; waits where the line is slow.
    fn admit(&self, size: usize) -> io::Result<usize> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let (size, wait) = match &mut *locked(&self.slow) {
            None => return Ok(size),
            Some((rate, free_at)) => {
                let size = size.min(usize::try_from(*rate / 10).unwrap_or(size).max(1));
                let start = (*free_at).max(Instant::now());
                *free_at = start + Duration::from_secs_f64(size as f64 / *rate as f64);
                (size, free_at.saturating_duration_since(Instant::now()))
            }
        };
        std::thread::sleep(wait);
        Ok(size)
    }
}

fn accept(line: &Arc<Line>, listener: &TcpListener) {
    for client in listener.incoming() {
        if line.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        locked(&line.clients).push(client.try_clone().expect("a socket"));
        let line = Arc::clone(line);
        std::thread::spawn(move || {
            // It ended with an error of a socket at worst, and the client sees that.
            let _ = serve(&line, &client);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

/// Passes request after request on, until one of the ends hangs up or a fault breaks the line.
fn serve(line: &Line, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut requests = BufReader::new(client.try_clone()?);
    while let Some(head) = Head::read(&mut requests)? {
        let size = head.request_size()?;
        let fault = line.take(head.method(), head.target());
        if let Some(Fault::Answer(answer)) = fault.as_deref() {
            // All of it is taken from the client, so that the next request begins where it should.
            copy(&mut requests, &mut io::sink(), size, &Ok)?;
            line.saw(&head, Some(answer.status));
            answer.write(head.method(), client)?;
            continue;
        }
        let passed = pass(line, &head, &mut requests, size);
        let Ok((answer, mut server)) = passed else {
            line.saw(&head, None);
            return passed.map(drop);
        };
        let size = answer.answer_size(head.method())?;
        if fault.is_some() {
            // To its end, so that what was asked for is done.
            copy(&mut server, &mut io::sink(), size, &Ok)?;
            line.saw(&head, None);
            return Ok(());
        }
        line.saw(&head, Some(answer.status()?));
        let mut client = client;
        client.write_all(answer.text.as_bytes())?;
        copy(&mut server, &mut client, size, &Ok)?;
        if size == Size::UntilClosed {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a request to the server, over a connection of its own, and gives the head of the answer.
fn pass(
    line: &Line,
    head: &Head,
    requests: &mut impl BufRead,
    size: Size,
) -> io::Result<(Head, BufReader<TcpStream>)> {
    let mut server = TcpStream::connect(&line.upstream)?;
    server.set_nodelay(true)?;
    server.write_all(head.text.as_bytes())?;
    copy(requests, &mut server, size, &|size| line.admit(size))?;
    let mut answers = BufReader::new(server);
    loop {
        let answer = Head::read(&mut answers)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        // 100 Continue is no answer yet; our clients do not wait for it.
        if answer.status()? >= 200 {
            return Ok((answer, answers));
        }
    }
}

#[cfg(test)]
mod tests;
