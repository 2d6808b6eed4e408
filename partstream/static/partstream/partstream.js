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
/** What happens until more comes. @typedef {{status: "loading" | "cut", error: any, restarts?: boolean, parts?: undefined}} Change */
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
const TICK = 250;
const SECOND = 1_000; // between two requests at least; and for the end of a stream after its last record
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
const HIDDEN = {};
const SILENT = new Error("Nothing came for too long.");

/** Origins, and addresses without a query, whose streams do not get through. @type {Set<string>} */
const walked = new Set();
/** The loads that stream. @type {Set<Load>} */
const streams = new Set();

/** A load that failed; `code` says why. */
export class PartstreamError extends Error {
  name = "PartstreamError";
  status = 0;
  /** @type {number | undefined} */
  retry_after;

  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retry_after?: number | undefined, cause?: unknown}} [about]
   */
  constructor(code, message, { cause, ...about } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    Object.assign(this, about);
  }
}

// Parsing

/** @param {string} [mediaType] @returns {import("./partstream.d.ts").Parser<any>} */
export function createParser(mediaType = NDJSON) {
  let rest = "";
  /** @type {string[]} */
  let data = [];
  /** What stands behind the last records. @type {unknown} */
  let junk;
  /** @type {{retry: number | undefined, push: (text: string) => Envelope[], end: () => Envelope[]}} */
  const parser = {
    retry: undefined,
    push(text) {
      if (junk) throw junk;
      // A part of many megabytes comes in many pieces, and is searched once.
      if (!/[\r\n]/.test(text)) {
        rest += text;
        return [];
      }
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = /** @type {string} */ (lines.pop());
      const texts = lines.map(mediaType === SSE ? takeField : (line) => line.trim()).filter(Boolean);
      const records = [];
      try {
        for (const json of texts) records.push(JSON.parse(json));
      } catch (error) {
        if (records.length === 0) throw error;
        junk = error;
      }
      return records;
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

/** @param {number} milliseconds @param {() => void} callback */
const later = (milliseconds, callback) => setTimeout(callback, Math.min(milliseconds, FOR_EVER));
const isHidden = () => globalThis.document?.visibilityState === "hidden";
const isOffline = () => globalThis.navigator?.onLine === false;

/** Why a load was aborted. @param {AbortSignal} signal */
const reasonOf = (signal) => signal.reason ?? new DOMException("Aborted.", "AbortError");

/**
 * Wait for a time, or until the signal is aborted, which rejects.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @param {number} [least] after this time, a page that is shown or online again ends the wait
 * @returns {Promise<boolean>} whether the page has ended it
 */
function pause(milliseconds, signal, least) {
  return new Promise((resolve, reject) => {
    const began = Date.now();
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
    const wake = () => {
      if (isHidden()) return;
      clearTimeout(timer);
      timer = later(began + Math.min(milliseconds, least ?? 0) - Date.now(), () => end(() => resolve(true)));
    };
    let timer = later(milliseconds, () => end(() => resolve(false)));
    const abort = () => end(() => reject(reasonOf(signal)));
    if (signal.aborted) return abort();
    on(signal, "abort", abort);
    if (least === undefined) return;
    on(globalThis.document, "visibilitychange", wake);
    if (globalThis.navigator) on(/** @type {any} */ (globalThis), "online", wake);
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
    if (isHidden()) timer = later(milliseconds, callback);
  };
  page?.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(timer);
    page?.removeEventListener("visibilitychange", look);
  };
}

// Loading

/** The whole seconds that an answer asks to wait. @param {Response} response @param {any} body */
function waitOf(response, body) {
  const wait = body?.retry_after ?? response.headers.get("Retry-After") ?? "";
  const number = parseFloat(wait);
  const seconds = isNaN(number) ? (Date.parse(wait) - Date.now()) / 1000 : number;
  return seconds >= 0 ? Math.ceil(seconds) : undefined;
}

/** Why the server refused. @param {Response} response */
async function refusalOf(response) {
  const { status } = response;
  const body = await response.json().catch(() => undefined);
  const named = typeof body?.code === "string" && body.code;
  const code = named || (status === 429 ? "throttled" : "http_error");
  const message = `${body?.detail ?? `The server answered ${status}.`}`;
  return new PartstreamError(code, message, { status, retry_after: waitOf(response, body) });
}

/** What an envelope brings. @param {Answer} envelope @returns {Part[]} */
const partsOf = ({ results, errors = [] }) => [
  ...results.flatMap((result) => Object.entries(result)).map(([name, data]) => ({ name, data })),
  ...errors.map((error) => ({ name: error.part, error })),
];

/** Whether this can be read as an envelope. @param {any} value */
function isEnvelope(value) {
  const { results, errors = [], cursor } = value ?? {};
  return (
    Array.isArray(results) &&
    results.every((result) => Object(result) === result) &&
    Array.isArray(errors) &&
    errors.every((error) => typeof error?.part === "string") &&
    (cursor === null || (typeof cursor === "string" && cursor !== ""))
  );
}

/** One load: where it stands, and what it may still do. */
class Load {
  /** @type {Options & Required<Pick<Options, keyof typeof DEFAULTS>>} */
  #options;
  #signal;
  #url;
  #origin;
  #address;
  #streaming = false;
  /** What is still to be asked for by key. @type {string[] | undefined} */
  #keys;
  /** Where a walk or a stream goes on. @type {string | null | undefined} */
  #cursor;
  /** The names of the parts that have come, or have failed. @type {Set<string>} */
  #delivered = new Set();
  /** @type {Record<string, number>} */
  #restarts;
  #repeats;
  #failures = 0; // in a row
  #backoff;
  /** Ends the request that is under way. @type {AbortController | undefined} */
  #link;
  #isPaused = false;

  /**
   * @param {string | URL} url
   * @param {Options} options
   * @param {AbortSignal} signal
   * @param {{restarts?: Record<string, number>, repeats?: boolean}} [how] how often it may start
   *   again for each reason, and whether parts then come again
   */
  constructor(url, options, signal, { restarts = RESTARTS, repeats = false } = {}) {
    const given = Object.entries(options).filter(([, value]) => value != null);
    this.#options = { ...DEFAULTS, ...Object.fromEntries(given) };
    this.#signal = signal;
    this.#url = new URL(url, globalThis.location?.href);
    if (this.#url.searchParams.has(this.#options.cursorParameter)) {
      throw new TypeError("Give the cursor as `initial: {cursor}`, not in the URL.");
    }
    this.#origin = this.#url.origin;
    this.#address = this.#origin + this.#url.pathname;
    this.#keys = options.keys && [...options.keys];
    this.#restarts = { ...restarts };
    this.#repeats = repeats;
    this.#backoff = this.#options.backoff;
  }

  get #isComplete() {
    return this.#keys ? !this.#keys.length : this.#cursor === null;
  }

  /**
   * Everything that comes, each part once, and what happens in between.
   * @returns {AsyncGenerator<Arrival | Change, void, undefined>}
   */
  async *run() {
    const { by, initial, maxStreams = globalThis.document ? 1 : Infinity, pauseAfter } = this.#options;
    const isFree = [...streams].filter((load) => load.#origin === this.#origin).length < maxStreams;
    const mayStream = isFree && !walked.has(this.#origin) && !walked.has(this.#address);
    this.#streaming = by === "stream" && !this.#keys && mayStream;
    if (this.#streaming) streams.add(this);
    const forgetStream = () => streams.delete(this);
    // At once, so that a load that takes the place of this one may stream.
    this.#signal.addEventListener("abort", forgetStream);
    const forgetHidden = whenHidden(pauseAfter, () => {
      this.#isPaused = true;
      this.#link?.abort(HIDDEN);
    });
    try {
      if (initial && "results" in initial) {
        const arrival = this.#take(initial);
        this.#keys = this.#keys?.filter((key) => !this.#delivered.has(key));
        yield arrival;
      } else {
        this.#cursor = initial?.cursor;
      }
      while (!this.#isComplete) {
        if (this.#isPaused && isHidden()) {
          yield { status: "cut", error: null };
          while (isHidden()) await pause(FOR_EVER, this.#signal, 0);
        }
        this.#isPaused = false;
        if (this.#signal.aborted) throw reasonOf(this.#signal);
        yield { status: "loading", error: null };
        const failure = yield* this.#request();
        const isOver = this.#signal.aborted || this.#isComplete || failure === HIDDEN;
        if (failure && !isOver) yield* this.#recover(failure);
      }
    } finally {
      this.#signal.removeEventListener("abort", forgetStream);
      forgetStream();
      forgetHidden();
    }
  }

  /**
   * One request. The value is why it did not come to its end.
   * @returns {AsyncGenerator<Arrival, unknown, undefined>}
   */
  async *#request() {
    const { batch, fetch = globalThis.fetch, format, headers, silence, timeout } = this.#options;
    const link = new AbortController();
    this.#link = link;
    /** @type {Promise<never>} */
    const gone = new Promise((_, reject) => {
      link.signal.addEventListener("abort", () => reject(link.signal.reason));
    });
    gone.catch(() => {}); // whoever waits gets it
    const abort = () => link.abort(reasonOf(this.#signal));
    this.#signal.addEventListener("abort", abort);
    if (this.#signal.aborted) abort();
    /** What comes of it, unless that takes too long. @type {Within} */
    const within = async (milliseconds, awaited) => {
      const timer = later(milliseconds, () => link.abort(SILENT));
      try {
        return await Promise.race([awaited, gone]);
      } finally {
        clearTimeout(timer);
      }
    };
    const silent = { since: performance.now(), ticks: 0 };
    const ticker = setInterval(() => (silent.ticks += 1), TICK);
    try {
      const media = format === "sse" ? SSE : NDJSON;
      const given = typeof headers === "function" ? headers() : headers;
      const sent = new Headers((await within(timeout, Promise.resolve(given))) ?? undefined);
      const accepted = sent.get("Accept") ?? "application/json";
      // The parameters stay: DRF can read the version of an API there.
      sent.set("Accept", this.#streaming ? accepted.replace(/^[^;]*/, media) : accepted);
      const keys = this.#keys?.slice(0, Math.max(1, batch));
      // What else `fetch` takes is among the options, and it ignores what it does not know.
      const answer = fetch(this.#target(keys), { ...this.#options, headers: sent, signal: link.signal });
      const response = await within(this.#streaming ? silence : timeout, answer);
      const { body, ok, status } = response;
      const type = response.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase() ?? "";
      if (status === 204) {
        // Nothing remains. Of server-sent events it says that streams are switched off.
        if (!this.#streaming || media === NDJSON) [this.#cursor, this.#keys] = [null, keys && []];
        this.#streaming = false;
        return undefined;
      }
      if (!ok) return await within(timeout, refusalOf(response));
      if (this.#streaming && type === media && body) return yield* this.#readStream(body, type, silent, within);
      const isJson = type.endsWith("json") && type !== NDJSON;
      const before = this.#cursor;
      const envelope = isJson ? await within(timeout, response.json()) : null;
      const arrival = this.#take(envelope, `${status}, ${type || "no type"}`);
      this.#streaming = false;
      this.#keys = this.#keys?.filter((key) => !keys?.includes(key));
      yield arrival;
      const isStuck = !this.#isComplete && !this.#keys && (this.#cursor === before || !partsOf(envelope).length);
      if (isStuck) return new Error("No part came.");
      this.#failures = 0;
      return undefined;
    } catch (error) {
      if (link.signal.reason === SILENT && this.#streaming) return this.#walkFromNowOn("did not begin");
      return link.signal.reason ?? error;
    } finally {
      clearInterval(ticker);
      this.#signal.removeEventListener("abort", abort);
      link.abort();
    }
  }

  /** The address of the next request. @param {string[] | undefined} keys */
  #target(keys) {
    const { cursorParameter } = this.#options;
    const target = new URL(this.#url);
    const [name, values] = keys ? ["keys", keys] : [cursorParameter, this.#cursor ? [this.#cursor] : []];
    // It is appended, because a cursor is bound to the rest of the query as it was.
    const parameter = `${name}=${values.map(encodeURIComponent)}`;
    if (values.length > 0) target.search += (target.search ? "&" : "?") + parameter;
    return target;
  }

  /**
   * The records of a stream. The value is that of `request()`.
   * @param {ReadableStream<Uint8Array>} body
   * @param {string} type
   * @param {{since: number, ticks: number}} silent since the request was sent
   * @param {Within} within
   * @returns {AsyncGenerator<Arrival, unknown, undefined>}
   */
  async *#readStream(body, type, silent, within) {
    const { silence } = this.#options;
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = createParser(type);
    let [first, last, waited, records, withParts] = [0, 0, 0, 0, 0];
    let wasBusy = false;
    let deadline = silent.since + silence; // of the first record, and of the end after the last one
    /** @type {unknown} */
    let failure;
    try {
      for (let ended = false; !ended; ) {
        const before = performance.now();
        const isBetween = records > 0 && !this.#isComplete;
        const patience = isBetween ? silence : Math.max(0, deadline - before);
        const { value, done } = await within(patience, reader.read());
        ended = done;
        last = performance.now();
        if (first) waited += last - before;
        else wasBusy = silent.ticks * TICK < (last - silent.since) / 2;
        first ||= last;
        const found = parser.push(decoder.decode(value, { stream: !done }));
        for (const record of done ? [...found, ...parser.end()] : found) {
          const arrival = this.#take(record);
          records += 1;
          if (arrival.parts.length > 0) withParts += 1;
          deadline = last + SECOND;
          const { stream_error: error } = record;
          if (error) failure = new PartstreamError(error.code, error.detail, { status: 200 });
          yield arrival;
        }
        this.#backoff = parser.retry ?? this.#backoff;
      }
    } catch (error) {
      failure = error;
    } finally {
      reader.cancel().catch(() => {}); // of a `fetch` that ignores its signal
    }
    const silentFor = first - silent.since;
    // A page that was busy saw the first record late, whenever it came.
    if (withParts > 2 && silentFor > HELD_BACK && waited < AT_ONCE && !wasBusy) {
      this.#walkFromNowOn(`came all at once after ${Math.round(silentFor / 1000)} s`);
    } else if (failure === SILENT && records === 0) {
      return this.#walkFromNowOn("did not begin");
    }
    if (withParts > 0 || (records > 0 && last - silent.since > STEADY)) this.#failures = 0;
    else failure ??= new Error("No part came.");
    return failure;
  }

  /** What an envelope brings that is new. @param {Answer} envelope @param {string} [from] @returns {Arrival} */
  #take(envelope, from = "a record of a stream") {
    if (!isEnvelope(envelope)) {
      const message = `This is not the answer of a view with parts: ${from}.`;
      throw new PartstreamError("unexpected_answer", message, { status: 200 });
    }
    const { cursor, meta } = envelope;
    const parts = partsOf(envelope).filter(({ name }) => !this.#delivered.has(name));
    for (const { name } of parts) this.#delivered.add(name);
    this.#cursor = cursor;
    return { parts, pending: meta?.pending, cursor };
  }

  /** @param {string} what */
  #walkFromNowOn(what) {
    this.#streaming = false;
    if (walked.has(this.#origin)) return;
    walked.add(this.#origin);
    console.warn(`partstream: a stream of ${this.#origin} ${what}, so this page walks. Does a proxy buffer it?`);
  }

  /**
   * Prepare the next request, or throw the failure.
   * @param {any} failure
   * @returns {AsyncGenerator<Change, void, undefined>}
   */
  async *#recover(failure) {
    const { attempts, longestWait } = this.#options;
    const error =
      failure instanceof PartstreamError
        ? failure
        : new PartstreamError("network", "The connection failed.", { cause: failure });
    const { code, status, retry_after } = error;
    if (this.#streaming && (status === 406 || code === "capacity" || code === "unexpected_answer")) {
      if (status === 406) walked.add(this.#address);
      this.#streaming = false;
      return;
    }
    const restarts = this.#restarts[code] ?? 0;
    if (restarts > 0) {
      this.#restarts[code] = restarts - 1;
      this.#cursor = undefined;
      if (this.#repeats) this.#delivered.clear();
      yield { status: "loading", error: null, restarts: true };
      return;
    }
    this.#failures += 1;
    const isLast = this.#failures >= attempts;
    // What no request can help, or what nobody would see fail.
    const isAway = code === "network" && (isOffline() || (isHidden() && isLast));
    const backoff = Math.min(LONGEST_BACKOFF, this.#backoff * 2 ** (this.#failures - 1));
    const wait = retry_after ? retry_after * 1000 : backoff * (0.5 + Math.random() / 2);
    const mayPass = status >= 500 || status === 429 || code === "network" || code === "stream_failed";
    if (!isAway && (!mayPass || isLast || wait > longestWait)) throw error;
    yield { status: "cut", error };
    const isWoken = await pause(isAway ? FOR_EVER : wait, this.#signal, retry_after ? undefined : SECOND);
    if (isWoken) this.#failures -= 1;
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
  const keys = options.keys && [...new Set(options.keys)];
  const { initial, signal: outer } = options;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** What the load since the last start has brought, and what it has not yet. @type {Set<string>} */
  let arrived = new Set();
  /** @type {readonly string[]} */
  let remaining = keys ?? [];
  /** Where the load stands. @type {string | null | undefined} */
  let cursor = initial?.cursor;
  /** When a part may be asked for again. @type {Map<string, number>} */
  const due = new Map();
  /** What is asked for again, with the errors that it had. @type {Map<string, {error: any, promise?: Promise<void>}>} */
  const retries = new Map();
  /** Ends what is under way. */
  let life = new AbortController();
  /** @type {Promise<Snapshot> | null} */
  let running = null;
  let isDeserted = false;
  /** @type {any} */
  let snapshot = { status: "idle", parts: {}, errors: {}, pending: remaining, cursor, error: null };

  /** @param {Partial<Snapshot>} changes */
  const change = (changes) => {
    const pending = [...new Set([...remaining, ...retries.keys()])];
    snapshot = { ...snapshot, pending, cursor, ...changes };
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

  /** Put parts into the snapshot. @param {Part[]} parts */
  const show = (parts) => {
    const data = new Map(Object.entries(snapshot.parts));
    const errors = new Map(Object.entries(snapshot.errors));
    for (const part of parts) {
      arrived.add(part.name);
      retries.delete(part.name); // what it brings is older
      errors.delete(part.name);
      if (!part.error) data.set(part.name, part.data);
      else {
        errors.set(part.name, part.error);
        due.set(part.name, Date.now() + (part.error.retry_after ?? 0) * 1000);
      }
    }
    remaining = remaining.filter((name) => !arrived.has(name));
    change({ parts: Object.fromEntries(data), errors: Object.fromEntries(errors) });
  };

  /** All parts are still to come. */
  const startAgain = () => {
    const { errors, parts, pending } = snapshot;
    arrived = new Set();
    remaining = keys ?? [...Object.keys({ ...parts, ...errors }), ...pending];
    cursor = undefined;
  };

  /** Without what has not come again: this user does not see it any more. @param {object} named */
  const keep = (named) => Object.fromEntries(Object.entries(named).filter(([name]) => arrived.has(name)));

  /** End what is under way. */
  const renew = () => {
    life.abort();
    life = new AbortController();
    running = null;
    const errors = Object.fromEntries([...retries].map(([name, { error }]) => [name, error]));
    retries.clear();
    return { errors: { ...snapshot.errors, ...errors } };
  };

  /** Do something that the options' signal stops. @template T @param {() => Promise<T>} work */
  const stoppable = async (work) => {
    const end = () => stop();
    outer?.addEventListener("abort", end);
    return work().finally(() => outer?.removeEventListener("abort", end));
  };

  /** Load on from where it stands. */
  const go = () => {
    const { signal } = life;
    const left = keys?.filter((key) => !arrived.has(key));
    const from = typeof cursor === "string" ? { cursor } : undefined;
    const load = new Load(url, { ...options, keys: left, initial: from }, signal, { repeats: true });
    const own = stoppable(() => Promise.resolve().then(() => follow(load, signal))).finally(() => {
      if (running === own) running = null;
    });
    running = own;
    return own;
  };

  /** @param {Load} load @param {AbortSignal} signal */
  const follow = async (load, signal) => {
    try {
      if (outer?.aborted) throw reasonOf(outer);
      for await (const step of load.run()) {
        if (signal.aborted) return snapshot;
        if (step.parts) {
          remaining = step.pending ?? remaining;
          if (!keys) cursor = step.cursor;
          show(step.parts);
        } else {
          if (step.restarts) startAgain();
          change({ status: step.status, error: step.error });
        }
      }
      if (signal.aborted) return snapshot;
      remaining = [];
      cursor = null;
      const { parts, errors } = snapshot;
      change({ parts: keep(parts), errors: keep(errors), status: "complete", error: null });
    } catch (failure) {
      const error = /** @type {any} */ (failure);
      if (outer?.aborted) change({ status: "cut", error: null });
      else if (!signal.aborted) change({ status: "failed", error });
    }
    return snapshot;
  };

  const resume = () => {
    if (snapshot.status === "complete") return Promise.resolve(snapshot);
    if (snapshot.status === "cut") change(renew()); // it waits, and shall not
    return running ?? go();
  };

  const refresh = () => {
    renew(); // What is asked for again comes with the rest.
    startAgain();
    return go();
  };

  const stop = () => {
    const status = running ? "cut" : snapshot.status;
    const isIdle = !running && !retries.size;
    const { errors } = renew();
    if (!isIdle) change({ errors, status });
  };

  /** Ask for a failed part again; null if that has to start again. @param {any} error @returns {Promise<Part[] | null>} */
  const again = async (error) => {
    const { part: name, retry_cursor } = error;
    const { signal } = life;
    const chain = keys
      ? { keys: [name], initial: undefined }
      : { by: "walk", initial: { cursor: retry_cursor } };
    const settings = /** @type {Options} */ ({ ...options, ...chain });
    /** @type {Part[]} */
    const came = [];
    try {
      await pause((due.get(name) ?? 0) - Date.now(), signal);
      const load = new Load(url, settings, signal, { restarts: {} });
      for await (const { parts } of load.run()) came.push(...(parts ?? []));
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
    const wait = (due.get(name) ?? 0) - Date.now();
    const under = retries.get(name)?.promise;
    const mayAsk = error?.retryable && !outer?.aborted && wait <= (options.longestWait ?? DEFAULTS.longestWait);
    if (under || !mayAsk) return under ?? Promise.resolve();
    /** @type {{error: any, promise?: Promise<void>}} */
    const own = { error };
    retries.set(name, own);
    own.promise = stoppable(() => again(error)).then(async (came) => {
      if (retries.get(name) !== own) return; // something newer has come, or will
      retries.delete(name);
      if (came) show(came);
      else await refresh();
    });
    change({ errors });
    return own.promise;
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

  if (initial && "results" in initial) {
    // Without a load: a server that renders the page has no address that a relative URL belongs to.
    remaining = keys ?? initial.meta?.pending ?? [];
    show(partsOf(initial));
  }
  const isComplete = keys ? !remaining.length : cursor === null;
  snapshot = { ...snapshot, status: isComplete ? "complete" : "idle" };

  return { subscribe, getSnapshot: () => snapshot, retry, refresh, resume, stop };
}
