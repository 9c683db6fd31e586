import { functionIdentifierTerms, aggregateOpTerms } from "@prometheus-io/codemirror-promql/dist/esm/complete/promql.terms";
import { useEffect } from "react";

import type { Explanation, ExprNode, Fragment, Piece, QueryData, QueryStats } from "../api/types";
import { Badge } from "../components/Badge";
import { Facts } from "../components/Facts";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { formatDuration, formatSeconds } from "../lib/duration";
import { bytes, grouped } from "../lib/numbers";
import { phases, sums, type Phase } from "../lib/plan";
import { formatTime } from "../lib/time";
import { namesIn } from "../lib/tree";
import type { ViewProps } from "./Panel";
import { Remarks } from "./Remarks";
import TreeView from "./TreeView";
import { useRun } from "./useRun";

/** How an instant query was answered: what was asked of which shard, and where time went. */
export default function ExplainView({ panel, runs, onSelect, onRunning }: ViewProps) {
  const time = panel.endTime === null ? undefined : panel.endTime / 1000;
  const params = { query: panel.expr, time, stats: true, explain: true, limit: 1 };
  const run = useRun<QueryData>("query", panel.expr === "" ? null : params, runs);
  useEffect(() => onRunning(run.isRunning), [run.isRunning, onRunning]);
  if (panel.expr === "") return <div className="empty">Type an expression and run it.</div>;
  const { explain, stats } = run.answer?.data ?? {};
  return (
    <div className="stack explain">
      <Remarks expr={panel.expr} error={run.error} answer={run.answer} onSelect={onSelect} />
      {explain && stats && <Plan explanation={explain} stats={stats} />}
      <section aria-label="Syntax tree">
        <h2 className="explain-title">Syntax tree</h2>
        {!panel.showTree && <TreeView expr={panel.expr} />}
        <Used expr={panel.expr} />
      </section>
    </div>
  );
}

const PHASES: Readonly<Record<Phase["name"], string>> = {
  waiting: "waiting for its turn",
  planning: "planning",
  shards: "shards",
  querier: "evaluation in the querier",
};

function Plan({ explanation, stats }: { explanation: Explanation; stats: QueryStats }) {
  const spent = phases(explanation, stats);
  const total = spent.reduce((sum, phase) => sum + phase.seconds, 0) || 1;
  return (
    <section aria-label="Distributed plan" className="card-body stack">
      <h2>Where time went: {formatSeconds(total)}</h2>
      <div className="phases" aria-hidden="true">
        {spent.map(({ name, seconds }) => (
          <span className={`phase-${name}`} key={name} style={{ width: `${(seconds / total) * 100}%` }} />
        ))}
      </div>
      <div className="row">
        {spent.map(({ name, seconds }) => (
          <span className="row" key={name}>
            <span className={`key phase-${name}`} />
            {PHASES[name]} {formatSeconds(seconds)}
          </span>
        ))}
        <span className="dim">
          {grouped(stats.samples.samplesRead)} samples read, at most {grouped(stats.samples.peakSamples)} in memory
        </span>
      </div>
      {explanation.pieces.map((piece, at) => (
        <PieceView piece={piece} shards={explanation.shards} key={at} />
      ))}
    </section>
  );
}

function PieceView({ piece, shards }: { piece: Piece; shards: number }) {
  const { isLocalTime } = useSettings();
  return (
    <>
      <div className="row">
        <span className="dim">
          {formatTime(piece.start * 1000, isLocalTime)}
          {piece.end > piece.start && ` to ${formatTime(piece.end * 1000, isLocalTime)}`}
          {piece.step > 0 && ` every ${formatDuration(piece.step * 1000)}`}
        </span>
        {piece.gathered && <Badge tone="warn">samples gathered: shards change here</Badge>}
      </div>
      {piece.fragments.length === 0 && <p className="dim">No shard was asked: it needs no samples.</p>}
      {piece.fragments.map((fragment, at) => (
        <FragmentView fragment={fragment} shards={shards} key={at} />
      ))}
    </>
  );
}

const KINDS: Readonly<Record<Fragment["kind"], string>> = {
  evaluate: "evaluated on shards",
  aggregate: "aggregated on shards",
  absent: "absence on shards",
  samples: "samples fetched",
};

function FragmentView({ fragment, shards }: { fragment: Fragment; shards: number }) {
  const total = sums(fragment);
  return (
    <div className="card">
      <div className="card-head">
        <code>{fragment.query}</code>
        <Badge tone="good">{KINDS[fragment.kind]}</Badge>
        <span className="dim">
          {fragment.shards.length} of {shards} shards asked
          {fragment.shardsPruned > 0 && ", the others can hold nothing that matters"}
        </span>
      </div>
      <Scroll label={`Shards that answered ${fragment.query}`}>
        <table className="table">
          <thead>
            <tr>
              <th>Shard</th>
              <th className="num">Series</th>
              <th className="num">Samples read</th>
              <th className="num">Sent</th>
              <th className="num">Time</th>
              <th aria-hidden="true" />
            </tr>
          </thead>
          <tbody>
            {fragment.shards.map((told) => (
              <tr key={told.shard}>
                <td>
                  {told.shard} {told.shard === total.slowest && fragment.shards.length > 1 && <Badge tone="warn">slowest</Badge>}
                </td>
                <td className="num">{grouped(told.series)}</td>
                <td className="num">{grouped(told.samplesRead)}</td>
                <td className="num">{bytes(told.bytes)}</td>
                <td className="num">{formatSeconds(told.seconds)}</td>
                <td>
                  <div className="bar">
                    <span style={{ width: `${(told.seconds / (total.seconds || 1)) * 100}%` }} />
                  </div>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </div>
  );
}

/** What the functions and aggregations of an expression do. */
function Used({ expr }: { expr: string }) {
  const run = useRun<ExprNode>("parse_query", { query: expr }, 0);
  if (!run.answer) return null;
  const names = namesIn(run.answer.data);
  const terms = [...functionIdentifierTerms, ...aggregateOpTerms].filter(({ label }) => names.has(label));
  if (terms.length === 0) return null;
  return (
    <div className="card-body">
      <Facts of={terms.map(({ label, info }) => [<code key={label}>{label}</code>, info])} />
    </div>
  );
}
