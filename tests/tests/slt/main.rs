//! Runs every `tests/slt/*.slt` in ways that must not change an answer.
//!
//! ```text
//!  file ──parse──▶ records ──rewrite──▶ session        (one trial for each file and mode)
//! ```
//!
//! The modes are listed in `modes.rs`. A file can exclude some with a line such as
//! `# modes: no-shuffle because rows are late`.
//!
//! `cargo test -p windrow-tests --test slt tumble` runs the trials whose name holds
//! `tumble`.

mod database;
mod modes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{Runner, strict_column_validator};
use windrow_tests::rewrite::exclusions;

use database::Database;
use modes::Mode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Files name their data relative to the package.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Err(error) = std::env::set_current_dir(package) {
        eprintln!("{}: {error}", package.display());
        return ExitCode::FAILURE;
    }
    match trials(&package.join("slt")) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials(folder: &Path) -> Result<Vec<Trial>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files: Vec<PathBuf> = (fs::read_dir(folder).map_err(unreadable)?)
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "slt"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{} holds no .slt file", folder.display()));
    }

    let mut trials = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&file).map_err(unreadable)?;
        let excluded = exclusions(&text).map_err(|error| format!("{name}.slt: {error}"))?;
        let text: Arc<str> = text.into();
        for mode in modes::all()
            .into_iter()
            .filter(|mode| mode.is_allowed(&excluded))
        {
            let (file, text) = (file.clone(), text.clone());
            let trial = format!("{name} [{}]", mode.name);
            trials.push(Trial::test(trial, move || run(&file, &text, mode)));
        }
    }
    Ok(trials)
}

fn run(file: &Path, text: &str, mode: Mode) -> Result<(), Failed> {
    let mut runner = Runner::new(|| async { Database::new(mode) });
    runner.with_column_validator(strict_column_validator);
    if mode.is_shuffled {
        runner.with_validator(modes::about_equal);
    }
    (runner.run_script_with_name(text, &*file.to_string_lossy()))
        .map_err(|error| Failed::from(error.display(false).to_string()))
}
