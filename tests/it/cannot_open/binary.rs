//! Looking into programs for what could open a clip.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates with which clips are sealed. TLS brings decryption of its own (aws-lc, rustls), which
/// opens what a server sent and nothing that age sealed; so only these are looked at.
const CRATES: [&str; 6] =
    ["aead", "chacha20poly1305", "hpke", "ml_kem", "x_wing", "dockseal::envelope"];
/// What the half of those crates that opens is called.
const OPENING: [&str; 9] = [
    "AeadCtxR",
    "DecryptionKey",
    "PrivateKey",
    "decap",
    "Decapsulat",
    "decrypt",
    "setup_receiver",
    "single_shot_open",
    "unwrap",
];
/// Rooms of ours that the dock must not have.
const ROOMS: [&str; 3] = ["dockseal::authority", "dockseal::cli::authority", "PayloadReader"];
/// Texts of whatever reads or has a private key, in any case. The word without the hyphen at its
/// end is in the dock's own refusal, "this is a PRIVATE key (AGE-SECRET-KEY…): it must never be on
/// a dock" (envelope::recipient), which is worth having; a reader needs the whole prefix, and each
/// private key in the world begins with it.
const TEXTS: [&str; 2] = ["age-secret-key-", "src/authority/"];

/// How the findings of each kind begin.
pub const KINDS: [&str; 3] = ["opening: ", "room: ", "text: "];

/// All that could open a clip, or tells that something could. Sorted, once each.
pub fn findings(program: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for symbol in symbols(program).lines() {
        let of_crate = CRATES.iter().any(|name| is_of(symbol, name));
        if of_crate && OPENING.iter().any(|word| symbol.contains(word)) {
            found.push(format!("opening: {symbol}"));
        }
        if ROOMS.iter().any(|room| symbol.contains(room)) {
            found.push(format!("room: {symbol}"));
        }
    }
    for text in run(Command::new("strings").args(["-n", "8"]).arg(program)).lines() {
        let lower = text.to_ascii_lowercase();
        for wanted in TEXTS {
            if let Some(at) = lower.find(wanted) {
                let end = text.len().min(at + wanted.len() + 8);
                found.push(format!("text: {}", String::from_utf8_lossy(&text.as_bytes()[at..end])));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether a symbol belongs to a crate, or implements something for one of its types.
fn is_of(symbol: &str, name: &str) -> bool {
    symbol.match_indices(name).any(|(at, _)| {
        let is_whole = !symbol[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        is_whole && symbol[at + name.len()..].starts_with("::")
    })
}

/// Its functions and data, one a line, as the source calls them.
pub fn symbols(program: &Path) -> String {
    let listed = run(Command::new("nm").args(["--demangle", "--format=posix"]).arg(program));
    assert!(listed.lines().count() > 1000, "{} has no symbols", program.display());
    listed
}

fn run(command: &mut Command) -> String {
    let done = command.output().expect("binutils are there");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Builds the dock's program as its package does: with the feature `dock` and no other.
pub fn build_dock_alone() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/dock-only");
    take_dependencies(&target);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--no-default-features", "--features", "dock"]);
    cargo.args(["--bin", "dockseal", "--target-dir"]).arg(&target).current_dir(root);
    // What cargo tells a test is not for another cargo: build scripts would see a new world.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_BIN_") {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    run(&mut cargo);
    target.join("release/dockseal")
}

/// Dependencies are the same for all roles, so those of the tests' own release build are taken:
/// that saves minutes. Cargo looks at each, and builds what does not fit; without a release build,
/// all of them.
fn take_dependencies(target: &Path) {
    let ours = Path::new(env!("CARGO_BIN_EXE_dockseal")).parent().expect("in a folder");
    if target.exists() || ours.file_name().is_none_or(|name| name != "release") {
        return;
    }
    std::fs::create_dir_all(target.join("release")).unwrap();
    for part in ["deps", "build", ".fingerprint"] {
        let mut cp = Command::new("cp");
        run(cp.args(["-a", "--reflink=auto"]).arg(ours.join(part)).arg(target.join("release")));
    }
}
