//! What is mounted where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mount point that a path lies beneath, or is; `/` is none. The path itself is not touched:
/// a share that hangs would hang whoever asks.
pub fn mount_point(path: &Path) -> Option<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    point_in(&table, path)
}

/// As [`mount_point`], by a table as in proc_pid_mountinfo(5): the fifth field is the mount point.
fn point_in(table: &[u8], path: &Path) -> Option<PathBuf> {
    let points = table.split(|&byte| byte == b'\n').filter_map(|line| {
        let point = line.split(|&byte| byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescaped(point))))
    });
    let around = points.filter(|point| path.starts_with(point));
    let nearest = around.max_by_key(|point| point.components().count())?;
    (nearest != Path::new("/")).then_some(nearest)
}

/// Space, tab, line feed and backslash stand there as `\040` and the like.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let byte = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts_and_the_root_is_none() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 21 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
            31 30 8:3 / /srv/card\\040one rw shared:1 - exfat /dev/sdb1 rw\n\
            cut short";
        let point = |path: &str| point_in(table, Path::new(path));
        assert_eq!(point("/home/dock"), None);
        assert_eq!(point("/srv/dock"), Some("/srv".into()));
        assert_eq!(point("/srv/card one/DCIM"), Some("/srv/card one".into()));
        assert_eq!(point("/srvers"), None);
        assert_eq!(unescaped(b"a\\134\\040\\9"), b"a\\ \\9");
    }
}
