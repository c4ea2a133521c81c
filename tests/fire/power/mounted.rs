//! File systems on loop devices, and the leftovers of a killed test.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::support::wait_for;

/// Longer than another test, or a build, keeps a mount namespace of its own.
const RELEASED_WITHIN: Duration = Duration::from_secs(900);

/// What the block device asks for at once. FUSE would split larger requests, and where only the
/// second half fails, the loop driver takes the short answer for a success.
const REQUEST_KIB: u32 = 64;

/// The source of our own mounts, before the process id.
const SOURCE: &str = "dockseal-power-";

/// The source of the mounts of this process.
pub fn source() -> String {
    format!("{SOURCE}{}", std::process::id())
}

/// Runs a program of the system, which must succeed; gives what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&Path]) -> String {
    match tried(program, arguments) {
        Ok(said) => said,
        Err(said) => panic!("{program} {arguments:?}: {said}"),
    }
}

fn tried(program: &str, arguments: &[&Path]) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A file as a block device. Dropping it detaches.
pub struct Attached(PathBuf);

impl Attached {
    /// Whose sectors are what a power cut leaves whole.
    pub fn new(file: &Path) -> Attached {
        let words = ["--find", "--show", "--sector-size=4096"].map(Path::new);
        let mut said = String::new();
        // Another process may take the free device that was found first.
        for _ in 0..20 {
            match tried("losetup", &[&words[..], &[file]].concat()) {
                Ok(device) => {
                    let device = PathBuf::from(device);
                    let name = device.file_name().expect("it has one");
                    let queue = Path::new("/sys/block").join(name).join("queue/max_sectors_kb");
                    std::fs::write(queue, REQUEST_KIB.to_string()).expect("root may");
                    return Attached(device);
                }
                Err(error) => said = error,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no loop device for {}: {said}", file.display());
    }

    /// Waits until no file system of it is mounted, not in any mount namespace either: one that
    /// was begun meanwhile has a copy of each mount, which keeps the file system alive with all
    /// that it remembers. Mounted again, it would not look at the disk.
    #[track_caller]
    pub fn wait_until_free(&self) {
        let exclusive = i32::try_from(OFlags::EXCL.bits()).expect("a flag");
        wait_for("whoever has a copy of our mounts", RELEASED_WITHIN, || {
            OpenOptions::new().read(true).custom_flags(exclusive).open(&self.0).ok()
        });
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = tried("losetup", &[Path::new("--detach"), &self.0]);
    }
}

/// What lies between a program's fsync and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Each fsync commits all that was done before it to the journal, to other files too.
    Ext4,
    /// Without a journal: what was not synced itself may be lost, in any combination.
    Unjournaled,
}

impl FileSystem {
    /// Makes a device an empty one.
    pub fn make(self, device: &Attached) {
        let journal = match self {
            FileSystem::Ext4 => "-J size=4",
            FileSystem::Unjournaled => "-O ^has_journal",
        };
        let rest = "-q -F -b 4096 -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        let words = journal.split(' ').chain(rest.split(' '));
        let mut arguments: Vec<&Path> = words.map(Path::new).collect();
        arguments.push(&device.0);
        run("mkfs.ext4", &arguments);
    }

    /// What a machine does with it after a power cut, before it is mounted.
    pub fn mend(self, device: &Attached) {
        if self == FileSystem::Unjournaled {
            // Its exit code says that something was mended; mounting says whether all was.
            let _ = tried("e2fsck", &[Path::new("-fy"), &device.0]);
        }
    }
}

/// A file system, mounted at a folder. Dropping it unmounts.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts a device at a folder. An error is what `mount` said.
    pub fn new(device: &Attached, at: &Path) -> Result<Mounted, String> {
        tried("mount", &[&device.0, at])?;
        Ok(Mounted { at: at.to_owned() })
    }

    /// Mounts an empty file system in memory, on which nobody waits for a sync.
    pub fn in_memory(at: &Path) -> Mounted {
        let source = source();
        run("mount", &[Path::new("-t"), Path::new("tmpfs"), Path::new(&source), at]);
        Mounted { at: at.to_owned() }
    }

    /// Writes all that waits in memory to the disk.
    pub fn sync(&self) {
        run("sync", &[Path::new("--file-system"), &self.at]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A lazy one where somebody still has a file open: it is gone from sight at least.
        if tried("umount", &[&self.at]).is_err() {
            let _ = tried("umount", &[Path::new("-l"), &self.at]);
        }
    }
}

/// Removes what test processes that were killed left mounted. Their FUSE servers ended with them,
/// so nothing waits.
pub fn clean_up() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("Linux");
    // proc(5): … (5) mount point … - (9) type (10) source
    let lines: Vec<(&str, &str)> = mounts
        .lines()
        .filter_map(|line| Some((line.split(' ').nth(4)?, line.split(" - ").nth(1)?)))
        .filter_map(|(at, rest)| Some((at, rest.split(' ').nth(1)?)))
        .collect();
    for (at, source) in &lines {
        let process = source.strip_prefix(SOURCE);
        if process.is_none_or(|process| Path::new("/proc").join(process).exists()) {
            continue;
        }
        for device in loops_beneath(at) {
            let on_it = lines.iter().filter(|(_, source)| Path::new(source) == device);
            for (at, _) in on_it {
                let _ = tried("umount", &[Path::new("-l"), Path::new(at)]);
            }
            let _ = tried("losetup", &[Path::new("--detach"), &device]);
        }
        let _ = tried("umount", &[Path::new("-l"), Path::new(at)]);
    }
}

/// The loop devices whose files lie beneath a folder.
fn loops_beneath(folder: &str) -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").expect("Linux").flatten();
    let beneath = devices.filter(|device| {
        let file = std::fs::read_to_string(device.path().join("loop/backing_file"));
        file.is_ok_and(|file| file.starts_with(&format!("{folder}/")))
    });
    beneath.map(|device| Path::new("/dev").join(device.file_name())).collect()
}
