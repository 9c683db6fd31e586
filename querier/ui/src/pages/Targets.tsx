import { Button, NativeSelect, SegmentedControl } from "@mantine/core";
import { useMemo, useState } from "react";
import { useLocation } from "wouter";

import { get } from "../api/client";
import type { Target, Targets } from "../api/types";
import { asApiError, useResource } from "../api/useResource";
import { Badge, type Tone } from "../components/Badge";
import { Fold } from "../components/Fold";
import { LabelChips } from "../components/Labels";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { Search } from "../components/Search";
import { useNow } from "../components/useNow";
import { formatSeconds } from "../lib/duration";
import { formatSeries, matches } from "../lib/labels";
import { ago } from "../lib/time";

const REFRESH = 5000;

const TONES: Readonly<Record<Target["health"], Tone>> = { up: "good", down: "bad", unknown: "warn" };

type Health = "all" | "unhealthy";

export default function TargetsPage() {
  const [search, setSearch] = useState("");
  const [health, setHealth] = useState<Health>("all");
  const [pool, setPool] = useState("");
  const targets = useResource<Targets>("targets", { state: "active" }, REFRESH);
  const pools = useResource<{ scrapePools: string[] }>("scrape_pools");
  const tools = (
    <>
      <NativeSelect
        size="xs"
        aria-label="Scrape job"
        value={pool}
        onChange={(event) => setPool(event.currentTarget.value)}
        data={[
          { value: "", label: "All jobs" },
          ...(pools.answer?.data.scrapePools ?? []).map((name) => ({ value: name, label: name })),
        ]}
      />
      <SegmentedControl
        size="xs"
        aria-label="Health"
        value={health}
        onChange={setHealth}
        data={[
          { value: "all", label: "All" },
          { value: "unhealthy", label: "Not up" },
        ]}
      />
      <Search label="Search targets" value={search} onChange={setSearch} />
    </>
  );
  const isShown = (target: Target) =>
    (pool === "" || target.scrapePool === pool) &&
    (health === "all" || target.health !== "up") &&
    matches(search, target.scrapeUrl, formatSeries(target.labels), target.lastError);
  return (
    <Page title="Targets" tools={tools}>
      <Loaded of={targets}>
        {({ activeTargets }) => <Pools all={activeTargets} shown={activeTargets.filter(isShown)} />}
      </Loaded>
    </Page>
  );
}

function Pools({ all, shown }: { all: Target[]; shown: Target[] }) {
  const pools = useMemo(() => Map.groupBy(shown, (target) => target.scrapePool), [shown]);
  if (all.length === 0) return <Empty>Nothing is scraped: the configuration names no targets, or none were found yet.</Empty>;
  if (shown.length === 0) return <Empty>None of {all.length} targets fits.</Empty>;
  return [...pools].map(([pool, targets]) => <Pool name={pool} targets={targets} key={pool} />);
}

function Pool({ name, targets }: { name: string; targets: Target[] }) {
  const now = useNow();
  const up = targets.filter((target) => target.health === "up").length;
  return (
    <Fold
      title={name}
      isOpenAtFirst={targets.length <= 100 || up < targets.length}
      aside={
        <Badge tone={up === targets.length ? "good" : "bad"}>
          {up} of {targets.length} up
        </Badge>
      }
    >
      <div className="card-body">
        <PoolConfig pool={name} />
      </div>
      <Scroll label={`Targets of ${name}`}>
        <table className="table rows">
          <thead>
            <tr>
              <th>Endpoint</th>
              <th>State</th>
              <th>Labels</th>
              <th className="num">Last scrape</th>
              <th className="num">Took</th>
              <th className="num">Every</th>
            </tr>
          </thead>
          <tbody>
            {targets.map((target) => (
              <TargetRow target={target} now={now} key={target.scrapeUrl + formatSeries(target.labels)} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </Fold>
  );
}

function TargetRow({ target, now }: { target: Target; now: number }) {
  const [, go] = useLocation();
  const tail = new URLSearchParams({ expr: formatSeries({ __name__: "up", ...target.labels }) });
  return (
    <tr>
      <td className="wide">
        <a href={target.scrapeUrl} rel="noreferrer">
          {target.scrapeUrl}
        </a>
        {target.lastError !== "" && <div className="failure">{target.lastError}</div>}
      </td>
      <td>
        <Badge tone={TONES[target.health]}>{target.health}</Badge>
      </td>
      <td className="wide">
        <LabelChips labels={target.labels} />
      </td>
      <td className="num">
        <button type="button" className="link-button" title="Watch it" onClick={() => go(`/tail?${tail}`)}>
          {ago(target.lastScrape, now)}
        </button>
      </td>
      <td className="num" data-label="took">
        {formatSeconds(target.lastScrapeDuration)}
      </td>
      <td className="num" data-label="every">
        {target.scrapeInterval}
      </td>
    </tr>
  );
}

/** The configuration of a scrape job, once somebody wants to see it. */
function PoolConfig({ pool }: { pool: string }) {
  const [yaml, setYaml] = useState<string | null>(null);
  const show = async () => {
    try {
      const answer = await get<{ yaml: string }>("scrape_pools/config", { scrapePool: pool });
      setYaml(answer.data.yaml);
    } catch (error) {
      setYaml(asApiError(error).message);
    }
  };
  return (
    <>
      <Button
        size="compact-xs"
        variant="default"
        aria-expanded={yaml !== null}
        onClick={() => (yaml === null ? void show() : setYaml(null))}
      >
        {yaml === null ? "Show configuration" : "Hide configuration"}
      </Button>
      {yaml !== null && <pre className="yaml" tabIndex={0}>{yaml}</pre>}
    </>
  );
}
