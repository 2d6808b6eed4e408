// @ts-check
/** Pages that are hidden, freeze, or lose their network. */

import assert from "node:assert/strict";

import { createStore, partstream } from "django-partstream";

import { freeze, openPage } from "./page.js";
import { collect, dataOf, held, holdLongTimers, next, pause, serve, test, until, value } from "./site.js";

const PARTS = { shop: value(1), orders: held(2) };

test("a page that is hidden for long closes its stream, and resumes when it is shown", async (t) => {
  const { document } = openPage(t);
  holdLongTimers(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { pauseAfter: 20, backoff: 600_000 });
  await next(load);
  const rest = collect(load);
  document.become("hidden");
  await until(() => view.proxy.open.length === 0);
  await view.release();
  await pause(50);
  assert.equal(view.requests.length, 1);
  document.become("visible");
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
  assert.equal(view.requests.length, 2);
  assert.ok(view.cursors[1]);
});

test("a page that is hidden for a moment keeps its stream", async (t) => {
  const { document } = openPage(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { pauseAfter: 600_000 });
  await next(load);
  document.become("hidden");
  await pause(20);
  document.become("visible");
  await pause(20);
  assert.equal(view.proxy.open.length, 1);
  await view.release();
  await collect(load);
  assert.equal(view.requests.length, 1);
});

test("parts that come while the page is hidden are delivered", async (t) => {
  const { document } = openPage(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { pauseAfter: 600_000 });
  await next(load);
  document.become("hidden");
  await view.release();
  assert.deepEqual(await collect(load), [{ name: "orders", data: 2 }]);
});

test("a store of a hidden page says that it waits", async (t) => {
  const { document } = openPage(t);
  const view = await serve(t, PARTS);
  const store = createStore(view.url, { pauseAfter: 20 });
  t.after(store.subscribe(() => {}));
  await until(() => "shop" in store.getSnapshot().parts);
  document.become("hidden");
  await until(() => store.getSnapshot().status === "cut");
  await view.release();
  document.become("visible");
  await until(() => store.getSnapshot().status === "complete");
  assert.deepEqual(store.getSnapshot().parts, { shop: 1, orders: 2 });
});

test("a page that freezes while it is hidden, and whose line dies: it resumes when it is shown", async (t) => {
  const { document } = openPage(t);
  holdLongTimers(t);
  const view = await serve(t, PARTS);
  // Nothing else would notice: no error comes, and silence is not noticed.
  const load = partstream(view.url, { pauseAfter: 300, silence: 600_000, backoff: 600_000 });
  await next(load);
  const rest = collect(load);
  document.become("hidden");
  view.proxy.stall();
  freeze(400);
  document.become("visible"); // before any timer has run
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
  assert.ok(view.cursors[1]);
});

test("a back-off ends when the page is shown", async (t) => {
  const { document } = openPage(t);
  holdLongTimers(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { backoff: 600_000, pauseAfter: 600_000 });
  await next(load);
  const rest = collect(load);
  document.become("hidden");
  view.proxy.cut({ reset: true });
  await pause(50); // It waits now, or is about to.
  assert.equal(view.requests.length, 1);
  await view.release();
  document.become("visible");
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
});

test("a back-off ends when the network is back", async (t) => {
  const { goOnline } = openPage(t);
  holdLongTimers(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { backoff: 600_000 });
  await next(load);
  const rest = collect(load);
  view.proxy.cut({ reset: true });
  await pause(50);
  await view.release();
  goOnline();
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
});

test("without a network nothing is asked, and no attempt is used up", async (t) => {
  const { navigator, goOnline } = openPage(t);
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { backoff: 1, attempts: 2 });
  await next(load);
  const rest = collect(load);
  navigator.onLine = false;
  view.proxy.cut({ reset: true });
  await pause(100);
  assert.equal(view.requests.length, 1);
  await view.release();
  view.proxy.next({ cutAfter: 0 }); // one of the two attempts
  goOnline();
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
});

test("one stream a page and origin: the next load walks", async (t) => {
  openPage(t);
  const view = await serve(t, PARTS);
  const first = partstream(view.url);
  await next(first);
  const second = collect(partstream(view.url));
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(dataOf(await second), { shop: 1, orders: 2 });
  assert.deepEqual(new Set(view.kinds.slice(1)), new Set(["walk"]));
  await first.return();
});

test("an abort ends a pause", async (t) => {
  const { document } = openPage(t);
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const load = partstream(view.url, { pauseAfter: 20, signal: aborting.signal });
  await next(load);
  const rest = collect(load);
  document.become("hidden");
  await until(() => view.proxy.open.length === 0);
  aborting.abort("enough");
  await assert.rejects(rest, (error) => error === "enough");
});

test("a load leaves no listeners behind", async (t) => {
  const { document } = openPage(t);
  let listeners = 0;
  for (const target of [document, /** @type {any} */ (globalThis)]) {
    const { addEventListener, removeEventListener } = target;
    const signalled = (/** @type {any[]} */ of) => of[2]?.signal;
    target.addEventListener = (/** @type {any[]} */ ...of) => {
      listeners += 1;
      signalled(of)?.addEventListener("abort", () => (listeners -= 1));
      addEventListener.apply(target, of);
    };
    target.removeEventListener = (/** @type {any[]} */ ...of) => {
      listeners -= 1;
      removeEventListener.apply(target, of);
    };
  }
  const view = await serve(t, { shop: value(1) });
  for (let load = 0; load < 3; load += 1) await collect(partstream(view.url));
  assert.ok(listeners <= 0, `${listeners} are left`);
});
