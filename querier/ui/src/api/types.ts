// Answers of the HTTP API, as far as the pages read them.

export type LabelSet = Readonly<Record<string, string>>;

/** Unix seconds and a number's text. */
export type Point = [number, string];

/** How a bucket's boundaries belong to it, the boundaries, and its count. */
export type Bucket = [0 | 1 | 2 | 3, string, string, string];

export interface Histogram {
  count: string;
  sum: string;
  buckets?: Bucket[];
}

export interface VectorSeries {
  metric: LabelSet;
  value?: Point;
  histogram?: [number, Histogram];
}

export interface MatrixSeries {
  metric: LabelSet;
  values?: Point[];
  histograms?: [number, Histogram][];
}

export type QueryResult =
  | { resultType: "vector"; result: VectorSeries[] }
  | { resultType: "matrix"; result: MatrixSeries[] }
  | { resultType: "scalar" | "string"; result: Point };

export interface QueryStats {
  timings: {
    evalTotalTime: number;
    queryPreparationTime: number;
    execQueueTime: number;
    execTotalTime: number;
  };
  samples: { samplesRead: number; peakSamples: number };
}

export interface ShardAnswer {
  shard: number;
  bytes: number;
  series: number;
  samplesRead: number;
  seconds: number;
}

export interface Fragment {
  query: string;
  kind: "evaluate" | "aggregate" | "absent" | "samples";
  start: number;
  end: number;
  step: number;
  shardsPruned: number;
  shards: ShardAnswer[];
}

export interface Piece {
  start: number;
  end: number;
  step: number;
  /** Whether samples were gathered and evaluated by the querier. */
  gathered: boolean;
  fragments: Fragment[];
  finishedInSeconds: number;
}

export interface Explanation {
  shards: number;
  pieces: Piece[];
}

export type QueryData = QueryResult & { stats?: QueryStats; explain?: Explanation };

interface SelectorNode {
  name: string;
  matchers: { name: string; type: string; value: string }[];
  offset: number;
  timestamp: number | null;
  startOrEnd: "start" | "end" | null;
}

/** A node of an expression's syntax tree. */
export type ExprNode =
  | { type: "numberLiteral" | "stringLiteral"; val: string }
  | ({ type: "vectorSelector" } & SelectorNode)
  | ({ type: "matrixSelector"; range: number } & SelectorNode)
  | { type: "subquery"; expr: ExprNode; range: number; step: number }
  | { type: "unaryExpr"; op: string; expr: ExprNode }
  | { type: "parenExpr"; expr: ExprNode }
  | {
      type: "aggregation";
      op: string;
      expr: ExprNode;
      param: ExprNode | null;
      grouping: string[];
      without: boolean;
    }
  | { type: "call"; func: { name: string }; args: ExprNode[] }
  | {
      type: "binaryExpr";
      op: string;
      lhs: ExprNode;
      rhs: ExprNode;
      bool: boolean;
      matching: { card: string; labels: string[]; on: boolean; include: string[] } | null;
    };

export interface Target {
  discoveredLabels: LabelSet;
  labels: LabelSet;
  scrapePool: string;
  scrapeUrl: string;
  lastError: string;
  lastScrape: string;
  /** Seconds. */
  lastScrapeDuration: number;
  health: "up" | "down" | "unknown";
  scrapeInterval: string;
  scrapeTimeout: string;
}

export interface DroppedTarget {
  discoveredLabels: LabelSet;
  scrapePool?: string;
}

export interface Targets {
  activeTargets: Target[];
  droppedTargets: DroppedTarget[];
  droppedTargetCounts: Record<string, number>;
}

export type AlertState = "inactive" | "pending" | "firing";

export interface Alert {
  labels: LabelSet;
  annotations: LabelSet;
  state: AlertState;
  activeAt?: string;
  keepFiringSince?: string;
  value: string;
}

interface RuleBase {
  name: string;
  query: string;
  labels?: LabelSet;
  health: "ok" | "err" | "unknown";
  lastError?: string;
  lastEvaluation: string;
  /** Seconds. */
  evaluationTime: number;
}

export interface AlertingRule extends RuleBase {
  type: "alerting";
  state: AlertState;
  /** Seconds. */
  duration: number;
  keepFiringFor?: number;
  annotations?: LabelSet;
  alerts: Alert[];
}

export type Rule = AlertingRule | (RuleBase & { type: "recording" });

export interface RuleGroup {
  name: string;
  file: string;
  /** Seconds. */
  interval: number;
  rules: Rule[];
  lastEvaluation: string;
  /** Seconds. */
  evaluationTime: number;
}

export interface CountRow {
  name: string;
  value: number;
}

export interface TsdbStatus {
  headStats: {
    numSeries: number;
    numLabelPairs: number;
    chunkCount: number;
    minTime: number;
    maxTime: number;
  };
  seriesCountByMetricName: CountRow[];
  labelValueCountByLabelName: CountRow[];
  memoryInBytesByLabelName: CountRow[];
  seriesCountByLabelValuePair: CountRow[];
}

export interface RuntimeInfo {
  startTime: string;
  CWD: string;
  hostname: string;
  serverTime: string;
  reloadConfigSuccess: boolean;
  lastConfigTime: string;
  GOMAXPROCS: number;
  storageRetention: string;
}

export interface BuildInfo {
  version: string;
  application: string;
  applicationVersion: string;
}

export interface ClusterNode {
  id: number;
  name: string;
  address: string;
  webAddress: string;
  zone: string;
  version: string;
  state: "active" | "draining";
  reachable: boolean;
  error: string;
  diskProblem: string;
}

export interface Replica {
  node: number;
  matchIndex: number;
  appliedIndex: number | null;
  lagEntries: number | null;
}

export interface Group {
  id: number;
  /** 0: nobody is known to lead. */
  leader: number;
  term: number;
  commitIndex: number;
  activeSeries: number;
  replicas: Replica[];
}

export interface Epoch {
  /** The first sample's time that it covers. */
  begins: string;
  current: boolean;
  /** The part of all routing keys that falls to each shard. */
  shares: { shard: number; share: number }[];
}

export interface Moves {
  /** Why it is not known; empty: it is. */
  error: string;
  /** Why nothing is moved now; empty while something is. */
  state: string;
  underWay: { shard: number; add: number | null; remove: number | null }[];
  /** The newest first. */
  decided: { time: string; what: string; why: string }[];
}

export interface ClusterStatus {
  clusterId: string;
  revision: number;
  replicationFactor: number;
  nodes: ClusterNode[];
  config: { problem: string; loaded: string; inactiveSections: string[] };
  control: Group;
  shards: Group[];
  ring: Epoch[];
  moves: Moves;
}

export interface ActiveQuery {
  id: number;
  query: string;
  user: string;
  state: "running" | "waiting";
  began: string;
  seconds: number;
  start?: number;
  end?: number;
  step?: number;
}

export interface Metadata {
  type: string;
  help: string;
  unit: string;
}

export interface ExemplarSeries {
  seriesLabels: LabelSet;
  exemplars: { labels: LabelSet; value: string; timestamp: number }[];
}
