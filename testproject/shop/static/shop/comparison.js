// @ts-check
/** The comparison: three figures, and a bar for each part from the start to its arrival. */

import { byId, element, write } from "./dom.js";
import { clock, duration } from "./format.js";
import { FRAME, titleOf } from "./parts.js";

/** @typedef {"running" | "done" | "failed"} RunState */
/** What is measured. @typedef {{state: RunState, time: number, says: string}} Run */

/** The scale grows to the next of these. */
const SCALES = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800];
const FIRST_SCALE = 4; // seconds

/** @param {string} says @returns {Run} */
const running = (says) => ({ state: "running", time: 0, says });
const WAITING = running("waiting");
const LEGEND = "Striped bars are still running.";

export class Comparison {
  constructor() {
    this.chart = byId("chart");
    this.rows = byId("rows");
    /** @type {Map<string, HTMLElement>} */
    this.bars = new Map();
    this.started = 0;
    /** @type {Run} */
    this.first = WAITING;
    /** @type {Run} */
    this.all = WAITING;
    /** @type {Run} */
    this.one = WAITING;
    this.isAlone = false;
    this.arrived = 0;
    this.total = 0;
    this.frame = 0;
    this.scale = 0;
  }

  /**
   * All clocks run from this moment.
   * @param {number} started
   * @param {boolean} isAlone whether the one response is all there is
   */
  begin(started, isAlone) {
    this.started = started;
    this.first = WAITING;
    this.all = WAITING;
    this.one = running("still waiting: nothing to show");
    this.isAlone = isAlone;
    this.arrived = 0;
    this.total = 0;
    this.bars.clear();
    this.rows.replaceChildren();
    for (const mark of this.chart.querySelectorAll(".cut")) mark.remove();
    this.setScale(FIRST_SCALE);
    this.draw();
    this.run();
  }

  /** Milliseconds since the start. */
  elapsed() {
    return performance.now() - this.started;
  }

  /** A row for each part that is to come. @param {string[]} names */
  expect(names) {
    this.total = names.length;
    for (const name of names) this.bar(name);
    this.draw();
  }

  /** @param {string} name */
  bar(name) {
    const known = this.bars.get(name);
    if (known) return known;
    const made = element(
      "li",
      { class: "row" },
      element("span", { class: "row-name" }, titleOf(name)),
      element(
        "span",
        { class: "track" },
        element("span", { class: "bar" }),
        element("span", { class: "row-time" }),
      ),
    );
    made.dataset.row = name;
    made.dataset.state = "running";
    this.rows.append(made);
    this.bars.set(name, made);
    this.total = Math.max(this.total, this.bars.size);
    return made;
  }

  /** A part has come, or has failed. Its first arrival counts. @param {string} name @param {boolean} failed */
  arrive(name, failed) {
    const row = this.bar(name);
    if (row.dataset.state === "failed" && !failed) this.recover(row);
    if (row.dataset.state !== "running") return;
    const time = this.elapsed();
    row.dataset.state = failed ? "failed" : "done";
    row.style.setProperty("--t", String(time));
    const shown = row.querySelector(".row-time");
    if (shown) write(shown, duration(time) + (failed ? ", failed" : ""));
    this.arrived += 1;
    // The name of the shop is no figure.
    if (name !== FRAME && !failed && this.first.state === "running") {
      this.first = { state: "done", time, says: "on the page" };
    }
    this.draw();
  }

  /** A failed part has come after all. @param {HTMLElement} row */
  recover(row) {
    row.dataset.state = "done";
    const shown = row.querySelector(".row-time");
    if (shown) write(shown, `${duration(this.elapsed())}, by Retry`);
    if (this.all.state === "done") this.all = { ...this.all, says: this.count() };
    this.draw();
  }

  /** How many parts have come. */
  count() {
    const failed = [...this.bars.values()].filter((row) => row.dataset.state === "failed").length;
    const total = this.bars.size;
    return failed > 0 ? `${total - failed} of ${total}, ${failed} failed` : `all ${total} parts`;
  }

  /** A part does not come. @param {string} name */
  drop(name) {
    this.bars.get(name)?.remove();
    this.bars.delete(name);
    this.total = this.bars.size;
  }

  /** The chosen load is at its end. @param {RunState} state @param {string} says */
  finish(state, says) {
    if (this.all.state !== "running") return;
    this.all = { state, time: this.elapsed(), says };
    if (state === "failed") {
      if (this.first.state === "running") this.first = { ...this.all };
      for (const row of this.bars.values()) {
        if (row.dataset.state === "running") row.dataset.state = "stopped";
      }
    }
    this.settle();
  }

  /** A failed load goes on. */
  goOn() {
    if (this.all.state !== "failed") return;
    if (this.first.state === "failed") this.first = WAITING;
    this.all = WAITING;
    for (const row of this.bars.values()) {
      if (row.dataset.state === "stopped") row.dataset.state = "running";
    }
    this.run();
  }

  /** How the one response stands. @param {RunState} state @param {string} says */
  setOne(state, says) {
    if (this.one.state === "done" || this.one.state === state) return;
    this.one = { state, time: this.elapsed(), says };
    if (state === "running") this.run();
    this.settle();
  }

  /** Mark the moment at which the line was cut. */
  markCut() {
    const mark = element("span", { class: "cut", "aria-hidden": "true" }, element("b", {}, "cut"));
    mark.style.setProperty("--t", String(this.elapsed()));
    byId("marks").append(mark);
  }

  get isRunning() {
    return [this.first, this.all, this.one].some(({ state }) => state === "running");
  }

  run() {
    cancelAnimationFrame(this.frame);
    let drawn = 0;
    const step = (/** @type {number} */ now) => {
      // Half of the frames look as good, and leave more of a small machine to the server.
      if (now - drawn > 30) {
        drawn = now;
        this.draw();
      }
      if (this.isRunning) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  settle() {
    this.draw();
    if (this.isRunning) return;
    // Once nothing moves any more, the chart uses its whole width.
    const longest = Math.max(this.all.time, this.one.time) / 1000;
    this.setScale(SCALES.find((scale) => scale >= longest) ?? longest);
  }

  /** @param {number} seconds */
  setScale(seconds) {
    if (seconds === this.scale) return;
    this.scale = seconds;
    this.chart.style.setProperty("--scale", String(seconds * 1000));
    const step = [0.25, 0.5, 1, 2, 5, 10, 30, 60, 300].find((size) => seconds / size <= 4) ?? seconds;
    this.chart.style.setProperty("--step", String(step * 1000));
    const ticks = [];
    for (let at = 0; at <= seconds; at += step) {
      const tick = element("span", { class: "tick" }, at === 0 ? "0" : `${at} s`);
      tick.style.setProperty("--t", String(at * 1000));
      ticks.push(tick);
    }
    byId("axis").replaceChildren(...ticks);
  }

  draw() {
    const now = this.elapsed();
    if (this.isRunning) {
      if (now > this.scale * 1000) {
        this.setScale(SCALES.find((scale) => scale * 1000 > now) ?? now / 500);
      }
      this.chart.style.setProperty("--now", String(Math.round(now)));
    }
    show(byId("first"), this.first, now);
    const came = `${this.arrived} of ${this.total} here`;
    const all = this.all.state === "running" && this.total > 0 ? { ...this.all, says: came } : this.all;
    show(byId("all"), all, now);
    show(byId("one"), this.one, now);
    const row = byId("one-row");
    row.dataset.state = this.one.state;
    if (this.one.state !== "running") row.style.setProperty("--t", String(this.one.time));
    else row.style.removeProperty("--t");
    const said = { running: "still waiting", done: duration(this.one.time), failed: this.one.says };
    write(byId("one-time"), said[this.one.state]);
    write(byId("verdict"), this.verdict());
    byId("verdict").classList.toggle("quiet", this.isRunning);
  }

  /** What the measured times say about each other; nothing before both have ended. */
  verdict() {
    if (this.isAlone || ![this.first, this.all, this.one].every(({ state }) => state === "done")) {
      return this.isRunning ? LEGEND : "";
    }
    const gap = this.one.time - this.first.time;
    return (
      `Measured here: first figures ${duration(Math.abs(gap))} ${gap < 0 ? "later" : "sooner"} than in ` +
      "one response. Both loads share this computer, so each takes longer than alone."
    );
  }
}

/** @param {HTMLElement} figure @param {Run} run @param {number} now */
function show(figure, run, now) {
  figure.dataset.state = run.state;
  const [value, says] = figure.querySelectorAll("dd");
  if (value) write(value, run.state === "running" ? clock(now) : run.state === "done" ? duration(run.time) : "–");
  if (says) write(says, run.says);
}
