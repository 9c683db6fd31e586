// The one place that asks the server.

/** The folder that the page lies in, with a slash behind: what is asked lies below it. */
export const BASE = new URL(".", window.location.href).pathname;

export type Params = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Answer<T> {
  data: T;
  warnings: string[];
  infos: string[];
  /** How fresh the answer is, in the server's words; empty if it does not say. */
  consistency: string;
}

interface Envelope<T> {
  status: "success" | "error";
  data?: T;
  errorType?: string;
  error?: string;
  warnings?: string[];
  infos?: string[];
}

/** Why there is no answer. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** Of HTTP; 0: nothing answered. */
    readonly code: number,
    /** Prometheus's error type, perhaps empty. */
    readonly kind: string,
  ) {
    super(message);
  }
}

function form(params: Params): URLSearchParams {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined) pairs.append(name, String(value));
  }
  return pairs;
}

/** The URL of an endpoint below `/api/v1/`. */
export function endpoint(path: string, params: Params = {}): string {
  const query = form(params).toString();
  return `${BASE}api/v1/${path}${query ? `?${query}` : ""}`;
}

async function send(url: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer.", 0, "");
  }
}

async function read<T>(response: Response): Promise<Answer<T>> {
  const text = await response.text();
  let envelope: Envelope<T>;
  try {
    envelope = JSON.parse(text) as Envelope<T>;
  } catch {
    const words = text.trim() || response.statusText;
    throw new ApiError(words.slice(0, 500), response.status, "");
  }
  if (envelope.status !== "success" || envelope.data === undefined) {
    const words = envelope.error ?? `HTTP ${response.status}`;
    throw new ApiError(words, response.status, envelope.errorType ?? "");
  }
  return {
    data: envelope.data,
    warnings: envelope.warnings ?? [],
    infos: envelope.infos ?? [],
    consistency: response.headers.get("Narthex-Consistency") ?? "",
  };
}

export async function get<T>(
  path: string,
  params: Params = {},
  signal?: AbortSignal,
): Promise<Answer<T>> {
  return read(await send(endpoint(path, params), { signal: signal ?? null }));
}

/** Asks with a form, as expressions may be longer than a URL. */
export async function ask<T>(
  path: string,
  params: Params,
  signal?: AbortSignal,
): Promise<Answer<T>> {
  const request = { method: "POST", body: form(params), signal: signal ?? null };
  return read(await send(endpoint(path), request));
}

/** Asks for something to be done that has no answer. */
export async function command(path: string, params: Params): Promise<void> {
  const response = await send(endpoint(path), { method: "POST", body: form(params) });
  if (!response.ok) await read(response);
}
