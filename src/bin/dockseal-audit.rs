//! `dockseal-audit`: proves what a bucket holds, without a secret.

use std::process::ExitCode;

fn main() -> ExitCode {
    dockseal::cli::audit::run()
}
