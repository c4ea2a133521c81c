//! `dockseal metrics`, and what the daemon answers a monitor.

mod figures;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{open, queue_complaint, status, why};
use crate::cli::{Complaint, Exit};
use crate::clip::{harmless, printable};
use crate::dock::agent::Context;
use crate::dock::config::Config;
use crate::dock::queue::{QueueError, Reader};
use crate::edge::durable;
use crate::edge::monitor::{self, Answer};
use crate::edge::systemd::Pulse;

const PLAIN: &str = "text/plain; charset=utf-8";

#[derive(Args)]
pub(super) struct MetricsArguments {
    /// Write them to a file, as a whole or not at all, for node_exporter's textfile collector
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
}

impl MetricsArguments {
    /// Whether a file is written.
    pub(super) fn writes(&self) -> bool {
        self.textfile.is_some()
    }
}

/// Prints the figures, or writes them to a file.
pub(super) fn metrics(config: &Config, arguments: &MetricsArguments) -> Result<Exit, Complaint> {
    let text = text_of(config, &open(config)?).map_err(|error| queue_complaint(config, &error))?;
    match &arguments.textfile {
        None => io::stdout().lock().write_all(text.as_bytes())?,
        Some(path) => durable::replace_public(path, text.as_bytes()).map_err(|error| {
            let title = format!("cannot write the figures to {}", printable(path));
            Complaint::new(Exit::Failed, title, &error)
                .hint("its folder must be there, and belong to whoever runs this")
        })?,
    }
    Ok(Exit::Ok)
}

fn text_of(config: &Config, reader: &Reader) -> Result<String, QueueError> {
    Ok(text::text(figures::figures(config, reader)?))
}

/// Lets a monitor ask while the daemon runs, where the config says so.
pub(super) fn serve(context: &Context) {
    let Some(address) = context.config.metrics_listen else { return };
    // Not the context itself: the queue ends in order once nobody holds it.
    let (config, pulse) = (context.config.clone(), Arc::clone(&context.pulse));
    let page = move |path: &str| match path {
        "/metrics" => Some(figures_of(&config)),
        "/healthz" => Some(health_of(&config, &pulse)),
        _ => None,
    };
    if let Err(error) = monitor::open(address, page) {
        tracing::error!("no monitor can ask at {address}: {error}; clips do not wait");
    }
}

fn unreadable() -> Answer {
    let body = "the queue cannot be read: dockseal status\n".to_owned();
    Answer { status: 503, media_type: PLAIN, body }
}

fn figures_of(config: &Config) -> Answer {
    let text = open(config).ok().and_then(|reader| text_of(config, &reader).ok());
    text.map_or_else(unreadable, |body| Answer { status: 200, media_type: text::MEDIA_TYPE, body })
}

/// Whether the agent makes progress and no person has to act; else the first cause, in words that
/// name no file.
fn health_of(config: &Config, pulse: &Pulse) -> Answer {
    let ill = |body| Answer { status: 503, media_type: PLAIN, body };
    if let Some(silent) = pulse.stuck_for() {
        let seconds = silent.as_secs();
        return ill(format!(
            "stuck: the agent has made no progress for {seconds} s\n\
             do: systemctl restart dockseal; nothing is lost\n"
        ));
    }
    let gathered = open(config).and_then(|reader| status::gather(config, &reader));
    let Ok(status) = gathered else { return unreadable() };
    match status.causes().into_iter().find(|cause| cause.needs_you) {
        Some(cause) => {
            // What is said of a folder begins with its path.
            let is_folder = cause.code == why::FOLDER.0;
            let what = if is_folder { why::FOLDER.1 } else { &cause.what };
            ill(format!("{}: {}\ndo: {}\n", cause.code, harmless(what), cause.fix))
        }
        None => {
            Answer { status: 200, media_type: PLAIN, body: format!("ok: {}\n", status.summary) }
        }
    }
}
