//! The rule groups of a configuration: parsed, with an identity that all nodes agree on.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc, time::Duration};

use narthex_promql::ParseOptions;
use narthex_rules::{Rule, RuleFile, RuleGroup, RuleKind, stages};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;

/// Names a group on every node: a hash of its file and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u128);

impl GroupId {
    /// The group of this name in this file.
    pub fn new(file: &str, name: &str) -> Self {
        let mut hash = Xxh3::new();
        put(&mut hash, file);
        put(&mut hash, name);
        Self(hash.digest128())
    }

    /// How far the group's slots are shifted, in `[0, interval)`.
    pub fn phase_millis(self, interval_millis: i64) -> i64 {
        let phase = i128::from(self.0 as u64) % i128::from(interval_millis.max(1));
        i64::try_from(phase).expect("less than the interval")
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a rule within all rules: what its group's state and the series that it stored are found by. A
/// rule whose expression changes stays the same, one with another name or other labels does not, as in
/// Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey(pub u128);

/// A group to be evaluated.
#[derive(Debug)]
pub struct Group {
    /// Its name among nodes and in its shard's state.
    pub id: GroupId,
    /// The file it is from.
    pub file: String,
    /// The rules.
    pub group: RuleGroup,
    /// The name of each rule.
    pub keys: Vec<RuleKey>,
    /// Rules whose results are stored at once, in order.
    pub stages: Vec<Range<usize>>,
    /// Pause between two evaluations.
    pub interval: Duration,
    /// How far before the time of an evaluation its queries look.
    pub query_offset: Duration,
    /// Of all rules: an evaluation that was begun with others is not ended with these.
    pub fingerprint: u64,
}

impl Group {
    /// A group of a file under what the configuration says of all.
    fn new(file: &str, group: RuleGroup, config: &Config) -> Self {
        let id = GroupId::new(file, &group.name);
        let mut seen = HashMap::new();
        let mut all = Xxh3::new();
        let mut keys = Vec::with_capacity(group.rules.len());
        for rule in &group.rules {
            let plain = key(id, rule, 0);
            let before = seen.entry(plain).or_insert(0u64);
            keys.push(key(id, rule, *before));
            *before += 1;
            all.update(&plain.0.to_le_bytes());
            put(&mut all, &rule.query);
        }
        Self {
            id,
            keys,
            stages: stages(&group.rules),
            interval: group.interval.unwrap_or(config.global.evaluation_interval),
            query_offset: group.query_offset.unwrap_or(config.global.rule_query_offset),
            fingerprint: all.digest(),
            file: file.to_owned(),
            group,
        }
    }

    /// A group of which nothing is known but its state in a shard.
    pub(super) fn without_rules(id: GroupId, interval: Duration) -> Self {
        let group = RuleGroup {
            name: String::new(),
            interval: None,
            query_offset: None,
            limit: 0,
            rules: Vec::new(),
        };
        Self {
            id,
            file: String::new(),
            group,
            keys: Vec::new(),
            stages: Vec::new(),
            interval,
            query_offset: Duration::ZERO,
            fingerprint: 0,
        }
    }
}

/// `before`: how many rules before it in its group are called the same.
fn key(group: GroupId, rule: &Rule, before: u64) -> RuleKey {
    let mut hash = Xxh3::new();
    hash.update(&group.0.to_le_bytes());
    hash.update(&[u8::from(matches!(rule.kind, RuleKind::Alerting(_)))]);
    put(&mut hash, &rule.name);
    for (name, value) in &rule.labels {
        put(&mut hash, name);
        put(&mut hash, value);
    }
    hash.update(&before.to_le_bytes());
    RuleKey(hash.digest128())
}

fn put(hash: &mut Xxh3, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Every group there is, wherever it comes from, and what is wrong with files that give none. They were
/// checked when they were imported: what is wrong is that a newer program did that.
pub fn groups_of(config: &Config) -> (Vec<Arc<Group>>, Vec<String>) {
    let (mut groups, mut problems) = (Vec::new(), Vec::new());
    for file in &config.rule_files {
        match RuleFile::parse(&file.text, &ParseOptions::everything()) {
            Ok(parsed) => {
                let all = parsed.groups.into_iter();
                groups.extend(all.map(|group| Arc::new(Group::new(&file.path, group, config))));
            }
            Err(found) => {
                problems.extend(found.iter().map(|problem| format!("{}: {problem}", file.path)));
            }
        }
    }
    (groups, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuleFileText;

    fn config(text: &str) -> Config {
        let file = |path: &str| RuleFileText { path: path.to_owned(), text: text.to_owned() };
        Config { rule_files: vec![file("/a.yml"), file("/b.yml")], ..Config::default() }
    }

    #[test]
    fn groups_are_told_apart_by_file_and_name_and_rules_by_name_and_labels() {
        let text = "groups: [{name: g, interval: 7s, rules: [{record: a, expr: x}, \
                    {record: a, expr: y}, {record: a, expr: x, labels: {l: v}}, \
                    {alert: a, expr: x}]}, {name: h, query_offset: 3s}]";
        let (groups, problems) = groups_of(&config(text));
        assert!(problems.is_empty());
        let ids: std::collections::BTreeSet<_> = groups.iter().map(|group| group.id).collect();
        assert_eq!((groups.len(), ids.len()), (4, 4));
        let keys: std::collections::BTreeSet<_> = groups.iter().flat_map(|it| &it.keys).collect();
        assert_eq!(keys.len(), 8, "each rule of both files");
        let times = |at: usize| (groups[at].interval.as_secs(), groups[at].query_offset.as_secs());
        assert_eq!((times(0), times(1)), ((7, 0), (60, 3)));
        let (again, _) = groups_of(&config(&text.replace("expr: y", "expr: z")));
        assert_eq!(again[0].keys, groups[0].keys);
        assert_ne!(again[0].fingerprint, groups[0].fingerprint);
    }
}
