// @ts-check
/** The look of each part of the dashboard: functions from its data to DOM nodes. */

import { element, figures, minor, note, table } from "./dom.js";
import { capital, count, dayOf, money, monthOf, percent, timeOf } from "./format.js";

/**
 * @typedef {object} PartView
 * @property {string} title
 * @property {string} [period] what time the figures are of
 * @property {number} span how many of the twelve columns the card fills
 * @property {[number, number]} lines the height that its data needs, on wide and on narrow screens
 * @property {(data: any) => Node[]} draw
 */

/** The height that other parts need, by the size that the server gives for them. */
const LINES = /** @type {Record<string, [number, number]>} */ ({
  small: [4, 4],
  medium: [9, 9],
  large: [12, 12],
});

/** @param {number | null} change */
function trend(change) {
  if (change === null) return element("span", { class: "trend" }, "–");
  const kind = change > 0 ? "up" : change < 0 ? "down" : "same";
  const sign = change > 0 ? "+" : change < 0 ? "−" : "±";
  return element("span", { class: `trend ${kind}` }, `${sign}${percent(Math.abs(change))}`);
}

/** @param {string} status of an order */
const statusOf = (status) => element("span", { class: `status ${status}` }, capital(status));

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
    const said =
      `${monthOf(row.month)}: ${money(row.revenue_cents)}, ${count(row.orders)} orders, ` +
      `${count(row.first_orders)} of them a customer's first`;
    const bar = element("span", { class: "month" });
    bar.style.height = `${Math.max(1, (100 * row.revenue_cents) / most)}%`;
    const year = row.month.endsWith("-01-01") ? row.month.slice(0, 4) : "";
    return element(
      "li",
      { title: said },
      element("span", { class: "unseen" }, said),
      bar,
      element("span", { class: "month-label", "aria-hidden": "true" }, year),
    );
  });
  const top = element("p", { class: "months-top quiet", "aria-hidden": "true" }, money(most));
  return element("div", { class: "months" }, top, element("ol", {}, ...bars));
}

/** @type {Record<string, PartView>} in the order of the page */
const VIEWS = {
  today: {
    title: "Today",
    span: 8,
    lines: [4, 6],
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
    lines: [4, 4],
    draw: (steps) => [
      table(
        "Orders on their way",
        ["*Step", "#Orders", "#Oldest"],
        steps.map((/** @type {any} */ step) => [
          statusOf(step.status),
          count(step.orders),
          step.oldest ? dayOf(step.oldest) : "–",
        ]),
      ),
    ],
  },
  recent_orders: {
    title: "Recent orders",
    span: 8,
    lines: [11, 11],
    draw: (orders) => [
      table(
        "The newest orders",
        ["-Order", "*Customer", "-*City", "Status", "-#Time", "-#Items", "#Total"],
        orders.map((/** @type {any} */ order) => [
          minor(`#${order.id}`),
          order.customer,
          order.city,
          statusOf(order.status),
          timeOf(order.placed_at),
          count(order.items),
          money(order.total_cents),
        ]),
      ),
    ],
  },
  deliveries: {
    title: "Parcels out for delivery",
    span: 4,
    lines: [7, 7],
    draw: (cities) => [
      table(
        "Parcels on their way, by city",
        ["*City", "#Parcels"],
        cities.map((/** @type {any} */ row) => [row.city, count(row.parcels)]),
      ),
    ],
  },
  revenue_by_month: {
    title: "Revenue by month",
    span: 8,
    lines: [7, 9],
    draw: (months) => {
      const last = months.at(-1);
      if (!last) return [note("No sales yet.")];
      const best = months.reduce((/** @type {any} */ most, /** @type {any} */ row) =>
        most.revenue_cents >= row.revenue_cents ? most : row,
      );
      return [
        monthBars(months),
        note(
          `Best: ${money(best.revenue_cents)} in ${monthOf(best.month)}. ` +
            `This month so far: ${money(last.revenue_cents)}, ` +
            `${count(last.first_orders)} of ${count(last.orders)} orders from new customers.`,
        ),
      ];
    },
  },
  exchange_rates: {
    title: "Exchange rates",
    span: 4,
    lines: [5.3, 6.3],
    draw: (answer) => [
      table(
        `Exchange rates of ${answer.base}`,
        ["*Currency", `#for one ${answer.base}`],
        Object.entries(answer.rates).map(([code, rate]) => [code, Number(rate).toFixed(4)]),
      ),
      answer.live
        ? note("From the exchange, just now.")
        : element("p", { class: "hint" }, "No answer: these are the last known rates."),
    ],
  },
  top_products: {
    title: "Top products",
    period: "90 days",
    span: 6,
    lines: [9, 9],
    draw: (products) => [
      table(
        "Products by revenue in the last 90 days",
        ["*Product", "-Shelf", "#Units", "#Revenue"],
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
    title: "Stock of top products",
    span: 6,
    lines: [9, 9],
    draw: (products) => [
      table(
        "How long the stock of the top products lasts",
        ["*Product", "-#In stock", "-#Sold in 30 days", "#Days left"],
        products.map((/** @type {any} */ product) => [
          product.name,
          count(product.on_hand),
          count(product.sold_in_30_days),
          product.days_left === null ? "–" : count(product.days_left),
        ]),
      ),
    ],
  },
  slow_stock: {
    title: "Slow stock",
    span: 6,
    lines: [11, 11],
    draw: (stock) => [
      figures(
        ["Money tied up", money(stock.tied_up_cents)],
        ["Places", count(stock.places)],
      ),
      table(
        "Where most money is tied up",
        ["*Product", "-Warehouse", "#Left", "-#Sold in 180 days", "#Tied up"],
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
    lines: [11, 11],
    draw: (risk) => [
      figures(
        ["Spent so far", money(risk.revenue_cents)],
        ["Customers", count(risk.customers)],
      ),
      table(
        "Good customers who have stopped buying",
        ["*Customer", "-Likes", "-#Usual gap", "#Quiet for", "#Spent"],
        risk.best.map((/** @type {any} */ row) => [
          row.name,
          minor(row.favourite),
          `${count(row.usual_gap_days)} days`,
          `${count(row.quiet_days)} days`,
          money(row.revenue_cents),
        ]),
      ),
    ],
  },
  bought_together: {
    title: "Bought together",
    period: "one year",
    span: 6,
    lines: [9, 9],
    draw: (pairs) => [
      table(
        "Products that the same customers bought",
        ["*Buyers of", "*also bought", "-#Customers", "#Share"],
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
    title: "Margins",
    period: "one year, staff only",
    span: 6,
    lines: [9, 9],
    draw: (shelves) => [
      table(
        "Margin of each shelf",
        ["*Shelf", "-#Revenue", "#Margin", "#Share"],
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
const ORDER = Object.keys(VIEWS);

/** The part that is drawn around the cards: it has the name of the shop. */
export const FRAME = "meta";

/**
 * The view of a part. One that has none is shown as it is, in the room that its size asks for.
 * @param {string} name
 * @param {string | null} [size] as the server gives it
 * @returns {PartView}
 */
export function viewOf(name, size) {
  const known = VIEWS[name];
  if (known) return known;
  return {
    title: titleOf(name),
    span: 6,
    lines: LINES[size ?? "medium"] ?? [9, 9],
    draw: (data) => [element("pre", {}, JSON.stringify(data, null, 2))],
  };
}

/** What a shopkeeper calls a part. @param {string} name */
export const titleOf = (name) =>
  VIEWS[name]?.title ?? (name === FRAME ? "Name of the shop" : capital(name.replaceAll("_", " ")));

/** Where a part stands on the page: those without a view come last. @param {string} name */
export const placeOf = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
