import type { ReactNode } from "react";

/** Names and what they are, in two columns. */
export function Facts({ of }: { of: readonly (readonly [ReactNode, ReactNode])[] }) {
  return (
    <dl className="facts">
      {of.map(([name, value], at) => (
        <div className="fact" key={at}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
