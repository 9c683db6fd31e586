import type { LabelSet } from "../api/types";
import { seriesParts } from "../lib/labels";

/** A series as PromQL writes it. */
export function Series({ labels }: { labels: LabelSet }) {
  const { name, pairs } = seriesParts(labels);
  return (
    <span className="labels">
      {name}
      {(pairs.length > 0 || name === "") && "{"}
      {pairs.map(([label, value], at) => (
        <span key={label}>
          {at > 0 && ", "}
          <span className="label-name">{label}</span>
          {value !== null && "="}
          {value !== null && <span className="label-value">{value}</span>}
        </span>
      ))}
      {(pairs.length > 0 || name === "") && "}"}
    </span>
  );
}

/** Labels one by one. */
export function LabelChips({ labels }: { labels: LabelSet }) {
  return (
    <div className="chips">
      {Object.entries(labels).map(([name, value]) => (
        <span className="chip" key={name}>
          {name}=&quot;{value}&quot;
        </span>
      ))}
    </div>
  );
}
