//! Ctrl-C and requests to end: tidy, one line, and the exit code of an interruption.

use std::io::{self, Write};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::super::Exit;
use super::PROGRAM;

/// On Ctrl-C or a request to end: tidies, says what came of it, and ends the process.
pub fn when_interrupted(
    runtime: &Runtime,
    said: &'static str,
    tidy: impl FnOnce() + Send + 'static,
) {
    runtime.spawn(async move {
        // Where signals cannot be had, the default action stays: the process just ends.
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tidy();
        let _ = writeln!(io::stderr(), "\n{PROGRAM}: {said}");
        #[allow(
            clippy::exit,
            reason = "the main thread may be inside a long read; the kernel wipes"
        )]
        std::process::exit(Exit::Interrupted as i32);
    });
}
