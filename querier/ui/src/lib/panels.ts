// The panels of the query page, and the links that carry them: Prometheus 3's, and those of 2.x.

import { formatDuration, parseDuration } from "./duration";
import { formatUtc, parseUtc } from "./time";

export type Tab = "table" | "graph" | "explain";
export type Density = "low" | "medium" | "high";
export type DisplayMode = "lines" | "stacked" | "heatmap";

/** How far apart the points of a graph are; steps in milliseconds. */
export type Resolution =
  | { type: "auto"; density: Density }
  | { type: "fixed" | "custom"; step: number };

export interface Panel {
  /** Of this page view only: no link carries it. */
  id: number;
  expr: string;
  tab: Tab;
  showTree: boolean;
  /** Unix milliseconds; `null` is now. */
  endTime: number | null;
  /** Milliseconds. */
  range: number;
  resolution: Resolution;
  displayMode: DisplayMode;
  yAxisMin: number | null;
  showExemplars: boolean;
}

/** The most that a range query may answer for each series. */
export const POINTS_MAX = 11_000;
const POINTS: Readonly<Record<Density, number>> = { low: 100, medium: 250, high: 750 };
const RANGE = 3_600_000;
/** No link holds more. */
const PANELS_MAX = 50;

let lastId = 0;

export function newPanel(expr = ""): Panel {
  lastId += 1;
  return {
    id: lastId,
    expr,
    tab: "table",
    showTree: false,
    endTime: null,
    range: RANGE,
    resolution: { type: "auto", density: "medium" },
    displayMode: "lines",
    yAxisMin: null,
    showExemplars: false,
  };
}

/** The step of a graph in milliseconds, never so small that the server refuses it. */
export function stepOf(panel: Panel): number {
  const { resolution, range } = panel;
  const least = Math.ceil(range / POINTS_MAX);
  const wanted =
    resolution.type === "auto" ? Math.floor(range / POINTS[resolution.density]) : resolution.step;
  return Math.max(wanted, least, resolution.type === "auto" ? 1000 : 1);
}

function tabOf(text: string | null): Tab {
  if (text === "0" || text === "graph") return "graph";
  return text === "explain" ? "explain" : "table";
}

function resolutionOf(value: (name: string) => string | null): Resolution {
  const density = value("res_density");
  const step = Number(value("res_step")) * 1000;
  const type = value("res_type");
  if ((type === "fixed" || type === "custom") && step > 0) return { type, step };
  if (type === "auto" && (density === "low" || density === "medium" || density === "high")) {
    return { type, density };
  }
  const legacy = Number(value("step_input")) * 1000;
  return legacy > 0 ? { type: "custom", step: legacy } : { type: "auto", density: "medium" };
}

function modeOf(value: (name: string) => string | null): DisplayMode {
  const mode = value("display_mode");
  if (mode === "lines" || mode === "stacked" || mode === "heatmap") return mode;
  return value("stacked") === "1" ? "stacked" : "lines";
}

export function decodePanels(query: string): Panel[] {
  const params = new URLSearchParams(query);
  const panels: Panel[] = [];
  for (let at = 0; at < PANELS_MAX && params.has(`g${at}.expr`); at += 1) {
    const value = (name: string) => params.get(`g${at}.${name}`);
    const yAxisMin = value("y_axis_min") ?? "";
    panels.push({
      ...newPanel(value("expr") ?? ""),
      tab: tabOf(value("tab")),
      showTree: value("show_tree") === "1",
      endTime: parseUtc(value("moment_input") ?? value("end_input") ?? ""),
      range: parseDuration(value("range_input") ?? "") ?? RANGE,
      resolution: resolutionOf(value),
      displayMode: modeOf(value),
      yAxisMin: yAxisMin === "" || Number.isNaN(Number(yAxisMin)) ? null : Number(yAxisMin),
      showExemplars: value("show_exemplars") === "1",
    });
  }
  return panels;
}

export function encodePanels(panels: readonly Panel[]): string {
  const params = new URLSearchParams();
  panels.forEach((panel, at) => {
    const add = (name: string, value: string) => params.append(`g${at}.${name}`, value);
    add("expr", panel.expr);
    add("show_tree", panel.showTree ? "1" : "0");
    add("tab", panel.tab);
    if (panel.endTime !== null) {
      add("end_input", formatUtc(panel.endTime));
      add("moment_input", formatUtc(panel.endTime));
    }
    add("range_input", formatDuration(panel.range));
    add("res_type", panel.resolution.type);
    if (panel.resolution.type === "auto") add("res_density", panel.resolution.density);
    else add("res_step", String(panel.resolution.step / 1000));
    add("display_mode", panel.displayMode);
    if (panel.yAxisMin !== null) add("y_axis_min", String(panel.yAxisMin));
    add("show_exemplars", panel.showExemplars ? "1" : "0");
  });
  return params.toString();
}
