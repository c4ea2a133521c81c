//! The witness: cosigns a checkpoint that continues the last one it saw, and no other.
//!
//! C2SP tlog-witness, "add-checkpoint". What it remembers are the notes themselves, cosigned, one
//! after another: a public file, which `--witnessed` reads.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::memory::parse_witnessed;
use crate::clip::Timestamp;
use crate::custody::checkpoint::Checkpoint;
use crate::custody::merkle::{Hash, is_consistent};
use crate::keyring::{Keyring, day_of};
use crate::note::{Note, SignerKey, VerifierKey};

/// Largest request that is looked at, in bytes.
pub const REQUEST_SIZE_MAX: usize = 64 << 10;
/// Longest proof (C2SP tlog-witness): a log has fewer than 2^63 entries.
const PROOF_COUNT_MAX: usize = 63;

/// What a dock asks.
pub struct Request {
    /// What the dock believes the witness saw last.
    old: u64,
    /// That the log of `old` entries grew to this one.
    proof: Vec<Hash>,
    note: Note,
    checkpoint: Checkpoint,
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The witness saw another size last, or another root.
    #[error("the last checkpoint seen has {size} entries")]
    Conflict {
        /// What it saw.
        size: u64,
    },
    /// Signed by no enrolled key of the dock.
    #[error("not signed by a key that the keyring enrols today")]
    Forbidden,
    /// Not a request.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Not the log of an enrolled dock.
    #[error("no enrolled dock has a log of this origin")]
    UnknownOrigin,
    /// The proof does not show growth.
    #[error("the proof does not show that the log only grew")]
    Unproven,
}

impl Request {
    /// Reads `old <size>`, the proof, an empty line and the checkpoint.
    pub fn parse(body: &[u8]) -> Result<Request, Refused> {
        let text = std::str::from_utf8(body).map_err(|_| Refused::Malformed("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(Refused::Malformed("no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(|size| Some((size, size.parse::<u64>().ok()?)));
        let old = old.filter(|(text, size)| size.to_string() == *text);
        let (_, old) = old.ok_or(Refused::Malformed("expected old and a size"))?;
        let proof: Option<Vec<Hash>> =
            lines.map(|line| Some(Hash(BASE64.decode(line).ok()?.try_into().ok()?))).collect();
        let proof = proof.filter(|proof| proof.len() <= PROOF_COUNT_MAX);
        let proof = proof.ok_or(Refused::Malformed("the proof is not base64 hashes"))?;
        let note = Note::parse(note.as_bytes());
        let note = note.map_err(|_| Refused::Malformed("not a signed note"))?;
        let checkpoint = Checkpoint::parse(note.text());
        let checkpoint = checkpoint.map_err(|_| Refused::Malformed("not a checkpoint"))?;
        if old > checkpoint.size {
            return Err(Refused::Malformed("the old size is above the new one"));
        }
        Ok(Request { old, proof, note, checkpoint })
    }
}

/// What a witness remembers: the last note of each log.
#[derive(Debug, Default, Clone)]
pub struct Seen(BTreeMap<String, (Checkpoint, String)>);

impl Seen {
    /// Reads the state file; `None` where it has a note that this witness did not cosign. To begin
    /// without it would be to forget, and to cosign what was rolled back.
    pub fn parse(text: &str, own: &VerifierKey) -> Option<Seen> {
        let mut seen = Seen::default();
        let (notes, unsigned) = parse_witnessed(text, std::slice::from_ref(own));
        if !unsigned.is_empty() {
            return None;
        }
        for (one, text) in notes {
            seen.0.insert(one.checkpoint.origin.clone(), (one.checkpoint, text));
        }
        Some(seen)
    }

    /// The text of the state file, and what `GET /checkpoints` answers.
    pub fn to_text(&self) -> String {
        self.0.values().map(|(_, note)| format!("{note}\n")).collect()
    }

    /// Cosigns a checkpoint where it continues what was seen. Gives the memory that must be durable
    /// before anybody hears the answer, and the answer.
    pub fn cosign(
        &self,
        request: Request,
        keyring: &Keyring,
        key: &SignerKey,
        now: Timestamp,
    ) -> Result<(Seen, String), Refused> {
        let Request { old, proof, mut note, checkpoint } = request;
        let (dock, _) = checkpoint.log().ok_or(Refused::UnknownOrigin)?;
        let enrolled = keyring.dock(dock, day_of(now)).ok_or(Refused::UnknownOrigin)?;
        note.verify(&enrolled.key).map_err(|_| Refused::Forbidden)?;
        let before = self.0.get(&checkpoint.origin).map(|(before, _)| before);
        let size = before.map_or(0, |before| before.size);
        if old != size {
            return Err(Refused::Conflict { size });
        }
        if let Some(before) = before {
            let (new, new_root) = (checkpoint.size, checkpoint.root);
            if new == size && new_root != before.root {
                return Err(Refused::Conflict { size });
            }
            if !is_consistent(size, before.root, new, new_root, &proof) {
                return Err(Refused::Unproven);
            }
        } else if !proof.is_empty() {
            return Err(Refused::Unproven);
        }
        let signed = note.signature_lines().len();
        note.cosign(key, u64::try_from(now.0 / 1000).unwrap_or(0));
        let lines = note.signature_lines()[signed..].to_owned();
        let mut next = self.clone();
        next.0.insert(checkpoint.origin.clone(), (checkpoint, note.to_string()));
        Ok((next, lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::merkle::{Frontier, leaf_hash, node_hash};
    use crate::keyring::{Days, Enrolled, Member, Role};
    use crate::note::Kind;

    const ORIGIN: &str = "d/log/0011223344556677";

    fn key(name: &str, kind: Kind, seed: u8) -> SignerKey {
        SignerKey::from_seed(name, kind, &[seed; 32]).expect("a name")
    }

    fn keyring() -> Keyring {
        let days = Days {
            from: "1970-01-01".parse().expect("a date"),
            until: "1970-12-31".parse().expect("a date"),
        };
        let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        Keyring {
            authority: key("a", Kind::Note, 1).verifier(),
            revision: 1,
            issued: jiff::Timestamp::UNIX_EPOCH,
            expires: days.until,
            retention_days: 1,
            members: vec![Member {
                role: Role::new("evidence").expect("a word"),
                days: None,
                recipient: recipient.parse().expect("a recipient"),
            }],
            docks: vec![Enrolled { key: key("d", Kind::Note, 2).verifier(), days }],
            successor: None,
        }
    }

    fn root(leaves: &[&[u8]]) -> Hash {
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(leaf_hash(leaf)));
        frontier.root()
    }

    fn body(old: u64, proof: &[Hash], size: u64, root: Hash, seed: u8) -> String {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
        let note = checkpoint.sign(&key("d", Kind::Note, seed));
        let proof: String = proof.iter().map(|h| format!("{}\n", BASE64.encode(h.0))).collect();
        format!("old {old}\n{proof}\n{note}")
    }

    fn ask(seen: &Seen, body: &str) -> Result<(Seen, String), Refused> {
        let witness = key("w", Kind::Cosignature, 3);
        let request = Request::parse(body.as_bytes())?;
        seen.cosign(request, &keyring(), &witness, Timestamp(5000))
    }

    #[test]
    fn only_growth_is_cosigned() {
        let (one, two) = (root(&[b"a"]), root(&[b"a", b"b"]));
        let (seen, lines) = ask(&Seen::default(), &body(0, &[], 1, one, 2)).expect("the first");
        assert!(lines.starts_with("\u{2014} w ") && lines.lines().count() == 1);
        let other = root(&[b"x"]);
        let refused = |body: &str| ask(&seen, body).map(|_| ()).expect_err("refused");
        let conflict = Refused::Conflict { size: 1 };
        assert_eq!(refused(&body(0, &[], 2, two, 2)), conflict);
        assert_eq!(refused(&body(1, &[], 1, other, 2)), conflict);
        assert_eq!(refused(&body(1, &[other], 2, two, 2)), Refused::Unproven);
        assert_eq!(refused(&body(1, &[leaf_hash(b"b")], 2, two, 9)), Refused::Forbidden);
        let proof = [leaf_hash(b"b")];
        assert_eq!(node_hash(one, proof[0]), two);
        let (seen, _) = ask(&seen, &body(1, &proof, 2, two, 2)).expect("it grew");
        // Asked again after its answer was lost: the same once more.
        let (seen, _) = ask(&seen, &body(2, &[], 2, two, 2)).expect("the same");
        let own = key("w", Kind::Cosignature, 3).verifier();
        let again = Seen::parse(&seen.to_text(), &own).expect("our own");
        assert_eq!(again.to_text(), seen.to_text());
        let stranger = key("w", Kind::Cosignature, 4).verifier();
        assert!(Seen::parse(&seen.to_text(), &stranger).is_none());
    }

    #[test]
    fn strangers_and_rubbish_are_refused() {
        let checkpoint = Checkpoint { origin: "e/log/0011223344556677".into(), ..first() };
        let note = checkpoint.sign(&key("d", Kind::Note, 2));
        let refused = |body: &str| ask(&Seen::default(), body).map(|_| ()).expect_err("refused");
        assert_eq!(refused(&format!("old 0\n\n{note}")), Refused::UnknownOrigin);
        let good = body(0, &[], 1, root(&[b"a"]), 2);
        for bad in [
            good.replace("old 0", "old 00"),
            good.replace("old 0", "new 0"),
            good.replace("old 0", "old 2"),
            good.replace("old 0", "old 0\nAAAA"),
            good.replace("old 0", &format!("old 0{}", format!("\n{}=", "A".repeat(43)).repeat(64))),
            good.replace("\n\n", "\n"),
            "old 0\n\n".into(),
        ] {
            assert!(matches!(refused(&bad), Refused::Malformed(_)), "{bad}");
        }
    }

    fn first() -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size: 1, root: root(&[b"a"]) }
    }
}
