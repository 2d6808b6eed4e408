// @ts-check
/** Where streams do not get through: the walk, from the same position. */

import assert from "node:assert/strict";

import { partstream } from "django-partstream";

import {
  change, collect, dataOf, held, isStream, lazy, names, next, pause, QUICK, serve, startProxy, test, until, value,
} from "./site.js";

const PARTS = { a: value(1), b: lazy(2), c: lazy(3), d: lazy(4), e: lazy(5) };
const ALL = { a: 1, b: 2, c: 3, d: 4, e: 5 };
const HTML = { body: "<!doctype html><title>Hello</title>" };

/** What is written to the console as warnings. @param {import("node:test").TestContext} t */
function warnings(t) {
  const warn = t.mock.method(console, "warn", () => {});
  return () => warn.mock.calls.map((call) => call.arguments.join(" "));
}

test("406: a view without streams", async (t) => {
  const warned = warnings(t);
  const view = await serve(t, PARTS, { route: "without-streams" });
  assert.deepEqual(dataOf(await collect(partstream(view.url))), ALL);
  assert.equal(view.kinds.filter((kind) => kind === "stream").length, 1);
  assert.equal(view.kinds[0], "stream");
  assert.deepEqual(warned(), []);
});

test("503 capacity: the server has no room for a stream", async (t) => {
  await change(t, { MAX_STREAMS: 0 });
  const view = await serve(t, PARTS);
  const started = performance.now();
  assert.deepEqual(dataOf(await collect(partstream(view.url))), ALL);
  assert.deepEqual(new Set(view.kinds.slice(1)), new Set(["walk"]));
  // Its Retry-After is for those who insist on a stream.
  assert.ok(performance.now() - started < 25_000);
});

for (const [why, answer] of /** @type {const} */ ([
  ["503 capacity", { status: 503, body: { detail: "Full.", code: "capacity", retry_after: 5 } }],
  ["406", { status: 406, body: { detail: "No.", code: "not_acceptable" } }],
  ["text/html", HTML],
])) {
  test(`${why} when a stream is resumed: the walk goes on, and nothing is lost or repeated`, async (t) => {
    const view = await serve(t, { ...PARTS, f: held(6) });
    const load = partstream(view.url, QUICK);
    const first = [await next(load), await next(load)];
    view.proxy.always({ answer }, isStream);
    view.proxy.cut({ reset: true });
    await view.release();
    assert.deepEqual(dataOf([...first, ...(await collect(load))]), { ...ALL, f: 6 });
    assert.deepEqual(view.kinds.slice(0, 3), ["stream", "stream", "walk"]);
    assert.ok(view.cursors[1]);
    assert.equal(view.cursors[1], view.cursors[2]);
  });
}

test("text/html in the way of the stream alone", async (t) => {
  const view = await serve(t, PARTS);
  view.proxy.always({ answer: HTML }, isStream);
  assert.deepEqual(dataOf(await collect(partstream(view.url))), ALL);
});

test("JSON where a stream was asked for is a chunk", async (t) => {
  const view = await serve(t, PARTS);
  const body = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  assert.ok(body.cursor);
  view.proxy.next({ answer: { body } });
  assert.deepEqual(dataOf(await collect(partstream(view.url))), ALL);
  assert.equal(view.cursors[2], body.cursor);
});

test("a network that buffers: noticed, said once, and this origin walks from then on", async (t) => {
  const warned = warnings(t);
  // They end one after the other, so that each has a record of its own.
  const view = await serve(t, {
    a: value(1),
    b: held(2),
    c: lazy(3, { seconds: 0.05, depends_on: ["b"] }),
    d: lazy(4, { seconds: 0.05, depends_on: ["c"] }),
  });
  const all = { a: 1, b: 2, c: { b: 2, data: 3 }, d: { c: { b: 2, data: 3 }, data: 4 } };
  view.proxy.buffers = true;
  const load = collect(partstream(view.url, QUICK));
  await pause(2500);
  await view.release();
  assert.deepEqual(dataOf(await load), all);
  assert.deepEqual(view.kinds, ["stream"]);
  assert.equal(warned().length, 1);
  assert.match(warned()[0] ?? "", /buffer|held|hold/i);
  assert.match(warned()[0] ?? "", new RegExp(new URL(view.url).host));

  assert.deepEqual(dataOf(await collect(partstream(view.url))), all);
  assert.equal(view.kinds.filter((kind) => kind === "stream").length, 1);
  assert.equal(warned().length, 1);
});

test("a network that passes on nothing until the end: the walk takes over before it", async (t) => {
  const warned = warnings(t);
  const view = await serve(t, { a: value(1), b: held(2), c: lazy(3) });
  view.proxy.always({ buffer: true }, isStream);
  const load = partstream(view.url, { silence: 1000, ...QUICK });
  const first = next(load);
  await until(() => view.kinds.includes("walk"));
  await view.release();
  assert.deepEqual(dataOf([await first, ...(await collect(load))]), { a: 1, b: 2, c: 3 });
  assert.equal(view.kinds.filter((kind) => kind === "stream").length, 1);
  assert.equal(warned().length, 1);
  await until(() => view.proxy.open.length === 0, "the buffered stream is still open");
});

test("a quick view, whose parts come at once, is no network that buffers", async (t) => {
  const warned = warnings(t);
  const view = await serve(t, PARTS);
  for (let load = 0; load < 3; load += 1) await collect(partstream(view.url));
  assert.deepEqual(view.kinds, ["stream", "stream", "stream"]);
  assert.deepEqual(warned(), []);
});

test("a slow part, after which the others come at once, is no network that buffers", async (t) => {
  const warned = warnings(t);
  const view = await serve(t, { a: value(1), b: held(2), c: lazy(3, { depends_on: ["b"] }), d: lazy(4, { depends_on: ["c"] }) });
  const load = collect(partstream(view.url));
  await pause(2500);
  await view.release();
  await load;
  await collect(partstream(view.url));
  assert.deepEqual(view.kinds, ["stream", "stream"]);
  assert.deepEqual(warned(), []);
});

test("the walk, where it is asked for", async (t) => {
  const view = await serve(t, PARTS);
  const parts = await collect(partstream(view.url, { by: "walk" }));
  assert.deepEqual(names(parts), Object.keys(ALL));
  assert.deepEqual(view.kinds, ["walk", "walk", "walk"]);
});

test("more loads than streams: the others walk", async (t) => {
  const view = await serve(t, { a: value(1), b: held(2) });
  const options = { maxStreams: 1 };
  const streaming = partstream(view.url, options);
  await next(streaming);
  const walking = partstream(view.url, options);
  const first = next(walking);
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(dataOf([await first, ...(await collect(walking))]), { a: 1, b: 2 });
  assert.deepEqual(await collect(streaming), [{ name: "b", data: 2 }]);
  assert.deepEqual(new Set(view.kinds.slice(1)), new Set(["walk"]));
  // When it has ended, there is room again.
  await collect(partstream(view.url, options));
  assert.equal(view.kinds.at(-1), "stream");
});

test("a stream that is left, or fails, makes room for the next", async (t) => {
  const view = await serve(t, { a: value(1), b: held(2) });
  const options = { maxStreams: 1, attempts: 1 };
  for await (const _ of partstream(view.url, options)) break;
  view.proxy.next({ cutAfter: 0 });
  await assert.rejects(collect(partstream(view.url, options)));
  const load = partstream(view.url, options);
  await next(load);
  assert.deepEqual(view.kinds, ["stream", "stream", "stream"]);
  await load.return();
});

test("the demo shop comes whole in every way", async (t) => {
  const proxy = await startProxy(t);
  const url = `${proxy.url}/api/dashboard/`;
  const whole = dataOf(await collect(partstream(url)));
  assert.ok(Object.keys(whole).length >= 11);
  const keys = Object.keys(whole);
  for (const options of /** @type {const} */ ([{ by: "walk" }, { format: "sse" }])) {
    assert.deepEqual(dataOf(await collect(partstream(url, options))), whole);
  }
  assert.deepEqual(dataOf(await collect(partstream(`${url}parts/`, { keys }))), whole);
});
