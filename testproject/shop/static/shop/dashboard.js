// @ts-check
/** The page: loads the dashboard in the chosen way, and one response beside it. */

import { Cards } from "./cards.js";
import { Comparison } from "./comparison.js";
import { button, byId, element, write } from "./dom.js";
import { dayAndTimeOf, setCurrency } from "./format.js";
import { Line, MODES, modeOf, openStore } from "./modes.js";
import { FRAME, titleOf } from "./parts.js";

/** @typedef {import("./modes.js").Mode} Mode */
/** @typedef {import("./modes.js").Store} Store */
/** @typedef {import("./one-response.js").Snapshot} Snapshot */
/** @typedef {import("./cards.js").Failure} Failure */
/** @typedef {"busy" | "done" | "trouble"} Kind */
/** @typedef {Record<string, {size?: string | null}>} Manifest */

/** Parts do not wait longer than this for the skeletons. */
const MANIFEST_PATIENCE = 1_000; // milliseconds

/** What a shopkeeper can do about a load that failed, by its code. */
const BUSY = "The server is busy.";
const CHANGED = "The dashboard has changed meanwhile.";
const TROUBLES = /** @type {Record<string, string>} */ ({
  network: "The server of the shop cannot be reached.",
  stream_failed: "The connection broke off, again and again.",
  throttled: BUSY,
  capacity: BUSY,
  store_unavailable: BUSY,
  cursor_invalid: CHANGED,
  cursor_expired: CHANGED,
  cursor_stale: CHANGED,
});

class Page {
  constructor() {
    const { dataset } = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.urls = {
      dashboard: dataset.dashboard ?? "",
      readyFirst: dataset.readyFirst ?? "",
      keys: dataset.keys ?? "",
      blocking: dataset.blocking ?? "",
      manifest: dataset.manifest ?? "",
    };
    this.cards = new Cards(byId("parts"), (part) => this.retry(part));
    this.comparison = new Comparison();
    this.cutButton = /** @type {HTMLButtonElement} */ (byId("cut"));
    this.line = new Line();
    /** @type {Mode} */
    this.mode = modeOf(new URLSearchParams(location.search).get("by"));
    /** @type {Store | null} */
    this.store = null;
    /** Ends the loads that the page leaves. */
    this.leave = () => {};
    /** What the cards show; undefined for what is asked for again. @type {Map<string, unknown>} */
    this.shown = new Map();
    this.isDrawing = false;
    this.wasCut = false;
    /** Whether nothing has come since the line was cut. */
    this.isLost = false;
    this.isEnded = false;
    /** The status that the page has told of. */
    this.told = "";
    this.manifest = this.askManifest();
    this.listen();
    this.load(this.mode, 0);
  }

  /** The parts that this user has; none if the server does not say. @returns {Promise<Manifest>} */
  async askManifest() {
    try {
      const response = await fetch(this.urls.manifest);
      if (response.ok) return (await response.json()).parts;
    } catch {
      // The cards are made as the parts come.
    }
    return {};
  }

  listen() {
    for (const found of document.querySelectorAll("input[name=by]")) {
      const input = /** @type {HTMLInputElement} */ (found);
      input.checked = input.value === this.mode;
      input.addEventListener("change", () => {
        const url = new URL(location.href);
        url.searchParams.set("by", input.value);
        history.replaceState(null, "", url);
        this.load(modeOf(input.value), performance.now());
      });
    }
    byId("again").addEventListener("click", () => this.load(this.mode, performance.now()));
    this.cutButton.addEventListener("click", () => {
      this.comparison.markCut();
      this.line.cut();
    });
  }

  /**
   * From skeletons to a full page.
   * @param {Mode} mode
   * @param {number} started when this began; 0 is when the visitor opened the page
   */
  async load(mode, started) {
    this.leave();
    let isLeft = false;
    /** @type {(() => void)[]} */
    const endings = [];
    this.leave = () => {
      isLeft = true;
      for (const end of endings) end();
    };
    this.mode = mode;
    this.line = new Line();
    this.shown.clear();
    this.isDrawing = false;
    this.wasCut = false;
    this.isLost = false;
    this.isEnded = false;
    this.told = "";
    this.comparison.begin(started, mode === "response");
    this.introduce();
    this.tell("Loading the dashboard…");

    /** @param {Store} store @param {(snapshot: Snapshot) => void} draw */
    const follow = (store, draw) => {
      endings.push(
        store.subscribe(() => draw(store.getSnapshot())),
        () => store.stop(),
      );
      return store;
    };
    const manifest = this.manifest;
    const names = mode === "keys" ? Object.keys(await manifest) : [];
    if (isLeft) return;
    const store = openStore(mode, this.urls, this.line, names);
    this.store = store;
    // The load begins now; the first parts are drawn once the skeletons are.
    follow(store, (snapshot) => this.isDrawing && this.draw(snapshot));
    // The first to ask is the first whom a small server answers, so the one response asks second.
    await new Promise((resolve) => setTimeout(resolve));
    if (isLeft) return;
    const one = mode === "response" ? store : openStore("response", this.urls, new Line(), []);
    follow(one, (snapshot) => this.drawOne(snapshot));
    const patience = new Promise((resolve) => setTimeout(resolve, MANIFEST_PATIENCE, {}));
    const parts = /** @type {Manifest} */ (await Promise.race([manifest, patience]));
    if (isLeft) return;
    this.cards.sketch(parts);
    this.comparison.expect(Object.keys(parts));
    this.isDrawing = true;
    this.draw(store.getSnapshot());
  }

  /** Say what the visitor is about to see. */
  introduce() {
    const { label, says } = MODES[this.mode];
    const since = this.comparison.started === 0 ? "you opened this page" : `you chose “${label}”`;
    write(byId("says"), says);
    write(
      byId("look"),
      this.mode === "response"
        ? "This is the page without parts: there is nothing to read until all of it is ready."
        : `Both loads began when ${since}. Watch which one you can use first.`,
    );
    byId("next").hidden = true;
  }

  /** Bring the page to what has come. @param {Snapshot} snapshot */
  draw(snapshot) {
    const { errors, parts, pending, status } = snapshot;
    for (const name of Object.keys({ ...parts, ...errors })) {
      const now = errors[name] ?? parts[name];
      if (this.shown.get(name) !== now) this.drawPart(name, parts[name], errors[name]);
      this.shown.set(name, now);
    }
    for (const [name, before] of this.shown) {
      if (before === undefined || name in errors || name in parts) continue;
      this.shown.set(name, undefined);
      if (pending.includes(name)) this.cards.wait(name, "retrying");
    }
    this.cutButton.disabled = status !== "loading";
    this.drawStatus(snapshot);
  }

  /** @param {string} name @param {any} data @param {Failure | undefined} failure */
  drawPart(name, data, failure) {
    if (name === FRAME && !failure) {
      setCurrency(data.currency);
      write(byId("shop-name"), data.shop);
      document.title = `${data.shop}: dashboard`;
    } else if (failure) {
      this.cards.fail(name, failure);
    } else {
      this.cards.fill(name, data);
    }
    if (name === "today" && !failure) {
      byId("as-of").replaceChildren("As of ", dayAndTimeOf(data.as_of));
    }
    this.comparison.arrive(name, Boolean(failure));
    if (this.isLost) this.tell("Connected again. Loading the rest…");
    this.isLost = false;
    if (!this.shown.has(name)) return;
    const [outcome, kind] = failure ? ["failed again", "trouble"] : ["here now", "done"];
    this.tell(`${titleOf(name)}: ${outcome}.`, /** @type {Kind} */ (kind));
  }

  /** Say how the load stands, if that has changed. @param {Snapshot} snapshot */
  drawStatus(snapshot) {
    const { error, status } = snapshot;
    const news = `${status} ${error?.code ?? ""}`;
    if (this.told === news) return;
    this.told = news;
    if (status === "complete") this.finish(snapshot);
    if (status === "failed") this.fail(error);
    if (status === "loading") this.comparison.goOn();
    if (status === "cut") {
      this.wasCut = true;
      this.isLost = true;
      const wait = error?.retry_after;
      this.tell(
        wait === undefined
          ? "Connection lost. Going on from where it stopped."
          : `${BUSY} Going on by itself in ${wait} s.`,
        "trouble",
      );
    }
  }

  /** Everything has come that comes. @param {Snapshot} snapshot */
  finish({ errors, parts }) {
    for (const name of this.cards.named("waiting")) {
      this.cards.drop(name);
      this.comparison.drop(name);
    }
    const failed = Object.keys(errors);
    const total = new Set([...Object.keys(parts), ...failed]).size;
    this.comparison.finish(
      "done",
      failed.length > 0 ? `${total - failed.length} of ${total}, ${failed.length} failed` : `all ${total} parts`,
    );
    const except = failed.length > 0 ? `, except: ${failed.map(titleOf).join(", ")}` : "";
    const lost = this.wasCut ? " The connection was lost, and it went on." : "";
    this.isEnded = true;
    byId("next").hidden = false;
    this.tell(`Everything is here${except}.${lost}`, "done");
  }

  /** The load has ended too early, and goes on only if the visitor wants it to. @param {Snapshot["error"]} error */
  fail(error) {
    for (const name of this.cards.named("waiting")) this.cards.wait(name, "missing");
    this.comparison.finish("failed", "stopped");
    const why = TROUBLES[error?.code ?? ""] ?? error?.message ?? "";
    const store = this.store;
    const isWhole = this.mode === "response" || why === CHANGED;
    const label = isWhole ? "Start again" : "Go on";
    const goOn = button(label, () => {
      this.line.mend();
      for (const name of this.cards.named("missing")) this.cards.wait(name, "waiting");
      void (why === CHANGED ? store?.refresh() : store?.resume());
    });
    this.tell(why, "trouble", goOn);
  }

  /** @param {Snapshot} snapshot of the one response */
  drawOne({ status }) {
    if (status === "loading") this.comparison.setOne("running", "still waiting: nothing to show");
    if (status === "complete") this.comparison.setOne("done", "everything at once");
    if (status === "failed") this.comparison.setOne("failed", "no answer");
  }

  /** @param {string} part */
  retry(part) {
    this.tell(`Asking again for: ${titleOf(part)}…`);
    void this.store?.retry(part);
  }

  /**
   * Tell the visitor, who may be listening to the page, not looking at it.
   * @param {string} text
   * @param {Kind} kind
   * @param {Node[]} wayOn what the visitor can do
   */
  tell(text, kind = "busy", ...wayOn) {
    byId("state").dataset.kind = kind;
    write(byId("status"), text);
    if (this.isEnded) wayOn.push(element("a", { href: "#next" }, "What to try next"));
    byId("way-on").replaceChildren(...wayOn);
  }
}

new Page();
