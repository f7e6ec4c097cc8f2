//! Takes the links that the supervisor left open for this process.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, io};

use crate::RunError;

/// Descriptors of the links, separated by commas.
const VARIABLE: &str = "SHOVEL_LINK_FDS";

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether a supervisor has started this process.
#[cfg(feature = "direct")]
pub(crate) fn are_given() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// The links of this process, closed on exec from here on.
pub(crate) fn take_links() -> Result<Vec<UnixStream>, RunError> {
    let value = env::var(VARIABLE).map_err(|_| RunError::NoSupervisor)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(RunError::Twice);
    }
    let broken = |why: String| RunError::Links { value: value.clone(), why };
    let descriptors = parse(&value).map_err(broken)?;
    descriptors
        .into_iter()
        .map(|descriptor| take(descriptor).map_err(|error| broken(error.to_string())))
        .collect()
}

fn parse(value: &str) -> Result<Vec<RawFd>, String> {
    let mut descriptors = Vec::new();
    for text in value.split(',') {
        match text.trim().parse() {
            // Those below are stdin, stdout and stderr.
            Ok(descriptor) if descriptor > 2 && !descriptors.contains(&descriptor) => {
                descriptors.push(descriptor);
            }
            _ => return Err(format!("{text:?} is no descriptor of a link")),
        }
    }
    Ok(descriptors)
}

#[allow(unsafe_code, reason = "an inherited descriptor is known by its number alone")]
fn take(descriptor: RawFd) -> io::Result<UnixStream> {
    // SAFETY: only borrowed for the next call, during which nothing closes it: nothing else in this
    // process knows of it. If it is not open the call fails.
    let inherited = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // The duplicate is closed on exec; the inherited one is not.
    let link = UnixStream::from(inherited.try_clone_to_owned()?);
    // SAFETY: it is open, or it could not have been duplicated. The supervisor left it to this
    // process alone, `parse` lets no number come twice and `TAKEN` lets nobody else come here, so
    // this is its only owner.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    // Fails unless it is a Unix socket that is connected.
    link.peer_addr()?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn a_link_is_taken_whole_and_what_is_none_is_refused() {
        let (inherited, mut supervisor) = UnixStream::pair().unwrap();
        let mut link = take(inherited.into_raw_fd()).unwrap();
        supervisor.write_all(b"hello").unwrap();
        let mut read = [0; 5];
        link.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello");
        drop(link);
        // The end comes only if the inherited descriptor is closed too.
        assert_eq!(supervisor.read(&mut read).unwrap(), 0);
        let file = File::open("/dev/null").unwrap();
        assert!(take(file.into_raw_fd()).is_err());
    }

    #[test]
    fn only_lists_of_inherited_descriptors_are_taken() {
        assert_eq!(parse("3,4"), Ok(vec![3, 4]));
        for wrong in ["", "3,", "1", "-1", "3,3", "three"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
