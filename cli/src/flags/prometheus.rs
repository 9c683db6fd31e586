//! Prometheus 3's flags that Narthex does not have, each refused by its own name.
//!
//! A flag that Narthex has is declared beside its siblings in [`super`]. Together the two cover
//! every flag of Prometheus 3, which a test compares with the program itself.

/// A flag of Prometheus's, and what a user of it does here.
struct Refused {
    name: &'static str,
    instead: &'static str,
}

const NO_WAL: &str = "the raft log is the only write-ahead log, and it is always on";
const NO_BLOCKS: &str = "there are no blocks: chunks are sealed by the log and merged by age";
const NO_AGENT: &str = "there is no agent mode; a router with remote write is not built yet";
const NO_READ: &str = "remote read is not built yet";
const NO_RULES: &str = "rules are not evaluated yet";
const NO_CONSOLES: &str = "there are no console templates";
const NO_GO: &str = "it tunes Go's runtime";
const NOT_YET: &str = "it is not built yet";
const RETENTION: &str = "retention is by time: --storage.tsdb.retention.time";
const ALWAYS_LOCKED: &str = "a folder is always locked: two processes would ruin it";

const fn refused(name: &'static str, instead: &'static str) -> Refused {
    Refused { name, instead }
}

const REFUSED: &[Refused] = &[
    refused("agent", NO_AGENT),
    refused("alertmanager.drain-notification-queue-on-shutdown", NO_RULES),
    refused("alertmanager.notification-batch-size", NO_RULES),
    refused("alertmanager.notification-queue-capacity", NO_RULES),
    refused("auto-gomaxprocs", NO_GO),
    refused("auto-gomemlimit", NO_GO),
    refused("auto-gomemlimit.ratio", NO_GO),
    refused("config.auto-reload-interval", NOT_YET),
    refused("rules.alert.for-grace-period", NO_RULES),
    refused("rules.alert.for-outage-tolerance", NO_RULES),
    refused("rules.alert.resend-delay", NO_RULES),
    refused("rules.max-concurrent-evals", NO_RULES),
    refused("scrape.adjust-timestamps", "scrape times are slots, equal on every node"),
    refused("scrape.discovery-reload-interval", NOT_YET),
    refused("scrape.name-escaping-scheme", "names are UTF-8"),
    refused("scrape.timestamp-tolerance", "scrape times are slots, equal on every node"),
    refused("storage.agent.no-lockfile", NO_AGENT),
    refused("storage.agent.path", NO_AGENT),
    refused("storage.agent.retention.max-time", NO_AGENT),
    refused("storage.agent.retention.min-time", NO_AGENT),
    refused("storage.agent.wal-compression", NO_AGENT),
    refused("storage.agent.wal-compression-type", NO_AGENT),
    refused("storage.agent.wal-segment-size", NO_AGENT),
    refused("storage.agent.wal-truncate-frequency", NO_AGENT),
    refused("storage.remote.flush-deadline", "nothing is written to remote storage yet"),
    refused("storage.remote.read-concurrent-limit", NO_READ),
    refused("storage.remote.read-max-bytes-in-frame", NO_READ),
    refused("storage.remote.read-sample-limit", NO_READ),
    refused("storage.tsdb.delayed-compaction.max-percent", NO_BLOCKS),
    refused("storage.tsdb.head-chunks-write-queue-size", NO_BLOCKS),
    refused("storage.tsdb.max-block-chunk-segment-size", NO_BLOCKS),
    refused("storage.tsdb.max-block-duration", NO_BLOCKS),
    refused("storage.tsdb.min-block-duration", NO_BLOCKS),
    refused("storage.tsdb.no-lockfile", ALWAYS_LOCKED),
    refused("storage.tsdb.retention", RETENTION),
    refused("storage.tsdb.retention.size", RETENTION),
    refused("storage.tsdb.samples-per-chunk", NO_BLOCKS),
    refused("storage.tsdb.wal-compression", NO_WAL),
    refused("storage.tsdb.wal-compression-type", NO_WAL),
    refused("storage.tsdb.wal-segment-size", NO_WAL),
    refused("web.console.libraries", NO_CONSOLES),
    refused("web.console.templates", NO_CONSOLES),
    refused("web.local-assets", "the page is part of the program"),
    refused("web.max-notifications-subscribers", NOT_YET),
    refused("web.page-title", NOT_YET),
    refused("web.user-assets", "the page is part of the program"),
];

/// The first argument that is one of Prometheus's flags and not one of ours, with the answer to
/// it. `--no-…`, which switches a flag off, is refused like the flag.
pub fn refusal<'a>(arguments: impl Iterator<Item = &'a str>) -> Option<String> {
    arguments.take_while(|argument| *argument != "--").find_map(|argument| {
        let name = argument.strip_prefix("--")?.split('=').next()?;
        let name = name.strip_prefix("no-").unwrap_or(name);
        let refused = REFUSED.iter().find(|refused| refused.name == name)?;
        Some(format!("--{} is not supported: {}", refused.name, refused.instead))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::CommandFactory;

    use super::*;

    fn refusal_of(arguments: &[&str]) -> Option<String> {
        refusal(arguments.iter().copied())
    }

    #[test]
    fn a_flag_of_prometheus_is_refused_by_name() {
        let message = refusal_of(&["up", "--storage.tsdb.retention.size=5GB"]).unwrap();
        assert!(message.starts_with("--storage.tsdb.retention.size is not supported: "));
        assert!(refusal_of(&["up", "--no-agent"]).is_some());
        assert!(refusal_of(&["up", "--storage.tsdb.path", "data"]).is_none());
        assert!(refusal_of(&["query", "--", "--agent"]).is_none());
    }

    #[test]
    fn nothing_is_both_refused_and_declared() {
        let declared = declared_flags();
        let both: Vec<_> =
            REFUSED.iter().filter(|flag| declared.iter().any(|name| name == flag.name)).collect();
        assert!(both.is_empty(), "{:?}", both.iter().map(|flag| flag.name).collect::<Vec<_>>());
    }

    #[test]
    fn every_flag_of_prometheus_is_known() {
        let Some(help) = prometheus_help() else { return };
        let declared = declared_flags();
        let unknown: Vec<_> = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.strip_prefix("[no-]").unwrap_or(word))
            .map(flag_name)
            .filter(|name| !matches!(*name, "help" | "help-long" | "help-man" | "version" | ""))
            .filter(|name| !declared.iter().any(|flag| flag == name))
            .filter(|name| !REFUSED.iter().any(|flag| flag.name == *name))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    fn flag_name(word: &str) -> &str {
        word.split('=').next().unwrap_or(word).trim_end_matches(['.', ',', ')', '"', '\''])
    }

    fn declared_flags() -> Vec<String> {
        let command = crate::flags::Arguments::command();
        let up = command.find_subcommand("up").expect("`up` is declared");
        up.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
    }

    fn prometheus_help() -> Option<String> {
        let skip = |reason: &str| {
            let name = "flags::prometheus::every_flag_of_prometheus_is_known";
            let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {reason}");
            None
        };
        let Some(folder) = std::env::var_os("NARTHEX_PEERS") else {
            return skip("NARTHEX_PEERS names no folder with Prometheus");
        };
        let program = std::path::Path::new(&folder).join("prometheus");
        let Ok(output) = std::process::Command::new(program).arg("--help-long").output() else {
            return skip("Prometheus does not run");
        };
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}
