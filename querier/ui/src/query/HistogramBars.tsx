import type { Histogram } from "../api/types";
import { parseSample } from "../lib/numbers";

/** The buckets of a native histogram beside each other. */
export function HistogramBars({ histogram }: { histogram: Histogram }) {
  const buckets = histogram.buckets ?? [];
  if (buckets.length === 0) return null;
  const counts = buckets.map(([, , , count]) => parseSample(count));
  const most = Math.max(...counts);
  return (
    <div
      className="histogram"
      role="img"
      aria-label={`${buckets.length} buckets with ${histogram.count} observations`}
    >
      {buckets.map(([rule, lower, upper, count], at) => {
        const text = `${rule === 1 || rule === 3 ? "[" : "("}${lower}, ${upper}${rule === 0 || rule === 3 ? "]" : ")"}: ${count}`;
        const height = `${Math.max(1, ((counts[at] ?? 0) / most) * 100)}%`;
        return <span key={lower} title={text} style={{ height }} />;
      })}
    </div>
  );
}
