//! Where a database is, and who calls: `postgres://user:password@host:port/database`.

use std::fmt;

use percent_encoding::percent_decode_str;
use ureq::http::Uri;

use crate::error::{Error, ErrorKind, Result};

const PORT_DEFAULT: u16 = 5432;

const EXAMPLE: &str = "for example url = 'postgres://user@127.0.0.1:5432/database', with the \
                       password as an option of its own";

/// A database and its user.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({self})")
    }
}

/// The place, without the password.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            database,
            ..
        } = self;
        write!(f, "postgres {host}:{port}/{database}")
    }
}

impl Route {
    /// The route that a URL tells; a `password` that is given apart goes before its own.
    ///
    /// # Errors
    /// If it is no URL of a database, or asks for what is not to be had.
    pub(super) fn of(url: &str, password: Option<&str>) -> Result<Self> {
        // The URL is not repeated: it may hold a password.
        let unfit = |why: &str, help: &str| {
            let message = format!("option url does not name a database: {why}");
            Error::new(ErrorKind::Option, message).help(help.to_owned())
        };
        let uri: Uri = url
            .parse()
            .map_err(|error| unfit(&format!("{error}"), EXAMPLE))?;
        if !matches!(uri.scheme_str(), Some("postgres" | "postgresql")) {
            return Err(unfit("it does not begin with postgres://", EXAMPLE));
        }
        for setting in uri.query().unwrap_or("").split('&') {
            match setting {
                "" | "sslmode=disable" | "sslmode=allow" | "sslmode=prefer" => {}
                _ if setting.starts_with("sslmode=") => {
                    return Err(unfit(
                        "connector 'postgres' speaks without encryption",
                        "leave sslmode out, and let a proxy on this machine encrypt what leaves it",
                    ));
                }
                // Not repeated: it is the end of a password.
                _ if setting.contains('@') => {
                    return Err(unfit(
                        "a '?' stands before its '@'",
                        "write %3F for a '?' of the password, or give it as the option password",
                    ));
                }
                _ => {
                    let name = setting.split('=').next().unwrap_or("");
                    let why = format!("its setting '{name}' is not known");
                    return Err(unfit(
                        &why,
                        "leave it out: only sslmode=disable may stand there",
                    ));
                }
            }
        }
        let decoded = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            let text = text.map_err(|_| unfit("it is no UTF-8", EXAMPLE))?;
            match text.contains('\0') {
                true => Err(unfit("it holds a NUL", EXAMPLE)),
                false => Ok(text.into_owned()),
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let (user, own) = match authority.rsplit_once('@') {
            Some((who, _)) => match who.split_once(':') {
                Some((user, own)) => (user, Some(decoded(own)?)),
                None => (who, None),
            },
            None => ("", None),
        };
        let (user, database) = (decoded(user)?, decoded(uri.path().trim_start_matches('/'))?);
        let host = uri.host().unwrap_or("");
        if host.is_empty() || user.is_empty() {
            return Err(unfit("it needs a user and a host", EXAMPLE));
        }
        if password.is_some_and(|password| password.contains('\0')) {
            let message = "option password holds a NUL";
            return Err(Error::new(ErrorKind::Option, message).help("write it without"));
        }
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(PORT_DEFAULT),
            // As other clients do: a database is called as its user unless it is named.
            database: match database.is_empty() {
                true => user.clone(),
                false => database,
            },
            user,
            password: password.map(str::to_owned).or(own),
        })
    }
}
