import { ActionIcon } from "@mantine/core";

import { useSettings } from "../components/settings";
import { fromInput, toInput } from "../lib/time";

interface TimeInputProps {
  label: string;
  /** Unix milliseconds; `null` is now. */
  value: number | null;
  onChange: (value: number | null) => void;
  /** How far the arrows move, in milliseconds. */
  stride: number;
}

/** A time, which may be left open. */
export function TimeInput({ label, value, onChange, stride }: TimeInputProps) {
  const { isLocalTime } = useSettings();
  const shifted = (by: number) => onChange((value ?? Date.now()) + by);
  return (
    <div className="joined" role="group" aria-label={label}>
      <ActionIcon variant="default" size={30} aria-label={`${label} earlier`} onClick={() => shifted(-stride)}>
        ‹
      </ActionIcon>
      <input
        className="time-input"
        type="datetime-local"
        step={1}
        aria-label={`${label}${isLocalTime ? "" : " in UTC"}`}
        value={value === null ? "" : toInput(value, isLocalTime)}
        onChange={(event) => onChange(fromInput(event.currentTarget.value, isLocalTime))}
      />
      <ActionIcon variant="default" size={30} aria-label={`${label} later`} onClick={() => shifted(stride)}>
        ›
      </ActionIcon>
      {value !== null && (
        <ActionIcon variant="default" size={30} aria-label={`${label} is now`} title="Now" onClick={() => onChange(null)}>
          ×
        </ActionIcon>
      )}
    </div>
  );
}
