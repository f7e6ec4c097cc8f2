//! Binding the listeners, before anything else can fail.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::fchownat;
use shovel_edge::listener::Bound;
use shovel_edge::socket_file::{SocketFile, is_listened_on};

use crate::config::address::{Access, Address};
use crate::service::{self, PassedSocket};
use crate::worker::{account, descriptors};

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
            Bound::tcp(*address).with_context(|| format!("cannot listen on {address}"))
        }
        Address::Unix(path, access) => {
            bind_unix(path, access).with_context(|| format!("cannot listen on {}", path.display()))
        }
        Address::Inherited(number) => descriptors::listener(*number)
            .with_context(|| format!("cannot listen on descriptor {number}")),
        Address::Passed(name) => bail!("the socket '{name}' has no number"),
    }
}

/// What a pool has left there that is gone is replaced.
fn bind_unix(path: &Path, access: &Access) -> anyhow::Result<Bound> {
    if is_listened_on(path)? {
        bail!("it is in use");
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let file = SocketFile::made_at(path)?;
    // Nobody can connect before it is listened on, so nobody comes in who may not.
    give_access(path, access)?;
    nix::sys::socket::listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(Bound::Unix(socket.into(), Some(file)))
}

/// A link that somebody has put in its place meanwhile is not followed.
fn give_access(path: &Path, access: &Access) -> anyhow::Result<()> {
    let user = access.user.as_deref().map(account::user).transpose()?;
    let group = access.group.as_deref().map(account::group).transpose()?;
    if user.is_some() || group.is_some() {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(AT_FDCWD, path, user, group, flags).context("cannot give it away")?;
    }
    if let Some(mode) = access.mode {
        let mode = Mode::from_bits_truncate(mode);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)
            .context("cannot set its mode")?;
    }
    Ok(())
}
