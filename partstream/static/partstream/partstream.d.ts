/** The types of `partstream.js`. `docs/client.md` explains what they are for. */

/** What a view with parts sends: part names with the type of their data. */
export type Parts = object;

/** The name of one of the parts. */
export type PartName<P extends Parts> = Extract<keyof P, string>;

interface FailedPart<Name extends string, Code extends string> {
  readonly part: Name;
  readonly code: Code;
  /** What happened, for people. */
  readonly detail: string;
  /** Whether it makes sense to ask again. */
  readonly retryable: boolean;
  /** Asks for this part alone; absent by key. */
  readonly retry_cursor?: string;
  /** Whole seconds after which a retry may succeed, if the server knows it. */
  readonly retry_after?: number;
}

/**
 * Why a part failed, by `code`.
 *
 * `Codes` are those of your own `PartError`s: `PartError<"stock", "warehouse_closed">`.
 */
export type PartError<Name extends string = string, Codes extends string = never> =
  | FailedPart<
      Name,
      | "part_failed"
      | "part_timeout"
      | "part_forbidden"
      | "part_not_found"
      | "part_throttled"
      | "part_unknown"
      | "dependency_failed"
      | "not_serializable"
      | "capacity"
    >
  | (FailedPart<Name, "part_invalid"> & {
      /** What the application says about invalid input, in its own form. */
      readonly problems?: unknown;
    })
  // A parameter that is `never` adds nothing to the union.
  | (Codes extends string ? FailedPart<Name, Codes> : never);

/** A part that has come: `data`, or the `error` that it failed with. `name` tells the type of `data`. */
export type Part<P extends Parts, Codes extends string = never> = {
  [Name in PartName<P>]:
    | { readonly name: Name; readonly data: P[Name]; readonly error?: undefined }
    | { readonly name: Name; readonly data?: undefined; readonly error: PartError<Name, Codes> };
}[PartName<P>];

/** An answer of the server: a chunk of a walk, an answer by key, or a record of a stream. */
export interface Envelope<P extends Parts = Record<string, unknown>, Codes extends string = never> {
  readonly results: readonly { readonly [Name in PartName<P>]?: P[Name] }[];
  readonly errors?: readonly PartError<PartName<P>, Codes>[];
  /** The token that continues right after this answer; null is the end. */
  readonly cursor: string | null;
  readonly meta: {
    readonly total_parts: number;
    readonly current_part: number;
    readonly has_more: boolean;
    readonly manifest_url?: string;
    /** The parts still to come; only in the first answer. */
    readonly pending?: readonly string[];
  };
  readonly stream_error?: { readonly code: "stream_failed"; readonly detail: string };
}

/** An envelope whose errors are not known by their codes: what generators make of a schema fits, too. */
export type Answer<P extends Parts> = Omit<Envelope<P>, "errors"> & { readonly errors?: readonly { readonly part: string }[] };

interface Failure<Code extends string, Status extends number> extends Error {
  readonly name: "PartstreamError";
  readonly code: Code;
  /** The status of the answer; 0 if none came. */
  readonly status: Status;
  /** Whole seconds that the server asked the client to wait. */
  readonly retry_after?: number;
}

/**
 * Why a load failed, by `code`. `Codes` are those of your project's own refusals.
 *
 * Four codes are the client's own:
 *
 * - `network`: no answer came, or it broke off, again and again. `cause` is what `fetch` or `headers` threw.
 * - `stream_failed`: the server ended the stream early, again and again.
 * - `unexpected_answer`: the answer was not what a view with parts sends, for example a login page.
 * - `http_error`: a refusal without a `code`; see `status`.
 */
export type RequestError<Codes extends string = never> =
  | Failure<"cursor_invalid" | "keys_invalid" | "part_unknown" | "request_invalid", 400>
  | Failure<"cursor_expired", 410>
  | Failure<"cursor_stale", 409>
  | Failure<"not_authenticated" | "authentication_failed", 401 | 403>
  | Failure<"permission_denied" | "ip_denied", 403>
  | Failure<"not_found", 404>
  | Failure<"method_not_allowed", 405>
  | Failure<"not_acceptable", 406>
  | Failure<"throttled", 429>
  | Failure<"capacity" | "store_unavailable", 503>
  | (Failure<"network", number> & { readonly cause?: unknown })
  | Failure<"stream_failed", 200>
  | Failure<"unexpected_answer", number>
  | Failure<"http_error", number>
  | (Codes extends string ? Failure<Codes, number> : never);

/** `error instanceof PartstreamError` narrows to `RequestError`, and then `error.code` tells the rest. */
export const PartstreamError: {
  readonly prototype: RequestError;
  new (code: RequestError["code"], message: string, about?: { status?: number; retry_after?: number; cause?: unknown }): RequestError;
};

/** All times are in milliseconds. What `fetch` takes, such as `credentials` and `mode`, is passed on to it. */
export interface Options<P extends Parts = Record<string, unknown>>
  extends Omit<RequestInit, "body" | "headers" | "method" | "signal"> {
  /** How the parts come. Default: `"stream"`, and the walk where streams do not get through. */
  by?: "stream" | "walk";
  /** The format of streams. Default: `"ndjson"`. Some proxies pass on `"sse"` only. */
  format?: "ndjson" | "sse";
  /** Ask for these parts by key, in this order; the URL is then that of the route `parts/`. */
  keys?: readonly PartName<P>[];
  /** How many keys one request asks for. Default: 10. */
  batch?: number;
  /** The name of the cursor's parameter, if the view gives it another. Default: `"cursor"`. */
  cursorParameter?: string;
  /**
   * An answer that you have, for example from server-side rendering: its parts come first, then the load goes on. Or a
   * cursor to go on from: in the URL it would be a TypeError.
   */
  initial?: Answer<P> | { readonly cursor: string };
  /** Sent with each request. A function is called for each request, so a new token is used from then on. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Ends the load. What came before is kept. */
  signal?: AbortSignal | null;
  /** Used instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** Failures in a row after which the load fails. Default: 6. */
  attempts?: number;
  /** The first wait after a failure; it doubles with each further one, up to half a minute. Default: 1,000. */
  backoff?: number;
  /** A longer `Retry-After` is not waited for: the load fails, and `retry()` does nothing. Default: 120,000. */
  longestWait?: number;
  /** A stream from which nothing has come for so long was cut. Longer than `STREAM_HEARTBEAT`. Default: 15,000. */
  silence?: number;
  /** How long an answer of a walk, or by key, may take; and `headers`, if it is a function. Default: 60,000. */
  timeout?: number;
  /** A page that is hidden for so long pauses, until it is shown again. `Infinity`: never. Default: 30,000. */
  pauseAfter?: number;
  /** Streams that this page has open to one origin; further loads walk. Default: 1 in a page, no limit elsewhere. */
  maxStreams?: number;
}

/**
 * Load the parts of a view, each as soon as it is ready, and each once: with its data, or with its error.
 *
 * @example
 * for await (const part of partstream<Dashboard>("/api/dashboard/")) {
 *   if (part.error) showFailure(part.name, part.error.detail);
 *   else show(part.name, part.data);
 * }
 *
 * @throws {RequestError} if the load fails, after all parts that came.
 * @throws the reason of the signal, if the signal is aborted.
 * @throws {TypeError} if the URL has a cursor, or is relative where nothing gives it a base.
 */
export function partstream<P extends Parts = Record<string, unknown>, Codes extends string = never>(
  url: string | URL,
  options?: Options<P>,
): AsyncGenerator<Part<P, Codes>, void, undefined>;

/**
 * - `idle`: nothing has begun; the first subscriber begins it.
 * - `loading`: a request is under way.
 * - `complete`: everything that this user may see has come, or has failed.
 * - `cut`: parts are missing, and no request is under way: the client waits before it resumes, or it was stopped.
 * - `failed`: parts are missing, and the client has given up; `error` says why.
 */
export type Status = "idle" | "loading" | "complete" | "cut" | "failed";

/** What has come so far. A snapshot never changes: each change makes a new one. */
export interface Snapshot<P extends Parts = Record<string, unknown>, Codes extends string = never> {
  readonly status: Status;
  /** The last good data by name. */
  readonly parts: { readonly [Name in PartName<P>]?: P[Name] };
  /** The failed parts by name. A part that failed in a refresh is in `parts`, too, with its older data. */
  readonly errors: { readonly [Name in PartName<P>]?: PartError<Name, Codes> };
  /** The names of the parts that are still to come, as far as they are known. */
  readonly pending: readonly string[];
  /** Where a load goes on from: null at the end, undefined before the first answer. */
  readonly cursor: string | null | undefined;
  /** Why the load failed, or was cut; else null. */
  readonly error: RequestError<Codes> | null;
}

/** Holds the parts of one view. Its functions need no `this`, so they can be passed on. */
export interface Store<P extends Parts = Record<string, unknown>, Codes extends string = never> {
  /**
   * Call the listener after each change. The first subscriber begins the load; when the last one has left, the load
   * stops, and the next one resumes it.
   */
  subscribe(listener: () => void): () => void;
  getSnapshot(): Snapshot<P, Codes>;
  /**
   * Ask for a failed part again. Resolves when it has come, or has failed again. Does nothing for other parts, for a
   * `retry_after` longer than `longestWait`, and after the signal was aborted.
   */
  retry(part: PartName<P>): Promise<void>;
  /**
   * Load everything again, and keep the last good data until the new has come. Parts that do not come again go at the
   * end. Resolves at its end.
   */
  refresh(): Promise<Snapshot<P, Codes>>;
  /** Begin, or go on after `cut` or `failed`, with the parts that are missing. Resolves at its end. */
  resume(): Promise<Snapshot<P, Codes>>;
  /** End the load, and keep what has come. */
  stop(): void;
}

/**
 * A store of the parts of a view, shaped for `useSyncExternalStore` of React.
 *
 * @example
 * const store = createStore<Dashboard>("/api/dashboard/");
 * store.subscribe(() => render(store.getSnapshot()));
 */
export function createStore<P extends Parts = Record<string, unknown>, Codes extends string = never>(
  url: string | URL,
  options?: Options<P>,
): Store<P, Codes>;

/** Reads a stream piece by piece. */
export interface Parser<P extends Parts = Record<string, unknown>> {
  /**
   * The records that this text completes. Throws a SyntaxError for a line or event that is not JSON, in the next call if
   * records stand before it.
   */
  push(text: string): Envelope<P>[];
  /** The record that has come whole, but without its line feed. */
  end(): Envelope<P>[];
  /** The last `retry` of the server-sent events, in milliseconds. */
  readonly retry: number | undefined;
}

/**
 * A parser for a stream of `application/x-ndjson` or `text/event-stream`.
 *
 * The formats: https://github.com/ndjson/ndjson-spec and
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export function createParser<P extends Parts = Record<string, unknown>>(
  mediaType?: "application/x-ndjson" | "text/event-stream",
): Parser<P>;
