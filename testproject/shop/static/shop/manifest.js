// @ts-check
/** The list of the parts that this user has. */

import { PartstreamError } from "../partstream/partstream.js";

/** @typedef {Record<string, {size?: string | null}>} Parts */

/** The list is small, and its view computes nothing. */
const TIMEOUT = 5_000; // milliseconds

/** Asked for once, and again after a failure. */
export class Manifest {
  /** @param {string} url */
  constructor(url) {
    this.url = url;
    /** @type {Promise<Parts> | null} */
    this.asked = null;
  }

  /** @returns {Promise<Parts>} rejected with a PartstreamError */
  parts() {
    this.asked ??= this.ask().catch((error) => {
      this.asked = null;
      throw error;
    });
    return this.asked;
  }

  /** @returns {Promise<Parts>} */
  async ask() {
    let response, body;
    try {
      response = await fetch(this.url, { signal: AbortSignal.timeout(TIMEOUT) });
      // A refusal may be a page for people.
      body = await (response.ok ? response.json() : response.json().catch(() => ({})));
    } catch (cause) {
      throw new PartstreamError("network", "The connection failed.", { cause });
    }
    const { code = "http_error", detail = `The server answered ${response.status}.` } = body;
    if (!response.ok) throw new PartstreamError(code, detail, { status: response.status });
    return body.parts;
  }
}
