// @ts-check
/** A server whose answers a test writes itself: those that no server of the library gives. */

import { once } from "node:events";
import http from "node:http";

/** @typedef {{cursor: string | null, keys: string | null, accept: string, time: number}} Question */

/** @param {unknown[]} results @param {unknown} cursor @param {object} [more] */
export const envelope = (results, cursor, more = {}) => ({
  results,
  cursor,
  meta: { total_parts: 3, current_part: 1, has_more: cursor !== null },
  ...more,
});

/** The error of a part. @param {string} part @param {object} [more] */
export const errorOf = (part, more = {}) => ({
  part,
  code: "part_failed",
  detail: "As the test wants it.",
  retryable: true,
  retry_cursor: `retry-${part}`,
  ...more,
});

/** What answers one request. */
class Reply {
  /** @param {http.ServerResponse} response */
  constructor(response) {
    this.response = response;
  }

  /** @param {unknown} body @param {number} [status] @param {Record<string, string>} [headers] */
  json(body, status = 200, headers = {}) {
    this.response.writeHead(status, { "Content-Type": "application/json", ...headers });
    this.response.end(JSON.stringify(body));
  }

  /** Send records of a stream in one piece, and leave it open. @param {unknown[]} records */
  send(...records) {
    if (!this.response.headersSent) this.response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    this.response.write(records.map((record) => `${JSON.stringify(record)}\n`).join("") || " ");
  }

  /** Send a heartbeat again and again, until the client leaves. */
  beat() {
    const timer = setInterval(() => this.send(), 20);
    this.response.on("close", () => clearInterval(timer));
  }

  end() {
    this.response.end();
  }

  /** Break the connection. */
  cut() {
    this.response.destroy();
  }
}

/**
 * Answer each request with this function; `number` counts them from 1.
 *
 * @param {import("node:test").TestContext} t
 * @param {(reply: Reply, question: Question, number: number) => unknown} answer
 */
export async function answerWith(t, answer) {
  /** @type {Question[]} */
  const questions = [];
  let open = 0;
  const server = http.createServer((request, response) => {
    const { searchParams: query } = new URL(request.url ?? "", "http://site");
    const accept = request.headers.accept ?? "";
    const question = { cursor: query.get("cursor"), keys: query.get("keys"), accept, time: performance.now() };
    questions.push(question);
    open += 1;
    response.on("close", () => (open -= 1));
    void answer(new Reply(response), question, questions.length);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}/api/`,
    questions,
    get open() {
      return open;
    },
    get kinds() {
      return questions.map(({ accept }) => (accept.includes("ndjson") ? "stream" : "walk"));
    },
  };
}

/** Something that a test lets happen. */
export function gate() {
  /** @type {() => void} */
  let open = () => {};
  /** @type {Promise<void>} */
  const opened = new Promise((resolve) => (open = resolve));
  return { open, opened };
}
