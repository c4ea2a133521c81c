//! The list of clips: which come first, and one line each.

use std::collections::HashSet;

use super::super::line::{Line, Tone, fitted, path_fitted};
use crate::cli::dock::clips::{holds, place};
use crate::cli::{bytes_for_people, seconds_for_people};
use crate::clip::{Clip, ClipId, State, Timestamp};
use crate::dock::queue::Sent;
use crate::hold::{Hold, Until};

/// The head of the list.
pub(super) const HEAD: &str =
    "  CLIP  STATE         SIZE  SEEN     WHAT NOW                     FILE";
const WHAT_WIDTH: usize = 27;
const BEFORE_FILE: usize = 66;

/// Three lists as one, each clip once: what is held, for a person first; what is not stored, on its
/// way first; the rest.
pub(super) fn in_order(lists: [Vec<Clip>; 3], uploads: &[Sent]) -> Vec<Clip> {
    let [mut held, mut waiting, rest] = lists;
    held.sort_by_key(|clip| (!needs_you(clip), clip.seen_at, clip.id));
    let on_its_way: HashSet<ClipId> = uploads.iter().map(|sent| sent.clip).collect();
    waiting.sort_by_key(|clip| !on_its_way.contains(&clip.id));
    let mut known = HashSet::new();
    let all = held.into_iter().chain(waiting).chain(rest);
    all.filter(|clip| known.insert(clip.id)).collect()
}

fn needs_you(clip: &Clip) -> bool {
    holds(clip).any(|hold| hold.until == Until::Operator)
}

/// The hold that is told of a clip: one for a person before others.
fn worst_hold(clip: &Clip) -> Option<&Hold> {
    holds(clip).min_by_key(|hold| hold.until != Until::Operator)
}

/// One line of the list.
pub(super) fn line(clip: &Clip, uploads: &[Sent], now: Timestamp, width: usize) -> Line {
    let (tone, what) = what_now(clip, uploads);
    let size = bytes_for_people(clip.generation.size_bytes);
    let age = seconds_for_people(now.seconds_since(clip.seen_at));
    let (id, state) = (clip.id.0, clip.state().word());
    let path = path_fitted(&place(clip), width.saturating_sub(BEFORE_FILE));
    Line::of(Tone::Plain, format!("{id:>6}  {state:6}  {size:>10}  {age:7}  "))
        .and(tone, fitted(&what, WHAT_WIDTH))
        .and(Tone::Plain, format!("  {path}"))
}

/// What a clip does or waits for, as far as the queue tells it.
fn what_now(clip: &Clip, uploads: &[Sent]) -> (Tone, String) {
    if let Some(hold) = worst_hold(clip) {
        let tone = if hold.until == Until::Operator { Tone::Bad } else { Tone::Warning };
        return (tone, format!("held: {}", hold.reason.code()));
    }
    let upload = uploads.iter().find(|sent| sent.clip == clip.id);
    let size = clip.sealed.map_or(0, |sealed| sealed.size_bytes);
    match (clip.state(), upload) {
        (State::Seen, _) if clip.settled_at.is_none() => (Tone::Plain, "may still grow".into()),
        (State::Seen, _) => (Tone::Plain, "to be sealed".into()),
        (_, Some(sent)) if size > 0 => {
            let percent = sent.size_bytes.saturating_mul(100) / size;
            (Tone::Good, format!("{percent} % in {}", sent.bucket))
        }
        (State::Sealed, _) => (Tone::Plain, "to be stored".into()),
        (State::Stored | State::Erased, _) => (Tone::Quiet, "safe".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{Generation, SealedFile, Source, examples};
    use crate::hold::Reason;

    fn clip(number: i64, hold: Option<Until>) -> Clip {
        let source = Source { folder: "/srv/dock".into(), path: format!("{number}.mp4").into() };
        let generation = Generation { size_bytes: 1 << 20, ..examples::generation(2) };
        let hold = hold.map(|until| Hold {
            until,
            ..Hold::for_operator(Reason::Unreadable, "x", Timestamp(0))
        });
        let clip = Clip::seen(source, generation, Timestamp(number));
        Clip { id: ClipId(number), hold, ..clip }
    }

    fn sealed(clip: Clip) -> Clip {
        let sealed =
            SealedFile { size_bytes: 1000, sealed_at: Timestamp(0), ..examples::sealed(7) };
        Clip { sealed: Some(sealed), ..clip }
    }

    fn upload(number: i64) -> Sent {
        let (bucket, sealed_at) = ("primary".into(), Timestamp(0));
        Sent { clip: ClipId(number), bucket, size_bytes: 630, sealed_at, receipt_at: None }
    }

    #[test]
    fn what_needs_a_person_comes_first_then_what_is_on_its_way() {
        let held = [clip(9, Some(Until::Time(Timestamp(7)))), clip(8, Some(Until::Operator))];
        let waiting = [clip(1, None), sealed(clip(2, None)), held[1].clone()];
        let newest = [held[0].clone(), held[1].clone(), clip(3, None), waiting[1].clone()];
        let lists = [held.to_vec(), waiting.to_vec(), newest.to_vec()];
        let order = in_order(lists, &[upload(2)]);
        assert_eq!(order.iter().map(|clip| clip.id.0).collect::<Vec<_>>(), [8, 9, 2, 1, 3]);
    }

    #[test]
    fn a_line_says_what_a_clip_does() {
        let text = |clip: &Clip| {
            let line = line(clip, &[upload(2)], Timestamp(65_000), 80);
            line.pieces().iter().map(|(_, text)| text.as_str()).collect::<String>()
        };
        let shown = text(&sealed(clip(2, None)));
        assert!(
            shown.starts_with("     2  sealed     1.0 MiB  1m 4s    63 % in primary  "),
            "{shown}"
        );
        assert!(shown.ends_with("  …rv/dock/2.mp4") && shown.chars().count() == 80, "{shown}");
        assert!(text(&clip(5, Some(Until::Operator))).contains("held: unreadable  "));
        assert!(text(&clip(5, None)).contains("may still grow"));
        assert!(text(&sealed(clip(5, None))).contains("to be stored"));
        assert_eq!(HEAD.find("FILE"), Some(BEFORE_FILE));
    }
}
