//! The dock under its own unit, with a real systemd in namespaces and a real bucket.
//!
//! Installed as docs/operations.md says. The sandbox takes nothing that the daemon needs, and
//! leaves nothing to a program in its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::dock::Finished;
use crate::support::scratch;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::our_keys;
use crate::support::tools::needs;

const UNITS: [&str; 3] =
    ["dockseal.service", "dockseal-control.socket", "dockseal-control@.service"];

fn copy(from: &str, to: &Path) {
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(from), to.join(file_name(from)))
        .unwrap();
}

fn file_name(path: &str) -> &Path {
    Path::new(path).file_name().unwrap().as_ref()
}

/// All that the machine of the drill finds in its folder.
fn prepare(here: &Path, server: &Seaweed, url: &str) {
    for script in ["boot.sh", "drill.sh", "probe.sh"] {
        copy(&format!("tests/it/unit/{script}"), here);
    }
    let program = here.join("dockseal");
    std::fs::copy(env!("CARGO_BIN_EXE_dockseal"), program).unwrap();
    for folder in ["systemd", "systemd/sysusers.d", "systemd/tmpfiles.d", "clips"] {
        std::fs::create_dir(here.join(folder)).unwrap();
    }
    for unit in UNITS {
        copy(&format!("systemd/{unit}"), &here.join("systemd"));
    }
    for folder in ["sysusers.d", "tmpfiles.d"] {
        copy(&format!("systemd/{folder}/dockseal.conf"), &here.join("systemd").join(folder));
    }
    for (name, size) in [("a.mp4", 5), ("a-large.mp4", 20_000_000), ("b.mp4", 0), ("c.mp4", 9)] {
        std::fs::write(here.join("clips").join(name), vec![7; size]).unwrap();
    }
    let (recipient, endpoint) = (&our_keys().recipient, server.endpoint());
    let config = format!(
        "dock = \"drill-1\"\nstate_dir = \"/var/lib/dockseal\"\nrecipients = [\"{recipient}\"]\n\
         [metrics]\nlisten = \"127.0.0.1:9464\"\n\
         [[watch]]\npath = \"/srv/dock\"\nsettle_seconds = 1\n\
         [[bucket]]\nname = \"primary\"\nurl = \"{url}\"\n\
         [bucket.options]\naws_endpoint = \"{endpoint}\"\n"
    );
    std::fs::write(here.join("dockseal.toml"), config).unwrap();
    let [key, secret] = Login::Dock.pair();
    let secrets = format!("aws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(here.join("credential"), secrets).unwrap();
}

/// What the drill found out, and what was said meanwhile.
fn drill(here: &Path) -> (BTreeMap<String, String>, String) {
    // A session of its own: nothing that systemd does to a terminal reaches ours.
    let namespaces = ["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"];
    let mut boot = Command::new("timeout");
    boot.args(["--kill-after=5", "300", "setsid", "--wait", "unshare"]).args(namespaces);
    boot.arg("sh").arg(here.join("boot.sh")).arg(here).stdin(Stdio::null());
    let ended = Finished::new(boot.output().unwrap());
    let facts = std::fs::read_to_string(here.join("facts")).unwrap_or_default();
    let said = std::fs::read_to_string(here.join("said.log")).unwrap_or_default();
    let said = format!("{ended:?}\n{facts}\n{said}");
    let pairs = facts.lines().filter_map(|line| line.split_once('='));
    (pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), said)
}

#[test]
fn the_unit_lets_the_dock_do_its_whole_job_and_nothing_else() {
    needs!(Root, Systemd, Unshare, Weed);
    let server = Seaweed::shared();
    let url = server.url("unit");
    let here = scratch();
    prepare(here.path(), server, &url);
    let (facts, said) = drill(here.path());
    let fact = |name: &str| facts.get(name).map_or("", String::as_str);
    for name in [
        "started",
        "whole-job",
        "answers-a-monitor",
        "an-operator-sees",
        "an-operator-steers",
        "an-operator-gives-nothing-up",
        "nobody-else-is-let-in",
        "operators-are-named",
        "restarted-after-kill",
        "works-after-kill",
        "restarted-by-watchdog",
        "works-after-watchdog",
        "probe.write-in-state",
        "probe.write-in-watch-folder",
        "probe.internet-socket",
    ] {
        assert_eq!(fact(name), "yes", "{name}\n{said}");
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(fact(name), "0000000000000000", "{name}\n{said}");
    }
    assert_eq!((fact("NoNewPrivs"), fact("Seccomp")), ("1", "2"));
    let allowed: Vec<_> = facts
        .iter()
        .filter(|(name, value)| name.starts_with("probe.") && *value == "yes")
        .map(|(name, _)| name.as_str())
        .collect();
    let needed = ["probe.internet-socket", "probe.write-in-state", "probe.write-in-watch-folder"];
    assert_eq!(allowed, needed, "{said}");
    assert_eq!((fact("result"), fact("refusals")), ("success", "0"), "{said}");
    let clips = server.keys(&url).into_iter().filter(|key| key.ends_with(".age"));
    assert_eq!(clips.count(), 4);
}
