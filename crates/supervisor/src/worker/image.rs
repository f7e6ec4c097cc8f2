//! The image of a generation: a private copy of the program, and what it is started with.
//!
//! A deploy writes over the program's path at any time. A worker that is restarted within a
//! generation must run what the generation began with, so the bytes are copied into memory that
//! has no name and run from there ([`sealed`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shovel_router::ProgramRecord;

use super::sealed;

/// A program as it was at one moment.
#[derive(Debug)]
pub struct Image {
    /// As the operator wrote it; the worker's `argv[0]`.
    pub program: OsString,
    pub args: Vec<OsString>,
    pub file: File,
    /// It begins with `#!`, so an interpreter will open it anew and needs its descriptor.
    pub is_script: bool,
    /// Whether it has taken a connection over yet, as its workers know together.
    pub record: Arc<ProgramRecord>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{0} was not found in PATH")]
    NotInPath(String),
    #[error("{0} does not exist")]
    Missing(String),
    #[error("{0} is not a file")]
    NotAFile(String),
    #[error("{0} is not executable")]
    NotExecutable(String),
    #[error("{0} is neither an ELF program nor a #! script")]
    NotAProgram(String),
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: io::Error },
}

impl Image {
    /// Copies the program as it is now.
    ///
    /// # Errors
    /// Which file, and why not.
    pub fn load(program: OsString, args: Vec<OsString>) -> Result<Image, ImageError> {
        let path = find(&program)?;
        let name = path.display().to_string();
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing(name.clone()),
            _ => ImageError::Unreadable { path: name.clone(), source },
        };
        let mut source = File::open(&path).map_err(unreadable)?;
        let metadata = source.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(name));
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(ImageError::NotExecutable(name));
        }
        let mut magic = Vec::with_capacity(4);
        (&mut source).take(4).read_to_end(&mut magic).map_err(unreadable)?;
        let is_script = magic.starts_with(b"#!");
        if !is_script && magic != *b"\x7fELF" {
            return Err(ImageError::NotAProgram(name));
        }
        let label = path.file_name().unwrap_or(path.as_os_str());
        let copied = sealed::file(label, |file| {
            file.write_all(&magic)?;
            io::copy(&mut source, file)?;
            file.rewind()
        });
        let file = copied.map_err(unreadable)?;
        Ok(Image { program, args, file, is_script, record: Arc::default() })
    }
}

/// Where the program lies. Without a slash it is looked for in PATH, as a shell does.
///
/// # Errors
/// If it is not found there.
pub fn find(program: &OsStr) -> Result<PathBuf, ImageError> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| ImageError::NotInPath(program.display().to_string()))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
