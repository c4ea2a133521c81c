//! What is said to a plugin, and how its words are answered: the state machine `identity-v1`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::{Zeroize, Zeroizing};

use super::super::open::MANIFEST_FAMILY;
use super::{Choice, Dialog, Failure};
use crate::envelope::FileKey;
use crate::envelope::header::Stanza;

/// The most commands that one plugin may send for one clip.
const COMMAND_COUNT_MAX: usize = 1000;
/// The most characters of a plugin's text that anybody is shown.
const TEXT_SIZE_MAX: usize = 2000;

/// A plugin as one talks to it.
pub(super) trait Line {
    /// Sends some stanzas.
    fn say(&mut self, text: Zeroizing<String>) -> Result<(), Failure>;
    /// Waits for one stanza.
    fn hear(&mut self) -> Result<Stanza, Failure>;
}

/// Gives a plugin its identities and the stanzas of one header, and does what it asks for.
pub(super) fn talk(
    line: &mut impl Line,
    name: &str,
    identities: &[&str],
    stanzas: &[Stanza],
    dialog: &dyn Dialog,
) -> Result<Option<FileKey>, Failure> {
    line.say(introduction(identities, stanzas))?;
    let mut file_key = None;
    let mut complaint = None;
    for _ in 0..COMMAND_COUNT_MAX {
        let mut command = line.hear()?;
        let answer = match command.kind.as_str() {
            "done" => return conclude(file_key, complaint),
            "file-key" => {
                let key = read_file_key(&command);
                command.body.zeroize();
                if file_key.replace(key?).is_some() {
                    return Err(Failure::Protocol("two file keys for one clip"));
                }
                answer(&["ok"], b"")
            }
            "error" => {
                complaint = complaint.or(Some(text(&command.body)));
                answer(&["ok"], b"")
            }
            _ => converse(name, &command, dialog)?,
        };
        line.say(answer)?;
    }
    Err(Failure::Protocol("it goes on for ever"))
}

fn conclude(
    file_key: Option<FileKey>,
    complaint: Option<String>,
) -> Result<Option<FileKey>, Failure> {
    match (file_key, complaint) {
        (Some(file_key), _) => Ok(Some(file_key)),
        (None, Some(complaint)) => Err(Failure::Said(complaint)),
        (None, None) => Ok(None),
    }
}

/// Phase 1: all identities, all stanzas of the one header, `done`.
fn introduction(identities: &[&str], stanzas: &[Stanza]) -> Zeroizing<String> {
    let size = identities.iter().map(|text| text.len() + 32).sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for identity in identities {
        text.push_str("-> add-identity ");
        text.push_str(identity);
        text.push_str("\n\n");
    }
    // What follows is no secret, so the buffer may move; but the first one is wiped all the same.
    let mut rest = String::new();
    // The manifest is none of a plugin's business.
    for stanza in stanzas.iter().filter(|one| !one.kind.starts_with(MANIFEST_FAMILY)) {
        let mut args = vec!["0".to_owned(), stanza.kind.clone()];
        args.extend_from_slice(&stanza.args);
        let body = stanza.body.clone();
        Stanza { kind: "recipient-stanza".into(), args, body }.encode_into(&mut rest);
    }
    rest.push_str("-> done\n\n");
    let mut all = Zeroizing::new(String::with_capacity(text.len() + rest.len()));
    all.push_str(&text);
    all.push_str(&rest);
    all
}

fn read_file_key(command: &Stanza) -> Result<FileKey, Failure> {
    if command.args != ["0"] {
        return Err(Failure::Protocol("a file key of a clip that was not asked for"));
    }
    FileKey::from_slice(&command.body).ok_or(Failure::Protocol("a file key of a wrong size"))
}

/// What concerns a person, and everything that we do not know.
fn converse(
    name: &str,
    command: &Stanza,
    dialog: &dyn Dialog,
) -> Result<Zeroizing<String>, Failure> {
    let message = text(&command.body);
    let fail = || answer(&["fail"], b"");
    Ok(match command.kind.as_str() {
        "msg" => dialog.tell(name, &message).map_or_else(fail, |()| answer(&["ok"], b"")),
        "confirm" => {
            let option = |word: &String| BASE64.decode(word).ok().map(|bytes| text(&bytes));
            let options: Option<Vec<_>> = command.args.iter().map(option).collect();
            let (yes, no) = match options.as_deref() {
                Some([yes]) => (yes, None),
                Some([yes, no]) => (yes, Some(no.as_str())),
                Some(_) | None => return Err(Failure::Protocol("a malformed question")),
            };
            match dialog.confirm(name, &message, yes, no) {
                Some(Choice::Yes) => answer(&["ok", "yes"], b""),
                Some(Choice::No) => answer(&["ok", "no"], b""),
                None => fail(),
            }
        }
        "request-public" => reply(dialog.ask(name, &message)),
        "request-secret" => reply(dialog.ask_secret(name, &message)),
        _ => answer(&["unsupported"], b""),
    })
}

fn reply(text: Option<Zeroizing<String>>) -> Zeroizing<String> {
    match text {
        Some(text) => answer(&["ok"], text.as_bytes()),
        None => answer(&["fail"], b""),
    }
}

fn answer(words: &[&str], body: &[u8]) -> Zeroizing<String> {
    let args = words[1..].iter().map(|word| (*word).to_owned()).collect();
    let mut stanza = Stanza { kind: words[0].into(), args, body: body.to_vec() };
    // Room for all of it at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(64 + body.len() * 2));
    stanza.encode_into(&mut text);
    stanza.body.zeroize();
    text
}

/// A plugin's words as one harmless line of bounded length.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(TEXT_SIZE_MAX).collect();
    crate::clip::printable(std::path::Path::new(&short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    /// A plugin that says what is written here, and remembers what it was told.
    struct Script {
        says: VecDeque<Stanza>,
        told: Vec<String>,
    }

    impl Line for Script {
        fn say(&mut self, text: Zeroizing<String>) -> Result<(), Failure> {
            self.told.push(text.to_string());
            Ok(())
        }

        fn hear(&mut self) -> Result<Stanza, Failure> {
            self.says.pop_front().ok_or(Failure::Silent)
        }
    }

    fn stanza(kind: &str, args: &[&str], body: &[u8]) -> Stanza {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Stanza { kind: kind.into(), args, body: body.to_vec() }
    }

    /// Notes what it is asked, and answers.
    #[derive(Default)]
    struct Friend(Mutex<Vec<String>>);

    impl Friend {
        fn note(&self, text: String) {
            self.0.lock().expect("no panic").push(text);
        }
    }

    impl Dialog for Friend {
        fn tell(&self, plugin: &str, text: &str) -> Option<()> {
            self.note(format!("{plugin} tells {text}"));
            Some(())
        }

        fn confirm(&self, _: &str, text: &str, yes: &str, no: Option<&str>) -> Option<Choice> {
            self.note(format!("{text} {yes}/{no:?}"));
            Some(if no.is_some() { Choice::No } else { Choice::Yes })
        }

        fn ask(&self, _: &str, _: &str) -> Option<Zeroizing<String>> {
            Some(Zeroizing::new("slot 2".to_owned()))
        }

        fn ask_secret(&self, _: &str, _: &str) -> Option<Zeroizing<String>> {
            Some(Zeroizing::new("1234".to_owned()))
        }
    }

    type Talked = (Result<Option<FileKey>, Failure>, Vec<String>);

    fn talk_to(says: Vec<Stanza>, dialog: &dyn Dialog) -> Talked {
        let mut script = Script { says: says.into(), told: Vec::new() };
        let stanzas = [
            stanza("X25519", &["AAAA"], &[0; 32]),
            stanza("dockseal.manifest/v1", &["BBBB"], &[0; 16]),
            stanza("empty", &[], b""),
        ];
        let talked = talk(&mut script, "test", &["AGE-PLUGIN-TEST-1QQQ"], &stanzas, dialog);
        (talked, script.told)
    }

    fn failure(says: Vec<Stanza>) -> String {
        talk_to(says, &super::super::Nobody).0.err().expect("a failure").to_string()
    }

    #[test]
    fn a_plugin_gets_identities_and_stanzas_and_gives_the_file_key() {
        let says = vec![stanza("file-key", &["0"], &[7; 16]), stanza("done", &[], b"")];
        let (talked, told) = talk_to(says, &super::super::Nobody);
        let key = talked.ok().flatten().expect("a file key");
        assert_eq!(key.as_bytes(), &[7; 16]);
        let body = BASE64.encode([0; 32]);
        let introduction = format!(
            "-> add-identity AGE-PLUGIN-TEST-1QQQ\n\n-> recipient-stanza 0 X25519 AAAA\n{body}\n\
             -> recipient-stanza 0 empty\n\n-> done\n\n"
        );
        assert_eq!(told, [introduction.as_str(), "-> ok\n\n"]);
    }

    #[test]
    fn a_plugin_may_talk_to_whom_is_there() {
        let yes = BASE64.encode("Yes");
        let says = || {
            vec![
                stanza("msg", &[], b"touch\n\x1b[2Jit"),
                stanza("confirm", &[&yes], b"Plugged in?"),
                stanza("confirm", &[&yes, &yes], b"Sure?"),
                stanza("request-public", &[], b"Which?"),
                stanza("request-secret", &[], b"PIN?"),
                stanza("grease-0", &["x"], b"y"),
                stanza("done", &[], b""),
            ]
        };
        let friend = Friend::default();
        let (talked, told) = talk_to(says(), &friend);
        assert!(matches!(talked, Ok(None)));
        let answers = ["ok", "ok yes", "ok no", "ok c2xvdCAy", "ok MTIzNA", "unsupported"];
        let expected: Vec<_> = answers.iter().map(|a| answer_text(a)).collect();
        assert_eq!(told[1..], expected);
        let asked = friend.0.into_inner().expect("no panic");
        assert_eq!(
            asked,
            ["test tells touch \\u{1b}[2Jit", "Plugged in? Yes/None", "Sure? Yes/Some(\"Yes\")"]
        );
        let (talked, told) = talk_to(says(), &super::super::Nobody);
        assert!(matches!(talked, Ok(None)));
        let fails = told[1..6].iter().all(|told| told == "-> fail\n\n");
        assert!(fails, "{told:?}");
    }

    /// `ok c2xvdCAy` as a stanza whose second word, where it is no answer, is the body.
    fn answer_text(text: &str) -> String {
        match text.split_once(' ') {
            Some(("ok", body)) if body != "yes" && body != "no" => format!("-> ok\n{body}\n"),
            Some(_) | None => format!("-> {text}\n\n"),
        }
    }

    #[test]
    fn a_plugin_that_breaks_the_rules_gives_no_key() {
        let key = || stanza("file-key", &["0"], &[7; 16]);
        let done = || stanza("done", &[], b"");
        assert!(failure(vec![key(), key(), done()]).contains("two file keys"));
        assert!(failure(vec![stanza("file-key", &["1"], &[7; 16]), done()]).contains("not asked"));
        assert!(failure(vec![stanza("file-key", &["0"], &[7; 15]), done()]).contains("wrong size"));
        assert!(failure(vec![stanza("confirm", &["!"], b"")]).contains("malformed"));
        assert!(failure(vec![stanza("confirm", &[], b"")]).contains("malformed"));
        assert!(failure(vec![key()]).contains("in time"));
        let endless = vec![stanza("grease", &[], b""); COMMAND_COUNT_MAX + 1];
        assert!(failure(endless).contains("for ever"));
        let sorry = stanza("error", &["internal"], b"no such\nkey");
        assert_eq!(failure(vec![sorry, done()]), "it says: no such key");
    }
}
