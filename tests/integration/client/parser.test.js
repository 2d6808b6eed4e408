// @ts-check
/** The parser: records out of text that comes in pieces. */

import assert from "node:assert/strict";

import { createParser } from "django-partstream";

import { test } from "./site.js";

const NDJSON = "application/x-ndjson";
const SSE = "text/event-stream";

/** @typedef {typeof NDJSON | typeof SSE} MediaType */

const RECORDS = [
  { results: [{ shop: { name: "Zoë's 山 🏔️" } }], cursor: "a", meta: { pending: ["x"] } },
  { results: [{ x: "lines\nand \\n and \u2028, \u0085" }], cursor: "b", meta: {} },
  { results: [], cursor: null, meta: {} },
];

/** @type {Record<MediaType, string>} */
const WHOLE = {
  [NDJSON]: RECORDS.map((record) => ` ${JSON.stringify(record)}\n`).join("  "),
  [SSE]:
    "retry: 1000\n" +
    RECORDS.map((record) => `id: ${record.cursor}\ndata: ${JSON.stringify(record)}\n\n`).join(":\n\n"),
};

/** All records of these pieces. @param {MediaType} mediaType @param {string[]} pieces */
function parse(mediaType, ...pieces) {
  const parser = createParser(mediaType);
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
}

for (const mediaType of /** @type {MediaType[]} */ ([NDJSON, SSE])) {
  test(`${mediaType}: whole, cut in two and cut in three at every character`, () => {
    const text = WHOLE[mediaType];
    assert.deepEqual(parse(mediaType, text), RECORDS);
    for (let first = 0; first <= text.length; first += 1) {
      assert.deepEqual(parse(mediaType, text.slice(0, first), text.slice(first)), RECORDS);
      const second = first + (first % 7);
      const pieces = [text.slice(0, first), text.slice(first, second), text.slice(second)];
      assert.deepEqual(parse(mediaType, ...pieces), RECORDS);
    }
    assert.deepEqual(parse(mediaType, ...text), RECORDS);
  });

  test(`${mediaType}: bytes that end within a character`, () => {
    const bytes = new TextEncoder().encode(WHOLE[mediaType]);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const decoder = new TextDecoder();
      const first = decoder.decode(bytes.subarray(0, cut), { stream: true });
      assert.deepEqual(parse(mediaType, first, decoder.decode(bytes.subarray(cut))), RECORDS);
    }
  });

  test(`${mediaType}: a record comes with the piece that completes it, not later`, () => {
    const parser = createParser(mediaType);
    const text = WHOLE[mediaType];
    const found = [...text].map((character) => parser.push(character).length);
    assert.equal(found.reduce((sum, number) => sum + number), RECORDS.length);
    assert.equal(found.at(-1), 1);
    assert.deepEqual(parser.end(), []);
  });

  test(`${mediaType}: carriage returns before the line feeds`, () => {
    const text = WHOLE[mediaType].replaceAll("\n", "\r\n");
    for (let cut = 0; cut <= text.length; cut += 1) {
      assert.deepEqual(parse(mediaType, text.slice(0, cut), text.slice(cut)), RECORDS);
    }
  });

  test(`${mediaType}: what was cut within a record is left out`, () => {
    const text = WHOLE[mediaType];
    const last = text.lastIndexOf('"results"');
    assert.deepEqual(parse(mediaType, text.slice(0, last + 4)), RECORDS.slice(0, 2));
    assert.deepEqual(parse(mediaType, ""), []);
  });

  test(`${mediaType}: junk is an error`, () => {
    const junk = { [NDJSON]: "<html>\n", [SSE]: "data: <html>\n\n" }[mediaType];
    assert.throws(() => parse(mediaType, junk), SyntaxError);
    assert.throws(() => parse(mediaType, WHOLE[mediaType] + junk), SyntaxError);
  });
}

test("lines: the last record has come whole, but without its line feed", () => {
  assert.deepEqual(parse(NDJSON, WHOLE[NDJSON].trimEnd()), RECORDS);
});

test("lines: heartbeats and empty lines are no records", () => {
  assert.deepEqual(parse(NDJSON, "   ", " ", "\n", "\r\n", " \n {}", " ", "\n  "), [{}]);
});

test("lines are the default", () => {
  assert.deepEqual(createParser().push("{}\n"), [{}]);
});

test("events: comments, unknown fields and other events' fields are ignored", () => {
  const text = ': hello\n:\n\nevent: part\nfoo: bar\nfoo\nid: 7\ndata: {"a": 1}\n\n: bye\n\n';
  assert.deepEqual(parse(SSE, text), [{ a: 1 }]);
});

test("events: a space after the colon belongs to no value, and several lines are one text", () => {
  assert.deepEqual(parse(SSE, 'data:{"a":\ndata: "x"}\n\n'), [{ a: "x" }]);
  assert.deepEqual(parse(SSE, 'data:  {"a": 1}\n\n'), [{ a: 1 }]);
});

test("events: one without data is no record, whatever else it has", () => {
  assert.deepEqual(parse(SSE, "id: 7\n\n", "event: x\n\n", "data\n\n", "data:\n\n", "\n\n\n"), []);
});

test("events: a carriage return alone ends a line, also at the end of a piece", () => {
  assert.deepEqual(parse(SSE, 'data: {"a": 1}\r\rdata: {"a": 2}\r\r'), [{ a: 1 }, { a: 2 }]);
  assert.deepEqual(parse(SSE, 'data: {"a":\r', '\ndata: 3}\r', "\n\r", "\n"), [{ a: 3 }]);
});

test("events: `retry` in digits is kept, anything else is not", () => {
  const parser = createParser(SSE);
  assert.equal(parser.retry, undefined);
  parser.push("retry: 1500\n\n");
  assert.equal(parser.retry, 1500);
  parser.push("retry: soon\nretry: -1\nretry: 1.5\nretry\n\n");
  assert.equal(parser.retry, 1500);
  parser.push("retry:20\n\n");
  assert.equal(parser.retry, 20);
});

test("a record of megabytes in small pieces takes time in proportion to its length", () => {
  // A parser that looks through all it has for each piece would need minutes.
  const text = `${JSON.stringify({ big: "x".repeat(8_000_000) })}\n`;
  const parser = createParser();
  let found = 0;
  for (let at = 0; at < text.length; at += 100) found += parser.push(text.slice(at, at + 100)).length;
  assert.equal(found, 1);
});
