//! Asking a witness to cosign a checkpoint over HTTP (C2SP tlog-witness).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::chain;

/// How long a witness may take; publishing goes on without it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes.
const ANSWER_SIZE_MAX: usize = 16 << 10;

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its cosignature lines.
    Cosigned(String),
    /// It knows another size of this log; ask again with a proof from there.
    Knows(u64),
}

/// Asks the witness at `url` to cosign `checkpoint`. `proof` shows that the log of `old` entries,
/// which the witness saw last, became this one.
pub async fn add_checkpoint(
    url: &str,
    old: u64,
    proof: &[[u8; 32]],
    checkpoint: &str,
) -> Result<Answer, WitnessError> {
    let mut body = format!("old {old}\n");
    proof.iter().for_each(|hash| body.push_str(&format!("{}\n", BASE64.encode(hash))));
    body.push_str(&format!("\n{checkpoint}"));
    let failed = |error: reqwest::Error| WitnessError::Failed(chain(&error.without_url()));
    // A witness is asked once an edition: a client of its own needs no pool.
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let mut answer = client.post(url).body(body).send().await.map_err(failed)?;
    let status = answer.status().as_u16();
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        text.extend_from_slice(&chunk);
        if text.len() > ANSWER_SIZE_MAX {
            return Err(WitnessError::Failed("its answer is too large".into()));
        }
    }
    let text = String::from_utf8(text).map_err(|_| WitnessError::Refused { status })?;
    match status {
        200 => Ok(Answer::Cosigned(text)),
        409 => match text.trim().parse() {
            Ok(size) => Ok(Answer::Knows(size)),
            Err(_) => Err(WitnessError::Refused { status }),
        },
        status => Err(WitnessError::Refused { status }),
    }
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It could not be reached, or failed.
    #[error("the witness failed: {0}")]
    Failed(String),
    /// It refused the checkpoint (C2SP tlog-witness, "add-checkpoint").
    #[error("the witness refused the checkpoint: {}", refusal(*status))]
    Refused {
        /// The answer's HTTP status.
        status: u16,
    },
}

fn refusal(status: u16) -> String {
    match status {
        403 => "it does not know this dock's key".into(),
        404 => "it does not know this log".into(),
        422 => "this log is not the one that it saw before".into(),
        other => format!("status {other}"),
    }
}
