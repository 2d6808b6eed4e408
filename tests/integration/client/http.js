// @ts-check
/** HTTP/1.1 messages, as far as the proxy reads them. */

const HEAD_END = "\r\n\r\n";

/** @param {Buffer} head its first line and its headers */
export function parseHead(head) {
  const [first = "", ...lines] = head.toString("latin1").split("\r\n");
  const headers = lines.filter(Boolean).map((line) => {
    const [name = "", ...rest] = line.split(":");
    return [name.toLowerCase(), rest.join(":").trim()];
  });
  return { first, headers: /** @type {Record<string, string>} */ (Object.fromEntries(headers)) };
}

/**
 * The same head, with other headers that are about the connection.
 *
 * @param {Buffer} head @param {string[]} own
 */
export function withOwn(head, ...own) {
  const lines = head.toString("latin1").slice(0, -HEAD_END.length).split("\r\n");
  const kept = lines.filter((line) => !/^(connection|keep-alive):/i.test(line));
  return Buffer.from([...kept, ...own].join("\r\n") + HEAD_END, "latin1");
}

/** @param {Buffer} piece */
export function asChunk(piece) {
  return Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]);
}

/** Calls back with the head of what comes, and then with each further piece. */
export class HeadReader {
  #pieces = Buffer.alloc(0);
  #isRead = false;

  /** @param {(head: Buffer) => void} onHead @param {(piece: Buffer) => void} onPiece */
  constructor(onHead, onPiece) {
    this.onHead = onHead;
    this.onPiece = onPiece;
  }

  /** @param {Buffer} piece */
  push(piece) {
    if (this.#isRead) return this.onPiece(piece);
    this.#pieces = Buffer.concat([this.#pieces, piece]);
    const end = this.#pieces.indexOf(HEAD_END);
    if (end < 0) return;
    this.#isRead = true;
    this.onHead(this.#pieces.subarray(0, end + HEAD_END.length));
    const rest = this.#pieces.subarray(end + HEAD_END.length);
    if (rest.length > 0) this.onPiece(rest);
  }
}
