//! The dock's program.

fn main() -> std::process::ExitCode {
    dockseal::cli::dock::run()
}
