//! Performs what the rules say: one task a child.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::core::Restarts;
use crate::output::say;

/// What a child gets to finish in: hand over its leaderships and write a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// One child process.
pub struct Child {
    /// How messages name it.
    pub name: String,
    pub folder: PathBuf,
    /// Of this same program.
    pub arguments: Vec<OsString>,
}

/// Stops one child.
pub struct ChildHandle {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ChildHandle {
    /// Returns when the child has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            say(&format!("BUG: a supervisor task died: {error}"));
        }
    }
}

/// Starts the child and keeps it running until the handle stops it. Once `stopping` fires it is
/// not started again: what stops a whole process group signals the child as well.
pub fn spawn(child: Child, tasks: &TaskTracker, stopping: CancellationToken) -> ChildHandle {
    let stop = CancellationToken::new();
    let task = tasks.spawn(keep_running(child, stop.clone(), stopping));
    ChildHandle { stop, task }
}

async fn keep_running(child: Child, stop: CancellationToken, stopping: CancellationToken) {
    let mut restarts = Restarts::default();
    let mut verb = "started";
    while !stop.is_cancelled() && !stopping.is_cancelled() {
        let started = now();
        let end = run_once(&child, verb, &stop).await;
        if stop.is_cancelled() || stopping.is_cancelled() {
            return;
        }
        let pause = restarts.pause_after(now().duration_since(started));
        say(&format!("{} {end}; starting it again in {} s", child.name, pause.as_secs()));
        verb = "started again";
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// Runs the child to its end, or stops it when told to. Returns how it ended.
async fn run_once(child: &Child, verb: &str, stop: &CancellationToken) -> String {
    let mut process = match start(child) {
        Ok(process) => process,
        Err(error) => return format!("could not be started: {error}"),
    };
    // Held here, since waiting for a child would close it and thereby end the child.
    let _alive = process.stdin.take();
    let pid = process.id().unwrap_or_default();
    say(&format!("{} {verb}: pid {pid}, folder {}", child.name, child.folder.display()));
    tokio::select! {
        status = process.wait() => return describe(status),
        () = stop.cancelled() => {}
    }
    terminate(pid);
    match tokio::time::timeout(STOP_TIMEOUT, process.wait()).await {
        Ok(status) => describe(status),
        Err(_) => {
            say(&format!(
                "{} did not stop in {} s; killing it",
                child.name,
                STOP_TIMEOUT.as_secs()
            ));
            describe_killed(process.kill().await)
        }
    }
}

/// Standard input is the pipe whose end tells the child that this process is gone.
fn start(child: &Child) -> std::io::Result<tokio::process::Child> {
    Command::new("/proc/self/exe")
        .arg0("narthex")
        .args(&child.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // An error says that the child has already ended, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended ({status})"),
        Err(error) => format!("was lost: {error}"),
    }
}

fn describe_killed(killed: std::io::Result<()>) -> String {
    match killed {
        Ok(()) => "was killed".to_owned(),
        Err(error) => format!("could not be killed: {error}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a child lived is real time")]
fn now() -> Instant {
    Instant::now()
}
