// @ts-check
/** The look of each part of the dashboard: functions from its data to DOM nodes. */

/** @typedef {{title: string, span: number, draw: (data: any) => Node[]}} PartView */

const LOCALE = document.documentElement.lang;

// Small helpers

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

/** @param {string} label @param {() => void} action */
export function button(label, action) {
  const made = element("button", { type: "button" }, label);
  made.addEventListener("click", action);
  return made;
}

const wholeNumber = new Intl.NumberFormat(LOCALE);
const oneDigit = new Intl.NumberFormat(LOCALE, {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
/** @param {string} currency */
const amounts = (currency) =>
  new Intl.NumberFormat(LOCALE, { style: "currency", currency, maximumFractionDigits: 0 });
let amount = amounts("EUR"); // until `meta` sets the currency

/** All amounts from now on are in this currency. @param {string} currency */
export function setCurrency(currency) {
  amount = amounts(currency);
}

/** @param {string} moment as ISO 8601 */
export const showMoment = (moment) => dayAndTime.format(new Date(moment));
// The shop's days and months are in UTC, so they are shown in UTC.
const dayAndTime = new Intl.DateTimeFormat(LOCALE, {
  dateStyle: "medium",
  timeStyle: "short",
  timeZone: "UTC",
});
const shortDay = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeZone: "UTC" });
const timeOfDay = new Intl.DateTimeFormat(LOCALE, { timeStyle: "short", timeZone: "UTC" });
const monthName = new Intl.DateTimeFormat(LOCALE, {
  month: "long",
  year: "numeric",
  timeZone: "UTC",
});

/** @param {number} value */
const count = (value) => wholeNumber.format(value);
/** @param {number | null} cents */
const money = (cents) => (cents === null ? "–" : amount.format(cents / 100));
/** @param {number | null} value */
const percent = (value) => (value === null ? "–" : `${oneDigit.format(value)}%`);
/** @param {string} word */
const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);
/** @param {number} milliseconds */
export const duration = (milliseconds) =>
  milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;

/** @param {number | null} change */
function trend(change) {
  if (change === null) return element("span", { class: "trend" }, "–");
  const kind = change > 0 ? "up" : change < 0 ? "down" : "same";
  const sign = change > 0 ? "+" : change < 0 ? "−" : "±";
  return element("span", { class: `trend ${kind}` }, `${sign}${percent(Math.abs(change))}`);
}

/** @param {string} text */
const minor = (text) => element("span", { class: "quiet" }, text);

/**
 * A table. "#" before a column's name marks numbers; "-" marks a column that is less prominent on
 * narrow screens.
 * @param {string} caption
 * @param {string[]} columns
 * @param {(Node | string)[][]} rows
 */
function table(caption, columns, rows) {
  const classes = columns.map((name) =>
    [name.includes("#") && "number", name.startsWith("-") && "minor"].filter(Boolean).join(" "),
  );
  const head = columns.map((name, i) =>
    element("th", { scope: "col", class: classes[i] ?? "" }, name.replace(/^-?#?/, "")),
  );
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, i) => element("td", { class: classes[i] ?? "" }, cell))),
  );
  return element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
}

/** @param {[string, Node | string][]} pairs */
function figures(...pairs) {
  const entries = pairs.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  );
  return element("dl", { class: "figures" }, ...entries);
}

/**
 * @typedef {object} Month
 * @property {string} month
 * @property {number} revenue_cents
 * @property {number} orders
 * @property {number} first_orders
 */

/** @param {Month[]} months */
function monthBars(months) {
  const most = Math.max(1, ...months.map((row) => row.revenue_cents));
  const bars = months.map((row) => {
    const date = new Date(`${row.month}T00:00:00Z`);
    const said =
      `${monthName.format(date)}: ${money(row.revenue_cents)}, ${count(row.orders)} orders, ` +
      `${count(row.first_orders)} of them a customer's first`;
    const bar = element("span", { class: "bar" });
    bar.style.height = `${Math.max(1, (100 * row.revenue_cents) / most)}%`;
    const label = date.getUTCMonth() === 0 ? String(date.getUTCFullYear()) : "";
    return element(
      "li",
      { title: said },
      element("span", { class: "unseen" }, said),
      bar,
      element("span", { class: "bar-label", "aria-hidden": "true" }, label),
    );
  });
  return element("ol", { class: "bars" }, ...bars);
}

// The view of each part; parts without one are shown as they are

/** @type {Record<string, PartView>} */
const VIEWS = {
  today: {
    title: "Today",
    span: 8,
    draw: (today) => [
      figures(
        ["Revenue", money(today.revenue_cents)],
        ["Orders", count(today.orders)],
        ["Items", count(today.items)],
        ["Average order", money(today.average_order_cents)],
      ),
      element(
        "p",
        { class: "quiet" },
        trend(today.change_percent),
        ` against ${money(today.week_before.revenue_cents)} by this time a week ago`,
      ),
    ],
  },
  open_orders: {
    title: "Open orders",
    span: 4,
    draw: (steps) => [
      table(
        "Orders on their way",
        ["Step", "#Orders", "#Oldest"],
        steps.map((/** @type {any} */ step) => [
          capital(step.status),
          count(step.orders),
          step.oldest ? shortDay.format(new Date(step.oldest)) : "–",
        ]),
      ),
    ],
  },
  recent_orders: {
    title: "Recent orders",
    span: 12,
    draw: (orders) => [
      table(
        "The newest orders",
        ["-Order", "Customer", "-City", "Status", "-#Time", "-#Items", "#Total"],
        orders.map((/** @type {any} */ order) => [
          minor(`#${order.id}`),
          order.customer,
          order.city,
          element("span", { class: `status ${order.status}` }, capital(order.status)),
          timeOfDay.format(new Date(order.placed_at)),
          count(order.items),
          money(order.total_cents),
        ]),
      ),
    ],
  },
  exchange_rates: {
    title: "Exchange rates",
    span: 4,
    draw: (answer) => [
      table(
        `Units for one ${answer.base}`,
        [`1 ${answer.base} is`, "#"],
        Object.entries(answer.rates).map(([code, rate]) => [code, Number(rate).toFixed(4)]),
      ),
      answer.live
        ? element("p", { class: "quiet" }, "From the service, just now")
        : element("p", { class: "hint" }, "No answer: these are the last known rates."),
    ],
  },
  top_products: {
    title: "Top products, 90 days",
    span: 6,
    draw: (products) => [
      table(
        "Products by revenue in the last 90 days",
        ["Product", "-Shelf", "#Units", "#Revenue"],
        products.map((/** @type {any} */ product) => [
          product.name,
          minor(`No. ${product.shelf_rank} in ${product.category}`),
          count(product.units),
          money(product.revenue_cents),
        ]),
      ),
    ],
  },
  restock: {
    title: "How long the best sellers last",
    span: 6,
    draw: (products) => [
      table(
        "Stock of the top products",
        ["Product", "-#In stock", "-#Sold in 30 days", "#Days left"],
        products.map((/** @type {any} */ product) => [
          product.name,
          count(product.on_hand),
          count(product.sold_in_30_days),
          product.days_left === null ? "–" : count(product.days_left),
        ]),
      ),
    ],
  },
  revenue_by_month: {
    title: "Revenue by month",
    span: 8,
    draw: (months) => {
      const last = months.at(-1);
      const best = months.reduce(
        (/** @type {any} */ most, /** @type {any} */ row) =>
          most && most.revenue_cents >= row.revenue_cents ? most : row,
        null,
      );
      if (!last) return [element("p", { class: "quiet" }, "No sales yet.")];
      return [
        monthBars(months),
        element(
          "p",
          { class: "quiet" },
          `Best: ${money(best.revenue_cents)} in ${monthName.format(new Date(best.month))}. ` +
            `This month so far: ${money(last.revenue_cents)}, ` +
            `${count(last.first_orders)} of ${count(last.orders)} orders from new customers.`,
        ),
      ];
    },
  },
  slow_stock: {
    title: "Slow stock",
    span: 6,
    draw: (stock) => [
      figures(
        ["Money tied up", money(stock.tied_up_cents)],
        ["Places", count(stock.places)],
      ),
      table(
        "Where most money is tied up",
        ["Product", "-Warehouse", "#Left", "-#Sold in 180 days", "#Tied up"],
        stock.worst.map((/** @type {any} */ row) => [
          row.name,
          capital(row.warehouse),
          count(row.quantity),
          count(row.sold_in_180_days),
          money(row.tied_up_cents),
        ]),
      ),
    ],
  },
  customers_at_risk: {
    title: "Customers at risk",
    span: 6,
    draw: (risk) => [
      figures(
        ["Spent so far", money(risk.revenue_cents)],
        ["Customers", count(risk.customers)],
      ),
      table(
        "Good customers who have stopped buying",
        ["Customer", "-Likes", "#Usual gap", "#Quiet for", "#Spent"],
        risk.best.map((/** @type {any} */ row) => [
          row.name,
          minor(row.favourite),
          `${count(row.usual_gap_days)} d`,
          `${count(row.quiet_days)} d`,
          money(row.revenue_cents),
        ]),
      ),
    ],
  },
  bought_together: {
    title: "Bought together, one year",
    span: 6,
    draw: (pairs) => [
      table(
        "Products that the same customers bought",
        ["Buyers of", "also bought", "-#Customers", "#Share"],
        pairs.map((/** @type {any} */ pair) => [
          pair.products[0],
          pair.products[1],
          count(pair.customers),
          percent(pair.percent_of_first),
        ]),
      ),
    ],
  },
  margins: {
    title: "Margins, one year (staff only)",
    span: 6,
    draw: (shelves) => [
      table(
        "Margin of each shelf",
        ["Shelf", "-#Revenue", "#Margin", "#Share"],
        shelves.map((/** @type {any} */ shelf) => [
          capital(shelf.category),
          money(shelf.revenue_cents),
          money(shelf.margin_cents),
          percent(shelf.margin_percent),
        ]),
      ),
    ],
  },
};

/** @param {string} name @returns {PartView} */
export function viewOf(name) {
  const drawn = VIEWS[name];
  if (drawn) return drawn;
  const draw = (/** @type {any} */ data) => [
    element("pre", {}, JSON.stringify(data, null, 2)),
  ];
  return { title: capital(name.replaceAll("_", " ")), span: 6, draw };
}
