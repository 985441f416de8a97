//! The command `windrow`.

use std::process::ExitCode;

fn main() -> ExitCode {
    windrow_core::kernel::keep_freed_memory();
    windrow_sql::cli::main()
}
