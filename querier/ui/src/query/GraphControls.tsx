import { ActionIcon, NativeSelect, SegmentedControl, Switch, TextInput } from "@mantine/core";
import { useEffect, useState } from "react";

import { formatDuration, parseDuration } from "../lib/duration";
import type { Density, DisplayMode, Panel, Resolution } from "../lib/panels";
import { TimeInput } from "./TimeInput";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** What the buttons beside the range step through. */
const RANGES = [
  MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
  2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 112 * DAY, 182 * DAY, 365 * DAY,
];

const FIXED = [10_000, 30_000, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR];

const DENSITIES: readonly [Density, string][] = [
  ["low", "Low resolution"],
  ["medium", "Medium resolution"],
  ["high", "High resolution"],
];

const MODES: { value: DisplayMode; label: string }[] = [
  { value: "lines", label: "Lines" },
  { value: "stacked", label: "Stacked" },
  { value: "heatmap", label: "Heatmap" },
];

interface GraphControlsProps {
  panel: Panel;
  onChange: (patch: Partial<Panel>) => void;
}

export function GraphControls({ panel, onChange }: GraphControlsProps) {
  return (
    <div className="controls">
      <RangeInput value={panel.range} onChange={(range) => onChange({ range })} />
      <TimeInput
        label="End time"
        value={panel.endTime}
        onChange={(endTime) => onChange({ endTime })}
        stride={panel.range / 2}
      />
      <ResolutionInput
        value={panel.resolution}
        onChange={(resolution) => onChange({ resolution })}
      />
      <span className="grow" />
      <Switch
        size="xs"
        label="From zero"
        checked={panel.yAxisMin === 0}
        onChange={(event) => onChange({ yAxisMin: event.currentTarget.checked ? 0 : null })}
      />
      <Switch
        size="xs"
        label="Exemplars"
        checked={panel.showExemplars}
        onChange={(event) => onChange({ showExemplars: event.currentTarget.checked })}
      />
      <SegmentedControl
        size="xs"
        aria-label="How it is drawn"
        data={MODES}
        value={panel.displayMode}
        onChange={(displayMode) => onChange({ displayMode })}
      />
    </div>
  );
}

interface RangeInputProps {
  value: number;
  onChange: (value: number) => void;
}

function RangeInput({ value, onChange }: RangeInputProps) {
  const [text, setText] = useState(formatDuration(value));
  useEffect(() => setText(formatDuration(value)), [value]);
  const isValid = parseDuration(text) !== null;
  const shorter = RANGES.findLast((range) => range < value);
  const longer = RANGES.find((range) => range > value);
  const submit = () => {
    const parsed = parseDuration(text);
    if (parsed !== null) onChange(parsed);
  };
  return (
    <div className="joined" role="group" aria-label="Range">
      <ActionIcon
        variant="default"
        size={30}
        aria-label="Shorter range"
        disabled={shorter === undefined}
        onClick={() => shorter !== undefined && onChange(shorter)}
      >
        −
      </ActionIcon>
      <TextInput
        size="xs"
        w={72}
        aria-label="Range"
        value={text}
        error={!isValid}
        onChange={(event) => setText(event.currentTarget.value)}
        onBlur={submit}
        onKeyDown={(event) => event.key === "Enter" && submit()}
      />
      <ActionIcon
        variant="default"
        size={30}
        aria-label="Longer range"
        disabled={longer === undefined}
        onClick={() => longer !== undefined && onChange(longer)}
      >
        +
      </ActionIcon>
    </div>
  );
}

interface ResolutionInputProps {
  value: Resolution;
  onChange: (value: Resolution) => void;
}

function isDensity(text: string): text is Density {
  return DENSITIES.some(([density]) => density === text);
}

function ResolutionInput({ value, onChange }: ResolutionInputProps) {
  const isCustom = value.type === "custom";
  const fixed = FIXED.map((step) => ({ value: String(step), label: `Every ${formatDuration(step)}` }));
  if (value.type === "fixed" && !FIXED.includes(value.step)) {
    fixed.push({ value: String(value.step), label: `Every ${formatDuration(value.step)}` });
  }
  const choose = (text: string) => {
    if (isDensity(text)) onChange({ type: "auto", density: text });
    else if (text === "custom") onChange({ type: "custom", step: MINUTE });
    else onChange({ type: "fixed", step: Number(text) });
  };
  return (
    <div className="joined" role="group" aria-label="Resolution">
      <NativeSelect
        size="xs"
        aria-label="Resolution"
        value={value.type === "auto" ? value.density : isCustom ? "custom" : String(value.step)}
        onChange={(event) => choose(event.currentTarget.value)}
        data={[
          ...DENSITIES.map(([density, label]) => ({ value: density, label })),
          ...fixed,
          { value: "custom", label: "Custom step" },
        ]}
      />
      {isCustom && <StepInput value={value.step} onChange={(step) => onChange({ type: "custom", step })} />}
    </div>
  );
}

function StepInput({ value, onChange }: RangeInputProps) {
  const [text, setText] = useState(formatDuration(value));
  const submit = () => {
    const parsed = parseDuration(text);
    if (parsed !== null) onChange(parsed);
  };
  return (
    <TextInput
      size="xs"
      w={72}
      aria-label="Step"
      value={text}
      error={parseDuration(text) === null}
      onChange={(event) => setText(event.currentTarget.value)}
      onBlur={submit}
      onKeyDown={(event) => event.key === "Enter" && submit()}
    />
  );
}
