// Samples of a live tail: gathered look by look.

import type { MatrixSeries } from "../api/types";
import { formatSeries } from "./labels";

export interface TailSample {
  series: string;
  /** Unix seconds. */
  time: number;
  text: string;
}

/** Samples that are kept; older ones are let go. */
const KEPT = 500;

export interface TailState {
  /** The newest first. */
  samples: TailSample[];
  /** The newest time of each series. */
  newest: ReadonlyMap<string, number>;
}

export const NO_TAIL: TailState = { samples: [], newest: new Map() };

/** What came since the last look; looks overlap, so that late samples are seen. */
export function extend(tail: TailState, answer: readonly MatrixSeries[]): TailState {
  const newest = new Map(tail.newest);
  const fresh: TailSample[] = [];
  for (const { metric, values = [], histograms = [] } of answer) {
    const series = formatSeries(metric);
    const last = newest.get(series) ?? -Infinity;
    const points: [number, string][] = [
      ...values,
      ...histograms.map(([time, { count, sum }]): [number, string] => [time, `count ${count}, sum ${sum}`]),
    ];
    for (const [time, text] of points) {
      if (time > last) fresh.push({ series, time, text });
      newest.set(series, Math.max(newest.get(series) ?? -Infinity, time));
    }
  }
  if (fresh.length === 0) return tail;
  fresh.sort((a, b) => b.time - a.time || a.series.localeCompare(b.series));
  return { samples: [...fresh, ...tail.samples].slice(0, KEPT), newest };
}
