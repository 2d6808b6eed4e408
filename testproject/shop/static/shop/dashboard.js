// @ts-check
/**
 * Fills the dashboard part by part: skeletons from the manifest, then the walk, chunk by chunk,
 * drawing each part as it arrives. Plain fetch, no library.
 */

/**
 * @typedef {object} PartFailure
 * @property {string} part
 * @property {string} code
 * @property {string} detail
 * @property {boolean} retryable
 * @property {number} [retry_after] seconds
 * @property {string} [retry_cursor]
 */
/**
 * @typedef {object} Envelope
 * @property {Record<string, any>[]} results
 * @property {PartFailure[]} [errors]
 * @property {string | null} cursor
 * @property {{total_parts: number, current_part: number}} meta
 */
/** @typedef {{parts: Record<string, {size?: string | null}>}} Manifest */
/** @typedef {"waiting" | "retrying" | "filled" | "failed"} State */

import { button, duration, element, setCurrency, showMoment, viewOf } from "./parts.js";

/** How often the walk may start again for each reason. Without a limit it could loop. */
const RESTARTS = /** @type {Record<string, number>} */ ({
  cursor_invalid: 1,
  cursor_expired: 2,
  cursor_stale: 2,
});
const SKELETON_LINES = /** @type {Record<string, number>} */ ({ small: 4, medium: 11, large: 9 });

/** @param {string} id */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found;
}

// Asking the server

/** A failed request; `wait` is in seconds. */
class RequestFailed extends Error {
  /** @param {number} status @param {string} code @param {string} detail @param {number} wait */
  constructor(status, code, detail, wait) {
    super(detail);
    this.status = status;
    this.code = code;
    this.wait = wait;
  }
}

/** @param {string} url @returns {Promise<any>} */
async function getJson(url) {
  let response, body;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" } });
    body = await response.json();
  } catch {
    const detail = "The server could not be reached, or its response was cut off.";
    throw new RequestFailed(response?.status ?? 0, "unreadable", detail, 0);
  }
  if (response.ok) return body;
  const wait = Number(response.headers.get("Retry-After") ?? 0);
  throw new RequestFailed(
    response.status,
    String(body.code ?? ""),
    String(body.detail ?? `The server answered ${response.status}.`),
    Number.isFinite(wait) ? wait : 0,
  );
}

/** @param {string} url @param {string | null} cursor */
const withCursor = (url, cursor) =>
  cursor === null ? url : `${url}?cursor=${encodeURIComponent(cursor)}`;

// The page

class Dashboard {
  constructor() {
    const main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.urls = {
      dashboard: main.dataset.dashboard ?? "",
      manifest: main.dataset.manifest ?? "",
      blocking: main.dataset.blocking ?? "",
    };
    this.parts = byId("parts");
    this.notice = byId("notice");
    this.progress = /** @type {HTMLProgressElement} */ (byId("progress"));
    /** @type {Map<string, HTMLElement>} */
    this.cards = new Map();
    this.restarts = /** @type {Record<string, number>} */ ({});
    this.started = 0;
    this.clock = 0;
  }

  /** From nothing to a full page. */
  async start() {
    this.started = performance.now();
    byId("first-time").textContent = "…";
    this.clock = this.tick("all-time");
    this.notice.hidden = true;
    // Both requests start at once, so the skeletons do not delay the first parts.
    const walk = getJson(this.urls.dashboard);
    walk.catch(() => {}); // it is awaited below, where its failure is shown
    try {
      this.sketch(await getJson(this.urls.manifest));
    } catch {
      this.parts.replaceChildren(); // without skeletons, cards are made as parts arrive
      this.cards.clear();
    }
    await this.walk(null, walk);
  }

  /**
   * Follow the cursors to the end.
   * @param {string | null} cursor
   * @param {Promise<Envelope>} [asked] the first response, if it was requested already
   */
  async walk(cursor, asked) {
    this.notice.hidden = true;
    let answer = asked ?? getJson(withCursor(this.urls.dashboard, cursor));
    for (;;) {
      try {
        const envelope = await answer;
        this.show(envelope);
        this.progress.max = envelope.meta.total_parts;
        this.progress.value = envelope.meta.current_part;
        if (envelope.cursor === null) return this.finish(envelope);
        byId("status").textContent =
          `${envelope.meta.current_part} of ${envelope.meta.total_parts} parts`;
        cursor = envelope.cursor;
      } catch (failure) {
        if (!(failure instanceof RequestFailed)) throw failure;
        const again = failure.code in RESTARTS;
        if (failure.status === 429) {
          await this.pause(failure);
        } else if (again && this.mayRestart(failure.code)) {
          cursor = null;
        } else {
          clearInterval(this.clock);
          byId("status").textContent = "Stopped";
          const next = again ? null : cursor;
          return this.tell(failure.message, again ? "Start again" : "Continue", () => this.walk(next));
        }
      }
      answer = getJson(withCursor(this.urls.dashboard, cursor));
    }
  }

  /** @param {string} code */
  mayRestart(code) {
    this.restarts[code] = (this.restarts[code] ?? 0) + 1;
    return this.restarts[code] <= (RESTARTS[code] ?? 0);
  }

  /** @param {RequestFailed} failure */
  async pause(failure) {
    const seconds = Math.max(1, failure.wait);
    byId("status").textContent = `Rate limit reached: waiting ${seconds} s`;
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }

  /** @param {Envelope} envelope */
  finish(envelope) {
    clearInterval(this.clock);
    byId("all-time").textContent = duration(performance.now() - this.started);
    byId("status").textContent = `All ${envelope.meta.total_parts} parts`;
    // A part that this user lost access to since the manifest must not stay a skeleton for ever.
    for (const [name, card] of this.cards) {
      if (card.dataset.state !== "waiting") continue;
      card.remove();
      this.cards.delete(name);
    }
  }

  /** A card with a skeleton for each part. @param {Manifest} manifest */
  sketch(manifest) {
    this.cards.clear();
    this.parts.replaceChildren();
    for (const [name, part] of Object.entries(manifest.parts)) {
      if (name !== "meta") this.wait(this.card(name), "waiting", part.size);
    }
  }

  /** @param {string} name */
  card(name) {
    let card = this.cards.get(name);
    if (!card) {
      const { title, span } = viewOf(name);
      card = element(
        "section",
        { class: `card span-${span}`, "data-part": name, "aria-labelledby": `title-${name}` },
        element("h2", { id: `title-${name}` }, title),
        element("span", { class: "arrived quiet" }),
        element("div", { class: "content" }),
      );
      this.cards.set(name, card);
      this.parts.append(card);
    }
    return card;
  }

  /** @param {HTMLElement} card @param {State} state @param {string | null} [size] */
  wait(card, state, size) {
    const lines = SKELETON_LINES[size ?? ""] ?? 4;
    const bones = Array.from({ length: lines }, () => element("span", { class: "bone" }));
    const sketch = element("div", { class: "bones", "aria-hidden": "true" }, ...bones);
    this.fill(card, [sketch], state);
  }

  /** @param {HTMLElement} card @param {Node[]} nodes @param {State} state */
  fill(card, nodes, state) {
    card.dataset.state = state;
    const busy = state === "waiting" || state === "retrying";
    card.setAttribute("aria-busy", String(busy));
    card.querySelector(".content")?.replaceChildren(...nodes);
    const arrived = card.querySelector(".arrived");
    if (arrived) {
      arrived.textContent =
        busy ? "" : duration(performance.now() - this.started);
    }
  }

  /** Draw the parts of an envelope. @param {Envelope} envelope */
  show(envelope) {
    for (const result of envelope.results) {
      for (const [name, data] of Object.entries(result)) {
        if (name === "meta") this.showMeta(data);
        else this.fill(this.card(name), viewOf(name).draw(data), "filled");
        if (name === "today") {
          byId("as-of").textContent = `As of ${showMoment(data.as_of)}`;
        }
      }
    }
    for (const failure of envelope.errors ?? []) this.showFailure(failure);
    const first = byId("first-time");
    if (first.textContent === "…") first.textContent = duration(performance.now() - this.started);
  }

  /** @param {{shop: string, currency: string}} meta */
  showMeta(meta) {
    setCurrency(meta.currency);
    byId("shop-name").textContent = meta.shop;
    document.title = `${meta.shop}: dashboard`;
  }

  /** @param {PartFailure} failure */
  showFailure(failure) {
    const card = this.card(failure.part);
    const nodes = [element("p", { class: "failure", role: "alert" }, failure.detail)];
    const cursor = failure.retry_cursor;
    if (failure.retryable && cursor) {
      const again = button("Try again", () => this.retry(card, cursor));
      if (failure.retry_after) {
        again.disabled = true;
        setTimeout(() => (again.disabled = false), failure.retry_after * 1000);
      }
      nodes.push(again);
    }
    this.fill(card, nodes, "failed");
  }

  /** Request one failed part again. @param {HTMLElement} card @param {string} cursor */
  async retry(card, cursor) {
    this.wait(card, "retrying");
    try {
      this.show(await getJson(withCursor(this.urls.dashboard, cursor)));
    } catch (failure) {
      if (!(failure instanceof RequestFailed)) throw failure;
      const again = failure.code in RESTARTS;
      const next = again
        ? button("Start again", () => this.start())
        : button("Try again", () => this.retry(card, cursor));
      const told = element("p", { class: "failure", role: "alert" }, failure.message);
      this.fill(card, [told, next], "failed");
    }
  }

  /** @param {string} text @param {string} label @param {() => void} action */
  tell(text, label, action) {
    this.notice.replaceChildren(element("span", {}, text), button(label, action));
    this.notice.hidden = false;
  }

  /** Count the time in an element until the interval is cleared. @param {string} id */
  tick(id) {
    clearInterval(this.clock);
    const started = performance.now();
    const shown = byId(id);
    return window.setInterval(() => {
      shown.textContent = duration(performance.now() - started);
    }, 100);
  }

  /** Measure how long the same parts take in one response. */
  async timeBlocking() {
    const shown = byId("blocking-time");
    const value = element("span", { id: "blocking-value" }, "…");
    shown.replaceChildren(value);
    const started = performance.now();
    const clock = window.setInterval(() => {
      value.textContent = duration(performance.now() - started);
    }, 100);
    try {
      await getJson(this.urls.blocking);
      value.textContent = duration(performance.now() - started);
    } catch (failure) {
      if (!(failure instanceof RequestFailed)) throw failure;
      value.textContent = failure.message;
    } finally {
      clearInterval(clock);
      shown.append(button("Again", () => this.timeBlocking()));
    }
  }
}

const dashboard = new Dashboard();
byId("time-blocking").addEventListener("click", () => dashboard.timeBlocking());
dashboard.start();
