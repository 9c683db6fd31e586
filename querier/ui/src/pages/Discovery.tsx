import { SegmentedControl } from "@mantine/core";
import { useMemo, useState } from "react";

import type { LabelSet, Targets } from "../api/types";
import { useResource } from "../api/useResource";
import { Badge } from "../components/Badge";
import { Fold } from "../components/Fold";
import { LabelChips } from "../components/Labels";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { Search } from "../components/Search";
import { formatSeries, matches } from "../lib/labels";

type Kept = "all" | "active" | "dropped";

interface Found {
  pool: string;
  discovered: LabelSet;
  /** `null`: it was dropped. */
  labels: LabelSet | null;
}

/** What discovery found, and what relabelling made of it. */
export default function DiscoveryPage() {
  const [search, setSearch] = useState("");
  const [kept, setKept] = useState<Kept>("all");
  const targets = useResource<Targets>("targets", {}, 10_000);
  const tools = (
    <>
      <SegmentedControl
        size="xs"
        aria-label="Which"
        value={kept}
        onChange={setKept}
        data={[
          { value: "all", label: "All" },
          { value: "active", label: "Active" },
          { value: "dropped", label: "Dropped" },
        ]}
      />
      <Search label="Search labels" value={search} onChange={setSearch} />
    </>
  );
  const isShown = ({ discovered, labels }: Found) =>
    (kept === "all" || (labels === null) === (kept === "dropped")) &&
    matches(search, formatSeries(discovered), formatSeries(labels ?? {}));
  return (
    <Page title="Service discovery" tools={tools}>
      <Loaded of={targets}>
        {(targets) => <Pools targets={targets} shown={found(targets).filter(isShown)} />}
      </Loaded>
    </Page>
  );
}

function found({ activeTargets, droppedTargets }: Targets): Found[] {
  const active = activeTargets.map(({ scrapePool, discoveredLabels, labels }) => ({
    pool: scrapePool,
    discovered: discoveredLabels,
    labels,
  }));
  const dropped = droppedTargets.map(({ scrapePool, discoveredLabels }) => ({
    pool: scrapePool ?? discoveredLabels["job"] ?? "",
    discovered: discoveredLabels,
    labels: null,
  }));
  return [...active, ...dropped];
}

function Pools({ targets, shown }: { targets: Targets; shown: Found[] }) {
  const pools = useMemo(() => Map.groupBy(shown, ({ pool }) => pool), [shown]);
  const total = targets.activeTargets.length + targets.droppedTargets.length;
  if (total === 0) return <Empty>Nothing was discovered.</Empty>;
  if (shown.length === 0) return <Empty>None of {total} targets fits.</Empty>;
  return [...pools].map(([pool, rows]) => (
    <Pool name={pool} rows={rows} dropped={targets.droppedTargetCounts[pool] ?? 0} key={pool} />
  ));
}

function Pool({ name, rows, dropped }: { name: string; rows: Found[]; dropped: number }) {
  const active = rows.filter(({ labels }) => labels !== null).length;
  return (
    <Fold
      title={name}
      isOpenAtFirst={rows.length <= 50}
      aside={
        <>
          <Badge tone="good">{active} active</Badge>
          {dropped > 0 && <Badge>{dropped} dropped</Badge>}
        </>
      }
    >
      <Scroll label={`Targets discovered for ${name}`}>
        <table className="table rows">
          <thead>
            <tr>
              <th>Discovered labels</th>
              <th>Target labels</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ discovered, labels }) => (
              <tr key={formatSeries(discovered)}>
                <td className="wide">
                  <LabelChips labels={discovered} />
                </td>
                <td className="wide" data-label="becomes">
                  {labels === null ? <Badge>dropped</Badge> : <LabelChips labels={labels} />}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Fold>
  );
}
