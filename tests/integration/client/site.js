// @ts-check
/** What the tests share: views whose parts they declare, a proxy before the server, and waiting. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import nodeTest from "node:test";

import { Proxy } from "./proxy.js";

/** @typedef {import("node:test").TestContext} TestContext */
/** @typedef {import("django-partstream").Part<Record<string, any>, string>} AnyPart */
/** @typedef {import("django-partstream").Store<Record<string, any>, any>} Store */
/** @typedef {Record<string, unknown>} Parts as `project/scripts.py` reads them */

const SITE = process.env.SITE_URL ?? "";
if (!SITE) throw new Error("SITE_URL has no address; tests/integration/client/conftest.py sets it.");

/** Milliseconds for what will surely happen. A test that needs them all has failed. */
const PATIENCE = 30_000;
/** Options of the client under which it resumes at once. */
export const QUICK = { backoff: 1 };

/**
 * A test that fails if it does not end: Node would wait for ever.
 *
 * @param {string} name @param {(t: TestContext) => void | Promise<void>} body @param {{timeout?: number}} [options]
 */
export const test = (name, body, options = {}) => nodeTest(name, { timeout: 2 * PATIENCE, ...options }, body);

/** An immediate part. @param {unknown} value */
export const value = (value) => ({ value });

/** A part with a loader. @param {unknown} data @param {Parts} [more] */
export const lazy = (data, more = {}) => ({ data, ...more });

/** A part that waits until it is released. @param {unknown} data @param {Parts} [more] */
export const held = (data, more = {}) => ({ data, held: true, ...more });

/** A part that fails. @param {string} error @param {Parts} [more] */
export const failing = (error, more = {}) => ({ data: null, error, ...more });

/** @param {string} path @param {string} method @param {unknown} [body] */
async function control(path, method, body) {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(new URL(path, SITE), init);
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.status === 204 ? undefined : response.json();
}

/** @param {() => unknown} condition @param {string} [what] */
export async function until(condition, what = String(condition)) {
  const deadline = performance.now() + PATIENCE;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `in vain: ${what}`);
    await pause(2);
  }
}

/** Let something else run. @param {number} ms */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Let no timer of ten seconds or more fire, until the test ends: what goes on did not wait for it.
 *
 * @param {TestContext} t
 */
export function holdLongTimers(t) {
  const { setTimeout } = globalThis;
  /** @param {() => void} callback @param {number} ms @param {any[]} values */
  const shortOnly = (callback, ms, ...values) => {
    if (ms < 10_000) return setTimeout(callback, ms, ...values);
    return setTimeout(() => {}, 2 ** 31 - 1).unref();
  };
  t.mock.method(globalThis, "setTimeout", shortOnly);
}

/** A view of one test, seen through a proxy of its own. */
export class View {
  /** @param {Proxy} proxy @param {string} name @param {string} route */
  constructor(proxy, name, route) {
    this.proxy = proxy;
    this.name = name;
    this.path = `/${route}/${name}/`;
    this.url = `${proxy.url}${this.path}`;
    this.partsUrl = `${this.url}parts/`;
  }

  /** Replace all parts for the requests that come. @param {Record<string, Parts>} parts @param {{token?: string}} [options] */
  declare(parts, { token } = {}) {
    return control(`control/scripts/${this.name}/`, "PUT", { parts, token });
  }

  /** Let parts go, of all requests; all parts if none is named. @param {string[]} names */
  release(...names) {
    return control(`control/scripts/${this.name}/`, "POST", names.length > 0 ? names : null);
  }

  /** @returns {Promise<{calls: Record<string, number>, waiting: string[], streams: number}>} */
  look() {
    return control(`control/scripts/${this.name}/`, "GET");
  }

  /** The requests so far that went to this view, and not to the manifest. */
  get requests() {
    return this.proxy.requests.filter(({ path }) => path === this.path || path === `${this.path}parts/`);
  }

  /** How the requests asked: `stream` or `walk`. */
  get kinds() {
    return this.requests.map((request) => (isStream(request) ? "stream" : "walk"));
  }

  /** The cursors that the requests had. */
  get cursors() {
    return this.requests.map(({ query }) => query.get("cursor"));
  }
}

/** @param {import("./proxy.js").SeenRequest} request */
export const isStream = ({ headers, query }) =>
  /ndjson|event-stream/.test(headers.accept ?? "") || query.has("format");

/**
 * A view with these parts, for this test.
 *
 * @param {TestContext} t
 * @param {Record<string, Parts>} parts
 * @param {{route?: string, token?: string}} [options]
 */
export async function serve(t, parts, { route = "scripted", ...options } = {}) {
  const proxy = await startProxy(t);
  const view = new View(proxy, `t-${randomUUID()}`, route);
  await view.declare(parts, options);
  t.after(() => control(`control/scripts/${view.name}/`, "DELETE"));
  return view;
}

/** A proxy before the server, for this test. @param {TestContext} t */
export async function startProxy(t) {
  const proxy = new Proxy(SITE);
  await proxy.listen();
  t.after(() => proxy.close());
  return proxy;
}

/** Change settings of the library until the test ends. @param {TestContext} t @param {object} changes */
export async function change(t, changes) {
  await control("control/settings/", "PUT", changes);
  t.after(() => control("control/settings/", "DELETE"));
}

/** All parts, in the order in which they come. @param {AsyncIterable<AnyPart>} load */
export async function collect(load) {
  const parts = [];
  for await (const part of load) parts.push(part);
  return parts;
}

/** The names, in the same order. @param {AnyPart[]} parts */
export const names = (parts) => parts.map(({ name }) => name);

/** The data by name; no part may have come twice. @param {AnyPart[]} parts */
export function dataOf(parts) {
  const good = parts.filter(({ error }) => !error);
  assert.equal(new Set(names(good)).size, good.length, `repeated: ${names(good)}`);
  return Object.fromEntries(good.map(({ name, data }) => [name, data]));
}

/** The next part of a load, which must not have ended. @param {AsyncGenerator<AnyPart, void>} load */
export async function next(load) {
  const { value, done } = await load.next();
  assert.ok(!done && value, "the load has ended");
  return value;
}

/** What a load throws, with the parts that came before. @param {AsyncIterable<AnyPart>} load */
export async function failureOf(load) {
  const parts = [];
  try {
    for await (const part of load) parts.push(part);
  } catch (error) {
    return { error: /** @type {any} */ (error), parts };
  }
  throw new assert.AssertionError({ message: `it did not fail, and brought ${names(parts)}` });
}

/**
 * Subscribe to a store until the test ends; the value is each snapshot that the subscriber was told of.
 *
 * @param {TestContext} t @param {Store} store
 */
export function watch(t, store) {
  const seen = [store.getSnapshot()];
  t.after(store.subscribe(() => seen.push(store.getSnapshot())));
  return seen;
}

/** @param {Store} store @param {string} status */
export const reaches = (store, status) =>
  until(() => store.getSnapshot().status === status, `${status}, but it is ${store.getSnapshot().status}`);
