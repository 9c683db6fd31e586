import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useMemo, useState } from "react";

import type { ExemplarSeries, MatrixSeries, QueryData } from "../api/types";
import { align, color, stepTimes } from "../lib/chart";
import { heatmap } from "../lib/heatmap";
import { stepOf, type Panel } from "../lib/panels";
import { GraphControls } from "./GraphControls";
import { HeatmapChart } from "./HeatmapChart";
import { Legend } from "./Legend";
import { LineChart } from "./LineChart";
import type { ViewProps } from "./Panel";
import { Remarks } from "./Remarks";
import { Summary } from "./Summary";
import { useRun } from "./useRun";

/** More lines than these could not be told apart, and would make the page slow. */
const LINES_MAX = 300;

/** The range query of a panel; its end stays where it was until the next run. */
function useRange(panel: Panel, runs: number) {
  const step = stepOf(panel) / 1000;
  const { expr, endTime, range } = panel;
  return useMemo(() => {
    // A run at another time asks for other steps.
    void runs;
    const end = (endTime ?? Date.now()) / 1000;
    return { query: expr, start: end - range / 1000, end, step, stats: true };
  }, [expr, endTime, range, step, runs]);
}

/** A range query's answer as lines, stacked, or as a heatmap. */
export default function GraphView({ panel, onChange, runs, onSelect, onRunning }: ViewProps) {
  const params = useRange(panel, runs);
  const run = useRun<QueryData>("query_range", panel.expr === "" ? null : params, runs);
  const { query, start, end } = params;
  const asksExemplars = panel.showExemplars && panel.expr !== "";
  const exemplars = useRun<ExemplarSeries[]>(
    "query_exemplars",
    asksExemplars ? { query, start, end } : null,
    runs,
  );
  useEffect(() => onRunning(run.isRunning), [run.isRunning, onRunning]);
  const zoom = (from: number, to: number) =>
    onChange({ endTime: Math.round(to * 1000), range: Math.max(1000, Math.round((to - from) * 1000)) });
  const data = run.answer?.data;
  const series = data?.resultType === "matrix" ? data.result : null;
  const asked = run.params as typeof params | null;
  return (
    <>
      <GraphControls panel={panel} onChange={onChange} />
      <Remarks expr={panel.expr} error={run.error} answer={run.answer} onSelect={onSelect} />
      {exemplars.error && (
        <Remarks expr={panel.expr} error={exemplars.error} answer={null} onSelect={onSelect} />
      )}
      <Summary run={run} />
      {series && asked && series.length === 0 && <div className="empty">The answer is empty.</div>}
      {series && asked && series.length > 0 && (
        <Graph
          panel={panel}
          series={series}
          steps={asked}
          exemplars={exemplars.answer?.data ?? []}
          onZoom={zoom}
        />
      )}
      {!run.answer && !run.error && !run.isRunning && (
        <div className="empty">Type an expression and run it.</div>
      )}
    </>
  );
}

interface GraphProps {
  panel: Panel;
  series: MatrixSeries[];
  steps: { start: number; end: number; step: number };
  exemplars: ExemplarSeries[];
  onZoom: (from: number, to: number) => void;
}

function Graph({ panel, series, steps, exemplars, onZoom }: GraphProps) {
  const cells = useMemo(
    () => (panel.displayMode === "heatmap" ? heatmap(series) : null),
    [panel.displayMode, series],
  );
  if (panel.displayMode !== "heatmap") {
    return <Lines panel={panel} series={series} steps={steps} exemplars={exemplars} onZoom={onZoom} />;
  }
  if (!cells) {
    return (
      <div className="empty">
        A heatmap shows histograms: native ones, or buckets that have a label <code>le</code>.
      </div>
    );
  }
  return <HeatmapChart heatmap={cells} steps={steps} onZoom={onZoom} />;
}

function Lines({ panel, series, steps, exemplars, onZoom }: GraphProps) {
  const isDark = useComputedColorScheme() === "dark";
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  useEffect(() => setHidden(new Set()), [series]);
  const shown = useMemo(() => series.slice(0, LINES_MAX), [series]);
  const { start, end, step } = steps;
  const times = useMemo(() => stepTimes(start, end, step), [start, end, step]);
  const columns = useMemo(
    () => shown.map((one) => align(one, start, step, times.length)),
    [shown, start, step, times],
  );
  const colors = useMemo(() => shown.map((_, at) => color(at, isDark)), [shown, isDark]);
  return (
    <>
      {series.length > shown.length && (
        <div className="summary">
          The first {shown.length} of {series.length} series are drawn.
        </div>
      )}
      <LineChart
        times={times}
        columns={columns}
        series={shown}
        colors={colors}
        hidden={hidden}
        isStacked={panel.displayMode === "stacked"}
        yAxisMin={panel.yAxisMin}
        exemplars={exemplars}
        onZoom={onZoom}
      />
      <Legend series={shown} colors={colors} hidden={hidden} onChange={setHidden} />
    </>
  );
}
