// @ts-check
/** A store of a plain view, which sends all parts in one response: the same shape, no progress. */

import { PartstreamError } from "../partstream/partstream.js";

/** @typedef {import("../partstream/partstream.js").Store<Record<string, any>>} Store */
/** @typedef {import("../partstream/partstream.js").Snapshot<Record<string, any>>} Snapshot */

/**
 * @param {string} url
 * @param {{fetch: typeof fetch, absent: (part: string) => string}} options `absent` says why a part
 *   is null: the response has no place for that
 * @returns {Store}
 */
export function createOneResponseStore(url, options) {
  /** @type {Set<() => void>} */
  const listeners = new Set();
  let life = new AbortController();
  /** @type {Promise<Snapshot> | null} */
  let running = null;
  /** @type {Snapshot} */
  let snapshot = {
    status: "idle",
    parts: {},
    errors: {},
    pending: [],
    cursor: undefined,
    error: null,
  };

  /** @param {Partial<Snapshot>} changes */
  const change = (changes) => {
    snapshot = { ...snapshot, ...changes };
    for (const listener of [...listeners]) listener();
    return snapshot;
  };

  /** @param {AbortSignal} signal @returns {Promise<Record<string, any>>} */
  const ask = async (signal) => {
    let response, body;
    try {
      response = await options.fetch(url, { headers: { Accept: "application/json" }, signal });
      // A refusal may be a page for people.
      body = await (response.ok ? response.json() : response.json().catch(() => ({})));
    } catch (cause) {
      throw new PartstreamError("network", "The connection failed.", { cause });
    }
    if (response.ok) return body;
    const message = String(body.detail ?? `The server answered ${response.status}.`);
    throw new PartstreamError("http_error", message, { status: response.status });
  };

  /** Take the given parts of a response, or all. @param {Record<string, any>} body @param {string[]} [only] */
  const take = (body, only = Object.keys(body)) => {
    const parts = { ...snapshot.parts };
    const errors = { ...snapshot.errors };
    for (const part of only) {
      delete errors[part];
      if (body[part] !== null && body[part] !== undefined) parts[part] = body[part];
      else {
        errors[part] = { part, code: "part_failed", detail: options.absent(part), retryable: true };
      }
    }
    return { parts, errors };
  };

  /** @param {AbortSignal} signal */
  const load = async (signal) => {
    change({ status: "loading", error: null });
    try {
      const body = await ask(signal);
      if (!signal.aborted) change({ ...take(body), status: "complete", cursor: null });
    } catch (error) {
      if (!(error instanceof PartstreamError)) throw error;
      if (!signal.aborted) change({ status: "failed", error });
    } finally {
      if (!signal.aborted) running = null;
    }
    return snapshot;
  };

  const stop = () => {
    life.abort();
    life = new AbortController();
    if (running) change({ status: "cut", error: null });
    running = null;
  };

  const resume = () => {
    if (snapshot.status === "complete") return Promise.resolve(snapshot);
    return (running ??= load(life.signal));
  };

  return {
    subscribe(listener) {
      listeners.add(listener);
      void resume();
      return () => listeners.delete(listener);
    },
    getSnapshot: () => snapshot,
    /** One part cannot be asked for alone, so everything is asked for again. */
    async retry(part) {
      const { [part]: before, ...errors } = snapshot.errors;
      if (!before) return;
      const { signal } = life;
      change({ errors, pending: [...snapshot.pending, part] });
      /** @type {Partial<Snapshot>} */
      let outcome;
      try {
        outcome = take(await ask(signal), [part]);
      } catch (error) {
        if (!(error instanceof PartstreamError)) throw error;
        outcome = { errors: { ...snapshot.errors, [part]: { ...before, detail: error.message } } };
      }
      if (signal.aborted) return;
      change({ ...outcome, pending: snapshot.pending.filter((name) => name !== part) });
    },
    refresh() {
      stop();
      return (running = load(life.signal));
    },
    resume,
    stop,
  };
}
