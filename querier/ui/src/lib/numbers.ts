// Numbers for people.

const SUFFIXES: readonly (readonly [number, string])[] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** At most four digits, with a suffix where it is long. */
export function short(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const size = Math.abs(value);
  if (size === 0) return "0";
  for (const [unit, suffix] of SUFFIXES) {
    if (size >= unit) return `${Number((value / unit).toPrecision(4))}${suffix}`;
  }
  return size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const GROUPED = new Intl.NumberFormat("en-US");

/** A whole number with its thousands apart. */
export function grouped(value: number): string {
  return GROUPED.format(value);
}

export function bytes(value: number): string {
  for (const [unit, name] of [
    [2 ** 30, "GiB"],
    [2 ** 20, "MiB"],
    [2 ** 10, "KiB"],
  ] as const) {
    if (value >= unit) return `${(value / unit).toPrecision(3)} ${name}`;
  }
  return `${value} B`;
}

/** A sample's text as a number. */
export function parseSample(text: string): number {
  if (text === "+Inf" || text === "Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}
