//! The `veval` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    veval::cli::main()
}
