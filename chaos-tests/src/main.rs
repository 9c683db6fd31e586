//! `narthex-chaos`: scenarios against real processes, one after the other, with a report.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use narthex_chaos_tests::{
    report,
    scenario::{Kept, Ran, Scenario, Verdict, all, run},
    wait::{now, wall_millis},
};

/// Runs scenarios of faults against clusters of real processes
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios to run, by id [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What schedules are drawn from [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// For how long each scenario injects faults, instead of its own time
    #[arg(long)]
    seconds: Option<u64>,
    /// How often all of it is run, with one seed after the other
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// Where the report goes, and what is kept of runs that did not pass
    #[arg(long, default_value = "narthex-chaos")]
    folder: PathBuf,
    /// Keeps logs, journals and data of runs that passed, too
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run_all(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("narthex-chaos: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all passed that could run.
fn run_all(arguments: &Arguments) -> Result<bool, String> {
    let chosen = chosen(&arguments.only)?;
    fs::create_dir_all(&arguments.folder).map_err(|error| error.to_string())?;
    let first = arguments.seed.unwrap_or_else(|| wall_millis().unsigned_abs() / 1000);
    let (mut ran, mut passed) = (Vec::new(), true);
    for seed in first..first + arguments.times {
        for scenario in &chosen {
            let (id, began) = (scenario.id, now());
            let length = arguments.seconds.map_or(scenario.length, Duration::from_secs);
            let kept = Kept { folder: &arguments.folder, all: arguments.keep };
            eprintln!("{id}, seed {seed}: {}", scenario.title);
            let outcome = run(*scenario, seed, length, kept);
            passed &= tell(&outcome);
            eprintln!("{id} took {:.0?}\n", began.elapsed());
            ran.push((id, outcome));
            // After each, so that an interrupted run has its report, too.
            report::write(&arguments.folder, &ran).map_err(|error| error.to_string())?;
        }
    }
    eprintln!("report: {}", arguments.folder.join("index.html").display());
    Ok(passed)
}

fn chosen(ids: &[String]) -> Result<Vec<Scenario>, String> {
    let all = all();
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|it| it.id == **id)) {
        let known: Vec<_> = all.iter().map(|it| it.id).collect();
        return Err(format!("there is no scenario {unknown}, only {}", known.join(", ")));
    }
    let is_chosen = |it: &Scenario| ids.is_empty() || ids.iter().any(|id| id == it.id);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// Says what became of a run; whether that is no reason to worry.
fn tell(ran: &Ran) -> bool {
    match ran {
        Ran::Skipped(reason) => {
            eprintln!("  skipped: {reason}");
            true
        }
        Ran::Judged(report) => {
            for finding in &report.findings {
                let detail = finding.detail.replace('\n', "\n        ");
                eprintln!(
                    "  {:7} {}  {}\n        {detail}",
                    finding.verdict.to_string(),
                    finding.check,
                    finding.question
                );
            }
            eprintln!("  {}", report.verdict);
            report.verdict == Verdict::Pass
        }
    }
}
