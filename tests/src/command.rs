//! The binary `windrow` and the examples, as a newcomer runs them.

use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Child;
use std::process::{Command, Output, Stdio};

/// The repository's root: commands name files relative to it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the repository")
}

/// What cargo has built, in the folder above that of this test's executable.
fn built(path: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = (test.parent())
        .and_then(Path::parent)
        .expect("tests lie in target/…/deps");
    folder.join(format!("{path}{}", std::env::consts::EXE_SUFFIX))
}

/// The binary.
pub fn binary() -> PathBuf {
    let binary = built("windrow");
    assert!(
        binary.exists(),
        "there is no {}: run `cargo build -p windrow-sql` first",
        binary.display()
    );
    binary
}

/// The binary with arguments, at the repository's root, without input.
pub fn windrow(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub fn output(arguments: &[&str]) -> Output {
    windrow(arguments).output().expect("the binary starts")
}

/// Standard output of a command that succeeds.
pub fn answer(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Ends a command as Ctrl-C does, and waits until it has.
///
/// # Panics
/// If it fails.
#[cfg(unix)]
pub fn interrupted(mut child: Child) {
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill is there").success());
    assert!(child.wait().expect("it ends").success());
}

/// Text of what a process wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of an example of `windrow-sql`.
pub fn example(name: &str) -> String {
    let mut example = Command::new(built(&format!("examples/{name}")));
    let output = (example.stdin(Stdio::null()).output()).expect("`cargo test` builds examples");
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}
