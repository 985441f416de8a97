//! The command `windrow`.

use std::process::ExitCode;

fn main() -> ExitCode {
    windrow_sql::cli::main()
}
