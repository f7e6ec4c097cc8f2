//! Binding the listeners, before anything else can fail.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, bail};
use shovel_edge::listener::Bound;

use crate::config::address::Address;
use crate::worker::descriptors;

/// Binds every address. Call it before anything opens descriptors: those that were inherited are
/// only known by their numbers.
///
/// # Errors
/// Which address, and why not.
pub fn bind_all(addresses: &[Address]) -> anyhow::Result<Vec<Bound>> {
    for (index, address) in addresses.iter().enumerate() {
        if let Address::Inherited(number) = address
            && addresses[..index].contains(address)
        {
            bail!("cannot listen on descriptor {number} twice");
        }
    }
    addresses.iter().map(bind).collect()
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
