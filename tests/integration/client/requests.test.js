// @ts-check
/** What is sent: headers, options of `fetch`, the query; and an answer from elsewhere that comes first. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";

import { partstream } from "django-partstream";

import { collect, dataOf, failureOf, held, lazy, names, next, QUICK, serve, test, until, value } from "./site.js";

test("a function for headers is called for each request, so a new token is used", async (t) => {
  let token = "Bearer 1";
  const view = await serve(t, { a: value(1), b: held(2) }, { token });
  const load = partstream(view.url, { headers: async () => ({ Authorization: token }), ...QUICK });
  await next(load);
  token = "Bearer 2";
  await view.declare({ a: value(1), b: held(2) }, { token });
  const rest = collect(load);
  view.proxy.cut({ reset: true });
  await until(() => view.requests.length === 2);
  await view.release();
  assert.deepEqual(await rest, [{ name: "b", data: 2 }]);
  assert.deepEqual(view.requests.map(({ headers }) => headers.authorization), ["Bearer 1", "Bearer 2"]);
});

test("headers in every form of `fetch`, and Accept stays the client's", async (t) => {
  const view = await serve(t, { a: value(1) });
  /** @type {HeadersInit[]} */
  const forms = [{ "X-Own": "1" }, new Headers({ "X-Own": "1" }), [["X-Own", "1"]]];
  for (const headers of forms) {
    for (const by of /** @type {const} */ (["stream", "walk"])) await collect(partstream(view.url, { by, headers }));
  }
  assert.deepEqual(view.requests.map(({ headers }) => headers["x-own"]), Array(6).fill("1"));
  assert.deepEqual(view.kinds, Array(3).fill(["stream", "walk"]).flat());
});

test("what a function for headers throws is the cause of the failure", async (t) => {
  const view = await serve(t, { a: value(1) });
  const thrown = new Error("no token");
  const throws = () => {
    throw thrown;
  };
  for (const headers of [throws, () => Promise.reject(thrown)]) {
    const { error } = await failureOf(partstream(view.url, { headers, attempts: 2, ...QUICK }));
    assert.deepEqual([error.code, error.cause], ["network", thrown]);
  }
  assert.equal(view.requests.length, 0);
});

test("a URL with a cursor is refused before anything is asked: `initial` is its place", async (t) => {
  const view = await serve(t, { a: value(1) });
  await assert.rejects(collect(partstream(`${view.url}?cursor=c`)), { name: "TypeError", message: /initial/ });
  const own = { cursorParameter: "position" };
  await assert.rejects(collect(partstream(`${view.url}?position=c`, own)), { name: "TypeError" });
  assert.equal(view.requests.length, 0);
});

test("options of `fetch` are passed on, and so is a `fetch` of one's own", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: lazy(3) });
  /** @type {RequestInit[]} */
  const seen = [];
  /** @type {typeof fetch} */
  const own = (input, init = {}) => {
    seen.push(init);
    return fetch(input, init);
  };
  const options = { fetch: own, credentials: "include", mode: "cors", cache: "no-cache" };
  await collect(partstream(view.url, /** @type {any} */ ({ by: "walk", ...options })));
  assert.ok(seen.length >= 2);
  for (const init of seen) {
    assert.deepEqual([init.credentials, init.mode, init.cache], ["include", "cors", "no-cache"]);
    assert.equal(init.body, undefined);
  }
});

test("the application's own query is repeated with each cursor", async (t) => {
  const view = await serve(t, { a: value(1), b: held(2), c: lazy(3) });
  const load = partstream(new URL(`${view.url}?since=2026-01-01&tag=a&tag=b#top`), QUICK);
  await next(load);
  view.proxy.cut();
  await view.release();
  await collect(load);
  const sent = view.requests.map(({ query }) => [query.get("since"), query.getAll("tag")]);
  assert.deepEqual(sent, Array(view.requests.length).fill(["2026-01-01", ["a", "b"]]));
  assert.ok(view.cursors.at(-1));
});

test("an answer that is there comes first, and the load goes on after it", async (t) => {
  const view = await serve(t, { a: value(1), b: lazy(2), c: lazy(3), d: lazy(4) });
  const initial = await (await fetch(view.url, { headers: { Accept: "application/json" } })).json();
  assert.ok(initial.cursor);
  const parts = await collect(partstream(view.url, { initial }));
  assert.deepEqual(names(parts).slice(0, 2), ["a", "b"]);
  assert.deepEqual(dataOf(parts), { a: 1, b: 2, c: 3, d: 4 });
  assert.deepEqual(view.cursors, [null, initial.cursor]);
  // Its parts come before anything is asked.
  const load = partstream(view.url, { initial });
  await next(load);
  assert.equal(view.requests.length, 2);
  await load.return();
});

test("an answer that is complete: nothing is fetched", async (t) => {
  const view = await serve(t, { a: value(1) });
  const initial = { results: [{ a: 5 }], cursor: null, meta: { total_parts: 1, current_part: 1, has_more: false } };
  assert.deepEqual(await collect(partstream(view.url, { initial })), [{ name: "a", data: 5 }]);
  assert.equal(view.requests.length, 0);
});

test("the types of answers: a media type with parameters, in any case", async (t) => {
  // No server of the library writes them so, but something between may.
  const record = { results: [{ a: 1 }], cursor: null, meta: { total_parts: 1, current_part: 1, has_more: false } };
  const types = {
    "application/x-ndjson; charset=utf-8": `${JSON.stringify(record)}\n`,
    "Application/X-NDJSON": `${JSON.stringify(record)}\n`,
    "text/event-stream;charset=UTF-8": `data: ${JSON.stringify(record)}\n\n`,
    "application/json; charset=utf-8": JSON.stringify(record),
    // With a byte order mark, which is no part of the text.
    "application/x-ndjson": `\uFEFF${JSON.stringify(record)}\n`,
    "text/event-stream": `\uFEFFdata: ${JSON.stringify(record)}\n\n`,
  };
  for (const [type, body] of Object.entries(types)) {
    let requests = 0;
    const server = createServer((_, response) => {
      requests += 1;
      response.writeHead(200, { "Content-Type": type }).end(body);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    const format = type.startsWith("text") ? "sse" : "ndjson";
    const parts = await collect(partstream(`http://127.0.0.1:${port}/`, { format, attempts: 1 }));
    assert.deepEqual(parts, [{ name: "a", data: 1 }], type);
    assert.equal(requests, 1);
  }
});

test("a part of megabytes, with characters of several bytes, comes whole", async (t) => {
  const big = "山🏔️é".repeat(300_000);
  const view = await serve(t, { shop: value(1), big: lazy(big), after: lazy(2, { depends_on: ["big"] }) });
  const { big: came } = dataOf(await collect(partstream(view.url)));
  assert.equal(came.length, big.length);
  assert.ok(came === big);
});

test("many parts, and names with every character that is allowed", async (t) => {
  const all = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`part_${index}`, lazy(index)]));
  const view = await serve(t, { ...all, __proto: value(1), constructor: value(2), toString: value(3) });
  const parts = await collect(partstream(view.url));
  assert.equal(Object.keys(dataOf(parts)).length, 303);
});
