//! Searching files for a marker that must not have left the dock, in clear or thinly disguised.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes that are searched at once.
const WINDOW_SIZE: usize = 1 << 20;

/// A marker with the spellings in which a careless program would let it out.
pub struct Marker {
    spellings: Vec<Vec<u8>>,
}

impl Marker {
    /// At least 12 bytes, so that none of its spellings occurs by chance.
    pub fn new(text: &str) -> Marker {
        let raw = text.as_bytes();
        assert!(raw.len() >= 12, "{text:?} is too short for a marker");
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let wide = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut spellings = vec![raw.to_vec(), wide];
        for text in [text.to_lowercase(), text.to_uppercase(), hex.to_uppercase(), hex] {
            spellings.push(text.into_bytes());
        }
        // Base64 depends on where in a group of three bytes the marker begins. The characters at
        // both ends that mix with its neighbours are left out.
        for lead in 0..3 {
            let group = [&[0u8; 2][..lead], raw].concat();
            let whole = lead..group.len() - group.len() % 3;
            let from = whole.start.div_ceil(3) * 4;
            let to = whole.end / 3 * 4;
            for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                spellings.push(alphabet.encode(&group).as_bytes()[from..to].to_vec());
            }
        }
        Marker { spellings }
    }

    /// Whether it occurs in what is left of `input`.
    pub fn is_in(&self, input: &mut impl Read) -> io::Result<bool> {
        let overlap = self.spellings.iter().map(Vec::len).max().unwrap_or(0);
        let mut window = Vec::with_capacity(WINDOW_SIZE + overlap);
        loop {
            let read = input.take(WINDOW_SIZE as u64).read_to_end(&mut window)?;
            if self.spellings.iter().any(|spelling| contains(&window, spelling)) {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
            window.drain(..window.len().saturating_sub(overlap));
        }
    }

    /// The files beneath `folder` that have it in their content or in their path.
    pub fn files_with(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a readable folder") {
                let path = entry.expect("a readable folder").path();
                let name = path.file_name().expect("an entry has a name").as_encoded_bytes();
                let in_name = self.spellings.iter().any(|spelling| contains(name, spelling));
                // SQLite's WAL may go while we look; sockets and links hold nothing.
                let kind = path.symlink_metadata().map(|facts| facts.file_type());
                let in_content = match kind {
                    Ok(kind) if kind.is_dir() => {
                        folders.push(path.clone());
                        false
                    }
                    Ok(kind) if kind.is_file() => {
                        let mut file = File::open(&path).expect("a readable file");
                        self.is_in(&mut file).expect("a readable file")
                    }
                    _ => false,
                };
                if in_name || in_content {
                    found.push(path);
                }
            }
        }
        found
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = haystack;
    // Looking for the first byte is a loop that the compiler makes wide; `windows` is not.
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[test]
fn a_marker_is_found_in_each_spelling_and_across_windows() {
    let marker = Marker::new("CANARY-4f2a-officer");
    let hidden = |bytes: &[u8]| marker.is_in(&mut &*bytes).unwrap();
    assert!(!hidden(&[0x41; 3 * WINDOW_SIZE]));
    for before in [0, 1, 2, WINDOW_SIZE - 5, WINDOW_SIZE, 2 * WINDOW_SIZE - 1] {
        let mut clear = vec![0x2e; before];
        clear.extend_from_slice(b"CANARY-4f2a-officer and more");
        assert!(hidden(&clear), "{before}");
        assert!(hidden(STANDARD_NO_PAD.encode(&clear).as_bytes()), "base64 {before}");
        assert!(hidden(URL_SAFE_NO_PAD.encode(&clear).as_bytes()), "base64url {before}");
    }
    assert!(hidden(b"x canary-4f2a-OFFICER".to_ascii_uppercase().as_slice()));
    assert!(hidden(b"43414e4152592d346632612d6f666669636572"));
    assert!(hidden(&"CANARY-4f2a-officer".bytes().flat_map(|b| [b, 0]).collect::<Vec<_>>()));
    assert!(!hidden(b"CANARY-4f2a-office"));
}

#[test]
fn a_marker_is_found_in_a_name_and_beneath_a_folder() {
    let dir = super::scratch();
    let deep = dir.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let marker = Marker::new("CANARY-4f2a-officer");
    std::fs::write(deep.join("harmless"), b"nothing").unwrap();
    assert!(marker.files_with(dir.path()).is_empty());
    std::fs::write(deep.join("with"), b"..CANARY-4f2a-officer").unwrap();
    std::fs::write(deep.join("CANARY-4f2a-officer.json"), b"").unwrap();
    assert_eq!(marker.files_with(dir.path()).len(), 2);
}
