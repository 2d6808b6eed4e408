// @ts-check
/** The ways to load the dashboard, and a line to the server that can be cut. */

import { createStore } from "../partstream/partstream.js";
import { createOneResponseStore } from "./one-response.js";

/** @typedef {import("./one-response.js").Store} Store */
/** @typedef {"response" | "walk" | "ready-first" | "keys" | "stream"} Mode */
/** @typedef {{dashboard: string, readyFirst: string, keys: string, blocking: string}} Urls */

/** @type {Record<Mode, {label: string, says: string}>} */
export const MODES = {
  response: {
    label: "One response",
    says: "One request, one answer: the page stays empty until the slowest query is done.",
  },
  walk: {
    label: "Walk",
    says: "Small requests, one after the other: each brings the next two parts, in a fixed order.",
  },
  "ready-first": {
    label: "Ready first",
    says: "Small requests, one after the other: each brings the parts that are ready by then.",
  },
  keys: {
    label: "Keys",
    says: "The page asks for the parts by name, three in each request.",
  },
  stream: {
    label: "Stream",
    says: "One request whose answer stays open: each part is sent the moment it is ready.",
  },
};
export const DEFAULT_MODE = "stream";

/** What one response has no place to say about a part that is null. @type {Record<string, string>} */
const ABSENT = { deliveries: "The courier did not answer." };
/** Parts in one request by key. */
const BATCH = 3;
/** Short, so that a visitor sees the page go on; with the default, servers get more rest. */
const BACKOFF = 700; // milliseconds
/** Enough for about a minute, in which a visitor starts the server again. */
const ATTEMPTS = 8;
/** How long a line that was cut is down: less than the client waits before it resumes. */
const DOWN = 200; // milliseconds

/** @param {string | null} text @returns {Mode} */
export const modeOf = (text) =>
  text !== null && Object.hasOwn(MODES, text) ? /** @type {Mode} */ (text) : DEFAULT_MODE;

/** The mode that the address names. */
export const modeOfAddress = () => modeOf(new URLSearchParams(location.search).get("by"));

/** A line to the server that can be cut. */
export class Line {
  constructor() {
    /** What is cut with the line. */
    this.life = new AbortController();
    /** @type {typeof fetch} */
    this.fetch = (input, init = {}) => {
      const signals = init.signal ? [init.signal, this.life.signal] : [this.life.signal];
      return fetch(input, { ...init, signal: AbortSignal.any(signals) });
    };
  }

  /** Break off what is under way, or about to begin, in the way that a lost connection does. */
  cut() {
    this.life.abort(new TypeError("The line was cut."));
    setTimeout(() => this.mend(), DOWN);
  }

  mend() {
    if (this.life.signal.aborted) this.life = new AbortController();
  }
}

/** The URL of a visit of its own, in which the courier does not answer the first call. @param {string} url */
export function visiting(url) {
  const visit = Array.from(crypto.getRandomValues(new Uint32Array(2)), (half) => half.toString(36));
  return `${url}?visit=${visit.join("")}`;
}

/**
 * @param {Mode} mode
 * @param {Urls} urls
 * @param {Line} line
 * @param {string[]} names of all parts; only "keys" needs them
 * @returns {Store}
 */
export function openStore(mode, urls, line, names) {
  const options = { fetch: line.fetch, attempts: ATTEMPTS, backoff: BACKOFF };
  switch (mode) {
    case "response":
      return createOneResponseStore(visiting(urls.blocking), {
        fetch: line.fetch,
        absent: (part) => ABSENT[part] ?? "It did not come.",
      });
    case "walk":
      return createStore(visiting(urls.dashboard), { ...options, by: "walk" });
    case "ready-first":
      return createStore(visiting(urls.readyFirst), { ...options, by: "walk" });
    case "keys":
      return createStore(visiting(urls.keys), { ...options, keys: names, batch: BATCH });
    case "stream":
      return createStore(visiting(urls.dashboard), options);
  }
}
