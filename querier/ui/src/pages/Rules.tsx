import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";

import type { Rule, RuleGroup } from "../api/types";
import { useResource } from "../api/useResource";
import { Badge, type Tone } from "../components/Badge";
import { Facts } from "../components/Facts";
import { Fold } from "../components/Fold";
import { LabelChips } from "../components/Labels";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { Search } from "../components/Search";
import { useNow } from "../components/useNow";
import { formatDuration, formatSeconds } from "../lib/duration";
import { formatSeries, matches } from "../lib/labels";
import { encodePanels, newPanel } from "../lib/panels";
import { ago } from "../lib/time";

const REFRESH = 10_000;

const TONES: Readonly<Record<Rule["health"], Tone>> = { ok: "good", err: "bad", unknown: "warn" };

type Health = "all" | "failing";

export default function RulesPage() {
  const [search, setSearch] = useState("");
  const [health, setHealth] = useState<Health>("all");
  const rules = useResource<{ groups: RuleGroup[] }>("rules", {}, REFRESH);
  const tools = (
    <>
      <SegmentedControl
        size="xs"
        aria-label="Health"
        value={health}
        onChange={setHealth}
        data={[
          { value: "all", label: "All" },
          { value: "failing", label: "Failing" },
        ]}
      />
      <Search label="Search rules" value={search} onChange={setSearch} />
    </>
  );
  const isShown = (rule: Rule) =>
    (health === "all" || rule.health === "err") &&
    matches(search, rule.name, rule.query, formatSeries(rule.labels ?? {}));
  return (
    <Page title="Rules" tools={tools}>
      <Loaded of={rules} absent="This process evaluates no rules.">
        {({ groups }) => <Groups groups={groups} isShown={isShown} />}
      </Loaded>
    </Page>
  );
}

function Groups({ groups, isShown }: { groups: RuleGroup[]; isShown: (rule: Rule) => boolean }) {
  if (groups.length === 0) return <Empty>There are no rules.</Empty>;
  const shown = groups
    .map((group) => ({ ...group, rules: group.rules.filter(isShown) }))
    .filter(({ rules }) => rules.length > 0);
  if (shown.length === 0) return <Empty>No rule fits.</Empty>;
  return shown.map((group) => <Group group={group} key={`${group.file};${group.name}`} />);
}

function Group({ group }: { group: RuleGroup }) {
  const now = useNow();
  const failing = group.rules.filter(({ health }) => health === "err").length;
  return (
    <Fold
      title={group.name}
      isOpenAtFirst={group.rules.length <= 50}
      aside={
        <>
          <span className="dim">{group.file}</span>
          {failing > 0 && <Badge tone="bad">{failing} failing</Badge>}
          <span className="dim">
            every {formatDuration(group.interval * 1000)}, {ago(group.lastEvaluation, now)}, took{" "}
            {formatSeconds(group.evaluationTime)}
          </span>
        </>
      }
    >
      <Scroll label={`Rules of ${group.name}`}>
        <table className="table rows">
          <thead>
            <tr>
              <th>Rule</th>
              <th>Expression</th>
              <th>State</th>
              <th className="num">Evaluated</th>
              <th className="num">Took</th>
            </tr>
          </thead>
          <tbody>
            {group.rules.map((rule, at) => (
              <RuleRow rule={rule} now={now} key={at} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </Fold>
  );
}

function RuleRow({ rule, now }: { rule: Rule; now: number }) {
  return (
    <tr>
      <td className="wide">
        <b>{rule.name}</b> <span className="dim">{rule.type}</span>
        {rule.labels && <LabelChips labels={rule.labels} />}
        {rule.type === "alerting" && rule.annotations && <Facts of={Object.entries(rule.annotations)} />}
      </td>
      <td className="wide">
        <Link href={`/query?${encodePanels([{ ...newPanel(rule.query), tab: "graph" }])}`}>
          <code>{rule.query}</code>
        </Link>
        {rule.type === "alerting" && rule.duration > 0 && (
          <div className="dim">for {formatDuration(rule.duration * 1000)}</div>
        )}
        {rule.lastError && <div className="failure">{rule.lastError}</div>}
      </td>
      <td>
        <Badge tone={TONES[rule.health]}>{rule.health}</Badge>
      </td>
      <td className="num">{ago(rule.lastEvaluation, now)}</td>
      <td className="num" data-label="took">
        {formatSeconds(rule.evaluationTime)}
      </td>
    </tr>
  );
}
