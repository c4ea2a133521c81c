//! A bucket in memory, for the simulation: it does what it is asked, or what its fate says instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use super::line::{Dialect, HttpOptions, Line};
use super::put::md5;
use super::trouble::{LineError, Trouble};
use super::{Bucket, Cloud, Kind, Store};
use crate::clip::to_hex;
use crate::edge::world;

/// What is asked of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Abort,
    Begin,
    Complete,
    Get,
    Part,
    Put,
}

/// A request, and the object that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) verb: Verb,
    pub(crate) key: &'a str,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    /// How long it takes to get there.
    pub(crate) takes: Duration,
    pub(crate) end: Ending,
    /// Whether the server tells the digest of what it received.
    pub(crate) tells_digest: bool,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is refused.
    Denied,
    /// It is done.
    Done,
    /// It is done twice, and the second answer comes.
    DoneTwice,
    /// It fails, and nothing was done.
    Failed(Trouble),
    /// It is acknowledged, and nothing was done.
    Forgotten,
    /// It is done, and the line breaks before the answer.
    Lost,
    /// Nobody is there any more to hear the answer; it was done, or not.
    Unheard(bool),
}

/// The server's side.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    /// All objects.
    pub(crate) objects: BTreeMap<String, Bytes>,
    /// Uploads that are not completed: the object, the parts, and whether nobody heard its id.
    pub(crate) uploads: BTreeMap<String, Uploading>,
    /// What was acknowledged, and not stored then.
    pub(crate) forgotten: BTreeSet<String>,
    /// What must never happen, and did.
    pub(crate) wrong: Vec<String>,
    count: u64,
}

/// An upload in parts, as the server has it.
#[derive(Debug, Default)]
pub(crate) struct Uploading {
    pub(crate) key: String,
    parts: BTreeMap<usize, Bytes>,
    /// Whether nobody can know its id.
    pub(crate) is_orphan: bool,
}

/// One simulated bucket; copies are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    name: String,
    /// Keeps what `object_store` wants to know besides the bytes.
    kept: Arc<InMemory>,
    inside: Arc<Mutex<Inside>>,
    /// Whether it makes an object of an upload only where none is.
    is_completer: bool,
}

/// One line for all: nothing is sent over it.
fn line() -> Line {
    thread_local! {
        static LINE: Line = {
            let http = HttpOptions::take(&mut BTreeMap::new()).expect("no options");
            let url = url::Url::parse("https://bucket.invalid").expect("a URL");
            Line::new(&http, &url, Dialect::Dav, vec![]).expect("nothing is sent")
        };
    }
    LINE.with(Line::clone)
}

impl Simulated {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Simulated {
        Simulated {
            name: name.to_owned(),
            kept: Arc::default(),
            inside: Arc::default(),
            is_completer: false,
        }
    }

    /// The server's side of it.
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As dockseal has it.
    pub(crate) fn open(self) -> Bucket {
        let completer = Arc::new(Simulated { is_completer: true, ..self.clone() });
        let store = Arc::new(self);
        let cloud = Cloud {
            kind: Kind::S3,
            store: store.clone(),
            parts: store,
            completer,
            line: line(),
            keeps_promises: false,
        };
        Bucket { store: Store::Cloud(cloud), prefix: Key::default(), honours: Arc::default() }
    }

    /// Without a world all goes well.
    fn fate(&self, verb: Verb, key: &Key) -> Option<Fate> {
        let request = Request { verb, key: key.as_ref() };
        world::current().map(|world| world.request(&self.name, request))
    }

    /// Has a request meet its fate; `effect` is what the server does for it.
    async fn meet<T>(
        &self,
        verb: Verb,
        key: &Key,
        mut effect: impl FnMut(&mut Inside, bool) -> Result<T>,
        forgotten: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(Fate { takes, end, tells_digest }) = self.fate(verb, key) else {
            return effect(&mut self.inside(), true);
        };
        tokio::time::sleep(takes).await;
        match end {
            Ending::Denied => {
                Err(Error::PermissionDenied { path: key.to_string(), source: "denied".into() })
            }
            Ending::Done => effect(&mut self.inside(), tells_digest),
            Ending::DoneTwice => {
                let is_done = effect(&mut self.inside(), tells_digest).is_ok();
                self.unheard(verb, is_done);
                effect(&mut self.inside(), tells_digest)
            }
            Ending::Failed(trouble) => Err(failed(trouble)),
            Ending::Forgotten => {
                self.inside().forgotten.insert(key.to_string());
                forgotten()
            }
            Ending::Lost => {
                let is_done = effect(&mut self.inside(), tells_digest).is_ok();
                self.unheard(verb, is_done);
                Err(failed(Trouble::Broken))
            }
            Ending::Unheard(is_done) => {
                let is_done = is_done && effect(&mut self.inside(), tells_digest).is_ok();
                self.unheard(verb, is_done);
                std::future::pending().await
            }
        }
    }

    /// Nobody heard of the upload that was begun last.
    fn unheard(&self, verb: Verb, is_done: bool) {
        let mut inside = self.inside();
        if verb == Verb::Begin && is_done {
            let id = inside.count.to_string();
            inside.uploads.get_mut(&id).expect("just begun").is_orphan = true;
        }
    }

    /// Makes an object, as the server does.
    fn store(&self, inside: &mut Inside, key: &Key, bytes: Bytes, is_create: bool) -> Result<()> {
        let known = inside.objects.get(key.as_ref());
        if known.is_some() && is_create {
            return Err(Error::AlreadyExists { path: key.to_string(), source: "there".into() });
        }
        let may_change = matches!(key.filename(), Some("checkpoint" | "status"));
        if known.is_some_and(|known| *known != bytes) && !may_change {
            inside.wrong.push(format!("{}: other bytes were put over {key}", self.name));
        }
        inside.objects.insert(key.to_string(), bytes.clone());
        let kept = self.kept.put_opts(key, bytes.into(), PutOptions::default());
        now(kept).map(drop)
    }
}

/// What needs no waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    use futures_util::FutureExt;
    future.now_or_never().expect("memory does not wait")
}

fn failed(trouble: Trouble) -> Error {
    let source = Box::new(LineError::new(trouble, "simulated"));
    Error::Generic { store: "simulated", source }
}

fn missing(key: &Key) -> Error {
    Error::NotFound { path: key.to_string(), source: "no such thing".into() }
}

fn bytes_of(payload: &PutPayload) -> Bytes {
    Bytes::from(payload.iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>())
}

impl std::fmt::Display for Simulated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[async_trait]
impl ObjectStore for Simulated {
    async fn put_opts(&self, key: &Key, payload: PutPayload, put: PutOptions) -> Result<PutResult> {
        let bytes = bytes_of(&payload);
        let is_create = put.mode == PutMode::Create;
        let answer = |digest: Option<String>| PutResult {
            e_tag: digest,
            version: None,
            extensions: Default::default(),
        };
        let effect = |inside: &mut Inside, tells_digest: bool| {
            self.store(inside, key, bytes.clone(), is_create)?;
            Ok(answer(tells_digest.then(|| to_hex(&md5(&bytes)))))
        };
        self.meet(Verb::Put, key, effect, || Ok(answer(None))).await
    }

    async fn put_multipart_opts(
        &self,
        _: &Key,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("uploads in parts go another way")
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let effect = |_: &mut Inside, _| now(self.kept.get_opts(key, options.clone()));
        self.meet(Verb::Get, key, effect, || Err(missing(key))).await
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        unreachable!("a dock deletes nothing")
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.kept.list(prefix)
    }

    async fn list_with_delimiter(&self, _: Option<&Key>) -> Result<ListResult> {
        unreachable!("nobody lists folders")
    }

    async fn copy_opts(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<()> {
        unreachable!("nobody copies inside of a bucket")
    }
}

#[async_trait]
impl MultipartStore for Simulated {
    async fn create_multipart(&self, key: &Key) -> Result<MultipartId> {
        let effect = |inside: &mut Inside, _| {
            inside.count += 1;
            let id = inside.count.to_string();
            let upload = Uploading { key: key.to_string(), ..Uploading::default() };
            inside.uploads.insert(id.clone(), upload);
            Ok(id)
        };
        let forgotten = || Ok("forgotten".to_owned());
        self.meet(Verb::Begin, key, effect, forgotten).await
    }

    async fn put_part(
        &self,
        key: &Key,
        id: &MultipartId,
        number: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let bytes = bytes_of(&data);
        let effect = |inside: &mut Inside, tells_digest: bool| {
            let upload = inside.uploads.get_mut(id).ok_or_else(|| missing(key))?;
            upload.parts.insert(number, bytes.clone());
            let digest = tells_digest.then(|| to_hex(&md5(&bytes)));
            Ok(PartId { content_id: digest.unwrap_or_else(|| format!("part-{number}")) })
        };
        self.meet(Verb::Part, key, effect, || Ok(PartId { content_id: "forgotten".into() })).await
    }

    async fn complete_multipart(
        &self,
        key: &Key,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let effect = |inside: &mut Inside, _| {
            let upload = inside.uploads.get(id).ok_or_else(|| missing(key))?;
            if upload.parts.len() < parts.len() {
                return Err(missing(key));
            }
            let bytes = upload.parts.values().flat_map(|part| part.to_vec()).collect::<Vec<_>>();
            self.store(inside, key, bytes.into(), self.is_completer)?;
            inside.uploads.remove(id);
            Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
        };
        self.meet(Verb::Complete, key, effect, || Err(missing(key))).await
    }

    async fn abort_multipart(&self, key: &Key, id: &MultipartId) -> Result<()> {
        let effect = |inside: &mut Inside, _| {
            inside.uploads.remove(id).map(drop).ok_or_else(|| missing(key))
        };
        self.meet(Verb::Abort, key, effect, || Ok(())).await
    }
}
