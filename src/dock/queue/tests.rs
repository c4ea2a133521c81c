//! Tests of the queue against a real database file.

use super::*;
use crate::clip::{Evidence, Receipt, Source, State, examples};
use crate::hold::{Hold, Reason, Until};

fn generation(inode_number: u64) -> Generation {
    Generation { modified_ns: -4, ..examples::generation(inode_number) }
}

fn source(path: &str) -> Source {
    Source { folder: PathBuf::from("/srv/dock"), path: PathBuf::from(path) }
}

fn sealed(byte: u8) -> SealedFile {
    SealedFile { reread: true, ..examples::sealed(byte) }
}

fn beginning() -> Beginning {
    Beginning { dock: "dock-1".into(), previous: None, lost: None }
}

fn queue() -> (tempfile::TempDir, Queue, Reader) {
    let dir = tempfile::tempdir().expect("tempdir");
    let queue = Queue::create(&dir.path().join("queue.db"), beginning()).expect("created");
    let reader = queue.reader().expect("opened");
    (dir, queue, reader)
}

#[test]
fn every_fact_is_read_back_as_it_was_recorded() {
    let (_dir, queue, reader) = queue();
    queue
        .found_blocking(vec![Clip::seen(source("a"), generation(u64::MAX), Timestamp(1))])
        .expect("ok");
    let mut expected = reader.at(&source("a")).expect("read").expect("there");
    let hold = Hold {
        reason: Reason::BucketFailed,
        until: Until::Time(Timestamp(77)),
        since: Timestamp(70),
        attempts: 3,
        cause: "no route".into(),
    };
    let operator = Hold { until: Until::Operator, reason: Reason::EraseBlocked, ..hold.clone() };
    let receipt =
        Receipt { bucket: "b".into(), evidence: Evidence::ReadBack, stored_at: Timestamp(80) };
    let facts = vec![
        Fact::Moved(source("b")),
        Fact::Rewritten(generation(8)),
        Fact::Settled(Timestamp(5)),
        Fact::Sealed(sealed(3)),
        Fact::DeliveryHeld { bucket: "a".into(), hold },
        Fact::Acknowledged(receipt),
        Fact::Held(operator),
        Fact::Stored(Timestamp(81)),
    ];
    for fact in facts {
        expected.apply(fact.clone()).expect("no contradiction");
        queue.record_blocking(expected.id, vec![fact]).expect("recorded");
        assert_eq!(reader.clip(expected.id).expect("read").as_ref(), Some(&expected));
    }
    assert_eq!(reader.list(&Filter::default()).expect("read"), [expected.clone()]);
    assert_eq!(reader.named("0303", 2).expect("read"), [expected.clone()]);
    assert_eq!(reader.named("04", 2).expect("read"), []);
    assert_eq!(reader.held().expect("read").len(), 2);
    let gone = Fact::Gone { plaintext: Plaintext::Erased, at: Timestamp(90) };
    queue.record_blocking(expected.id, vec![gone, Fact::Unspooled]).expect("recorded");
    assert_eq!(reader.at(&source("b")).expect("read"), None);
    assert_eq!(reader.states().expect("read")[0].state, State::Erased);
}

#[test]
fn a_database_of_another_program_or_version_is_refused_unwritten() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("queue.db");
    assert!(matches!(Queue::open(&path, "dock-1"), Err(QueueError::Missing)));
    rusqlite::Connection::open(&path)
        .expect("made")
        .execute_batch("CREATE TABLE x (y)")
        .expect("ok");
    assert!(matches!(Queue::open(&path, "dock-1"), Err(QueueError::Foreign)));
    std::fs::remove_file(&path).expect("removed");
    drop(schema::create(&path, beginning()).expect("created"));
    let raw = rusqlite::Connection::open(&path).expect("opened");
    raw.execute_batch("PRAGMA user_version = 9; PRAGMA wal_checkpoint(TRUNCATE)").expect("set");
    drop(raw);
    let before = std::fs::read(&path).expect("read");
    let newer = Queue::create(&path, beginning());
    assert!(matches!(newer, Err(QueueError::Version { found: 9, known: 3 })));
    assert_eq!(std::fs::read(&path).expect("read"), before);
}

#[test]
fn one_refused_request_does_not_undo_its_neighbours() {
    let (_dir, queue, reader) = queue();
    queue.found_blocking(vec![Clip::seen(source("a"), generation(1), Timestamp(1))]).expect("ok");
    let twice = Clip::seen(source("a"), generation(2), Timestamp(1));
    assert!(queue.found_blocking(vec![twice]).is_err());
    queue.found_blocking(vec![Clip::seen(source("b"), generation(3), Timestamp(1))]).expect("ok");
    assert_eq!(reader.list(&Filter::default()).expect("read").len(), 2);
    assert!(queue.record_blocking(ClipId(99), vec![Fact::Unspooled]).is_err());
}

#[test]
fn a_sealed_file_without_an_owner_finds_its_clip_again() {
    let (_dir, queue, reader) = queue();
    queue.found_blocking(vec![Clip::seen(source("a"), generation(1), Timestamp(1))]).expect("ok");
    for _ in 0..2 {
        queue.adopt_blocking(sealed(1), generation(1), Timestamp(2)).expect("adopted");
    }
    let clip = reader.at(&source("a")).expect("read").expect("there");
    assert_eq!((clip.state(), clip.plaintext), (State::Sealed, Plaintext::Present));
    // As after a lost queue: first the sealed file, then the scan finds the plaintext.
    queue.adopt_blocking(sealed(2), generation(2), Timestamp(2)).expect("adopted");
    let found = Clip::seen(source("b"), generation(2), Timestamp(3));
    queue.found_blocking(vec![found]).expect("found");
    let clip = reader.at(&source("b")).expect("read").expect("there");
    assert_eq!((clip.state(), clip.plaintext), (State::Sealed, Plaintext::Present));
    assert_eq!(reader.list(&Filter::default()).expect("read").len(), 2);
}

#[test]
fn due_clips_come_by_state_and_time() {
    let (_dir, queue, reader) = queue();
    let settled = |path: &str, inode| Clip {
        settled_at: Some(Timestamp(1)),
        ..Clip::seen(source(path), generation(inode), Timestamp(1))
    };
    queue.found_blocking(vec![settled("a", 1), settled("b", 2)]).expect("ok");
    let due = reader.due(State::Seen, Timestamp(5), 10).expect("read");
    assert_eq!(due.iter().map(|due| due.clip.id.0).collect::<Vec<_>>(), [1, 2]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let later = vec![(due[0].clone(), Some(Timestamp(9))), (due[1].clone(), None)];
    runtime.block_on(queue.postpone(later)).expect("postponed");
    assert_eq!(reader.due(State::Seen, Timestamp(8), 10).expect("read"), []);
    assert_eq!(reader.due(State::Seen, Timestamp(9), 10).expect("read").len(), 1);
    queue.look_at_all_blocking(Timestamp(3)).expect("ok");
    assert_eq!(reader.due_count(Timestamp(3)).expect("read"), 2);
    // What became true after a clip was read is not overlooked.
    let read = reader.due(State::Seen, Timestamp(3), 10).expect("read");
    queue.record_blocking(ClipId(2), vec![Fact::Settled(Timestamp(3))]).expect("recorded");
    let done = read.into_iter().map(|due| (due, None)).collect();
    runtime.block_on(queue.postpone(done)).expect("postponed");
    let due = reader.due(State::Seen, Timestamp(3), 10).expect("read");
    assert_eq!(due.iter().map(|due| due.clip.id.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_queue_of_the_version_before_is_brought_up_to_date_with_all_its_clips() {
    let (dir, queue, reader) = queue();
    queue
        .found_blocking(vec![Clip::seen(source("a"), generation(1), Timestamp(1))])
        .expect("recorded");
    drop((queue, reader));
    let path = dir.path().join("queue.db");
    // The writer lets go of the file when its queue is gone.
    let older = Connection::open(&path).expect("opened");
    older.busy_timeout(std::time::Duration::from_secs(5)).expect("set");
    older
        .execute_batch(
            "ALTER TABLE clip DROP COLUMN keyring_revision; DROP TABLE log_entry;
             DROP TABLE log_node; DROP TABLE log_published; DROP TABLE log; DROP TABLE keyring;
             DELETE FROM meta WHERE key = 'latest'; DROP INDEX delivery_due;
             DROP TABLE upload_part; DROP TABLE leftover;
             ALTER TABLE bucket DROP COLUMN configured;
             ALTER TABLE bucket DROP COLUMN behind_seconds;
             ALTER TABLE delivery DROP COLUMN due_at; ALTER TABLE delivery DROP COLUMN rank;
             ALTER TABLE delivery DROP COLUMN upload_key;
             ALTER TABLE delivery DROP COLUMN upload_id;
             ALTER TABLE delivery DROP COLUMN upload_part_size;
             ALTER TABLE delivery DROP COLUMN upload_completing;
             ALTER TABLE delivery DROP COLUMN upload_replaces; PRAGMA user_version = 1;",
        )
        .expect("as version 1 left it");
    drop(older);
    let refused = Reader::open(&path);
    assert!(matches!(refused, Err(QueueError::Version { found: 1, known: 3 })));
    let queue = Queue::open(&path, "dock-1").expect("brought up to date");
    // Where the packages look before they put an older dockseal over this one.
    let header = std::fs::read(&path).expect("read");
    assert_eq!(header[60..64], [0, 0, 0, 3]);
    let reader = queue.reader().expect("opened");
    assert!(reader.at(&source("a")).expect("read").is_some());
    let first = reader.entries(0, 9).expect("read");
    assert!(matches!(first[0].entry.event, crate::custody::entry::Event::Started { .. }));
    let clip = reader.at(&source("a")).expect("read").expect("there");
    queue.record_blocking(clip.id, vec![Fact::Sealed(sealed(1))]).expect("recorded");
    assert_eq!(reader.log().expect("read").1, 2);
}

#[test]
fn a_queue_that_was_cut_short_while_it_was_made_is_made_anew() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("queue.db");
    std::fs::write(dir.path().join("queue.db.unfinished"), b"SQLite for").expect("written");
    drop(Queue::create(&path, beginning()).expect("created"));
    assert!(Reader::open(&path).is_ok());
    assert!(!dir.path().join("queue.db.unfinished").exists());
}
