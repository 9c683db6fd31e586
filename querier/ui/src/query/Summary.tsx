import type { QueryData } from "../api/types";
import { grouped } from "../lib/numbers";
import { formatSeconds } from "../lib/duration";
import type { Run } from "./useRun";

/** What a query came to and took, in a line. */
export function Summary({ run }: { run: Run<QueryData> }) {
  const { answer, took } = run;
  if (!answer) return null;
  const { data, consistency } = answer;
  const facts = [`${formatSeconds(took / 1000)}`];
  if (data.resultType === "vector" || data.resultType === "matrix") {
    facts.unshift(`${grouped(data.result.length)} series`);
  }
  if (data.stats) facts.push(`${grouped(data.stats.samples.samplesRead)} samples read`);
  if (consistency !== "") facts.push(consistency);
  return <div className="summary">{facts.join(" · ")}</div>;
}
