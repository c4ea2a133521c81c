//! The control socket: what a member of group dockseal-ops types is done by the dock's user.
//!
//! systemd listens on it, lets the group connect, and starts `dockseal control` for each
//! connection. Who asks hands over its terminal with the command line, so that colours, `--watch`
//! and pipes are as they are for the dock's user.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{AS_ITS_USER, Arguments, load, queue_path};
use crate::cli::{Complaint, Exit, complain_to};
use crate::clip::{harmless, printable};
use crate::edge::handover::{Connection, First, Request};

/// Where systemd listens: systemd/dockseal-control.socket.
const SOCKET_DEFAULT: &str = "/run/dockseal-control.sock";
/// Another path; empty: none.
const SOCKET_VARIABLE: &str = "DOCKSEAL_CONTROL";
/// What of the asker's environment bears on what is printed.
const PASSED_ON: [&str; 3] = ["COLUMNS", "NO_COLOR", "TERM"];
/// What of our own environment `check` reads.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The command line without the program.
    arguments: Vec<String>,
    /// The config that is meant.
    config: PathBuf,
    environment: BTreeMap<String, String>,
    /// What relative paths are relative to.
    folder: PathBuf,
}

/// Has a command done over the control socket, where the dock is closed to who types it.
pub(super) fn hand_over(arguments: &Arguments) -> Option<Result<u8, Complaint>> {
    let socket = std::env::var_os(SOCKET_VARIABLE).map_or(SOCKET_DEFAULT.into(), PathBuf::from);
    if !arguments.command.is_for_operators() || !socket.exists() {
        return None;
    }
    let is_closed = |path: &Path| {
        File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let is_needed = is_closed(&arguments.config)
        || load(&arguments.config).is_ok_and(|config| is_closed(&queue_path(&config)));
    is_needed.then(|| ask(&socket, &arguments.config))
}

fn ask(socket: &Path, config: &Path) -> Result<u8, Complaint> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "who operates the dock is in group dockseal-ops: adduser NAME dockseal-ops"
            }
            _ => AS_ITS_USER,
        };
        let title = format!("cannot use the control socket {}", printable(socket));
        Complaint::new(Exit::Failed, title, &error).hint(hint)
    };
    let arguments = std::env::args_os().skip(1).map(|word| word.into_string());
    let arguments: Result<Vec<String>, _> = arguments.collect();
    let Ok(arguments) = arguments else {
        let message = "the control socket takes text alone, and not the bytes of this path";
        return Err(Complaint::text(Exit::Usage, message).hint(AS_ITS_USER));
    };
    let environment = PASSED_ON.iter().filter_map(|&name| Some((name, std::env::var(name).ok()?)));
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).collect();
    let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let asked = Asked { arguments, config: config.to_owned(), environment, folder };
    // A folder whose name is no text has no place in JSON.
    let asked = serde_json::to_vec(&asked).map_err(|error| failed(error.into()))?;
    let connection = Connection::open(socket).map_err(failed)?;
    connection.ask(&asked).map_err(failed)?;
    let broken = || failed(io::Error::other("it ended without an answer"));
    connection.answered().map_err(failed)?.ok_or_else(broken)
}

/// Answers one who connected: standard input is the connection.
pub(super) fn serve(config: &Path) -> Result<Exit, Complaint> {
    let failed = |error: io::Error| {
        Complaint::new(Exit::Failed, "cannot answer on the control socket", &error)
            .hint("nobody types this: dockseal-control.socket starts it")
    };
    let connection = Connection::of_stdin().map_err(failed)?;
    let request = connection.asked().map_err(failed)?;
    let asked = admit(&request.bytes, config);
    let said = asked.as_ref().map_or_else(
        |complaint| format!("refused: {}", complaint.message),
        |asked| format!("dockseal {}", asked.arguments.join(" ")),
    );
    // To the journal. Nothing is refused because it is full.
    let _ = writeln!(io::stderr(), "uid {}: {}", request.uid, harmless(&said));
    let code = match asked {
        Ok(asked) => carry_out(&connection, config, &asked, request).map_err(failed)?,
        Err(complaint) => {
            let [_, _, err] = request.files;
            complain_to(&mut File::from(err), "dockseal", &complaint);
            complaint.exit as u8
        }
    };
    // Who asked may be gone.
    let _ = connection.answer(code);
    Ok(Exit::Ok)
}

/// What may be done for the group, read by the same rules as the command line.
fn admit(request: &[u8], config: &Path) -> Result<Asked, Complaint> {
    let refused = |message: &str| Complaint::text(Exit::Usage, message);
    let asked: Asked = serde_json::from_slice(request)
        .map_err(|_| refused("this is no request of dockseal").hint("is it of another version?"))?;
    let words = std::iter::once("dockseal").chain(asked.arguments.iter().map(String::as_str));
    let parsed = Arguments::command().try_get_matches_from(words).and_then(|matches| {
        let is_named = matches.value_source("config") == Some(ValueSource::CommandLine);
        Arguments::from_arg_matches(&matches).map(|arguments| (arguments, is_named))
    });
    let (arguments, is_named) =
        parsed.map_err(|_| refused("this command line is wrong").hint("dockseal --help"))?;
    if asked.config != config || is_named && arguments.config != config {
        let message = format!("the control socket is that of {}", printable(config));
        return Err(refused(&message).hint(AS_ITS_USER));
    }
    if !arguments.command.is_for_operators() {
        let message = "this is for the dock's user, and not for the group dockseal-ops";
        return Err(refused(message).hint(AS_ITS_USER));
    }
    if asked.environment.keys().any(|name| !PASSED_ON.contains(&name.as_str())) {
        return Err(refused("this environment is not passed on"));
    }
    Ok(asked)
}

/// Runs the command on the asker's terminal; returns its exit code.
fn carry_out(
    connection: &Connection,
    config: &Path,
    asked: &Asked,
    request: Request,
) -> io::Result<u8> {
    let [input, output, errors]: [OwnedFd; 3] = request.files;
    // This very program, also while a new version is being installed.
    let mut command = Command::new("/proc/self/exe");
    command.args(&asked.arguments).stdin(input).stdout(output).stderr(errors);
    command.env_clear().envs(&asked.environment);
    command.envs(std::env::var_os(CREDENTIALS).map(|folder| (CREDENTIALS, folder)));
    command.env("DOCKSEAL_CONFIG", config).env(SOCKET_VARIABLE, "");
    let is_open = access(&asked.folder, Access::EXEC_OK).is_ok();
    command.current_dir(if is_open { &asked.folder } else { Path::new("/") });
    let mut child = command.spawn()?;
    // Our halves of the terminal are closed with it: a pipe ends when the command does.
    drop(command);
    if connection.watch(Pid::from_child(&child))? == First::Connection {
        end(&child)?;
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(Exit::Interrupted as u8))
}

/// Who asked pressed Ctrl-C, or is gone. The child is ours until it is waited for.
fn end(child: &Child) -> io::Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "/etc/dockseal/dockseal.toml";

    fn asked(words: &[&str]) -> Asked {
        Asked {
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            config: CONFIG.into(),
            environment: BTreeMap::new(),
            folder: "/".into(),
        }
    }

    fn refusal(asked: &Asked) -> Option<String> {
        let request = serde_json::to_vec(asked).expect("JSON");
        admit(&request, Path::new(CONFIG)).err().map(|complaint| complaint.message)
    }

    #[test]
    fn operators_see_and_steer_and_give_nothing_up() {
        for words in [
            &["status", "--watch"][..],
            &["why", "7"],
            &["pause", "primary", "--for", "2h"],
            &["metrics"],
            &["--config", CONFIG, "list"],
        ] {
            assert_eq!(refusal(&asked(words)), None, "{words:?}");
        }
        for words in [
            &["forget", "7"][..],
            &["acknowledge"],
            &["close"],
            &["init"],
            &["run"],
            &["control"],
            &["demo", "--dir", "/var/lib/dockseal/x"],
            &["metrics", "--textfile", "/var/lib/dockseal/queue.db"],
        ] {
            let refusal = refusal(&asked(words)).unwrap_or_else(|| panic!("{words:?} is taken"));
            assert!(refusal.contains("for the dock's user"), "{words:?}: {refusal}");
        }
    }

    #[test]
    fn nobody_chooses_another_config_or_environment() {
        let other = Asked { config: "/tmp/mine.toml".into(), ..asked(&["status"]) };
        assert!(refusal(&other).is_some_and(|refusal| refusal.contains("that of")));
        let environment = BTreeMap::from([("DOCKSEAL_LOG".to_owned(), "trace".to_owned())]);
        let other = Asked { environment, ..asked(&["status"]) };
        assert!(refusal(&other).is_some_and(|refusal| refusal.contains("environment")));
        for words in [["--config", "/tmp/mine.toml", "status"], ["status", "--config", "mine.toml"]]
        {
            let refusal = refusal(&asked(&words));
            assert!(refusal.is_some_and(|refusal| refusal.contains("that of")), "{words:?}");
        }
        assert!(refusal(&asked(&["status", "--none"])).is_some());
        assert!(admit(b"{}", Path::new(CONFIG)).is_err());
    }
}
