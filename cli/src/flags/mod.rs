//! The command line: roles, client verbs and their flags.
//!
//! Where Prometheus has a flag, ours has its name and meaning. Each flag is also an environment
//! variable, `NARTHEX_` and the name in capitals. Exit codes: 0 done, 1 failed, 2 misused.

mod client;
mod objects;
pub mod prometheus;
mod server;

use std::collections::BTreeMap;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use client::{
    BackupArguments, CertsArguments, CheckArguments, CheckConfigArguments, CheckRulesArguments,
    ClientFlags, ClusterCommand, DrainArguments, ExpressionArguments, GetArguments,
    ImportArguments, ImportCommand, InitArguments, Lint, LintFlags, Output, PromqlCommand,
    QueryArguments, RemoveArguments, RestoreArguments, RetentionArguments, SetArguments,
    SplitArguments, TestArguments, TestRulesArguments,
};
pub use objects::{
    ApplyArguments, DeleteArguments, DescribeArguments, DiffArguments, ExplainArguments,
    GetObjectsArguments, HistoryArguments, ObjectFlags, ObjectOutput, RollbackArguments,
    WatchArguments,
};
pub use server::{
    FeatureFlags, IngestFlags, JoinFlags, LogFlags, LogFormat, LogLevel, NodeArguments,
    QuerierArguments, QueryFlags, RouterArguments, RuleFlags, SettingsFlags, UpArguments, WebFlags,
};

/// A monitoring cluster that speaks Prometheus.
#[derive(Debug, Parser)]
#[command(name = "narthex", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The arguments of this process, with the flags in force; ends it where they are misused.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        let mut arguments = Self::from_arg_matches(&matches)
            .unwrap_or_else(|error| error.format(&mut command).exit());
        let in_force = in_force(&command, &matches);
        match &mut arguments.command {
            Command::Up(up) => up.web.in_force = in_force,
            Command::Querier(querier) => querier.web.in_force = in_force,
            _ => {}
        }
        arguments
    }
}

/// The flags of the command that was chosen and their values, as Prometheus tells them: without
/// dashes, those that were not given with their defaults, or empty.
fn in_force(command: &clap::Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let Some((name, matches)) = matches.subcommand() else { return BTreeMap::new() };
    let Some(command) = command.find_subcommand(name) else { return BTreeMap::new() };
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let known = flags.filter_map(|flag| Some((flag.get_id().as_str(), flag.get_long()?)));
    let value = |id: &str| {
        let values = matches.try_get_raw(id).ok().flatten()?;
        let texts: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        Some(texts.join(","))
    };
    let known = known.filter(|(_, long)| !matches!(*long, "help" | "version"));
    known.map(|(id, long)| (long.to_owned(), value(id).unwrap_or_default())).collect()
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
    /// Bring config objects into the state that files say, or put a prometheus.yml in force
    Apply(ApplyArguments),
    /// Show config objects
    Get(GetObjectsArguments),
    /// All that is known of a config object
    Describe(DescribeArguments),
    /// Delete config objects
    Delete(DeleteArguments),
    /// What applying files would change; exit code 1 where something would
    Diff(DiffArguments),
    /// Config objects as they are, and then their changes
    Watch(WatchArguments),
    /// What a field of a kind may hold
    Explain(ExplainArguments),
    /// What selects a config object or why nothing does, and how its targets are
    Why(DescribeArguments),
    /// What was changed of config objects, when and by whom
    History(HistoryArguments),
    /// Bring a config object back to what it was
    Rollback(RollbackArguments),
    /// Found, inspect and equip a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Bring what another system stored into a cluster
    #[command(subcommand)]
    Import(ImportCommand),
    /// Look at PromQL expressions without evaluating them
    #[command(subcommand)]
    Promql(PromqlCommand),
    /// Run scripts that check behaviour
    #[command(subcommand)]
    Test(TestArguments),
    /// Check files before they are used
    #[command(subcommand)]
    Check(CheckArguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_in_force_are_told_with_their_defaults() {
        let mut command = Arguments::command();
        let line = ["narthex", "up", "--query.max-concurrency=7", "--web.enable-admin-api"];
        let matches = command.try_get_matches_from_mut(line).expect("a valid line");
        let flags = in_force(&command, &matches);
        assert_eq!(flags["query.max-concurrency"], "7");
        assert_eq!(flags["query.timeout"], "2m");
        assert_eq!(flags["web.enable-admin-api"], "true");
        assert_eq!(flags["web.enable-lifecycle"], "false");
        assert_eq!(flags["config.file"], "");
        assert!(flags.contains_key("storage.tsdb.path") && !flags.contains_key("help"));
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
