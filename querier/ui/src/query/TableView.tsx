import { Button } from "@mantine/core";
import { useEffect, useState } from "react";

import type { Histogram, MatrixSeries, QueryData, VectorSeries } from "../api/types";
import { Series } from "../components/Labels";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { formatTime } from "../lib/time";
import { HistogramBars } from "./HistogramBars";
import type { ViewProps } from "./Panel";
import { Remarks } from "./Remarks";
import { Summary } from "./Summary";
import { TimeInput } from "./TimeInput";
import { useRun } from "./useRun";

/** Rows that are shown at first; more would make the page slow. */
const ROWS_AT_FIRST = 500;
/** How far the arrows of the time move. */
const STRIDE = 3_600_000;

/** An instant query's answer. */
export function TableView({ panel, onChange, runs, onSelect, onRunning }: ViewProps) {
  const time = panel.endTime === null ? undefined : panel.endTime / 1000;
  const params = panel.expr === "" ? null : { query: panel.expr, time, stats: true };
  const run = useRun<QueryData>("query", params, runs);
  useEffect(() => onRunning(run.isRunning), [run.isRunning, onRunning]);
  return (
    <>
      <div className="controls">
        <TimeInput
          label="Evaluation time"
          value={panel.endTime}
          onChange={(endTime) => onChange({ endTime })}
          stride={STRIDE}
        />
      </div>
      <Remarks expr={panel.expr} error={run.error} answer={run.answer} onSelect={onSelect} />
      <Summary run={run} />
      {run.answer && <Result data={run.answer.data} />}
      {!run.answer && !run.error && !run.isRunning && (
        <div className="empty">Type an expression and run it.</div>
      )}
    </>
  );
}

function Result({ data }: { data: QueryData }) {
  const [isAll, setAll] = useState(false);
  const { isLocalTime } = useSettings();
  if (data.resultType === "scalar" || data.resultType === "string") {
    const [time, text] = data.result;
    return (
      <table className="table">
        <tbody>
          <tr>
            <td>{data.resultType}</td>
            <td className="num" title={formatTime(time * 1000, isLocalTime)}>
              {text}
            </td>
          </tr>
        </tbody>
      </table>
    );
  }
  if (data.result.length === 0) return <div className="empty">The answer is empty.</div>;
  const shown = isAll ? data.result.length : ROWS_AT_FIRST;
  return (
    <Scroll label="Series and values">
      <table className="table">
        <thead>
          <tr>
            <th>Series</th>
            <th className="num">Value</th>
          </tr>
        </thead>
        <tbody>
          {data.resultType === "vector" &&
            data.result.slice(0, shown).map((one, at) => <VectorRow key={at} series={one} />)}
          {data.resultType === "matrix" &&
            data.result.slice(0, shown).map((one, at) => <MatrixRow key={at} series={one} />)}
        </tbody>
      </table>
      {shown < data.result.length && (
        <div className="empty">
          <Button variant="default" onClick={() => setAll(true)}>
            Show all {data.result.length} series
          </Button>
        </div>
      )}
    </Scroll>
  );
}

function VectorRow({ series }: { series: VectorSeries }) {
  const { metric, value, histogram } = series;
  return (
    <tr>
      <td className="wide">
        <Series labels={metric} />
        {histogram && <HistogramBars histogram={histogram[1]} />}
      </td>
      <td className="num mono">{value ? value[1] : histogram && <HistogramText of={histogram[1]} />}</td>
    </tr>
  );
}

function HistogramText({ of }: { of: Histogram }) {
  return (
    <>
      count {of.count}
      <br />
      sum {of.sum}
    </>
  );
}

function MatrixRow({ series }: { series: MatrixSeries }) {
  const { isLocalTime } = useSettings();
  const floats = (series.values ?? []).map(([time, text]): [number, string] => [time, text]);
  const histograms = (series.histograms ?? []).map(([time, one]): [number, string] => [
    time,
    `count ${one.count}, sum ${one.sum}`,
  ]);
  const samples = [...floats, ...histograms].sort(([a], [b]) => a - b);
  return (
    <tr>
      <td className="wide">
        <Series labels={series.metric} />
      </td>
      <td className="num mono">
        {samples.map(([time, text]) => (
          <div key={time}>
            {text} <span className="dim">@ {formatTime(time * 1000, isLocalTime)}</span>
          </div>
        ))}
      </td>
    </tr>
  );
}
