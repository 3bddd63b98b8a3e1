//! Parses arguments, starts logging, runs one command and turns its result into an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    generative_ai_worker::cli::main()
}
