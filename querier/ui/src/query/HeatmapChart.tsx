import { useComputedColorScheme } from "@mantine/core";
import { useMemo, useRef } from "react";
import type uPlot from "uplot";

import { useSettings } from "../components/settings";
import type { Heatmap } from "../lib/heatmap";
import { short } from "../lib/numbers";
import { formatTime } from "../lib/time";
import { basics, cssColor, placeTip, usePlot } from "./usePlot";

interface HeatmapChartProps {
  heatmap: Heatmap;
  steps: { start: number; end: number; step: number };
  onZoom: (from: number, to: number) => void;
}

/** Boundaries that are written beside the rows. */
const TICKS = 9;

/** Histograms over time: the darker, the more observations. */
export function HeatmapChart({ heatmap, steps, onZoom }: HeatmapChartProps) {
  const chart = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme();
  const { isLocalTime } = useSettings();
  const latest = useRef(onZoom);
  latest.current = onZoom;
  const data = useMemo<uPlot.AlignedData>(
    () => [heatmap.times, heatmap.times.map(() => null)],
    [heatmap],
  );
  const { start, end, step } = steps;
  const options = useMemo(
    () => {
      // Colors are read anew for each scheme.
      void scheme;
      const base = basics((from, to) => latest.current(from, to), isLocalTime);
      return heatmapOptions(base, heatmap, { start, end, step }, isLocalTime, tip);
    },
    [heatmap, start, end, step, isLocalTime, scheme],
  );
  usePlot(chart, options, data);
  const rows = heatmap.bounds.length - 1;
  return (
    <div
      className="chart"
      ref={chart}
      role="img"
      aria-label={`Heatmap of ${rows} buckets with ${heatmap.times.length} steps`}
    >
      <div className="tip" ref={tip} hidden />
    </div>
  );
}

function heatmapOptions(
  base: ReturnType<typeof basics>,
  heatmap: Heatmap,
  { start, end, step }: HeatmapChartProps["steps"],
  isLocal: boolean,
  tip: { current: HTMLElement | null },
): Omit<uPlot.Options, "width"> {
  const rows = Math.max(1, heatmap.bounds.length - 1);
  const every = Math.max(1, Math.ceil(rows / TICKS));
  const splits = Array.from({ length: Math.floor(rows / every) + 1 }, (_, at) => at * every);
  const [x, y] = base.axes;
  return {
    ...base,
    axes: [
      x,
      {
        ...y,
        grid: { show: false },
        splits: () => splits,
        values: (_, ticks) => ticks.map((row) => short(heatmap.bounds[row] ?? NaN)),
      },
    ],
    scales: { x: { range: () => [start, end + step] }, y: { range: () => [0, rows] } },
    series: [{}, { show: true, points: { show: false } }],
    hooks: {
      ...base.hooks,
      draw: [(plot) => drawCells(plot, heatmap, step)],
      setCursor: [(plot) => placeTip(tip.current, plot, cellLines(plot, heatmap, step, isLocal))],
    },
  };
}

function drawCells(plot: uPlot, heatmap: Heatmap, step: number): void {
  const { ctx } = plot;
  const heat = cssColor("--heat");
  const most = Math.log1p(heatmap.most) || 1;
  const edge = (row: number) => plot.valToPos(row, "y", true);
  heatmap.cells.forEach((column, at) => {
    const time = heatmap.times[at] ?? 0;
    const left = plot.valToPos(time, "x", true);
    const width = plot.valToPos(time + step, "x", true) - left;
    column.forEach((count, row) => {
      if (count <= 0) return;
      ctx.fillStyle = `rgb(${heat} / ${0.08 + 0.92 * (Math.log1p(count) / most)})`;
      ctx.fillRect(left, edge(row + 1), Math.ceil(width), Math.ceil(edge(row) - edge(row + 1)));
    });
  });
}

function cellLines(plot: uPlot, heatmap: Heatmap, step: number, isLocal: boolean): string[] {
  const { left = -1, top = -1 } = plot.cursor;
  if (left < 0 || top < 0) return [];
  const time = plot.posToVal(left, "x");
  const row = Math.floor(plot.posToVal(top, "y"));
  const at = heatmap.times.findLastIndex((start) => start <= time && time < start + step);
  const count = heatmap.cells[at]?.[row];
  if (count === undefined) return [];
  const [lower, upper] = [heatmap.bounds[row] ?? NaN, heatmap.bounds[row + 1] ?? NaN];
  return [short(count), `(${short(lower)}, ${short(upper)}]`, formatTime((heatmap.times[at] ?? 0) * 1000, isLocal)];
}
