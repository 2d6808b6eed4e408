// @ts-check
/** The cards of the dashboard: skeletons that fill, fail and are asked for again. */

import { button, element } from "./dom.js";
import { FRAME, placeOf, viewOf } from "./parts.js";

/** @typedef {import("../partstream/partstream.js").PartError<string, "courier_unavailable">} Failure */
/** @typedef {"waiting" | "retrying" | "filled" | "failed" | "missing"} State */

export class Cards {
  /**
   * @param {HTMLElement} place
   * @param {(part: string) => void} retry asks for a failed part again
   */
  constructor(place, retry) {
    this.place = place;
    this.retry = retry;
    /** @type {Map<string, HTMLElement>} */
    this.cards = new Map();
    /** @type {Record<string, string | null | undefined>} */
    this.sizes = {};
  }

  /**
   * A skeleton for each part that is to come, and no other card.
   * @param {Record<string, {size?: string | null}>} parts
   */
  sketch(parts) {
    this.sizes = Object.fromEntries(
      Object.entries(parts).map(([name, about]) => [name, about.size]),
    );
    this.cards.clear();
    this.place.replaceChildren();
    for (const name of Object.keys(parts)) if (name !== FRAME) this.wait(name, "waiting");
  }

  /** The card of a part, which is made if there is none. @param {string} name */
  card(name) {
    const known = this.cards.get(name);
    if (known) return known;
    const view = viewOf(name, this.sizes[name]);
    const made = element(
      "section",
      { class: `card span-${view.span}`, "aria-labelledby": `title-${name}`, tabindex: "-1" },
      element(
        "h3",
        { id: `title-${name}` },
        view.title,
        ...(view.period ? [" ", element("span", { class: "quiet" }, view.period)] : []),
      ),
      element("div", { class: "content" }),
    );
    made.dataset.part = name;
    made.style.setProperty("--lines", String(view.lines[0]));
    made.style.setProperty("--lines-narrow", String(view.lines[1]));
    const after = [...this.cards.values()]
      .filter((card) => placeOf(card.dataset.part ?? "") > placeOf(name))
      .sort((a, b) => placeOf(a.dataset.part ?? "") - placeOf(b.dataset.part ?? ""));
    this.place.insertBefore(made, after[0] ?? null);
    this.cards.set(name, made);
    return made;
  }

  /** @param {string} name @param {State} state @param {...Node} nodes */
  set(name, state, ...nodes) {
    const card = this.card(name);
    const busy = state === "waiting" || state === "retrying";
    card.dataset.state = state;
    card.setAttribute("aria-busy", String(busy));
    card.querySelector(".content")?.replaceChildren(...nodes);
  }

  /** @param {string} name @param {"waiting" | "retrying" | "missing"} state */
  wait(name, state) {
    const bones = element("div", { class: "bones", "aria-hidden": "true" });
    for (let i = 0; i < viewOf(name, this.sizes[name]).lines[1]; i += 1) {
      bones.append(element("span", { class: "bone" }));
    }
    const said = state === "missing" ? "Did not come." : "Loading";
    const shown = state === "missing" ? "failure" : "unseen";
    this.set(name, state, element("p", { class: shown }, said), bones);
  }

  /** @param {string} name @param {any} data */
  fill(name, data) {
    this.set(name, "filled", ...viewOf(name).draw(data));
  }

  /** @param {string} name @param {Failure} failure */
  fail(name, failure) {
    const nodes = [element("p", { class: "failure" }, failure.detail)];
    if (failure.retryable) {
      const about = element("span", { class: "unseen" }, ` ${viewOf(name).title}`);
      const again = button("Retry", () => {
        // The button is about to go, so the card takes the focus.
        this.card(name).focus({ preventScroll: true });
        this.retry(name);
      });
      again.append(about);
      if (failure.retry_after) {
        again.disabled = true;
        setTimeout(() => (again.disabled = false), failure.retry_after * 1000);
      }
      nodes.push(again);
    }
    this.set(name, "failed", ...nodes);
  }

  /** The parts whose cards are in this state. @param {State} state */
  named(state) {
    const found = [...this.cards].filter(([, card]) => card.dataset.state === state);
    return found.map(([name]) => name);
  }

  /** A part that this user does not get has no card. @param {string} name */
  drop(name) {
    this.cards.get(name)?.remove();
    this.cards.delete(name);
  }
}
