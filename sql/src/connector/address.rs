//! Addresses of sockets, as they are written in `address = '…'`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::registry::Pairs;
use crate::error::{Error, ErrorKind, Result, nearest};

/// The addresses that a connector's option names; a port alone is one of this machine.
///
/// # Errors
/// If the option is missing, or names no address.
pub(super) fn addresses(connector: &str, pairs: &Pairs) -> Result<Vec<SocketAddr>> {
    let Some(written) = pairs.get("address") else {
        let message = format!("connector '{connector}' needs the option address");
        let error = Error::new(ErrorKind::Option, message);
        return Err(match nearest("address", pairs.keys().map(String::as_str)) {
            Some(written) => error.help(format!("write address instead of {written}")),
            None => error
                .help("a port of this machine, or a host and a port: address = '127.0.0.1:7000'"),
        });
    };
    let port = written.strip_prefix(':').unwrap_or(written);
    if let Ok(port) = port.parse() {
        return Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]);
    }
    let unfit = |why: &str| {
        Error::new(
            ErrorKind::Option,
            format!("option address is '{written}': {why}"),
        )
        .help("write a host and a port, such as '127.0.0.1:7000' or 'localhost:7000'")
    };
    let found = written
        .to_socket_addrs()
        .map_err(|error| match written.contains(':') {
            true => unfit(&error.to_string()),
            false => unfit("it has no port"),
        })?;
    let found: Vec<SocketAddr> = found.collect();
    match found.is_empty() {
        true => Err(unfit("no such host is known")),
        false => Ok(found),
    }
}

/// The address to listen on.
///
/// # Errors
/// As [`addresses`], and if others than this machine could reach it: nothing would tell
/// who they are.
pub(super) fn own_address(connector: &str, pairs: &Pairs) -> Result<SocketAddr> {
    let found = addresses(connector, pairs)?;
    match found.iter().find(|address| address.ip().is_loopback()) {
        Some(address) => Ok(*address),
        None => Err(Error::new(
            ErrorKind::Option,
            format!(
                "connector '{connector}' listens on this machine only, and {} is open to others",
                found[0]
            ),
        )
        .help(
            "use '127.0.0.1:PORT', and bring readings of other machines there by ssh or a proxy",
        )),
    }
}

/// The error of an address that cannot be listened on.
pub(super) fn in_use(address: SocketAddr, error: io::Error) -> Error {
    let message = format!("listening on {address}: {error}");
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, or another stream, listens there: choose another port"
        }
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "check the option address",
    };
    Error::new(ErrorKind::Io, message)
        .caused_by(error)
        .help(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(address: &str) -> Pairs {
        [("address".to_owned(), address.to_owned())].into()
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        for written in ["7000", ":7000", "127.0.0.1:7000"] {
            let found = own_address("tcp", &pairs(written)).expect("an address");
            assert_eq!(found.to_string(), "127.0.0.1:7000");
        }
        let found = own_address("tcp", &pairs("[::1]:7000")).expect("an address");
        assert_eq!(found.to_string(), "[::1]:7000");
    }

    #[test]
    fn errors_say_what_to_write() {
        let message = |pairs: &Pairs| {
            own_address("tcp", pairs)
                .expect_err("no address")
                .to_string()
        };
        assert!(message(&Pairs::new()).contains("needs the option address"));
        let misspelt: Pairs = [("adress".to_owned(), "7000".to_owned())].into();
        let error = own_address("tcp", &misspelt).expect_err("no address");
        assert!(
            error
                .to_string()
                .contains("write address instead of adress")
        );
        assert!(message(&pairs("localhost")).contains("it has no port"));
        assert!(message(&pairs("127.0.0.1:70000")).contains("127.0.0.1:70000"));
        let open = message(&pairs("0.0.0.0:7000"));
        assert!(open.contains("0.0.0.0:7000 is open to others"), "{open}");
        // To others one may connect.
        assert!(addresses("tcp", &pairs("192.0.2.1:7000")).is_ok());
    }
}
