// @ts-check
/** The store: calls in the midst of something else. */

import assert from "node:assert/strict";

import { createStore } from "django-partstream";

import { answerWith, envelope, errorOf, gate } from "./answers.js";
import { QUICK, reaches, test, until, watch } from "./site.js";

const WALK = /** @type {const} */ ({ by: "walk" });

for (const by of /** @type {const} */ (["stream", "walk"])) {
  test(`refresh() by the listener that sees the last part: the values stay, and nothing is complete early (${by})`, async (t) => {
    const second = gate();
    const site = await answerWith(t, async (reply, _, number) => {
      if (number > 1) await second.opened;
      const last = envelope([{ a: number }, { b: number }], null);
      if (by === "walk") return reply.json(last);
      reply.send(last);
      reply.end();
    });
    const store = createStore(site.url, { by });
    /** @type {Promise<any> | undefined} */
    let refreshed;
    t.after(store.subscribe(() => {
      if ("b" in store.getSnapshot().parts) refreshed ??= store.refresh();
    }));
    const seen = watch(t, store);
    await until(() => site.questions.length === 2);
    const { status, parts, pending } = store.getSnapshot();
    assert.deepEqual([status, parts, pending], ["loading", { a: 1, b: 1 }, ["a", "b"]]);
    assert.ok(seen.every((snapshot) => snapshot.status !== "complete"));
    second.open();
    assert.deepEqual((await refreshed).parts, { a: 2, b: 2 });
    assert.equal(store.getSnapshot().status, "complete");
    assert.equal(site.questions.length, 2);
  });
}

test("refresh() after the last record of a stream that has not ended: the same", async (t) => {
  const second = gate();
  const site = await answerWith(t, async (reply, _, number) => {
    if (number > 1) await second.opened;
    reply.send(envelope([{ a: number }, { b: number }], null));
    if (number > 1) reply.end();
  });
  const store = createStore(site.url);
  const seen = watch(t, store);
  await until(() => "b" in store.getSnapshot().parts);
  const refreshed = store.refresh();
  await until(() => site.questions.length === 2);
  const { status, parts } = store.getSnapshot();
  assert.deepEqual([status, parts], ["loading", { a: 1, b: 1 }]);
  assert.ok(seen.every((snapshot) => snapshot.status !== "complete"));
  second.open();
  assert.deepEqual((await refreshed).parts, { a: 2, b: 2 });
});

test("refresh() by a listener: what came in the same piece, but behind, is not shown any more", async (t) => {
  const second = gate();
  const site = await answerWith(t, async (reply, _, number) => {
    if (number > 1) await second.opened;
    reply.send(envelope([{ a: number }], "1"), envelope([{ b: number }], null));
    reply.end();
  });
  const store = createStore(site.url);
  /** @type {Promise<any> | undefined} */
  let refreshed;
  t.after(store.subscribe(() => {
    if ("a" in store.getSnapshot().parts) refreshed ??= store.refresh();
  }));
  await until(() => site.questions.length === 2);
  assert.deepEqual(store.getSnapshot().parts, { a: 1 });
  second.open();
  assert.deepEqual((await refreshed).parts, { a: 2, b: 2 });
});

for (const outcome of /** @type {const} */ (["fails again", "breaks", "has to start again"])) {
  test(`a retry that ${outcome} after a refresh has brought the part changes nothing`, async (t) => {
    const late = gate();
    const site = await answerWith(t, async (reply, { cursor }, number) => {
      if (!cursor) return reply.json(number === 1 ? envelope([{ b: 1 }], null, failed) : envelope([{ a: 2 }, { b: 2 }], null));
      await late.opened;
      if (outcome === "breaks") reply.cut();
      else if (outcome === "fails again") reply.json(envelope([], null, failed));
      else reply.json({ code: "cursor_expired" }, 410);
    });
    const failed = { errors: [errorOf("a")] };
    const store = createStore(site.url, { ...WALK, attempts: 1 });
    await store.resume();
    const refreshed = store.refresh();
    const retried = store.retry("a");
    await refreshed;
    await until(() => site.questions.length === 3);
    late.open();
    await retried;
    const { status, parts, errors, pending } = store.getSnapshot();
    assert.deepEqual([status, parts, errors, pending], ["complete", { a: 2, b: 2 }, {}, []]);
    assert.equal(site.questions.length, 3);
  });
}

test("a new snapshot never comes without a call of the listeners", async (t) => {
  const site = await answerWith(t, (reply, { cursor }) => {
    if (!cursor) reply.json(envelope([{ b: 1 }], null, { errors: [errorOf("a")] }));
  });
  const store = createStore(site.url, WALK);
  const seen = watch(t, store);
  await reaches(store, "complete");
  for (const act of [() => store.retry("a"), store.refresh, store.stop, store.resume, store.refresh, store.stop]) {
    void act();
    assert.equal(seen.at(-1), store.getSnapshot(), `${act}`);
  }
});

test("retry() right after stop() asks again", async (t) => {
  const site = await answerWith(t, (reply, { cursor }, number) => {
    if (!cursor) reply.json(envelope([], null, { errors: [errorOf("a")] }));
    else if (number > 2) reply.json(envelope([{ a: 1 }], null));
  });
  const store = createStore(site.url, WALK);
  await store.resume();
  const first = store.retry("a");
  await until(() => site.questions.length === 2);
  store.stop();
  assert.deepEqual(Object.keys(store.getSnapshot().errors), ["a"]);
  await store.retry("a");
  await first;
  const { status, parts, errors } = store.getSnapshot();
  assert.deepEqual([status, parts, errors, site.questions.length], ["complete", { a: 1 }, {}, 3]);
});

test("retry() after the signal was aborted asks nothing", async (t) => {
  const site = await answerWith(t, (reply) => reply.json(envelope([], null, { errors: [errorOf("a")] })));
  const aborting = new AbortController();
  const store = createStore(site.url, { signal: aborting.signal, ...WALK });
  const before = await store.resume();
  aborting.abort();
  await store.retry("a");
  assert.equal(store.getSnapshot(), before);
  assert.equal(site.questions.length, 1);
});

test("retry() by key of a part of the initial answer asks for it", async (t) => {
  const site = await answerWith(t, (reply) => reply.json(envelope([{ a: 2 }], null)));
  const error = errorOf("a", { retry_cursor: undefined });
  const initial = /** @type {any} */ (envelope([{ b: 1 }], null, { errors: [error] }));
  const store = createStore(site.url, { keys: ["a", "b"], initial, ...QUICK });
  assert.equal((await store.resume()).status, "complete");
  await store.retry("a");
  assert.deepEqual(site.questions.map(({ keys }) => keys), ["a"]);
  assert.deepEqual([store.getSnapshot().parts, store.getSnapshot().errors], [{ a: 2, b: 1 }, {}]);
});
