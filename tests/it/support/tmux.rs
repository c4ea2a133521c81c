//! A terminal of a test's own, in tmux: what a program shows on it, and what somebody types.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::wait_for;

/// A screen is drawn within a second or two; two cores are shared by many tests.
const SOON: Duration = Duration::from_secs(60);

/// A terminal of 80 columns and 24 lines with a shell that runs one command and stays.
pub struct Tmux {
    dir: TempDir,
    server: Child,
}

impl Tmux {
    /// Runs a command. Needs `Setpriv` and `Tmux`.
    pub fn run(command: &Command) -> Tmux {
        let dir = super::scratch();
        let mut script = String::from("stty -a >before\n");
        for (name, value) in command.get_envs() {
            if let (true, Some(value)) = (name != "PATH", value) {
                let _ = writeln!(script, "export {}={}", quoted(name), quoted(value));
            }
        }
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(quoted).collect();
        let _ = writeln!(script, "{}\necho \"exit $?\"\nstty -a >after", words.join(" "));
        script.push_str("exec sleep 3600\n");
        std::fs::write(dir.path().join("script"), script).expect("written");
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "tmux", "-D", "-f", "/dev/null", "-S"]);
        server.arg(dir.path().join("socket"));
        let path = std::env::var_os("PATH").expect("a PATH");
        server.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
        server.current_dir(dir.path());
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tmux = Tmux { server: server.spawn().expect("setpriv starts"), dir };
        wait_for("tmux", SOON, || tmux.socket().exists().then_some(()));
        let folder = tmux.dir.path().to_str().expect("UTF-8");
        let session = ["new-session", "-d", "-x", "80", "-y", "24", "-c", folder, "sh", "script"];
        wait_for("the session", SOON, || tmux.ask(&session).map(drop));
        tmux
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("tmux");
        let asked = command.env("LC_ALL", "C.UTF-8").arg("-S").arg(self.socket()).args(words);
        let said = asked.stdin(Stdio::null()).output().expect("tmux starts");
        said.status.success().then(|| String::from_utf8(said.stdout).expect("UTF-8"))
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"]).expect("the pane is there")
    }

    /// As [`Tmux::screen`], with the escape sequences of its colours.
    pub fn painted(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"]).expect("the pane is there")
    }

    /// Types keys, as tmux names them.
    pub fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat()).expect("typed");
    }

    /// Makes the terminal another size.
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.ask(&["resize-window", "-x", &width, "-y", &height]).expect("resized");
    }

    /// Waits until the screen is as it should be; gives it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut is_it: impl FnMut(&str) -> bool) -> String {
        let mut last = String::new();
        let started = std::time::Instant::now();
        while started.elapsed() < SOON {
            last = self.screen();
            if is_it(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited in vain for {what}; the screen is:\n{last}");
    }

    /// The process id of the command.
    pub fn pid(&self) -> u32 {
        wait_for("the command", SOON, || {
            let shell = self.ask(&["display-message", "-p", "#{pane_pid}"])?;
            let shell = shell.trim();
            let list = format!("/proc/{shell}/task/{shell}/children");
            let children = std::fs::read_to_string(list).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// Waits until the command has ended with a code, and asserts that the terminal is what it was
    /// before: its settings, its ordinary screen, and a cursor.
    #[track_caller]
    pub fn assert_ended_sane(&self, code: i32) {
        self.wait_for("the end", |screen| screen.contains(&format!("exit {code}\n")));
        let settings = |name| {
            let path = self.dir.path().join(name);
            let read = || std::fs::read_to_string(&path).ok().filter(|text| !text.is_empty());
            let text = wait_for("stty", SOON, read);
            // The size may have been changed by the test.
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(settings("before"), settings("after"));
        let flags = self.ask(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.expect("the pane is there").trim(), "0 1", "alternate screen, cursor");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A word for the shell.
fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_str().expect("UTF-8").replace('\'', "'\\''"))
}
