//! The control socket: who is in the group sees and steers the dock without any other right.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::dock::Finished;
use crate::support::scratch;
use crate::support::site::{SOON, Site};
use crate::support::tmux::Tmux;
use crate::support::tools::needs;
use crate::support::wait_for;

/// The group that may connect, and who is in it.
const OPERATORS: &str = "64242";
const OPERATOR: &str = "64243";

/// A dock of user 65534 with its control socket.
struct Desk {
    site: Site,
    listener: Child,
    dir: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let mut site = Site::new();
        site.give_to_nobody();
        let dir = scratch();
        let socket = dir.path().join("control");
        // As systemd has it by dockseal-control.socket.
        let options = ["--seqpacket", "--accept", "--inetd", "-l", socket.to_str().unwrap()];
        let mut listener = Command::new("setpriv");
        listener.args(["--pdeathsig", "KILL", "systemd-socket-activate"]).args(options);
        listener.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        listener.arg(env!("CARGO_BIN_EXE_dockseal")).arg("--config").arg(site.dock.config());
        let journal = std::fs::File::create(dir.path().join("journal")).unwrap();
        listener.arg("control").stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal);
        let listener = listener.spawn().unwrap();
        wait_for("the socket", SOON, || socket.exists().then_some(()));
        std::os::unix::fs::chown(&socket, Some(65534), Some(OPERATORS.parse().unwrap())).unwrap();
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o660)).unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        Desk { site, listener, dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// What an operator types, who is in the group or not.
    fn command(&self, groups: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", OPERATOR, "--regid", OPERATOR]).args(groups);
        command.arg(env!("CARGO_BIN_EXE_dockseal")).arg("--config").arg(self.site.dock.config());
        let path = std::env::var_os("PATH").unwrap();
        command.args(words).env_clear().env("PATH", path).env("DOCKSEAL_CONTROL", self.socket());
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    fn typed(&self, words: &[&str]) -> Command {
        self.command(&["--groups", OPERATORS], words)
    }

    fn finish(&self, words: &[&str]) -> Finished {
        Finished::new(self.typed(words).output().unwrap())
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("journal")).unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // It is ours, and ends with the test.
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

#[test]
fn the_group_sees_and_steers_without_root() {
    needs!(Root, Setpriv, SocketActivate);
    let desk = Desk::new();
    desk.site.put("a.mp4", b"one");
    let own = desk.site.dock.json(&["status"]);
    let seen = desk.finish(&["status", "--json"]).expect_code(own_code(&desk)).json();
    assert_eq!(seen["verdict"], own["verdict"]);
    assert!(desk.finish(&["pause", "--for", "2h"]).expect_code(0).stdout.contains("paused"));
    let paused = desk.site.dock.json(&["status"])["buckets"][0]["paused"].clone();
    assert!(!paused.is_null(), "{}", desk.site.dock.json(&["status"]));
    // Its exit codes and standard error are the dock's own; a relative path is the operator's.
    let missing = desk.finish(&["show", "99"]).expect_code(1);
    assert!(missing.stderr.contains("no clip `99`"), "{missing:?}");
    assert_eq!(desk.site.dock.run_until_idle().code, 0);
    let mut show = desk.typed(&["show", "a.mp4"]);
    show.current_dir(desk.site.dock.folder());
    Finished::new(show.output().unwrap()).expect_code(0);
    desk.finish(&["resume"]).expect_code(0);
    desk.site.dock.run_until_idle();
    assert_eq!(desk.site.opened().len(), 1);
    let journal = desk.journal();
    let said = journal.lines().find(|line| line.ends_with(" pause --for 2h"));
    let who = format!("uid {OPERATOR}: dockseal ");
    assert!(said.is_some_and(|line| line.starts_with(&who)), "{journal}");
}

/// The exit code that the dock's user gets for `status`.
fn own_code(desk: &Desk) -> i32 {
    desk.site.dock.finish(&["status", "--json"]).code
}

#[test]
fn nothing_is_given_up_over_it_and_nobody_else_is_let_in() {
    needs!(Root, Setpriv, SocketActivate);
    let desk = Desk::new();
    let file = desk.dir.path().join("figures");
    let file = file.to_str().unwrap();
    for words in
        [&["forget", "1"][..], &["acknowledge"], &["close"], &["metrics", "--textfile", file]]
    {
        let refused = desk.finish(words).expect_code(10);
        assert!(refused.stderr.contains("ermission denied"), "{words:?}: {refused:?}");
    }
    assert!(!Path::new(file).exists() && !desk.journal().contains("uid "), "{}", desk.journal());
    let outside = desk.command(&["--clear-groups"], &["status"]).output().unwrap();
    let outside = Finished::new(outside).expect_code(1);
    assert!(outside.stderr.contains("in group dockseal-ops"), "{outside:?}");
    // A config of their own is not read by the dock's user.
    let own = desk.dir.path().join("own.toml");
    std::fs::write(&own, "dock = \"mine\"").unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o000)).unwrap();
    let refused = desk.finish_with_config(&own).expect_code(2);
    assert!(refused.stderr.contains("the control socket is that of"), "{refused:?}");
    assert!(desk.journal().contains("refused: the control socket is that of"));
}

#[test]
fn who_goes_away_leaves_nothing_running() {
    needs!(Root, Setpriv, SocketActivate);
    let mut desk = Desk::new();
    desk.site.put("a.mp4", b"one");
    desk.finish(&["pause"]).expect_code(0);
    desk.site.dock.start();
    desk.site.wait_for_count("sealed", 1);
    let mut wait = desk.typed(&["wait", "--safe"]).spawn().unwrap();
    let waiting = || processes(&["wait", "--safe"], &desk).len();
    wait_for("both to wait", SOON, || (waiting() == 2).then_some(()));
    // Not INT, as Ctrl-C would: who runs the tests in the background has it ignored (POSIX, 2.11).
    kill_process(Pid::from_child(&wait), Signal::TERM).unwrap();
    wait.wait().unwrap();
    wait_for("none to wait", SOON, || (waiting() == 0).then_some(()));
}

#[test]
fn on_a_terminal_it_is_as_for_the_dock_user() {
    needs!(Root, Setpriv, SocketActivate, Tmux);
    let desk = Desk::new();
    let tmux = Tmux::run(&desk.typed(&["status", "--watch"]));
    let screen = tmux.wait_for("the live screen", |screen| screen.contains("daemon "));
    assert!(tmux.painted().contains("\u{1b}["), "no colours: {screen}");
    tmux.keys(&["q"]);
    tmux.wait_for("its end", |screen| screen.contains("exit "));
}

impl Desk {
    fn finish_with_config(&self, config: &Path) -> Finished {
        let mut command = self.typed(&["status"]);
        Finished::new(command.arg("--config").arg(config).output().unwrap())
    }
}

/// Processes of this desk with these words in their command line.
fn processes(words: &[&str], desk: &Desk) -> Vec<u32> {
    let config = desk.site.dock.config();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let all = [String::from_utf8_lossy(&line), String::from_utf8_lossy(&environment)].concat();
        let is_command = all.contains(&words.join("\0"));
        is_command && all.contains(config.to_str().unwrap()) && !all.starts_with("setpriv")
    };
    pids.filter(is_ours).collect()
}
