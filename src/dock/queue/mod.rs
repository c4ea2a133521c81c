//! The queue: the SQLite database of what is true of each clip, and its one writing thread.

mod amounts;
mod closing;
mod deliveries;
mod error;
mod limits;
mod log;
mod lost;
mod orders;
mod pace;
mod read;
mod rows;
mod schema;
mod totals;
mod trace;

pub use deliveries::{Answered, DueDelivery, Leftover, Order, Sending};
pub use error::QueueError;
pub use log::{Beginning, Numbered, Published};
pub use lost::Lost;
pub use orders::{OrderEnd, Orders};
pub use pace::{Amount, Sent};
pub use read::{BucketLine, Due, Filter, FolderLine, Held, HeldLine, Reader, StateLine};
pub use schema::beside;
pub use totals::{Counted, TROUBLE_UNNAMED};
pub use trace::Trace;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::clip::{Clip, ClipId, Fact, Generation, Plaintext, SealedFile, Timestamp};
use crate::custody::entry::Event;

/// Requests that may wait for the writer; more make their senders wait.
const REQUEST_COUNT_MAX: usize = 1024;
/// Requests that one transaction takes at most.
const BATCH_SIZE_MAX: usize = 256;

type Work = Box<dyn FnOnce(&Connection) -> Result<(), QueueError> + Send>;

struct Request {
    work: Work,
    done: oneshot::Sender<Result<(), QueueError>>,
}

/// A handle to the writer. What it was told is durable when the call returns.
#[derive(Clone)]
pub struct Queue {
    path: PathBuf,
    writer: Writer,
    /// Why the writer has ended, for all who ask it later.
    failed: Arc<OnceLock<String>>,
}

/// Who writes.
#[derive(Clone)]
enum Writer {
    /// Whoever asks: a simulation has one thread.
    #[cfg(test)]
    Asker(Arc<std::sync::Mutex<Option<Connection>>>),
    /// A thread of its own.
    Thread(SyncSender<Request>),
}

impl Queue {
    /// Creates the queue and begins its log, or opens the one that is there.
    pub fn create(path: &Path, beginning: Beginning) -> Result<Queue, QueueError> {
        Ok(Queue::start(path, schema::create(path, beginning)?))
    }

    /// Opens the queue of a dock for the daemon. One of an earlier version is brought up to date.
    pub fn open(path: &Path, dock: &str) -> Result<Queue, QueueError> {
        Ok(Queue::start(path, schema::open(path, dock)?))
    }

    fn start(path: &Path, connection: Connection) -> Queue {
        #[cfg(test)]
        if crate::edge::world::current().is_some() {
            let connection = Arc::new(std::sync::Mutex::new(Some(connection)));
            let (writer, failed) = (Writer::Asker(connection), Arc::default());
            return Queue { path: path.to_owned(), writer, failed };
        }
        let (requests, receiver) = sync_channel(REQUEST_COUNT_MAX);
        let failed = Arc::new(OnceLock::new());
        let cause = Arc::clone(&failed);
        std::thread::Builder::new()
            .name("queue".into())
            .spawn(move || write(connection, receiver, &cause))
            .expect("a thread can be started");
        Queue { path: path.to_owned(), writer: Writer::Thread(requests), failed }
    }

    /// A reading connection of its own.
    pub fn reader(&self) -> Result<Reader, QueueError> {
        Reader::open(&self.path)
    }

    /// Whether it was too large to be checked when it was opened.
    pub fn is_large(&self) -> bool {
        schema::is_large(&self.path)
    }

    /// Checks all of it, beside whatever is done with it. One that is damaged is checked by whoever
    /// opens it next, before anything else.
    pub fn check_blocking(&self) -> Result<(), QueueError> {
        schema::check_in_use(&self.path)
    }

    fn send(&self, work: Work) -> Result<oneshot::Receiver<Result<(), QueueError>>, QueueError> {
        let (done, answer) = oneshot::channel();
        let request = Request { work, done };
        match &self.writer {
            #[cfg(test)]
            Writer::Asker(connection) => {
                let mut connection = connection.lock().expect("one thread");
                let Some(open) = connection.as_mut() else { return Err(self.stopped()) };
                if serve(open, vec![request], &self.failed).is_err() {
                    *connection = None;
                }
            }
            Writer::Thread(requests) => requests.send(request).map_err(|_| self.stopped())?,
        }
        Ok(answer)
    }

    /// Why there is no answer.
    fn stopped(&self) -> QueueError {
        let cause = self.failed.get();
        cause.map_or(QueueError::Stopped, |cause| QueueError::Broken(cause.clone()))
    }

    /// Lets facts of one clip become true, in one transaction. The agent looks at the clip again.
    pub async fn record(&self, id: ClipId, facts: Vec<Fact>) -> Result<(), QueueError> {
        self.ask(move |tx| record(tx, id, facts)).await
    }

    async fn ask(
        &self,
        work: impl FnOnce(&Connection) -> Result<(), QueueError> + Send + 'static,
    ) -> Result<(), QueueError> {
        let answer = self.send(Box::new(work))?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// As [`Queue::record`], on a thread that may block.
    pub fn record_blocking(&self, id: ClipId, facts: Vec<Fact>) -> Result<(), QueueError> {
        self.do_blocking(move |tx| record(tx, id, facts))
    }

    fn do_blocking(
        &self,
        work: impl FnOnce(&Connection) -> Result<(), QueueError> + Send + 'static,
    ) -> Result<(), QueueError> {
        #[cfg_attr(not(test), expect(unused_mut, reason = "looked at before it is waited for"))]
        let mut answer = self.send(Box::new(work))?;
        #[cfg(test)]
        if let Ok(done) = answer.try_recv() {
            return done;
        }
        answer.blocking_recv().unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Adds clips that were found. One whose sealed file outlived a lost queue is known again by
    /// its generation, and only gets its place back.
    pub fn found_blocking(&self, clips: Vec<Clip>) -> Result<(), QueueError> {
        self.do_blocking(move |tx| clips.into_iter().try_for_each(|clip| found(tx, clip)))
    }

    /// Removes a clip of which nothing exists: it vanished before it was sealed, or never was one.
    pub fn forget_blocking(&self, id: ClipId) -> Result<(), QueueError> {
        self.do_blocking(move |tx| forget(tx, id))
    }

    /// Says when to look at clips again; `None` is never. A clip of which something became true
    /// since it was read is left as it is, and so looked at at once.
    pub async fn postpone(&self, due: Vec<(Due, Option<Timestamp>)>) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let sql = "UPDATE clip SET due_at = ?3 WHERE id = ?1 AND version = ?2";
            let mut statement = tx.prepare_cached(sql)?;
            for (due, time) in due {
                statement.execute(params![due.clip.id.0, due.version, time.map(|time| time.0)])?;
            }
            Ok(())
        })
        .await
    }

    /// Has every clip that is not erased looked at once more: after a start, and a new config.
    pub fn look_at_all_blocking(&self, now: Timestamp) -> Result<(), QueueError> {
        self.do_blocking(move |tx| look_at_all(tx, now))
    }

    /// As [`Queue::look_at_all_blocking`].
    pub async fn look_at_all(&self, now: Timestamp) -> Result<(), QueueError> {
        self.ask(move |tx| look_at_all(tx, now)).await
    }

    /// Takes a sealed file of the spool that no clip owns: a crash came between the file and its
    /// fact, or the queue was lost. The clip of its generation owns it; without one it becomes a
    /// clip whose place is not known.
    pub fn adopt_blocking(
        &self,
        sealed: SealedFile,
        generation: Generation,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.do_blocking(move |tx| adopt(tx, sealed, generation, now))
    }

    /// What the last look through a folder gave.
    pub fn folder_looked_at_blocking(&self, line: FolderLine) -> Result<(), QueueError> {
        self.do_blocking(move |tx| {
            let sql = "INSERT INTO folder VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                ON CONFLICT DO UPDATE SET looked_at = ?2, mode = ?3, files = ?4, ignored = ?5,
                problem = ?6, problem_since = iif(?6 IS NULL, NULL, coalesce(problem_since, ?2))";
            tx.prepare_cached(sql)?.execute(params![
                line.path.as_os_str().as_bytes(),
                line.looked_at.0,
                line.mode,
                rows::signed(line.file_count),
                rows::signed(line.ignored_count),
                line.problem,
                line.problem.as_ref().map(|_| line.looked_at.0),
            ])?;
            Ok(())
        })
    }
}

/// The operator's own short transactions, beside a running daemon or without one.
pub struct Operator(Connection);

impl Operator {
    /// Opens the queue of a dock for one change.
    pub fn open(path: &Path, dock: &str) -> Result<Operator, QueueError> {
        Ok(Operator(schema::open(path, dock)?))
    }

    /// Lifts the holds of a clip and of its deliveries, so that it is tried at once.
    pub fn retry(&mut self, id: ClipId, now: Timestamp) -> Result<(), QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut clip = rows::load(&tx, id)?.ok_or(QueueError::NoClip)?;
        clip.hold = None;
        clip.deliveries.iter_mut().for_each(|delivery| delivery.hold = None);
        // Whatever clock says so: the daemon's may show an earlier time by then.
        let at_once = Timestamp(0);
        rows::save(&tx, &clip, Some(at_once))?;
        deliveries::look_at(&tx, id, at_once)?;
        deliveries::note_retry(&tx, now)?;
        Ok(tx.commit()?)
    }

    /// The plaintext of a stored clip is not where it was, and nobody waits for its medium.
    pub fn plaintext_is_gone(&mut self, id: ClipId, now: Timestamp) -> Result<(), QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        record(&tx, id, vec![Fact::Gone { plaintext: Plaintext::Absent, at: now }])?;
        Ok(tx.commit()?)
    }

    /// Removes a clip that vanished before it was sealed.
    pub fn forget(&mut self, id: ClipId) -> Result<(), QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        forget(&tx, id)?;
        log::append(&tx, Event::Forgotten { number: id.0 })?;
        Ok(tx.commit()?)
    }
}

/// The writer: takes what has gathered, writes it in one transaction, then answers. With many
/// senders, one fsync makes many facts durable (DESIGN §8).
fn write(mut connection: Connection, requests: Receiver<Request>, failed: &OnceLock<String>) {
    while let Ok(first) = requests.recv() {
        let mut batch = vec![first];
        batch.extend(requests.try_iter().take(BATCH_SIZE_MAX - 1));
        if serve(&mut connection, batch, failed).is_err() {
            // What is durable is no longer known: end, so that the process ends and starts again
            // from the disk. FAULTS F-13.
            return;
        }
    }
    // A checkpoint at a clean end keeps the next start quick; without it the WAL is replayed.
    let _ = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
}

/// Writes a batch, then answers whoever asked.
fn serve(
    connection: &mut Connection,
    batch: Vec<Request>,
    failed: &OnceLock<String>,
) -> Result<(), QueueError> {
    let mut answers = Vec::with_capacity(batch.len());
    let outcome = write_batch(connection, batch, &mut answers);
    let cause = outcome.as_ref().err().map(|error| crate::error::chain(error));
    if let Some(cause) = &cause {
        let _ = failed.set(cause.clone());
    }
    for (done, result) in answers {
        let result = match &cause {
            Some(cause) => Err(QueueError::Broken(cause.clone())),
            None => result,
        };
        // The asker may have been cancelled; its facts are true all the same.
        let _ = done.send(result);
    }
    outcome
}

type Answers = Vec<(oneshot::Sender<Result<(), QueueError>>, Result<(), QueueError>)>;

fn write_batch(
    connection: &mut Connection,
    batch: Vec<Request>,
    answers: &mut Answers,
) -> Result<(), QueueError> {
    let mut tx = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            answers.extend(batch.into_iter().map(|request| (request.done, Ok(()))));
            return Err(error.into());
        }
    };
    for Request { work, done } in batch {
        // A savepoint each: one request that cannot be granted does not undo the others.
        let result = tx.savepoint().map_err(QueueError::from).and_then(|savepoint| {
            work(&savepoint)?;
            Ok(savepoint.commit()?)
        });
        answers.push((done, result));
    }
    #[cfg(test)]
    if let Some(world) = crate::edge::world::current() {
        world.commit().map_err(|error| QueueError::Corrupt(error.to_string()))?;
    }
    Ok(tx.commit()?)
}

fn record(tx: &Connection, id: ClipId, facts: Vec<Fact>) -> Result<(), QueueError> {
    let mut clip = rows::load(tx, id)?.ok_or(QueueError::NoClip)?;
    let is_sealed = facts.iter().any(|fact| matches!(fact, Fact::Sealed(_)));
    for fact in facts {
        log::account(tx, &clip, &fact)?;
        clip.apply(fact)?;
    }
    // Look again at once: the fact may allow the next step.
    rows::save(tx, &clip, Some(Timestamp(0)))?;
    if is_sealed { orders::apply_first(tx, id) } else { Ok(()) }
}

fn look_at_all(tx: &Connection, now: Timestamp) -> Result<(), QueueError> {
    let sql = "UPDATE clip SET due_at = ?1 WHERE state <> 'erased' OR in_spool = 1";
    tx.execute(sql, [now.0])?;
    Ok(())
}

fn forget(tx: &Connection, id: ClipId) -> Result<(), QueueError> {
    orders::apply_first(tx, id)?;
    let removed = tx.execute("DELETE FROM clip WHERE id = ?1 AND state = 'seen'", [id.0])?;
    if removed == 1 { Ok(()) } else { Err(QueueError::NoClip) }
}

fn found(tx: &Connection, clip: Clip) -> Result<(), QueueError> {
    let inode = rows::signed(clip.generation.inode_number);
    let lost = "inode_number = ?1 AND path IS NULL AND plaintext = 'absent'";
    let known = rows::select(tx, lost, [inode])?
        .into_iter()
        .find(|known| known.sealed.is_some() && known.generation.same_content(&clip.generation));
    match known {
        Some(known) => {
            let known = Clip {
                source: clip.source,
                plaintext: Plaintext::Present,
                gone_at: None,
                settled_at: Some(known.seen_at),
                ..known
            };
            rows::save(tx, &known, Some(Timestamp(0)))
        }
        None => {
            let due = clip.settled_at.map(|_| Timestamp(0));
            let id = rows::insert(tx, &clip, due)?;
            let Some(hold) = clip.hold.clone() else { return Ok(()) };
            log::account(tx, &Clip { id, hold: None, ..clip }, &Fact::Held(hold))
        }
    }
}

fn adopt(
    tx: &Connection,
    sealed: SealedFile,
    generation: Generation,
    now: Timestamp,
) -> Result<(), QueueError> {
    let owner: Option<i64> =
        rows::first(tx, "SELECT id FROM clip WHERE sealed_name = ?1", [sealed.name.0])?;
    if owner.is_some() {
        return Ok(());
    }
    let inode = rows::signed(generation.inode_number);
    let waiting = rows::select(tx, "inode_number = ?1 AND state = 'seen'", [inode])?;
    let waiting = waiting.into_iter().find(|clip| clip.generation.same_content(&generation));
    match waiting {
        Some(mut clip) => {
            let fact = Fact::Sealed(sealed);
            log::account(tx, &clip, &fact)?;
            clip.apply(fact)?;
            rows::save(tx, &clip, Some(Timestamp(0)))
        }
        None => {
            let clip = Clip {
                id: ClipId(0),
                source: None,
                generation,
                plaintext: Plaintext::Absent,
                seen_at: sealed.sealed_at,
                settled_at: Some(sealed.sealed_at),
                stored_at: None,
                gone_at: Some(now),
                sealed: Some(sealed),
                hold: None,
                deliveries: vec![],
            };
            let id = rows::insert(tx, &clip, Some(Timestamp(0)))?;
            log::account(tx, &Clip { id, ..clip }, &Fact::Sealed(sealed))
        }
    }
}

#[cfg(test)]
mod tests;
