// @ts-check
/** How long the client waits: for what a server asks, and for what never comes. */

import assert from "node:assert/strict";

import { createStore, partstream } from "django-partstream";

import { answerWith, envelope, errorOf } from "./answers.js";
import { collect, dataOf, failureOf, held, names, pause, QUICK, serve, test, until, value } from "./site.js";
import { freeze } from "./page.js";

const PARTS = envelope([{ a: 1 }], null);

// retry_after and Retry-After

for (const [given, seconds] of /** @type {[unknown, number | undefined][]} */ ([
  [2, 2], ["2", 2], [0.5, 1], [2.5, 3], ["1.5", 2], [0, 0], [1e30, 1e30],
  [-5, undefined], ["soon", undefined], [true, undefined], [{}, undefined], [null, undefined],
])) {
  test(`retry_after of ${JSON.stringify(given)} are ${seconds} whole seconds`, async (t) => {
    const site = await answerWith(t, (reply) => reply.json({ code: "throttled", retry_after: given }, 429));
    const { error } = await failureOf(partstream(site.url, { attempts: 1 }));
    assert.deepEqual([error.code, error.retry_after], ["throttled", seconds]);
  });
}

for (const [given, seconds] of /** @type {const} */ ([["3", 3], ["1.5", 2], ["-5", undefined], ["soon", undefined]])) {
  test(`Retry-After: ${given} are ${seconds} whole seconds`, async (t) => {
    const site = await answerWith(t, (reply) => reply.json({}, 503, { "Retry-After": given }));
    const { error } = await failureOf(partstream(site.url, { attempts: 1 }));
    assert.equal(error.retry_after, seconds);
  });
}

test("Retry-After with a date: the seconds until then, and none if it has passed", async (t) => {
  let date = new Date(Date.now() + 3_600_000);
  const site = await answerWith(t, (reply) => reply.json({}, 503, { "Retry-After": date.toUTCString() }));
  const { error } = await failureOf(partstream(site.url, { attempts: 1 }));
  assert.ok(Number.isInteger(error.retry_after) && error.retry_after <= 3600 && error.retry_after > 3500);
  date = new Date(0);
  assert.equal((await failureOf(partstream(site.url, { attempts: 1 }))).error.retry_after, undefined);
});

test("a fraction of a second is waited for, and no less", async (t) => {
  const site = await answerWith(t, (reply, _, number) => {
    if (number === 1) reply.json({ code: "throttled", retry_after: 0.5 }, 429);
    else reply.json(PARTS);
  });
  await collect(partstream(site.url, QUICK));
  const [refused, again] = site.questions;
  assert.ok(refused && again && again.time - refused.time >= 990, "it did not wait");
});

test("429 with a code of the project's own is waited for, and is the failure's code", async (t) => {
  const site = await answerWith(t, (reply, _, number) => {
    if (number === 1) reply.json({ code: "one_report_at_a_time", retry_after: 1 }, 429);
    else if (number === 2) reply.json(PARTS);
    else reply.json({ code: "one_report_at_a_time" }, 429);
  });
  assert.deepEqual(names(await collect(partstream(site.url, QUICK))), ["a"]);
  const [refused, again] = site.questions;
  assert.ok(refused && again && again.time - refused.time >= 990, "it did not wait");
  const { error } = await failureOf(partstream(site.url, { attempts: 2, ...QUICK }));
  assert.deepEqual([error.code, error.status, site.questions.length], ["one_report_at_a_time", 429, 4]);
});

for (const [retry_after, options] of /** @type {const} */ ([[86_400, {}], [2, { longestWait: 1_000 }]])) {
  test(`retry() does not wait for ${retry_after} s with ${JSON.stringify(options)}`, async (t) => {
    const errors = [errorOf("a", { retry_after })];
    const site = await answerWith(t, (reply) => reply.json(envelope([], null, { errors })));
    const store = createStore(site.url, options);
    const before = await store.resume();
    await store.retry("a");
    assert.equal(store.getSnapshot(), before, "nothing has changed");
    assert.equal(site.questions.length, 1);
  });
}

// What is longer than timers know

for (const [option, by] of /** @type {const} */ ([["silence", "stream"], ["timeout", "walk"]])) {
  for (const forEver of [Infinity, 2 ** 32]) {
    test(`${option} of ${forEver}: the ${by} may take as long as it wants`, async (t) => {
      const view = await serve(t, { shop: value(1), orders: held(2) });
      const load = collect(partstream(view.url, { by, [option]: forEver, ...QUICK }));
      await until(() => view.requests.length > 0);
      await pause(50);
      await view.release();
      assert.deepEqual(dataOf(await load), { shop: 1, orders: 2 });
      assert.deepEqual(new Set(view.kinds), new Set([by]));
      assert.equal(view.requests.length, new Set(view.cursors).size, "nothing is asked twice");
    });
  }
}

test("a page that was busy, and reads all records at once, is no network that buffers", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const records = [envelope([{ a: 1 }], "1"), envelope([{ b: 2 }], "2"), envelope([{ c: 3 }], null)];
  const site = await answerWith(t, (reply) => {
    reply.send(...records);
    reply.end();
  });
  const busy = { headers: () => (freeze(2500), {}) };
  assert.deepEqual(names(await collect(partstream(site.url, busy))), ["a", "b", "c"]);
  await collect(partstream(site.url));
  assert.deepEqual(site.kinds, ["stream", "stream"]);
  assert.equal(warned.mock.callCount(), 0);
});
