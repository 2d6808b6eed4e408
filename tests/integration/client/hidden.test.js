// @ts-check
/** What a hidden page, or one without a network, costs: no request, and no attempt. */

import assert from "node:assert/strict";

import { createStore, partstream } from "django-partstream";

import { answerWith, envelope } from "./answers.js";
import { openPage } from "./page.js";
import { collect, held, holdLongTimers, next, pause, QUICK, reaches, serve, test, until, value, watch } from "./site.js";

const ALL = envelope([{ a: 1 }], null);

for (const [what, by] of /** @type {const} */ ([["streams that end soon", "stream"], ["a walk of quick chunks", "walk"]])) {
  test(`a hidden page pauses although each request takes less than pauseAfter: ${what}`, async (t) => {
    const { document } = openPage(t);
    let isEnding = false;
    const site = await answerWith(t, async (reply, { accept }, number) => {
      await pause(20);
      const record = envelope([{ [`part${number}`]: number }], isEnding ? null : `${number}`);
      if (!accept.includes("ndjson")) return reply.json(record);
      reply.send(record);
      reply.end();
    });
    const store = createStore(site.url, { by, pauseAfter: 500, ...QUICK });
    watch(t, store);
    await until(() => site.questions.length > 0);
    document.become("hidden");
    await reaches(store, "cut");
    const asked = site.questions.length;
    await pause(200);
    // One that was given up may still have been on its way.
    assert.ok(site.questions.length <= asked + 1, `${site.questions.length - asked} requests while it was hidden`);
    isEnding = true;
    document.become("visible");
    await reaches(store, "complete");
  });
}

test("a hidden page whose requests fail does not give up: it waits with the last attempt until it is shown", async (t) => {
  const { document } = openPage(t);
  let isBroken = true;
  const site = await answerWith(t, (reply) => (isBroken ? reply.cut() : reply.json(ALL)));
  document.become("hidden");
  const store = createStore(site.url, { attempts: 3, pauseAfter: Infinity, ...QUICK });
  const seen = watch(t, store);
  await until(() => site.questions.length === 3);
  await until(() => seen.filter(({ status }) => status === "cut").length === 3);
  await pause(50);
  assert.deepEqual([store.getSnapshot().status, site.questions.length], ["cut", 3]);
  isBroken = false;
  document.become("visible");
  await reaches(store, "complete");
});

test("pauseAfter of Infinity: a hidden page keeps its stream", async (t) => {
  const { document } = openPage(t);
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const load = partstream(view.url, { pauseAfter: Infinity });
  await next(load);
  document.become("hidden");
  await pause(50);
  await view.release();
  assert.deepEqual(await collect(load), [{ name: "orders", data: 2 }]);
  assert.equal(view.requests.length, 1);
});

for (const what of /** @type {const} */ (["online", "shown"])) {
  test(`a page that is ${what} again and again uses up no attempt, and asks once a second`, async (t) => {
    const { document, goOnline } = openPage(t);
    holdLongTimers(t);
    let isBroken = true;
    const site = await answerWith(t, (reply) => (isBroken ? reply.cut() : reply.json(ALL)));
    const load = collect(partstream(site.url, { attempts: 2, backoff: 600_000 }));
    for (let asked = 1; asked < 4; asked += 1) {
      await until(() => {
        if (what === "online") goOnline();
        else document.become("visible");
        return site.questions.length > asked;
      });
    }
    const gaps = site.questions.slice(1).map(({ time }, index) => time - (site.questions[index]?.time ?? 0));
    assert.ok(gaps.every((gap) => gap >= 990), `${gaps}`);
    isBroken = false;
    await until(() => (goOnline(), site.questions.length > 4));
    assert.deepEqual(await load, [{ name: "a", data: 1 }]);
  });
}

test("offline at the last attempt: the load waits, and does not fail", async (t) => {
  const { navigator, goOnline } = openPage(t);
  let isBroken = true;
  const site = await answerWith(t, (reply) => (isBroken ? reply.cut() : reply.json(ALL)));
  navigator.onLine = false;
  const store = createStore(site.url, { attempts: 1, ...QUICK });
  watch(t, store);
  await until(() => !["idle", "loading"].includes(store.getSnapshot().status));
  assert.equal(store.getSnapshot().status, "cut");
  isBroken = false;
  goOnline();
  await reaches(store, "complete");
  assert.equal(site.questions.length, 2);
});

test("refresh() during a stream streams again, although a page has one stream", async (t) => {
  openPage(t);
  const view = await serve(t, { shop: value(1), orders: held(2) });
  const store = createStore(view.url);
  watch(t, store);
  await until(() => "shop" in store.getSnapshot().parts);
  const refreshed = store.refresh();
  await until(() => view.requests.length === 2);
  await view.release();
  await refreshed;
  assert.deepEqual(view.kinds, ["stream", "stream"]);
});
