// @ts-check
/** `node cuts.mjs SITE SECONDS`: loads views through a proxy that cuts lines, and counts parts. */

import { partstream } from "../../partstream/static/partstream/partstream.js";
import { Proxy } from "../../tests/integration/client/proxy.js";

const [site = "", seconds = ""] = process.argv.slice(2);
const MEAN = 1_000; // milliseconds between two cuts
const PARTS = 24;
const LOADS_AT_ONCE = 4;
const names = Array.from({ length: PARTS }, (_, number) => `part_${number}`);
const told = { loads: 0, parts: 0, cuts: 0, lost: 0, repeated: 0 };

/** @param {string} path @param {string} method @param {unknown} body */
async function control(path, method, body) {
  const response = await fetch(new URL(path, site), { method, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
}

/** Let one part after the other end, in any order. @param {string} path */
async function release(path) {
  const left = [...names].sort(() => Math.random() - 0.5);
  for (const name of left) {
    await new Promise((done) => setTimeout(done, Math.random() * 500));
    await control(path, "POST", [name]);
  }
}

/** @param {Proxy} proxy @param {string} name */
async function load(proxy, name) {
  const path = `control/scripts/${name}/`;
  const parts = Object.fromEntries(names.map((part) => [part, { data: part, held: true }]));
  await control(path, "PUT", { parts });
  const released = release(path);
  /** @type {string[]} */
  const came = [];
  try {
    for await (const part of partstream(`${proxy.url}/scripted/${name}/`)) came.push(part.name);
  } catch (error) {
    console.error(name, error);
  }
  await released;
  const different = new Set(came).size;
  told.loads += 1;
  told.parts += came.length;
  told.lost += PARTS - different;
  told.repeated += came.length - different;
}

const proxy = new Proxy(site);
await proxy.listen();
const cut = proxy.cut.bind(proxy);
proxy.cut = (how) => {
  told.cuts += proxy.open.length;
  cut(how);
};
proxy.cutEvery(MEAN);
const end = performance.now() + Number(seconds) * 1000;
await Promise.all(
  Array.from({ length: LOADS_AT_ONCE }, async (_, lane) => {
    for (let number = 0; performance.now() < end; number += 1) await load(proxy, `cuts-${lane}-${number}`);
  }),
);
await proxy.close();
console.log(JSON.stringify(told));
