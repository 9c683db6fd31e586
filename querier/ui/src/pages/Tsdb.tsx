import { NativeSelect } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";

import type { CountRow, TsdbStatus } from "../api/types";
import { useResource } from "../api/useResource";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { bytes, grouped } from "../lib/numbers";
import { encodePanels, newPanel } from "../lib/panels";
import { formatTime } from "../lib/time";

/** What makes the cluster big, over all its shards. */
export default function TsdbPage() {
  const [limit, setLimit] = useState("10");
  const status = useResource<TsdbStatus>("status/tsdb", { limit });
  const tools = (
    <NativeSelect
      size="xs"
      aria-label="Rows of each list"
      value={limit}
      onChange={(event) => setLimit(event.currentTarget.value)}
      data={["10", "50", "200", "1000"].map((rows) => ({ value: rows, label: `${rows} rows` }))}
    />
  );
  return (
    <Page title="TSDB status" tools={tools}>
      <Loaded of={status}>
        {(status) =>
          status.headStats.numSeries === 0 ? <Empty>No shard has a series yet.</Empty> : <Figures status={status} />
        }
      </Loaded>
    </Page>
  );
}

function Figures({ status }: { status: TsdbStatus }) {
  const { isLocalTime } = useSettings();
  const { numSeries, numLabelPairs, chunkCount, minTime, maxTime } = status.headStats;
  const figures: [string, string][] = [
    ["Series", grouped(numSeries)],
    ["Chunks", grouped(chunkCount)],
    ["Label pairs", grouped(numLabelPairs)],
  ];
  return (
    <>
      <div className="cards">
        {figures.map(([name, text]) => (
          <div className="card card-body" key={name}>
            <div className="dim">{name}</div>
            <div className="figure">{text}</div>
          </div>
        ))}
      </div>
      <div className="dim">
        Samples in memory are from {formatTime(minTime, isLocalTime)} to{" "}
        {formatTime(maxTime, isLocalTime)}.
      </div>
      <div className="halves">
        <Rows title="Metrics with most series" rows={status.seriesCountByMetricName} format={grouped} of={metricLink} />
        <Rows title="Labels with most values" rows={status.labelValueCountByLabelName} format={grouped} of={labelLink} />
        <Rows title="Labels with most bytes" rows={status.memoryInBytesByLabelName} format={bytes} of={labelLink} />
        <Rows title="Label pairs with most series" rows={status.seriesCountByLabelValuePair} format={grouped} of={pairLink} />
      </div>
    </>
  );
}

const quoted = (text: string) => JSON.stringify(text);
const metricLink = (name: string) => `count({__name__=${quoted(name)}})`;
const labelLink = (name: string) => `topk(20, count by (${quoted(name)}) ({${quoted(name)}!=""}))`;
const pairLink = (pair: string) => {
  const at = pair.indexOf("=");
  return `topk(20, count by (__name__) ({${quoted(pair.slice(0, at))}=${quoted(pair.slice(at + 1))}}))`;
};

interface RowsProps {
  title: string;
  rows: CountRow[];
  format: (value: number) => string;
  /** The expression that shows more of a row. */
  of: (name: string) => string;
}

function Rows({ title, rows, format, of }: RowsProps) {
  const most = Math.max(1, ...rows.map(({ value }) => value));
  return (
    <section className="card">
      <div className="card-head">
        <h2>{title}</h2>
      </div>
      <Scroll label={title}>
        <table className="table">
          <tbody>
            {rows.map(({ name, value }) => (
              <tr key={name}>
                <td className="wide">
                  <Link href={`/query?${encodePanels([newPanel(of(name))])}`}>
                    <code>{name}</code>
                  </Link>
                </td>
                <td className="num">{format(value)}</td>
                <td>
                  <div className="bar">
                    <span style={{ width: `${(value / most) * 100}%` }} />
                  </div>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
