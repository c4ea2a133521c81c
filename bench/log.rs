//! Does appending to a long custody log cost more than to a short one? One run, both logs in turn.
//!
//! `cargo run --release --example log [ENTRIES]`: fills two queues, one with 1,000 entries and one
//! with ENTRIES (1,000,000), appends batches to both, and prints the ratio of their median times.

use std::path::Path;
use std::time::Instant;

use dockseal::custody::entry::Event;
use dockseal::dock::queue::{Beginning, Queue};
use futures_util::future::join_all;

/// Appended at once: the writer commits up to 256 in one transaction.
const BATCH: u64 = 256;
/// Batches that are timed in each log.
const ROUNDS: usize = 400;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let size = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let dir = std::env::temp_dir().join(format!("dockseal-bench-log-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let short = filled(&dir.join("short.db"), 1_000).await?;
    let long = filled(&dir.join("long.db"), size).await?;
    let (mut short_times, mut long_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        short_times.push(batch(&short).await?);
        long_times.push(batch(&long).await?);
    }
    let (short_time, long_time) = (median(&mut short_times), median(&mut long_times));
    let began = Instant::now();
    let entries = long.reader()?.log()?.1;
    long.close_tiles(entries).await?;
    let first = began.elapsed();
    let began = Instant::now();
    let head = long.reader()?.head(entries)?;
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{BATCH} entries to a log of 1000: {:.2} ms", short_time * 1e3)?;
    writeln!(out, "{BATCH} entries to a log of {size}: {:.2} ms", long_time * 1e3)?;
    writeln!(out, "ratio {:.2} (asked: <= 1.2)", long_time / short_time)?;
    let head_time = began.elapsed();
    writeln!(out, "tiles closed in {first:.1?}, head of {} entries in {head_time:.1?}", head.size)?;
    Ok(std::fs::remove_dir_all(dir)?)
}

async fn filled(path: &Path, size: u64) -> Result<Queue, Box<dyn std::error::Error>> {
    let queue =
        Queue::create(path, Beginning { dock: "bench".into(), previous: None, lost: None })?;
    while queue.reader()?.log()?.1 < size {
        for _ in 0..16 {
            batch(&queue).await?;
        }
    }
    Ok(queue)
}

/// Appends one batch; how many seconds it took until it was durable.
async fn batch(queue: &Queue) -> Result<f64, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let entered = join_all((0..BATCH).map(|_| queue.enter(Event::Alive))).await;
    entered.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(began.elapsed().as_secs_f64())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
