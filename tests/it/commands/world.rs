//! Where transcripts take place: a folder that stands for `/`, prepared as the transcript says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How each place is prepared, and in which words a transcript asks for it.
type Prepare = fn(&mut World);
const PLACES: [(&str, Prepare); 11] = [
    ("an empty folder.", |_| {}),
    ("the authority's folder, with a recipient and a dock; a clip `clip.mp4`.", World::dock),
    ("a new dock; only its config is there.", World::config),
    ("a dock that is enrolled; its daemon does not run.", World::dock),
    ("a dock that is enrolled; its daemon runs.", |world| {
        world.dock();
        world.start();
    }),
    ("a dock that has stored clip 1; its daemon runs.", |world| {
        world.dock();
        world.start();
        world.put("0001.mp4");
        world.wait_until("dockseal list --state erased | grep -q erased");
        world.wait_until("dockseal status --json | grep -q 'file_count.: 0'");
    }),
    ("a dock that has stored clip 1; clip 2 waits, for the bucket is away.", World::waiting),
    ("a dock that has stored clip 1; clip 2 waits, for the bucket is away. Its daemon runs.", {
        |world| {
            world.waiting();
            world.start();
        }
    }),
    ("a dock with a clip that was removed before it was sealed.", |world| {
        world.dock();
        world.must("mv /etc/dockseal/keyring .");
        world.put("0001.mp4");
        world.must("dockseal run --until-idle || test $? = 3");
        world.must("rm /srv/dock/cam-17/0001.mp4");
        // An attempt that was under way says `source-away`, until the next look at the folder.
        world.wait_until("dockseal run --until-idle; dockseal why 1 | grep -q vanished");
    }),
    ("the authority's folder; a bucket with one clip of a dock and the keyring.", World::bucket),
    (
        "the authority's folder; a bucket of two docks: one holds a clip back, one never said a \
         word.",
        |world| {
            world.bucket();
            world.must("ln -s clip.mp4 /srv/dock/cam-17/0002.mp4");
            world.must("dockseal run --until-idle || test $? = 3");
            let other = "s/hannover-hbf-03/hannover-hbf-04/; s/lib.dockseal/&-04/";
            world.must(&format!("sed '{other}' /etc/dockseal/dockseal.toml >04.toml"));
            world.enrol("dockseal --config 04.toml init");
        },
    ),
];

/// Folders that a dock or an authority has; in commands and outputs they stand beneath `/`.
const FOLDERS: [&str; 5] =
    ["/etc/dockseal", "/home/ops", "/mnt/evidence", "/srv/dock", "/var/lib/dockseal"];
/// How paths in commands begin that mean the place and not this machine.
const PREFIXES: [&str; 5] = ["/etc/dockseal", "/home/ops", "/mnt/", "/srv/", "/var/lib/dockseal"];
const CONFIG: &str = "/etc/dockseal/dockseal.toml";
/// How often is looked whether something is so. Looks are counted, and not time: the machine may
/// stand still.
const LOOKS_MAX: u32 = 1000;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A command that takes longer hangs. The machine may stand still in between.
const HANGS_AFTER: &str = "600";

/// A folder that stands for `/`.
pub struct World {
    root: TempDir,
    daemon: Option<Child>,
}

impl World {
    /// The place that a transcript asks for.
    pub fn new(place: &str) -> World {
        // As long each time: screens cut what is too wide. Not in the checkout, which may lie deep.
        let root = tempfile::Builder::new().prefix("d").rand_bytes(6).tempdir_in("/tmp");
        let mut world = World { root: root.expect("/tmp can be written"), daemon: None };
        for folder in FOLDERS {
            std::fs::create_dir_all(world.at(folder)).expect("created");
        }
        std::fs::write(world.at("/home/ops/clip.mp4"), [7; 70_000]).expect("written");
        let prepare = PLACES.iter().find(|(words, _)| *words == place);
        let (_, prepare) = prepare.unwrap_or_else(|| {
            let known = PLACES.map(|(words, _)| words).join("\n");
            panic!("no place `{place}`; there are:\n{known}")
        });
        prepare(&mut world);
        world
    }

    fn root(&self) -> &str {
        self.root.path().to_str().expect("UTF-8")
    }

    fn at(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("{}{path}", self.root()))
    }

    /// Runs a line as a shell does; gives the exit code, and all that was said.
    pub fn run(&self, line: &str) -> (i32, String) {
        let here = |line: String, prefix: &&str| {
            line.replace(*prefix, &format!("{}{prefix}", self.root()))
        };
        let line = PREFIXES.iter().fold(line.to_owned(), here);
        let mut command = Command::new("timeout");
        command.args([HANGS_AFTER, "sh", "-c", &format!("exec 2>&1\n{line}")]);
        self.furnish(&mut command);
        if line.ends_with("--help") || !line.contains(' ') {
            // Help would show the variable's value.
            command.env_remove("DOCKSEAL_CONFIG");
        }
        let said = command.stdin(Stdio::null()).output().expect("timeout starts");
        let code = said.status.code().expect("timeout is not killed");
        (code, String::from_utf8(said.stdout).expect("programs print UTF-8"))
    }

    fn furnish(&self, command: &mut Command) {
        let path = std::env::var("PATH").expect("a PATH");
        command.current_dir(self.at("/home/ops")).env_clear();
        command.env("PATH", format!("{}:{path}", programs().display()));
        command.env("DOCKSEAL_CONFIG", self.at(CONFIG)).env("HOME", self.at("/home/ops"));
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    }

    /// What was said, as it would have been in a place that is `/`, with its columns.
    pub fn plain(&self, said: &str) -> String {
        let said = said.replace(&format!("{}/", programs().display()), "");
        let line = |line: &str| {
            let mut plain = line.to_owned();
            while let Some(at) = plain.find(self.root()) {
                plain.replace_range(at..at + self.root().len(), "");
                // In a table, what follows stays where it was.
                if let Some(end) = plain[at..].find("  ") {
                    plain.insert_str(at + end, &" ".repeat(self.root().len()));
                }
            }
            plain
        };
        said.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }

    fn must(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "{line}:\n{said}");
        said
    }

    /// A dock's config, and the authority that it names.
    fn config(&mut self) {
        self.must("dockseal-authority keyring init bpol.example");
        self.must("dockseal-authority keyring add-recipient evidence --new");
        let authority = self.must("sed -n 's/^authority //p' authority/draft");
        let (authority, at) = (authority.trim(), self.root());
        let config = format!(
            "dock = \"hannover-hbf-03\"\n\
             state_dir = \"{at}/var/lib/dockseal\"\n\
             keyring = \"{at}/etc/dockseal/keyring\"\n\
             authority = \"{authority}\"\n\
             rescan_seconds = 1\n\
             start_spread = \"0s\"\n\n\
             [[watch]]\n\
             path = \"{at}/srv/dock\"\n\
             camera = \"{{1}}\"\n\
             settle_seconds = 0\n\n\
             [[bucket]]\n\
             name = \"primary\"\n\
             url = \"file://{at}/mnt/evidence\"\n"
        );
        std::fs::write(self.at(CONFIG), config).expect("written");
    }

    /// A dock that is enrolled, and has the keyring.
    fn dock(&mut self) {
        self.config();
        self.enrol("dockseal init");
        self.must("cp authority/keyring /etc/dockseal/keyring");
    }

    /// Enrols a dock that a line makes.
    fn enrol(&self, line: &str) {
        let said = self.must(line);
        let word = |begin: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(begin));
            line.unwrap_or_else(|| panic!("no {begin}: {said}")).to_owned()
        };
        let (key, fingerprint) = (word("dockseal-dock "), word("fingerprint "));
        self.must(&format!(
            "dockseal-authority keyring add-dock dockseal-dock {key} --fingerprint {fingerprint}"
        ));
        self.must("dockseal-authority keyring sign");
    }

    fn put(&self, name: &str) {
        self.must(&format!("mkdir -p /srv/dock/cam-17; cp clip.mp4 /srv/dock/cam-17/{name}"));
    }

    /// One clip is stored, and the keyring published.
    fn bucket(&mut self) {
        self.dock();
        self.put("0001.mp4");
        self.must("dockseal-authority keyring publish file:///mnt/evidence");
        self.must("dockseal run --until-idle");
    }

    /// One clip is stored, and one waits.
    fn waiting(&mut self) {
        self.dock();
        self.put("0001.mp4");
        self.must("dockseal run --until-idle");
        self.must("mv /mnt/evidence /mnt/away");
        self.put("0002.mp4");
        self.must("dockseal run --until-idle || test $? = 14");
    }

    /// Starts the daemon, and waits until it has looked through its folder.
    fn start(&mut self) {
        let log = std::fs::File::create(self.at("/home/ops/daemon.log")).expect("created");
        let mut daemon = Command::new("setpriv");
        daemon.args(["--pdeathsig", "KILL", "dockseal", "run"]);
        self.furnish(&mut daemon);
        let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.daemon = Some(daemon.expect("setpriv starts"));
        self.wait_until("dockseal status | grep -q 'ago  .*  yes$'");
    }

    /// Waits until a line succeeds.
    fn wait_until(&self, line: &str) {
        for _ in 0..LOOKS_MAX {
            if self.run(line).0 == 0 {
                return;
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
        let (_, status) = self.run("dockseal status; cat daemon.log");
        panic!("waited in vain for `{line}`:\n{status}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Where cargo has put our programs.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dockseal")).parent().expect("in a folder")
}
