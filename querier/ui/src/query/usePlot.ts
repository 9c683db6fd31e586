import "uplot/dist/uPlot.min.css";

import { useEffect, useRef, type RefObject } from "react";
import uPlot from "uplot";

import { tick } from "../lib/time";

export const CHART_HEIGHT = 340;

/** A color of the page's style. */
export function cssColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** What all charts look like: axes in the page's colors, and a range to zoom to. */
export function basics(
  onZoom: (from: number, to: number) => void,
  isLocal: boolean,
): Omit<uPlot.Options, "series" | "width"> & { axes: [uPlot.Axis, uPlot.Axis] } {
  const stroke = cssColor("--dim");
  const line = { stroke: cssColor("--line"), width: 1 };
  const look = { stroke, grid: line, ticks: line, font: "12px system-ui, sans-serif" };
  return {
    height: CHART_HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    axes: [
      {
        ...look,
        values: (plot, ticks) => {
          const { min = 0, max = 0 } = plot.scales["x"] ?? {};
          return ticks.map((seconds) => tick(seconds, (max ?? 0) - (min ?? 0), isLocal));
        },
      },
      { ...look, size: 64 },
    ],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          onZoom(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** Draws a chart into an element and makes it anew when its options or data change. */
export function usePlot(
  element: RefObject<HTMLElement | null>,
  options: Omit<uPlot.Options, "width">,
  data: uPlot.AlignedData,
): void {
  const made = useRef<uPlot | null>(null);
  useEffect(() => {
    const parent = element.current;
    if (!parent) return undefined;
    const width = () => Math.max(200, parent.clientWidth - 16);
    const plot = new uPlot({ ...options, width: width() }, data, parent);
    made.current = plot;
    const observer = new ResizeObserver(() => plot.setSize({ width: width(), height: options.height }));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [element, options, data]);
}

/** Shows the lines of a tip beside the cursor, or none. */
export function placeTip(tip: HTMLElement | null, plot: uPlot, lines: string[]): void {
  if (!tip) return;
  tip.hidden = lines.length === 0;
  const [first = "", ...rest] = lines;
  const head = document.createElement("b");
  head.textContent = first;
  const body = rest.map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  });
  tip.replaceChildren(head, ...body);
  const { left = 0, top = 0 } = plot.cursor;
  const isRight = left > plot.over.clientWidth / 2;
  const x = plot.over.offsetLeft + left;
  tip.style.left = isRight ? "auto" : `${x + 24}px`;
  tip.style.right = isRight ? `${(tip.parentElement?.clientWidth ?? 0) - x + 8}px` : "auto";
  tip.style.top = `${Math.max(0, top - 10)}px`;
}
