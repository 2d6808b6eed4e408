// @ts-check
/** The page: loads the dashboard in the chosen way, and one response beside it. */

import { Cards } from "./cards.js";
import { Comparison } from "./comparison.js";
import { button, byId, element, write } from "./dom.js";
import { dayAndTimeOf, setCurrency } from "./format.js";
import { Manifest } from "./manifest.js";
import { Line, MODES, modeOf, modeOfAddress, openStore } from "./modes.js";
import { FRAME, titleOf } from "./parts.js";
import { PAUSED, hasChanged, interruptionOf, whyOf } from "./trouble.js";

/** @typedef {import("./modes.js").Mode} Mode */
/** @typedef {import("./modes.js").Store} Store */
/** @typedef {import("./manifest.js").Parts} Parts */
/** @typedef {import("./one-response.js").Snapshot} Snapshot */
/** @typedef {import("./cards.js").Failure} Failure */
/** @typedef {import("./trouble.js").Interruption} Interruption */
/** @typedef {"busy" | "done" | "trouble"} Kind */

/** Parts do not wait longer than this for the skeletons. */
const MANIFEST_PATIENCE = 1_000; // milliseconds

class Page {
  constructor() {
    const { dataset } = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.urls = {
      dashboard: dataset.dashboard ?? "",
      readyFirst: dataset.readyFirst ?? "",
      keys: dataset.keys ?? "",
      blocking: dataset.blocking ?? "",
    };
    this.manifest = new Manifest(dataset.manifest ?? "");
    this.cards = new Cards(byId("parts"), (part) => this.retry(part));
    this.comparison = new Comparison();
    this.cutButton = /** @type {HTMLButtonElement} */ (byId("cut"));
    /** @type {Mode} */
    this.mode = modeOfAddress();
    this.line = new Line();
    /** @type {Store | null} */
    this.store = null;
    /** Ends the loads that the page leaves. */
    this.leave = () => {};
    /** What the cards show; undefined for what is asked for again. @type {Map<string, unknown>} */
    this.shown = new Map();
    this.isDrawing = false;
    /** What has held this load up. @type {Set<Interruption>} */
    this.interruptions = new Set();
    /** The one since which nothing has come. @type {Interruption | null} */
    this.interruption = null;
    this.isEnded = false;
    /** The status that the page has told of. */
    this.told = "";
    /** What the visitor can do about a load that failed. @type {Node[]} */
    this.wayOn = [];
    this.listen();
    this.load(this.mode, 0);
  }

  listen() {
    for (const input of this.switches()) {
      input.addEventListener("change", () => {
        const url = new URL(location.href);
        url.searchParams.set("by", input.value);
        history.replaceState(null, "", url);
        this.load(modeOf(input.value), performance.now());
      });
    }
    // The visitor went back to an address of another mode, or to a page that the browser kept.
    addEventListener("popstate", () => {
      const mode = modeOfAddress();
      if (mode !== this.mode) this.load(mode, performance.now());
    });
    addEventListener("pageshow", () => this.showMode());
    byId("again").addEventListener("click", () => this.load(this.mode, performance.now()));
    this.cutButton.addEventListener("click", () => {
      this.comparison.markCut();
      this.line.cut();
    });
  }

  switches() {
    /** @type {NodeListOf<HTMLInputElement>} */
    const inputs = document.querySelectorAll("input[name=by]");
    return inputs;
  }

  /** The switch stands at what is loaded, whatever the browser restores. */
  showMode() {
    for (const input of this.switches()) input.checked = input.value === this.mode;
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
    this.store = null;
    this.shown.clear();
    this.isDrawing = false;
    this.interruptions.clear();
    this.interruption = null;
    this.isEnded = false;
    this.told = "";
    this.wayOn = [];
    this.cutButton.disabled = true;
    this.comparison.begin(started, mode === "response");
    this.showMode();
    this.introduce();
    this.tell("Loading the dashboard…");

    const listed = this.manifest.parts();
    listed.catch(() => {}); // only who needs it minds
    /** @type {string[]} */
    let names = [];
    try {
      if (mode === "keys") names = Object.keys(await listed);
    } catch (error) {
      if (!isLeft) this.failToBegin(/** @type {Snapshot["error"]} */ (error));
      return;
    }
    if (isLeft) return;
    /** @param {Store} store @param {(snapshot: Snapshot) => void} draw */
    const follow = (store, draw) => {
      endings.push(
        store.subscribe(() => draw(store.getSnapshot())),
        () => store.stop(),
      );
      return store;
    };
    const store = openStore(mode, this.urls, this.line, names);
    this.store = store;
    // The load begins now; the first parts are drawn once the skeletons are.
    follow(store, (snapshot) => this.isDrawing && this.draw(snapshot));
    // The first to ask is the first whom a small server answers, so the one response asks second.
    await new Promise((resolve) => setTimeout(resolve));
    if (isLeft) return;
    const one = mode === "response" ? store : openStore("response", this.urls, new Line(), []);
    follow(one, (snapshot) => this.drawOne(snapshot));
    // Without the list, the cards are made as the parts come.
    const patience = new Promise((resolve) => setTimeout(resolve, MANIFEST_PATIENCE, {}));
    const parts = /** @type {Parts} */ (await Promise.race([listed.catch(() => ({})), patience]));
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
    if (this.interruption) this.tell(this.interruption.again);
    this.interruption = null;
    if (!this.shown.has(name)) return;
    const [outcome, kind] = failure ? ["failed again", "trouble"] : ["here now", "done"];
    this.tell(`${titleOf(name)}: ${outcome}.`, /** @type {Kind} */ (kind));
  }

  /** Say how the load stands, if that has changed. @param {Snapshot} snapshot */
  drawStatus(snapshot) {
    const { error, status } = snapshot;
    const news = `${status} ${error?.code ?? ""}`;
    if (this.told === news) return;
    const wasFailed = this.told.startsWith("failed");
    this.told = news;
    if (status !== "failed") this.wayOn = [];
    if (status === "complete") this.finish(snapshot);
    if (status === "failed") this.fail(error);
    if (status === "loading") this.goOn(wasFailed);
    if (status === "cut") {
      this.interruption = interruptionOf(error);
      this.interruptions.add(this.interruption);
      this.tell(this.interruption.now(error), error ? "trouble" : "busy");
    }
  }

  /** The load is under way, for the first time or again. @param {boolean} wasFailed */
  goOn(wasFailed) {
    this.comparison.goOn();
    for (const name of this.cards.named("missing")) this.cards.wait(name, "waiting");
    if (wasFailed || this.interruption === PAUSED) this.tell("Loading the rest…");
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
    const story = [...this.interruptions].map(({ after }) => ` ${after}`).join("");
    this.isEnded = true;
    byId("next").hidden = false;
    this.tell(`Everything is here${except}.${story}`, "done");
  }

  /** The load has ended too early, and goes on only if the visitor wants it to. @param {Snapshot["error"]} error */
  fail(error) {
    for (const name of this.cards.named("waiting")) this.cards.wait(name, "missing");
    this.comparison.finish("failed", "stopped");
    const isChanged = hasChanged(error);
    const label = this.mode === "response" || isChanged ? "Start again" : "Go on";
    this.offer(whyOf(error, this.mode), label, () => {
      this.line.mend();
      void (isChanged ? this.store?.refresh() : this.store?.resume());
    });
  }

  /** Without the list of the parts, no part can be asked for by name. @param {Snapshot["error"]} error */
  failToBegin(error) {
    this.cards.sketch({});
    this.comparison.finish("failed", "did not begin");
    this.comparison.setOne("failed", "not asked for");
    this.offer(whyOf(error, this.mode), "Try again", () => this.load(this.mode, performance.now()));
  }

  /** Tell of a failure, and of what the visitor can do. @param {string} why @param {string} label @param {() => void} action */
  offer(why, label, action) {
    this.wayOn = [button(label, action)];
    this.tell(why, "trouble");
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
   */
  tell(text, kind = "busy") {
    byId("state").dataset.kind = kind;
    write(byId("status"), text);
    const next = this.isEnded ? [element("a", { href: "#next" }, "What to try next")] : [];
    byId("way-on").replaceChildren(...this.wayOn, ...next);
  }
}

new Page();
