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
