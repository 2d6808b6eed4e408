// @ts-check
/** What the page tells a shopkeeper about loads that were interrupted, or that failed. */

/** @typedef {import("./modes.js").Mode} Mode */
/** @typedef {import("./one-response.js").Snapshot["error"]} Failure */
/**
 * What is said while nothing comes, when the parts come again, and at the end.
 * @typedef {{now: (error: Failure) => string, again: string, after: string}} Interruption
 */

const BUSY = "The server is busy.";
const BUSY_CODES = ["throttled", "capacity", "store_unavailable"];
/** The cursor is of no use any more, so that the load starts again. */
const CHANGED_CODES = ["cursor_invalid", "cursor_expired", "cursor_stale"];

/** @param {Failure} error */
const backIn = (error) => (error?.retry_after ? `in ${error.retry_after} s` : "in a moment");

/** @type {Interruption} */
export const PAUSED = {
  now: () => "Paused while this page is hidden.",
  again: "Loading the rest…",
  after: "It paused while this page was hidden.",
};
/** @type {Interruption} */
const OVERLOAD = {
  now: (error) => `${BUSY} Going on by itself ${backIn(error)}.`,
  again: "The server has time again. Loading the rest…",
  after: "The server was busy, and it went on.",
};
/** @type {Interruption} */
const SERVER_FAULT = {
  now: (error) => `The server has a problem. Going on by itself ${backIn(error)}.`,
  again: "The server answers again. Loading the rest…",
  after: "The server had a problem, and it went on.",
};
/** @type {Interruption} */
const LOST_CONNECTION = {
  now: () => "Connection lost. Going on from where it stopped.",
  again: "Connected again. Loading the rest…",
  after: "The connection was lost, and it went on.",
};

/** Why a load that is cut waits. @param {Failure} error null if the page is hidden */
export function interruptionOf(error) {
  if (error === null) return PAUSED;
  if (error.status === 429 || BUSY_CODES.includes(error.code)) return OVERLOAD;
  return error.status >= 500 ? SERVER_FAULT : LOST_CONNECTION;
}

/** Whether a failed load can only start again. @param {Failure} error */
export const hasChanged = (error) => CHANGED_CODES.includes(error?.code ?? "");

/** What a shopkeeper can do about a load that failed. @param {Failure} error @param {Mode} mode */
export function whyOf(error, mode) {
  const code = error?.code ?? "";
  if (BUSY_CODES.includes(code)) return BUSY;
  if (hasChanged(error)) return "The dashboard has changed meanwhile.";
  if (code === "stream_failed") return "The connection broke off, again and again.";
  if (code !== "network") return error?.message ?? "";
  return mode === "response"
    ? "The connection was lost, and one response cannot go on from where it stopped."
    : "The server of the shop cannot be reached.";
}
