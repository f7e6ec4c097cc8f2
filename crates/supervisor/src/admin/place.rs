//! Where admin sockets are.
//!
//! One folder for each user holds those of all pools that were given no other path, named by their
//! port, so that a subcommand finds the pools that run.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

/// How the files of sockets end.
const EXTENSION: &str = "sock";

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
#[error("no folder for the admin socket: {path}: {source}")]
pub struct NoFolder {
    path: String,
    source: io::Error,
}

/// The folder of this user's sockets, whether it is there or not.
pub fn folder() -> PathBuf {
    let user = geteuid();
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = [given.filter(|path| path.is_absolute()), Some(format!("/run/user/{user}").into())];
    let found = usual.into_iter().flatten().find(|path| path.is_dir());
    match found {
        Some(runtime) => runtime.join("shovel-pool"),
        // Others may write there too: so it is named by the user, and checked before it is used.
        None => std::env::temp_dir().join(format!("shovel-pool-{user}")),
    }
}

/// The path for a pool that listens on this port, or on none, within a folder that is there.
///
/// # Errors
/// If there is no folder that this user alone can write to.
pub fn default_path(port: Option<u16>) -> Result<PathBuf, NoFolder> {
    let folder = folder();
    let failed = |source| NoFolder { path: folder.display().to_string(), source };
    make_private(&folder).map_err(failed)?;
    remove_leftovers();
    let name = match port {
        Some(port) => port.to_string(),
        None => format!("pid-{}", std::process::id()),
    };
    Ok(folder.join(name).with_extension(EXTENSION))
}

/// Removes what pools have left behind that were killed: those without a port never come back to
/// the same name.
fn remove_leftovers() {
    let refuses = |path: &PathBuf| {
        let connected = UnixStream::connect(path);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    for path in all().into_iter().filter(refuses) {
        // Another pool may do so just now.
        let _ = fs::remove_file(path);
    }
}

/// All sockets in the folder, in the order of their names; some may be of pools that are gone.
pub fn all() -> Vec<PathBuf> {
    let folder = folder();
    let is_ours = is_private(&folder).unwrap_or(false);
    let entries = is_ours.then(|| fs::read_dir(&folder).ok()).flatten();
    let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|found| found == EXTENSION);
    let mut paths: Vec<_> = paths.filter(is_socket).collect();
    paths.sort();
    paths
}

fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match is_private(folder)? {
        true => Ok(()),
        false => Err(io::Error::other("it is not this user's alone")),
    }
}

/// Whether it is a folder of this user that nobody else can write to or look into.
fn is_private(folder: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(folder)?;
    let is_mine = Uid::from_raw(found.uid()) == geteuid();
    Ok(found.is_dir() && is_mine && found.permissions().mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_that_others_can_use_or_that_lies_elsewhere_is_refused() {
        let temporary = tempfile::TempDir::new().unwrap();
        let folder = temporary.path().join("mine");
        make_private(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        make_private(&folder).unwrap();
        let link = temporary.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(make_private(&link).is_err());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&folder).is_err());
    }
}
