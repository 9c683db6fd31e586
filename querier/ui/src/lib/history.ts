// Expressions that were run, the newest first, kept by the browser.

const KEY = "narthex.history";
const KEPT = 50;

export function pastQueries(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((it) => typeof it === "string") : [];
  } catch {
    return [];
  }
}

export function withQuery(past: readonly string[], expr: string): string[] {
  const text = expr.trim();
  if (text === "") return [...past];
  return [text, ...past.filter((other) => other !== text)].slice(0, KEPT);
}

export function remember(expr: string): void {
  keep(withQuery(pastQueries(), expr));
}

export function forgetAll(): void {
  keep([]);
}

function keep(past: string[]): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(past));
  } catch {
    // A browser that keeps nothing has no history.
  }
}
