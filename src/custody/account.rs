//! What the log says of a fact: most facts have an entry, retries and early receipts have none.

use super::entry::{Event, ReceiptLine};
use crate::clip::{Clip, Fact, Plaintext, Receipt};
use crate::hold::{Hold, Until};

/// The event of a fact that is about to become true of `clip`.
pub fn event_of(clip: &Clip, fact: &Fact) -> Option<Event> {
    let name = clip.sealed.map(|sealed| sealed.name);
    match fact {
        // Until then the entry `stored` will have it.
        Fact::Acknowledged(receipt) => {
            let known =
                clip.delivery(&receipt.bucket).and_then(|delivery| delivery.receipt.as_ref());
            let is_late = clip.stored_at.is_some() && known.is_none();
            is_late.then_some(Event::Stored { clip: name?, receipts: vec![line(receipt)] })
        }
        Fact::DeliveryHeld { bucket, hold } => {
            let before = clip.delivery(bucket).and_then(|delivery| delivery.hold.as_ref());
            held(clip, before, hold, Some(bucket))
        }
        Fact::Gone { plaintext, at } => {
            let clip_name = name?;
            match plaintext {
                Plaintext::Absent => Some(Event::Gone { clip: clip_name }),
                Plaintext::Changed => Some(Event::Changed { clip: clip_name }),
                Plaintext::Erased => {
                    let plaintext_seconds = at.seconds_since(clip.seen_at);
                    Some(Event::Erased { clip: clip_name, plaintext_seconds })
                }
                Plaintext::Present => None,
            }
        }
        Fact::Held(hold) => held(clip, clip.hold.as_ref(), hold, None),
        Fact::SealLost => name.map(|clip| Event::Damaged { clip }),
        Fact::Sealed(sealed) => Some(Event::Sealed {
            clip: sealed.name,
            number: clip.id.0,
            size: sealed.size_bytes,
            commitment: crate::clip::SealedName(sealed.commitment),
            keyring: sealed.keyring_revision,
        }),
        Fact::Stored(_) => {
            let receipts = clip.deliveries.iter().filter_map(|delivery| delivery.receipt.as_ref());
            Some(Event::Stored { clip: name?, receipts: receipts.map(line).collect() })
        }
        Fact::Moved(_) | Fact::Rewritten(_) | Fact::Settled(_) | Fact::Unspooled => None,
    }
}

fn line(receipt: &Receipt) -> ReceiptLine {
    let Receipt { bucket, evidence, .. } = receipt;
    ReceiptLine { bucket: bucket.clone(), evidence: evidence.word().to_owned() }
}

/// Only a wait for an operator is worth an entry, once; a line that is down ends by itself.
fn held(clip: &Clip, before: Option<&Hold>, hold: &Hold, bucket: Option<&str>) -> Option<Event> {
    let is_known = before.is_some_and(|b| b.until == Until::Operator && b.reason == hold.reason);
    if hold.until != Until::Operator || is_known {
        return None;
    }
    Some(Event::Held {
        number: clip.id.0,
        reason: hold.reason.code().to_owned(),
        bucket: bucket.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{ClipId, Evidence, SealedFile, Source, Timestamp, examples};
    use crate::hold::Reason;

    fn clip() -> Clip {
        let generation = examples::generation(2);
        let source = Source { folder: "/dock".into(), path: "officer.mp4".into() };
        Clip { id: ClipId(7), ..Clip::seen(source, generation, Timestamp(1000)) }
    }

    fn sealed() -> SealedFile {
        SealedFile {
            commitment: [2; 32],
            sealed_at: Timestamp(2000),
            keyring_revision: Some(3),
            ..examples::sealed(1)
        }
    }

    #[test]
    fn the_life_of_a_clip_is_told_in_entries_without_names() {
        let mut clip = clip();
        let facts = [
            Fact::Settled(Timestamp(1)),
            Fact::Sealed(sealed()),
            Fact::Stored(Timestamp(3)),
            Fact::Gone { plaintext: Plaintext::Erased, at: Timestamp(61_000) },
            Fact::Unspooled,
        ];
        let mut words = Vec::new();
        for fact in facts {
            if let Some(event) = event_of(&clip, &fact) {
                words.push(event.word());
                let line = super::super::entry::Entry::new(Timestamp(0), event).encode();
                assert!(!String::from_utf8_lossy(&line).contains("officer"));
            }
            clip.apply(fact).expect("true");
        }
        assert_eq!(words, ["sealed", "stored", "erased"]);
    }

    #[test]
    fn a_receipt_that_comes_after_the_others_is_told_once() {
        let mut clip = clip();
        let receipt = |bucket: &str| {
            let evidence = Evidence::ReadBack;
            Fact::Acknowledged(Receipt { bucket: bucket.into(), evidence, stored_at: Timestamp(9) })
        };
        let mut told = Vec::new();
        for fact in [
            Fact::Sealed(sealed()),
            receipt("one"),
            Fact::Stored(Timestamp(9)),
            receipt("two"),
            receipt("two"),
        ] {
            if let Some(Event::Stored { receipts, .. }) = event_of(&clip, &fact) {
                told.push(receipts.into_iter().map(|line| line.bucket).collect::<Vec<_>>());
            }
            clip.apply(fact).expect("true");
        }
        assert_eq!(told, [["one"], ["two"]]);
    }

    #[test]
    fn a_hold_for_an_operator_is_told_once() {
        let mut clip = clip();
        let hold = Hold::for_operator(Reason::Vanished, "gone", Timestamp(5));
        assert!(event_of(&clip, &Fact::Held(hold.clone())).is_some());
        clip.apply(Fact::Held(hold.clone())).expect("true");
        assert!(event_of(&clip, &Fact::Held(hold.clone())).is_none());
        let other = Hold::for_operator(Reason::Internal, "x", Timestamp(5));
        assert!(event_of(&clip, &Fact::Held(other)).is_some());
        let retry = Hold { until: Until::Time(Timestamp(9)), ..hold };
        assert!(event_of(&clip, &Fact::Held(retry)).is_none());
    }
}
