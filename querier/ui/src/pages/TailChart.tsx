import { useComputedColorScheme } from "@mantine/core";
import { useMemo, useRef } from "react";
import type uPlot from "uplot";

import { useSettings } from "../components/settings";
import { color } from "../lib/chart";
import { parseSample, short } from "../lib/numbers";
import type { TailSample } from "../lib/tail";
import { basics, usePlot } from "../query/usePlot";

/** Series that are drawn: the first that came. */
const LINES_MAX = 50;

/** Samples at their own times. */
export default function TailChart({ samples }: { samples: TailSample[] }) {
  const chart = useRef<HTMLDivElement>(null);
  const isDark = useComputedColorScheme() === "dark";
  const { isLocalTime } = useSettings();
  const names = useMemo(() => [...new Set(samples.map(({ series }) => series))].slice(0, LINES_MAX), [samples]);
  const data = useMemo(() => columns(samples, names), [samples, names]);
  const count = names.length;
  const options = useMemo(() => {
    const base = basics(() => undefined, isLocalTime);
    const [x, y] = base.axes;
    return {
      ...base,
      height: 220,
      cursor: { drag: { x: false, y: false } },
      axes: [x, { ...y, values: (_: uPlot, ticks: number[]) => ticks.map(short) }],
      series: [
        {},
        ...Array.from({ length: count }, (_, at) => ({ stroke: color(at, isDark), width: 1.5, spanGaps: true })),
      ],
    };
  }, [count, isDark, isLocalTime]);
  usePlot(chart, options, data);
  return <div className="chart" ref={chart} role="img" aria-label={`Chart of ${count} series`} />;
}

function columns(samples: TailSample[], names: string[]): uPlot.AlignedData {
  const times = [...new Set(samples.map(({ time }) => time))].sort((a, b) => a - b);
  const at = new Map(times.map((time, index) => [time, index]));
  const lines = names.map((name) => {
    const line = new Array<number | null>(times.length).fill(null);
    for (const { series, time, text } of samples) {
      const value = parseSample(text);
      if (series === name && Number.isFinite(value)) line[at.get(time) ?? 0] = value;
    }
    return line;
  });
  return [times, ...lines];
}
