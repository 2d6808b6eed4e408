// @ts-check
/** Building blocks of the page: elements, buttons, tables and lists of figures. */

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found;
}

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {Node | string} label @param {() => void} action */
export function button(label, action) {
  const made = /** @type {HTMLButtonElement} */ (element("button", { type: "button" }, label));
  made.addEventListener("click", action);
  return made;
}

/** Set a text, but touch nothing if it is there already. @param {Element} place @param {string} text */
export function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** @param {string} text */
export const minor = (text) => element("span", { class: "quiet" }, text);

/** @param {string} text */
export const note = (text) => element("p", { class: "note quiet", title: text }, text);

/**
 * A table whose rows have one line each, whatever the texts are, so that its height is known
 * before they are.
 *
 * "#" before a column's name marks numbers, "*" texts that may be shortened to fit; "-" marks a
 * column that is left out on narrow screens.
 * @param {string} caption
 * @param {string[]} columns
 * @param {(Node | string)[][]} rows
 */
export function table(caption, columns, rows) {
  const classes = columns.map((name) =>
    [
      name.includes("#") && "number",
      name.includes("*") && "text",
      name.startsWith("-") && "minor",
    ]
      .filter(Boolean)
      .join(" "),
  );
  const head = columns.map((name, i) =>
    element("th", { scope: "col", class: classes[i] ?? "" }, name.replace(/^-?[#*]?/, "")),
  );
  const body = rows.map((cells) =>
    element(
      "tr",
      {},
      ...cells.map((cell, i) => {
        const made = element("td", { class: classes[i] ?? "" }, cell);
        if (columns[i]?.includes("*")) made.title = made.textContent ?? "";
        return made;
      }),
    ),
  );
  const made = element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
  return element("div", { class: "scroll" }, made);
}

/** @param {[string, Node | string][]} pairs */
export function figures(...pairs) {
  const entries = pairs.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  );
  return element("dl", { class: "figures" }, ...entries);
}
