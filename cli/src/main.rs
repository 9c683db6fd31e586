//! The `narthex` program: arguments, composition of roles, client verbs.
//!
//! One process runs one command. A server starts its roles in order, stops them in the reverse
//! order on SIGTERM or Ctrl-C, and ends at once on a second signal. There are no rules about
//! samples, shards or queries here; those are in the roles' crates.

mod addresses;
mod apply;
mod backup;
mod certs;
mod check;
mod client;
mod cluster;
mod config_file;
mod config_status;
mod flags;
mod folder;
mod import;
mod listener;
mod log;
mod members;
mod memory;
mod objects;
mod output;
mod promql;
mod promql_test;
mod proposer;
mod query;
mod relabelling;
mod retention;
mod roles;
mod rules_test;
mod settings;
mod signals;
mod supervisor;
mod up;

use std::{error::Error, process::ExitCode};

use anyhow::Context as _;
use flags::{Arguments, ClusterCommand, Command, ImportCommand, TestArguments};
use output::say;

/// Shared with RocksDB, whose C++ memory would otherwise lie in a second heap.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed memory goes back to the system after half a second instead of ten, and four arenas do for a
/// program whose heavy threads are few: a burst of requests then leaves nothing behind. jemalloc
/// reads a C string through the pointer that this begins with.
#[expect(unsafe_code, reason = "the symbol that jemalloc looks for; nothing else has its name")]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: Option<&'static std::ffi::c_char> = SETTINGS.first();
const SETTINGS: &[std::ffi::c_char] = &chars(b"dirty_decay_ms:500,muzzy_decay_ms:0,narenas:4\0");

const fn chars<const N: usize>(text: &[u8; N]) -> [std::ffi::c_char; N] {
    let mut chars = [0; N];
    let mut at = 0;
    while at < N {
        chars[at] = text[at] as std::ffi::c_char;
        at += 1;
    }
    chars
}

/// The exit code of a command line that cannot be understood, which is clap's too.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(refusal) = flags::prometheus::refusal(arguments.iter().map(String::as_str)) {
        say(&refusal);
        return ExitCode::from(MISUSED);
    }
    match run(Arguments::of_process().command) {
        Ok(code) => code,
        // One line, with the causes behind it.
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(arguments) => {
            log::install(&arguments.log);
            Ok(up::run(&arguments)?)
        }
        Command::Node(arguments) => {
            log::install(&arguments.log);
            Ok(roles::run_node(&arguments)?)
        }
        Command::Router(arguments) => {
            log::install(&arguments.log);
            Ok(roles::run_router(&arguments)?)
        }
        Command::Querier(arguments) => {
            log::install(&arguments.log);
            Ok(roles::run_querier(&arguments)?)
        }
        Command::Query(arguments) => ask(query::run(&arguments)),
        Command::Apply(arguments) => judge(apply::run(&arguments)),
        Command::Get(arguments) => judge(objects::get(&arguments)),
        Command::Describe(arguments) => judge(objects::describe(&arguments)),
        Command::Delete(arguments) => judge(objects::delete(&arguments)),
        Command::Diff(arguments) => judge(objects::diff(&arguments)),
        Command::Watch(arguments) => ask(objects::watch(&arguments)),
        Command::Explain(arguments) => {
            objects::explain(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Why(arguments) => judge(objects::why(&arguments)),
        Command::History(arguments) => ask(objects::history(&arguments)),
        Command::Rollback(arguments) => judge(objects::rollback(&arguments)),
        Command::Cluster(ClusterCommand::Init(arguments)) => ask(cluster::init(&arguments)),
        Command::Cluster(ClusterCommand::Status(flags)) => ask(cluster::status(&flags)),
        Command::Cluster(ClusterCommand::Certs(arguments)) => {
            certs::make(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Cluster(ClusterCommand::Retention(arguments)) => ask(retention::run(&arguments)),
        Command::Cluster(ClusterCommand::Get(arguments)) => ask(settings::get(&arguments)),
        Command::Cluster(ClusterCommand::Set(arguments)) => ask(settings::set(&arguments)),
        Command::Cluster(ClusterCommand::Drain(arguments)) => ask(members::drain(&arguments)),
        Command::Cluster(ClusterCommand::Remove(arguments)) => ask(members::remove(&arguments)),
        Command::Cluster(ClusterCommand::Replace(arguments)) => ask(members::replace(&arguments)),
        Command::Cluster(ClusterCommand::Split(arguments)) => ask(members::split(&arguments)),
        Command::Cluster(ClusterCommand::Moves(flags)) => ask(members::moves(&flags)),
        Command::Cluster(ClusterCommand::Backup(arguments)) => ask(backup::backup(&arguments)),
        Command::Cluster(ClusterCommand::Restore(arguments)) => {
            backup::restore(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import(ImportCommand::Tsdb(arguments)) => ask(import::tsdb(&arguments)),
        Command::Promql(command) => {
            promql::run(&command)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Test(TestArguments::Promql { shards, files }) => {
            Ok(code(promql_test::run(&files, shards)?))
        }
        Command::Test(TestArguments::Rules(arguments)) => Ok(code(rules_test::run(&arguments)?)),
        Command::Check(arguments) => Ok(check::run(&arguments)?),
    }
}

/// What a check found.
fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a client verb to its end.
fn ask<E: Error + Send + Sync + 'static>(
    verb: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<ExitCode> {
    judge(async { verb.await.map(|()| true) })
}

/// The same for one that says whether all is well.
fn judge<E: Error + Send + Sync + 'static>(
    verb: impl Future<Output = Result<bool, E>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    Ok(code(runtime.block_on(verb)?))
}
