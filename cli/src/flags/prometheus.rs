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
const NO_READ: &str =
    "remote reads are queries: --query.max-samples and --query.max-concurrency bound them";
const NOTIFIED: &str =
    "each Alertmanager has a queue of 10000 alerts, sent in batches of 256, emptied at a stop";
const RESTORED: &str = "what alerts are is replicated state: no restart has to restore it";
const NO_CONSOLES: &str = "there are no console templates";
const NO_GO: &str = "it tunes Go's runtime";
const NOT_YET: &str = "it is not built yet";
const RETENTION: &str =
    "its names are --storage.tsdb.retention.time and --storage.tsdb.retention.size";
const ALWAYS_LOCKED: &str = "a folder is always locked: two processes would ruin it";

const fn refused(name: &'static str, instead: &'static str) -> Refused {
    Refused { name, instead }
}

const REFUSED: &[Refused] = &[
    refused("agent", NO_AGENT),
    refused("alertmanager.drain-notification-queue-on-shutdown", NOTIFIED),
    refused("alertmanager.notification-batch-size", NOTIFIED),
    refused("alertmanager.notification-queue-capacity", NOTIFIED),
    refused("auto-gomaxprocs", NO_GO),
    refused("auto-gomemlimit", NO_GO),
    refused("auto-gomemlimit.ratio", NO_GO),
    refused("config.auto-reload-interval", NOT_YET),
    refused("rules.alert.for-grace-period", RESTORED),
    refused("rules.alert.for-outage-tolerance", RESTORED),
    refused("rules.alert.resend-delay", "alerts that fire are sent again every minute"),
    refused(
        "rules.max-concurrent-evals",
        "four rules of a group that do not read each other are evaluated at once",
    ),
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
    refused("storage.tsdb.allow-overlapping-compaction", NO_BLOCKS),
    refused("storage.tsdb.block-reload-interval", NO_BLOCKS),
    refused("storage.tsdb.delay-compact-file.path", NO_BLOCKS),
    refused("storage.tsdb.delayed-compaction.max-percent", NO_BLOCKS),
    refused("storage.tsdb.head-chunks-write-queue-size", NO_BLOCKS),
    refused("storage.tsdb.max-block-chunk-segment-size", NO_BLOCKS),
    refused("storage.tsdb.max-block-duration", NO_BLOCKS),
    refused("storage.tsdb.min-block-duration", NO_BLOCKS),
    refused("storage.tsdb.no-lockfile", ALWAYS_LOCKED),
    refused("storage.tsdb.retention", RETENTION),
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
    refused("write-documentation", "--help has it"),
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
        let message = refusal_of(&["up", "--storage.tsdb.retention=5d"]).unwrap();
        assert!(message.starts_with("--storage.tsdb.retention is not supported: "));
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

    /// What Prometheus 3.14 declares, flags that its help hides included.
    const FLAGS_OF_3_14: &[&str] = &[
        "agent",
        "alertmanager.drain-notification-queue-on-shutdown",
        "alertmanager.notification-batch-size",
        "alertmanager.notification-queue-capacity",
        "auto-gomaxprocs",
        "auto-gomemlimit",
        "auto-gomemlimit.ratio",
        "config.auto-reload-interval",
        "config.file",
        "enable-feature",
        "log.format",
        "log.level",
        "query.lookback-delta",
        "query.max-concurrency",
        "query.max-samples",
        "query.timeout",
        "rules.alert.for-grace-period",
        "rules.alert.for-outage-tolerance",
        "rules.alert.resend-delay",
        "rules.max-concurrent-evals",
        "scrape.adjust-timestamps",
        "scrape.discovery-reload-interval",
        "scrape.timestamp-tolerance",
        "storage.agent.no-lockfile",
        "storage.agent.path",
        "storage.agent.retention.max-time",
        "storage.agent.retention.min-time",
        "storage.agent.wal-compression",
        "storage.agent.wal-compression-type",
        "storage.agent.wal-segment-size",
        "storage.agent.wal-truncate-frequency",
        "storage.remote.flush-deadline",
        "storage.remote.read-concurrent-limit",
        "storage.remote.read-max-bytes-in-frame",
        "storage.remote.read-sample-limit",
        "storage.tsdb.allow-overlapping-compaction",
        "storage.tsdb.block-reload-interval",
        "storage.tsdb.delay-compact-file.path",
        "storage.tsdb.delayed-compaction.max-percent",
        "storage.tsdb.head-chunks-write-queue-size",
        "storage.tsdb.max-block-chunk-segment-size",
        "storage.tsdb.max-block-duration",
        "storage.tsdb.min-block-duration",
        "storage.tsdb.no-lockfile",
        "storage.tsdb.path",
        "storage.tsdb.retention.size",
        "storage.tsdb.retention.time",
        "storage.tsdb.samples-per-chunk",
        "storage.tsdb.wal-compression",
        "storage.tsdb.wal-compression-type",
        "storage.tsdb.wal-segment-size",
        "web.config.file",
        "web.console.libraries",
        "web.console.templates",
        "web.cors.origin",
        "web.enable-admin-api",
        "web.enable-lifecycle",
        "web.enable-otlp-receiver",
        "web.enable-remote-write-receiver",
        "web.external-url",
        "web.listen-address",
        "web.max-connections",
        "web.max-notifications-subscribers",
        "web.page-title",
        "web.read-timeout",
        "web.remote-write-receiver.accepted-protobuf-messages",
        "web.route-prefix",
        "web.user-assets",
        "write-documentation",
    ];

    fn unknown<'a>(flags: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let declared = declared_flags();
        let is_known = |name: &str| {
            declared.iter().any(|flag| flag == name) || REFUSED.iter().any(|flag| flag.name == name)
        };
        flags.filter(|name| !is_known(name)).collect()
    }

    #[test]
    fn every_flag_of_3_14_is_known() {
        assert_eq!(unknown(FLAGS_OF_3_14.iter().copied()), Vec::<&str>::new());
    }

    #[test]
    fn every_flag_of_prometheus_is_known() {
        let Some(help) = prometheus_help() else { return };
        let flags = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.strip_prefix("[no-]").unwrap_or(word))
            .map(flag_name)
            .filter(|name| !matches!(*name, "help" | "help-long" | "help-man" | "version" | ""));
        assert_eq!(unknown(flags), Vec::<&str>::new());
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
