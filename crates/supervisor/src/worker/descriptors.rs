//! The one place that deals with raw descriptors and with what happens between fork and exec.
//!
//! `unsafe_code` is denied everywhere else in this crate.
#![allow(unsafe_code, reason = "raw descriptors and pre_exec cannot be had safely")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::socket::{AddressFamily, getsockname, sockopt};
use nix::unistd::{setgroups, setresgid, setresuid, setsid};
use shovel_edge::listener::Bound;

use super::account::Account;

/// Takes over a listening socket that was inherited.
///
/// # Errors
/// If the descriptor is not open, is no socket, or does not listen.
pub fn listener(number: RawFd) -> io::Result<Bound> {
    // SAFETY: only asks about the number; nothing happens to a descriptor of somebody else.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    if !is_open {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and `--listen fd:N` says that it is ours to take. It is
    // taken once: addresses are bound once, at the start, before other descriptors are opened.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let listens = nix::sys::socket::getsockopt(&descriptor, sockopt::AcceptConn)?;
    if !listens {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    use nix::sys::socket::SockaddrLike;
    let address: nix::sys::socket::SockaddrStorage =
        getsockname(std::os::fd::AsRawFd::as_raw_fd(&descriptor.as_fd()))?;
    match address.family() {
        Some(AddressFamily::Inet | AddressFamily::Inet6) => {
            Ok(Bound::Tcp(TcpListener::from(descriptor)))
        }
        Some(AddressFamily::Unix) => Ok(Bound::Unix(UnixListener::from(descriptor), None)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither TCP nor Unix")),
    }
}

/// How many descriptors this process may have, before and after [`raise_limit`].
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub soft: rlim_t,
    pub hard: rlim_t,
}

/// Allows as many descriptors as the system lets us: each client needs one.
pub fn raise_limit() -> Option<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some(Limit { soft, hard })
}

/// Has nobody of this user read or change this process through `/proc` or as a debugger does, take
/// its descriptors, or find its memory in a core dump (prctl(2), PR_SET_DUMPABLE). What it starts
/// may be looked into as any program.
pub fn hide_memory() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "processes of this user can read this one's memory");
    }
}

/// Prepares what happens in the new process before the program begins: nothing but the first
/// `inherited` descriptors stays open, the limit on descriptors is as the operator set it, the
/// process is who it is to be, has a session of its own, and dies with its supervisor.
///
/// The death signal is bound to the *thread* that spawns, so spawn from one that lives as long as
/// the process.
pub fn before_exec(
    command: &mut Command,
    inherited: u32,
    limit: Option<Limit>,
    account: Option<Account>,
) {
    let supervisor = nix::unistd::getpid();
    let prepare = move || {
        // Marked, not closed: std reports a failed exec over a descriptor of its own.
        // SAFETY: a system call on numbers, without memory.
        let marked = unsafe {
            libc::syscall(libc::SYS_close_range, inherited, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
        };
        if marked < 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(Limit { soft, hard }) = limit {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        // Ctrl-C in a terminal reaches the supervisor alone, and so does the terminal: who has it could
        // write to it past the log, or type into it as its operator does.
        setsid()?;
        if let Some(account) = &account {
            become_user(account)?;
        }
        // Last: another user's process has none any more.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if nix::unistd::getppid() != supervisor {
            return Err(io::Error::other("the supervisor has gone"));
        }
        Ok(())
    };
    // SAFETY: `prepare` makes system calls only; it neither allocates nor locks, which would not be
    // safe between fork and exec. (The errors that allocate end the child.)
    unsafe { command.pre_exec(prepare) };
}

/// Changes who this process is: groups first, since a user may not. System calls only.
fn become_user(account: &Account) -> io::Result<()> {
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // Some programs open theirs anew, by way of /dev/stderr. They do without if that fails.
        // SAFETY: a system call on numbers, without memory.
        let _ = unsafe { libc::fchown(stream, account.user.as_raw(), account.group.as_raw()) };
    }
    // Nothing that it executes gives it more: neither a file with capabilities nor one with another
    // user's bit.
    nix::sys::prctl::set_no_new_privs()?;
    empty_bounding_set()?;
    setgroups(&account.groups)?;
    setresgid(account.group, account.group, account.group)?;
    setresuid(account.user, account.user, account.user)?;
    // A supervisor that is not root has its capabilities as inheritable and ambient ones, which a
    // program that it starts would keep. Version 3 of capset(2), for this process, and none.
    let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: a system call that reads two arrays of the size that this version has.
    let cleared = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    match cleared {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes all capabilities out of what this process can ever have. Only who has CAP_SETPCAP may, so it
/// is done before the change of user, and left where it is not allowed.
fn empty_bounding_set() -> io::Result<()> {
    for capability in 0.. {
        // SAFETY: a system call on numbers, without memory.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
            continue;
        }
        // Beyond the last that the system knows it says EINVAL.
        return match io::Error::last_os_error() {
            error if [libc::EINVAL, libc::EPERM].map(Some).contains(&error.raw_os_error()) => {
                Ok(())
            }
            error => Err(error),
        };
    }
    Ok(())
}
