//! Helpers of every test in the workspace: where the test data lie, how a program is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or_else(|| tests.to_path_buf(), Path::to_path_buf)
}

/// The one photograph that travels with the project: a normal left eye, 1411 x 1411, CC0.
#[must_use]
pub fn retina() -> PathBuf {
    workspace().join("tests/data/retina.jpg")
}

/// The golden file `name` (a path below `tests/golden`).
#[must_use]
pub fn golden(name: &str) -> PathBuf {
    workspace().join("tests/golden").join(name)
}

/// A folder of real photographs, such as `idrid`, below `FUNDUS_DATA` (default `../shared/data`
/// seen from the workspace's root). Those photographs do not travel with the project: where the
/// folder is absent this says on standard error that the calling test skips, and returns `None`.
#[must_use]
pub fn fundus_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("FUNDUS_DATA")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no real photographs at {} (set FUNDUS_DATA)", path.display());
    None
}

/// Builds the program `package` of this workspace in release mode (once; later calls find it
/// built) and returns a [`Command`] that runs it from the workspace's root.
///
/// It is built together with all the tests, as `cargo test --release --workspace` does: alone, it
/// would ask for other features of the dependencies, and those would be built once more.
///
/// # Panics
/// When the program does not build: the test cannot go on.
#[must_use]
pub fn program(package: &str) -> Command {
    static BUILD: Mutex<()> = Mutex::new(());
    let guard = BUILD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--quiet", "--workspace", "--bins", "--tests"]);
    // What Cargo tells a test of its own package. Build scripts that watch these variables (ring's
    // does) would take the nested build for another one, and everything above them be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    let status = build.current_dir(workspace()).status();
    drop(guard);
    assert!(status.is_ok_and(|status| status.success()), "{package} does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let mut command = Command::new(target.join("release").join(package));
    command.current_dir(workspace());
    command
}
