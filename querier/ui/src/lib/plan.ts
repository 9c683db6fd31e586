// What a query's explanation comes to.

import type { Explanation, Fragment, QueryStats } from "../api/types";

export interface FragmentSums {
  bytes: number;
  series: number;
  samplesRead: number;
  /** Of the shard that took longest. */
  seconds: number;
  slowest: number | null;
}

export function sums(fragment: Fragment): FragmentSums {
  const total: FragmentSums = { bytes: 0, series: 0, samplesRead: 0, seconds: 0, slowest: null };
  for (const told of fragment.shards) {
    total.bytes += told.bytes;
    total.series += told.series;
    total.samplesRead += told.samplesRead;
    if (total.slowest === null || told.seconds > total.seconds) {
      total.seconds = told.seconds;
      total.slowest = told.shard;
    }
  }
  return total;
}

export interface Phase {
  name: "waiting" | "planning" | "shards" | "querier";
  seconds: number;
}

/**
 * Where a query's time went. Fragments of a piece are asked at once, and pieces after each other:
 * what evaluation took beside the last steps of the querier was waiting for shards.
 */
export function phases(explanation: Explanation, stats: QueryStats): Phase[] {
  const { execQueueTime, queryPreparationTime, evalTotalTime } = stats.timings;
  const finishing = explanation.pieces.reduce((sum, piece) => sum + piece.finishedInSeconds, 0);
  const querier = Math.min(finishing, evalTotalTime);
  return [
    { name: "waiting", seconds: execQueueTime },
    { name: "planning", seconds: queryPreparationTime },
    { name: "shards", seconds: evalTotalTime - querier },
    { name: "querier", seconds: querier },
  ];
}
