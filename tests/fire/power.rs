//! Power cuts and failing disks: what was promised is true of every image that they leave.

mod campaign;
mod canary;
mod disk;
mod failing;
mod mounted;
mod outside;
mod replay;
mod site;
mod truth;

use std::sync::Once;
use std::time::Instant;

use crate::chance::{Random, depth, say};
use crate::support::tools::needs;
use campaign::{Campaign, Tally};
use site::Layout;

/// Once a process, before anything is mounted.
fn clean_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(mounted::clean_up);
}

/// The ways in which a dock may be laid out, each with as many images. The last one is tried only
/// where somebody asks for it: without its journal ext4 does not keep what it promised, and we
/// promise nothing on it (docs/faults.md §5, docs/threat-model.md §3).
const WAYS: [(Layout, &str); 5] = [
    (Layout::OneDisk, "when-stored"),
    (Layout::OneDisk, "when-sealed"),
    (Layout::TwoDisks, "when-stored"),
    (Layout::TwoDisks, "when-sealed"),
    (Layout::Unjournaled, "when-stored"),
];

#[test]
fn a_power_cut_at_any_flush_loses_nothing_and_erases_nothing_early() {
    needs!(Ext4, Fuse, Loop, Root, Setpriv);
    clean_up();
    let (began, random) = (Instant::now(), Random::new());
    let seed = random.seed();
    let all = std::env::var_os("DOCKSEAL_UNJOURNALED").is_some();
    let ways = &WAYS[..WAYS.len() - usize::from(!all)];
    let images = depth(200, 1000) / ways.len();
    let part = |ways: &[(Layout, &'static str)]| {
        let mut tally = Tally::default();
        for (layout, erase) in ways {
            // Of its own, so that one way can be repeated without those before it.
            let number =
                WAYS.iter().position(|way| way == &(*layout, *erase)).expect("one of them");
            let mut campaign = Campaign::new(*layout, erase, Random::of(seed + number as u64));
            campaign.run(images, &mut tally);
        }
        tally
    };
    // Two at a time: most of an image's time is waiting.
    let tally = std::thread::scope(|scope| {
        let second = scope.spawn(|| part(&ways[2..]));
        let first = part(&ways[..2]);
        first + second.join().expect("its message was shown")
    });
    say(&format!("power: {tally}, {} s, seed {seed}", began.elapsed().as_secs()));
    tally.assert_clean();
}
