// @ts-check
/**
 * Cuts everywhere: at each byte of a stream, and at random.
 *
 * `PARTSTREAM_TEST_CUT_SECONDS=600` cuts at random for ten minutes.
 */

import assert from "node:assert/strict";

import { partstream } from "django-partstream";

import { collect, dataOf, failing, isStream, lazy, names, serve, test, value } from "./site.js";

const SECONDS = Number(process.env.PARTSTREAM_TEST_CUT_SECONDS ?? 10);
/** All of them together take longer than one test may. */
const LONG = { timeout: SECONDS * 1000 + 300_000 };

/** Events ask clients to wait a second, so not each byte is tried, and more loads run at once. */
const FORMATS = [
  { format: /** @type {const} */ ("ndjson"), accept: "application/x-ndjson", step: 1, lanes: 4 },
  { format: /** @type {const} */ ("sse"), accept: "text/event-stream", step: 7, lanes: 32 },
];

/** Do this so often at the same time. @param {number} lanes @param {() => Promise<void>} work */
const inLanes = (lanes, work) => Promise.all(Array.from({ length: lanes }, work));

for (const { format, accept, step, lanes } of FORMATS) {
  for (const reset of [false, true]) {
    test(`${format}: ${reset ? "reset" : "closed"} at bytes all over a stream`, async (t) => {
      const view = await serve(t, { shop: value("Zoë 山"), orders: lazy("🏔️"), bad: failing("no_news") });
      const whole = await (await fetch(view.url, { headers: { Accept: accept } })).arrayBuffer();
      const cuts = Array.from({ length: Math.ceil(whole.byteLength / step) }, (_, index) => index * step);
      await inLanes(lanes, async () => {
        for (let cut = cuts.pop(); cut !== undefined; cut = cuts.pop()) {
          const id = String(cut);
          // The query tells the loads apart. The records' lengths vary by some bytes of the cursors.
          view.proxy.next({ cutAfter: cut, reset }, {
            when: (request) => isStream(request) && request.query.get("load") === id,
          });
          const parts = await collect(partstream(`${view.url}?load=${id}`, { format, backoff: 1 }));
          assert.deepEqual(dataOf(parts), { shop: "Zoë 山", orders: "🏔️" }, `cut at ${cut}`);
          assert.deepEqual(names(parts).sort(), ["bad", "orders", "shop"], `cut at ${cut}`);
        }
      });
      const cut = new Set(view.requests.map(({ query }) => query.get("load")));
      assert.equal(cut.size, 1 + Math.ceil(whole.byteLength / step)); // and one that was read whole
    }, LONG);
  }
}

test(`cut at random for ${SECONDS} seconds: nothing is lost, and nothing comes twice`, async (t) => {
  const parts = { shop: value("山") };
  for (let index = 0; index < 20; index += 1) {
    // In four chains, so that a stream lasts for some cuts.
    const depends_on = index < 4 ? [] : [`part${index - 4}`];
    Object.assign(parts, { [`part${index}`]: lazy("x".repeat(50), { seconds: 0.05, depends_on }) });
  }
  const view = await serve(t, parts);
  const expected = dataOf(await collect(partstream(view.url)));
  assert.equal(Object.keys(expected).length, 21);
  view.proxy.cutEvery(100);
  const end = performance.now() + SECONDS * 1000;
  let loads = 0;
  const before = view.requests.length;
  await inLanes(4, async () => {
    while (performance.now() < end) {
      const load = partstream(view.url, { backoff: 1, attempts: 1000 });
      assert.deepEqual(dataOf(await collect(load)), expected);
      loads += 1;
    }
  });
  const resumed = view.requests.length - before - loads;
  t.diagnostic(`${loads} loads, resumed ${resumed} times`);
  assert.ok(loads > 0 && resumed > 0);
}, LONG);
