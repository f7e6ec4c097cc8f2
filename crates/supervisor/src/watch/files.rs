//! What changes on disk: single files, and folders with all that is below them.
//!
//! Folders are watched one by one, because most of what lies below a project's folder is of no
//! concern and there may be very much of it: what was built, and what is hidden.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, Flag, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Changes that wait to be looked at. When there are more the kernel keeps them, and when it has
/// no room either it says so, which is a change as well.
const WAITING: usize = 1024;

/// Folders of this name hold what was made of the sources, or what others have written.
const NOT_SOURCES: [&str; 2] = ["target", "node_modules"];

/// Cargo and others mark with it what can be made again (<https://bford.info/cachedir/>).
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Watches files and folders.
#[derive(Debug)]
pub struct Files {
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<Change>,
    roots: Vec<PathBuf>,
}

/// Something that has happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    pub what: What,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes were written, and more may follow.
    Written,
    /// Whoever wrote has closed it.
    Closed,
    /// Another file is there now, or none.
    Replaced,
    /// Its permissions or times are others.
    Touched,
    /// There was too much to tell: anything may have changed.
    Anything,
}

/// Why something cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {}: {source}", path.display())]
pub struct WatchError {
    path: PathBuf,
    source: io::Error,
}

impl Files {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the system has no more to give.
    pub fn new() -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel(WAITING);
        let tell = move |event: Result<Event, notify::Error>| {
            let Ok(event) = event else { return };
            for change in changes_of(event) {
                // Without a receiver nobody watches any more.
                let _ = sender.blocking_send(change);
            }
        };
        let watcher = RecommendedWatcher::new(tell, Config::default())?;
        Ok(Files { watcher, changes, roots: Vec::new() })
    }

    /// Watches the place of one file, which may be another file later, or none.
    ///
    /// # Errors
    /// If the folder cannot be watched.
    pub fn watch_file(&mut self, file: &Path) -> Result<(), WatchError> {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.watch(parent.unwrap_or(Path::new(".")))
    }

    /// Watches a folder and all that is below, or a single file.
    ///
    /// # Errors
    /// Which folder cannot be watched.
    pub fn watch_sources(&mut self, root: &Path) -> Result<(), WatchError> {
        let failed = |source| WatchError { path: root.to_owned(), source };
        match fs::metadata(root).map_err(failed)?.is_dir() {
            true => self.watch_folders(root)?,
            false => self.watch_file(root)?,
        }
        self.roots.push(root.to_owned());
        Ok(())
    }

    /// The next change.
    ///
    /// # Cancel safety
    /// No change is lost.
    pub async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Some(change) => {
                self.follow(&change);
                change
            }
            // The watcher has ended, and with it what it could tell.
            None => std::future::pending().await,
        }
    }

    /// Whether this is one of the sources, or says that any may have changed.
    pub fn is_source(&self, change: &Change) -> bool {
        let is_below = |root: &PathBuf| is_source_below(root, &change.path);
        change.what == What::Anything || self.roots.iter().any(is_below)
    }

    /// Watches a folder that is new.
    fn follow(&mut self, change: &Change) {
        let is_new = change.what == What::Replaced && self.is_source(change);
        if is_new
            && change.path.is_dir()
            && let Err(error) = self.watch_folders(&change.path)
        {
            tracing::warn!("{error}");
        }
    }

    /// Links are not followed: they may lead anywhere, back to here too.
    fn watch_folders(&mut self, folder: &Path) -> Result<(), WatchError> {
        self.watch(folder)?;
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = entry.path();
            if is_folder && !is_no_source(&entry.file_name()) && !path.join(CACHE_TAG).exists() {
                self.watch_folders(&path)?;
            }
        }
        Ok(())
    }

    fn watch(&mut self, folder: &Path) -> Result<(), WatchError> {
        let watched = self.watcher.watch(folder, RecursiveMode::NonRecursive);
        watched.map_err(|error| {
            let source = match error.kind {
                notify::ErrorKind::Io(error) => error,
                notify::ErrorKind::MaxFilesWatch => {
                    io::Error::other("fs.inotify.max_user_watches allows no more")
                }
                other => io::Error::other(format!("{other:?}")),
            };
            WatchError { path: folder.to_owned(), source }
        })
    }
}

fn is_source_below(root: &Path, path: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(root) else { return false };
    let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
    let is_root = rest.as_os_str().is_empty();
    is_root
        || !rest.iter().any(is_no_source) && !folders.any(|folder| folder.join(CACHE_TAG).exists())
}

/// Hidden, made by a build, or an editor's copy.
fn is_no_source(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_copy = name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
    let is_hidden = name.starts_with('.') && name != "." && name != "..";
    is_hidden || is_copy || NOT_SOURCES.contains(&&*name)
}

fn changes_of(event: Event) -> Vec<Change> {
    if event.attrs.flag() == Some(Flag::Rescan) {
        return vec![Change { path: PathBuf::new(), what: What::Anything }];
    }
    let what = match event.kind {
        EventKind::Create(CreateKind::File | CreateKind::Folder | CreateKind::Any)
        | EventKind::Create(CreateKind::Other)
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => What::Replaced,
        EventKind::Modify(ModifyKind::Metadata(_)) => What::Touched,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => {
            What::Written
        }
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => What::Closed,
        EventKind::Access(_) | EventKind::Any | EventKind::Other => return Vec::new(),
    };
    event.paths.into_iter().map(|path| Change { path, what }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// The paths of the sources that change until `last` does.
    async fn sources_until(files: &mut Files, last: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        loop {
            let change = timeout(Duration::from_secs(10), files.next()).await.expect("a change");
            if files.is_source(&change) {
                paths.push(change.path.clone());
            }
            if change.path == last {
                return paths;
            }
        }
    }

    #[tokio::test]
    async fn sources_are_watched_in_folders_old_and_new_but_nothing_hidden_or_built() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |path: &str| folder.path().join(path);
        for name in ["src", "target/debug", ".git", "out"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("out/CACHEDIR.TAG"), "").unwrap();
        let mut files = Files::new().unwrap();
        files.watch_sources(folder.path()).unwrap();
        for ignored in ["target/debug/app", ".git/index", "out/app", "src/.main.rs.swp", "src/a~"] {
            fs::write(at(ignored), "x").unwrap();
        }
        fs::write(at("src/main.rs"), "x").unwrap();
        let changed = sources_until(&mut files, &at("src/main.rs")).await;
        assert!(changed.iter().all(|path| *path == at("src/main.rs")), "{changed:?}");

        fs::create_dir_all(at("src/room")).unwrap();
        sources_until(&mut files, &at("src/room")).await;
        fs::write(at("src/room/mod.rs"), "x").unwrap();
        sources_until(&mut files, &at("src/room/mod.rs")).await;
    }

    #[test]
    fn what_is_not_there_cannot_be_watched_and_is_named() {
        let error = Files::new().unwrap().watch_sources(Path::new("/nowhere")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot watch /nowhere: No such file or directory (os error 2)"
        );
    }
}
