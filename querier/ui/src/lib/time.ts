// Times: unix milliseconds, and texts of them.

const two = (number: number) => String(number).padStart(2, "0");

/** In UTC, as links carry it. */
export function formatUtc(millis: number): string {
  return new Date(millis).toISOString().slice(0, 19).replace("T", " ");
}

/** Reads `2026-01-31 12:00:00` and the like as UTC; `null` for what is no time. */
export function parseUtc(text: string): number | null {
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Math.round(Number(trimmed) * 1000);
  const iso = trimmed.replace(" ", "T");
  const millis = Date.parse(/Z$|[+-]\d\d:\d\d$/.test(iso) ? iso : `${iso}Z`);
  return Number.isNaN(millis) ? null : millis;
}

/** A value of an `<input type="datetime-local">`, in the zone of the browser or in UTC. */
export function toInput(millis: number, isLocal: boolean): string {
  const date = new Date(millis);
  if (!isLocal) return date.toISOString().slice(0, 19);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function fromInput(text: string, isLocal: boolean): number | null {
  if (text === "") return null;
  const millis = isLocal ? new Date(text).getTime() : Date.parse(`${text}Z`);
  return Number.isNaN(millis) ? null : millis;
}

/** For people, in the zone of the browser or in UTC. */
export function formatTime(millis: number, isLocal: boolean): string {
  return toInput(millis, isLocal).replace("T", " ") + (isLocal ? "" : " UTC");
}

/** Go's zero time, which stands for "never". */
export function isNever(text: string): boolean {
  return text === "" || text.startsWith("0001-01-01");
}

/** How long ago a time of the API was. */
export function ago(text: string, now: number): string {
  const then = Date.parse(text);
  if (isNever(text) || Number.isNaN(then)) return "never";
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 100) return `${seconds.toFixed(1)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

/** A tick's text on an axis that spans so many seconds. */
export function tick(seconds: number, spanSeconds: number, isLocal: boolean): string {
  const text = toInput(seconds * 1000, isLocal);
  if (spanSeconds > 4 * 86_400) return text.slice(5, 10);
  if (spanSeconds > 86_400) return `${text.slice(5, 10)} ${text.slice(11, 16)}`;
  return spanSeconds <= 900 ? text.slice(11, 19) : text.slice(11, 16);
}
