// @ts-check
/** Parts by key. */

import assert from "node:assert/strict";

import { createStore, partstream } from "django-partstream";

import {
  collect, dataOf, failing, failureOf, held, lazy, names, next, QUICK, serve, test, until, value,
} from "./site.js";

/** @param {import("./site.js").View} view */
const keysOf = (view) => view.requests.map(({ query }) => query.get("keys"));

test("in batches, one after the other, in the order of the keys", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: lazy(3), d: lazy(4), e: lazy(5) });
  const keys = ["e", "a", "d", "b", "c"];
  const parts = await collect(partstream(view.partsUrl, { keys, batch: 2 }));
  // Within an answer they come as the server sends them.
  assert.deepEqual([names(parts).slice(0, 2).sort(), names(parts).slice(2, 4).sort()], [["a", "e"], ["b", "d"]]);
  assert.deepEqual(dataOf(parts), { a: 1, b: 2, c: 3, d: 4, e: 5 });
  assert.deepEqual(keysOf(view), ["e,a", "d,b", "c"]);
});

test("a batch comes before the next is there", async (t) => {
  const view = await serve(t, { a: lazy(1), b: held(2) });
  const load = partstream(view.partsUrl, { keys: ["a", "b"], batch: 1 });
  assert.deepEqual(await next(load), { name: "a", data: 1 });
  await view.release();
  assert.deepEqual(await collect(load), [{ name: "b", data: 2 }]);
});

test("ten at once, unless something else is said", async (t) => {
  const keys = Array.from({ length: 12 }, (_, index) => `part${index}`);
  const view = await serve(t, Object.fromEntries(keys.map((name) => [name, value(name)])));
  assert.deepEqual(names(await collect(partstream(view.partsUrl, { keys }))), keys);
  assert.deepEqual(keysOf(view).map((text) => text?.split(",").length), [10, 2]);
});

test("no keys: nothing is asked", async (t) => {
  const view = await serve(t, { a: value(1) });
  assert.deepEqual(await collect(partstream(view.partsUrl, { keys: [] })), []);
  assert.equal(view.requests.length, 0);
});

test("the application's own query is sent, too", async (t) => {
  const view = await serve(t, { a: value(1) });
  await collect(partstream(`${view.partsUrl}?since=2026-01-01&tag=a&tag=b`, { keys: ["a"] }));
  assert.deepEqual(view.requests.map(({ query }) => [query.get("since"), query.getAll("tag"), query.get("keys")]), [
    ["2026-01-01", ["a", "b"], "a"],
  ]);
});

test("a failure repeats its own batch only", async (t) => {
  const view = await serve(t, { a: lazy(1), b: lazy(2), c: lazy(3) });
  view.proxy.next({ cutAfter: 5 }, { when: ({ query }) => query.get("keys") === "b", times: 2 });
  const parts = await collect(partstream(view.partsUrl, { keys: ["a", "b", "c"], batch: 1, ...QUICK }));
  assert.deepEqual(dataOf(parts), { a: 1, b: 2, c: 3 });
  assert.deepEqual(keysOf(view), ["a", "b", "b", "b", "c"]);
});

test("a failed part has no cursor to retry with, and the store asks for its key", async (t) => {
  const view = await serve(t, { a: lazy(1), bad: failing("no_news") });
  /** @type {import("django-partstream").Store<Record<string, unknown>, "no_news">} */
  const store = createStore(view.partsUrl, { keys: ["a", "bad"] });
  t.after(store.subscribe(() => {}));
  const { errors, status } = await store.resume();
  assert.equal(status, "complete");
  assert.equal(errors.bad?.code, "no_news");
  assert.equal(errors.bad?.retry_cursor, undefined);
  await view.declare({ a: lazy(10), bad: lazy(2) });
  await store.retry("bad");
  assert.deepEqual(store.getSnapshot().parts, { a: 1, bad: 2 });
  assert.deepEqual(store.getSnapshot().errors, {});
  assert.deepEqual(keysOf(view), ["a,bad", "bad"]);
});

test("a part that does not exist: the server's own refusal", async (t) => {
  const view = await serve(t, { a: lazy(1) });
  const { error } = await failureOf(partstream(view.partsUrl, { keys: ["a", "b"] }));
  assert.deepEqual([error.code, error.status], ["part_unknown", 400]);
  assert.equal(view.requests.length, 1);
});

test("a store that was stopped goes on with the keys that are missing", async (t) => {
  const view = await serve(t, { a: lazy(1), b: held(2), c: lazy(3) });
  const store = createStore(view.partsUrl, { keys: ["a", "b", "c"], batch: 1 });
  const leave = store.subscribe(() => {});
  await until(() => "a" in store.getSnapshot().parts);
  leave();
  await until(() => store.getSnapshot().status === "cut");
  await view.release();
  t.after(store.subscribe(() => {}));
  await until(() => store.getSnapshot().status === "complete");
  assert.deepEqual(store.getSnapshot().parts, { a: 1, b: 2, c: 3 });
  assert.equal(keysOf(view).filter((keys) => keys?.includes("a")).length, 1);
});

test("a key that is named twice is asked for once by a store, and comes once", async (t) => {
  const view = await serve(t, { a: lazy(1), b: lazy(2) });
  const store = createStore(view.partsUrl, { keys: ["a", "a", "b"] });
  assert.deepEqual(store.getSnapshot().pending, ["a", "b"]);
  const { parts, pending } = await store.resume();
  assert.deepEqual([parts, pending, keysOf(view)], [{ a: 1, b: 2 }, [], ["a,b"]]);
  assert.deepEqual(names(await collect(partstream(view.partsUrl, { keys: ["a", "a"] }))), ["a"]);
});

test("a batch of none is one of one key, and null is the default", async (t) => {
  const view = await serve(t, { a: value(1), b: value(2) });
  const keys = ["a", "b"];
  await collect(partstream(view.partsUrl, { keys, batch: 0 }));
  await collect(partstream(view.partsUrl, { keys, batch: /** @type {any} */ (null) }));
  assert.deepEqual(keysOf(view), ["a", "b", "a,b"]);
});
