// Range queries' answers as columns that a chart can draw.

import type { MatrixSeries } from "../api/types";
import { parseSample } from "./numbers";

/** A series' values on the chart's times; `null` where there is none. */
export type Column = (number | null)[];

/** The steps of a range query in unix seconds. */
export function stepTimes(start: number, end: number, step: number): number[] {
  const times: number[] = [];
  for (let at = 0; start + at * step <= end + step * 1e-6; at += 1) times.push(start + at * step);
  return times;
}

/** Puts points on their steps; what lies on no step of the query is left out. */
export function align(series: MatrixSeries, start: number, step: number, steps: number): Column {
  const column: Column = new Array<number | null>(steps).fill(null);
  for (const [time, text] of series.values ?? []) {
    const at = Math.round((time - start) / step);
    const value = parseSample(text);
    if (at >= 0 && at < steps && Number.isFinite(value)) column[at] = value;
  }
  for (const [time, histogram] of series.histograms ?? []) {
    const at = Math.round((time - start) / step);
    const value = parseSample(histogram.sum);
    if (at >= 0 && at < steps && Number.isFinite(value)) column[at] = value;
  }
  return column;
}

/** Each column on top of those before it; hidden ones take no room. */
export function stack(columns: readonly Column[], isShown: (at: number) => boolean): Column[] {
  const below = new Array<number>(columns[0]?.length ?? 0).fill(0);
  return columns.map((column, at) => {
    if (!isShown(at)) return column.map(() => null);
    return column.map((value, step) => {
      if (value === null) return null;
      below[step] = (below[step] ?? 0) + value;
      return below[step] ?? null;
    });
  });
}

const LIGHT = ["#1c6fb8", "#c2410c", "#187a3c", "#a21caf", "#b42318", "#0e7490", "#7c5700", "#6d28d9"];
const DARK = ["#6cb6ff", "#ff9d5c", "#5cd08a", "#e58fff", "#ff8278", "#4fd3e8", "#f0c05a", "#b79bff"];

/** The color of the n-th series. After the first ones, others of the same lightness follow. */
export function color(at: number, isDark: boolean): string {
  const named = (isDark ? DARK : LIGHT)[at];
  if (named !== undefined) return named;
  const hue = Math.round((at * 137.508) % 360);
  return `hsl(${hue} 65% ${isDark ? 70 : 35}%)`;
}
