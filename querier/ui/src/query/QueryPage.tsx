import "./query.css";

import { Button } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { decodePanels, encodePanels, newPanel, type Panel as PanelState } from "../lib/panels";
import { Panel } from "./Panel";

/** Panels of the link, and the link of the panels. */
function usePanels(): [PanelState[], (panels: PanelState[]) => void] {
  const search = useSearch();
  const [, go] = useLocation();
  const written = useRef<string | null>(null);
  const [panels, setPanels] = useState<PanelState[]>(() => fromLink(search));

  useEffect(() => {
    // Somebody went back, forward, or followed a link.
    if (written.current !== null && search !== written.current) setPanels(fromLink(search));
    written.current = search;
  }, [search]);

  const change = (changed: PanelState[]) => {
    setPanels(changed);
    const link = encodePanels(changed);
    const isRun = changed.some((panel, at) => panel.expr !== panels[at]?.expr);
    written.current = link;
    go(`/query?${link}`, { replace: !isRun });
  };
  return [panels, change];
}

function fromLink(search: string): PanelState[] {
  const panels = decodePanels(search);
  return panels.length > 0 ? panels : [newPanel()];
}

export function QueryPage() {
  const [panels, setPanels] = usePanels();
  useEffect(() => {
    const first = panels[0]?.expr ?? "";
    document.title = first === "" ? "Query · Narthex" : `${first.slice(0, 80)} · Narthex`;
  }, [panels]);
  return (
    <>
      <h1 className="hidden-title">Query</h1>
      {panels.map((panel, at) => (
        <Panel
          key={panel.id}
          panel={panel}
          onChange={(patch) => setPanels(panels.with(at, { ...panel, ...patch }))}
          onDuplicate={() => {
            const copy = { ...panel, id: newPanel().id };
            setPanels(panels.toSpliced(at + 1, 0, copy));
          }}
          onRemove={() => {
            const rest = panels.toSpliced(at, 1);
            setPanels(rest.length > 0 ? rest : [newPanel()]);
          }}
        />
      ))}
      <div>
        <Button variant="default" onClick={() => setPanels([...panels, newPanel()])}>
          Add a panel
        </Button>
      </div>
    </>
  );
}
