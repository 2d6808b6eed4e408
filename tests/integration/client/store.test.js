// @ts-check
/** The store: what a framework sees of a load. */

import assert from "node:assert/strict";

import { createStore, PartstreamError } from "django-partstream";

import {
  failing, held, holdLongTimers, lazy, pause, QUICK, reaches, serve, test, until, value, watch,
} from "./site.js";

test("the first subscriber begins the load, and each part is seen when it comes", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2), bad: failing("no_news") });
  const store = createStore(view.url);
  assert.deepEqual(store.getSnapshot(), {
    status: "idle", parts: {}, errors: {}, pending: [], cursor: undefined, error: null,
  });
  await pause(20);
  assert.equal(view.requests.length, 0);
  const seen = watch(t, store);
  await until(() => "bad" in store.getSnapshot().errors);
  const { cursor, ...meanwhile } = store.getSnapshot();
  assert.equal(typeof cursor, "string");
  assert.equal(meanwhile.errors.bad?.code, "no_news");
  assert.deepEqual([meanwhile.status, meanwhile.parts, meanwhile.pending], ["loading", { shop: 1 }, ["orders"]]);
  await view.release();
  await reaches(store, "complete");
  const { parts, pending, error, cursor: end } = store.getSnapshot();
  assert.deepEqual([parts, pending, error, end], [{ shop: 1, orders: 2 }, [], null, null]);
  assert.deepEqual([...new Set(seen.map(({ status }) => status))], ["idle", "loading", "complete"]);
});

test("a snapshot stays the same until something changes, and never changes itself", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  assert.equal(store.getSnapshot(), store.getSnapshot());
  const seen = watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  const before = store.getSnapshot();
  assert.equal(store.getSnapshot(), before);
  await view.release();
  await reaches(store, "complete");
  assert.notEqual(store.getSnapshot(), before);
  assert.notEqual(store.getSnapshot().parts, before.parts);
  assert.deepEqual(before.parts, { shop: 1 });
  assert.equal(before.status, "loading");
  assert.equal(new Set(seen).size, seen.length, "a listener was called without a change");
  assert.equal(store.getSnapshot(), seen.at(-1));
});

test("data of a part stays the same object while others come", async (t) => {
  const view = await serve(t, { shop: value({ name: "Cairn" }), orders: held(2) });
  const store = createStore(view.url);
  watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  const { shop } = store.getSnapshot().parts;
  await view.release();
  await reaches(store, "complete");
  assert.equal(store.getSnapshot().parts.shop, shop);
});

test("subscribe, unsubscribe, subscribe, as React's StrictMode does: one request", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  store.subscribe(() => {})();
  watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  await view.release();
  await reaches(store, "complete");
  assert.equal(view.requests.length, 1);
});

test("the last subscriber stops the load, and the next one resumes it", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url, QUICK);
  const leave = [store.subscribe(() => {}), store.subscribe(() => {})];
  await until(() => "shop" in store.getSnapshot().parts);
  leave[0]?.();
  leave[0]?.(); // Twice is once.
  await pause(20);
  assert.equal(view.proxy.open.length, 1);
  leave[1]?.();
  await until(() => view.proxy.open.length === 0);
  assert.deepEqual([store.getSnapshot().status, store.getSnapshot().pending], ["cut", ["orders"]]);
  await view.release();
  watch(t, store);
  await reaches(store, "complete");
  assert.deepEqual(store.getSnapshot().parts, { shop: 1, orders: 2 });
  assert.equal(view.requests.length, 2);
  assert.ok(view.cursors[1]);
});

test("one listener that subscribes twice is two subscribers", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  const listener = () => {};
  const leave = [store.subscribe(listener), store.subscribe(listener)];
  t.after(() => leave[1]?.());
  await until(() => "shop" in store.getSnapshot().parts);
  leave[0]?.();
  await pause(20);
  assert.equal(view.proxy.open.length, 1);
});

test("what is complete is not asked for again by the next subscriber", async (t) => {
  const view = await serve(t, { shop: value(1) });
  const store = createStore(view.url);
  const leave = store.subscribe(() => {});
  await reaches(store, "complete");
  leave();
  await pause(20);
  assert.equal(store.getSnapshot().status, "complete");
  watch(t, store);
  await pause(20);
  assert.equal(view.requests.length, 1);
});

test("the functions need no `this`", async (t) => {
  const view = await serve(t, { shop: value(1), bad: failing("crash") });
  const { subscribe, getSnapshot, retry, refresh, resume, stop } = createStore(view.url);
  t.after(subscribe(() => {}));
  await resume();
  await retry("bad");
  await refresh();
  stop();
  assert.deepEqual(getSnapshot().parts, { shop: 1 });
});

test("cut: the load waits before it resumes, says why, and resume() does not wait", async (t) => {
  holdLongTimers(t);
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url, { backoff: 600_000 });
  watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  view.proxy.cut({ reset: true });
  await reaches(store, "cut");
  const { error, parts, pending, cursor } = store.getSnapshot();
  assert.ok(error instanceof PartstreamError);
  assert.equal(error.code, "network");
  assert.deepEqual([parts, pending], [{ shop: 1 }, ["orders"]]);
  assert.ok(cursor);
  await view.release();
  const end = await store.resume();
  assert.deepEqual([end.status, end.parts, end.error], ["complete", { shop: 1, orders: 2 }, null]);
  assert.equal(view.cursors[1], cursor);
});

test("failed: never a skeleton for ever, and resume() asks for what is missing", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url, { attempts: 2, backoff: 1 });
  const seen = watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  view.proxy.always({ cutAfter: 0 });
  view.proxy.cut({ reset: true });
  await reaches(store, "failed");
  const { error, parts, pending } = store.getSnapshot();
  assert.equal(error?.code, "network");
  assert.deepEqual([parts, pending], [{ shop: 1 }, ["orders"]]);
  assert.ok(seen.some(({ status }) => status === "cut"));
  view.proxy.pass();
  await view.release();
  const end = await store.resume();
  assert.deepEqual([end.status, end.parts, end.error], ["complete", { shop: 1, orders: 2 }, null]);
  assert.ok(view.cursors.at(-1));
});

test("failed, of a refusal: resume() begins", async (t) => {
  const view = await serve(t, { shop: value(1) }, { token: "Bearer 2" });
  let token = "Bearer 1";
  const store = createStore(view.url, { headers: () => ({ Authorization: token }) });
  watch(t, store);
  await reaches(store, "failed");
  assert.equal(store.getSnapshot().error?.code, "authentication_failed");
  token = "Bearer 2";
  assert.deepEqual((await store.resume()).parts, { shop: 1 });
});

test("resume() resolves at the end of a load that fails, too", async (t) => {
  const view = await serve(t, { shop: value(1) });
  view.proxy.always({ answer: { status: 404, body: { detail: "No.", code: "not_found" } } });
  const end = await createStore(view.url).resume();
  assert.deepEqual([end.status, end.error?.code], ["failed", "not_found"]);
});

test("resume() during a load is that load", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  watch(t, store);
  const ends = [store.resume(), store.resume()];
  await until(() => "shop" in store.getSnapshot().parts);
  await view.release();
  for (const end of await Promise.all(ends)) assert.equal(end.status, "complete");
  assert.equal(view.requests.length, 1);
});

test("stop() ends the load and keeps what came", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  watch(t, store);
  const end = store.resume();
  await until(() => "shop" in store.getSnapshot().parts);
  store.stop();
  assert.deepEqual([(await end).status, (await end).parts], ["cut", { shop: 1 }]);
  await until(() => view.proxy.open.length === 0);
  await view.release();
  assert.equal((await store.resume()).status, "complete");
});

// An answer from elsewhere

test("an initial answer is there before anything is asked", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: held(3) });
  const initial = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  const store = createStore(view.url, { initial });
  const { parts, pending, cursor, status } = store.getSnapshot();
  assert.deepEqual([status, parts, pending, cursor], ["idle", { a: 1, b: 2 }, ["c"], initial.cursor]);
  watch(t, store);
  await until(() => view.requests.length === 2);
  await view.release();
  await reaches(store, "complete");
  assert.deepEqual(store.getSnapshot().parts, { a: 1, b: 2, c: 3 });
  assert.equal(view.cursors[1], initial.cursor);
});

test("an initial answer that is complete: nothing is fetched until refresh()", async (t) => {
  const view = await serve(t, { a: lazy(1) });
  const initial = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  assert.equal(initial.cursor, null);
  const store = createStore(view.url, { initial });
  watch(t, store);
  assert.deepEqual([store.getSnapshot().status, store.getSnapshot().parts], ["complete", { a: 1 }]);
  await pause(20);
  assert.equal(view.requests.length, 1);
  await view.declare({ a: lazy(2) });
  assert.deepEqual((await store.refresh()).parts, { a: 2 });
});

test("an initial answer on a server, where a relative URL has no base", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: lazy(3) });
  const initial = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  const { parts, pending } = createStore(view.path, { initial }).getSnapshot();
  assert.deepEqual([parts, pending], [{ a: 1, b: 2 }, ["c"]]);
  const { meta, ...bare } = initial;
  assert.deepEqual(createStore(view.path, { initial: bare }).getSnapshot().parts, { a: 1, b: 2 });
});

test("an initial cursor alone: the load goes on from it", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: lazy(3) });
  const { cursor } = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  const { parts } = await createStore(view.url, { initial: { cursor } }).resume();
  assert.deepEqual(parts, { c: 3 });
});

test("new starts of the server: a part that is there is not lost", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), rest: held(3) });
  const store = createStore(view.url, QUICK);
  watch(t, store);
  await until(() => "orders" in store.getSnapshot().parts);
  await view.declare({ shop: value(1), orders: lazy(2), added: lazy(4), rest: held(3) });
  view.proxy.cut();
  await until(() => view.requests.length === 3);
  await view.release();
  await reaches(store, "complete");
  assert.deepEqual(store.getSnapshot().parts, { shop: 1, orders: 2, added: 4, rest: 3 });
});
