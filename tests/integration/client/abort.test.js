// @ts-check
/** A load that is ended from outside: nothing more is asked, and what came is kept. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";

import { createStore, partstream } from "django-partstream";

import {
  collect, failing, failureOf, held, holdLongTimers, lazy, names, next, pause, QUICK, serve, test, until, value,
} from "./site.js";

const PARTS = { a: value(1), b: value(2), c: value(3), slow: held(4) };

test("an abort throws the reason of the signal, an AbortError by default", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const load = partstream(view.url, { signal: aborting.signal });
  await next(load);
  aborting.abort();
  const { error } = await failureOf(load);
  assert.equal(error, aborting.signal.reason);
  assert.equal(error.name, "AbortError");
});

for (const reason of [new Error("mine"), "a text", 0, { code: 7 }]) {
  test(`an abort throws a reason of one's own: ${JSON.stringify(reason)}`, async (t) => {
    const view = await serve(t, PARTS);
    const aborting = new AbortController();
    const load = partstream(view.url, { signal: aborting.signal });
    await next(load);
    const rest = failureOf(load);
    aborting.abort(reason);
    assert.equal((await rest).error, reason);
  });
}

test("parts that had arrived are delivered before the abort is thrown", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const load = partstream(view.url, { signal: aborting.signal });
  assert.equal((await next(load)).name, "a"); // b and c came in the same record
  aborting.abort();
  assert.deepEqual(names((await failureOf(load)).parts), ["b", "c"]);
});

test("an abort closes the connection, and the server's stream ends", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const load = partstream(view.url, { signal: aborting.signal });
  await next(load);
  assert.equal(view.proxy.open.length, 1);
  aborting.abort();
  await failureOf(load);
  await until(() => view.proxy.open.length === 0);
  await until(async () => (await view.look()).streams === 0);
  assert.equal(view.requests.length, 1);
});

test("aborted before it begins: nothing is asked", async (t) => {
  const view = await serve(t, PARTS);
  const { error } = await failureOf(partstream(view.url, { signal: AbortSignal.abort("early") }));
  assert.equal(error, "early");
  assert.equal(view.requests.length, 0);
});

test("aborted as it begins, like a component that React mounts twice: nothing is asked", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const failed = failureOf(partstream(view.url, { signal: aborting.signal }));
  aborting.abort("at once");
  assert.equal((await failed).error, "at once");
  assert.equal(view.requests.length, 0);
});

test("a load that nobody reads asks nothing", async (t) => {
  const view = await serve(t, PARTS);
  partstream(view.url);
  await pause(20);
  assert.equal(view.requests.length, 0);
});

test("an abort ends a back-off, and a wait for Retry-After", async (t) => {
  holdLongTimers(t);
  const view = await serve(t, PARTS);
  for (const answer of [
    { status: 502 },
    { status: 429, body: { detail: "Wait.", code: "throttled", retry_after: 60 } },
  ]) {
    view.proxy.next({ answer });
    const aborting = new AbortController();
    const before = view.requests.length;
    const load = failureOf(partstream(view.url, { signal: aborting.signal, backoff: 600_000 }));
    await until(() => view.requests.length > before && view.proxy.open.length === 0);
    await pause(20); // It waits now, or is about to: either must end.
    aborting.abort("enough");
    assert.equal((await load).error, "enough");
    assert.equal(view.requests.length, before + 1);
  }
});

test("an abort ends a request that nobody answers", async (t) => {
  for (const options of /** @type {const} */ ([{}, { by: "walk" }, { keys: ["slow"] }])) {
    const view = await serve(t, PARTS);
    view.proxy.always({ stallAfter: 0 });
    const aborting = new AbortController();
    const url = "keys" in options ? view.partsUrl : view.url;
    const load = failureOf(partstream(url, { signal: aborting.signal, ...options }));
    await until(() => view.proxy.open.length === 1);
    aborting.abort("enough");
    assert.equal((await load).error, "enough");
    await until(() => view.proxy.open.length === 0);
  }
});

test("a signal that times out", async (t) => {
  const view = await serve(t, PARTS);
  const { error, parts } = await failureOf(partstream(view.url, { signal: AbortSignal.timeout(500) }));
  assert.equal(error.name, "TimeoutError");
  assert.deepEqual(names(parts), ["a", "b", "c"]);
});

test("a loop that is left closes the connection", async (t) => {
  const view = await serve(t, PARTS);
  for await (const part of partstream(view.url)) {
    assert.equal(part.name, "a");
    break;
  }
  await until(() => view.proxy.open.length === 0);
  assert.equal(view.requests.length, 1);
});

test("return() while a part is awaited closes the connection", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const load = partstream(view.url, { signal: aborting.signal });
  for (const _ of "abc") await next(load);
  const waiting = load.next();
  const returned = load.return();
  aborting.abort("and return");
  await Promise.allSettled([waiting, returned]);
  await until(() => view.proxy.open.length === 0);
  assert.deepEqual(await load.next(), { value: undefined, done: true });
});

test("an abort after the end changes nothing", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2) });
  const aborting = new AbortController();
  const load = partstream(view.url, { signal: aborting.signal });
  for (const _ of "ab") await next(load);
  assert.deepEqual(await load.next(), { value: undefined, done: true });
  aborting.abort();
  assert.deepEqual(await load.next(), { value: undefined, done: true });
});

test("a signal is listened to no longer than its load", async (t) => {
  const view = await serve(t, { a: value(1) });
  const aborting = new AbortController();
  const { signal } = aborting;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (/** @type {any[]} */ ...of) => {
    if (!of[2]?.signal) listeners += 1;
    return add(.../** @type {[any, any, any]} */ (of));
  };
  signal.removeEventListener = (/** @type {any[]} */ ...of) => {
    listeners -= 1;
    return remove(.../** @type {[any, any, any]} */ (of));
  };
  for (let load = 0; load < 5; load += 1) {
    for await (const _ of partstream(view.url, { signal })) continue;
  }
  assert.ok(listeners <= 0, `${listeners} listeners are left`);
});

test("a store whose signal is aborted keeps what came", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  const store = createStore(view.url, { signal: aborting.signal });
  t.after(store.subscribe(() => {}));
  await until(() => Object.keys(store.getSnapshot().parts).length === 3);
  aborting.abort();
  await until(() => store.getSnapshot().status !== "loading");
  const { status, parts, pending } = store.getSnapshot();
  assert.equal(status, "cut");
  assert.deepEqual(parts, { a: 1, b: 2, c: 3 });
  assert.deepEqual(pending, ["slow"]);
  await until(() => view.proxy.open.length === 0);
});

test("an abort ends a load whose own `fetch` or `headers` never settles", async (t) => {
  const never = () => /** @type {Promise<any>} */ (new Promise(() => {}));
  for (const options of [{ fetch: never }, { headers: never }]) {
    const aborting = new AbortController();
    const load = failureOf(partstream("http://127.0.0.1:9/", { signal: aborting.signal, ...options }));
    await pause(20);
    aborting.abort("enough");
    assert.equal((await load).error, "enough");
  }
});

test("an abort ends a stream of a `fetch` that ignores its signal, and closes the connection", async (t) => {
  const view = await serve(t, PARTS);
  const aborting = new AbortController();
  /** @type {typeof fetch} */
  const ignoring = (url, init) => fetch(url, { ...init, signal: null });
  const load = partstream(view.url, { signal: aborting.signal, fetch: ignoring });
  for (const _ of "abc") await next(load);
  const rest = failureOf(load);
  aborting.abort("enough");
  assert.equal((await rest).error, "enough");
  await until(() => view.proxy.open.length === 0);
});

test("silence and timeout count for a `fetch` that ignores its signal, and timeout for `headers`", async (t) => {
  t.mock.method(console, "warn", () => {});
  const view = await serve(t, { a: value(1) });
  let calls = 0;
  /** @type {typeof fetch} */
  const slow = (url, init) => (++calls < 3 ? new Promise(() => {}) : fetch(url, init));
  const options = { silence: 20, timeout: 200, backoff: 1 };
  assert.deepEqual(names(await collect(partstream(view.url, { fetch: slow, ...options }))), ["a"]);
  assert.deepEqual([calls, view.kinds], [3, ["walk"]]);
  /** @type {() => Promise<any>} */
  const headers = () => new Promise(() => {});
  const { error } = await failureOf(partstream(view.url, { by: "walk", headers, attempts: 2, ...options }));
  assert.equal(error.code, "network");
  assert.equal(view.requests.length, 1);
});

test("an abort without a reason, as in old browsers, throws an AbortError", async (t) => {
  const view = await serve(t, PARTS);
  for (const isEarly of [true, false]) {
    const aborting = new AbortController();
    Object.defineProperty(aborting.signal, "reason", { value: undefined });
    if (isEarly) aborting.abort();
    const load = failureOf(partstream(view.url, { signal: aborting.signal }));
    if (!isEarly) await until(() => view.proxy.open.length === 1);
    aborting.abort();
    assert.equal((await load).error?.name, "AbortError");
  }
});

test("nothing listens to a signal after loads, waits, retries and stores have ended", async (t) => {
  const { signal } = new AbortController();
  const view = await serve(t, { a: value(1), bad: failing("crash") });
  const options = { signal, ...QUICK };
  view.proxy.next({ cutAfter: 0 });
  await collect(partstream(view.url, options));
  for await (const _ of partstream(view.url, options)) break;
  const store = createStore(view.url, options);
  const leave = store.subscribe(() => {});
  await until(() => store.getSnapshot().status === "complete");
  await store.retry("bad");
  void store.refresh();
  leave();
  await until(() => store.getSnapshot().status === "cut");
  await until(() => getEventListeners(signal, "abort").length === 0);
});
