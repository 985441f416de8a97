//! The comparison with other engines judges fairly; the peers themselves are not needed.

use std::process::Command;

use windrow_tests::command::root;

#[test]
fn no_ratio_stands_without_the_same_answer() {
    let script = root().join("benches/rivals/test_rivals.py");
    let run = Command::new("python3").arg("-B").arg(script).output();
    let Ok(run) = run else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}
