//! File systems that come, go and change their size.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something mounted, for as long as this lives. Only root may.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// A file system in memory. `size` may have more options behind a comma.
    pub fn memory(at: &Path, size: &str) -> Mounted {
        std::fs::create_dir_all(at).expect("scratch can be written");
        let options = format!("size={size},mode=0755");
        mount(&["-t", "tmpfs", "-o", &options, "dockseal-test"], at);
        Mounted(at.to_owned())
    }

    /// Another place of a folder.
    pub fn bind(folder: &Path, at: &Path) -> Mounted {
        std::fs::create_dir_all(at).expect("scratch can be written");
        mount(&["--bind", folder.to_str().expect("UTF-8")], at);
        Mounted(at.to_owned())
    }

    /// With other options, such as `ro` or `size=1m`.
    pub fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a daemon that still has a file open must not keep it mounted for ever.
        let ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(options: &[&str], at: &Path) {
    let done = Command::new("mount").args(options).arg(at).output().expect("mount starts");
    assert!(done.status.success(), "mount: {}", String::from_utf8_lossy(&done.stderr));
}
