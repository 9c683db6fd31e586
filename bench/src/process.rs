//! The processes of one system: started, measured as a whole, ended.
//!
//! A system is a process and all its descendants. What is ended are processes started here, by
//! their ids.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use procfs::process::{Process, Stat, all_processes};
use rustix::process::{Pid, Signal, kill_process};

use crate::{clock::until, unmeasured::Unmeasured};

/// From SIGKILL until the kernel has ended every process.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// What of a log is shown of a process that ended by itself.
const LOG_CHARS_MAX: usize = 600;

/// What the processes have used and use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system time since their start, that of descendants which have ended included.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

/// A process with its descendants. Dropping it kills them.
#[derive(Debug)]
pub struct System {
    child: Child,
    log: PathBuf,
}

impl System {
    /// Starts `command`; what it prints goes to the end of `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, Unmeasured> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = || Unmeasured::at(format!("start {program}"));
        let file = File::options().create(true).append(true).open(log).map_err(failed())?;
        let errors = file.try_clone().map_err(failed())?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().map_err(failed())?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// An error once it has ended by itself.
    pub fn still_runs(&mut self) -> Result<(), Unmeasured> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let skipped = log.chars().count().saturating_sub(LOG_CHARS_MAX);
                let end: String = log.chars().skip(skipped).collect();
                Err(Unmeasured::Absent(format!("the program has ended, {status}: {end}")))
            }
            Err(source) => Err(Unmeasured::at("wait for a program")(source)),
        }
    }

    /// The processes that run now, this one first.
    pub fn processes(&self) -> Vec<Process> {
        let root = i32::try_from(self.child.id()).expect("process ids are positive");
        let all: Vec<(Process, Stat)> = all_processes()
            .into_iter()
            .flatten()
            // A process may end while one looks at it.
            .filter_map(|process| process.ok())
            .filter_map(|process| process.stat().ok().map(|stat| (process, stat)))
            .collect();
        let mut wanted = vec![root];
        let mut at = 0;
        while let Some(parent) = wanted.get(at).copied() {
            let children = all.iter().filter(|(_, stat)| stat.ppid == parent);
            wanted.extend(children.map(|(process, _)| process.pid));
            at += 1;
        }
        let place = |process: &Process| wanted.iter().position(|pid| *pid == process.pid);
        let mut found: Vec<_> = all.into_iter().map(|(process, _)| process).collect();
        found.retain(|process| place(process).is_some());
        found.sort_by_key(|process| place(process));
        found
    }

    /// Summed over all processes.
    pub fn usage(&self) -> Usage {
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let mut usage = Usage::default();
        for process in self.processes() {
            if let (Ok(stat), Ok(status)) = (process.stat(), process.status()) {
                let of_ended = stat.cutime + stat.cstime;
                let ticks = (stat.utime + stat.stime) as f64 + of_ended as f64;
                usage.cpu_seconds += ticks / ticks_per_second;
                usage.resident_bytes += status.vmrss.unwrap_or(0) * 1024;
            }
        }
        usage
    }

    /// Kills everything at once, as a loss of power would, and waits for the end.
    pub fn kill(mut self) -> Result<(), Unmeasured> {
        self.kill_and_wait()
    }

    fn kill_and_wait(&mut self) -> Result<(), Unmeasured> {
        let processes = self.processes();
        // The first one is the supervisor, which starts none again once it is dead.
        for process in &processes {
            let pid = Pid::from_raw(process.pid).expect("process ids are positive");
            // One that has already ended is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.child.wait().map_err(Unmeasured::at("wait for a program"))?;
        until("all processes have ended", END_DEADLINE, || {
            match processes.iter().find(|process| process.is_alive()) {
                None => Ok(()),
                Some(left) => Err(Unmeasured::Absent(format!("process {} runs", left.pid))),
            }
        })
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.kill_and_wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    fn shell(script: &str, folder: &Path) -> System {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        System::start(command, &folder.join("log")).unwrap()
    }

    #[test]
    fn cpu_and_memory_are_those_of_all_descendants_and_all_are_killed() {
        let folder = tempfile::tempdir().unwrap();
        let busy = "sh -c 'while :; do :; done' & sh -c 'exit 0'; wait";
        let system = shell(busy, folder.path());
        let start = now();
        let usage = until("time is used", Duration::from_secs(30), || match system.usage() {
            usage if usage.cpu_seconds >= 0.2 => Ok(usage),
            usage => Err(Unmeasured::Absent(format!("{usage:?}"))),
        })
        .unwrap();
        assert!(usage.cpu_seconds <= start.elapsed().as_secs_f64() + 0.1);
        assert!(usage.resident_bytes > 100_000);
        let processes = system.processes();
        assert_eq!(processes.len(), 2, "the shell and the one that is busy");
        system.kill().unwrap();
        assert!(processes.iter().all(|process| !process.is_alive()));
    }

    #[test]
    fn a_program_that_ends_shows_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut system = shell("echo the disk is on fire; exit 3", folder.path());
        let said = until("it has ended", Duration::from_secs(30), || match system.still_runs() {
            Ok(()) => Err(Unmeasured::Absent("it runs".to_owned())),
            Err(ended) => Ok(ended.in_full()),
        })
        .unwrap();
        assert!(said.contains("the disk is on fire") && said.contains('3'), "{said}");
    }
}
