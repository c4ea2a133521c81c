//! What must be true of a dock after a power cut: before it started again, and once it is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::site::PoweredSite;
use crate::support::dock::{Finished, authority};
use crate::support::seaweed::Login;
use crate::support::site::our_keys;
use crate::support::{files_beneath, sha256};

/// What sealed files open to, each opened once: a name is the digest of the file.
#[derive(Default)]
pub struct Known(BTreeMap<String, String>);

impl Known {
    /// SHA-256 of what a sealed file opens to. Its name must be its digest.
    fn content(&mut self, path: &Path) -> Result<String, String> {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("hex").to_owned();
        if !path.is_file() || sha256(path) != name {
            return Err(format!("{name} is missing or damaged"));
        }
        if let Some(content) = self.0.get(&name) {
            return Ok(content.clone());
        }
        let content = open(path).ok_or_else(|| format!("{name} cannot be opened"))?;
        self.0.insert(name, content.clone());
        Ok(content)
    }

    /// SHA-256 of what each object of the bucket opens to.
    fn contents(&mut self, site: &PoweredSite) -> Result<Vec<String>, String> {
        objects(site).iter().map(|path| self.content(path)).collect()
    }

    /// The clips whose plaintext is gone from the dock folder although nothing that the disk
    /// knows proves that it may be, and facts of the queue that are not true.
    pub fn wrong_at_cut(&mut self, site: &PoweredSite, erase: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let left: BTreeSet<String> =
            files_beneath(&site.site.dock.folder()).iter().map(|path| sha256(path)).collect();
        let mut proven = BTreeSet::new();
        for row in rows(site) {
            let Some(name) = row["sealed_name"].as_str() else { continue };
            let mut deliveries = row["deliveries"].as_array().expect("a list").iter();
            let is_stored = deliveries.any(|delivery| !delivery["evidence"].is_null());
            if is_stored {
                match self.content(&object(site, name)) {
                    Ok(content) => proven.extend([content]),
                    Err(error) => wrong.push(format!("a receipt, and in its bucket {error}")),
                }
            }
            if row["in_spool"] == true && row["stored"].is_null() {
                match self.content(&site.site.dock.state_dir().join(format!("spool/{name}.age"))) {
                    Ok(content) if erase == "when-sealed" => proven.extend([content]),
                    Ok(_) => {}
                    Err(error) => wrong.push(format!("sealed, and in the spool {error}")),
                }
            }
        }
        let gone = site.clips.iter().filter(|(_, digest)| !left.contains(*digest));
        let wrongly = gone.filter(|(_, digest)| !proven.contains(*digest));
        wrong.extend(wrongly.map(|(name, _)| format!("{WRONGLY_ERASED}{name}")));
        wrong
    }

    /// What is wrong once the dock is idle, and how many clips are there twice.
    pub fn wrong_when_idle(&mut self, site: &PoweredSite, run: &Finished) -> (Vec<String>, usize) {
        let mut wrong = Vec::new();
        if run.code != 0 {
            wrong.push(format!("the run ended with {}: {}", run.code, run.stderr));
        }
        let contents = self.contents(site).unwrap_or_else(|error| {
            wrong.push(error);
            Vec::new()
        });
        let there: BTreeSet<&String> = contents.iter().collect();
        let lost = site.clips.iter().filter(|(_, digest)| !there.contains(digest));
        wrong.extend(lost.map(|(name, _)| format!("{LOST}{name}")));
        let status = site.site.dock.finish(&["status", "--json"]);
        if status.code != 0 || status.json()["verdict"] != "ok" {
            wrong.push(format!("status: {}", status.stdout));
        }
        wrong
            .extend(rows(site).iter().filter(|row| row["state"] != "erased").map(Value::to_string));
        wrong.extend(leftovers(site).iter().map(|path| format!("left over: {}", path.display())));
        let audit = audit(site);
        if audit.code != 0 {
            wrong.push(format!("the audit ended with {}: {}", audit.code, audit.stdout));
        }
        (wrong, contents.len().saturating_sub(site.clips.len()))
    }
}

/// How the finding of a wrong erasure begins.
pub const WRONGLY_ERASED: &str = "erased without proof: ";
/// How the finding of a loss begins.
pub const LOST: &str = "lost: ";

fn rows(site: &PoweredSite) -> Vec<Value> {
    let list = site.site.dock.json(&["list", "--limit", "0"]);
    list["clips"].as_array().expect("a list").clone()
}

fn clips_folder(site: &PoweredSite) -> PathBuf {
    site.site.bucket().join("test-dock-1/clips")
}

fn object(site: &PoweredSite, name: &str) -> PathBuf {
    clips_folder(site).join(&name[..2]).join(format!("{name}.age"))
}

fn objects(site: &PoweredSite) -> Vec<PathBuf> {
    let folder = clips_folder(site);
    let files = if folder.is_dir() { files_beneath(&folder) } else { vec![] };
    files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "age")).collect()
}

/// SHA-256 of what a sealed file opens to.
fn open(path: &Path) -> Option<String> {
    let key = our_keys().identity_file.to_str()?;
    let mut open = authority(Login::Admin, &["open", path.to_str()?, "-i", key, "--out", "-"]);
    let opened = open.stdout(Stdio::piped()).output().ok()?;
    let beside = crate::support::scratch();
    let file = beside.path().join("opened");
    std::fs::write(&file, opened.stdout).ok()?;
    opened.status.success().then(|| sha256(&file))
}

/// Files that nothing points at, once nothing is left to do.
fn leftovers(site: &PoweredSite) -> Vec<PathBuf> {
    let dock = &site.site.dock;
    let mut left = files_beneath(&dock.folder());
    left.extend(files_beneath(&dock.state_dir().join("spool")));
    let quarantine = dock.folder().join(".dockseal-erasing");
    left.extend(Some(quarantine).filter(|folder| folder.exists()));
    let unfinished = |path: &PathBuf| path.to_string_lossy().ends_with(".unfinished");
    left.extend(files_beneath(&site.site.bucket()).into_iter().filter(unfinished));
    left.extend(files_beneath(&dock.state_dir()).into_iter().filter(unfinished));
    left
}

fn audit(site: &PoweredSite) -> Finished {
    let url = format!("file://{}", site.site.bucket().display());
    let mut audit = Command::new(env!("CARGO_BIN_EXE_dockseal-audit"));
    audit.arg(url).arg("--keyring").arg(site.keyring_file()).args(["--authority", &site.root()]);
    Finished::new(audit.stdin(Stdio::null()).output().expect("it starts"))
}
