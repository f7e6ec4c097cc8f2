//! Which programs run: those beside the tests, and copies that are replaced as a deploy does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Path of one of this workspace's programs.
///
/// # Panics
/// If it has not been built.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("SHOVEL_TEST_BIN_DIR").map_or_else(beside_the_tests, Into::into);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace --bins --examples",
        path.display()
    );
    path
}

/// Path of one of the SDK's examples.
///
/// # Panics
/// If it has not been built.
pub fn example(name: &str) -> PathBuf {
    program(&format!("examples/{name}"))
}

/// Path of the worker that is written in Python.
pub fn python_worker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python/worker.py")
}

fn beside_the_tests() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test program");
    test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_owned()
}

/// A path at which a program lies that is replaced while a pool runs it.
#[derive(Debug)]
pub struct Deploy {
    folder: TempDir,
    /// What is deployed, if it is no broken one.
    app: &'static str,
}

impl Deploy {
    /// With the fixture app under this label, see [`Deploy::app`].
    pub fn of(label: &str) -> Self {
        Self::of_program("fixture-app", label)
    }

    /// With this one of our programs, which may not know its label.
    pub fn of_program(app: &'static str, label: &str) -> Self {
        let deploy = Deploy { folder: TempDir::new().expect("temporary folder"), app };
        deploy.app(label);
        deploy
    }

    /// Where the program lies.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// Puts a copy of the app there that tells this label in its answers. The label is
    /// appended to the file: whoever answers with it runs the bytes of that deploy.
    pub fn app(&self, label: &str) {
        self.put(&labelled(self.app, label));
    }

    /// As [`Deploy::app`], but over the bytes that lie there, as `cp` does.
    ///
    /// # Panics
    /// If somebody runs the very file: then it cannot be written.
    pub fn app_in_place(&self, label: &str) {
        fs::write(self.path(), labelled(self.app, label)).expect("a file that nobody runs");
    }

    /// Puts a script there.
    pub fn script(&self, lines: &str) {
        self.put(format!("#!/bin/sh\n{lines}\n").as_bytes());
    }

    /// Puts the rogue fixture there in one of its modes.
    pub fn rogue(&self, mode: &str) {
        self.script(&format!("exec '{}' {mode}", program("fixture-rogue").display()));
    }

    /// Puts a file there that may not be executed.
    pub fn not_executable(&self) {
        self.put(b"not a program");
        let permissions = fs::Permissions::from_mode(0o644);
        fs::set_permissions(self.path(), permissions).expect("permissions");
    }

    /// As a careful deploy does: written beside, then renamed, so that no half file is ever seen.
    fn put(&self, bytes: &[u8]) {
        let beside = self.folder.path().join("app.new");
        fs::write(&beside, bytes).expect("copy of the program");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("permissions");
        fs::rename(&beside, self.path()).expect("deploy");
    }
}

fn labelled(app: &str, label: &str) -> Vec<u8> {
    let mut bytes = fs::read(program(app)).expect("the app");
    bytes.extend_from_slice(format!("\nlabel={label}").as_bytes());
    bytes
}
