// @ts-check
/**
 * A page.
 *
 * Node has no document: an EventTarget stands in for it, for its navigator and its window. The tests
 * in Chromium have the real ones.
 */

class Document extends EventTarget {
  visibilityState = "visible";
  hidden = false;

  /** @param {"visible" | "hidden"} state */
  become(state) {
    this.visibilityState = state;
    this.hidden = state === "hidden";
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

/** The globals of a page, until the test ends. @param {import("node:test").TestContext} t */
export function openPage(t) {
  const document = new Document();
  const window = new EventTarget();
  const navigator = { onLine: true };
  /** @type {Record<string, unknown>} */
  const globals = {
    document,
    navigator,
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
    dispatchEvent: window.dispatchEvent.bind(window),
  };
  const before = Object.getOwnPropertyDescriptors(globalThis);
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  t.after(() => {
    for (const name of Object.keys(globals)) {
      const old = /** @type {Record<string, PropertyDescriptor>} */ (before)[name];
      if (old) Object.defineProperty(globalThis, name, old);
      else Reflect.deleteProperty(globalThis, name);
    }
  });
  return {
    document,
    navigator,
    goOnline() {
      navigator.onLine = true;
      window.dispatchEvent(new Event("online"));
    },
  };
}

/** Stop this thread, as a device stops a hidden page: no event, no timer, no byte. @param {number} ms */
export function freeze(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
