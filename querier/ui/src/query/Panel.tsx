import { Tabs } from "@mantine/core";
import { lazy, Suspense, useEffect, useRef, useState } from "react";

import { Notice } from "../components/Notice";
import { remember } from "../lib/history";
import type { Panel as PanelState, Tab } from "../lib/panels";
import { ExpressionInput, type EditorHandle } from "./ExpressionInput";
import { TableView } from "./TableView";

const GraphView = lazy(() => import("./GraphView"));
const ExplainView = lazy(() => import("./ExplainView"));
const TreeView = lazy(() => import("./TreeView"));

interface PanelProps {
  panel: PanelState;
  onChange: (patch: Partial<PanelState>) => void;
  onDuplicate: () => void;
  onRemove: () => void;
}

/** What each view of a panel needs. */
export interface ViewProps {
  panel: PanelState;
  onChange: (patch: Partial<PanelState>) => void;
  /** How often the expression was run. */
  runs: number;
  /** Puts the cursor into the expression. */
  onSelect: (offset: number) => void;
  onRunning: (isRunning: boolean) => void;
}

const TABS: readonly [Tab, string][] = [
  ["table", "Table"],
  ["graph", "Graph"],
  ["explain", "Explain"],
];

export function Panel({ panel, onChange, onDuplicate, onRemove }: PanelProps) {
  const [draft, setDraft] = useState(panel.expr);
  const [runs, setRuns] = useState(0);
  const [isRunning, setRunning] = useState(false);
  const [problem, setProblem] = useState("");
  const editor = useRef<EditorHandle>(null);
  useEffect(() => setDraft(panel.expr), [panel.expr]);

  const run = (expr: string) => {
    setProblem("");
    setDraft(expr);
    setRuns(runs + 1);
    remember(expr);
    onChange({ expr });
  };
  const view: ViewProps = {
    panel,
    onChange,
    runs,
    onSelect: (offset) => editor.current?.select(offset),
    onRunning: setRunning,
  };
  return (
    <section className="card" aria-label={panel.expr === "" ? "New query" : panel.expr}>
      <ExpressionInput
        value={draft}
        onChange={setDraft}
        onRun={run}
        onProblem={setProblem}
        isRunning={isRunning}
        editor={editor}
        tree={{ isShown: panel.showTree, toggle: () => onChange({ showTree: !panel.showTree }) }}
        onDuplicate={onDuplicate}
        onRemove={onRemove}
      />
      {problem !== "" && (
        <div className="remarks">
          <Notice tone="bad">{problem}</Notice>
        </div>
      )}
      {panel.showTree && panel.expr !== "" && (
        <Suspense>
          <TreeView expr={panel.expr} />
        </Suspense>
      )}
      <Tabs
        value={panel.tab}
        onChange={(tab) => {
          const found = TABS.find(([name]) => name === tab);
          if (found) onChange({ tab: found[0] });
        }}
        keepMounted={false}
      >
        <Tabs.List px={12}>
          {TABS.map(([name, title]) => (
            <Tabs.Tab value={name} key={name}>
              {title}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Suspense fallback={<div className="empty">Loading…</div>}>
          <Tabs.Panel value="table">
            <TableView {...view} />
          </Tabs.Panel>
          <Tabs.Panel value="graph">
            <GraphView {...view} />
          </Tabs.Panel>
          <Tabs.Panel value="explain">
            <ExplainView {...view} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </section>
  );
}
