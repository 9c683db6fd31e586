//! The table of figures beside the peers: starts each system in a folder of its own, loads it,
//! and measures it from outside, all in one run.
//!
//! Invariants
//! * every system gets the same requests, byte for byte, from the same senders;
//! * CPU and memory are those of all of a system's processes;
//! * a figure that could not be had is missing, and the table says why;
//! * only processes started here are ended, by their ids.
//!
//! Nothing of the product is linked in but its reader of pages: systems are programs.

mod clock;
mod document;
mod fleet;
mod http;
mod load;
mod machine;
mod measure;
mod page;
mod plan;
mod process;
mod profile;
mod queries;
mod request;
mod server;
mod statistics;
mod table;
mod targets;
mod unmeasured;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Parser;

use crate::{
    measure::{Setting, is_in_memory},
    plan::{Plan, Row, in_short},
    server::{Kind, Programs},
    table::Results,
};

/// Measures Narthex beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program `narthex`; the one beside this program if not given
    #[arg(long)]
    narthex: Option<PathBuf>,
    /// A folder with `prometheus`, `victoria-metrics` and their `versions`
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Where systems get their folders, which are deleted afterwards
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A page in the text format that hosts are shaped after, instead of a made-up one
    #[arg(long)]
    template: Option<PathBuf>,
    /// A file of queries: lines of name, `instant` or `range`, lookback and step in seconds,
    /// expression, with tabs between them
    #[arg(long)]
    queries: Option<PathBuf>,
    /// Loads to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Row::ALL)]
    rows: Vec<Row>,
    /// Systems to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    systems: Vec<Kind>,
    /// How often; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Hosts of every remote-write load, instead of its own number
    #[arg(long)]
    hosts: Option<usize>,
    /// Steps of every remote-write load, instead of its own number
    #[arg(long)]
    steps: Option<u64>,
    /// Connections that write, each with one request at a time
    #[arg(long, default_value_t = 2)]
    senders: usize,
    /// Seconds after a load whose CPU is counted with it
    #[arg(long, default_value_t = 5)]
    rest_seconds: u64,
    /// Scraped targets
    #[arg(long, default_value_t = 100)]
    targets: usize,
    /// For how long scrapes are measured
    #[arg(long, default_value_t = 40)]
    scrape_seconds: u64,
    /// Written between its markers where the whole table was measured
    #[arg(long)]
    document: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all of ours was measured.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let setting = setting(arguments)?;
    let plan = plan(arguments)?;
    let machine = machine::describe(&setting.folder).map_err(|why| anyhow!(why.in_full()))?;
    say(&machine);
    let mut results = Results::default();
    let mut kinds = plan.kinds.clone();
    kinds.retain(|kind| match setting.programs.path(*kind) {
        Ok(_) => true,
        Err(why) => {
            say(&format!("{} is left out: {}", kind.title(), why.in_full()));
            results.leave_out(*kind, why.in_full());
            false
        }
    });
    let minutes = plan.expected(kinds.len(), &setting).as_secs().div_ceil(60);
    say(&format!("this takes about {minutes} minutes; the machine should do nothing else"));
    for run in 1..=plan.runs {
        for row in &plan.rows {
            for kind in &kinds {
                let found = plan.measure(*row, *kind, &setting);
                let what = format!("{}, {}", row.name(), kind.title());
                say(&format!("run {run} of {}: {what}: {}", plan.runs, in_short(&found)));
                for query in &found.queries {
                    let (name, millis) = (&query.name, query.median_millis);
                    say(&format!("  {name}: {millis:.2} ms, {} series", query.series));
                }
                results.add(*row, *kind, found);
            }
        }
    }
    let text = report(&plan, &setting, &results, &machine);
    writeln!(io::stdout(), "{text}").context("print the table")?;
    let is_sound = kinds.iter().any(|kind| kind.is_ours()) && !results.ours_have_problems();
    if let Some(path) = &arguments.document {
        match plan.is_whole(&setting) && is_sound {
            true => write_document(path, &text)?,
            false => say("not the whole table in three sound runs: the document stays as it is"),
        }
    }
    Ok(is_sound)
}

fn setting(arguments: &Arguments) -> anyhow::Result<Setting> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
    };
    let page = arguments.template.as_ref().map(read).transpose()?;
    let queries = arguments.queries.as_ref().map(read).transpose()?;
    let beside = || -> anyhow::Result<PathBuf> {
        Ok(std::env::current_exe().context("find this program")?.with_file_name("narthex"))
    };
    let narthex = arguments.narthex.clone().map_or_else(beside, Ok)?;
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(Setting {
        programs: Programs { narthex, peers: arguments.peers.clone() },
        folder,
        page: page::read(&page.unwrap_or_else(page::made_up))?,
        queries: queries::read(queries.as_deref().unwrap_or(queries::OURS))
            .map_err(anyhow::Error::msg)?,
        senders: arguments.senders,
        rest_after: Duration::from_secs(arguments.rest_seconds),
        targets: arguments.targets,
        scrape_time: Duration::from_secs(arguments.scrape_seconds),
    })
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let of = |number: Option<usize>| number.unwrap_or(1);
    let smallest = of(arguments.hosts).min(arguments.senders).min(arguments.runs);
    anyhow::ensure!(smallest > 0, "hosts, senders and runs are at least 1");
    Ok(Plan {
        rows: arguments.rows.clone(),
        kinds: arguments.systems.clone(),
        runs: arguments.runs,
        hosts: arguments.hosts,
        steps: arguments.steps,
    })
}

fn report(plan: &Plan, setting: &Setting, results: &Results, machine: &str) -> String {
    let head = |kind: Kind| {
        let version = setting.programs.version(kind);
        match kind {
            Kind::One | Kind::Three => kind.title().to_owned(),
            _ => format!("{} {version}", kind.title()).trim_end().to_owned(),
        }
    };
    let mut text = format!(
        "Measured by `make bench`, medians of {} runs, on {machine}. Hosts have {} series each; \
         {} senders wait for each acknowledgement. CPU is that of all processes of a system from \
         the first request until {} s after the last acknowledgement.\n\n{}",
        plan.runs,
        setting.page.len(),
        setting.senders,
        setting.rest_after.as_secs(),
        results.render(head, |row| plan.title(row, setting)),
    );
    if is_in_memory(&setting.folder) {
        text += "\nThe folders lay in memory, so syncs cost nothing: these figures do not count.\n";
    }
    let problems = results.problems();
    if !problems.is_empty() {
        text += "\nMissing, or worth less:\n\n";
        text.extend(problems.iter().map(|problem| format!("- {}\n", problem.replace('\n', " "))));
    }
    text += "\nStarted with, versions as above (Narthex ";
    text += &format!("{}):\n\n```\n", setting.programs.version(Kind::One));
    for kind in &plan.kinds {
        let line = kind.arguments("DIR", "127.0.0.1:PORT", None).join(" ");
        let program = setting.programs.path(*kind).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.is_empty() {
            text += &format!("{name} {line}\n");
        }
    }
    text += "```\n";
    let profile = results.render_profile();
    if !profile.is_empty() {
        text += &format!(
            "\nWhere a sample's CPU goes in the same runs, by the threads that spend it, summed over \
             all nodes. In one process the front's threads do the node's service, too; syncs are \
             counted by each node's `narthex_node_raft_log_sync_duration_seconds`, read from the \
             nodes' own listeners.\n\n{profile}"
        );
    }
    text
}

fn write_document(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let new = document::replaced(&old, text)
        .with_context(|| format!("{} lacks the markers", path.display()))?;
    fs::write(path, new).with_context(|| format!("write {}", path.display()))?;
    say(&format!("written to {}", path.display()));
    Ok(())
}

/// To whoever waits; the table alone goes to standard output.
fn say(text: &str) {
    // Nobody can be told if standard error is closed.
    let _ = writeln!(io::stderr(), "bench: {text}");
}
