//! A PostgreSQL of a test's own: in a temporary folder, on a free port of this machine, and
//! gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::port::free_address;

const PATIENCE: Duration = Duration::from_secs(30);

const PASSWORD: &str = "se/cret";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    server: Child,
    folder: TempDir,
}

impl Postgres {
    /// Starts one; if that cannot be, prints why.
    ///
    /// # Panics
    /// If a server that is there does not start; in continuous integration, which skips
    /// nothing that could run, also if it cannot be started.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped: there is no initdb: install the package postgresql");
            return None;
        };
        match usable() {
            Ok(()) => Some(Self::of(&programs)),
            Err(why) => {
                let ci = std::env::var("CI");
                assert!(
                    ci.as_deref() != Ok("true"),
                    "PostgreSQL is there, but {why}"
                );
                println!("skipped: {why}");
                None
            }
        }
    }

    fn of(programs: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("password"), PASSWORD).expect("written");
        if is_root() {
            let owned = (Command::new("chown").arg("-R").arg("postgres"))
                .arg(folder.path())
                .status();
            assert!(owned.expect("chown is there").success());
        }
        let made = as_user(&programs.join("initdb"))
            .args([
                "-D",
                &path("data"),
                "-U",
                "ada",
                "-A",
                "scram-sha-256",
                "--no-sync",
            ])
            .args(["--pwfile", &path("password"), "-E", "UTF8", "--locale", "C"])
            .current_dir(folder.path())
            .output();
        let made = made.expect("initdb starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_address().port();
        let server = as_user(&programs.join("postgres"))
            .args([
                "-D",
                &path("data"),
                "-p",
                &port.to_string(),
                "-k",
                &path(""),
            ])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let postgres = Self {
            port,
            server: server.expect("it starts"),
            folder,
        };
        let start = Instant::now();
        while let Err(error) = postgres.try_ask("SELECT 1") {
            assert!(start.elapsed() < PATIENCE, "{error}");
            thread::sleep(Duration::from_millis(50));
        }
        postgres
    }

    /// The URL of its database, by way of a port: its own, or that of something between.
    pub fn url(&self, port: u16) -> String {
        let password = PASSWORD.replace('/', "%2F");
        format!("postgres://ada:{password}@127.0.0.1:{port}/postgres")
    }

    /// The rows that `psql` prints for a query, columns apart by `|`.
    ///
    /// # Panics
    /// If it prints an error.
    pub fn ask(&self, query: &str) -> Vec<String> {
        self.try_ask(query)
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    fn try_ask(&self, query: &str) -> Result<Vec<String>, String> {
        let output = Command::new("psql")
            .args(["-XAtq", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args([
                "-U",
                "ada",
                "-d",
                "postgres",
                "-P",
                "null=NULL",
                "-c",
                query,
            ])
            .env("PGPASSWORD", PASSWORD)
            .env("PGTZ", "UTC")
            .current_dir(self.folder.path())
            .output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned)
                .collect()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // As an administrator ends it: connections are closed, children end.
        let _ = (Command::new("kill"))
            .args(["-INT", &self.server.id().to_string()])
            .status();
        let _ = self.server.wait();
    }
}

fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// The folder with the server's programs.
fn programs() -> Option<PathBuf> {
    let mut folders = on_path();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let whole = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    folders.into_iter().find(whole)
}

/// Whether a server that is there can be run and asked, or why not.
fn usable() -> Result<(), String> {
    if !on_path().iter().any(|folder| folder.join("psql").exists()) {
        return Err("there is no psql".to_owned());
    }
    if is_root()
        && !as_user(Path::new("true"))
            .status()
            .is_ok_and(|status| status.success())
    {
        return Err("root may not run it, and setpriv finds no user postgres".to_owned());
    }
    Ok(())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A program by a user that the server lets run it.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
        ])
        .arg(program);
    command
}
