//! Programs that others wrote and that tests use, where this machine has them.

use std::{io::Write as _, path::PathBuf, process::Command};

/// A program out of the folder `NARTHEX_PEERS`; without it the test is skipped.
pub fn peer(test: &str, program: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("NARTHEX_PEERS").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(program)).filter(|path| path.exists());
    if path.is_none() {
        skip(test, &format!("there is no {program}"));
    }
    path
}

/// Python with the packages of `NARTHEX_PYTHONPATH`; without them the test is skipped.
pub fn python(test: &str) -> Option<Command> {
    let Some(packages) = std::env::var_os("NARTHEX_PYTHONPATH") else {
        skip(test, "there are no gRPC packages for Python");
        return None;
    };
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// The same for a test that needs this package, too.
pub fn python_with(test: &str, package: &str) -> Option<Command> {
    let python = python(test)?;
    let folders = std::env::var_os("NARTHEX_PYTHONPATH").unwrap_or_default();
    if !std::env::split_paths(&folders).any(|folder| folder.join(package).is_dir()) {
        skip(test, &format!("there is no package {package} for Python"));
        return None;
    }
    Some(python)
}

/// Node with the packages of `NARTHEX_NODE` and the Chromium of `NARTHEX_BROWSER`, a folder that
/// packages were unpacked into; without them the test is skipped. The script finds the browser's
/// program in `NARTHEX_CHROMIUM` and its libraries in `NARTHEX_LIBRARIES`.
pub fn browser(test: &str) -> Option<Command> {
    let (Some(packages), Some(root)) =
        (std::env::var_os("NARTHEX_NODE"), std::env::var_os("NARTHEX_BROWSER"))
    else {
        skip(test, "there is no Chromium, or nothing to drive it with");
        return None;
    };
    if !Command::new("node").arg("--version").output().is_ok_and(|it| it.status.success()) {
        skip(test, "there is no node");
        return None;
    }
    let usr = PathBuf::from(root).join("usr/lib");
    let libraries: Vec<_> = std::fs::read_dir(&usr)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .flat_map(|path| [path.join("pulseaudio"), path])
        .collect();
    let libraries = std::env::join_paths(libraries).expect("no colon in the cache's path");
    let mut command = Command::new("node");
    command
        .env("NARTHEX_NODE", packages)
        .env("NARTHEX_CHROMIUM", usr.join("chromium/chromium"))
        .env("NARTHEX_LIBRARIES", libraries);
    Some(command)
}

/// Says that a test cannot run here, past the capture of its output.
pub fn skip(test: &str, reason: &str) {
    // The last colon is what separates the reason from the name.
    let reason = reason.replace(": ", ", ");
    // Nobody can be told if standard error is closed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

/// What a program printed; its failure is the test's.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
