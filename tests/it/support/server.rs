//! Other people's servers as children of the tests: none outlives them, and none leaves a file.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tools::Tool;

/// A free port can be taken between our look and the server's. Then it is started again.
const START_ATTEMPTS_MAX: u32 = 3;

/// Runs the server, and ends it and removes its data when standard input ends: that happens however
/// the test process ends, SIGKILL included. Should the shell itself be killed, setpriv's signal
/// still ends the server. A disk that a test mounted into the data is let go of first.
const KEEPER: &str = r#"
data=$1; signal=$2; shift 2
setpriv --pdeathsig "$signal" "$@" </dev/null >"$data/log" 2>&1 &
server=$!
cat >/dev/null
kill -"$signal" "$server"
wait "$server" 2>/dev/null
while read -r _ place _; do
  case $place in "$data"/*) umount --lazy "$place" ;; esac
done </proc/self/mounts
rm -rf "$data"
"#;

/// How a server is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL, because SIGTERM can take it many seconds. For a program of one process.
    Kill,
    /// SIGTERM: it ends its other processes itself.
    Terminate,
}

/// A running program. Dropping it ends it and removes its folder.
pub struct Server {
    keeper: Child,
    data: PathBuf,
}

impl Server {
    /// Starts a program of one process whose data lies in `data`. Needs `Setpriv`.
    pub fn start(data: &Path, program: &Path, prepare: impl FnOnce(&mut Command)) -> Server {
        Server::start_to_end(Ending::Kill, data, program, prepare)
    }

    /// As [`Server::start`], for a program that is to be ended in its own way.
    pub fn start_to_end(
        ending: Ending,
        data: &Path,
        program: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        let signal = match ending {
            Ending::Kill => "KILL",
            Ending::Terminate => "TERM",
        };
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(data).arg(signal).arg(program);
        prepare(&mut command);
        // A Ctrl-C at the terminal is for the tests; the keeper hears of their end by its input.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh");
        Server { keeper, data: data.to_owned() }
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.data.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Waits until `is_ready`, or gives the log where the server found its port taken.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<(), String> {
        super::wait_for(what, limit, || {
            let log = self.log();
            if ["address already in use", "EADDRINUSE"].iter().any(|words| contains(&log, words)) {
                return Some(Err(log));
            }
            is_ready().then_some(Ok(()))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Reaped, so that its data is gone when this returns.
        let _ = self.keeper.wait();
    }
}

/// Starts a server in a new folder, anew where one of its ports was taken meanwhile.
pub fn start<T>(try_start: impl Fn(&Path) -> Result<T, String>) -> T {
    for attempt in 1.. {
        // The keeper removes it; `TempDir` would not, in a static.
        let data = super::scratch().keep();
        match try_start(&data) {
            Ok(server) => return server,
            Err(log) if attempt == START_ATTEMPTS_MAX => panic!("no server: {log}"),
            Err(_) => {}
        }
    }
    unreachable!("the last attempt panics")
}

/// Whether somebody listens there.
pub fn is_open(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Ports that were free a moment ago; held together, so that they differ.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

/// Runs a command that must succeed; panics with all that it said.
#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn contains(log: &str, words: &str) -> bool {
    log.to_lowercase().contains(&words.to_lowercase())
}

/// Certificates of a test's own authority, as a private cloud has one.
pub struct Certificates {
    /// The authority's certificate, for `ca_file`.
    pub ca: PathBuf,
    /// The server's certificate: for 127.0.0.1, `localhost` and `bucket.test`.
    pub leaf: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in a folder. A leaf of its own: rustls refuses a certificate that is both the
    /// trusted root and the server's. Needs `Openssl`.
    pub fn new(folder: &Path) -> Certificates {
        let file = |name: &str| folder.join(name);
        let new_key = |name: &str| {
            let mut key = Command::new(Tool::Openssl.path());
            key.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]);
            run(key.arg(file(name)));
        };
        let certificate = |name: &str, key: &str, subject: &str, more: &[&str]| {
            let mut command = Command::new(Tool::Openssl.path());
            command.args(["req", "-x509", "-new", "-days", "2", "-subj", subject]);
            command.arg("-key").arg(file(key)).arg("-out").arg(file(name)).args(more);
            run(&mut command);
        };
        new_key("ca.key");
        new_key("leaf.key");
        let is_ca = ["-addext", "keyUsage=critical,keyCertSign"];
        certificate("ca.crt", "ca.key", "/CN=dockseal test authority", &is_ca);
        let mut request = Command::new(Tool::Openssl.path());
        request.args(["req", "-new", "-subj", "/CN=dockseal test server", "-key"]);
        run(request.arg(file("leaf.key")).arg("-out").arg(file("leaf.csr")));
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:bucket.test\n\
                     basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n";
        std::fs::write(file("leaf.ext"), names).expect("scratch can be written");
        let mut sign = Command::new(Tool::Openssl.path());
        sign.args(["x509", "-req", "-days", "2", "-CAcreateserial"]);
        sign.arg("-in").arg(file("leaf.csr")).arg("-CA").arg(file("ca.crt"));
        sign.arg("-CAkey").arg(file("ca.key")).arg("-extfile").arg(file("leaf.ext"));
        run(sign.arg("-out").arg(file("leaf.crt")));
        Certificates { ca: file("ca.crt"), leaf: file("leaf.crt"), key: file("leaf.key") }
    }
}
