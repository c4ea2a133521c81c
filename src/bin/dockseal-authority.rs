//! `dockseal-authority`: opens what the docks sealed.

use std::process::ExitCode;

fn main() -> ExitCode {
    dockseal::cli::authority::run()
}
