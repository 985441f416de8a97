//! What `SET` can change.

use windrow_core::pipeline::EngineConfig;

use crate::error::{Error, ErrorKind, Result, nearest};

/// The settings of a session. They hold for what is created later.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: Vec<Setting>,
}

#[derive(Debug, Clone)]
struct Setting {
    name: &'static str,
    value: u64,
    description: &'static str,
    /// Whether it is fixed when the session starts.
    is_fixed: bool,
}

impl Settings {
    pub(super) fn of(config: &EngineConfig) -> Self {
        let setting = |name, value, description, is_fixed| Setting {
            name,
            value,
            description,
            is_fixed,
        };
        Self {
            values: vec![
                setting(
                    "late_bytes_max",
                    config.late_bytes_max as u64,
                    "bytes of the late rows kept for each stream",
                    true,
                ),
                setting(
                    "late_rows_max",
                    config.late_rows_max as u64,
                    "late rows kept for each stream",
                    true,
                ),
                setting(
                    "max_keys",
                    0,
                    "keys kept by each view without a window; 0 = the view says it",
                    false,
                ),
                setting(
                    "rejects_bytes_max",
                    config.rejects_bytes_max as u64,
                    "bytes of the rejected rows kept for each stream",
                    true,
                ),
                setting(
                    "rejects_max",
                    config.rejects_max as u64,
                    "rejected rows kept for each stream",
                    true,
                ),
                setting(
                    "view_bytes_max",
                    1 << 30,
                    "bytes kept for each materialized view",
                    false,
                ),
                setting(
                    "workers",
                    config.workers as u64,
                    "threads of the engine; 0 = one for each core",
                    true,
                ),
            ],
        }
    }

    fn value(&self, name: &str) -> Option<usize> {
        let setting = self.values.iter().find(|setting| setting.name == name);
        setting.map(|setting| setting.value as usize)
    }

    pub(super) fn view_bytes_max(&self) -> usize {
        self.value("view_bytes_max").unwrap_or(usize::MAX)
    }

    /// How many keys a view without a window keeps; `None`: nobody has said.
    pub(super) fn keys_max(&self) -> Option<usize> {
        self.value("max_keys").filter(|keys| *keys > 0)
    }

    /// Each setting's name, value and meaning.
    pub(super) fn list(&self) -> impl Iterator<Item = (&str, String, &str)> {
        (self.values.iter())
            .map(|setting| (setting.name, setting.value.to_string(), setting.description))
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let names = self
            .values
            .iter()
            .map(|setting| setting.name)
            .collect::<Vec<_>>();
        let Some(setting) = self.values.iter_mut().find(|setting| setting.name == name) else {
            let error = Error::new(ErrorKind::Plan, format!("there is no setting \"{name}\""));
            return Err(match nearest(name, names.iter().copied()) {
                Some(meant) => error.help(format!("did you mean {meant}?")),
                None => error.help(format!("the settings are {}", names.join(", "))),
            });
        };
        if setting.is_fixed {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{name} is fixed when a session starts"),
            )
            .help("give it to the session's configuration"));
        }
        setting.value = value.parse().map_err(|_| {
            Error::new(
                ErrorKind::Plan,
                format!("{name} is a whole number, not '{value}'"),
            )
        })?;
        Ok(())
    }
}
