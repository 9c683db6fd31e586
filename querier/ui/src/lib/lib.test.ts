import { describe, expect, it, test } from "vitest";

import type { ExprNode, Explanation, QueryStats } from "../api/types";
import { align, stack, stepTimes } from "./chart";
import { formatDuration, formatSeconds, parseDuration } from "./duration";
import { heatmap } from "./heatmap";
import { withQuery } from "./history";
import { formatSeries, matches } from "./labels";
import { parseSample, short } from "./numbers";
import { decodePanels, encodePanels, newPanel, stepOf } from "./panels";
import { phases, sums } from "./plan";
import { frame, locateError, locateRemark } from "./positions";
import { extend, NO_TAIL } from "./tail";
import { ago, formatUtc, parseUtc, tick } from "./time";
import { namesIn, treeOf } from "./tree";

describe("durations", () => {
  test.each([
    ["1h30m", 5_400_000],
    ["1d", 86_400_000],
    ["5m", 300_000],
    ["90", 90_000],
    ["1w2d3h4m5s6ms", 7 * 86_400_000 + 2 * 86_400_000 + 11_045_006],
  ])("%s is read", (text, millis) => expect(parseDuration(text)).toBe(millis));

  test.each(["", "0", "0s", "m5", "5m1h", "1.5h", "-5m", "5 m", "x"])("%j is none", (text) =>
    expect(parseDuration(text)).toBeNull(),
  );

  it("what is written is read again", () => {
    for (let millis = 1; millis < 4e12; millis = Math.ceil(millis * 1.37)) {
      expect(parseDuration(formatDuration(millis))).toBe(millis);
    }
    expect(formatDuration(7 * 86_400_000)).toBe("1w");
    expect(formatDuration(8 * 86_400_000)).toBe("8d");
  });

  it("short times have fitting units", () => {
    expect([0, 0.0000123, 0.0123, 1.5, 7200].map(formatSeconds)).toEqual([
      "0 s",
      "12 µs",
      "12.3 ms",
      "1.50 s",
      "2h",
    ]);
  });
});

describe("times", () => {
  it("links carry UTC", () => {
    const millis = Date.UTC(2026, 0, 31, 12, 30, 5);
    expect(formatUtc(millis)).toBe("2026-01-31 12:30:05");
    expect(parseUtc("2026-01-31 12:30:05")).toBe(millis);
    expect(parseUtc("2026-01-31T12:30:05Z")).toBe(millis);
    expect(parseUtc(String(millis / 1000))).toBe(millis);
    expect(parseUtc("soon")).toBeNull();
  });

  it("how long ago is worded by size", () => {
    const now = Date.UTC(2026, 0, 1);
    const before = (seconds: number) => ago(new Date(now - seconds * 1000).toISOString(), now);
    expect([1.5, 600, 7200, 4 * 86_400].map(before)).toEqual([
      "1.5 s ago",
      "10 min ago",
      "2 h ago",
      "4 days ago",
    ]);
    expect(ago("0001-01-01T00:00:00Z", now)).toBe("never");
  });

  it("ticks tell as much as their span needs", () => {
    expect(tick(3600, 600, false)).toBe("01:00:00");
    expect(tick(3600, 7200, false)).toBe("01:00");
    expect(tick(3600, 2 * 86_400, false)).toBe("01-01 01:00");
    expect(tick(3600, 30 * 86_400, false)).toBe("01-01");
  });
});

describe("numbers", () => {
  it("are short", () => {
    expect([0, 1234567, 0.5, -2500, 1e-7, NaN, -Infinity].map(short)).toEqual([
      "0",
      "1.235M",
      "0.5",
      "-2.5k",
      "1.00e-7",
      "NaN",
      "-Inf",
    ]);
  });

  it("are read from samples", () => {
    expect(["1e+21", "+Inf", "-Inf", "NaN"].map(parseSample)).toEqual([1e21, Infinity, -Infinity, NaN]);
  });
});

describe("series", () => {
  it("are written as selectors", () => {
    expect(formatSeries({ __name__: "up", job: 'a"b' })).toBe('up{job="a\\"b"}');
    expect(formatSeries({ __name__: "up" })).toBe("up");
    expect(formatSeries({})).toBe("{}");
    expect(formatSeries({ __name__: "my.metric", "x.y": "z" })).toBe('{"my.metric", "x.y"="z"}');
  });

  it("are searched by words", () => {
    expect(matches("Node 9100", "http://node:9100")).toBe(true);
    expect(matches("node 9200", "http://node:9100")).toBe(false);
    expect(matches("", "x")).toBe(true);
  });
});

describe("links", () => {
  it("of version 3 are kept as they are", () => {
    const link =
      "g0.expr=up&g0.show_tree=1&g0.tab=graph&g0.end_input=2026-01-31+12%3A00%3A00" +
      "&g0.moment_input=2026-01-31+12%3A00%3A00&g0.range_input=2h&g0.res_type=fixed&g0.res_step=15" +
      "&g0.display_mode=stacked&g0.y_axis_min=0&g0.show_exemplars=0" +
      "&g1.expr=1&g1.show_tree=0&g1.tab=explain&g1.range_input=1h&g1.res_type=auto" +
      "&g1.res_density=high&g1.display_mode=heatmap&g1.show_exemplars=1";
    expect(encodePanels(decodePanels(link))).toBe(link);
  });

  it("of version 2 are understood", () => {
    const [panel] = decodePanels("g0.expr=up&g0.tab=0&g0.stacked=1&g0.range_input=30m&g0.step_input=10");
    expect(panel).toMatchObject({ tab: "graph", displayMode: "stacked", range: 1_800_000 });
    expect(panel?.resolution).toEqual({ type: "custom", step: 10_000 });
    expect(decodePanels("g0.expr=up&g0.tab=1")[0]?.tab).toBe("table");
  });

  it("that make no sense fall back", () => {
    const [panel] = decodePanels(
      "g0.expr=up&g0.tab=x&g0.range_input=x&g0.end_input=x&g0.res_type=fixed&g0.res_step=-1&g0.y_axis_min=x",
    );
    expect(panel).toEqual({ ...newPanel("up"), id: panel?.id });
    expect(decodePanels("g1.expr=up")).toEqual([]);
    const many = Array.from({ length: 99 }, (_, at) => `g${at}.expr=up`).join("&");
    expect(decodePanels(many)).toHaveLength(50);
  });

  it("never ask for more points than the server gives", () => {
    const year = 365 * 86_400_000;
    const panel = { ...newPanel("up"), range: year, resolution: { type: "custom", step: 1 } } as const;
    expect(year / stepOf(panel)).toBeLessThanOrEqual(11_000);
    expect(stepOf({ ...newPanel("up"), range: 60_000 })).toBe(1000);
    expect(stepOf(newPanel("up"))).toBe(14_400);
  });
});

describe("remarks", () => {
  const expr = "up +\n  räte(up)";

  it("are placed in the expression", () => {
    const error = 'invalid parameter "query": 2:9: parse error: unexpected end';
    expect(locateError(error, expr)).toMatchObject({ text: "unexpected end", line: 2, column: 9 });
    const offset = locateError(error, expr).offset ?? -1;
    expect(expr.slice(offset)).toBe("(up)".slice(1));
    expect(frame(expr, offset)).toEqual({ line: "  räte(up)", caret: 7 });
    const info = locateRemark("PromQL info: might not be a counter (1:1)", expr);
    expect(info).toMatchObject({ text: "PromQL info: might not be a counter", offset: 0 });
  });

  it("without a place are whole", () => {
    expect(locateError("query timed out", expr)).toMatchObject({ text: "query timed out", offset: null });
    expect(locateRemark("shard 1 is missing", expr).offset).toBeNull();
    expect(locateError("9:1: parse error: x", expr).offset).toBeNull();
  });
});

describe("heatmaps", () => {
  it("take cumulative buckets apart, added up over series", () => {
    const bucket = (le: string, instance: string, count: string) => ({
      metric: { le, instance },
      values: [[60, count]] as [number, string][],
    });
    const map = heatmap([
      bucket("+Inf", "a", "10"),
      bucket("1", "a", "4"),
      bucket("2", "a", "7"),
      bucket("1", "b", "1"),
      bucket("2", "b", "1"),
      bucket("+Inf", "b", "1"),
    ]);
    expect(map).toEqual({ times: [60], bounds: [-Infinity, 1, 2, Infinity], cells: [[5, 3, 3]], most: 5 });
  });

  it("spread buckets over the rows they reach over", () => {
    const map = heatmap([
      {
        metric: {},
        histograms: [
          [0, { count: "3", sum: "3", buckets: [[0, "1", "2", "1"], [0, "2", "4", "2"]] }],
          [60, { count: "4", sum: "9", buckets: [[0, "1", "4", "4"]] }],
        ],
      },
    ]);
    expect(map).toEqual({ times: [0, 60], bounds: [1, 2, 4], cells: [[1, 2], [2, 2]], most: 2 });
  });

  it("need histograms, and bear empty and broken ones", () => {
    expect(heatmap([{ metric: { job: "a" }, values: [[0, "1"]] }])).toBeNull();
    expect(heatmap([{ metric: { le: "x" }, values: [[0, "1"]] }])?.cells).toEqual([]);
    const falling = heatmap([
      { metric: { le: "1" }, values: [[0, "5"]] },
      { metric: { le: "2" }, values: [[0, "3"]] },
    ]);
    expect(falling?.cells).toEqual([[5, 0]]);
  });

  it("have a bounded number of rows", () => {
    const series = Array.from({ length: 2000 }, (_, at) => ({
      metric: { le: String(at) },
      values: [[0, String(at)]] as [number, string][],
    }));
    expect(heatmap(series)?.bounds.length).toBeLessThanOrEqual(402);
  });
});

describe("charts", () => {
  it("have a place for each step", () => {
    expect(stepTimes(10, 20, 5)).toEqual([10, 15, 20]);
    const values: [number, string][] = [[10, "1"], [20, "+Inf"], [25, "9"]];
    expect(align({ metric: {}, values }, 10, 5, 3)).toEqual([1, null, null]);
  });

  it("are stacked without what is hidden", () => {
    const columns = [[1, 2], [10, null], [100, 200]];
    expect(stack(columns, (at) => at !== 0)).toEqual([[null, null], [10, null], [110, 200]]);
  });
});

describe("plans", () => {
  const told = (shard: number, seconds: number) => ({ shard, bytes: 10, series: 2, samplesRead: 5, seconds });
  const fragment = {
    query: "sum(up)",
    kind: "aggregate",
    start: 0,
    end: 0,
    step: 0,
    shardsPruned: 0,
    shards: [told(0, 0.1), told(1, 0.3)],
  } as const;

  it("add up what shards did", () => {
    const total = { bytes: 20, series: 4, samplesRead: 10, seconds: 0.3, slowest: 1 };
    expect(sums({ ...fragment, shards: [...fragment.shards] })).toEqual(total);
    expect(sums({ ...fragment, shards: [] }).slowest).toBeNull();
  });

  it("tell where time went", () => {
    const piece = { start: 0, end: 0, step: 0, gathered: false, fragments: [], finishedInSeconds: 0.2 };
    const explanation: Explanation = { shards: 2, pieces: [piece] };
    const timings = { execQueueTime: 0.1, queryPreparationTime: 0.1, evalTotalTime: 0.5, execTotalTime: 0.7 };
    const stats: QueryStats = { timings, samples: { samplesRead: 0, peakSamples: 0 } };
    const seconds = phases(explanation, stats).map((phase) => phase.seconds);
    expect(seconds).toEqual([0.1, 0.1, 0.3, 0.2]);
  });
});

describe("trees", () => {
  const up: ExprNode = {
    type: "matrixSelector",
    name: "up",
    matchers: [
      { name: "__name__", type: "=", value: "up" },
      { name: "job", type: "=~", value: "a|b" },
    ],
    range: 300_000,
    offset: -60_000,
    timestamp: null,
    startOrEnd: "end",
  };
  const rate: ExprNode = { type: "call", func: { name: "rate" }, args: [up] };
  const sum: ExprNode = { type: "aggregation", op: "sum", expr: rate, param: null, grouping: ["job"], without: false };
  const matching = { card: "many-to-one", labels: ["job"], on: true, include: ["x"] };
  const binary: ExprNode = { type: "binaryExpr", op: "/", lhs: sum, rhs: sum, bool: false, matching };

  it("are written node by node", () => {
    const tree = treeOf(binary);
    expect(tree.text).toBe("/ on(job) group_left(x)");
    expect(tree.children[0]?.text).toBe("sum by(job)");
    expect(tree.children[0]?.children[0]?.children[0]?.text).toBe(
      'up{job=~"a|b"}[5m] @ end() offset -1m',
    );
  });

  it("name the functions they use", () => expect([...namesIn(binary)]).toEqual(["sum", "rate"]));
});

describe("history and tail", () => {
  it("keeps what was run once, the newest first", () => {
    expect(withQuery(["a", "b"], " b ")).toEqual(["b", "a"]);
    expect(withQuery(["a"], "  ")).toEqual(["a"]);
    const many = Array.from({ length: 60 }, (_, at) => String(at));
    expect(withQuery(many, "x")).toHaveLength(50);
  });

  it("shows each sample once", () => {
    const look = (values: [number, string][]) => [{ metric: { __name__: "up" }, values }];
    const first = extend(NO_TAIL, look([[1, "1"], [2, "2"]]));
    const second = extend(first, look([[2, "2"], [3, "3"]]));
    expect(second.samples.map(({ text }) => text)).toEqual(["3", "2", "1"]);
    expect(extend(second, look([[3, "3"]]))).toBe(second);
  });
});
