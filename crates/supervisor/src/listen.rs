//! Binding the listeners, before anything else can fail.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, anyhow, bail};
use shovel_edge::listener::Bound;

use crate::config::address::Address;
use crate::service::{self, PassedSocket};
use crate::worker::descriptors;

/// Binds every address. Call it before anything opens descriptors: those that were inherited are
/// only known by their numbers.
///
/// # Errors
/// Which address, and why not.
pub fn bind_all(addresses: &[Address]) -> anyhow::Result<Vec<Bound>> {
    let addresses = &resolve_names(addresses)?;
    for (index, address) in addresses.iter().enumerate() {
        if let Address::Inherited(number) = address
            && addresses[..index].contains(address)
        {
            bail!("cannot listen on descriptor {number} twice");
        }
    }
    addresses.iter().map(bind).collect()
}

/// The numbers of sockets in place of their names.
fn resolve_names(addresses: &[Address]) -> anyhow::Result<Vec<Address>> {
    // Wrong variables matter only to those who ask for what they name.
    let passed = service::passed_sockets();
    let mut resolved = Vec::with_capacity(addresses.len());
    for address in addresses {
        let Address::Passed(name) = address else {
            resolved.push(address.clone());
            continue;
        };
        let context = || format!("cannot listen on the socket '{name}'");
        let passed = passed.as_ref().map_err(|error| anyhow!("{error}")).with_context(context)?;
        let named = passed.iter().filter(|socket| socket.name == *name);
        let before = resolved.len();
        resolved.extend(named.map(|socket| Address::Inherited(socket.number)));
        if resolved.len() == before {
            bail!("cannot listen on the socket '{name}': the service manager has passed none");
        }
    }
    warn_of_unused(passed.as_deref().unwrap_or_default(), &resolved);
    Ok(resolved)
}

/// Clients of a passed socket that nobody accepts would wait for ever.
fn warn_of_unused(passed: &[PassedSocket], addresses: &[Address]) {
    for PassedSocket { number, name } in passed {
        if !addresses.contains(&Address::Inherited(*number)) {
            tracing::warn!(descriptor = number, name, "a passed socket is not listened on");
        }
    }
}

fn bind(address: &Address) -> anyhow::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .with_context(|| format!("cannot listen on {address}"))?;
            Ok(Bound::Tcp(listener))
        }
        Address::Unix(path) => bind_unix(path),
        Address::Inherited(number) => descriptors::listener(*number)
            .with_context(|| format!("cannot listen on descriptor {number}")),
        Address::Passed(name) => bail!("the socket '{name}' has no number"),
    }
}

fn bind_unix(path: &Path) -> anyhow::Result<Bound> {
    let context = || format!("cannot listen on {}", path.display());
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        listener => return Ok(Bound::Unix(listener.with_context(context)?, Some(path.into()))),
    }
    // A socket that nobody listens on was left behind; anything else is somebody's.
    let is_socket = fs::symlink_metadata(path).with_context(context)?.file_type().is_socket();
    if !is_socket || UnixStream::connect(path).is_ok() {
        bail!("cannot listen on {}: it is in use", path.display());
    }
    fs::remove_file(path).with_context(context)?;
    Ok(Bound::Unix(UnixListener::bind(path).with_context(context)?, Some(path.into())))
}
