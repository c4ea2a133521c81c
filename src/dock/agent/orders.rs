//! What operators ordered, as the agent follows it: buckets that rest, folders that are let go of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Agent, AgentError, EJECTED};
use crate::clip::{Clip, Timestamp};
use crate::dock::queue::{FolderLine, OrderEnd};
use crate::edge::clock::{self, Instant};
use crate::edge::work::blocking;

/// What bears on the uploads of a courier while they go on.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Whether more is due than is carried: long uploads give way at the end of their turn.
    pub(super) others_wait: AtomicBool,
    /// Whether an operator paused the bucket: uploads give way at the next part.
    pub(super) is_paused: AtomicBool,
}

impl Pressure {
    /// Whether an upload goes on that sent so much in its turn.
    pub(super) fn may_go_on(&self, has_had_turn: bool) -> bool {
        let gives_way = has_had_turn && self.others_wait.load(Ordering::Relaxed);
        !self.is_paused.load(Ordering::Relaxed) && !gives_way
    }
}

impl Agent {
    /// Takes what operators ordered since the last round into account.
    pub(super) async fn follow_orders(&mut self) -> Result<(), AgentError> {
        let (orders, now) = (self.reader.orders()?, clock::now());
        for courier in &mut self.couriers {
            courier.pause(orders.pause(&courier.name, now).is_some());
        }
        for index in 0..self.folders.len() {
            let folder = &mut self.folders[index];
            let end = orders.ejection(&folder.watch.path, now);
            let before = std::mem::replace(&mut folder.ejected, end);
            if folder.ejected == before {
                continue;
            }
            // Whoever gave a new order waits to be told, also where the former one was followed.
            folder.is_let_go = false;
            if folder.ejected.is_none() {
                // Whatever lies there now is looked at anew.
                folder.due = Instant::now();
                self.context.queue.look_at_all(now).await?;
            }
        }
        self.let_go().await
    }

    /// Says of ejected folders in which nothing is open any more that they may be unmounted.
    async fn let_go(&mut self) -> Result<(), AgentError> {
        for index in 0..self.folders.len() {
            let folder = &self.folders[index];
            if folder.ejected.is_none() || folder.is_let_go || folder.is_looking {
                continue;
            }
            let path = folder.watch.path.clone();
            let mut is_open = false;
            for (id, _) in self.at_work.values() {
                let source = self.reader.clip(*id)?.and_then(|clip| clip.source);
                is_open |= source.is_some_and(|source| source.folder == path);
            }
            if !is_open {
                self.folders[index].is_let_go = true;
                self.hints().forget(&path);
                let line = FolderLine {
                    path,
                    looked_at: clock::now(),
                    mode: EJECTED.to_owned(),
                    file_count: 0,
                    ignored_count: 0,
                    problem: None,
                    problem_since: None,
                };
                let context = Arc::clone(&self.context);
                blocking(move || context.queue.folder_looked_at_blocking(line)).await?;
            }
        }
        Ok(())
    }

    /// Until when the folder of a clip's plaintext is left alone.
    pub(super) fn ejected_until(&self, clip: &Clip) -> Option<Timestamp> {
        let source = clip.source.as_ref()?;
        let folder = self.folders.iter().find(|folder| folder.watch.path == source.folder)?;
        let OrderEnd(until) = folder.ejected?;
        Some(until.unwrap_or(Timestamp(i64::MAX)))
    }
}
