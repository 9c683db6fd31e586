//! When a server stops: SIGTERM, Ctrl-C, or the end of the process that supervises it.

use std::io::Read;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
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

/// A token that fires at the first signal to stop. The second ends the process at once, for a
/// user who has waited long enough.
pub fn stop_token(started_by: StartedBy) -> std::io::Result<CancellationToken> {
    let runtime = tokio::runtime::Handle::current();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if started_by == StartedBy::Supervisor {
        // The kernel's promise covers a supervisor that is killed, the pipe one that ended
        // before it was asked.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        stop_with_standard_input(stop.clone())?;
    }
    let fired = stop.clone();
    // Ends with the process: no drain waits for it.
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {
                    if started_by == StartedBy::Supervisor {
                        continue;
                    }
                }
            }
            if fired.is_cancelled() {
                say("stopped in haste; the next start replays what was not written");
                std::process::exit(1);
            }
            fired.cancel();
        }
    });
    Ok(stop)
}

/// A thread, as a read of a pipe blocks for as long as the supervisor lives.
fn stop_with_standard_input(stop: CancellationToken) -> std::io::Result<()> {
    let wait = move || {
        // Nobody writes to the pipe: whatever ends the read ends the supervisor.
        let _ = std::io::stdin().read(&mut [0]);
        stop.cancel();
    };
    std::thread::Builder::new().name("supervisor-pipe".to_owned()).spawn(wait).map(drop)
}
