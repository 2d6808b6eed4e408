// @ts-check
/**
 * Loads the parts of a view, each as soon as it is ready: by a stream, a walk, or by key.
 *
 * One module without dependencies, for browsers, workers, Node, Bun and Deno. Its types and the
 * meaning of all options are in `partstream.d.ts`.
 */

/** @typedef {import("./partstream.d.ts").Envelope<any, any>} Envelope */
/** @typedef {import("./partstream.d.ts").Answer<any>} Answer */
/** @typedef {import("./partstream.d.ts").Options<any>} Options */
/** @typedef {import("./partstream.d.ts").Snapshot<any, any>} Snapshot */
/** @typedef {{name: string, data: any, error?: undefined} | {name: string, data?: undefined, error: any}} Part */
/** What came. @typedef {{parts: Part[], pending: readonly string[] | undefined, cursor: string | null}} Arrival */
/** What happens until more comes. @typedef {{status: "loading" | "cut", error: any, parts?: undefined}} Change */
/** @typedef {<T>(milliseconds: number, awaited: Promise<T>) => Promise<T>} Within */

const NDJSON = "application/x-ndjson";
const SSE = "text/event-stream";
/** How often a load may start again, by the reason. Without a limit it could do so for ever. */
const RESTARTS = { cursor_invalid: 1, cursor_expired: 2, cursor_stale: 2 };
/** These times are in milliseconds. */
const LONGEST_BACKOFF = 30_000;
const STEADY = 5_000; // a connection that held for so long is none that failed
const HELD_BACK = 2_000; // the opening record of a stream comes sooner
const AT_ONCE = 100;
const LAST_WORDS = 1_000; // for the end of a stream, after its last record
const FOR_EVER = 2 ** 31 - 1; // the longest time that timers know

/** @satisfies {Options} */
const DEFAULTS = {
  by: "stream",
  format: "ndjson",
  batch: 10,
  cursorParameter: "cursor",
  attempts: 6,
  backoff: 1_000,
  longestWait: 120_000,
  silence: 15_000,
  timeout: 60_000,
  pauseAfter: 30_000,
};

/** Why a request was given up. */
const HIDDEN = new Error("The page is hidden.");
const SILENT = new Error("Nothing came for too long.");

/** Origins, and addresses without a query, whose streams do not get through. @type {Set<string>} */
const walked = new Set();
/** Open streams by origin. @type {Map<string, number>} */
const streams = new Map();

/** A load that failed; `code` says why. */
export class PartstreamError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retry_after?: number | undefined, cause?: unknown}} [about]
   */
  constructor(code, message, { status = 0, retry_after, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PartstreamError";
    this.code = code;
    this.status = status;
    if (retry_after !== undefined) this.retry_after = retry_after;
  }
}

// Parsing

/** @param {string} [mediaType] @returns {import("./partstream.d.ts").Parser<any>} */
export function createParser(mediaType = NDJSON) {
  let rest = "";
  /** @type {string[]} */
  let data = [];
  /** @type {{retry: number | undefined, push: (text: string) => Envelope[], end: () => Envelope[]}} */
  const parser = {
    retry: undefined,
    push(text) {
      // A part of many megabytes comes in many pieces, and is searched once.
      if (!/[\r\n]/.test(text)) {
        rest += text;
        return [];
      }
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = /** @type {string} */ (lines.pop());
      const texts = lines.map(mediaType === SSE ? takeField : (line) => line.trim());
      return texts.filter(Boolean).map((json) => JSON.parse(json));
    },
    end() {
      try {
        return parser.push("\n\n");
      } catch {
        return []; // a record that was cut is never JSON
      }
    },
  };

  /** The data of the event that this line ends. @param {string} line */
  function takeField(line) {
    if (line === "") {
      const json = data.join("\n");
      data = [];
      return json;
    }
    const [, field, value = ""] = /** @type {string[]} */ (/^([^:]*)(?:: ?(.*))?$/s.exec(line));
    if (field === "data") data.push(value);
    if (field === "retry" && /^\d+$/.test(value)) parser.retry = Number(value);
    return "";
  }

  return parser;
}

// Waiting

const isHidden = () => globalThis.document?.visibilityState === "hidden";
const isOffline = () => globalThis.navigator?.onLine === false;

/**
 * Wait for a time, or until the signal is aborted, which rejects.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @param {boolean} [wakes] whether a page that is shown or online again ends the wait
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal, wakes = false) {
  return new Promise((resolve, reject) => {
    const listening = new AbortController();
    /** @param {() => void} settle */
    const end = (settle) => {
      clearTimeout(timer);
      listening.abort();
      settle();
    };
    /** @param {EventTarget | undefined} target @param {string} type @param {() => void} listener */
    const on = (target, type, listener) =>
      target?.addEventListener?.(type, listener, { signal: listening.signal });
    const timer = setTimeout(() => end(resolve), Math.min(milliseconds, FOR_EVER));
    const abort = () => end(() => reject(signal.reason));
    if (signal.aborted) return abort();
    on(signal, "abort", abort);
    if (wakes) {
      on(globalThis.document, "visibilitychange", () => isHidden() || end(resolve));
      if (globalThis.navigator) on(/** @type {any} */ (globalThis), "online", () => end(resolve));
    }
  });
}

/**
 * Call back when the page has been hidden for so long. A phone freezes a hidden page with its
 * timers, so the time is looked at again when the page is shown.
 * @param {number} milliseconds
 * @param {() => void} callback
 * @returns {() => void} ends this
 */
function whenHidden(milliseconds, callback) {
  const page = globalThis.document;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let since = Infinity;
  const look = () => {
    clearTimeout(timer);
    if (Date.now() - since >= milliseconds) callback();
    since = isHidden() ? Date.now() : Infinity;
    if (isHidden()) timer = setTimeout(callback, milliseconds);
  };
  page?.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(timer);
    page?.removeEventListener("visibilitychange", look);
  };
}

/** Count a stream of an origin as open, until the function that this returns is called. @param {string} origin */
function countStream(origin) {
  let counted = 1;
  const add = (/** @type {number} */ number) => streams.set(origin, (streams.get(origin) ?? 0) + number);
  add(counted);
  return () => {
    add(-counted);
    counted = 0;
  };
}

// Loading

/** The seconds that an answer asks to wait. @param {Response} response @param {any} body */
function waitOf(response, body) {
  const wait = body?.retry_after ?? response.headers.get("Retry-After");
  if (wait === null) return undefined;
  const seconds = /^\d+$/.test(wait) ? Number(wait) : (Date.parse(wait) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}

/** Why the server refused. @param {Response} response */
async function refusalOf(response) {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const code = typeof body?.code === "string" ? body.code : status === 429 ? "throttled" : "http_error";
  const message = typeof body?.detail === "string" ? body.detail : `The server answered ${status}.`;
  return new PartstreamError(code, message, { status, retry_after: waitOf(response, body) });
}

/** @param {AbortSignal} signal */
const reasonOf = (signal) => signal.reason ?? new DOMException("The load was aborted.", "AbortError");

/** @param {Answer} envelope @returns {Part[]} */
const partsOf = ({ results, errors = [] }) => [
  ...results.flatMap((result) => Object.entries(result)).map(([name, data]) => ({ name, data })),
  ...errors.map((error) => ({ name: error.part, error })),
];

/** One load: where it stands, and what it may still do. */
class Load {
  /**
   * @param {string | URL} url
   * @param {Options} options
   * @param {AbortSignal} signal
   * @param {Record<string, number>} [restarts]
   */
  constructor(url, options, signal, restarts = RESTARTS) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    /** @type {Options & Required<Pick<Options, keyof typeof DEFAULTS>>} */
    this.options = { ...DEFAULTS, ...Object.fromEntries(given) };
    this.signal = signal;
    this.url = new URL(url, globalThis.location?.href);
    this.origin = this.url.origin;
    this.address = this.origin + this.url.pathname;
    this.streaming = false;
    /** What is still to be asked for by key. @type {string[] | undefined} */
    this.keys = options.keys && [...options.keys];
    /** Where a walk or a stream goes on. @type {string | null | undefined} */
    this.cursor = undefined;
    /** The names of the parts whose data has come. @type {Set<string>} */
    this.delivered = new Set();
    /** @type {Record<string, number>} */
    this.restarts = { ...restarts };
    this.failures = 0; // in a row
    this.backoff = this.options.backoff;
  }

  get isComplete() {
    return this.keys ? this.keys.length === 0 : this.cursor === null;
  }

  /**
   * Everything that comes, each part once, and what happens in between.
   * @returns {AsyncGenerator<Arrival | Change, void, undefined>}
   */
  async *run() {
    const { by, initial, maxStreams = globalThis.document ? 1 : Infinity } = this.options;
    const isFree = (streams.get(this.origin) ?? 0) < maxStreams;
    const mayStream = isFree && !walked.has(this.origin) && !walked.has(this.address);
    this.streaming = by === "stream" && !this.keys && mayStream;
    const forget = this.streaming ? countStream(this.origin) : () => {};
    // At once, so that a load that takes the place of this one may stream.
    this.signal.addEventListener("abort", forget);
    try {
      if (initial && "results" in initial) {
        const { cursor } = initial;
        const arrival = this.take(initial);
        this.keys = this.keys?.filter((key) => !arrival.parts.some(({ name }) => name === key));
        yield { ...arrival, cursor };
      } else {
        this.cursor = initial?.cursor;
      }
      while (!this.isComplete) {
        if (this.signal.aborted) throw reasonOf(this.signal);
        yield { status: "loading", error: null };
        const failure = yield* this.request();
        if (this.signal.aborted || this.isComplete) continue;
        if (failure === HIDDEN) {
          yield { status: "cut", error: null };
          while (isHidden()) await pause(FOR_EVER, this.signal, true);
        } else if (failure) {
          yield* this.recover(failure);
        }
      }
    } finally {
      this.signal.removeEventListener("abort", forget);
      forget();
    }
  }

  /**
   * One request. The value is why it did not come to its end.
   * @returns {AsyncGenerator<Arrival, unknown, undefined>}
   */
  async *request() {
    const { batch, fetch = globalThis.fetch, format, headers, pauseAfter, silence, timeout } = this.options;
    const link = new AbortController();
    const abort = () => link.abort(reasonOf(this.signal));
    this.signal.addEventListener("abort", abort);
    if (this.signal.aborted) abort(); // since `run()` has looked, it has yielded
    const forgetHidden = whenHidden(pauseAfter, () => link.abort(HIDDEN));
    /** What comes of it, unless that takes too long. @type {Within} */
    const within = (milliseconds, awaited) => {
      const timer = setTimeout(() => link.abort(SILENT), milliseconds);
      return awaited.finally(() => clearTimeout(timer));
    };
    try {
      const media = format === "sse" ? SSE : NDJSON;
      const sent = new Headers(await (typeof headers === "function" ? headers() : headers));
      const accepted = sent.get("Accept") ?? "application/json";
      // The parameters stay: DRF can read the version of an API there.
      sent.set("Accept", this.streaming ? accepted.replace(/^[^;]*/, media) : accepted);
      const keys = this.keys?.slice(0, batch);
      const asked = Date.now();
      // What else `fetch` takes is among the options, and it ignores what it does not know.
      const answer = fetch(this.target(keys), { ...this.options, headers: sent, signal: link.signal });
      const response = await within(this.streaming ? silence : timeout, answer);
      const { body, ok, status } = response;
      const type = response.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase() ?? "";
      if (status === 204) return this.takeNothing();
      if (!ok) return await within(timeout, refusalOf(response));
      if (this.streaming && type === media && body) return yield* this.readStream(body, type, asked, within);
      const isJson = type.endsWith("json") && type !== NDJSON;
      const envelope = isJson ? await within(timeout, response.json()) : null;
      if (!Array.isArray(envelope?.results)) {
        const message = `This is not the answer of a view with parts: ${status}, ${type || "no type"}.`;
        return new PartstreamError("unexpected_answer", message, { status });
      }
      this.streaming = false;
      this.failures = 0;
      this.keys = this.keys?.filter((key) => !keys?.includes(key));
      yield this.take(envelope);
      return undefined;
    } catch (error) {
      if (link.signal.reason === SILENT && this.streaming) return this.walkFromNowOn("did not begin");
      return link.signal.reason ?? error;
    } finally {
      forgetHidden();
      this.signal.removeEventListener("abort", abort);
      link.abort();
    }
  }

  /** The address of the next request. @param {string[] | undefined} keys */
  target(keys) {
    const { cursorParameter } = this.options;
    const target = new URL(this.url);
    const [name, values] = keys ? ["keys", keys] : [cursorParameter, this.cursor ? [this.cursor] : []];
    // It is appended, because a cursor is bound to the rest of the query as it was.
    const parameter = `${name}=${values.map(encodeURIComponent).join(",")}`;
    if (values.length > 0) target.search += (target.search ? "&" : "?") + parameter;
    return target;
  }

  /**
   * The records of a stream. The value is that of `request()`.
   * @param {ReadableStream<Uint8Array>} body
   * @param {string} type
   * @param {number} asked
   * @param {Within} within
   * @returns {AsyncGenerator<Arrival, unknown, undefined>}
   */
  async *readStream(body, type, asked, within) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = createParser(type);
    let [first, last, waited, records, withParts] = [0, 0, 0, 0, 0];
    /** @type {unknown} */
    let failure;
    try {
      for (let ended = false; !ended; ) {
        const patience = this.isComplete ? LAST_WORDS : this.options.silence;
        const before = Date.now();
        const { value, done } = await within(patience, reader.read());
        ended = done;
        last = Date.now();
        if (first) waited += last - before;
        first ||= last;
        const found = parser.push(decoder.decode(value, { stream: !done }));
        for (const record of done ? [...found, ...parser.end()] : found) {
          const arrival = this.take(record);
          records += 1;
          if (arrival.parts.length > 0) withParts += 1;
          const { stream_error: error } = record;
          if (error) failure = new PartstreamError(error.code, error.detail, { status: 200 });
          yield arrival;
        }
        this.backoff = parser.retry ?? this.backoff;
      }
    } catch (error) {
      failure = error;
    }
    if (withParts > 2 && first - asked > HELD_BACK && waited < AT_ONCE) {
      this.walkFromNowOn(`came all at once after ${Math.round((first - asked) / 1000)} s`);
    } else if (failure === SILENT && records === 0) {
      return this.walkFromNowOn("did not begin");
    }
    if (withParts > 0 || (records > 0 && last - asked > STEADY)) this.failures = 0;
    else failure ??= new Error("The stream ended before a part came.");
    return failure;
  }

  /** What an envelope brings that is new. @param {Answer} envelope @returns {Arrival} */
  take(envelope) {
    const parts = partsOf(envelope).filter(({ name }) => !this.delivered.has(name));
    for (const { name, error } of parts) if (!error) this.delivered.add(name);
    this.cursor = envelope.cursor;
    return { parts, pending: envelope.meta?.pending, cursor: envelope.cursor };
  }

  /** 204: nothing remains. Of server-sent events it may also mean that streams are switched off. */
  takeNothing() {
    const isOff = this.streaming && this.options.format === "sse" && this.delivered.size === 0;
    this.streaming = false;
    if (isOff) return;
    this.cursor = null;
    this.keys &&= [];
  }

  /** @param {string} what */
  walkFromNowOn(what) {
    this.streaming = false;
    if (walked.has(this.origin)) return;
    walked.add(this.origin);
    console.warn(
      `partstream: a stream of ${this.origin} ${what}. Something on the way seems to hold streams ` +
        "back, so this page walks instead.",
    );
  }

  /**
   * Prepare the next request, or throw the failure.
   * @param {any} failure
   * @returns {AsyncGenerator<Change, void, undefined>}
   */
  async *recover(failure) {
    const { attempts, longestWait } = this.options;
    const error =
      failure instanceof PartstreamError
        ? failure
        : new PartstreamError("network", "The connection failed.", { cause: failure });
    const { code, status, retry_after } = error;
    if (this.streaming && (status === 406 || code === "capacity" || code === "unexpected_answer")) {
      if (status === 406) walked.add(this.address);
      this.streaming = false;
      return;
    }
    const restarts = this.restarts[code] ?? 0;
    if (restarts > 0) {
      this.restarts[code] = restarts - 1;
      this.cursor = undefined;
      return;
    }
    this.failures += 1;
    const backoff = Math.min(LONGEST_BACKOFF, this.backoff * 2 ** (this.failures - 1));
    const wait = retry_after === undefined ? backoff * (0.5 + Math.random() / 2) : retry_after * 1000;
    const mayPass = status >= 500 || ["network", "stream_failed", "throttled"].includes(code);
    if (!mayPass || this.failures >= attempts || wait > longestWait) throw error;
    yield { status: "cut", error };
    if (code === "network" && isOffline()) {
      this.failures -= 1;
      await pause(FOR_EVER, this.signal, true);
    } else {
      await pause(wait, this.signal, retry_after === undefined);
    }
  }
}

/**
 * @param {string | URL} url
 * @param {Options} [options]
 * @returns {AsyncGenerator<any, void, undefined>}
 */
export async function* partstream(url, options = {}) {
  const signal = options.signal ?? new AbortController().signal;
  for await (const { parts } of new Load(url, options, signal).run()) if (parts) yield* parts;
}

// The store

/**
 * @param {string | URL} url
 * @param {Options} [options]
 * @returns {import("./partstream.d.ts").Store<any, any>}
 */
export function createStore(url, options = {}) {
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** What the load since the last refresh has brought, and what it has not yet. @type {Set<string>} */
  let arrived = new Set();
  /** @type {string[]} */
  let remaining = [...(options.keys ?? [])];
  /** When a part may be asked for again. @type {Map<string, number>} */
  const due = new Map();
  /** @type {Map<string, Promise<void>>} */
  const retries = new Map();
  /** Ends what is under way. */
  let life = new AbortController();
  /** @type {Promise<Snapshot> | null} */
  let running = null;
  let isDeserted = false;
  /** @type {any} */
  let snapshot = { status: "idle", parts: {}, errors: {}, pending: remaining, cursor: undefined, error: null };

  /** @param {Partial<Snapshot>} changes */
  const change = (changes) => {
    const pending = [...new Set([...remaining, ...retries.keys()])];
    snapshot = { ...snapshot, pending, ...changes };
    for (const listener of [...listeners]) {
      try {
        listener();
      } catch (error) {
        queueMicrotask(() => {
          throw error; // it is the listener's, and the load goes on
        });
      }
    }
  };

  /** Put parts into the snapshot. @param {Part[]} parts @param {Partial<Snapshot>} [changes] */
  const show = (parts, changes = {}) => {
    const data = new Map(Object.entries(snapshot.parts));
    const errors = new Map(Object.entries(snapshot.errors));
    for (const part of parts) {
      arrived.add(part.name);
      errors.delete(part.name);
      if (!part.error) data.set(part.name, part.data);
      else {
        errors.set(part.name, part.error);
        due.set(part.name, Date.now() + (part.error.retry_after ?? 0) * 1000);
      }
    }
    remaining = remaining.filter((name) => !arrived.has(name));
    change({ parts: Object.fromEntries(data), errors: Object.fromEntries(errors), ...changes });
  };

  /** Load on from the snapshot's cursor. */
  const go = () => {
    const { signal } = life;
    const own = Promise.resolve()
      .then(() => run(signal))
      .finally(() => {
        if (running === own) running = null;
      });
    running = own;
    return own;
  };

  /** @param {AbortSignal} signal */
  const run = async (signal) => {
    const { cursor } = snapshot;
    const keys = options.keys && [...options.keys].filter((key) => !arrived.has(key));
    const initial = typeof cursor === "string" ? { cursor } : undefined;
    try {
      if (options.signal?.aborted) throw reasonOf(options.signal);
      for await (const step of new Load(url, { ...options, keys, initial }, signal).run()) {
        if (signal.aborted) return snapshot;
        if (step.parts) {
          remaining = [...(step.pending ?? remaining)];
          show(step.parts, { cursor: step.cursor });
        } else change(step);
      }
      remaining = [];
      change({ ...present(), status: "complete", error: null });
    } catch (error) {
      if (!signal.aborted) {
        const failure = /** @type {any} */ (error);
        change(options.signal?.aborted ? { status: "cut", error: null } : { status: "failed", error: failure });
      }
    }
    return snapshot;
  };

  /** Without the parts that have not come again: this user does not see them any more. */
  const present = () => {
    const keep = (/** @type {object} */ named) =>
      Object.fromEntries(Object.entries(named).filter(([name]) => arrived.has(name)));
    return { parts: keep(snapshot.parts), errors: keep(snapshot.errors) };
  };

  /** End what is under way. */
  const renew = () => {
    life.abort();
    life = new AbortController();
    running = null;
  };

  const resume = () => {
    if (snapshot.status === "cut") renew(); // it waits, and shall not
    return running ?? (snapshot.status === "complete" ? Promise.resolve(snapshot) : go());
  };

  const refresh = () => {
    retries.clear();
    renew();
    arrived = new Set();
    remaining = [...(options.keys ?? [...Object.keys({ ...snapshot.parts, ...snapshot.errors }), ...snapshot.pending])];
    snapshot = { ...snapshot, cursor: undefined };
    return go();
  };

  const stop = () => {
    const ends = running !== null;
    renew();
    if (ends) change({ status: "cut", error: null });
  };

  /** Ask for a failed part again. @param {any} error @returns {Promise<Part[] | null>} */
  const again = async (error) => {
    const { part: name, retry_cursor: cursor } = error;
    const { signal } = life;
    const chain = options.keys ? { keys: [name] } : { by: "walk", initial: { cursor } };
    const settings = /** @type {Options} */ ({ ...options, ...chain });
    /** @type {Part[]} */
    const came = [];
    try {
      await pause((due.get(name) ?? 0) - Date.now(), signal);
      for await (const { parts } of new Load(url, settings, signal, {}).run()) came.push(...(parts ?? []));
    } catch (failure) {
      const known = failure instanceof PartstreamError;
      if (known && failure.code in RESTARTS) return null;
      came.push({ name, error: known ? { ...error, detail: failure.message } : error });
    }
    return came;
  };

  /** @param {string} name @returns {Promise<void>} */
  const retry = (name) => {
    const { [name]: error, ...errors } = snapshot.errors;
    const under = retries.get(name);
    if (under || !error?.retryable) return under ?? Promise.resolve();
    const promise = again(error).then(async (came) => {
      if (retries.get(name) !== promise) return; // a refresh has begun
      retries.delete(name);
      if (came) show(came);
      else await refresh();
    });
    retries.set(name, promise);
    change({ errors });
    return promise;
  };

  /** @param {() => void} listener */
  const subscribe = (listener) => {
    const own = () => listener();
    listeners.add(own);
    if (snapshot.status === "idle" || isDeserted) {
      isDeserted = false;
      void resume();
    }
    return () => {
      listeners.delete(own);
      // A little later: React may leave and come back at once.
      setTimeout(() => {
        if (listeners.size > 0 || !running) return;
        stop();
        isDeserted = true;
      });
    };
  };

  const { initial } = options;
  if (initial && "results" in initial) {
    remaining = [...(options.keys ?? initial.meta.pending ?? [])];
    // Without a load: a server that renders the page has no address that a relative URL belongs to.
    show(partsOf(initial));
  }
  const isComplete = options.keys ? remaining.length === 0 : initial?.cursor === null;
  snapshot = { ...snapshot, cursor: initial?.cursor, status: isComplete ? "complete" : "idle" };
  options.signal?.addEventListener("abort", stop);

  return { subscribe, getSnapshot: () => snapshot, retry, refresh, resume, stop };
}
