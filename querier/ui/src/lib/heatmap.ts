// Histograms over time as cells of a heatmap.

import type { MatrixSeries } from "../api/types";
import { parseSample } from "./numbers";

export interface Heatmap {
  /** Unix seconds of the columns. */
  times: number[];
  /** Boundaries of the rows, ascending: one more than there are rows. */
  bounds: number[];
  /** Observations by column and row. */
  cells: number[][];
  /** The largest of them. */
  most: number;
}

/** Rows beyond this many could not be seen. */
const ROWS_MAX = 400;

interface Cell {
  time: number;
  lower: number;
  upper: number;
  count: number;
}

/** `null` where the series are no histograms. */
export function heatmap(series: readonly MatrixSeries[]): Heatmap | null {
  const native = series.some((one) => (one.histograms ?? []).length > 0);
  const classic = !native && series.some((one) => "le" in one.metric);
  if (!native && !classic) return null;
  return arrange(native ? nativeCells(series) : classicCells(series));
}

function nativeCells(series: readonly MatrixSeries[]): Cell[] {
  const cells: Cell[] = [];
  for (const { histograms = [] } of series) {
    for (const [time, { buckets = [] }] of histograms) {
      for (const [, lower, upper, count] of buckets) {
        cells.push({
          time,
          lower: parseSample(lower),
          upper: parseSample(upper),
          count: parseSample(count),
        });
      }
    }
  }
  return cells;
}

/** Cumulative buckets of all series added up, then each without those below it. */
function classicCells(series: readonly MatrixSeries[]): Cell[] {
  const columns = new Map<number, Map<number, number>>();
  for (const { metric, values = [] } of series) {
    const bound = parseSample(metric["le"] ?? "NaN");
    if (Number.isNaN(bound)) continue;
    for (const [time, text] of values) {
      const column = columns.get(time) ?? new Map<number, number>();
      columns.set(time, column.set(bound, (column.get(bound) ?? 0) + parseSample(text)));
    }
  }
  const cells: Cell[] = [];
  for (const [time, column] of columns) {
    let lower = -Infinity;
    let below = 0;
    for (const [upper, sum] of [...column].sort(([a], [b]) => a - b)) {
      cells.push({ time, lower, upper, count: Math.max(0, sum - below) });
      lower = upper;
      below = Math.max(below, sum);
    }
  }
  return cells;
}

function ascending(numbers: Iterable<number>): number[] {
  return [...new Set(numbers)].filter((it) => !Number.isNaN(it)).sort((a, b) => a - b);
}

/** Every n-th boundary and the last, so that there are not too many rows. */
function thinned(bounds: number[]): number[] {
  const every = Math.ceil((bounds.length - 1) / ROWS_MAX);
  return bounds.filter((_, at) => at % every === 0 || at === bounds.length - 1);
}

/** A bucket that reaches over several rows is spread evenly over them. */
function arrange(found: readonly Cell[]): Heatmap {
  const times = ascending(found.map((cell) => cell.time));
  const bounds = thinned(ascending(found.flatMap((cell) => [cell.lower, cell.upper])));
  const columnOf = new Map(times.map((time, at) => [time, at]));
  const cells = times.map(() => new Array<number>(Math.max(0, bounds.length - 1)).fill(0));
  let most = 0;
  for (const { time, lower, upper, count } of found) {
    const column = cells[columnOf.get(time) ?? -1];
    if (!column) continue;
    const first = Math.max(0, lastAtMost(bounds, lower));
    const last = Math.max(first + 1, firstAtLeast(bounds, upper));
    for (let row = first; row < last && row < column.length; row += 1) {
      const sum = (column[row] ?? 0) + count / (last - first);
      column[row] = sum;
      most = Math.max(most, sum);
    }
  }
  return { times, bounds, cells, most };
}

function lastAtMost(bounds: readonly number[], value: number): number {
  return firstAtLeast(bounds, value, true) - 1;
}

/** The first index whose boundary is at least the value, or above it. */
function firstAtLeast(bounds: readonly number[], value: number, above = false): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const bound = bounds[middle] ?? Infinity;
    if (above ? bound <= value : bound < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
