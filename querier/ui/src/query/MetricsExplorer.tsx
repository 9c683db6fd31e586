import { useState } from "react";

import type { Metadata } from "../api/types";
import { useResource } from "../api/useResource";
import { Dialog } from "../components/Dialog";
import { Loaded } from "../components/Loaded";
import { Search } from "../components/Search";
import { matches } from "../lib/labels";

/** Rows that are shown at once; a search narrows the rest. */
const ROWS_MAX = 200;

interface MetricsExplorerProps {
  onChoose: (name: string) => void;
  onClose: () => void;
}

/** The metrics there are and what is known of them. */
export function MetricsExplorer({ onChoose, onClose }: MetricsExplorerProps) {
  const [search, setSearch] = useState("");
  const names = useResource<string[]>("label/__name__/values");
  const metadata = useResource<Record<string, Metadata[]>>("metadata");
  const known = metadata.answer?.data ?? {};
  return (
    <Dialog
      title="Metrics"
      tools={<Search label="Search metrics" value={search} onChange={setSearch} />}
      onClose={onClose}
    >
      <Loaded of={names}>
        {(names) => (
          <MetricsTable
            names={names.filter((name) => matches(search, name, known[name]?.[0]?.help ?? ""))}
            known={known}
            onChoose={onChoose}
          />
        )}
      </Loaded>
    </Dialog>
  );
}

interface MetricsTableProps {
  names: string[];
  known: Record<string, Metadata[]>;
  onChoose: (name: string) => void;
}

/** Series of a histogram or summary carry its description. */
function described(name: string, known: Record<string, Metadata[]>): Metadata | undefined {
  return (known[name] ?? known[name.replace(/_(bucket|sum|count|total)$/, "")])?.[0];
}

function MetricsTable({ names, known, onChoose }: MetricsTableProps) {
  if (names.length === 0) return <div className="empty">No metric fits.</div>;
  return (
    <>
      <table className="table">
        <thead>
          <tr>
            <th>Metric</th>
            <th>Type</th>
            <th>Help</th>
          </tr>
        </thead>
        <tbody>
          {names.slice(0, ROWS_MAX).map((name) => (
            <tr key={name}>
              <td className="wide">
                <button type="button" className="link-button mono" onClick={() => onChoose(name)}>
                  {name}
                </button>
              </td>
              <td>{described(name, known)?.type}</td>
              <td className="wide">{described(name, known)?.help}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {names.length > ROWS_MAX && (
        <p className="dim">{names.length - ROWS_MAX} more: search to narrow them.</p>
      )}
    </>
  );
}
