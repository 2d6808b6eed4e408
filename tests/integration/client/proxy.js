// @ts-check
/**
 * A proxy before a server that does what networks do: it cuts, stalls, buffers, and answers itself.
 * What the server sends without a length goes on in chunks, as through nginx, so that a client can
 * tell the end of an answer from a cut.
 *
 * As a command: `node proxy.js --upstream URL [--cut-every MS] [--buffer]` prints its own address.
 * It reads commands from its standard input, one a line: `cut`, `reset`, `buffer`, `pass`.
 * It ends with its input.
 */

import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { asChunk, HeadReader, parseHead, withOwn } from "./http.js";

/**
 * @typedef {object} SeenRequest
 * @property {string} method
 * @property {string} path
 * @property {URLSearchParams} query
 * @property {Record<string, string>} headers by lower-case name
 * @property {number} time when it came, in milliseconds
 */
/**
 * What happens to an answer.
 *
 * @typedef {object} Fault
 * @property {number} [cutAfter] close the connection after so many bytes of the body
 * @property {boolean} [reset] whether the cut is an error; if not, the answer looks complete
 * @property {number} [stallAfter] pass on so many bytes of the body, and then nothing more
 * @property {boolean} [buffer] hold the answer back until it is complete
 * @property {Answer} [answer] answer so, and ask the server nothing
 */
/**
 * @typedef {object} Answer
 * @property {number} [status]
 * @property {Record<string, string>} [headers]
 * @property {string | object} [body] an object is sent as JSON
 */
/** @typedef {{fault: Fault, when: (request: SeenRequest) => boolean, times: number}} Rule */

/** A connection of a client, with one request after the other. */
class Connection {
  /** The request whose answer is under way. @type {Exchange | undefined} */
  exchange;
  /** @type {HeadReader} */
  #reader;

  /** @param {Proxy} proxy @param {net.Socket} client */
  constructor(proxy, client) {
    this.proxy = proxy;
    this.client = client;
    this.#reader = this.#expect();
    client.on("data", (piece) => this.#reader.push(piece));
    client.on("error", () => client.destroy());
    client.on("close", () => this.exchange?.leave());
  }

  #expect() {
    return new HeadReader(
      (head) => (this.exchange = new Exchange(this, head)),
      (piece) => this.exchange?.write(piece),
    );
  }

  /** The answer has ended, and the connection stays open. */
  end() {
    this.exchange = undefined;
    this.#reader = this.#expect();
  }
}

/** A request, and the connection to the server that answers it. */
class Exchange {
  /** @type {net.Socket | undefined} */
  #server;
  /** @type {Buffer[]} */
  #kept = [];
  #passed = 0;
  /** The bytes that are still to come, if the answer has said so. */
  #rest = 0;
  #stalls = false;
  #hasBegun = false;
  #inChunks = false;

  /** @param {Connection} connection @param {Buffer} head */
  constructor(connection, head) {
    const { proxy, client } = connection;
    this.connection = connection;
    this.client = client;
    this.proxy = proxy;
    const { first, headers } = parseHead(head);
    const [method = "", target = ""] = first.split(" ");
    const url = new URL(target, "http://proxy");
    const query = url.searchParams;
    /** @type {SeenRequest} */
    this.request = { method, path: url.pathname, query, headers, time: performance.now() };
    /** @type {Fault} */
    this.fault = proxy.take(this.request);
    // Its constructor has returned before anything ends it.
    queueMicrotask(() => this.#ask(head));
  }

  /** @param {Buffer} head */
  #ask(head) {
    if (this.fault.answer) return this.#answer(this.fault.answer);
    if (this.fault.cutAfter === 0) return this.cut(true);
    this.#server = net.connect(this.proxy.port, this.proxy.host);
    const reader = new HeadReader(
      (answer) => this.#begin(answer),
      (piece) => this.#pass(piece),
    );
    this.#server.on("data", (piece) => reader.push(piece));
    this.#server.on("end", () => this.#end());
    this.#server.on("error", () => this.cut(true));
    this.#server.write(withOwn(head, "Connection: close"));
  }

  /** @param {Buffer} piece of the request's body */
  write(piece) {
    this.#server?.write(piece);
  }

  /** The client has left. */
  leave() {
    this.#server?.destroy();
  }

  /** @param {Answer} answer */
  #answer({ status = 200, headers = {}, body = "" }) {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const all = {
      "Content-Type": typeof body === "string" ? "text/html" : "application/json",
      ...(status === 204 ? {} : { "Content-Length": Buffer.byteLength(text) }),
      ...headers,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.client.write(`HTTP/1.1 ${status} Answered\r\n${lines.join("")}\r\n${text}`);
    this.connection.end();
  }

  /** @param {Buffer} head of the answer */
  #begin(head) {
    const { first, headers } = parseHead(head);
    const hasBody = this.request.method !== "HEAD" && !/^\S+ (204|304)/.test(first);
    this.#hasBegun = true;
    this.#inChunks = hasBody && !("content-length" in headers);
    const coding = this.#inChunks ? ["Transfer-Encoding: chunked"] : [];
    this.#send(withOwn(head, ...coding, "Connection: keep-alive"));
    this.#rest = hasBody ? Number(headers["content-length"] ?? Infinity) : 0;
  }

  /** @param {Buffer} piece of the body */
  #pass(piece) {
    const { cutAfter = Infinity, stallAfter = Infinity } = this.fault;
    const room = Math.min(cutAfter, stallAfter) - this.#passed;
    const passed = piece.subarray(0, room);
    this.#passed += passed.length;
    this.#rest -= passed.length;
    if (passed.length > 0) this.#send(this.#inChunks ? asChunk(passed) : passed);
    if (piece.length < room) return;
    if (cutAfter <= stallAfter) this.cut(this.fault.reset);
    else this.stall();
  }

  /** @param {Buffer} bytes */
  #send(bytes) {
    if (this.#stalls) return;
    if (this.#buffers()) this.#kept.push(bytes);
    else this.client.write(bytes);
  }

  #buffers() {
    return this.fault.buffer ?? this.proxy.buffers;
  }

  #end() {
    if (this.#stalls || this.connection.exchange !== this) return;
    for (const bytes of this.#kept) this.client.write(bytes);
    if (this.#inChunks) this.client.write("0\r\n\r\n");
    else if (!this.#hasBegun || this.#rest > 0) return this.client.resetAndDestroy();
    this.connection.end();
  }

  /** Pass on nothing more, and close nothing. */
  stall() {
    this.#stalls = true;
  }

  /** End the answer here. @param {boolean} [reset] */
  cut(reset = false) {
    this.#server?.destroy();
    // Before its head has come, there is no answer that could end.
    if (reset || !this.#inChunks) this.client.resetAndDestroy();
    else this.#end();
  }
}

export class Proxy {
  /** All requests so far. @type {SeenRequest[]} */
  requests = [];
  /** Whether each answer is held back until it is complete. */
  buffers = false;
  /** @type {Rule[]} */
  #rules = [];
  /** @type {Set<Connection>} */
  #connections = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {string | URL} upstream */
  constructor(upstream) {
    const { hostname, port } = new URL(upstream);
    this.host = hostname;
    this.port = Number(port);
    this.listener = net.createServer({ noDelay: true }, (client) => {
      const connection = new Connection(this, client);
      this.#connections.add(connection);
      client.on("close", () => this.#connections.delete(connection));
    });
  }

  /** Begin, and return the address. */
  async listen() {
    this.listener.listen(0, "127.0.0.1");
    await once(this.listener, "listening");
    const { port } = /** @type {net.AddressInfo} */ (this.listener.address());
    this.url = `http://127.0.0.1:${port}`;
    return this.url;
  }

  async close() {
    clearTimeout(this.#timer);
    this.listener.close();
    for (const { client } of this.#connections) client.destroy();
    await once(this.listener, "close");
  }

  /** The requests whose answers have not ended. */
  get open() {
    return this.#underWay.map(({ request }) => request);
  }

  get #underWay() {
    return [...this.#connections].flatMap(({ exchange }) => exchange ?? []);
  }

  /** Do this to the answer of the next request, or of the next `times` ones, for which `when` is true.
   *
   * @param {Fault} fault
   * @param {{when?: (request: SeenRequest) => boolean, times?: number}} [limits]
   */
  next(fault, { when = () => true, times = 1 } = {}) {
    this.#rules.push({ fault, when, times });
  }

  /** Do this to all answers from now on. @param {Fault} fault @param {(request: SeenRequest) => boolean} [when] */
  always(fault, when = () => true) {
    this.next(fault, { when, times: Infinity });
  }

  /** Forget what `next` and `always` were told. */
  pass() {
    this.#rules = [];
    this.buffers = false;
  }

  /** End all answers that are under way. @param {{reset?: boolean}} [how] */
  cut({ reset = false } = {}) {
    for (const exchange of this.#underWay) exchange.cut(reset);
  }

  /** Let nothing more through of the answers that are under way. */
  stall() {
    for (const exchange of this.#underWay) exchange.stall();
  }

  /** Cut again and again, at random, closed or reset. @param {number} ms the mean time between two cuts */
  cutEvery(ms) {
    this.#timer = setTimeout(() => {
      this.cut({ reset: Math.random() < 0.5 });
      this.cutEvery(ms);
    }, ms * 2 * Math.random());
  }

  /** The fault of this request's answer. @param {SeenRequest} request */
  take(request) {
    this.requests.push(request);
    const rule = this.#rules.find(({ when, times }) => times > 0 && when(request));
    if (!rule) return {};
    rule.times -= 1;
    return rule.fault;
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      upstream: { type: "string" },
      "cut-every": { type: "string" },
      buffer: { type: "boolean", default: false },
    },
  });
  if (!values.upstream) throw new Error("Name the server: --upstream http://127.0.0.1:8000");
  const proxy = new Proxy(values.upstream);
  proxy.buffers = values.buffer;
  if (values["cut-every"]) proxy.cutEvery(Number(values["cut-every"]));
  console.log(await proxy.listen());
  /** @type {Record<string, () => void>} */
  const commands = {
    cut: () => proxy.cut(),
    reset: () => proxy.cut({ reset: true }),
    buffer: () => (proxy.buffers = true),
    pass: () => proxy.pass(),
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const command = commands[line.trim()];
    if (!command) throw new Error(`There is no command ${JSON.stringify(line)}.`);
    command();
    console.log(line.trim());
  }
  await proxy.close();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
