// @ts-check
/** A stream that is cut, in every way and at every place. */

import assert from "node:assert/strict";

import { partstream, PartstreamError } from "django-partstream";

import {
  change, collect, dataOf, failing, failureOf, held, holdLongTimers, lazy, names, next, pause, QUICK, serve, test, until, value,
} from "./site.js";

/** How a stream is cut: its end looks complete, or is an error. */
const CUTS = [{ reset: false }, { reset: true }];
const FORMATS = /** @type {const} */ (["ndjson", "sse"]);

for (const format of FORMATS) {
  for (const how of CUTS) {
    test(`${format}: cut after a record (${how.reset ? "reset" : "closed"}): goes on from it`, async (t) => {
      const view = await serve(t, { shop: value(1), orders: held([1, 2]), rest: held("é") });
      const load = partstream(view.url, { format, ...QUICK });
      assert.equal((await next(load)).name, "shop");
      await view.release("orders");
      assert.deepEqual(await next(load), { name: "orders", data: [1, 2] });
      const rest = collect(load);
      view.proxy.cut(how);
      await until(() => view.requests.length === 2);
      await view.release("rest");
      assert.deepEqual(await rest, [{ name: "rest", data: "é" }]);
      assert.deepEqual(view.kinds, ["stream", "stream"]);
      assert.ok(view.cursors[1], "the position is lost");
    });
  }
}

test("a retry that fails, too, keeps the position", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const load = partstream(view.url, QUICK);
  await next(load);
  const rest = collect(load);
  view.proxy.next({ cutAfter: 0 }, { times: 3 });
  view.proxy.cut({ reset: true });
  await until(() => view.requests.length === 5);
  await view.release();
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
  const [first, ...later] = view.cursors;
  assert.equal(first, null);
  assert.equal(new Set(later).size, 1);
  assert.ok(later[0]);
});

test("cut before the first record: the same request again", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2) });
  view.proxy.next({ cutAfter: 0 });
  view.proxy.next({ cutAfter: 1, reset: true });
  view.proxy.next({ cutAfter: 1 });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), { shop: 1, orders: 2 });
  assert.deepEqual(view.cursors, [null, null, null, null]);
  assert.deepEqual(view.kinds, ["stream", "stream", "stream", "stream"]);
});

test("a normal close throws away no buffered records, however slowly they are read", async (t) => {
  const view = await serve(t, { a: value(1), b: value(2), c: lazy(3), d: lazy(4), e: lazy(5) });
  const parts = [];
  for await (const part of partstream(view.url)) {
    parts.push(part);
    await until(() => view.proxy.open.length === 0);
  }
  assert.deepEqual(dataOf(parts), { a: 1, b: 2, c: 3, d: 4, e: 5 });
  assert.equal(view.requests.length, 1);
});

test("a normal close after the last record without its line feed is the end", async (t) => {
  const view = await serve(t, { a: value(1) });
  const record = { results: [{ a: 1 }], cursor: null, meta: { total_parts: 1, current_part: 1, has_more: false } };
  const headers = { "Content-Type": "application/x-ndjson" };
  view.proxy.next({ answer: { headers, body: JSON.stringify(record) } });
  assert.deepEqual(await collect(partstream(view.url)), [{ name: "a", data: 1 }]);
  assert.equal(view.requests.length, 1);
});

test("a stream that ends after progress is resumed at once, and is no failure", async (t) => {
  holdLongTimers(t);
  const parts = { a: held(1), b: held(2), c: held(3), d: held(4) };
  const view = await serve(t, parts);
  // One failure would end the load.
  const load = partstream(view.url, { attempts: 1, backoff: 600_000 });
  for (const name of Object.keys(parts)) {
    const part = load.next();
    await view.release(name);
    assert.equal((await part).value?.name, name);
    view.proxy.cut();
  }
  assert.deepEqual(await collect(load), []);
});

test("back-off is reset by progress", async (t) => {
  const parts = { a: held(1), b: held(2), c: held(3), d: held(4), e: held(5) };
  const view = await serve(t, parts);
  const load = partstream(view.url, { attempts: 2, backoff: 1 });
  for (const name of Object.keys(parts)) {
    const part = load.next();
    await view.release(name);
    assert.equal((await part).value?.name, name);
    view.proxy.cut({ reset: true });
  }
  assert.deepEqual(await collect(load), []);
});

test("a part that takes longer than a stream may last", async (t) => {
  await change(t, { STREAM_MAX_SECONDS: 0.1 });
  const view = await serve(t, { shop: value(1), slow: held(2), after: lazy(3, { depends_on: ["slow"] }) });
  const load = partstream(view.url, { backoff: 1, attempts: 10_000 });
  await next(load);
  const rest = collect(load);
  await until(() => view.requests.length >= 4);
  await view.release();
  assert.deepEqual(dataOf(await rest), { slow: 2, after: { slow: 2, data: 3 } });
  assert.equal((await view.look()).calls.slow, 1);
});

test("no silence when retries run out: the load fails, after what came", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  view.proxy.always({ cutAfter: 0 }, ({ query }) => query.has("cursor"));
  const load = partstream(view.url, { attempts: 3, backoff: 1 });
  assert.equal((await next(load)).name, "shop");
  view.proxy.cut({ reset: true });
  const { error, parts } = await failureOf(load);
  assert.deepEqual(parts, []);
  assert.ok(error instanceof PartstreamError);
  assert.equal(error.code, "network");
  assert.equal(error.status, 0);
  assert.ok(error.cause instanceof TypeError);
  assert.ok(error.message);
  // The cut is a failure, and so are two requests.
  assert.equal(view.requests.length, 3);
});

test("no server at all: the load fails after as many attempts as it may make", async (t) => {
  const view = await serve(t, {});
  view.proxy.always({ cutAfter: 0 });
  const { error } = await failureOf(partstream(view.url, { attempts: 4, backoff: 1 }));
  assert.equal(error.code, "network");
  assert.equal(view.requests.length, 4);
});

test("streams that end early again and again, without a word: the load fails", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  view.proxy.always({ cutAfter: 300 }); // The opening record is longer.
  const { error, parts } = await failureOf(partstream(view.url, { attempts: 3, backoff: 1 }));
  assert.deepEqual(names(parts), []);
  assert.equal(error.code, "network");
  assert.ok(error.cause instanceof Error);
  assert.deepEqual(view.kinds, ["stream", "stream", "stream"]);
});

/** @param {string | null} cursor @param {object[]} [results] */
function brokenStream(cursor, results = []) {
  const record = {
    results,
    cursor,
    meta: { total_parts: 2, current_part: 1, has_more: true },
    stream_error: { code: "stream_failed", detail: "The server ended this stream. Resume it with its cursor." },
  };
  return { headers: { "Content-Type": "application/x-ndjson" }, body: `${JSON.stringify(record)}\n` };
}

test("a stream that broke keeps its parts, and goes on from its cursor", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), rest: lazy(3) });
  const first = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  view.proxy.next({ answer: brokenStream(first.cursor, first.results) });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), { shop: 1, orders: 2, rest: 3 });
  assert.deepEqual(view.cursors.slice(-2), [null, first.cursor]);
});

test("streams that the server ends again and again: the load fails", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), rest: lazy(3) });
  const first = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  view.proxy.always({ answer: brokenStream(first.cursor) });
  const { error } = await failureOf(partstream(view.url, { attempts: 3, backoff: 1 }));
  assert.equal(error.code, "stream_failed");
  assert.equal(error.status, 200);
  assert.match(error.message, /server ended this stream/);
});

test("junk in a stream is not its end: what is missing is asked for again", async (t) => {
  const view = await serve(t, { shop: value(1), orders: lazy(2), rest: lazy(3) });
  const first = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  const headers = { "Content-Type": "application/x-ndjson" };
  view.proxy.next({ answer: { headers, body: `${JSON.stringify(first)}\n<html>Bad gateway</html>\n` } });
  assert.deepEqual(dataOf(await collect(partstream(view.url, QUICK))), { shop: 1, orders: 2, rest: 3 });
});

test("a line that stays silent, heartbeats included, was cut", async (t) => {
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const load = partstream(view.url, { silence: 1500, backoff: 1 });
  await next(load);
  // Heartbeats come for longer than that, and keep it open.
  const rest = collect(load);
  await pause(2000);
  assert.equal(view.requests.length, 1);
  view.proxy.stall();
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(await rest, [{ name: "orders", data: 2 }]);
  assert.equal(view.proxy.open.length, 0, "the silent connection is still open");
});

test("failed parts come once, too", async (t) => {
  const view = await serve(t, { bad: failing("no_news"), worse: failing("crash"), rest: held(1) });
  const load = partstream(view.url, QUICK);
  const failed = [await next(load), await next(load)];
  assert.deepEqual(names(failed).sort(), ["bad", "worse"]);
  const rest = collect(load);
  view.proxy.cut({ reset: true });
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(await rest, [{ name: "rest", data: 1 }]);
});
