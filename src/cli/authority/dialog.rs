//! What age plugins say to a person, and ask of one, at the terminal.

use std::io::{self, Write};

use zeroize::Zeroizing;

use super::{PROGRAM, terminal};
use crate::authority::plugin::{Choice, Dialog};

/// The terminal that this program was started from, if there is one.
///
/// The texts came through `authority::plugin`, which leaves no control character in them.
pub struct Terminal;

impl Dialog for Terminal {
    fn tell(&self, plugin: &str, text: &str) -> Option<()> {
        writeln!(io::stderr().lock(), "{PROGRAM}: age-plugin-{plugin}: {text}").ok()
    }

    fn confirm(&self, plugin: &str, text: &str, yes: &str, no: Option<&str>) -> Option<Choice> {
        let question = match no {
            Some(no) => format!("{text}\n  1: {yes}\n  2: {no}\n1 or 2?"),
            None => format!("{text}\n  1: {yes}\n1, or nothing to refuse?"),
        };
        match (self.ask(plugin, &question)?.trim(), no) {
            ("1", _) => Some(Choice::Yes),
            ("2", Some(_)) | ("", None) => Some(Choice::No),
            // Neither answer: the plugin decides what a failure to ask means.
            _ => None,
        }
    }

    fn ask(&self, plugin: &str, text: &str) -> Option<Zeroizing<String>> {
        terminal::ask(&format!("age-plugin-{plugin}: {text} ")).ok()
    }

    fn ask_secret(&self, plugin: &str, text: &str) -> Option<Zeroizing<String>> {
        terminal::ask_secret(&format!("age-plugin-{plugin}: {text} ")).ok()
    }
}
