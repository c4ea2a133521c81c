//! A config as it is answered question by question, checked by the parser of configs itself.

use std::path::{Path, PathBuf};

use crate::clip::printable;
use crate::dock::config::Config;
use crate::envelope::recipient::EXAMPLE_RECIPIENTS;

/// Who says whom clips are sealed to.
pub(super) enum KeysText {
    Keyring { file: String, authority: String },
    Recipients(Vec<String>),
}

/// The answers so far; what was not asked yet has something that fits.
pub(super) struct Draft {
    pub(super) dock: String,
    state_dir: PathBuf,
    pub(super) folders: Vec<String>,
    pub(super) camera: Option<String>,
    pub(super) keys: KeysText,
    pub(super) url: String,
    pub(super) options: Vec<(&'static str, String)>,
    pub(super) credentials: Option<String>,
    pub(super) erase: &'static str,
}

impl Draft {
    pub(super) fn new(state_dir: &Path) -> Draft {
        Draft {
            dock: "dock".into(),
            state_dir: state_dir.to_owned(),
            folders: vec![],
            camera: None,
            keys: KeysText::Recipients(vec![EXAMPLE_RECIPIENTS[0].to_owned()]),
            url: "s3://bucket".into(),
            options: vec![],
            credentials: None,
            erase: "when-stored",
        }
    }

    /// What it says, or the first mistake in it.
    pub(super) fn config(&self) -> Result<Config, String> {
        let parsed = Config::parse(&self.text());
        parsed
            .map_err(|error| error.problems.into_iter().map(|one| one.message).next().expect("one"))
    }

    /// The file, with what each part is for.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        line("# The config of a dock, written by `dockseal init --guided`.".into());
        line(
            "# Every key: dockseal.toml(5). After a change: dockseal check, then restart.\n".into(),
        );
        line("# Its name is part of every object's key: do not change it.".into());
        line(format!("dock = {}", quoted(&self.dock)));
        line("# Queue, spool and the dock's signing key.".into());
        line(format!("state_dir = {}", quoted(&printable(&self.state_dir))));
        match &self.keys {
            KeysText::Keyring { file, authority } => {
                line(
                    "# Whom clips are sealed to: the authority's signed keyring, and its root."
                        .into(),
                );
                line(format!("keyring = {}", quoted(file)));
                line(format!("authority = {}", quoted(authority)));
            }
            KeysText::Recipients(recipients) => {
                line("# Whom clips are sealed to, all of them.".into());
                let all: Vec<_> = recipients.iter().map(|one| quoted(one)).collect();
                line(format!("recipients = [{}]", all.join(", ")));
            }
        }
        let placeholder = ["/srv/dock".to_owned()];
        let folders = if self.folders.is_empty() { &placeholder[..] } else { &self.folders };
        for folder in folders {
            line("\n[[watch]]".into());
            line(format!("path = {}", quoted(folder)));
            if let Some(camera) = &self.camera {
                line("# The camera's name for the manifest; {1} is the first folder below.".into());
                line(format!("camera = {}", quoted(camera)));
            }
            line(
                "# When the plaintext is removed: \"when-stored\", \"when-sealed\" or \"never\"."
                    .into(),
            );
            line(format!("erase = {}", quoted(self.erase)));
        }
        line("\n[[bucket]]\nname = \"primary\"".into());
        line(format!("url = {}", quoted(&self.url)));
        if let Some(file) = &self.credentials {
            line("# Its secrets; they do not belong here.".into());
            line(format!("credentials_file = {}", quoted(file)));
        }
        if !self.options.is_empty() {
            line("[bucket.options]".into());
        }
        for (option, value) in &self.options {
            line(format!("{option} = {}", quoted(value)));
        }
        text
    }
}
