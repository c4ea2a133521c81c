//! Configs that are wrong, and what an operator is told of each.

use std::path::Path;

use crate::support::dock::Finished;
use crate::support::peers::keys;
use crate::support::site::{Site, is_harmless, our_keys};
use crate::support::{scratch, site};

const CLASSIC: &str = "age1j9mdfsjntxpqyyucjy7zw730ysdl4zduphj8kdvk4nj78smklc9sysfnem";

/// A config in which nothing is wrong. RECIPIENT and DIR stand for what differs from test to test.
const GOOD: &str = r#"dock = "d-1"
state_dir = "DIR/state"
recipients = ["RECIPIENT"]
keep_sealed = "0s"
rescan_seconds = 60

[[watch]]
path = "DIR/dock"
camera = "{1}"
settle_seconds = 5
erase = "when-stored"

[[bucket]]
name = "primary"
url = "file://DIR/bucket"
"#;

fn say(dir: &Path, config: &[u8], arguments: &[&str]) -> Finished {
    let path = dir.join("c.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockseal"));
    command.env_clear().current_dir(dir).args(["--config", "c.toml"]).args(arguments);
    Finished::new(command.output().unwrap())
}

fn filled(dir: &Path, text: &str) -> String {
    text.replace("RECIPIENT", &our_keys().recipient).replace("DIR", dir.to_str().unwrap())
}

/// What is changed in the good config, and the problems that are to be reported, by place.
type Mistake = (&'static str, &'static str, &'static [&'static str]);

const MISTAKES: &[Mistake] = &[
    // Keys and types.
    ("rescan_seconds = 60", "rescan = 60", &["5:1: unknown field `rescan`, expected one of"]),
    ("camera = ", "kamera = ", &["9:1: unknown field `kamera`, expected one of"]),
    ("url = ", "uri = ", &["15:1: unknown field `uri`, expected one of"]),
    ("dock = \"d-1\"\n", "", &["1:1: missing field `dock`"]),
    ("rescan_seconds = 60", "rescan_seconds = \"60\"", &["5:18: invalid type: string"]),
    ("rescan_seconds = 60", "rescan_seconds = -1", &["5:18: invalid value: integer `-1`"]),
    ("rescan_seconds = 60", "rescan_seconds = 0", &["5:18: expected 1 to 86400 seconds"]),
    ("keep_sealed = \"0s\"", "keep_sealed = \"1GiB\"", &["4:15: expected a duration such as"]),
    ("erase = \"when-stored\"", "erase = \"always\"", &["11:9: unknown variant `always`"]),
    ("[[bucket]]", "[[bucket]", &["13:10: "]),
    // Rates and order.
    (
        "keep_sealed = \"0s\"",
        "limit = [\"1 MiB/s\", \"off\"]",
        &["4:21: `off`: a limit does not p"],
    ),
    ("keep_sealed = \"0s\"", "limit = \"1 MiB/s\"", &["4:9: invalid type: string"]),
    ("keep_sealed = \"0s\"", "limit = [\"8-18 = 1 MiB/s\"]", &["4:10: `8-18`: expected a range"]),
    (
        "name = \"primary\"",
        "name = \"primary\"\nlimit = [\n  \"1 MiB\",\n  \"08:00 = 1 MiB/s\",\n]\nuploads = 17",
        &[
            "16:3: `1 MiB`: expected bytes",
            "17:3: `08:00`: expected a range",
            "19:11: expected 1 to",
        ],
    ),
    ("name = \"primary\"", "name = \"primary\"\nuploads = 0", &["15:11: expected 1 to 16"]),
    ("keep_sealed = \"0s\"", "start_spread = \"2h\"", &["4:16: expected at most \"3600s\""]),
    ("keep_sealed = \"0s\"", "start_spread = 30", &["4:16: invalid type: integer `30`"]),
    ("camera = \"{1}\"", "first = [\"*.x\", \"\"]", &["9:17: expected a pattern such as"]),
    ("dock = \"d-1\"", "dock = \"d-1\"\ndock = \"d-2\"", &["2:1: duplicate key"]),
    ("dock = \"d-1\"", "dock = \"é/1\"", &["1:8: expected 1 to 64 of a-z A-Z 0-9 - _ ."]),
    ("camera = \"{1}\"", "camera = \"{0}\"", &["9:10: folders are counted from {1}"]),
    // Recipients.
    ("recipients = [\"RECIPIENT\"]", "recipients = []", &["3:14: "]),
    ("recipients = [\"RECIPIENT\"]\n", "", &["1:8: nobody to seal to: set `keyring`"]),
    ("recipients = [\"RECIPIENT\"]", "keyring = \"/k\"", &["3:11: a keyring needs `authority`"]),
    ("recipients = [\"RECIPIENT\"]", "authority = \"a\"", &["3:13: an authority needs"]),
    ("recipients =", "keyring = \"/k\"\nrecipients =", &["4:14: either `recipients`, or"]),
    (
        "recipients = [\"RECIPIENT\"]",
        "keyring = \"k\"\nauthority = \"x+1\"",
        &["3:11: expected an absolute path", "4:13: not a key"],
    ),
    ("[\"RECIPIENT\"]", "[\n  \"RECIPIENT\",\n  \"age1pqtypo\",\n]", &["5:3: not a recipient"]),
    ("[\"RECIPIENT\"]", "[\"CLASSIC\", \"RECIPIENT\"]", &["3:14: "]),
    ("[\"RECIPIENT\"]", "[\"CLASSIX\"]", &["3:15: not a recipient"]),
    ("RECIPIENT", "AGE-SECRET-KEY-1QQQQQQQQ", &["3:15: not a recipient"]),
    // Folders.
    ("\"DIR/state\"", "\"state\"", &["2:13: expected an absolute path without `..`"]),
    ("\"DIR/dock\"", "\"DIR/../dock\"", &["8:8: expected an absolute path without `..`"]),
    ("path = \"DIR/dock\"", "path = \"DIR\"", &["8:8: overlaps state_dir", "8:8: overlaps the fo"]),
    ("[[bucket]]", "[[watch]]\npath = \"DIR/dock/a\"\n\n[[bucket]]", &["14:8: overlaps the watch"]),
    ("file://DIR/bucket", "file://DIR/dock/bucket", &["8:8: overlaps the folder of bucket"]),
    // Buckets.
    ("file://DIR/bucket", "gopher://x/y", &["15:7: expected s3://BUCKET/PREFIX, gs://"]),
    (
        "[[bucket]]\nname = \"primary\"\nurl = \"file://DIR/bucket\"",
        "",
        &["8:8: no bucket is required, so erasing would lose clips"],
    ),
    (
        "url = \"file://DIR/bucket\"",
        "url = \"file://DIR/bucket\"\nrequired = false",
        &["8:8: no bucket is required, so erasing would lose clips"],
    ),
    (
        "url = \"file://DIR/bucket\"",
        "url = \"s3://b/p\"\n[bucket.options]\naws_secret_access_key \
      = \"hunter2\"",
        &["17:25: `aws_secret_access_key` is a secret"],
    ),
    (
        "url = \"file://DIR/bucket\"",
        "url = \"https://h/p\"\n[bucket.options]\nwebdav_password = \"hunter2\"",
        &["17:19: `webdav_password` is a secret"],
    ),
    // The monitor's address.
    ("[[watch]]", "[metrics]\nlisten = \"9464\"\n\n[[watch]]", &["8:10: expected ADDRESS:PORT"]),
    ("[[watch]]", "[metrics]\nlisten = 9464\n\n[[watch]]", &["8:10: invalid type: integer"]),
    ("[[watch]]", "[metrics]\n\n[[watch]]", &["7:1: missing field `listen`"]),
    (
        "[[watch]]",
        "[metrics]\nlisten = \"0.0.0.0:9464\"\n\n[[watch]]",
        &["8:10: other machines could read the figures: listen on 127.0.0.1 or [::1]"],
    ),
    // Several at once: all of them are told.
    (
        "dock = \"d-1\"\nstate_dir = \"DIR/state\"",
        "dock = \"\"\nstate_dir = \"x\"",
        &["1:8: expected 1 to 64", "2:13: expected an absolute path"],
    ),
];

#[test]
fn every_mistake_is_told_with_its_line_and_column() {
    let dir = scratch();
    let good = say(dir.path(), filled(dir.path(), GOOD).as_bytes(), &["check"]);
    good.expect_code(3).stdout.contains("c.toml is well formed").then_some(()).unwrap();
    for (part, wrong, problems) in MISTAKES {
        assert!(GOOD.contains(part), "{part:?} is not in the good config");
        let config = GOOD.replacen(part, wrong, 1);
        let config = config.replace("CLASSIC", CLASSIC).replace("CLASSIX", &CLASSIC[..61]);
        let config = filled(dir.path(), &config);
        for command in ["init", "run", "status", "check"] {
            let said = say(dir.path(), config.as_bytes(), &[command]).expect_code(10);
            let mut lines = said.stderr.lines();
            for problem in *problems {
                let line = lines.next().unwrap_or_default();
                let begin = format!("dockseal: error: c.toml:{problem}");
                assert!(line.starts_with(&begin), "{wrong:?}: {line:?}, expected {begin:?}");
            }
            assert!(lines.next().unwrap_or_default().starts_with("dockseal: hint: "), "{wrong:?}");
            assert_eq!(lines.next(), None, "{wrong:?}: {}", said.stderr);
            assert!(!said.stderr.contains("hunter2"), "a secret was repeated");
        }
        assert!(!dir.path().join("state").exists(), "{wrong:?} prepared a state directory");
    }
}

#[test]
fn a_config_that_is_no_text_or_not_there_says_so() {
    let dir = scratch();
    let said = say(dir.path(), b"dock = \"\xff\"", &["run"]).expect_code(10);
    assert!(said.stderr.starts_with("dockseal: error: cannot read the config c.toml: "));
    std::fs::remove_file(dir.path().join("c.toml")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockseal"));
    command.env_clear().current_dir(dir.path()).args(["--config", "n.toml", "status"]);
    let said = Finished::new(command.output().unwrap()).expect_code(10);
    assert!(said.stderr.contains("cannot read the config n.toml: "), "{}", said.stderr);
    assert!(said.stderr.contains("hint: name it with --config or $DOCKSEAL_CONFIG"));
}

#[test]
fn what_stands_in_a_config_cannot_move_the_cursor() {
    let dir = scratch();
    for wrong in [
        "\"\\u001b[31mred\\u009b\" = 1\n",
        "dock = \"\\u001b[31m\"\nstate_dir = \"\\u001b[2J\"\n",
        "\u{202e}dock = 1\n",
    ] {
        let config = filled(dir.path(), GOOD).replacen("keep_sealed = \"0s\"", wrong, 1);
        let said = say(dir.path(), config.as_bytes(), &["check"]).expect_code(10);
        assert!(is_harmless(&said.stderr), "{:?}", said.stderr);
    }
    let path = filled(dir.path(), GOOD).replace("/state\"", "/\\u001b[31mstate\\u009b\"");
    for command in ["check", "run", "status", "init", "init", "status"] {
        let said = say(dir.path(), path.as_bytes(), &[command]);
        assert!(is_harmless(&said.stderr) && is_harmless(&said.stdout), "{command}: {said:?}");
    }
}

#[test]
fn a_private_key_where_a_recipient_belongs_is_refused_and_not_repeated() {
    let dir = scratch();
    let text = std::fs::read_to_string(&our_keys().identity_file).unwrap();
    let private = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    for key in [private.to_owned(), private.to_lowercase()] {
        let config = filled(dir.path(), &GOOD.replace("RECIPIENT", &key));
        let said = say(dir.path(), config.as_bytes(), &["init"]).expect_code(10);
        assert!(said.stderr.contains("c.toml:3:15: not a recipient: "), "{}", said.stderr);
        assert!(said.stderr.contains("PRIVATE key"), "it does not say what it is: {}", said.stderr);
        let repeats = said.stderr.to_uppercase().contains(&private[15..40].to_uppercase());
        assert!(!repeats, "the private key was repeated");
    }
}

#[test]
fn published_keys_are_refused_where_clips_would_be_sealed_to_them() {
    for name in ["authority", "classic"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys-example");
        let published = keys(file.join(format!("{name}.identity"))).recipient;
        let site = Site::with(|_| {});
        let mut choices = site.choices.clone();
        choices.recipients = vec![published];
        site.dock.reconfigure(&choices);
        site.put("evidence.mp4", b"evidence");
        for command in [&["init"][..], &["run"], &["run", "--until-idle"]] {
            let said = site.dock.finish(command).expect_code(10);
            let why = "the recipient is one of keys-example/: everybody has its private half";
            assert!(said.stderr.contains(why), "{}", said.stderr);
            assert!(said.stderr.contains("hint: the authority makes its own: dockseal-authority"));
        }
        site.dock.finish(&["status"]).expect_code(0);
        let check = site.dock.finish(&["check"]).expect_code(3);
        assert!(check.stdout.contains("fail  recipients: a key of keys-example/"));
        assert!(site.opened().is_empty());
    }
}

#[test]
fn a_state_directory_of_somebody_else_is_refused_untouched() {
    let site = site::Site::bare(|_| {});
    let state = site.dock.state_dir();
    std::fs::create_dir(&state).unwrap();
    for other in [&b"not a database"[..], b"", b"SQLite format 3\0"] {
        std::fs::write(state.join("queue.db"), other).unwrap();
        for command in ["init", "run", "status", "list"] {
            let said = site.dock.finish(&[command]).expect_code(10);
            assert!(said.stderr.contains("cannot use the queue"), "{}", said.stderr);
            assert!(said.stderr.contains("dockseal: hint: "), "{}", said.stderr);
        }
        assert_eq!(std::fs::read(state.join("queue.db")).unwrap(), other);
    }
}
