//! What the HTTP API can do, for its description.

use narthex_web::access::{self, Endpoint};

/// An operation of the API.
pub struct Operation {
    pub endpoint: &'static Endpoint,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// The content type of a body that is no form.
    pub body: Option<&'static str>,
    pub answer: Answer,
}

/// A parameter of the path, the query or a form.
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub is_required: bool,
    pub about: &'static str,
}

/// What a parameter's text means.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Time,
    Duration,
    Count,
    Switch,
    /// It may be given many times.
    Texts,
}

/// What is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Data in an envelope.
    Data,
    /// JSON without one.
    Bare,
    Text,
    /// Text, OpenMetrics or protobuf, as the caller takes them.
    Pages,
    Lines,
    Events,
    Page,
    Yaml,
    Protobuf,
    /// Samples as a message, or chunks as a stream of them.
    Streamed,
    Nothing,
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, is_required: false, about }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, is_required: true, about }
}

const fn get(
    endpoint: &'static Endpoint,
    summary: &'static str,
    parameters: &'static [Parameter],
) -> Operation {
    Operation { endpoint, summary, parameters, body: None, answer: Answer::Data }
}

impl Operation {
    const fn answers(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    const fn takes(self, content: &'static str) -> Self {
        Self { body: Some(content), ..self }
    }
}

const QUERY: Parameter = required("query", Kind::Text, "a PromQL expression");
const START: Parameter = optional("start", Kind::Time, "the first time");
const END: Parameter = optional("end", Kind::Time, "the last time");
const LIMIT: Parameter = optional("limit", Kind::Count, "the most rows; 0 is no limit");
const MATCH: Parameter = optional("match[]", Kind::Texts, "series selectors");
const PARTIAL: Parameter =
    optional("partial_response", Kind::Switch, "answer without shards that are missing");
const TIMEOUT: Parameter = optional("timeout", Kind::Duration, "how long it may take");
const LOOKBACK: Parameter =
    optional("lookback_delta", Kind::Duration, "how old a sample may be to count as current");
const STATS: Parameter = optional("stats", Kind::Text, "true or all: say what it took");
const EXPLAIN: Parameter = optional("explain", Kind::Switch, "say what was asked of which shard");
const CONSISTENCY: Parameter =
    optional("consistency", Kind::Text, "linearizable, or bounded: an old state will do");
const METRIC: Parameter = optional("metric", Kind::Text, "of this metric only");
const NAME: Parameter = required("name", Kind::Text, "the label's name");
const STATE: Parameter = optional("state", Kind::Texts, "inactive, pending or firing");
const PAGE_NAME: Parameter = required("page", Kind::Text, "a page's name, such as query");
const FILE: Parameter = required("file", Kind::Text, "a file's name, as the document has it");
const POOL: Parameter = optional("scrapePool", Kind::Text, "of this scrape job only");

const SELECTED: &[Parameter] = &[MATCH, START, END, LIMIT, PARTIAL];
const SEARCHED: &[Parameter] = &[
    MATCH,
    START,
    END,
    optional("search[]", Kind::Texts, "texts of which one must fit"),
    optional("fuzz_alg", Kind::Text, "subsequence or jarowinkler"),
    optional("fuzz_threshold", Kind::Count, "the least score, 0 to 100"),
    optional("case_sensitive", Kind::Switch, "whether A is not a; true by default"),
    optional("sort_by", Kind::Text, "alpha or score"),
    optional("sort_dir", Kind::Text, "asc or dsc"),
    optional("include_score", Kind::Switch, "say how well each fits"),
    optional("include_metadata", Kind::Switch, "say what is known of each metric"),
    optional("label", Kind::Text, "whose values are searched, of label_values"),
    optional("limit", Kind::Count, "the most rows, 100 by default"),
    optional("batch_size", Kind::Count, "rows of a line, 100 by default"),
];
const EVERY: &[Parameter] = &[];

/// Every operation, in the order of the table of who may do what.
pub const OPERATIONS: &[Operation] = &[
    get(&access::PAGE, "the document that all pages are", EVERY).answers(Answer::Page),
    get(&access::PAGES, "the same for a page", &[PAGE_NAME]).answers(Answer::Page),
    get(&access::ASSETS, "a file that the document loads", &[FILE]).answers(Answer::Text),
    get(&access::HEALTHY, "whether the process lives", EVERY).answers(Answer::Text),
    get(&access::READY, "whether it answers queries and takes samples", EVERY)
        .answers(Answer::Text),
    get(&access::RELOAD, "read the configuration again", EVERY).answers(Answer::Text),
    get(&access::QUIT, "stop the process", EVERY).answers(Answer::Text),
    get(&access::METRICS, "metrics of the process", EVERY).answers(Answer::Text),
    get(&access::METRICS_NODE, "metrics of the machine", EVERY).answers(Answer::Text),
    get(
        &access::QUERY,
        "evaluate an expression at one time",
        &[
            QUERY,
            optional("time", Kind::Time, "when; now by default"),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
            EXPLAIN,
            CONSISTENCY,
            PARTIAL,
        ],
    ),
    get(
        &access::QUERY_RANGE,
        "evaluate an expression over a range of time",
        &[
            QUERY,
            required("start", Kind::Time, "the first step"),
            required("end", Kind::Time, "the last time"),
            required("step", Kind::Duration, "between two steps"),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
            EXPLAIN,
            CONSISTENCY,
            PARTIAL,
        ],
    ),
    get(
        &access::QUERY_EXEMPLARS,
        "exemplars of the series that an expression selects",
        &[QUERY, START, END, PARTIAL],
    ),
    get(&access::FORMAT_QUERY, "lay an expression out over lines", &[QUERY]),
    get(&access::PARSE_QUERY, "the syntax tree of an expression", &[QUERY]),
    get(
        &access::METADATA,
        "what is known of metric families",
        &[
            METRIC,
            LIMIT,
            optional("limit_per_metric", Kind::Count, "the most rows of each"),
            PARTIAL,
        ],
    ),
    get(&access::FEDERATE, "the newest samples, for another Prometheus", &[MATCH])
        .answers(Answer::Pages),
    get(&access::VERSION, "which version answers", EVERY).answers(Answer::Bare),
    get(
        &access::SERIES,
        "label sets of series",
        &[required("match[]", Kind::Texts, "series selectors"), START, END, LIMIT, PARTIAL],
    ),
    get(&access::LABELS, "names of labels", SELECTED),
    get(&access::LABEL_VALUES, "values of a label", &[NAME, MATCH, START, END, LIMIT, PARTIAL]),
    get(&access::SEARCH_METRIC_NAMES, "metrics' names, found as they are typed", SEARCHED)
        .answers(Answer::Lines),
    get(&access::SEARCH_LABEL_NAMES, "labels' names, found as they are typed", SEARCHED)
        .answers(Answer::Lines),
    get(&access::SEARCH_LABEL_VALUES, "values of a label, found as they are typed", SEARCHED)
        .answers(Answer::Lines),
    get(
        &access::TARGETS,
        "scrape targets",
        &[optional("state", Kind::Text, "active, dropped or any"), POOL],
    ),
    get(
        &access::TARGETS_METADATA,
        "what targets said of their metric families",
        &[optional("match_target", Kind::Text, "a selector of targets' labels"), METRIC, LIMIT],
    ),
    get(
        &access::TARGETS_RELABEL_STEPS,
        "what the rules of a scrape job make of labels",
        &[
            required("scrapePool", Kind::Text, "its name"),
            required("labels", Kind::Text, "labels by name, as JSON"),
        ],
    ),
    get(&access::SCRAPE_POOLS, "names of scrape jobs", EVERY),
    get(
        &access::SCRAPE_POOLS_CONFIG,
        "the configuration of a scrape job",
        &[required("scrapePool", Kind::Text, "its name")],
    ),
    get(&access::ALERTMANAGERS, "where alerts are sent", EVERY),
    get(&access::NOTIFICATIONS, "what people should know of the process", EVERY),
    get(&access::NOTIFICATIONS_LIVE, "the same as events, as it changes", EVERY)
        .answers(Answer::Events),
    get(&access::FEATURES, "what clients may use", EVERY),
    get(
        &access::OPENAPI,
        "this description",
        &[optional("openapi_version", Kind::Text, "3.1 or 3.2")],
    )
    .answers(Answer::Yaml),
    get(
        &access::RULES,
        "rule groups",
        &[
            optional("type", Kind::Text, "alert or record"),
            optional("rule_name[]", Kind::Texts, "of these rules only"),
            optional("rule_group[]", Kind::Texts, "of these groups only"),
            optional("file[]", Kind::Texts, "of these files only"),
            optional("match[]", Kind::Texts, "selectors of rules' labels"),
            STATE,
            optional("exclude_alerts", Kind::Switch, "leave the alerts out"),
            optional("group_limit", Kind::Count, "the most groups"),
            optional("group_next_token", Kind::Text, "which group to begin with"),
        ],
    ),
    get(&access::ALERTS, "active alerts", &[STATE]),
    get(&access::STATUS_BUILDINFO, "which version answers", EVERY),
    get(&access::STATUS_RUNTIMEINFO, "how the process runs", EVERY),
    get(&access::STATUS_CONFIG, "the scrape configuration", EVERY),
    get(&access::STATUS_FLAGS, "the flags of the process", EVERY),
    get(&access::STATUS_WALREPLAY, "how far the log was read again", EVERY),
    get(
        &access::STATUS_SELF_METRICS,
        "metrics of the process, as JSON",
        &[optional("metric_name_pattern", Kind::Text, "a regular expression for whole names")],
    ),
    get(
        &access::STATUS_TSDB,
        "what makes the cluster big",
        &[optional("limit", Kind::Count, "rows of each list, 10 by default"), PARTIAL],
    ),
    get(&access::STATUS_TSDB_BLOCKS, "blocks, of which there are none", EVERY),
    get(&access::STATUS_QUERIES, "queries under way in this process", EVERY),
    get(&access::STATUS_CLUSTER, "nodes, shards, leaders and lag", EVERY),
    get(&access::READ, "remote read", EVERY)
        .takes("application/x-protobuf")
        .answers(Answer::Streamed),
    get(&access::WRITE, "remote write", EVERY)
        .takes("application/x-protobuf")
        .answers(Answer::Nothing),
    get(&access::IMPORT, "samples in the text format, of any age", EVERY)
        .takes("text/plain")
        .answers(Answer::Nothing),
    get(&access::OTLP_METRICS, "OpenTelemetry's metrics", EVERY)
        .takes("application/x-protobuf")
        .answers(Answer::Protobuf),
    get(
        &access::OBJECTS,
        "config objects, secrets masked",
        &[
            optional("kind", Kind::Texts, "kinds by any of their names; all by default"),
            optional("namespace", Kind::Text, "all of them by default"),
            optional("name", Kind::Text, "all of them by default"),
            optional("selector", Kind::Text, "labels as a=b,c=d"),
        ],
    ),
    get(
        &access::OBJECTS_HISTORY,
        "what was changed of config objects, when and by whom",
        &[
            optional("kind", Kind::Text, "a kind by any of its names; all by default"),
            optional("namespace", Kind::Text, "all of them by default"),
            optional("name", Kind::Text, "all of them by default"),
        ],
    ),
    get(
        &access::OBJECTS_APPLY,
        "bring config objects into the state that documents say",
        &[
            optional("namespace", Kind::Text, "of objects that name none"),
            optional("dryRun", Kind::Switch, "change nothing"),
        ],
    )
    .takes("application/yaml"),
    get(
        &access::OBJECTS_DELETE,
        "delete a config object",
        &[
            required("kind", Kind::Text, "a kind by any of its names"),
            optional("namespace", Kind::Text, "default by default"),
            required("name", Kind::Text, "the object's name"),
            optional("dryRun", Kind::Switch, "change nothing"),
        ],
    ),
    get(
        &access::ADMIN_KILL_QUERY,
        "end a query",
        &[required("id", Kind::Count, "of /api/v1/status/queries")],
    )
    .answers(Answer::Nothing),
    get(&access::ADMIN_SETTLE, "bring what is in memory to disk in its final form", EVERY)
        .answers(Answer::Nothing),
    get(
        &access::ADMIN_DELETE_SERIES,
        "delete samples of series",
        &[required("match[]", Kind::Texts, "series selectors"), START, END],
    )
    .answers(Answer::Nothing),
    get(&access::ADMIN_CLEAN_TOMBSTONES, "take what was deleted out of the files", EVERY)
        .answers(Answer::Nothing),
    get(&access::ADMIN_SNAPSHOT, "take a snapshot of every node", EVERY),
    get(&access::ADMIN_DIGESTS, "compare what the replicas of each shard hold", EVERY),
];
