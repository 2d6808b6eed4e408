// @ts-check
/** The store: parts that are asked for again, one by one or all together. */

import assert from "node:assert/strict";

import { createStore } from "django-partstream";

import { failing, held, lazy, pause, reaches, serve, test, until, value, watch } from "./site.js";

// Failed parts

test("retry() of a failed part", async (t) => {
  const view = await serve(t, { shop: value(1), bad: failing("crash"), rest: lazy(3) });
  const store = createStore(view.url);
  watch(t, store);
  await reaches(store, "complete");
  const failed = store.getSnapshot().errors.bad;
  assert.equal(failed?.code, "part_failed");
  assert.ok(failed?.retryable && failed.retry_cursor);
  await store.retry("bad");
  assert.equal(store.getSnapshot().errors.bad?.code, "part_failed", "it has failed again");
  await view.declare({ shop: value(10), bad: lazy(2), rest: lazy(30) });
  await store.retry("bad");
  const { parts, errors, status } = store.getSnapshot();
  assert.deepEqual([parts, errors, status], [{ shop: 1, bad: 2, rest: 3 }, {}, "complete"]);
  assert.equal(view.requests.length, 3);
});

test("retry() of a part that did not fail asks nothing", async (t) => {
  const view = await serve(t, { shop: value(1), final: failing("forbidden") });
  const store = createStore(view.url);
  await store.retry("shop");
  assert.equal(view.requests.length, 0);
  await store.resume();
  await store.retry("shop");
  await store.retry("nobody");
  assert.equal(view.requests.length, 1);
});

test("retry() waits for retry_after", async (t) => {
  const view = await serve(t, { busy: failing("throttled", { retry_after: 1 }) });
  const store = createStore(view.url);
  watch(t, store);
  await reaches(store, "complete");
  const failed = performance.now();
  assert.equal(store.getSnapshot().errors.busy?.retry_after, 1);
  await view.declare({ busy: lazy(1) });
  await store.retry("busy");
  assert.deepEqual(store.getSnapshot().parts, { busy: 1 });
  assert.ok(view.requests.length === 2 && (view.requests[1]?.time ?? 0) - failed >= 950, "it did not wait");
});

test("retry() while the load goes on", async (t) => {
  const view = await serve(t, { bad: failing("crash"), rest: held(3) });
  const store = createStore(view.url);
  watch(t, store);
  await until(() => "bad" in store.getSnapshot().errors);
  await view.declare({ bad: lazy(2), rest: held(3) });
  await store.retry("bad");
  const { parts, pending, status } = store.getSnapshot();
  assert.deepEqual([parts, pending, status], [{ bad: 2 }, ["rest"], "loading"]);
  await view.release();
  await reaches(store, "complete");
  assert.deepEqual(store.getSnapshot().parts, { bad: 2, rest: 3 });
});

test("retry() that the network fails leaves the part as failed", async (t) => {
  const view = await serve(t, { bad: failing("crash") });
  const store = createStore(view.url, { attempts: 2, backoff: 1 });
  watch(t, store);
  await reaches(store, "complete");
  view.proxy.always({ cutAfter: 0 });
  await store.retry("bad").catch(() => {});
  const { errors, pending } = store.getSnapshot();
  assert.equal(errors.bad?.part, "bad");
  assert.deepEqual(pending, []);
});

// Refresh

test("refresh() keeps the last good data until the new has come", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), gone: lazy(3) });
  const store = createStore(view.url);
  const seen = watch(t, store);
  await reaches(store, "complete");
  const before = seen.length;
  await view.declare({ shop: value(10), orders: held(20) });
  const refreshed = store.refresh();
  await until(() => store.getSnapshot().parts.shop === 10);
  const { parts, status } = store.getSnapshot();
  assert.equal(status, "loading");
  assert.equal(parts.orders, 2);
  await view.release();
  const end = await refreshed;
  assert.deepEqual(end.parts, { shop: 10, orders: 20 }, "a part that was withdrawn is still there");
  assert.deepEqual([end.status, end.pending], ["complete", []]);
  assert.equal(end, store.getSnapshot());
  assert.ok(seen.slice(before).every(({ parts }) => "shop" in parts && "orders" in parts));
  assert.equal(view.cursors[1], null);
});

test("refresh() in which a part fails: its older data stays, beside the error", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2) });
  const store = createStore(view.url);
  watch(t, store);
  await reaches(store, "complete");
  await view.declare({ shop: value(10), orders: failing("crash") });
  const { parts, errors } = await store.refresh();
  assert.deepEqual(parts, { shop: 10, orders: 2 });
  assert.equal(errors.orders?.code, "part_failed");
  await view.declare({ shop: value(10), orders: lazy(20) });
  await store.retry("orders");
  assert.deepEqual([store.getSnapshot().parts, store.getSnapshot().errors], [{ shop: 10, orders: 20 }, {}]);
});

test("refresh() that fails: the data stays, and resume() finishes it", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2) });
  const store = createStore(view.url, { attempts: 1 });
  watch(t, store);
  await reaches(store, "complete");
  await view.declare({ shop: value(10), orders: lazy(20) });
  view.proxy.next({ cutAfter: 0 });
  const failed = await store.refresh();
  assert.deepEqual([failed.status, failed.parts, failed.error?.code], ["failed", { shop: 1, orders: 2 }, "network"]);
  assert.deepEqual((await store.resume()).parts, { shop: 10, orders: 20 });
});

test("a stale answer after a newer one is ignored: refresh() during a load", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  await view.declare({ shop: value(10), orders: lazy(20) });
  const { status, parts } = await store.refresh();
  assert.deepEqual([status, parts], ["complete", { shop: 10, orders: 20 }]);
  await view.release(); // The older answer would come now.
  await until(async () => view.proxy.open.length === 0 && (await view.look()).waiting.length === 0);
  assert.deepEqual(store.getSnapshot().parts, { shop: 10, orders: 20 });
});

test("a stale answer after a newer one is ignored: a retry that is overtaken by refresh()", async (t) => {
  const view = await serve(t, { shop: value(1), bad: failing("crash") });
  const store = createStore(view.url);
  const seen = watch(t, store);
  await reaches(store, "complete");
  await view.declare({ shop: value(1), bad: held("old") });
  const retried = store.retry("bad");
  await until(async () => (await view.look()).waiting.length === 1);
  const before = seen.length;
  await view.declare({ shop: value(10), bad: lazy("new", { seconds: 0.2 }) });
  assert.deepEqual((await store.refresh()).parts, { shop: 10, bad: "new" });
  await view.release();
  await retried;
  await until(async () => view.proxy.open.length === 0 && (await view.look()).waiting.length === 0);
  assert.deepEqual(store.getSnapshot().parts, { shop: 10, bad: "new" });
  assert.ok(seen.slice(before).every(({ errors }) => !("bad" in errors)), "the retry that was given up failed");
});

test("what has come with the part in which a listener stops the load is left out", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), rest: lazy(3) });
  // Two records in one piece.
  const meta = { total_parts: 2, current_part: 1, has_more: true };
  const records = [
    { results: [{ shop: 1 }], cursor: "a", meta },
    { results: [{ orders: 2 }], cursor: "b", meta },
  ];
  const body = records.map((record) => `${JSON.stringify(record)}\n`).join("");
  view.proxy.next({ answer: { headers: { "Content-Type": "application/x-ndjson" }, body } });
  const store = createStore(view.url);
  t.after(store.subscribe(() => "shop" in store.getSnapshot().parts && store.stop()));
  await reaches(store, "cut");
  await until(() => view.proxy.open.length === 0);
  await pause(20);
  assert.deepEqual([store.getSnapshot().parts, store.getSnapshot().cursor], [{ shop: 1 }, "a"]);
});

test("two refreshes: the second counts, and both resolve", async (t) => {
  const view = await serve(t, { shop: value(1) });
  const store = createStore(view.url);
  watch(t, store);
  await reaches(store, "complete");
  await view.declare({ shop: value(2), slow: held(2) });
  const first = store.refresh();
  await until(() => store.getSnapshot().parts.shop === 2);
  await view.declare({ shop: value(3) });
  const second = store.refresh();
  for (const end of await Promise.all([first, second])) assert.ok(end);
  assert.deepEqual([store.getSnapshot().parts, store.getSnapshot().status], [{ shop: 3 }, "complete"]);
});
