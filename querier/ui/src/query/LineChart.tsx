import { useComputedColorScheme } from "@mantine/core";
import { useMemo, useRef } from "react";
import type uPlot from "uplot";

import type { ExemplarSeries, MatrixSeries } from "../api/types";
import { useSettings } from "../components/settings";
import { stack, type Column } from "../lib/chart";
import { formatSeries } from "../lib/labels";
import { parseSample, short } from "../lib/numbers";
import { formatTime } from "../lib/time";
import { basics, cssColor, placeTip, usePlot } from "./usePlot";

interface LineChartProps {
  times: number[];
  columns: Column[];
  series: MatrixSeries[];
  colors: string[];
  hidden: ReadonlySet<number>;
  isStacked: boolean;
  yAxisMin: number | null;
  exemplars: ExemplarSeries[];
  onZoom: (from: number, to: number) => void;
}

/** How near the cursor must be to an exemplar, in pixels. */
const NEAR = 8;

type Mark = ExemplarSeries["exemplars"][number];

/** Series over time. */
export function LineChart(props: LineChartProps) {
  const { times, columns, series, hidden, isStacked } = props;
  const chart = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme();
  const { isLocalTime } = useSettings();
  const drawn = useMemo(
    () => (isStacked ? stack(columns, (at) => !hidden.has(at)) : columns),
    [columns, isStacked, hidden],
  );
  // The last of a stack is drawn first, so that those below lie in front.
  const order = useMemo(() => {
    const all = columns.map((_, at) => at);
    return isStacked ? all.reverse() : all;
  }, [columns, isStacked]);
  const data = useMemo<uPlot.AlignedData>(
    () => [times, ...order.map((at) => drawn[at] ?? [])],
    [times, order, drawn],
  );
  const latest = useRef(props);
  latest.current = props;
  const { colors, yAxisMin, exemplars } = props;
  const options = useMemo(
    () => {
      // Colors are read anew for each scheme.
      void scheme;
      return lineOptions({ latest, order, colors, hidden, isStacked, yAxisMin, exemplars, isLocalTime, tip });
    },
    [order, colors, hidden, isStacked, yAxisMin, exemplars, isLocalTime, scheme],
  );
  usePlot(chart, options, data);
  return (
    <div
      className="chart"
      ref={chart}
      role="img"
      aria-label={`Chart of ${series.length} series with ${times.length} steps`}
    >
      <div className="tip" ref={tip} hidden />
    </div>
  );
}

interface LineOptions extends Pick<LineChartProps, "colors" | "hidden" | "isStacked" | "yAxisMin" | "exemplars"> {
  latest: { current: LineChartProps };
  order: number[];
  isLocalTime: boolean;
  tip: { current: HTMLElement | null };
}

function lineOptions(given: LineOptions): Omit<uPlot.Options, "width"> {
  const { latest, order, colors, hidden, isStacked, yAxisMin, isLocalTime, tip } = given;
  const marks = given.exemplars.flatMap((one) => one.exemplars);
  const base = basics((from, to) => latest.current.onZoom(from, to), isLocalTime);
  const [x, y] = base.axes;
  return {
    ...base,
    axes: [x, { ...y, values: (_, ticks) => ticks.map(short) }],
    scales: { y: { range: (_, min, max) => padded(yAxisMin ?? min, max) } },
    series: [
      {},
      ...order.map((at) => ({
        show: !hidden.has(at),
        stroke: colors[at] ?? "gray",
        width: 1.5,
        points: { show: false },
        ...(isStacked ? { fill: shade(colors[at] ?? "gray") } : {}),
      })),
    ],
    bands: isStacked ? bandsOf(order, hidden) : [],
    hooks: {
      ...base.hooks,
      draw: [(plot) => drawMarks(plot, marks)],
      setCursor: [
        (plot) => {
          const mark = nearestMark(plot, marks);
          placeTip(tip.current, plot, mark ? markLines(mark, isLocalTime) : seriesLines(plot, given));
        },
      ],
    },
  };
}

/** A stack's areas end where those below them begin. */
function bandsOf(order: number[], hidden: ReadonlySet<number>): uPlot.Band[] {
  const shown = order.flatMap((at, place) => (hidden.has(at) ? [] : [place + 1]));
  return shown.slice(1).map((lower, at) => ({ series: [shown[at] ?? 0, lower] }));
}

/** An axis that is not filled to its brim, also for a line that is flat. */
function padded(min: number, max: number): [number, number] {
  if (!Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  const span = max - min || Math.abs(max) || 1;
  const isFromZero = min === 0;
  return [isFromZero ? 0 : min - span * 0.05, max + span * 0.05];
}

/** The same color, seen through. */
function shade(color: string): string {
  return color.startsWith("#") ? `${color}59` : color.replace(")", " / 35%)");
}

function seriesLines(plot: uPlot, given: LineOptions): string[] {
  const { idx, top = -1 } = plot.cursor;
  if (idx === null || idx === undefined || top < 0) return [];
  const { times, series, columns } = given.latest.current;
  let nearest: { at: number; distance: number } | null = null;
  given.order.forEach((at, place) => {
    const value = plot.data[place + 1]?.[idx];
    if (value === null || value === undefined || given.hidden.has(at)) return;
    const distance = Math.abs(plot.valToPos(value, "y") - top);
    if (!nearest || distance < nearest.distance) nearest = { at, distance };
  });
  const found = nearest as { at: number } | null;
  const one = found && series[found.at];
  const value = found && columns[found.at]?.[idx];
  if (!one || value === null || value === undefined) return [];
  return [String(value), formatTime((times[idx] ?? 0) * 1000, given.isLocalTime), formatSeries(one.metric)];
}

/** Exemplars lie at their own times, between the steps. */
function drawMarks(plot: uPlot, marks: Mark[]): void {
  const { ctx } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
  ctx.clip();
  ctx.fillStyle = cssColor("--text");
  const size = 4 * devicePixelRatio;
  for (const mark of marks) {
    const x = plot.valToPos(mark.timestamp, "x", true);
    const y = plot.valToPos(parseSample(mark.value), "y", true);
    ctx.beginPath();
    ctx.moveTo(x, y - size);
    ctx.lineTo(x + size, y);
    ctx.lineTo(x, y + size);
    ctx.lineTo(x - size, y);
    ctx.fill();
  }
  ctx.restore();
}

function nearestMark(plot: uPlot, marks: Mark[]): Mark | undefined {
  const { left = -1, top = -1 } = plot.cursor;
  return marks.find(
    (mark) =>
      Math.abs(plot.valToPos(mark.timestamp, "x") - left) < NEAR &&
      Math.abs(plot.valToPos(parseSample(mark.value), "y") - top) < NEAR,
  );
}

function markLines(mark: Mark, isLocal: boolean): string[] {
  return [`Exemplar ${mark.value}`, formatTime(mark.timestamp * 1000, isLocal), formatSeries(mark.labels)];
}
