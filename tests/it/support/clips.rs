//! Real clips: H.264 with AAC in MP4, made by ffmpeg, the same bytes each time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::tools::{Tool, test_tools};

/// Raised when what is made changes, so that a cache of before is not taken.
const GENERATION: u32 = 2;
/// Seconds of the one segment that is encoded; all clips are copies of its packets.
const SEGMENT_SECONDS: u64 = 8;
/// Bytes of one second of it, measured: noisy picture, sound and container.
const BYTES_PER_SECOND: u64 = 3_950_000;

/// The sizes in MB of the clips of a shift: twenty, together 2.2 GB.
pub const SHIFT_MB: [u64; 20] =
    [1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 80, 120, 300, 500, 1000];

/// Two clips are made at once by nobody: they would only get in each other's way.
static MAKING: Mutex<()> = Mutex::new(());

/// A clip of about `size_mb` MB with `comment` in its metadata, in clear. Made once and kept; copy
/// it into a dock folder with [`copy`] or a tool, never move it. Needs `Ffmpeg`.
pub fn clip(size_mb: u64, comment: &str) -> PathBuf {
    let word = comment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    assert!(word && !comment.is_empty(), "{comment:?} becomes a part of a file name");
    // A test that failed while it made a clip left nothing half-made under the clip's name.
    let _making = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = test_tools().join(format!("clips/{GENERATION}"));
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let path = folder.join(format!("{size_mb}-{comment}.mp4"));
    if !path.exists() {
        let segment = segment(&folder);
        let milliseconds = size_mb * 1_000_000_000 / BYTES_PER_SECOND;
        make(&path, |command| {
            command.args(["-stream_loop", "-1", "-i"]).arg(segment);
            command.args(["-c", "copy", "-t", &format!("{milliseconds}ms")]);
            command.args(["-map_metadata", "-1", "-metadata", &format!("comment={comment}")]);
        });
    }
    path
}

/// The twenty clips of a shift, each with content of its own.
pub fn shift() -> Vec<PathBuf> {
    let numbered = SHIFT_MB.iter().enumerate();
    numbered.map(|(number, size_mb)| clip(*size_mb, &format!("shift-{number:02}"))).collect()
}

/// A clip's sidecars, as cameras write them: JSON and XML, with `marker` where an officer's name
/// would be. They get the clip's name with another ending.
pub fn write_sidecars(clip: &Path, marker: &str) -> [PathBuf; 2] {
    let name = clip.file_name().expect("a clip has a name").to_string_lossy();
    let json = format!(
        "{{\n  \"clip\": \"{name}\",\n  \"officer\": \"{marker}\",\n  \"lat\": 52.3769,\n  \
         \"lon\": 9.7410\n}}\n"
    );
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clip name=\"{name}\">\n  \
         <officer>{marker}</officer>\n</clip>\n"
    );
    let paths = [clip.with_extension("json"), clip.with_extension("xml")];
    for (path, text) in paths.iter().zip([json, xml]) {
        std::fs::write(path, text).expect("beside the clip");
    }
    paths
}

/// Copies a clip to its place, as `cp` would; makes the folders on the way.
pub fn copy(clip: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("in a folder")).expect("created");
    std::fs::copy(clip, to).expect("copied");
}

fn segment(folder: &Path) -> PathBuf {
    let path = folder.join("segment.mp4");
    if !path.exists() {
        make(&path, |command| {
            command.args(["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25"]);
            command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
            command.args(["-t", &SEGMENT_SECONDS.to_string()]);
            // Noise, or the picture would never need the bytes that it is given. The seed and the
            // number of threads are fixed: the same bytes each time.
            command.args(["-vf", "noise=alls=60:allf=t:all_seed=7", "-pix_fmt", "yuv420p"]);
            command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]);
            command.args(["-threads", "2", "-g", "25"]);
            command.args(["-b:v", "40M", "-maxrate", "40M", "-bufsize", "2M"]);
            command.args(["-c:a", "aac", "-b:a", "128k"]);
        });
    }
    path
}

/// Runs ffmpeg into a temporary name, and gives the file its own only when it is whole.
fn make(path: &Path, arguments: impl FnOnce(&mut Command)) {
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let mut command = Command::new(Tool::Ffmpeg.path());
    command.args(["-nostdin", "-v", "error", "-y"]);
    arguments(&mut command);
    command.args(["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]);
    let done = command.args(["-f", "mp4"]).arg(&unfinished).output().expect("ffmpeg starts");
    assert!(done.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&done.stderr));
    std::fs::rename(&unfinished, path).expect("renamed");
}

#[test]
fn a_clip_is_a_video_of_its_size_with_its_comment() {
    super::tools::needs!(Ffmpeg);
    for size_mb in [1, 20] {
        let clip = clip(size_mb, "self-test");
        let size = clip.metadata().unwrap().len();
        let wanted = size_mb * 1_000_000;
        assert!(size.abs_diff(wanted) < wanted / 3, "{size_mb} MB came out as {size} bytes");
        assert!(std::fs::read(&clip).unwrap().windows(9).any(|window| window == b"self-test"));
        let probe = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
            .arg(&clip)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&probe.stdout), "h264\naac\n");
    }
}

#[test]
fn sidecars_lie_beside_their_clip() {
    let dir = super::scratch();
    let written = write_sidecars(&dir.path().join("0001.mp4"), "MARKER");
    assert_eq!(written, ["0001.json", "0001.xml"].map(|name| dir.path().join(name)));
    for path in written {
        assert!(std::fs::read_to_string(path).unwrap().contains("MARKER"));
    }
}
