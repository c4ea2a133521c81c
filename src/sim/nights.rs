//! Whole nights: what a dock goes through, told step by step instead of drawn.

use std::time::Duration;

use super::dice::Dice;
use super::episode::Episode;
use super::plan::Kind;
use super::world::Crash;
use super::{MEDIA, first_seed, say};
use crate::custody::place::Place;
use crate::dock::config::EraseWhen;

const MINUTE: Duration = Duration::from_secs(60);

type Night = Result<(), String>;

/// Runs a night in the first world, from a printed seed on, in which both buckets are required and
/// everything stored is erased.
fn night(media: usize, run: impl AsyncFn(&mut Episode, &mut Dice) -> Night) {
    let first = first_seed();
    for seed in (0..1000).map(|index| first.wrapping_add(index)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let root = root.expect("a folder");
        let ended = runtime.block_on(async {
            let mut episode = Episode::begin(root.path(), seed, media);
            let is_required = episode.config.buckets.iter().all(|bucket| bucket.required);
            let is_erased =
                episode.config.watches.iter().all(|watch| watch.erase == EraseWhen::WhenStored);
            if !is_required || !is_erased || episode.config.keep_sealed_seconds > 0 {
                return None;
            }
            let ended = run(&mut episode, &mut Dice::new(seed)).await;
            Some((ended, episode.world.state().events().0))
        });
        if let Some((ended, events)) = ended {
            let shown = &events[events.len().saturating_sub(100)..];
            assert_eq!(ended, Ok(()), "seed {seed}\n{}", shown.join("\n"));
            return say(&format!("sim: a night of seed {seed}"));
        }
    }
    unreachable!("one world in eight or so is like that");
}

fn away(episode: &mut Episode, bucket: &str, is_away: bool) {
    episode.world.state().buckets.get_mut(bucket).expect("configured").1.is_away = is_away;
}

fn add(episode: &mut Episode, count: usize, dice: &mut Dice) {
    let mut state = episode.world.state();
    let wanted = state.present().len() + count;
    // A name may come twice, and is then no other file.
    while state.present().len() < wanted {
        state.camera(Kind::Add, dice);
    }
}

/// The clips that a bucket holds.
fn held(episode: &Episode, bucket: &str) -> usize {
    let state = episode.world.state();
    let inside = state.buckets[bucket].0.inside();
    inside.objects.keys().filter(|key| matches!(Place::of(key), Place::Clip { .. })).count()
}

/// Lets time pass in small steps, and checks after each, until the bucket holds so many clips;
/// says how long that took.
async fn until_held(episode: &mut Episode, bucket: &str, count: usize) -> Result<Duration, String> {
    let began = episode.world.elapsed();
    while held(episode, bucket) < count {
        episode.pass(Duration::from_secs(1)).await?;
        episode.check()?;
        if episode.world.elapsed() - began > 60 * MINUTE {
            return Err(format!("{bucket} has {} of {count}", held(episode, bucket)));
        }
    }
    Ok(episode.world.elapsed() - began)
}

#[test]
fn a_bucket_that_is_down_for_an_hour_delays_no_other_and_erases_nothing() {
    const CLIPS: usize = 100;
    night(MEDIA, async |episode, dice| {
        // How fast it goes from the first to the last while nothing is wrong.
        add(episode, CLIPS, dice);
        until_held(episode, "two", 1).await?;
        let usual = until_held(episode, "two", CLIPS).await?;
        until_held(episode, "one", CLIPS).await?;
        episode.pass(MINUTE).await?;
        assert!(episode.world.state().present().is_empty(), "all of it was erased");

        away(episode, "one", true);
        let down = episode.world.elapsed();
        add(episode, CLIPS, dice);
        until_held(episode, "two", CLIPS + 1).await?;
        let took = until_held(episode, "two", 2 * CLIPS).await?;
        say(&format!(
            "sim: {CLIPS} clips in {took:?} beside a bucket that is down, else {usual:?}"
        ));
        assert!(took <= usual + Duration::from_secs(3), "{took:?}, usually {usual:?}");
        while episode.world.elapsed() - down < 60 * MINUTE {
            episode.pass(MINUTE).await?;
            episode.check()?;
        }
        assert_eq!(held(episode, "one"), CLIPS);
        assert_eq!(episode.world.state().present().len(), CLIPS, "erased before both had it");

        away(episode, "one", false);
        let caught_up = until_held(episode, "one", 2 * CLIPS).await?;
        assert!(caught_up < 20 * MINUTE, "{caught_up:?}");
        episode.converge().await
    });
}

#[test]
fn four_hundred_clips_of_eight_cameras_survive_an_outage_a_full_disk_and_two_power_cuts() {
    const CLIPS: usize = 400;
    night(8, async |episode, dice| {
        away(episode, "one", true);
        away(episode, "two", true);
        let began = episode.world.elapsed();
        add(episode, CLIPS, dice);
        let owed = episode.world.state().truth.owed.len();
        assert!(owed > CLIPS * 9 / 10, "{owed} contents");
        for minute in 0.. {
            {
                let mut state = episode.world.state();
                match minute {
                    // While they are sealed, and while the queue makes the most of it.
                    0 => state.crash_in = Some((400, Crash::Power)),
                    5 => state.is_full = true,
                    25 => state.is_full = false,
                    30 => state.crash_in = Some((50, Crash::Power)),
                    _ => {}
                }
            }
            episode.pass(MINUTE).await?;
            episode.check()?;
            if episode.world.elapsed() - began >= 60 * MINUTE {
                break;
            }
        }
        let cuts = episode.world.state().tried.get("power cuts").copied();
        assert_eq!(cuts, Some(2));
        assert_eq!(held(episode, "one") + held(episode, "two"), 0);
        // Both come back; within hours all are stored, opened by the authority, and erased.
        episode.converge().await?;
        let state = episode.world.state();
        let all = state.truth.owed.iter().all(|content| state.truth.is_stored(content));
        assert!(all && state.truth.owed.len() == owed, "not all of {owed} are in both buckets");
        Ok(())
    });
}
