import type { MatrixSeries } from "../api/types";
import { Series } from "../components/Labels";

interface LegendProps {
  series: MatrixSeries[];
  colors: string[];
  hidden: ReadonlySet<number>;
  onChange: (hidden: ReadonlySet<number>) => void;
}

/** Which color is which series. A click leaves one, a click with Ctrl takes one away. */
export function Legend({ series, colors, hidden, onChange }: LegendProps) {
  const click = (at: number, isOne: boolean) => {
    if (isOne) {
      const others = new Set(hidden);
      if (!others.delete(at)) others.add(at);
      onChange(others);
      return;
    }
    const isAlone = !hidden.has(at) && hidden.size === series.length - 1;
    onChange(new Set(isAlone ? [] : series.map((_, other) => other).filter((other) => other !== at)));
  };
  return (
    <ul className="legend" aria-label="Series" tabIndex={0}>
      {series.map((one, at) => (
        <li key={at}>
          <button
            type="button"
            aria-pressed={!hidden.has(at)}
            title="Click: only this one. Ctrl and click: without this one."
            onClick={(event) => click(at, event.ctrlKey || event.metaKey)}
          >
            <svg className="key" viewBox="0 0 10 10" aria-hidden="true">
              <rect width="10" height="10" rx="2" fill={colors[at]} />
            </svg>
            <Series labels={one.metric} />
          </button>
        </li>
      ))}
    </ul>
  );
}
