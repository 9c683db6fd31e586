//! When a server stops: SIGTERM, Ctrl-C, or the end of the process that supervises it.

use std::{
    io::{self, Read},
    time::Duration,
};

use rustix::process::set_parent_process_death_signal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::say;

/// Who starts and stops this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// A user or a service manager: Ctrl-C is meant for us.
    User,
    /// `up --nodes`: Ctrl-C reaches us only because we share its terminal, and it decides.
    Supervisor,
}

/// How soon after the first a second signal is still the same wish: what stops a whole process
/// group often signals its leader twice.
const SAME_WISH: Duration = Duration::from_secs(1);

/// A token that fires at the first signal to stop. A later one ends the process at once, for a
/// user who has waited long enough.
pub fn stop_token(started_by: StartedBy) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    if started_by == StartedBy::Supervisor {
        // The kernel's promise covers a supervisor that is killed, the pipe one that ended
        // before it was asked.
        set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        stop_with_standard_input(stop.clone())?;
    }
    // A closed terminal, or a reload meant for a process that reads a file, ends nothing: once
    // listened for, the signal has lost its default effect.
    drop(signal(SignalKind::hangup())?);
    let mut first = StopSignals::listen(started_by)?;
    let fired = stop.clone();
    // Ends with the process: no drain waits for it.
    tokio::runtime::Handle::current().spawn(async move {
        first.received().await;
        fired.cancel();
        tokio::time::sleep(SAME_WISH).await;
        if let Ok(mut second) = StopSignals::listen(started_by) {
            second.received().await;
            say("stopped in haste; the next start replays what was not written");
            std::process::exit(1);
        }
    });
    Ok(stop)
}

/// Signals from the moment they are listened for.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    started_by: StartedBy,
}

impl StopSignals {
    fn listen(started_by: StartedBy) -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())?, started_by })
    }

    async fn received(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => {
                    if self.started_by == StartedBy::User {
                        return;
                    }
                }
            }
        }
    }
}

/// A thread, as a read of a pipe blocks for as long as the supervisor lives.
fn stop_with_standard_input(stop: CancellationToken) -> io::Result<()> {
    let wait = move || {
        // Nobody writes to the pipe: whatever ends the read ends the supervisor.
        let _ = io::stdin().read(&mut [0]);
        stop.cancel();
    };
    std::thread::Builder::new().name("supervisor-pipe".to_owned()).spawn(wait).map(drop)
}
