// Answers that stand in for a server's.

const NEVER = "0001-01-01T00:00:00Z";
const GROUP = { id: 0, leader: 0, term: 0, commitIndex: 0, activeSeries: 0, replicas: [] };
const NOTHING = { resultType: "vector", result: [] };

/** What a server answers that has nothing. */
export const EMPTY = {
  query: NOTHING,
  query_range: { resultType: "matrix", result: [] },
  query_exemplars: [],
  parse_query: { type: "vectorSelector", name: "up", matchers: [], offset: 0, timestamp: null, startOrEnd: null },
  labels: [],
  series: [],
  metadata: {},
  "label/__name__/values": [],
  targets: { activeTargets: [], droppedTargets: [], droppedTargetCounts: {} },
  scrape_pools: { scrapePools: [] },
  rules: { groups: [] },
  "status/cluster": {
    clusterId: "",
    revision: 0,
    replicationFactor: 0,
    nodes: [],
    config: { problem: "", loaded: NEVER, inactiveSections: [] },
    control: GROUP,
    shards: [],
    ring: [],
    moves: { error: "", state: "", underWay: [], decided: [] },
  },
  "status/tsdb": {
    headStats: { numSeries: 0, numLabelPairs: 0, chunkCount: 0, minTime: 0, maxTime: 0 },
    seriesCountByMetricName: [],
    labelValueCountByLabelName: [],
    memoryInBytesByLabelName: [],
    seriesCountByLabelValuePair: [],
  },
  "status/queries": { queries: [] },
  "status/runtimeinfo": {
    startTime: NEVER,
    CWD: "/",
    hostname: "h",
    serverTime: NEVER,
    reloadConfigSuccess: true,
    lastConfigTime: NEVER,
    GOMAXPROCS: 1,
    storageRetention: "15d",
  },
  "status/buildinfo": { version: "3.0.0", application: "narthex", applicationVersion: "0" },
  "status/flags": {},
  "status/config": { yaml: "" },
};

export const FAILURE = { status: "error", errorType: "unavailable", error: "made to fail" };

const evaluated = { lastEvaluation: "2026-01-01T00:00:00Z", evaluationTime: 0.0012 };

/** A group in the form of Prometheus's API. */
export const RULES = [
  {
    name: "hosts",
    file: "/etc/rules/hosts.yml",
    interval: 30,
    ...evaluated,
    rules: [
      {
        type: "alerting",
        name: "InstanceDown",
        query: "up == 0",
        duration: 300,
        keepFiringFor: 0,
        labels: { severity: "page" },
        annotations: { summary: "{{ $labels.instance }} is down" },
        health: "ok",
        state: "firing",
        ...evaluated,
        alerts: [
          {
            labels: { alertname: "InstanceDown", instance: "a:9100", job: "node", severity: "page" },
            annotations: { summary: "a:9100 is down" },
            state: "firing",
            activeAt: "2026-01-01T00:00:00Z",
            value: "0e+00",
          },
        ],
      },
      {
        type: "alerting",
        name: "DiskFull",
        query: "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.05",
        duration: 0,
        health: "ok",
        state: "inactive",
        alerts: [],
        ...evaluated,
      },
      {
        type: "recording",
        name: "job:up:sum",
        query: "sum by (job) (up)",
        health: "err",
        lastError: "query timed out",
        ...evaluated,
      },
    ],
  },
];
