// @ts-check
/** Numbers, money, dates and times as the visitor reads them. */

const LOCALE = document.documentElement.lang;

const wholeNumber = new Intl.NumberFormat(LOCALE);
const oneDigit = new Intl.NumberFormat(LOCALE, {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
/** @param {string} currency */
const amounts = (currency) =>
  new Intl.NumberFormat(LOCALE, { style: "currency", currency, maximumFractionDigits: 0 });
let amount = amounts("EUR"); // until the shop says which

/** All amounts from now on are in this currency. @param {string} currency */
export function setCurrency(currency) {
  amount = amounts(currency);
}

// Moments are shown in the visitor's time zone.
const dayAndTime = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const shortDay = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium" });
const timeOfDay = new Intl.DateTimeFormat(LOCALE, { timeStyle: "short" });
// A month of the shop comes as its first day, without a time, and must not slip into another month.
const monthName = new Intl.DateTimeFormat(LOCALE, {
  month: "long",
  year: "numeric",
  timeZone: "UTC",
});

/** @param {Intl.DateTimeFormat} format */
const momentIn = (format) => (/** @type {string} */ moment) => {
  const made = document.createElement("time");
  const date = new Date(moment);
  made.dateTime = moment;
  made.title = dayAndTime.format(date);
  made.textContent = format.format(date);
  return made;
};
export const dayAndTimeOf = momentIn(dayAndTime);
export const dayOf = momentIn(shortDay);
export const timeOf = momentIn(timeOfDay);

/** @param {string} day the first of a month, as `2026-11-01` */
export const monthOf = (day) => monthName.format(new Date(day));

/** @param {number} value */
export const count = (value) => wholeNumber.format(value);
/** @param {number | null} cents */
export const money = (cents) => (cents === null ? "–" : amount.format(cents / 100));
/** @param {number | null} value */
export const percent = (value) => (value === null ? "–" : `${oneDigit.format(value)}%`);
/** @param {string} word */
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** A measured time. @param {number} milliseconds */
export const duration = (milliseconds) =>
  milliseconds < 995 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;
/** A time that still runs. @param {number} milliseconds */
export const clock = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;
