//! One process of a cluster that a test puts together by itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{cluster::kill, wait::until};

/// From SIGTERM until a process has ended.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running process with its log. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`, which logs to `FOLDER/NAME.log`; that of an earlier start is kept.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log opens");
        let output = file.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(file).spawn();
        Self { name: name.to_owned(), log, child: child.expect("the program starts") }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    /// Whether it has ended by itself, or by a signal.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said, and what starts of the same name before it have.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `words` in one line.
    pub fn says(&self, words: &[&str], deadline: Duration) {
        until(&format!("{} says {words:?}", self.name), deadline, || {
            let log = self.log();
            let is_said = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if is_said { Ok(()) } else { Err(log) }
        });
    }

    /// Stops it as a service manager would.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(STOP_DEADLINE);
        assert!(status.success(), "{}: {status}\n{}", self.name, self.log());
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self, deadline: Duration) -> ExitStatus {
        until(&format!("{} ends", self.name), deadline, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.name, self.log());
        }
    }
}

/// Runs a program to its end; what it complains of is the error.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
