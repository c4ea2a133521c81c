//! The canary sweep of the raw state disk: nothing of a plaintext was ever written to it.

use super::disk::Event;
use super::site::{CONTENT_MARK, Layout, NAME_MARK, PoweredSite};
use super::{clean_up, say};
use crate::support::markers::Marker;
use crate::support::random::Random;
use crate::support::tools::needs;

/// Disk 0, which has the state directory and nothing else.
const STATE: usize = 0;

/// All that was ever written to a disk, in order.
fn written(events: &[Event], wanted: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        match event {
            Event::Write { disk, page, .. } if *disk == wanted => bytes.extend_from_slice(page),
            Event::Write { .. } | Event::Flush { .. } | Event::Outside { .. } => {}
        }
    }
    bytes
}

fn is_in(mark: &str, bytes: &[u8]) -> bool {
    Marker::new(mark).is_in(&mut &*bytes).unwrap()
}

#[test]
fn no_byte_of_a_clip_is_ever_written_to_the_state_disk() {
    needs!(Ext4, Fuse, Loop, Root, Setpriv);
    clean_up();
    for erase in ["when-stored", "when-sealed"] {
        let mut site = PoweredSite::new(Layout::TwoDisks, erase, &mut Random::new());
        let (recording, run) = site.record();
        let run = run.expect_code(0);
        let raw = written(&recording.events, STATE);
        say(&format!("power: canary swept {} KiB of raw writes, {erase}", raw.len() >> 10));
        let sealed: usize = site.sealed_bytes();
        assert!(raw.len() > sealed, "all sealed files went through the disk");
        assert!(!is_in(CONTENT_MARK, &raw), "{erase}: a clip's bytes on the state disk");
        for mark in [CONTENT_MARK, NAME_MARK] {
            assert!(!is_in(mark, run.stderr.as_bytes()), "{erase}: {mark} in the log");
            let found = Marker::new(mark).files_with(&site.site.bucket());
            assert!(found.is_empty(), "{erase}: {mark} in the bucket: {found:?}");
        }
        the_sweep_finds_what_is_planted(&mut site);
    }
}

/// The same sweep, after a program wrote a marker to the state disk, and removed it again.
fn the_sweep_finds_what_is_planted(site: &mut PoweredSite) {
    let planted = site.site.dock.state_dir().join("planted");
    let (recording, ()) = site.record_while(|site, sync| {
        std::fs::write(&planted, format!("something {CONTENT_MARK} something")).unwrap();
        sync(site);
        std::fs::remove_file(&planted).unwrap();
        sync(site);
    });
    assert!(is_in(CONTENT_MARK, &written(&recording.events, STATE)), "what was planted is found");
}
