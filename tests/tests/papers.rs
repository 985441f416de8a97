//! What the papers print does what they say: a newcomer copies it.

use std::fs;
use std::process::{Command, Stdio};

use windrow_tests::command::{answer, binary, example, root, text};

/// The fenced blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let fence = format!("```{language}\n");
    (readme.split(&fence).skip(1))
        .map(|rest| rest.split("```").next().unwrap_or_default().to_string())
        .collect()
}

#[test]
fn the_first_command_prints_real_windows() {
    let answer = answer(&["--format", "csv", "run", "data/weather.sql"]);
    // The reading that was not believed stands in line 1011 of the file.
    assert!(
        answer.contains("data/weather.csv:1011,wind_speed BETWEEN 0 AND 200"),
        "{answer}"
    );
    // 24 hours of the hottest day, in local time.
    assert!(
        answer.contains("EWR,2013-07-18T04:00:00,24,80.06,90.3,100.04"),
        "{answer}"
    );
}

#[test]
fn the_readme_s_sql_answers() {
    let blocks = blocks("sql");
    assert!(!blocks.is_empty());
    for block in blocks {
        let answer = answer(&["--format", "csv", "-c", &block]);
        // A header, and a week of each station at least.
        assert!(answer.lines().count() > 3, "{block}\n{answer}");
    }
}

#[test]
fn the_readme_s_pipe_answers() {
    let pipes = blocks("sh")
        .into_iter()
        .filter(|block| block.contains("windrow generate"));
    let pipes: Vec<String> = pipes.collect();
    assert!(!pipes.is_empty());
    let binary = binary();
    let folder = binary
        .parent()
        .expect("the binary lies in a folder")
        .display()
        .to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    for pipe in pipes {
        let output = Command::new("bash")
            .args(["-c", &pipe])
            .current_dir(root())
            .env("PATH", format!("{folder}:{path}"))
            .stdin(Stdio::null())
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{pipe}\n{}", text(&output.stderr));
        let answer = text(&output.stdout);
        assert!(
            answer.starts_with("sensor,window_start,mean,n\n"),
            "{answer}"
        );
        assert_eq!(answer.lines().count(), 5, "`head -n 5`: {answer}");
    }
}

#[test]
fn the_examples_print_windows() {
    // Even seconds of each ten: 0, 2, 4, 6, 8; odd ones: 1, 3, 5, 7, 9.
    let embed = example("embed");
    assert!(embed.contains("accepted 60, late 0, rejected 0"), "{embed}");
    assert!(
        embed.contains("| north  | 2026-01-01T00:00:00 | 4.0  | 5 |"),
        "{embed}"
    );
    assert!(
        embed.contains("| south  | 2026-01-01T00:00:00 | 5.0  | 5 |"),
        "{embed}"
    );
    let own_parts = example("own_parts");
    assert!(own_parts.contains("mean of ten seconds"), "{own_parts}");
}
