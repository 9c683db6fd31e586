//! The command line: roles, client verbs and their flags.
//!
//! Where Prometheus has a flag, ours has its name and meaning. Each flag is also an environment
//! variable, `NARTHEX_` and the name in capitals. Exit codes: 0 done, 1 failed, 2 misused.

mod client;
pub mod prometheus;
mod server;

use clap::{Parser, Subcommand};

pub use client::{
    ApplyArguments, BackupArguments, CertsArguments, CheckArguments, ClientFlags, ClusterCommand,
    DrainArguments, GetArguments, ImportArguments, ImportCommand, InitArguments, Output,
    QueryArguments, RemoveArguments, RestoreArguments, RetentionArguments, SetArguments,
    SplitArguments, TestArguments,
};
pub use server::{
    IngestFlags, JoinFlags, LogFlags, LogFormat, LogLevel, NodeArguments, QuerierArguments,
    QueryFlags, RouterArguments, SettingsFlags, UpArguments, WebFlags,
};

/// A monitoring cluster that speaks Prometheus.
#[derive(Debug, Parser)]
#[command(name = "narthex", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Roles first, then what asks a running cluster, then what needs none.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all roles in one process, or a cluster of child processes with --nodes
    Up(UpArguments),
    /// Host replicas of shards, scrape targets
    Node(NodeArguments),
    /// Accept writes and send them to the shards' leaders
    Router(RouterArguments),
    /// Answer queries and serve the page
    Querier(QuerierArguments),
    /// Evaluate a PromQL expression
    Query(QueryArguments),
    /// Put a prometheus.yml in force in a cluster of separate processes
    Apply(ApplyArguments),
    /// Found, inspect and equip a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Bring what another system stored into a cluster
    #[command(subcommand)]
    Import(ImportCommand),
    /// Run scripts that check behaviour
    #[command(subcommand)]
    Test(TestArguments),
    /// Check files before they are used
    #[command(subcommand)]
    Check(CheckArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        fn check(command: &clap::Command) {
            for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
                let long = flag.get_long().expect("only these are left");
                if matches!(long, "help" | "version") || flag.is_hide_set() {
                    continue;
                }
                let expected = format!("NARTHEX_{}", long.to_uppercase().replace(['.', '-'], "_"));
                let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(variable, Some(expected), "{} --{long}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
