//! Files without a name that hold a program: what is in them stays as it is, and they can be run.
//!
//! A worker that runs a script has such a file open. Were it not sealed, it could write over what
//! the next worker of its generation runs.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, fstatvfs};

/// The file may be run (memfd_create(2), since Linux 6.3); without it `vm.memfd_noexec` decides.
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// Nobody may take the right away to run it (the same).
const F_SEAL_EXEC: SealFlag = SealFlag::from_bits_retain(0x20);

/// Makes a file that `fill` writes.
///
/// In memory if that can be run; else on a disk, without a name: there it cannot be sealed, and its
/// owner could write to it by way of `/proc`, as to any program of its own.
///
/// # Errors
/// Those of making and filling it; if there is no place for it, which were tried.
pub fn file(label: &OsStr, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    match in_memory(label) {
        Ok(mut file) => {
            fill(&mut file)?;
            seal(&file)?;
            Ok(file)
        }
        // `vm.memfd_noexec` is 2.
        Err(Errno::EACCES) => {
            let mut file = on_disk()?;
            fill(&mut file)?;
            finished(file)
        }
        Err(error) => Err(error.into()),
    }
}

fn in_memory(label: &OsStr) -> Result<File, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(label, flags | MFD_EXEC) {
        // An older kernel, which lets all of them be run.
        Err(Errno::EINVAL) => memfd_create(label, flags),
        made => made,
    }
    .map(File::from)
}

fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    match fcntl(file, FcntlArg::F_ADD_SEALS(seals | F_SEAL_EXEC)) {
        Err(Errno::EINVAL) => fcntl(file, FcntlArg::F_ADD_SEALS(seals)),
        done => done,
    }?;
    Ok(())
}

/// A file without a name in the first folder where it can be run.
fn on_disk() -> io::Result<File> {
    let folders = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into(), "/run".into()];
    let mut tried = Vec::new();
    for folder in folders {
        match unnamed(&folder) {
            Ok(file) if is_runnable(&file) => return Ok(file),
            Ok(_) => tried.push(format!("{} is mounted noexec", folder.display())),
            Err(error) => tried.push(format!("{}: {error}", folder.display())),
        }
    }
    let why =
        format!("no file in memory may be run here, and none elsewhere: {}", tried.join(", "));
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn unnamed(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits());
    options.open(folder)
}

fn is_runnable(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|found| !found.flags().contains(FsFlags::ST_NOEXEC))
}

/// A file that somebody could still write to cannot be run, so it is opened anew to be
/// read, and nobody may write to it any more.
fn finished(file: File) -> io::Result<File> {
    // Workers may be another user's.
    file.set_permissions(Permissions::from_mode(0o555))?;
    File::open(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn read(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn again(file: &File, write: bool) -> io::Result<File> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        OpenOptions::new().read(true).write(write).open(path)
    }

    #[test]
    fn what_is_in_memory_cannot_be_changed() {
        let file = file("app".as_ref(), |file| file.write_all(b"#!/bin/true")).unwrap();
        assert!((&file).write_all(b"x").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(100).is_err());
        assert!(again(&file, true).and_then(|mut again| again.write_all(b"x")).is_err());
        assert_eq!(read(again(&file, false).unwrap()), "#!/bin/true");
    }

    #[test]
    fn a_file_on_a_disk_has_no_name_and_can_be_run() {
        let mut file = on_disk().unwrap();
        file.write_all(b"#!/bin/true").unwrap();
        let file = finished(file).unwrap();
        assert!((&file).write_all(b"x").is_err());
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap()), 0);
        assert_eq!(read(file), "#!/bin/true");
    }
}
