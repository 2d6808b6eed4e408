// @ts-check
/** Answers that bring nothing new, that cannot be read, or that do not end. */

import assert from "node:assert/strict";

import { createStore, partstream } from "django-partstream";

import { answerWith, envelope, errorOf } from "./answers.js";
import { collect, failureOf, names, QUICK, test, until, watch } from "./site.js";

const ANSWER = envelope([{ a: 1 }], null);

// What cannot be read

for (const [what, body] of /** @type {const} */ ([
  ["a page of REST framework, without a cursor", { count: 1, next: null, previous: null, results: [{ id: 1 }] }],
  ["an empty cursor", envelope([{ a: 1 }], "")],
  ["a cursor that is a number", envelope([{ a: 1 }], 5)],
  ["a result that is null", envelope([null], null)],
  ["results that are none", { ...ANSWER, results: {} }],
  ["an error that is null", { ...ANSWER, errors: [null] }],
  ["an error without a part", { ...ANSWER, errors: [{ code: "part_failed" }] }],
  ["errors that are an object", { ...ANSWER, errors: {} }],
  ["errors that are null", { ...ANSWER, errors: null }],
  ["null", null],
])) {
  test(`${what}: unexpected_answer, of a chunk and of a record`, async (t) => {
    const walked = await answerWith(t, (reply) => reply.json(body));
    const walk = await failureOf(partstream(walked.url, { by: "walk", ...QUICK }));
    assert.deepEqual([walk.error.code, walk.parts, walked.questions.length], ["unexpected_answer", [], 1]);

    const streamed = await answerWith(t, (reply, { accept }) => {
      if (!accept.includes("ndjson")) return reply.json(body);
      reply.send(body);
      reply.end();
    });
    const stream = await failureOf(partstream(streamed.url, QUICK));
    assert.deepEqual([stream.error.code, stream.parts, streamed.kinds], ["unexpected_answer", [], ["stream", "walk"]]);
  });
}

test("junk behind good records: they come, and the load goes on behind them", async (t) => {
  const site = await answerWith(t, (reply, { cursor }) => {
    reply.send(cursor ? envelope([{ c: 3 }], null) : envelope([{ a: 1 }], "1"));
    if (!cursor) reply.response.write(`${JSON.stringify(envelope([{ b: 2 }], "2"))}\n<!-- a proxy's -->\n`);
    reply.end();
  });
  assert.deepEqual(names(await collect(partstream(site.url, QUICK))), ["a", "b", "c"]);
  assert.deepEqual(site.questions.map(({ cursor }) => cursor), [null, "2"]);
});

// What brings nothing new

test("a walk whose cursor stays the same: the load fails after its attempts, and waits before each", async (t) => {
  const site = await answerWith(t, (reply) => reply.json(envelope([{ a: 1 }], "same")));
  const store = createStore(site.url, { by: "walk", attempts: 3, ...QUICK });
  const seen = watch(t, store);
  await store.resume();
  const { status, parts, error } = store.getSnapshot();
  assert.deepEqual([status, parts, error?.code], ["failed", { a: 1 }, "network"]);
  assert.equal(site.questions.length, 4); // the first has brought a part
  assert.equal(seen.filter((snapshot) => snapshot.status === "cut").length, 2);
});

test("a walk of empty chunks with new cursors: the load fails after its attempts", async (t) => {
  const site = await answerWith(t, (reply, _, number) => reply.json(envelope([], `${number}`)));
  const { error } = await failureOf(partstream(site.url, { by: "walk", attempts: 3, ...QUICK }));
  assert.deepEqual([error.code, site.questions.length], ["network", 3]);
});

for (const [what, record] of /** @type {const} */ ([
  ["a part", envelope([{ a: 1 }], "same")],
  ["a failed part", envelope([], "same", { errors: [errorOf("a")] })],
])) {
  test(`streams that bring ${what} again and again, with the same cursor: the load fails`, async (t) => {
    const site = await answerWith(t, (reply) => {
      reply.send(record);
      reply.end();
    });
    const { error, parts } = await failureOf(partstream(site.url, { attempts: 3, ...QUICK }));
    assert.deepEqual([error.code, names(parts), site.questions.length], ["network", ["a"], 4]);
  });
}

// The end

test("bytes after the last record: the load ends, and leaves them", async (t) => {
  const site = await answerWith(t, (reply) => {
    reply.send(envelope([{ a: 1 }], null));
    reply.beat();
  });
  assert.deepEqual(names(await collect(partstream(site.url))), ["a"]);
  await until(() => site.open === 0);
  assert.equal(site.questions.length, 1);
});

test("heartbeats without a first record: the walk", async (t) => {
  t.mock.method(console, "warn", () => {});
  const site = await answerWith(t, (reply, { accept }) => {
    if (accept.includes("ndjson")) reply.beat();
    else reply.json(ANSWER);
  });
  assert.deepEqual(names(await collect(partstream(site.url, { silence: 100, ...QUICK }))), ["a"]);
  assert.deepEqual(site.kinds, ["stream", "walk"]);
});

test("the cursor is null at the end: of a walk, by key, and after 204", async (t) => {
  const site = await answerWith(t, (reply, { cursor, keys }) => {
    if (keys) reply.json(envelope([{ [keys]: 1 }], "of no use"));
    else if (cursor) reply.json(null, 204);
    else reply.json(envelope([{ a: 1 }], "rest"));
  });
  for (const options of [{ by: /** @type {const} */ ("walk") }, { keys: ["a", "b"], batch: 1 }, {}]) {
    const { status, cursor, pending } = await createStore(site.url, options).resume();
    assert.deepEqual([status, cursor, pending], ["complete", null, []]);
  }
});
