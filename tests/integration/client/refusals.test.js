// @ts-check
/** Answers that refuse: what is asked again, what starts again, and what fails at once. */

import assert from "node:assert/strict";

import { createStore, partstream, PartstreamError } from "django-partstream";

import {
  change, collect, dataOf, failing, failureOf, held, isStream, lazy, names, next, QUICK, reaches, serve,
  test, until, value, watch,
} from "./site.js";

const PARTS = { shop: value(1), orders: lazy(2) };
const ALL = { shop: 1, orders: 2 };

/** @param {number} status @param {string} code @param {object} [more] */
const refusal = (status, code, more = {}) => ({ status, body: { detail: `It is ${code}.`, code, ...more } });

// 204

test("204 of server-sent events in the middle of a load: the walk has what is left", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const load = partstream(view.url, { format: "sse", ...QUICK });
  await next(load);
  view.proxy.next({ answer: { status: 204 } });
  const rest = collect(load);
  view.proxy.cut();
  await until(() => view.requests.length === 3);
  await view.release();
  assert.deepEqual(dataOf(await rest), { orders: 2 });
  assert.deepEqual(view.kinds, ["stream", "stream", "walk"]);
});

test("204 is no error, and nothing is asked again: for lines, whatever has come", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: { status: 204 } });
  assert.deepEqual(await collect(partstream(view.url, QUICK)), []);
  assert.equal(view.requests.length, 1);
});

test("204 of server-sent events that are switched off: the walk", async (t) => {
  await change(t, { MAX_STREAMS: 0 });
  const view = await serve(t, PARTS);
  assert.deepEqual(dataOf(await collect(partstream(view.url, { format: "sse" }))), ALL);
  assert.deepEqual(view.kinds.slice(0, 2), ["stream", "walk"]);
});

// Wait, and ask the same again

for (const [status, code] of /** @type {const} */ ([[429, "throttled"], [503, "store_unavailable"]])) {
  test(`${status} ${code}: the same request again, after retry_after`, async (t) => {
    const view = await serve(t, { shop: value(1), orders: held(2) });
    const load = partstream(view.url, QUICK);
    await next(load);
    view.proxy.next({ answer: refusal(status, code, { retry_after: 1 }) });
    const rest = collect(load);
    view.proxy.cut();
    await until(() => view.requests.length === 3);
    const [, refused, again] = view.requests;
    assert.ok(refused && again && again.time - refused.time >= 990, "it did not wait");
    assert.ok(again.query.get("cursor"));
    assert.equal(again.query.get("cursor"), refused.query.get("cursor"));
    assert.deepEqual(view.kinds, ["stream", "stream", "stream"]);
    await view.release();
    assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
  });
}

test("429 with nothing but Retry-After", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.next({ answer: { status: 429, headers: { "Retry-After": "1" }, body: { detail: "Slow down." } } });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), ALL);
  const [refused, again] = view.requests;
  assert.ok(refused && again && again.time - refused.time >= 990);
});

test("429 of the server's own limit: a longer wait than is wanted fails at once", async (t) => {
  const view = await serve(t, PARTS);
  await change(t, { ENABLE_RATE_LIMITING: true, RATE_LIMIT: 1 });
  await collect(partstream(view.url));
  const { error } = await failureOf(partstream(view.url, { longestWait: 10 }));
  assert.ok(error instanceof PartstreamError);
  assert.equal(error.code, "throttled");
  assert.equal(error.status, 429);
  assert.ok((error.retry_after ?? 0) >= 1);
  assert.equal(view.requests.length, 2);
});

test("429 again and again: the load fails, too", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: refusal(429, "throttled", { retry_after: 0 }) });
  const { error } = await failureOf(partstream(view.url, { attempts: 3, ...QUICK }));
  assert.equal(error.code, "throttled");
  assert.equal(view.requests.length, 3);
});

test("5xx: the same request again, by the stream, whatever its body is", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.next({ answer: { status: 502, body: "<h1>Bad gateway</h1>" } });
  view.proxy.next({ answer: { status: 500, body: { detail: "A server error occurred." } } });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), ALL);
  assert.deepEqual(view.kinds, ["stream", "stream", "stream"]);
});

test("5xx: Retry-After is waited for, and junk in it is not", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.next({ answer: { status: 502, headers: { "Retry-After": "soon" } } });
  view.proxy.next({ answer: { status: 503, headers: { "Retry-After": "1" } } });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), ALL);
  const [, second, third] = view.requests;
  assert.ok(second && third && third.time - second.time >= 990);
});

test("5xx again and again: the load fails with the status", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: { status: 502, body: "<h1>Bad gateway</h1>" } });
  const { error } = await failureOf(partstream(view.url, { attempts: 3, ...QUICK }));
  assert.equal(error.code, "http_error");
  assert.equal(error.status, 502);
  assert.equal(view.requests.length, 3);
});

// Fail at once

for (const [status, code] of /** @type {const} */ ([
  [400, "request_invalid"],
  [401, "authentication_failed"],
  [403, "permission_denied"],
  [403, "ip_denied"],
  [404, "not_found"],
  [405, "method_not_allowed"],
])) {
  test(`${status} ${code} fails at once`, async (t) => {
    const view = await serve(t, PARTS);
    view.proxy.always({ answer: refusal(status, code) });
    const { error, parts } = await failureOf(partstream(view.url, QUICK));
    assert.ok(error instanceof PartstreamError && error instanceof Error);
    assert.deepEqual([error.name, error.code, error.status], ["PartstreamError", code, status]);
    assert.equal(error.message, `It is ${code}.`);
    assert.deepEqual(parts, []);
    assert.equal(view.requests.length, 1);
  });
}

test("a 4xx without a code of the library", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: { status: 418, body: "<h1>I'm a teapot</h1>" } });
  const { error } = await failureOf(partstream(view.url, QUICK));
  assert.deepEqual([error.code, error.status], ["http_error", 418]);
  assert.equal(view.requests.length, 1);
});

test("a refusal in the middle comes after the parts that came", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const load = partstream(view.url, QUICK);
  view.proxy.always({ answer: refusal(403, "permission_denied") }, ({ query }) => query.has("cursor"));
  assert.equal((await next(load)).name, "shop");
  view.proxy.cut();
  const { error } = await failureOf(load);
  assert.equal(error.code, "permission_denied");
});

test("a token that has run out: the server's own 401", async (t) => {
  const view = await serve(t, PARTS, { token: "Bearer new" });
  const { error } = await failureOf(partstream(view.url, { headers: { Authorization: "Bearer old" } }));
  assert.deepEqual([error.code, error.status], ["authentication_failed", 401]);
});

// Start again

test("cursor_invalid, of a cursor that is none: starts again, once", async (t) => {
  const view = await serve(t, PARTS);
  const load = partstream(view.url, { initial: { cursor: "none-of-this-view" } });
  assert.deepEqual(dataOf(await collect(load)), ALL);
  assert.deepEqual(view.cursors, ["none-of-this-view", null]);
});

/** The length of the opening record. @param {import("./site.js").View} view */
async function openingOf(view) {
  const response = await fetch(view.url, { headers: { Accept: "application/x-ndjson" } });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const { value = new Uint8Array() } = await reader.read();
  await reader.cancel();
  return value.indexOf(0x0a);
}

for (const [status, code, restarts] of /** @type {const} */ ([
  [400, "cursor_invalid", 1],
  [410, "cursor_expired", 2],
  [409, "cursor_stale", 2],
])) {
  test(`${code} again and again fails after ${restarts} new starts`, async (t) => {
    const view = await serve(t, { shop: value(1), orders: held(2) });
    view.proxy.always({ answer: refusal(status, code) }, ({ query }) => query.has("cursor"));
    // Each start has its opening record, and is cut after it.
    view.proxy.always({ cutAfter: (await openingOf(view)) + 1 });
    const { error, parts } = await failureOf(partstream(view.url, QUICK));
    assert.deepEqual(dataOf(parts), { shop: 1 });
    assert.deepEqual([error.code, error.status], [code, status]);
    const starts = view.cursors.filter((cursor) => cursor === null).length - 1; // one is openingOf's
    assert.equal(starts, 1 + restarts);
  });
}

test("cursor_stale, of a view that has other parts now: no part comes twice", async (t) => {
  const view = await serve(t, { shop: value(1), old: lazy(2), rest: held(3) });
  const load = partstream(view.url, QUICK);
  assert.deepEqual(dataOf([await next(load), await next(load)]), { shop: 1, old: 2 });
  await view.declare({ shop: value(10), fresh: lazy(20), rest: held(30) });
  const rest = collect(load);
  view.proxy.cut();
  await until(() => view.requests.length === 3);
  assert.equal(view.cursors[2], null);
  await view.release();
  assert.deepEqual(dataOf(await rest), { fresh: 20, rest: 30 });
});

test("a part that failed before a new start does not come twice", async (t) => {
  const view = await serve(t, { bad: failing("crash"), rest: held(3) });
  const load = partstream(view.url, QUICK);
  assert.equal((await next(load)).error?.code, "part_failed");
  await view.declare({ added: value(1), bad: lazy(2), rest: held(3) });
  const rest = collect(load);
  view.proxy.cut();
  await until(() => view.requests.length === 3);
  await view.release();
  assert.deepEqual(dataOf(await rest), { added: 1, rest: 3 });
});

test("a store that starts again has the parts of the new start, and no others", async (t) => {
  const view = await serve(t, { bad: failing("crash"), gone: lazy(0), old: lazy("old"), rest: held(3) });
  const store = createStore(view.url, QUICK);
  watch(t, store);
  await until(() => Object.keys({ ...store.getSnapshot().parts, ...store.getSnapshot().errors }).length === 3);
  await view.declare({ added: value(1), bad: lazy(2), old: lazy("new"), rest: held(3) });
  view.proxy.cut();
  await until(() => view.requests.length === 3);
  await view.release();
  await reaches(store, "complete");
  const { parts, errors } = store.getSnapshot();
  assert.deepEqual([parts, errors], [{ added: 1, bad: 2, old: "new", rest: 3 }, {}]);
});

// What is no answer of the library

test("a login page in the way: the load fails, and says so", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: { body: "<!doctype html><title>Sign in</title>" } });
  const { error, parts } = await failureOf(partstream(view.url, QUICK));
  assert.equal(error.code, "unexpected_answer");
  assert.equal(error.status, 200);
  assert.deepEqual(parts, []);
  assert.deepEqual(view.kinds, ["stream", "walk"]);
});

test("JSON that is no envelope: the load fails", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: { body: { count: 3, next: null } } });
  const { error } = await failureOf(partstream(view.url, { by: "walk", ...QUICK }));
  assert.equal(error.code, "unexpected_answer");
});

test("a chunk of a walk that breaks off is asked for again", async (t) => {
  const view = await serve(t, { a: lazy(1), b: lazy(2), c: lazy(3), d: lazy(4), e: lazy(5) });
  view.proxy.next({ cutAfter: 40 }, { when: ({ query }) => query.has("cursor"), times: 2 });
  const parts = await collect(partstream(view.url, { by: "walk", ...QUICK }));
  assert.deepEqual(dataOf(parts), { a: 1, b: 2, c: 3, d: 4, e: 5 });
  assert.deepEqual(names(parts), ["a", "b", "c", "d", "e"]);
  assert.equal(view.requests.filter(isStream).length, 0);
  assert.equal(new Set(view.cursors.slice(1, 4)).size, 1);
});
