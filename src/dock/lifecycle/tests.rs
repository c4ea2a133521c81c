//! Tests of the lifecycle: the table row by row, then what must hold for every clip there can be.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::clip::{ClipId, Delivery, Fact, SealedFile, Source, State, examples};

const NOW: Timestamp = Timestamp(1_000_000);

fn clip() -> Clip {
    Clip {
        id: ClipId(1),
        source: Some(Source { folder: PathBuf::from("/srv/dock"), path: PathBuf::from("a.mp4") }),
        generation: examples::generation(2),
        plaintext: Plaintext::Present,
        seen_at: Timestamp(0),
        settled_at: Some(Timestamp(1)),
        stored_at: None,
        gone_at: None,
        sealed: None,
        hold: None,
        deliveries: vec![],
    }
}

fn sealed() -> Clip {
    let sealed = SealedFile {
        size_bytes: 4,
        commitment: [2; 32],
        sealed_at: Timestamp(2),
        ..examples::sealed(1)
    };
    Clip { sealed: Some(sealed), ..clip() }
}

fn apply(clip: &mut Clip, fact: Fact) {
    clip.apply(fact).expect("no contradiction");
}

fn receipt(evidence: Evidence) -> Receipt {
    Receipt { bucket: "a".into(), evidence, stored_at: Timestamp(3) }
}

fn delivered(evidence: Evidence) -> Clip {
    let mut clip = sealed();
    apply(&mut clip, Fact::Acknowledged(receipt(evidence)));
    clip
}

fn policy(erase: EraseWhen) -> Policy {
    let bucket =
        BucketPolicy { name: "a".into(), required: true, evidence_min: Evidence::ReadBack };
    Policy { erase, buckets: vec![bucket], keep_sealed_seconds: 0 }
}

fn hold(reason: Reason, until: Until) -> Hold {
    Hold { reason, until, since: Timestamp(0), attempts: 1, cause: "x".into() }
}

#[test]
fn the_walk_is_the_table() {
    let stored = policy(EraseWhen::WhenStored);
    assert_eq!(next_step(&Clip { settled_at: None, ..clip() }, &stored, NOW), Step::WaitForScan);
    assert_eq!(next_step(&clip(), &stored, NOW), Step::Seal);
    assert_eq!(next_step(&sealed(), &stored, NOW), Step::Done);
    assert_eq!(next_delivery(&sealed(), "a", &stored, NOW), Delivering::Now);
    let mut clip = delivered(Evidence::DigestChecked);
    assert_eq!(next_step(&clip, &stored, NOW), Step::Store);
    apply(&mut clip, Fact::Stored(NOW));
    assert!(matches!(next_step(&clip, &stored, NOW), Step::Erase(_)));
    apply(&mut clip, Fact::Gone { plaintext: Plaintext::Erased, at: NOW });
    assert_eq!(clip.state(), State::Erased);
    assert_eq!(next_step(&clip, &stored, NOW), Step::Unspool);
    apply(&mut clip, Fact::Unspooled);
    assert_eq!(next_step(&clip, &stored, NOW), Step::Done);
}

#[test]
fn a_bare_acknowledgement_erases_nothing() {
    let weak = delivered(Evidence::Acknowledged);
    assert_eq!(prove(&weak, &policy(EraseWhen::WhenStored)), None);
    let mut trusting = policy(EraseWhen::WhenStored);
    trusting.buckets[0].evidence_min = Evidence::Acknowledged;
    assert!(prove(&weak, &trusting).is_some());
}

#[test]
fn when_sealed_erases_only_what_was_read_again() {
    let policy = policy(EraseWhen::WhenSealed);
    assert_eq!(prove(&sealed(), &policy), None);
    let mut clip = sealed();
    clip.sealed = clip.sealed.map(|sealed| SealedFile { reread: true, ..sealed });
    assert!(matches!(next_step(&clip, &policy, NOW), Step::Erase(_)));
}

#[test]
fn no_required_bucket_proves_nothing() {
    let mut nobody = policy(EraseWhen::WhenStored);
    nobody.buckets[0].required = false;
    assert_eq!(prove(&delivered(Evidence::DigestChecked), &nobody), None);
    nobody.buckets.clear();
    assert_eq!(prove(&delivered(Evidence::DigestChecked), &nobody), None);
}

#[test]
fn a_blocked_erasure_does_not_stop_the_push() {
    let mut clip = sealed();
    clip.hold = Some(hold(Reason::EraseBlocked, Until::Operator));
    let policy = policy(EraseWhen::WhenStored);
    assert_eq!(next_delivery(&clip, "a", &policy, NOW), Delivering::Now);
    clip.hold = Some(hold(Reason::SpoolDamaged, Until::Operator));
    assert_eq!(next_delivery(&clip, "a", &policy, NOW), Delivering::Not);
    assert_eq!(next_step(&clip, &policy, NOW), Step::Operator);
}

#[test]
fn a_bucket_on_hold_does_not_delay_another() {
    let mut policy = policy(EraseWhen::WhenStored);
    let second = BucketPolicy { name: "b".into(), ..policy.buckets[0].clone() };
    policy.buckets.push(second);
    let mut clip = sealed();
    let later = Timestamp(NOW.0 + 5000);
    let wait = hold(Reason::BucketFailed, Until::Time(later));
    apply(&mut clip, Fact::DeliveryHeld { bucket: "a".into(), hold: wait });
    assert_eq!(next_delivery(&clip, "a", &policy, NOW), Delivering::Later(later));
    assert_eq!(next_delivery(&clip, "b", &policy, NOW), Delivering::Now);
    assert_eq!(next_delivery(&clip, "not configured", &policy, NOW), Delivering::Not);
    let receipt = Receipt { bucket: "b".into(), ..receipt(Evidence::ReadBack) };
    apply(&mut clip, Fact::Acknowledged(receipt));
    assert_eq!(next_delivery(&clip, "b", &policy, NOW), Delivering::Not);
    assert_eq!(next_delivery(&clip, "a", &policy, later), Delivering::Now);
    assert_eq!(next_step(&clip, &policy, later), Step::Done);
}

#[test]
fn the_spool_keeps_a_clip_for_buckets_that_were_not_tried() {
    let mut policy = policy(EraseWhen::Never);
    let second = BucketPolicy { name: "b".into(), required: false, ..policy.buckets[0].clone() };
    policy.buckets.push(second);
    let mut clip = delivered(Evidence::ReadBack);
    apply(&mut clip, Fact::Stored(NOW));
    let hour = NOW.plus_seconds(3600);
    assert_eq!(next_step(&clip, &policy, NOW), Step::Wait(hour));
    assert_eq!(next_step(&clip, &policy, hour), Step::Unspool);
    // A required one that was added after the clip was stored.
    policy.buckets[1].required = true;
    assert_eq!(next_step(&clip, &policy, hour), Step::Done);
    policy.buckets[1].required = false;
    let wait = hold(Reason::BucketFailed, Until::Time(hour));
    apply(&mut clip, Fact::DeliveryHeld { bucket: "b".into(), hold: wait });
    assert_eq!(next_step(&clip, &policy, NOW), Step::Unspool);
}

#[test]
fn sealed_files_are_kept_as_long_as_asked() {
    let mut policy = policy(EraseWhen::Never);
    policy.keep_sealed_seconds = 60;
    let mut clip = delivered(Evidence::ReadBack);
    apply(&mut clip, Fact::Stored(NOW));
    assert_eq!(next_step(&clip, &policy, NOW), Step::Wait(NOW.plus_seconds(60)));
    assert_eq!(next_step(&clip, &policy, NOW.plus_seconds(60)), Step::Unspool);
}

#[test]
fn delays_grow_and_are_bounded() {
    let longest = |attempts| retry_delay(attempts, 1.0).as_secs();
    assert_eq!([1, 2, 3, 9, 10, 11, 4000].map(longest), [2, 4, 8, 512, 900, 900, 900]);
    assert_eq!(retry_delay(4000, 0.0), Duration::from_millis(250));
    assert_eq!(retry_delay(2, 0.5), Duration::from_secs(2));
}

#[test]
fn a_clock_that_was_put_back_makes_nobody_wait_for_years() {
    let at = |seconds| Until::Time(NOW.plus_seconds(seconds));
    let held = |seconds| Some(hold(Reason::SpoolFull, at(seconds)));
    let step = |seconds| {
        let clip = Clip { hold: held(seconds), ..clip() };
        next_step(&clip, &policy(EraseWhen::Never), NOW)
    };
    assert_eq!(step(900), Step::Wait(NOW.plus_seconds(900)));
    assert_eq!(step(901), Step::Seal);
    let push = |seconds| {
        let mut clip = sealed();
        let hold = hold(Reason::BucketFailed, at(seconds));
        apply(&mut clip, Fact::DeliveryHeld { bucket: "a".into(), hold });
        next_delivery(&clip, "a", &policy(EraseWhen::Never), NOW)
    };
    assert_eq!(push(900), Delivering::Later(NOW.plus_seconds(900)));
    assert_eq!(push(901), Delivering::Now);
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Acknowledged),
        Just(Evidence::ReadBack),
        Just(Evidence::DigestChecked),
    ]
}

fn any_hold() -> impl Strategy<Value = Option<Hold>> {
    let until = prop_oneof![
        Just(Until::Operator),
        (0..2_000_000i64).prop_map(|t| Until::Time(Timestamp(t)))
    ];
    proptest::option::of((proptest::sample::select(Reason::ALL.to_vec()), until))
        .prop_map(|hold_parts| hold_parts.map(|(reason, until)| hold(reason, until)))
}

prop_compose! {
    fn any_clip()(
        is_sealed in any::<bool>(), reread in any::<bool>(), in_spool in any::<bool>(),
        settled in any::<bool>(), present in any::<bool>(), stored in any::<bool>(),
        hold in any_hold(),
        deliveries in proptest::collection::vec(
            (proptest::option::of(any_evidence()), any_hold()), 0..3),
    ) -> Clip {
        let mut clip = if is_sealed { sealed() } else { clip() };
        clip.settled_at = settled.then_some(Timestamp(1));
        clip.hold = hold;
        if let Some(sealed) = &mut clip.sealed {
            (sealed.reread, sealed.in_spool) = (reread, in_spool);
            clip.stored_at = stored.then_some(Timestamp(3));
            if !present {
                clip.plaintext = Plaintext::Erased;
                clip.source = None;
            }
        }
        clip.deliveries = deliveries.into_iter().zip(["a", "b"]).map(|((evidence, hold), name)| {
            let of = |evidence| Receipt { bucket: name.into(), ..receipt(evidence) };
            let receipt = evidence.map(of);
            Delivery { bucket: name.into(), receipt, hold }
        }).collect();
        clip
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let erase = prop_oneof![
        Just(EraseWhen::Never),
        Just(EraseWhen::WhenStored),
        Just(EraseWhen::WhenSealed),
    ];
    let bucket = (any::<bool>(), any_evidence());
    (erase, proptest::collection::vec(bucket, 0..3)).prop_map(|(erase, buckets)| {
        let buckets = buckets.into_iter().zip(["a", "b"]);
        let buckets = buckets.map(|((required, evidence_min), name)| BucketPolicy {
            name: name.into(),
            required,
            evidence_min,
        });
        Policy { erase, buckets: buckets.collect(), keep_sealed_seconds: 60 }
    })
}

proptest! {
    #[test]
    fn plaintext_is_erased_only_on_proof(clip in any_clip(), policy in any_policy()) {
        let step = next_step(&clip, &policy, NOW);
        if matches!(step, Step::Erase(_)) {
            prop_assert_ne!(policy.erase, EraseWhen::Never);
            prop_assert_eq!(clip.plaintext, Plaintext::Present);
            let sealed = clip.sealed.expect("only a sealed clip is erased");
            let required: Vec<_> = policy.buckets.iter().filter(|b| b.required).collect();
            let stored = !required.is_empty() && required.iter().all(|bucket| {
                clip.deliveries.iter().filter_map(|d| d.receipt.as_ref())
                    .any(|r| r.bucket == bucket.name && r.evidence >= bucket.evidence_min)
            });
            let early = policy.erase == EraseWhen::WhenSealed && sealed.reread && sealed.in_spool;
            prop_assert!(stored || early);
        }
    }

    #[test]
    fn a_sealed_file_leaves_the_spool_only_when_stored(
        clip in any_clip(), policy in any_policy()
    ) {
        if next_step(&clip, &policy, NOW) == Step::Unspool {
            prop_assert!(clip.stored_at.is_some());
            prop_assert!(clip.sealed.is_some_and(|sealed| sealed.in_spool));
        }
    }

    #[test]
    fn a_wait_is_always_ahead_and_nothing_is_pushed_before_it_is_sealed(
        clip in any_clip(), policy in any_policy()
    ) {
        match next_step(&clip, &policy, NOW) {
            Step::Wait(until) => prop_assert!(until > NOW),
            Step::Seal => prop_assert!(clip.sealed.is_none() && clip.settled_at.is_some()),
            Step::Done | Step::Erase(_) | Step::Operator | Step::Store
            | Step::Unspool | Step::WaitForScan => {}
        }
        match next_delivery(&clip, "a", &policy, NOW) {
            Delivering::Now => prop_assert!(clip.sealed.is_some_and(|sealed| sealed.in_spool)),
            Delivering::Later(until) => prop_assert!(until > NOW),
            Delivering::Not => {}
        }
    }
}
