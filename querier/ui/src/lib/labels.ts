// Label sets as PromQL writes them.

import type { LabelSet } from "../api/types";

const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

export interface SeriesParts {
  /** Ahead of the braces; empty if there is no name or it must be quoted. */
  name: string;
  /** Inside them: a label's name and value, or a quoted metric name and nothing. */
  pairs: [string, string | null][];
}

export function seriesParts(labels: LabelSet): SeriesParts {
  const metric = labels["__name__"] ?? "";
  const isPlain = metric === "" || LEGACY_METRIC.test(metric);
  const pairs: [string, string | null][] = isPlain ? [] : [[JSON.stringify(metric), null]];
  for (const [name, value] of Object.entries(labels)) {
    if (name === "__name__") continue;
    const label = LEGACY_LABEL.test(name) ? name : JSON.stringify(name);
    pairs.push([label, JSON.stringify(value)]);
  }
  return { name: isPlain ? metric : "", pairs };
}

/** A selector of exactly this series, for people and for the editor. */
export function formatSeries(labels: LabelSet): string {
  const { name, pairs } = seriesParts(labels);
  if (pairs.length === 0) return name === "" ? "{}" : name;
  const inside = pairs.map(([label, value]) => (value === null ? label : `${label}=${value}`));
  return `${name}{${inside.join(", ")}}`;
}

/** Whether each word of a search occurs in the text. */
export function matches(search: string, ...texts: string[]): boolean {
  const all = texts.join("\n").toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}
