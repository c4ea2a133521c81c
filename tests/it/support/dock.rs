//! A dock of a test's own: its folders, its config, and the `dockseal` program on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::seaweed::{Login, Seaweed};

/// DESIGN §10: the one config file.
const CONFIG: &str = "dockseal.toml";
/// SIGTERM ends the daemon within this (issue 2, "systemd").
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Lines of the log that a failed test shows.
const LOG_LINES: usize = 80;

/// A `[[bucket]]` of the config.
#[derive(Clone)]
pub struct BucketConfig {
    /// `name`.
    pub name: String,
    /// `url`.
    pub url: String,
    /// `[bucket.options]`: nothing secret.
    pub options: BTreeMap<String, String>,
    /// More lines of it, such as `credentials_file = "/…"`.
    pub more: String,
}

impl BucketConfig {
    /// A folder of this machine, which must be there.
    pub fn folder(path: &Path) -> BucketConfig {
        let url = format!("file://{}", path.display());
        BucketConfig { name: "primary".into(), url, options: BTreeMap::new(), more: String::new() }
    }

    /// At a SeaweedFS, or at a proxy before one. `url` is from [`Seaweed::url`].
    pub fn s3(endpoint: &str, url: &str) -> BucketConfig {
        let options = BTreeMap::from([("aws_endpoint".to_owned(), endpoint.to_owned())]);
        BucketConfig { name: "primary".into(), url: url.to_owned(), options, more: String::new() }
    }
}

/// What a test may choose of a dock.
#[derive(Clone)]
pub struct Choices {
    /// `recipients`.
    pub recipients: Vec<String>,
    /// The buckets, in order.
    pub buckets: Vec<BucketConfig>,
    /// The bucket credentials of the program.
    pub login: Login,
    /// `camera` of the watch folder.
    pub camera: Option<String>,
    /// `settle_seconds` of the watch folder.
    pub settle_seconds: u64,
    /// `erase` of the watch folder.
    pub erase: &'static str,
    /// Lines before the first table, such as `keep_sealed = "1GiB"`.
    pub more: String,
}

impl Choices {
    /// One recipient and one bucket, the put-only login, one second to settle.
    pub fn new(recipient: &str, bucket: BucketConfig) -> Choices {
        Choices {
            recipients: vec![recipient.to_owned()],
            buckets: vec![bucket],
            login: Login::Dock,
            camera: None,
            settle_seconds: 1,
            erase: "when-stored",
            more: String::new(),
        }
    }

    fn config(&self, dir: &Path) -> String {
        let mut text = String::new();
        let state_dir = quoted(&dir.join("state").display().to_string());
        let watch = quoted(&dir.join("dock").display().to_string());
        let _ = writeln!(text, "dock = \"test-dock-1\"\nstate_dir = {state_dir}");
        // Without any, `more` names a keyring.
        if !self.recipients.is_empty() {
            let _ = writeln!(text, "recipients = {}", quoted_list(&self.recipients));
        }
        let _ = writeln!(text, "{}", self.more);
        let _ = writeln!(text, "[[watch]]\npath = {watch}\nerase = {}", quoted(self.erase));
        let _ = writeln!(text, "settle_seconds = {}", self.settle_seconds);
        if let Some(camera) = &self.camera {
            let _ = writeln!(text, "camera = {}", quoted(camera));
        }
        for bucket in &self.buckets {
            let (name, url) = (quoted(&bucket.name), quoted(&bucket.url));
            let _ = writeln!(text, "\n[[bucket]]\nname = {name}\nurl = {url}\n{}", bucket.more);
            if !bucket.options.is_empty() {
                let _ = writeln!(text, "[bucket.options]");
            }
            for (option, value) in &bucket.options {
                let _ = writeln!(text, "{option} = {}", quoted(value));
            }
        }
        text
    }
}

/// A dock. Dropping it kills its daemon, shows the log where the test failed, and removes all.
pub struct Dock {
    dir: TempDir,
    login: Login,
    daemon: Option<Child>,
    runs: u32,
    /// Words before the program, such as `setpriv --reuid=65534`.
    before: Vec<String>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// From the output of any command.
    pub fn new(output: Output) -> Finished {
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("programs print UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("programs print UTF-8"),
        }
    }

    /// Itself, where the exit code is the one expected; else panics with all that was said.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON, {error}:\n{}", self.stdout))
    }
}

impl Dock {
    /// Makes the folders and the config; starts nothing.
    pub fn new(choices: &Choices) -> Dock {
        let dir = super::scratch();
        for folder in ["dock", "log"] {
            std::fs::create_dir(dir.path().join(folder)).expect("scratch can be written");
        }
        let dock = Dock { dir, login: choices.login, daemon: None, runs: 0, before: vec![] };
        dock.reconfigure(choices);
        dock
    }

    /// A dock at a SeaweedFS.
    pub fn at(server: &Seaweed, recipient: &str) -> Dock {
        let bucket = BucketConfig::s3(&server.endpoint(), &server.url("dock"));
        Dock::new(&Choices::new(recipient, bucket))
    }

    /// Writes the config anew; the daemon reads it when it is started.
    pub fn reconfigure(&self, choices: &Choices) {
        std::fs::write(self.config(), choices.config(self.dir.path())).expect("written");
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join(CONFIG)
    }

    /// The watch folder.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("dock")
    }

    /// `state_dir`: queue, spool and keys. Made by `dockseal init`.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// One file a run of the daemon: what it said on standard error.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// `dockseal --config … ARGUMENTS`, with the bucket's credentials and nothing else of the
    /// caller's environment that the program could take for its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// Runs everything from now on as a user without any rights of its own, to whom all that is
    /// here is given. Needs `Setpriv`, and root.
    pub fn run_as_nobody(&mut self) {
        give_to_nobody(self.dir.path());
        let words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
        self.before = words.map(str::to_owned).into();
    }

    /// As [`Dock::command`], run by another program, such as `/usr/bin/time -v`.
    pub fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let before = self.before.iter().map(String::as_str);
        let words = before.chain(wrapper.iter().copied());
        let words = words.chain([env!("CARGO_BIN_EXE_dockseal")]);
        let mut words = words.collect::<Vec<_>>().into_iter();
        let mut command = Command::new(words.next().expect("at least the program"));
        command.args(words).arg("--config").arg(self.config()).args(arguments);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.login.env()).env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn finish(&self, arguments: &[&str]) -> Finished {
        Finished::new(self.command(arguments).output().expect("dockseal starts"))
    }

    /// Runs a command with `--json`, which must succeed or be partial, and gives its document.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.finish(&[arguments, &["--json"]].concat());
        assert!([0, 3].contains(&finished.code), "{arguments:?}: {finished:#?}");
        finished.json()
    }

    /// Makes the state directory: `dockseal init`.
    #[track_caller]
    pub fn init(&self) {
        self.finish(&["init"]).expect_code(0);
    }

    /// Runs until nothing is left to do.
    pub fn run_until_idle(&self) -> Finished {
        self.finish(&["run", "--until-idle"])
    }

    /// Starts the daemon. It does not outlive the test's thread, however that ends.
    pub fn start(&mut self) {
        self.start_with(&[], |_| {});
    }

    /// As [`Dock::start`], run by another program which becomes it, and with more environment.
    pub fn start_with(&mut self, wrapper: &[&str], prepare: impl FnOnce(&mut Command)) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        self.runs += 1;
        let log = File::create(self.log_dir().join(format!("{:03}", self.runs))).expect("created");
        let wrapper = [&["setpriv", "--pdeathsig", "KILL"], wrapper].concat();
        let mut command = self.wrapped(&wrapper, &["run"]);
        prepare(&mut command);
        let daemon = command.stdout(Stdio::null()).stderr(log).spawn().expect("setpriv starts");
        self.daemon = Some(daemon);
    }

    /// SIGKILL, as a power cut for the process; what it wrote stays.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().expect("it is ours");
        daemon.wait().expect("it is ours");
    }

    /// SIGTERM, and its exit code within the time that the daemon has.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.terminate().expect("it ends by itself on SIGTERM")
    }

    /// SIGTERM, and its exit code within the time that the daemon has; `None` where it did not
    /// listen yet.
    #[track_caller]
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait_for_end(STOP_WITHIN).code()
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        // It may have ended, and waits to be asked for its exit code.
        let _ = kill_process(Pid::from_child(daemon), signal);
    }

    /// Waits until the daemon has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let daemon = self.daemon.as_mut().expect("the daemon runs");
        let status =
            super::wait_for("the daemon to end", limit, || daemon.try_wait().expect("it is ours"));
        self.daemon = None;
        status
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Whether it was started, and neither ended by us nor waited for.
    pub fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whether the daemon runs, and has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        let daemon = self.daemon.as_mut();
        daemon.is_some_and(|daemon| daemon.try_wait().expect("it is ours").is_none())
    }

    /// Asks again and again, as `status` and `list` may be asked while the daemon works, until the
    /// answer is the one waited for; gives that answer.
    #[track_caller]
    pub fn wait_for_json(
        &mut self,
        what: &str,
        arguments: &[&str],
        limit: Duration,
        mut is_it: impl FnMut(&Value) -> bool,
    ) -> Value {
        super::wait_for(what, limit, || {
            let running = self.is_running() || self.daemon.is_none();
            assert!(running, "the daemon ended while the test waited for {what}");
            let answer = self.json(arguments);
            is_it(&answer).then_some(answer)
        })
    }

    /// All that the daemon said in all its runs.
    pub fn log(&self) -> String {
        let mut files: Vec<_> = std::fs::read_dir(self.log_dir())
            .expect("the log folder")
            .map(|entry| entry.expect("readable").path())
            .collect();
        files.sort();
        files.iter().map(|path| std::fs::read_to_string(path).expect("UTF-8")).collect()
    }
}

impl Drop for Dock {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            // Captured with the test's own output, and shown with it.
            #[allow(clippy::print_stderr, reason = "the test runner shows it with the failure")]
            {
                eprintln!("the daemon said, in {} runs:\n{}", self.runs, last.join("\n"));
            }
        }
    }
}

/// `dockseal-authority ARGUMENTS`, with a login's credentials.
pub fn authority(login: Login, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockseal-authority"));
    command.args(arguments).env_clear().envs(login.env()).env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Gives a folder, and all that is in it, to the user and group 65534.
pub fn give_to_nobody(folder: &Path) {
    let given = Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status();
    assert!(given.expect("chown starts").success(), "only root may give files away");
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn quoted_list(texts: &[String]) -> String {
    Value::from(texts.to_vec()).to_string()
}

#[test]
fn the_config_of_a_test_dock_is_the_one_of_the_design() {
    let mut choices = Choices::new("age1abc", BucketConfig::s3("http://127.0.0.1:9", "s3://e/x"));
    choices.buckets.push(BucketConfig::folder(Path::new("/a \"b\"")));
    choices.camera = Some("{1}".into());
    choices.more = "keep_sealed = \"1GiB\"".into();
    let dock = Dock::new(&choices);
    let text = std::fs::read_to_string(dock.config()).unwrap();
    let config: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config["recipients"][0].as_str(), Some("age1abc"));
    assert_eq!(config["keep_sealed"].as_str(), Some("1GiB"));
    assert_eq!(config["watch"][0]["path"].as_str(), dock.folder().to_str());
    assert_eq!(config["watch"][0]["settle_seconds"].as_integer(), Some(1));
    assert_eq!(config["watch"][0]["camera"].as_str(), Some("{1}"));
    let options = &config["bucket"][0]["options"];
    assert_eq!(options["aws_endpoint"].as_str(), Some("http://127.0.0.1:9"));
    assert_eq!(config["bucket"][1]["url"].as_str(), Some("file:///a \"b\""));
    assert!(!text.contains("secret"), "secrets go by the environment");
}
