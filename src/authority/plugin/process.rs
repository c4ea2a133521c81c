//! A plugin's process: started, heard with a deadline, and always ended.

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Failure;
use super::talk::{Line, text};
use crate::envelope::header::{HeaderError, Stanza};

/// How long a plugin may be silent: it may be waiting for somebody to touch a device.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long a plugin that is done may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// The most bytes that are kept of what it writes to standard error.
const ERRORS_SIZE_MAX: usize = 4096;
/// A bucket's secrets are none of a plugin's business.
const KEPT_FROM_PLUGINS: [&str; 3] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A running plugin. Dropping it kills it.
pub(super) struct Running {
    child: Child,
    /// `None` once it was told that there is nothing more.
    say: Option<Sender<Zeroizing<String>>>,
    hear: Receiver<Result<Option<Stanza>, HeaderError>>,
    /// What it wrote to standard error, once it has ended.
    errors: Receiver<Vec<u8>>,
    silence_max: Duration,
}

impl Running {
    /// Starts `program` in the state machine `identity-v1`.
    ///
    /// Threads do the reading and writing, because pipes have no deadlines. They are not waited
    /// for: they end with the pipes, and a child of the plugin could hold these open.
    pub(super) fn start(program: &Path) -> Result<Running, Failure> {
        let mut command = Command::new(program);
        command.arg("--age-plugin=identity-v1").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in KEPT_FROM_PLUGINS {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(Failure::Start)?;
        let (say, to_say) = channel::<Zeroizing<String>>();
        let mut stdin = child.stdin.take().expect("piped");
        std::thread::spawn(move || {
            for text in to_say {
                // It has ended, and `hear` says so.
                if stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        // One waits at most: a plugin that floods us waits too.
        let (heard, hear) = sync_channel(1);
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            loop {
                let stanza = Stanza::read(&mut stdout);
                let more = matches!(stanza, Ok(Some(_)));
                if heard.send(stanza).is_err() || !more {
                    return;
                }
            }
        });
        let (kept, errors) = channel();
        let stderr = child.stderr.take().expect("piped");
        // Nobody may be left to hear it.
        std::thread::spawn(move || kept.send(beginning_of(stderr)).unwrap_or_default());
        Ok(Running { child, say: Some(say), hear, errors, silence_max: SILENCE_MAX })
    }

    /// Tells it that there is nothing more, and waits a little; else it is killed.
    pub(super) fn end(&mut self) {
        self.say = None;
        let asked = Instant::now();
        while asked.elapsed() < END_WITHIN {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(LOOK_AGAIN_AFTER),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        self.kill();
    }

    /// Adds to a failure what the plugin wrote to standard error.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Ended(_) => {
                Failure::Ended(text(&self.errors.recv_timeout(END_WITHIN).unwrap_or_default()))
            }
            Failure::Missing
            | Failure::Protocol(_)
            | Failure::Said(_)
            | Failure::Silent
            | Failure::Start(_) => failure,
        }
    }

    fn kill(&mut self) {
        // It has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first bytes of an output; the rest is read too, so that its writer never waits.
fn beginning_of(mut output: impl Read) -> Vec<u8> {
    let (mut kept, mut block) = (Vec::new(), [0u8; 512]);
    while let Ok(size @ 1..) = output.read(&mut block) {
        let room = ERRORS_SIZE_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&block[..size.min(room)]);
    }
    kept
}

impl Line for Running {
    fn say(&mut self, text: Zeroizing<String>) -> Result<(), Failure> {
        let say = self.say.as_ref().expect("only ended after the talk");
        // Where it has ended, `hear` tells why.
        let _ = say.send(text);
        Ok(())
    }

    fn hear(&mut self) -> Result<Stanza, Failure> {
        match self.hear.recv_timeout(self.silence_max) {
            Ok(Ok(Some(stanza))) => Ok(stanza),
            Ok(Ok(None) | Err(HeaderError::Read(_) | HeaderError::Truncated))
            | Err(RecvTimeoutError::Disconnected) => Err(Failure::Ended(String::new())),
            Ok(Err(_)) => Err(Failure::Protocol("not a stanza")),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(Failure::Silent)
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::talk;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Runs a shell script as a plugin; gives the failure, where there is one.
    fn failure_of(script: &str) -> Option<String> {
        let dir = tempfile::tempdir().expect("tempdir");
        let program = dir.path().join("age-plugin-test");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&program, mode).expect("set");
        // Another test may have forked while this file was open for writing (ETXTBSY).
        let start = || Running::start(&program).ok();
        let mut running = (0..1000).find_map(|_| start()).expect("started");
        running.silence_max = Duration::from_millis(500);
        let talked = talk(&mut running, "test", &["AGE-PLUGIN-TEST-1"], &[], &super::super::Nobody);
        running.end();
        talked.err().map(|failure| running.explain(failure).to_string())
    }

    #[test]
    fn a_plugin_that_misbehaves_is_ended_and_named() {
        assert_eq!(failure_of("printf -- '-> done\\n\\n'; cat >/dev/null"), None);
        assert_eq!(failure_of("exec sleep 60").as_deref(), Some("it did not answer in time"));
        let early = "echo 'no reader' >&2; exec >&-; sleep 0.1; exit 1";
        assert_eq!(failure_of(early).as_deref(), Some("it ended early: no reader"));
        let not_a_stanza = "it does not keep to the plugin protocol: not a stanza";
        assert_eq!(failure_of("echo hello; cat >/dev/null").as_deref(), Some(not_a_stanza));
        // A line without end, of which no more than a bound is kept.
        assert_eq!(failure_of("exec tr '\\0' a </dev/zero").as_deref(), Some(not_a_stanza));
    }

    #[test]
    fn a_plugin_does_not_get_the_buckets_secrets() {
        assert!(KEPT_FROM_PLUGINS.iter().all(|name| name.starts_with("AWS_")));
        let script = "env | grep -q '^PATH=' && printf -- '-> done\\n\\n'; cat >/dev/null";
        assert_eq!(failure_of(script), None);
    }
}
