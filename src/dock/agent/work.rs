//! Doing one step of one clip: the effect, its sync, then the facts that it makes true.

use std::sync::Arc;

use super::{AgentError, Context};
use crate::clip::{
    Clip, ClipId, Fact, Generation, Plaintext, SealedFile, SealedName, Source, State,
};
use crate::dock::config::EraseWhen;
use crate::dock::erase::{EraseFault, erase, put_back, quarantine};
use crate::dock::keys::{KeysFault, SealTo};
use crate::dock::lifecycle::{EraseProof, Step, hold_after, is_ahead, next_step};
use crate::dock::seal::{Origin, SealFault, is_same_again, seal};
use crate::dock::spool::SpoolError;
use crate::edge::clock;
use crate::edge::fs::{Folder, is_absent, is_disks, is_full};
use crate::envelope::stream::payload_size;
use crate::error::{Disposition, Fault, chain};
use crate::hold::{Hold, Reason, Until};

/// Room for the header in the estimate of a sealed file's size.
const HEADER_ROOM: u64 = 64 << 10;

/// What the loop must do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Look through the folders: the file is not what the queue knew.
    LookAgain,
    /// Nothing in particular.
    Nothing,
}

/// Does `step` and records what became true.
pub(super) async fn act(
    context: Arc<Context>,
    clip: Clip,
    step: Step,
) -> Result<After, AgentError> {
    let id = clip.id;
    let mut goes_first = false;
    let facts = match step {
        Step::Seal => {
            goes_first = is_first(&context, &clip);
            blocking(&context, move |context| seal_clip(context, &clip)).await?
        }
        Step::Store => {
            tracing::info!(clip = id.0, "stored in every required bucket");
            vec![Fact::Stored(clock::now())]
        }
        Step::Erase(proof) => {
            let _turn = context.erasing.turn().await;
            let name = clip.sealed.expect("proven to be sealed").name;
            match is_in_spool(&context, &proof, name).await {
                Ok(true) => {
                    blocking(&context, move |context| erase_clip(context, clip, proof)).await?
                }
                Ok(false) => {
                    spool_damaged(&context, id, name).await?;
                    return Ok(After::Nothing);
                }
                // It may be whole, and the only copy.
                Err(error) => held(&context, &clip, &SpoolRead(error))?,
            }
        }
        Step::Unspool => blocking(&context, move |context| unspool(context, &clip)).await?,
        Step::Done | Step::Operator | Step::Wait(_) | Step::WaitForScan => {
            unreachable!("waiting is not work")
        }
    };
    let is_sealed = facts.iter().any(|fact| matches!(fact, Fact::Sealed(_)));
    let is_stale = facts.iter().any(|fact| matches!(fact, Fact::Rewritten(_)));
    if !facts.is_empty() {
        context.queue.record(id, facts).await?;
    }
    if is_sealed && goes_first {
        context.queue.push_first(id).await?;
    }
    Ok(if is_stale { After::LookAgain } else { After::Nothing })
}

/// Whether a clip is to be pushed before others.
fn is_first(context: &Context, clip: &Clip) -> bool {
    clip.source.as_ref().is_some_and(|Source { folder, path }| {
        context.config.watch(folder).is_some_and(|watch| watch.is_first(path))
    })
}

async fn blocking(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<Vec<Fact>, AgentError> + Send + 'static,
) -> Result<Vec<Fact>, AgentError> {
    let context = Arc::clone(context);
    crate::edge::work::blocking(move || work(&context)).await
}

/// What a fault of sealing or erasing means: a hold, or the end of the process.
fn held(context: &Context, clip: &Clip, fault: &impl Fault) -> Result<Vec<Fact>, AgentError> {
    if fault.disposition() == Disposition::Halt {
        return Err(AgentError::Halt(chain(fault)));
    }
    let hold = hold_after(clip.hold.as_ref(), fault, clock::now(), context.jitter());
    tracing::warn!(clip = clip.id.0, reason = hold.reason.code(), "held: {}", hold.cause);
    Ok(vec![Fact::Held(hold)])
}

fn seal_clip(context: &Context, clip: &Clip) -> Result<Vec<Fact>, AgentError> {
    match try_seal(context, clip) {
        Ok(sealed) => {
            tracing::info!(clip = clip.id.0, digest = %sealed.name, "sealed");
            Ok(vec![Fact::Sealed(sealed)])
        }
        Err(SealClipFault::Seal(SealFault::Stopped)) => Ok(vec![]),
        Err(SealClipFault::Stale(generation)) => Ok(vec![Fact::Rewritten(generation)]),
        Err(SealClipFault::Keys(fault)) => held(context, clip, &fault),
        Err(SealClipFault::Seal(fault)) => held(context, clip, &fault),
        Err(SealClipFault::Spool(fault)) => held(context, clip, &fault),
        Err(SealClipFault::Work(fault)) => held(context, clip, &fault),
    }
}

/// The faults that may come between a file in a dock folder and a durable sealed file.
enum SealClipFault {
    Keys(KeysFault),
    Seal(SealFault),
    Spool(SpoolError),
    /// Written to since it was found, as while no daemon ran: it is another generation, and must
    /// settle like any other.
    Stale(Generation),
    Work(WorkFault),
}

impl From<KeysFault> for SealClipFault {
    fn from(fault: KeysFault) -> Self {
        SealClipFault::Keys(fault)
    }
}

impl From<SealFault> for SealClipFault {
    fn from(fault: SealFault) -> Self {
        SealClipFault::Seal(fault)
    }
}

impl From<SpoolError> for SealClipFault {
    fn from(fault: SpoolError) -> Self {
        SealClipFault::Spool(fault)
    }
}

impl From<WorkFault> for SealClipFault {
    fn from(fault: WorkFault) -> Self {
        SealClipFault::Work(fault)
    }
}

fn try_seal(context: &Context, clip: &Clip) -> Result<SealedFile, SealClipFault> {
    let Source { folder, path } = clip.source.as_ref().ok_or(WorkFault::NoSource)?;
    let watch = context.config.watch(folder).ok_or(WorkFault::NotWatched)?;
    let absent = |error| if is_absent(&error) { WorkFault::Absent } else { WorkFault::Open(error) };
    let folder = Folder::open(folder).map_err(absent)?;
    let (mut file, facts) = folder.open_clip(path).map_err(absent)?;
    if !facts.generation.same_content(&clip.generation) {
        return Err(SealClipFault::Stale(facts.generation));
    }
    let now = clock::now();
    let SealTo { recipients, revision } = context.seal_to(now)?;
    let estimate = payload_size(clip.generation.size_bytes).saturating_add(HEADER_ROOM);
    let mut draft = context.spool.begin(clip.id.0, estimate)?;
    let camera = watch.camera.as_ref().and_then(|rule| rule.camera(path));
    let origin = Origin {
        dock: &context.config.dock,
        camera: camera.as_deref(),
        path,
        generation: &clip.generation,
        now,
    };
    let sealed = seal(&mut file, origin, &recipients, &mut draft, &context.control)?;
    let mut fact = SealedFile {
        name: sealed.name,
        size_bytes: sealed.size_bytes,
        commitment: sealed.commitment,
        sealed_at: now,
        reread: false,
        in_spool: true,
        keyring_revision: revision,
    };
    context.spool.publish(draft, &fact, &clip.generation)?;
    if watch.erase == EraseWhen::WhenSealed {
        let again = is_same_again(&mut file, &sealed, &context.control);
        if again.is_err() {
            // Nothing will point at it: the clip is sealed anew. A start removes what stays.
            let _ = context.spool.remove(sealed.name);
        }
        fact.reread = again?;
        if !fact.reread {
            tracing::error!(clip = clip.id.0, "a second reading differed; kept until stored");
        }
    }
    Ok(fact)
}

/// Whether a sealed file on which an erasure rests lies in the spool and is what it was.
async fn is_in_spool(
    context: &Arc<Context>,
    proof: &EraseProof,
    name: SealedName,
) -> std::io::Result<bool> {
    if !proof.rests_on_spool() {
        return Ok(true);
    }
    let context = Arc::clone(context);
    match crate::edge::work::blocking(move || context.spool.is_intact(name)).await {
        Err(error) if is_absent(&error) => Ok(false),
        read => read,
    }
}

/// The sealed file is damaged, or is not there.
pub(super) async fn spool_damaged(
    context: &Context,
    id: ClipId,
    name: SealedName,
) -> Result<(), AgentError> {
    // As it is now: it may have been stored elsewhere and left the spool, or been sealed anew.
    if let Some(clip) = context.queue.reader()?.clip(id)?
        && clip.sealed.is_some_and(|sealed| sealed.in_spool && sealed.name == name)
    {
        let facts = damaged(context, &clip, name)?;
        context.queue.record_of(id, name, facts, None).await?;
    }
    Ok(())
}

/// The sealed file is not what it was. While the plaintext lies in the dock folder the clip is
/// sealed again; after that, what is left is kept for an operator.
pub(super) fn damaged(
    context: &Context,
    clip: &Clip,
    name: SealedName,
) -> Result<Vec<Fact>, AgentError> {
    tracing::error!(clip = clip.id.0, digest = %name, "the sealed file in the spool is damaged");
    let is_there = match plaintext_is_there(context, clip) {
        Ok(is_there) => is_there,
        // Until it is back, what is left of the sealed file may be all that there is. One that is
        // held because of it is not held again, as by each start.
        Err(_) if clip.hold.as_ref().is_some_and(waits_for_source) => return Ok(vec![]),
        Err(fault) => return held(context, clip, &SpoolDamaged(fault)),
    };
    if !is_there || clip.state() != State::Sealed {
        let cause = "the sealed file is missing or damaged, and its source is gone";
        return Ok(vec![Fact::Held(Hold::for_operator(Reason::SpoolDamaged, cause, clock::now()))]);
    }
    // Removed before the fact: should the process end in between, the start finds a clip whose
    // sealed file is missing, and comes here again.
    let removed = context.spool.remove(name).and_then(|()| context.spool.sync());
    removed.map_err(|error| AgentError::Halt(chain(&error)))?;
    Ok(vec![Fact::SealLost])
}

fn waits_for_source(hold: &Hold) -> bool {
    let is_ahead = matches!(hold.until, Until::Time(until) if is_ahead(until, clock::now()));
    hold.reason == Reason::SpoolDamaged && is_ahead
}

/// Whether the plaintext lies where it was found, or may lie on a medium that is away. One that an
/// erasure had moved already is put back.
fn plaintext_is_there(context: &Context, clip: &Clip) -> Result<bool, EraseFault> {
    let source = clip.source.as_ref().filter(|_| clip.plaintext == Plaintext::Present);
    let Some(Source { folder, path }) = source else { return Ok(false) };
    let opened = Folder::open(folder).map_err(|_| EraseFault::Away)?;
    let moved = quarantine(&opened, path, &context.instance, clip.id).map_err(EraseFault::Look)?;
    put_back(&opened, path, &clip.generation, &moved)
}

/// Erases a clip's plaintext, and removes its sealed file where nothing else needs it: one
/// transaction for both facts.
fn erase_clip(context: &Context, clip: Clip, proof: EraseProof) -> Result<Vec<Fact>, AgentError> {
    let Source { folder, path } = clip.source.as_ref().expect("proven to be present");
    let (instance, id) = (&context.instance, clip.id);
    let erased = Folder::open(folder).map_err(EraseFault::Look).and_then(|opened| {
        let moved = quarantine(&opened, path, instance, id).map_err(EraseFault::Look)?;
        let erased = erase(proof, &opened, path, &clip.generation, &moved);
        context.erasing.tidy(folder, &moved);
        erased
    });
    let plaintext = match erased {
        Ok(plaintext) => plaintext,
        Err(fault) => return held(context, &clip, &fault),
    };
    tracing::info!(clip = clip.id.0, plaintext = plaintext.word(), "plaintext gone");
    let now = clock::now();
    let mut facts = vec![Fact::Gone { plaintext, at: now }];
    let clip = clip.with(&facts).expect("a sealed clip, whose plaintext was there");
    if next_step(&clip, &context.policy(&clip), now) == Step::Unspool {
        facts.extend(unspool(context, &clip)?);
    }
    Ok(facts)
}

fn unspool(context: &Context, clip: &Clip) -> Result<Vec<Fact>, AgentError> {
    let sealed = clip.sealed.expect("only sealed clips are in the spool");
    // Removed before the fact: a file without a fact is found at the start, a fact without a file
    // would leave it there for ever.
    match context.spool.remove(sealed.name) {
        Ok(()) => Ok(vec![Fact::Unspooled]),
        Err(error) => held(context, clip, &SpoolRemove(error)),
    }
}

/// Faults of walking between the rooms.
#[derive(Debug, thiserror::Error)]
enum WorkFault {
    #[error("the file is not there")]
    Absent,
    #[error("the queue does not know where the file lies")]
    NoSource,
    #[error("its folder is no longer configured as a [[watch]]")]
    NotWatched,
    #[error("cannot open the file")]
    Open(#[source] std::io::Error),
}

impl Fault for WorkFault {
    fn disposition(&self) -> Disposition {
        match self {
            // The next look through the folder says what became of it.
            WorkFault::Absent | WorkFault::Open(_) => Disposition::Retry,
            WorkFault::NoSource | WorkFault::NotWatched => Disposition::Park,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            WorkFault::Absent | WorkFault::NotWatched => Reason::SourceAway,
            WorkFault::NoSource => Reason::Internal,
            WorkFault::Open(_) => Reason::Unreadable,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot remove the sealed file from the spool")]
struct SpoolRemove(#[source] std::io::Error);

impl Fault for SpoolRemove {
    fn disposition(&self) -> Disposition {
        // A disk that fails is not to be believed, whatever it was asked for. FAULTS F-13.
        if is_disks(&self.0) && !is_full(&self.0) { Disposition::Halt } else { Disposition::Retry }
    }

    fn reason(&self) -> Reason {
        Reason::SpoolFull
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read the sealed file, which would be the only copy")]
struct SpoolRead(#[source] std::io::Error);

impl Fault for SpoolRead {
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn reason(&self) -> Reason {
        Reason::EraseBlocked
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the sealed file is missing or damaged; it is sealed again from its source")]
struct SpoolDamaged(#[source] EraseFault);

impl Fault for SpoolDamaged {
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn reason(&self) -> Reason {
        Reason::SpoolDamaged
    }
}
