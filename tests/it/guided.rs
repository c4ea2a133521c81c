//! `init --guided`: five questions on a real terminal, a config, and a clip in the bucket.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dockseal::envelope::recipient::EXAMPLE_RECIPIENTS;
use dockseal::note::Kind;

use crate::support::dock::Finished;
use crate::support::files_beneath;
use crate::support::ledger::signer;
use crate::support::site::{SOON, Site, our_keys};
use crate::support::tmux::Tmux;
use crate::support::tools::needs;
use crate::support::wait_for;

/// A dock without a config.
fn bare() -> Site {
    let site = Site::bare(|_| {});
    std::fs::remove_file(site.dock.config()).unwrap();
    site
}

fn guided(site: &Site, more: &[&str]) -> Command {
    let state = site.dock.state_dir().to_str().unwrap().to_owned();
    let words = ["init", "--guided", "--state-dir", &state];
    site.dock.command(&[&words, more].concat())
}

/// A time server whose clock is as ours, or so many seconds ahead.
fn time_server(ahead: u64) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut question = [0; 48];
        let (_, from) = socket.recv_from(&mut question).unwrap();
        let mut answer = [0u8; 48];
        (answer[0], answer[1]) = (0b00_100_100, 2);
        answer[24..32].copy_from_slice(&question[40..48]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seconds = (now.as_secs() + ahead + 2_208_988_800) as u32;
        answer[32..36].copy_from_slice(&seconds.to_be_bytes());
        answer[40..44].copy_from_slice(&seconds.to_be_bytes());
        socket.send_to(&answer, from).unwrap();
    });
    address
}

/// Waits for a question, and answers it.
#[track_caller]
fn answer(tmux: &Tmux, prompt: &str, answer: &str) {
    tmux.wait_for(prompt, |screen| {
        screen.trim_end().lines().last().is_some_and(|line| line.trim_end().ends_with(prompt))
    });
    tmux.keys(&["-l", answer]);
    tmux.keys(&["Enter"]);
}

#[test]
fn five_answers_make_a_dock_whose_test_clip_is_in_the_bucket() {
    needs!(Setpriv, Tmux);
    let site = bare();
    let server = time_server(7230);
    let tmux = Tmux::run(&guided(&site, &["--time-server", &server]));
    answer(&tmux, "]:", "under the bridge");
    tmux.wait_for("the refusal", |screen| screen.contains("no: expected 1 to 64 of a-z"));
    answer(&tmux, "]:", "bridge-7");
    answer(&tmux, "folder [/srv/dock]:", "/nowhere/at/all");
    tmux.wait_for("the refusal", |screen| screen.contains("no: /nowhere/at/all: "));
    answer(&tmux, "folder [/srv/dock]:", site.dock.folder().to_str().unwrap());
    answer(&tmux, "another one [-]:", "");
    answer(&tmux, "camera, or - for none [{1}]:", "");
    answer(&tmux, "keyring]:", EXAMPLE_RECIPIENTS[1]);
    tmux.wait_for("the refusal", |screen| screen.contains("everybody has its private half"));
    answer(&tmux, "keyring]:", &our_keys().recipient);
    answer(&tmux, "url:", "ftp://bucket");
    tmux.wait_for("the refusal", |screen| screen.matches("no: ").count() >= 1);
    answer(&tmux, "url:", &format!("file://{}/gone", site.bucket().display()));
    tmux.wait_for("the refusal", |screen| screen.contains("once more"));
    assert!(!site.dock.config().exists() && !site.dock.state_dir().exists());
    answer(&tmux, "url:", &format!("file://{}", site.bucket().display()));
    answer(&tmux, "erase [when-stored]:", "at once");
    answer(&tmux, "erase [when-stored]:", "");
    let done = tmux.wait_for("the end", |screen| screen.contains("exit 0"));
    for part in ["2h 0m behind time server 127.0.0.1:", "proof of life: test clip 1 was sealed"] {
        assert!(done.contains(part), "{part} in:\n{done}");
    }
    assert!(done.contains("dockseal-authority drill file://"), "{done}");
    assert!(done.contains("next: systemctl enable --now dockseal"), "{done}");

    let mode = site.dock.config().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let text = std::fs::read_to_string(site.dock.config()).unwrap();
    assert!(
        text.contains("dock = \"bridge-7\"\n") && text.contains("camera = \"{1}\"\n"),
        "{text}"
    );
    assert!(text.lines().filter(|line| line.starts_with('#')).count() >= 5, "{text}");
    let opened = site.opened();
    assert_eq!(opened.len(), 1, "{opened:?}");
    let path = opened[0].0.to_str().unwrap();
    assert!(path.starts_with("dockseal-test-clip-20"), "{path}");
    assert!(opened[0].1.starts_with(b"A test clip of dock bridge-7, "));
    assert!(files_beneath(&site.dock.state_dir().join("proof-of-life")).is_empty());
    // A dock like any other: a clip goes the same way, and the proof can be had again.
    site.put("cam/a.mp4", b"a clip");
    site.dock.run_until_idle().expect_code(0);
    let again = site.dock.finish(&["init", "--prove"]).expect_code(0).stdout;
    assert!(again.contains("test clip 3 was sealed, stored and erased"), "{again}");
    let refused = site.dock.finish(&["init", "--prove", "--drill", "1s"]).expect_code(10).stderr;
    assert!(refused.contains("without a keyring"), "{refused}");
    assert_eq!(site.opened().len(), 3);
    site.dock.finish(&["status"]).expect_code(0);

    // What is there is nobody's to overwrite.
    let tmux = Tmux::run(&guided(&site, &[]));
    let refused = tmux.wait_for("the refusal", |screen| screen.contains("exit 10"));
    assert!(refused.contains("nothing is overwritten"), "{refused}");
    assert_eq!(std::fs::read_to_string(site.dock.config()).unwrap(), text);
}

#[test]
fn a_dock_of_an_authority_is_enrolled_before_its_test_clip_goes() {
    needs!(Setpriv, Tmux);
    let site = bare();
    let tmux = Tmux::run(&guided(&site, &["--time-server", "127.0.0.1:1"]));
    answer(&tmux, "]:", "bridge-7");
    answer(&tmux, "folder [/srv/dock]:", site.dock.folder().to_str().unwrap());
    answer(&tmux, "another one [-]:", "-");
    answer(&tmux, "camera, or - for none [{1}]:", "-");
    let keyring = site.outside().join("keyring");
    answer(&tmux, "keyring]:", "a/relative/path");
    tmux.wait_for("the refusal", |screen| screen.contains("no: an absolute path"));
    answer(&tmux, "keyring]:", keyring.to_str().unwrap());
    answer(&tmux, "authority:", "bpol.example");
    tmux.wait_for("the refusal", |screen| screen.contains("no: "));
    let root = signer("authority.example", Kind::Note, 1).verifier().to_string();
    answer(&tmux, "authority:", &root);
    answer(&tmux, "url:", &format!("file://{}", site.bucket().display()));
    answer(&tmux, "erase [when-stored]:", "never");
    let screen = tmux.wait_for("the enrolment", |screen| screen.contains("now [yes]:"));
    assert!(screen.contains("dockseal-dock bridge-7+"), "{screen}");
    assert!(screen.contains("warn  clock: time server 127.0.0.1:1: "), "{screen}");
    answer(&tmux, "now [yes]:", "n");
    tmux.wait_for("the end", |screen| screen.contains("exit 0"));
    let text = std::fs::read_to_string(site.dock.config()).unwrap();
    assert!(text.contains(&format!("authority = \"{root}\"\n")), "{text}");
    assert!(!text.contains("camera") && text.contains("erase = \"never\"\n"), "{text}");
    // Without a keyring that names it, the dock holds its test clip, and says so.
    let said = site.dock.finish(&["init", "--prove"]).expect_code(3).stdout;
    assert!(said.contains("test clip 1 was not sealed\n  cause      "), "{said}");
}

#[test]
fn whoever_gives_up_leaves_nothing_behind_and_nobody_is_asked_without_a_terminal() {
    needs!(Setpriv, Tmux);
    let site = bare();
    for end in ["C-c", "C-d"] {
        let tmux = Tmux::run(&guided(&site, &[]));
        answer(&tmux, "]:", "bridge-7");
        answer(&tmux, "folder [/srv/dock]:", site.dock.folder().to_str().unwrap());
        tmux.wait_for("a question", |screen| screen.contains("another one"));
        let process = format!("/proc/{}", tmux.pid());
        tmux.keys(&[end]);
        wait_for("the end", SOON, || (!Path::new(&process).exists()).then_some(()));
        // Ctrl-C ends the terminal's shell as well.
        if end == "C-d" {
            tmux.wait_for("its exit code", |screen| screen.contains("exit 130"));
        }
    }
    for mut command in [guided(&site, &[]), site.dock.wrapped(&["setsid"], &["init", "--guided"])] {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().unwrap();
        // It may not wait for an answer.
        let _ = child.stdin.take().unwrap().write_all(b"bridge-7\n");
        assert_eq!(child.wait().unwrap().code(), Some(2));
    }
    let said = Finished::new(guided(&site, &[]).output().unwrap()).expect_code(2);
    assert!(said.stderr.contains("dockseal.toml(5)"), "{}", said.stderr);
    assert!(!site.dock.config().exists() && !site.dock.state_dir().exists());
    assert!(files_beneath(&site.bucket()).is_empty());
}

#[test]
fn a_proof_that_fails_says_why_and_can_be_had_again() {
    let mut site = Site::new();
    site.take_bucket_away();
    let said = site.dock.finish(&["init", "--prove"]).expect_code(3).stdout;
    assert!(said.starts_with("proof of life: not yet: test clip 1 was sealed, and is not stored"));
    assert!(said.contains("the bucket's folder does not exist"), "{said}");
    assert!(said.contains("then again: dockseal init --prove\n"), "{said}");
    // It would seal whatever waits, and is no way around what `run` refuses.
    let good = std::mem::take(&mut site.choices.recipients);
    site.choices.recipients = vec![EXAMPLE_RECIPIENTS[0].to_owned()];
    site.dock.reconfigure(&site.choices);
    let refused = site.dock.finish(&["init", "--prove"]).expect_code(10).stderr;
    assert!(refused.contains("everybody has its private half"), "{refused}");
    site.choices.recipients = good;
    site.dock.reconfigure(&site.choices);
    site.give_bucket_back();
    let said = site.dock.finish(&["init", "--prove"]).expect_code(0).stdout;
    assert!(said.contains("receipt    bucket primary: read-back\n"), "{said}");
    site.dock.start();
    site.dock.wait_for_json("the daemon", &["status"], SOON, |said| said["daemon_pid"].is_string());
    let refused = site.dock.finish(&["init", "--prove"]).expect_code(11).stderr;
    assert!(refused.contains("dockseal wait --safe"), "{refused}");
    assert_eq!(site.dock.stop(), 0);
}
