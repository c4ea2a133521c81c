//! Plugins: keys that only another program can use, by C2SP age-plugin.md.
//!
//! A plugin is a program `age-plugin-NAME` that the user installed. It gets the stanzas of a
//! header and gives the file key back; the header's MAC then proves the key. It is trusted with
//! that key, and with nothing else: it has a deadline, and all that it says is bounded.

mod process;
mod talk;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use bech32::primitives::decode::CheckedHrpstring;
use zeroize::Zeroizing;

use super::identity::{IdentityError, PLUGIN_PREFIX};
use crate::envelope::FileKey;
use crate::envelope::header::Stanza;
use crate::envelope::text::AgeBech32;
use process::Running;
use talk::talk;

/// The longest name of a plugin that is looked for.
const NAME_SIZE_MAX: usize = 64;

/// An identity of a plugin: `AGE-PLUGIN-NAME-1…`. It may hold the key itself, or say where it is.
pub struct PluginIdentity {
    /// In lower case, as its program is called.
    name: String,
    text: Zeroizing<String>,
}

impl FromStr for PluginIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = IdentityError::Plugin;
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(malformed);
        }
        let Ok(parsed) = CheckedHrpstring::new::<AgeBech32>(text) else { return Err(malformed) };
        let hrp = parsed.hrp().to_string().to_ascii_uppercase();
        let name = hrp.strip_prefix(PLUGIN_PREFIX).and_then(|rest| rest.strip_suffix('-'));
        let Some(name) = name.map(str::to_ascii_lowercase) else { return Err(malformed) };
        // It becomes the name of a program, so it must not lead into another folder.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
        if name.is_empty() || name.len() > NAME_SIZE_MAX || !name.bytes().all(allowed) {
            return Err(malformed);
        }
        Ok(PluginIdentity { name, text: Zeroizing::new(text.to_owned()) })
    }
}

/// Whether a person agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The second option, or a no.
    No,
    /// The first one.
    Yes,
}

/// Whom a plugin may talk to. `None` says that nobody is there; the plugin then goes on without.
///
/// What a plugin says is not to be trusted: a dialog escapes what a terminal would obey.
pub trait Dialog: Send + Sync {
    /// Something to read, such as "touch the key".
    fn tell(&self, plugin: &str, text: &str) -> Option<()>;
    /// A question with one or two answers, each as the plugin words it.
    fn confirm(&self, plugin: &str, text: &str, yes: &str, no: Option<&str>) -> Option<Choice>;
    /// Asks for a text that may be seen.
    fn ask(&self, plugin: &str, text: &str) -> Option<Zeroizing<String>>;
    /// Asks for a PIN or passphrase.
    fn ask_secret(&self, plugin: &str, text: &str) -> Option<Zeroizing<String>>;
}

/// Nobody is there.
struct Nobody;

impl Dialog for Nobody {
    fn tell(&self, _: &str, _: &str) -> Option<()> {
        None
    }

    fn confirm(&self, _: &str, _: &str, _: &str, _: Option<&str>) -> Option<Choice> {
        None
    }

    fn ask(&self, _: &str, _: &str) -> Option<Zeroizing<String>> {
        None
    }

    fn ask_secret(&self, _: &str, _: &str) -> Option<Zeroizing<String>> {
        None
    }
}

/// All identities of plugins, and whom these may talk to.
pub(super) struct Plugins {
    identities: Vec<PluginIdentity>,
    dialog: Box<dyn Dialog>,
    /// One plugin asks a person at a time, and a device is used by one.
    turn: Mutex<()>,
}

impl Default for Plugins {
    fn default() -> Plugins {
        Plugins { identities: Vec::new(), dialog: Box::new(Nobody), turn: Mutex::new(()) }
    }
}

impl Plugins {
    pub(super) fn add(&mut self, identity: PluginIdentity) {
        self.identities.push(identity);
    }

    pub(super) fn append(&mut self, mut others: Plugins) {
        self.identities.append(&mut others.identities);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    pub(super) fn set_dialog(&mut self, dialog: Box<dyn Dialog>) {
        self.dialog = dialog;
    }

    /// Asks each plugin once, with all of its identities, until one unwraps the file key.
    pub(super) fn unwrap(&self, stanzas: &[Stanza]) -> Result<Option<FileKey>, PluginError> {
        let mut names: Vec<&str> = self.identities.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut failed = None;
        for name in names {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            match self.unwrap_with(name, stanzas) {
                Ok(Some(file_key)) => return Ok(Some(file_key)),
                Ok(None) => {}
                // Another plugin may have the key; if none has, the first cause counts.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn unwrap_with(&self, name: &str, stanzas: &[Stanza]) -> Result<Option<FileKey>, PluginError> {
        let fail = |failure| PluginError { name: name.to_owned(), failure };
        let identities: Vec<&str> = self
            .identities
            .iter()
            .filter(|identity| identity.name == name)
            .map(|identity| identity.text.as_str())
            .collect();
        let program = find(name).ok_or_else(|| fail(Failure::Missing))?;
        let mut running = Running::start(&program).map_err(fail)?;
        let talked = talk(&mut running, name, &identities, stanzas, self.dialog.as_ref());
        running.end();
        talked.map_err(|failure| fail(running.explain(failure)))
    }
}

/// The plugin's program, from the absolute folders of `PATH`: never from where we happen to be.
fn find(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let mut programs = folders.map(|folder| folder.join(format!("age-plugin-{name}")));
    programs.find(|program| {
        let facts = std::fs::metadata(program);
        facts.is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    })
}

/// A plugin that could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("age-plugin-{name}: {failure}")]
pub struct PluginError {
    /// The plugin's name: letters, digits and `+-._`.
    pub name: String,
    /// What happened.
    pub failure: Failure,
}

/// What happened to a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It ended before it was done.
    #[error("it ended early{}", said(.0))]
    Ended(String),
    /// Its program is not there.
    #[error("this program is not in PATH")]
    Missing,
    /// It says what no plugin may say.
    #[error("it does not keep to the plugin protocol: {0}")]
    Protocol(&'static str),
    /// It refused, in its own words, on one line.
    #[error("it says: {0}")]
    Said(String),
    /// It said nothing for too long.
    #[error("it did not answer in time")]
    Silent,
    /// Its program could not be started.
    #[error("it cannot be started: {0}")]
    Start(std::io::Error),
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From age 1.3.2's `age-plugin-pq -identity`, and the empty one of `age-plugin-tagtest`.
    const PQ: &str = "AGE-PLUGIN-PQ-1PUUFY5FEZT5EP70XRUFQRHQZNK0CYJ63SG5G62HHJ0G7T5PKH7VS59MFZV";

    #[test]
    fn an_identity_names_its_program_and_nothing_else() {
        assert_eq!(PQ.parse::<PluginIdentity>().map(|one| one.name), Ok("pq".into()));
        let with = |hrp: &str| {
            let hrp = bech32::Hrp::parse(hrp).expect("valid");
            bech32::encode_upper::<AgeBech32>(hrp, &[7; 3]).expect("encoded")
        };
        let name = |text: &str| text.parse::<PluginIdentity>().ok().map(|one| one.name);
        assert_eq!(name(&with("AGE-PLUGIN-TWO-WORDS-")).as_deref(), Some("two-words"));
        for hrp in ["AGE-PLUGIN--", "AGE-PLUGIN-..\\/X-", "AGE-PLUGIN-A/B-", "AGE-PLUGIN-A"] {
            assert_eq!(name(&with(hrp)), None, "{hrp}");
        }
        assert_eq!(name(&with(&format!("AGE-PLUGIN-{}-", "A".repeat(65)))), None);
        assert_eq!(name(&PQ.to_lowercase()), None);
        assert_eq!(name(&PQ.replace("PUU", "PUQ")), None);
    }

    #[test]
    fn a_plugin_that_is_not_installed_is_named() {
        let mut plugins = Plugins::default();
        let hrp = bech32::Hrp::parse("AGE-PLUGIN-NO-SUCH-PLUGIN-").expect("valid");
        let text = bech32::encode_upper::<AgeBech32>(hrp, &[]).expect("encoded");
        plugins.add(text.parse().expect("well-formed"));
        let error = plugins.unwrap(&[]).err().expect("missing");
        assert_eq!(error.to_string(), "age-plugin-no-such-plugin: this program is not in PATH");
    }
}
