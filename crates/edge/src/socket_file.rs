//! The file of a Unix socket: whether somebody listens there, and its end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A socket's file that we have made. It goes when this is dropped, unless another is there by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The file that is there now.
    ///
    /// # Errors
    /// Those of looking at it.
    pub fn made_at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// The same file after it was moved to another place.
    ///
    /// # Errors
    /// Those of moving it.
    pub fn moved_to(mut self, path: &Path) -> io::Result<Self> {
        fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now it may be another pool's, or somebody may have removed it. Numbers of inodes are
        // those of one device.
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether somebody listens there.
///
/// # Errors
/// If that cannot be told, or if there is something else than a socket.
pub fn is_listened_on(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let why = "there is a file that is no socket";
            return Err(io::Error::new(ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        // Only this is the answer of nobody. Another user's socket may not be ours to ask.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}
