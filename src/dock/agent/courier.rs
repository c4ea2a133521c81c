//! The couriers: one for each bucket, so that no bucket ever waits for another one.
//!
//! A courier carries several clips at once, more while all goes well and fewer after failures. A
//! bucket that fails is left alone for a while, then tried with one clip, and had in full again
//! once that one arrived.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::Id;

use super::deliver::{Delivered, deliver};
use super::orders::Pressure;
use super::{Agent, AgentError, Done};
use crate::clip::{ClipId, Fact, Timestamp};
use crate::dock::config::Config;
use crate::dock::lifecycle::{Delivering, next_delivery, retry_delay};
use crate::dock::queue::{DueDelivery, Order, QueueError, Reader};
use crate::edge::clock::{self, Instant};
use crate::hold::{Hold, Reason};

/// Clips that a courier carries at once in the beginning.
const WINDOW_BEGIN: usize = 2;
/// Failures in a row, of whichever clips, after which the bucket is at fault and not the clip.
const FAILURE_COUNT_MAX: u32 = 3;
/// The longest rest: an outage that ended is noticed within this.
const REST_MAX: Duration = Duration::from_secs(300);
/// Of so many clips that a courier takes, one is taken past those that go first.
const PICKS_PER_OTHER: u32 = 4;
/// Deliveries that are looked at beside those that can start.
const LOOK_COUNT: usize = 16;

/// What is going on with one bucket.
pub(super) struct Courier {
    pub(super) name: String,
    uploads_max: usize,
    carried: HashSet<ClipId>,
    window: usize,
    /// Clips that arrived since the window changed.
    arrived: usize,
    /// Failures in a row.
    failures: u32,
    rests_until: Option<Instant>,
    picks: u32,
    pressure: Arc<Pressure>,
}

impl Courier {
    pub(super) fn all(config: &Config) -> Vec<Courier> {
        let courier = |bucket: &crate::dock::config::BucketConfig| Courier {
            name: bucket.name.clone(),
            uploads_max: bucket.uploads,
            carried: HashSet::new(),
            window: WINDOW_BEGIN.min(bucket.uploads),
            arrived: 0,
            failures: 0,
            rests_until: None,
            picks: 0,
            pressure: Arc::default(),
        };
        config.buckets.iter().map(courier).collect()
    }

    /// An operator paused the bucket, or has it gone on with.
    pub(super) fn pause(&mut self, is_paused: bool) {
        let was_paused = self.pressure.is_paused.swap(is_paused, Ordering::Relaxed);
        if was_paused != is_paused {
            let word = if is_paused { "paused" } else { "resumed" };
            tracing::info!(bucket = self.name, "{word} by an operator");
        }
    }

    fn is_paused(&self) -> bool {
        self.pressure.is_paused.load(Ordering::Relaxed)
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// How many clips it may take now. After a failure one alone shows whether the bucket works.
    fn free(&self, now: Instant) -> usize {
        if self.is_resting(now) || self.is_paused() {
            return 0;
        }
        let window = if self.failures >= FAILURE_COUNT_MAX { 1 } else { self.window };
        window.saturating_sub(self.carried.len())
    }

    fn order(&self) -> Order {
        if self.picks % PICKS_PER_OTHER == PICKS_PER_OTHER - 1 {
            Order::Others
        } else {
            Order::FlaggedFirst
        }
    }

    /// What it could take next.
    fn due(&self, reader: &Reader, now: Timestamp) -> Result<Vec<DueDelivery>, QueueError> {
        let count_max = (self.carried.len() + LOOK_COUNT) as u64;
        let mut due = reader.due_deliveries(&self.name, now, self.order(), count_max)?;
        due.retain(|due| !self.carried.contains(&due.clip.id));
        Ok(due)
    }

    /// A clip arrived; says whether the bucket had been at fault until now.
    fn arrived(&mut self) -> bool {
        let was_failing = std::mem::take(&mut self.failures) > 0;
        self.rests_until = None;
        self.arrived += 1;
        if self.arrived >= self.window && self.window < self.uploads_max {
            self.window += 1;
            self.arrived = 0;
        }
        was_failing
    }

    /// The bucket failed. `retry_after` is what it asked for itself.
    fn failed(&mut self, retry_after: Option<Duration>, now: Instant, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.window = (self.window / 2).max(1);
        self.arrived = 0;
        let own = self.failures.checked_sub(FAILURE_COUNT_MAX);
        let own = own.map(|more| retry_delay(more + 1, jitter).min(REST_MAX));
        // Asked to wait, it waits that long and a little more, or all docks would be back at once.
        let asked = retry_after.map(|asked| asked.min(REST_MAX).mul_f64(1.0 + jitter / 4.0));
        self.rests_until = own.max(asked).map(|rest| now + rest).or(self.rests_until);
    }
}

impl Agent {
    /// Has each courier take what is due; returns how many deliveries were begun or put off.
    pub(super) async fn start_due_deliveries(&mut self) -> Result<usize, AgentError> {
        let mut moved = 0;
        for index in 0..self.couriers.len() {
            moved += self.start_deliveries_to(index).await?;
        }
        Ok(moved)
    }

    async fn start_deliveries_to(&mut self, index: usize) -> Result<usize, AgentError> {
        let courier = &mut self.couriers[index];
        let mut free = courier.free(Instant::now());
        if free == 0 {
            return Ok(0);
        }
        let now = clock::now();
        let name = courier.name.clone();
        let mut due = courier.due(&self.reader, now)?;
        if due.is_empty() && courier.order() == Order::Others {
            // There are no others: this pick is no reason to let those that go first wait.
            courier.picks += 1;
            due = courier.due(&self.reader, now)?;
        }
        let (mut begun, mut waiting, mut put_off) = (0, 0, Vec::new());
        for due in due {
            match next_delivery(&due.clip, &name, &self.context.policy(&due.clip), now) {
                Delivering::Later(until) => put_off.push((due, Some(until))),
                Delivering::Not => put_off.push((due, None)),
                Delivering::Now if free == 0 => waiting += 1,
                Delivering::Now => {
                    let courier = &mut self.couriers[index];
                    courier.carried.insert(due.clip.id);
                    courier.picks += 1;
                    (free, begun) = (free - 1, begun + 1);
                    let pressure = Arc::clone(&courier.pressure);
                    let (context, bucket) = (Arc::clone(&self.context), name.clone());
                    let id = due.clip.id;
                    let task = self.tasks.spawn(async move {
                        let outcome = deliver(&context, due.clip, bucket, pressure).await;
                        Done::Delivery { index, id, outcome }
                    });
                    self.carrying.insert(task.id(), (index, id));
                }
            }
        }
        let pressure = &self.couriers[index].pressure;
        pressure.others_wait.store(waiting > 0, Ordering::Relaxed);
        let moved = begun + put_off.len();
        if !put_off.is_empty() {
            self.context.queue.put_off(name, put_off).await?;
        }
        Ok(moved)
    }

    /// A delivery ended.
    pub(super) async fn delivered(
        &mut self,
        index: usize,
        id: ClipId,
        outcome: Result<Delivered, AgentError>,
    ) -> Result<(), AgentError> {
        let courier = &mut self.couriers[index];
        courier.carried.remove(&id);
        match outcome? {
            Delivered::Arrived => {
                if courier.arrived() {
                    let name = courier.name.clone();
                    self.context.queue.release_deliveries(name, clock::now()).await?;
                }
            }
            Delivered::BucketFailed { retry_after } => {
                courier.failed(retry_after, Instant::now(), self.context.jitter());
            }
            Delivered::ClipHeld | Delivered::TurnOver => {}
        }
        Ok(())
    }

    /// A delivery panicked: its clip waits for an operator, the others go on.
    pub(super) async fn delivery_panicked(&mut self, task: Id) -> Result<bool, AgentError> {
        let Some((index, id)) = self.carrying.remove(&task) else { return Ok(false) };
        let courier = &mut self.couriers[index];
        courier.carried.remove(&id);
        tracing::error!(clip = id.0, bucket = courier.name, "the delivery panicked");
        let cause = "a fault of dockseal: the delivery panicked";
        let hold = Hold::for_operator(Reason::Internal, cause, clock::now());
        let fact = Fact::DeliveryHeld { bucket: courier.name.clone(), hold };
        self.context.queue.record(id, vec![fact]).await?;
        Ok(true)
    }

    /// Whether no courier carries anything, or could begin to.
    pub(super) fn couriers_are_idle(&self) -> Result<bool, AgentError> {
        let (now, instant) = (clock::now(), Instant::now());
        for courier in &self.couriers {
            let may_begin = !courier.is_resting(instant)
                && !courier.is_paused()
                && self.reader.due_delivery_count(&courier.name, now)? > 0;
            if may_begin || !courier.carried.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Nobody rests any longer: an operator asked for another attempt.
    pub(super) fn wake_couriers(&mut self) {
        self.couriers.iter_mut().for_each(|courier| courier.rests_until = None);
    }

    /// Has all couriers begin at a random moment of this time.
    pub(super) fn spread_couriers(&mut self, over: Duration) {
        for courier in &mut self.couriers {
            let pause = over.mul_f64(self.context.jitter());
            courier.rests_until = Some(Instant::now() + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courier() -> Courier {
        Courier {
            name: "a".into(),
            uploads_max: 4,
            carried: HashSet::new(),
            window: WINDOW_BEGIN,
            arrived: 0,
            failures: 0,
            rests_until: None,
            picks: 0,
            pressure: Arc::default(),
        }
    }

    #[test]
    fn more_is_carried_while_all_goes_well_and_less_after_a_failure() {
        let (mut courier, now) = (courier(), Instant::now());
        assert_eq!(courier.free(now), 2);
        (0..20).for_each(|_| assert!(!courier.arrived()));
        assert_eq!(courier.free(now), 4);
        courier.failed(None, now, 1.0);
        assert_eq!(courier.free(now), 2, "one clip's failure does not stop the others");
        assert!(courier.arrived());
    }

    #[test]
    fn a_bucket_that_fails_is_left_alone_and_tried_with_one_clip() {
        let (mut courier, now) = (courier(), Instant::now());
        (0..FAILURE_COUNT_MAX).for_each(|_| courier.failed(None, now, 1.0));
        assert_eq!(courier.free(now), 0);
        assert_eq!(courier.free(now + Duration::from_secs(2)), 1);
        courier.failed(None, now, 1.0);
        assert_eq!(courier.free(now + Duration::from_secs(3)), 0);
        (0..99).for_each(|_| courier.failed(None, now, 1.0));
        assert_eq!(courier.free(now + REST_MAX), 1);
        assert!(courier.arrived());
        assert_eq!(courier.free(now), 2, "and has it in full again bit by bit");
    }

    #[test]
    fn a_bucket_that_asks_for_time_gets_it() {
        let (mut courier, now) = (courier(), Instant::now());
        courier.failed(Some(Duration::from_secs(60)), now, 0.0);
        assert_eq!(courier.free(now + Duration::from_secs(59)), 0);
        assert!(courier.free(now + Duration::from_secs(61)) > 0);
    }

    #[test]
    fn clips_that_go_first_do_not_starve_the_others() {
        let mut courier = courier();
        let orders = (0..8).map(|picks| {
            courier.picks = picks;
            courier.order()
        });
        assert_eq!(orders.filter(|order| *order == Order::Others).count(), 2);
    }
}
