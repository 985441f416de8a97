//! The rules of the house that no compiler checks.
//!
//! Each rule is a function from sources to complaints: one test applies it to the
//! repository, one shows it a breach that it must find.

mod rust;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rust::{code, is_word, line_of, module_path, modules, paths, words};

/// A file longer than this is two.
const LINES_MAX: usize = 800;

/// The only rooms that may open a socket.
const SOCKET_ROOMS: [&str; 2] = ["sql/src/connector", "sql/src/server"];

/// The only rooms that may hold `unsafe`.
const UNSAFE_ROOMS: [&str; 2] = ["core/src/kernel", "core/src/log"];

/// A file of the repository; its path has slashes on every system.
#[derive(Debug, Clone)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn is_in(&self, rooms: &[&str]) -> bool {
        (rooms.iter()).any(|room| {
            let rest = self.path.strip_prefix(room);
            rest.is_some_and(|rest| rest.starts_with(['/', '.']))
        })
    }
}

/// All files with this ending under these folders of the repository.
fn sources(folders: &[&str], ending: &str) -> Vec<Source> {
    fn walk(root: &Path, folder: &Path, ending: &str, found: &mut Vec<Source>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    walk(root, &path, ending, found);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("a readable file");
                let path = path.strip_prefix(root).expect("a path under the root");
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                found.push(Source::new(&parts.join("/"), &text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in folders {
        walk(&root, &root.join(folder), ending, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The sources of the crates that are shipped.
fn shipped() -> Vec<Source> {
    let found = sources(&["core", "sql", "python"], ".rs");
    assert!(found.len() > 10, "the sources were not found");
    found
}

#[track_caller]
fn assert_clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// ---------------------------------------------------------------------------------
// The rules.

/// Modules stand in dependency order: each names only modules above it.
fn order(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let files: Vec<(&Source, &str, Vec<&str>, String)> = (sources.iter())
        .filter(|source| !source.path.contains("/src/bin/"))
        .filter_map(|source| {
            let (krate, path) = module_path(&source.path)?;
            Some((source, krate, path, code(&source.text)))
        })
        .collect();
    let declared = |krate: &str, parent: &[String]| -> Vec<(String, bool)> {
        (files.iter())
            .filter(|(_, other, path, _)| *other == krate && path.iter().eq(parent.iter()))
            .flat_map(|(.., code)| modules(code))
            .filter(|module| module.body.is_none())
            .map(|module| (module.name.to_owned(), module.is_test))
            .collect()
    };
    for (source, krate, own, code) in &files {
        let own: Vec<String> = own.iter().map(|&part| part.to_owned()).collect();
        // Tests may look at everything.
        let in_test = (0..own.len()).any(|depth| {
            (declared(krate, &own[..depth]).iter())
                .any(|(name, is_test)| *is_test && *name == own[depth])
        });
        if in_test {
            continue;
        }
        let inline: Vec<_> = (modules(code).into_iter())
            .filter(|module| module.body.is_some())
            .collect();
        for start in words(code, "crate").chain(words(code, "super")) {
            let is_head = !code[..start].trim_end().ends_with("::");
            let is_path = code[start + 5..].trim_start().starts_with("::");
            let around: Vec<_> = (inline.iter())
                .filter(|module| {
                    module
                        .body
                        .as_ref()
                        .is_some_and(|body| body.contains(&start))
                })
                .collect();
            let is_macro = code[..start].ends_with('$');
            if !is_head || !is_path || is_macro || around.iter().any(|module| module.is_test) {
                continue;
            }
            for path in paths(code, start) {
                let mut base = own.clone();
                base.extend(around.iter().map(|module| module.name.to_owned()));
                let mut rest = path.as_slice();
                if rest[0] == "crate" {
                    base.clear();
                    rest = &rest[1..];
                }
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                base.extend_from_slice(rest);
                let shared = base.iter().zip(&own).take_while(|(a, b)| a == b).count();
                let (Some(theirs), Some(ours)) = (base.get(shared), own.get(shared)) else {
                    continue;
                };
                let names = declared(krate, &own[..shared]);
                let place = |name: &String| names.iter().position(|(other, _)| other == name);
                if let (Some(their_place), Some(our_place)) = (place(theirs), place(ours))
                    && their_place > our_place
                {
                    complaints.push(format!(
                        "{}:{}: {ours} names {theirs}, which is declared below it",
                        source.path,
                        line_of(code, start)
                    ));
                }
            }
        }
    }
    complaints.dedup();
    complaints
}

/// Crates depend in one direction: python → sql → core. Nothing uses tests or benches.
fn direction(manifests: &[Source]) -> Vec<String> {
    let allowed = |folder: &str| -> &[&str] {
        match folder {
            "core" => &[],
            "sql" => &["windrow-core"],
            _ => &["windrow-core", "windrow-sql"],
        }
    };
    let mut complaints = Vec::new();
    for manifest in manifests {
        let folder = manifest.path.split('/').next().unwrap_or("");
        let mut in_dependencies = false;
        for (number, line) in manifest.text.lines().enumerate() {
            if let Some(section) = line.trim().strip_prefix('[') {
                in_dependencies = section.contains("dependencies");
            }
            let line = line.trim().trim_start_matches('[');
            let name = line
                .rsplit_once("dependencies.")
                .map_or(line, |(_, name)| name);
            let end = name
                .find(|c: char| !is_word(c) && c != '-')
                .unwrap_or(name.len());
            let name = &name[..end];
            if in_dependencies && name.starts_with("windrow") && !allowed(folder).contains(&name) {
                complaints.push(format!(
                    "{}:{}: {folder} must not depend on {name}",
                    manifest.path,
                    number + 1
                ));
            }
        }
    }
    complaints
}

/// Sockets are opened only at the doors.
fn sockets(sources: &[Source]) -> Vec<String> {
    let outside = (sources.iter()).filter(|source| !source.is_in(&SOCKET_ROOMS));
    forbidden(
        outside,
        &["net", "TcpStream", "TcpListener", "UdpSocket", "UnixStream"],
        "sockets belong to sql/src/connector and sql/src/server",
    )
}

/// `unsafe` stands in two rooms, each time with its reason.
fn unsafe_code(sources: &[Source]) -> Vec<String> {
    // A reason stands above its block, with room for a statement over a few lines.
    const REASON_LINES: usize = 8;
    let outside = (sources.iter()).filter(|source| !source.is_in(&UNSAFE_ROOMS));
    let mut complaints = forbidden(
        outside,
        &["unsafe"],
        "unsafe belongs to core/src/kernel and core/src/log",
    );
    for source in sources.iter().filter(|source| source.is_in(&UNSAFE_ROOMS)) {
        let code = code(&source.text);
        let lines: Vec<&str> = source.text.lines().collect();
        for at in words(&code, "unsafe") {
            let line = line_of(&code, at);
            let above = &lines[line.saturating_sub(REASON_LINES + 1)..line];
            // The documentation of an unsafe function says it to its callers.
            let has_reason = (above.iter())
                .any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety"));
            if !has_reason {
                complaints.push(format!("{}:{line}: unsafe without // SAFETY:", source.path));
            }
        }
    }
    complaints
}

/// The engine knows no SQL engine, no async runtime and no clock.
fn core_ignorance(sources: &[Source]) -> Vec<String> {
    let core = (sources.iter()).filter(|source| source.is_in(&["core"]));
    forbidden(
        core,
        &[
            "datafusion",
            "sqlparser",
            "tokio",
            "SystemTime",
            "Instant",
            "Utc",
            "Local",
        ],
        "core knows no DataFusion, no tokio and no clock",
    )
}

/// No file is too long to be one idea.
fn length(sources: &[Source]) -> Vec<String> {
    (sources.iter())
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines, at most {LINES_MAX}", source.path))
        .collect()
}

fn forbidden<'a>(
    sources: impl Iterator<Item = &'a Source>,
    names: &[&str],
    why: &str,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let code = code(&source.text);
        for name in names {
            for at in words(&code, name) {
                // `net` is a module only in a path.
                let in_path =
                    code[..at].ends_with("::") || code[at + name.len()..].starts_with("::");
                if *name != "net" || in_path {
                    let line = line_of(&code, at);
                    complaints.push(format!("{}:{line}: {name}: {why}", source.path));
                }
            }
        }
    }
    complaints
}

// ---------------------------------------------------------------------------------
// The repository keeps them.

#[test]
fn modules_name_only_modules_above_them() {
    assert_clean(order(&shipped()));
}

#[test]
fn crates_depend_in_one_direction() {
    let manifests = sources(&["core", "sql", "python", "benches", "tests"], "Cargo.toml");
    assert!(manifests.len() >= 4, "the manifests were not found");
    assert_clean(direction(&manifests));
}

#[test]
fn only_the_doors_open_sockets() {
    assert_clean(sockets(&shipped()));
}

#[test]
fn unsafe_has_its_rooms_and_its_reasons() {
    assert_clean(unsafe_code(&shipped()));
}

#[test]
fn core_knows_no_sql_no_runtime_no_clock() {
    assert_clean(core_ignorance(&shipped()));
}

#[test]
fn files_are_one_idea() {
    assert_clean(length(&sources(
        &["core", "sql", "python", "benches", "tests"],
        ".rs",
    )));
}

// ---------------------------------------------------------------------------------
// Each rule finds a breach.

#[test]
fn a_module_below_is_found() {
    let lib = Source::new(
        "core/src/lib.rs",
        "pub mod low;\npub mod mid;\npub mod high;\n",
    );
    let check = |path: &str, text: &str| order(&[lib.clone(), Source::new(path, text)]);

    assert_eq!(
        check("core/src/low.rs", "//! low\nuse crate::high::Thing;\n"),
        ["core/src/low.rs:2: low names high, which is declared below it"]
    );
    assert_eq!(check("core/src/mid.rs", "use super::high;").len(), 1);
    assert_eq!(
        check("core/src/mid.rs", "use crate::{low::A, high::{B, C}};").len(),
        1
    );
    assert_eq!(
        check("core/src/mid.rs", "fn f() { crate :: high::f() }").len(),
        1
    );
    assert_eq!(
        check("core/src/mid/deep.rs", "use super::super::high::A;").len(),
        1
    );
    assert_eq!(
        check("core/src/mid.rs", "mod a { use super::super::high; }").len(),
        1
    );

    assert!(check("core/src/high.rs", "use crate::{low::A, mid as m};").is_empty());
    assert!(check("core/src/mid.rs", "use crate::low; use crate::Error;").is_empty());
    assert!(
        check(
            "core/src/mid.rs",
            "/// [`crate::high`]\nconst A: &str = \"crate::high\";"
        )
        .is_empty()
    );
    assert!(
        check(
            "core/src/mid.rs",
            "#[cfg(test)]\nmod tests { use crate::high::A; }"
        )
        .is_empty()
    );
    assert!(
        check(
            "core/src/mid.rs",
            "mod high { fn f() {} }\nfn g() { self::high::f() }"
        )
        .is_empty()
    );
    let nested = [
        Source::new("core/src/lib.rs", "mod a;"),
        Source::new("core/src/a.rs", "mod x;\nmod y;\n#[cfg(test)]\nmod tests;"),
        Source::new("core/src/a/x.rs", "use super::y::Y;"),
        Source::new("core/src/a/y.rs", "use super::x::X; use crate::a::x;"),
        Source::new("core/src/a/tests.rs", "use super::{x, y};"),
    ];
    assert_eq!(
        order(&nested),
        ["core/src/a/x.rs:1: x names y, which is declared below it"]
    );
}

#[test]
fn a_wrong_direction_is_found() {
    let check = |path: &str, text: &str| direction(&[Source::new(path, text)]);
    assert_eq!(
        check(
            "core/Cargo.toml",
            "[dependencies]\narrow = \"1\"\nwindrow-sql.workspace = true\n"
        ),
        ["core/Cargo.toml:3: core must not depend on windrow-sql"]
    );
    assert_eq!(
        check(
            "core/Cargo.toml",
            "[dev-dependencies.windrow-sql]\npath = \"x\""
        )
        .len(),
        1
    );
    assert_eq!(
        check(
            "sql/Cargo.toml",
            "[dependencies]\nwindrow-tests = { path = \"x\" }"
        )
        .len(),
        1
    );
    assert!(
        check(
            "sql/Cargo.toml",
            "[package]\nname = \"windrow-sql\"\n[dependencies]\nwindrow-core = \"1\""
        )
        .is_empty()
    );
    assert!(check("tests/Cargo.toml", "[dependencies]\nwindrow-sql = \"1\"").is_empty());
}

#[test]
fn a_socket_is_found() {
    let check = |path: &str, text: &str| sockets(&[Source::new(path, text)]).len();
    assert_eq!(check("core/src/time.rs", "use std::net::UdpSocket;"), 2);
    assert_eq!(check("sql/src/plan/mod.rs", "use tokio::net;"), 1);
    assert_eq!(check("sql/src/connector.rs", "use std::net::UdpSocket;"), 0);
    assert_eq!(
        check("sql/src/server/http.rs", "use tokio::net::TcpListener;"),
        0
    );
    assert_eq!(check("core/src/time.rs", "// std::net\nlet net = 1;"), 0);
}

#[test]
fn unsafe_outside_or_without_reason_is_found() {
    let check = |path: &str, text: &str| unsafe_code(&[Source::new(path, text)]);
    assert_eq!(
        check("core/src/time.rs", "// SAFETY: none\nunsafe { f() }"),
        ["core/src/time.rs:2: unsafe: unsafe belongs to core/src/kernel and core/src/log"]
    );
    assert_eq!(
        check("core/src/kernel/sum.rs", "fn f() {\n    unsafe { g() }\n}"),
        ["core/src/kernel/sum.rs:2: unsafe without // SAFETY:"]
    );
    assert!(
        check(
            "core/src/kernel/sum.rs",
            "// SAFETY: in bounds\nunsafe { g() }"
        )
        .is_empty()
    );
    assert!(
        check(
            "core/src/log.rs",
            "/// # Safety\n/// Mapped.\npub unsafe fn f() {}"
        )
        .is_empty()
    );
    assert!(check("sql/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe\n").is_empty());
    assert!(
        check(
            "sql/src/lib.rs",
            "let s = \"unsafe\"; let t = r#\"unsafe \" \"#;"
        )
        .is_empty()
    );
}

#[test]
fn a_clock_in_core_is_found() {
    let check = |path: &str, text: &str| core_ignorance(&[Source::new(path, text)]).len();
    assert_eq!(
        check("core/src/time.rs", "let now = std::time::Instant::now();"),
        1
    );
    assert_eq!(check("core/src/time.rs", "use std::time::SystemTime;"), 1);
    assert_eq!(check("core/src/time.rs", "use datafusion::prelude::*;"), 1);
    assert_eq!(
        check("core/src/time.rs", "async fn f() { tokio::spawn(g()); }"),
        1
    );
    assert_eq!(check("sql/src/cli.rs", "let now = Instant::now();"), 0);
    assert_eq!(
        check(
            "core/src/time.rs",
            "//! No tokio, no Instant.\nstruct InstantRow;"
        ),
        0
    );
}

#[test]
fn a_long_file_is_found() {
    let lines = |count: usize| {
        let text = (0..count).fold(String::new(), |mut text, line| {
            writeln!(text, "// {line}").expect("a string takes all");
            text
        });
        length(&[Source::new("core/src/long.rs", &text)])
    };
    assert!(lines(LINES_MAX).is_empty());
    assert_eq!(
        lines(LINES_MAX + 1),
        ["core/src/long.rs: 801 lines, at most 800"]
    );
}
