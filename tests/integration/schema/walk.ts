// A walk through the demo shop's dashboard, with the types that its schema gives. It is checked, not run.
import type { components, operations, paths } from "./shop";

type Dashboard = paths["/api/dashboard/"]["get"];
type Envelope = Dashboard["responses"][200]["content"]["application/json"];
type Refusal = Dashboard["responses"][400]["content"]["application/json"];
type Record = Dashboard["responses"][200]["content"]["application/x-ndjson"];
type Result = components["schemas"]["DashboardViewResult"];
type Parts = components["schemas"]["DashboardViewParts"];
type PartError = components["schemas"]["PartstreamPartError"];

const collected: Partial<Parts> = {};
const shown: string[] = [];

function show(result: Result): void {
  // The name of its one key tells the part, and then its type is known.
  if ("recent_orders" in result) {
    for (const order of result.recent_orders) shown.push(order.customer, order.city);
  } else if ("exchange_rates" in result) {
    shown.push(result.exchange_rates.live ? "live" : "as of yesterday");
  } else if ("top_products" in result) {
    shown.push(...result.top_products.map((product) => `${product.name}: ${product.units}`));
  } else if ("deliveries" in result) {
    for (const { city, parcels } of result.deliveries) shown.push(city, parcels.toFixed());
  }
  // @ts-expect-error: no part is called so
  result.top_customers;
  // @ts-expect-error: a result is one part, and nobody knows yet which
  result.top_products;
}

function wait(error: PartError): number {
  return error.retryable && error.retry_cursor !== undefined ? (error.retry_after ?? 0) : Infinity;
}

export async function walk(): Promise<number> {
  let longest = 0;
  let cursor: string | null = null;
  do {
    const query: NonNullable<Dashboard["parameters"]["query"]> = cursor === null ? {} : { cursor };
    const response = await fetch(`/api/dashboard/?${new URLSearchParams(query)}`);
    if (!response.ok) {
      const refusal = (await response.json()) as Refusal;
      throw new Error(refusal.code === "cursor_invalid" ? "Start again." : refusal.detail);
    }
    const envelope = (await response.json()) as Envelope;
    envelope.results.forEach(show);
    Object.assign(collected, ...envelope.results);
    for (const error of envelope.errors ?? []) longest = Math.max(longest, wait(error));
    cursor = envelope.cursor;
  } while (cursor !== null);
  return longest;
}

export async function stream(lines: AsyncIterable<string>): Promise<string | null> {
  let cursor: string | null = null;
  for await (const line of lines) {
    if (line.trim() === "") continue;
    const record = JSON.parse(line) as Record;
    record.results.forEach(show);
    shown.push(...(record.meta.pending ?? []));
    if (record.stream_error !== undefined) shown.push(record.stream_error.code);
    cursor = record.cursor;
  }
  return cursor;
}

export async function readyFirst(): Promise<string[]> {
  type Answer = paths["/api/ready-first/"]["get"]["responses"][200]["content"]["application/json"];
  const { results } = (await (await fetch("/api/ready-first/")).json()) as Answer;
  // The same parts, in an envelope of their own name.
  results.forEach(show);
  return results.flatMap((result) => ("deliveries" in result ? result.deliveries.map(({ city }) => city) : []));
}

export async function resume(token: string): Promise<Response> {
  const headers: NonNullable<Dashboard["parameters"]["header"]> = { "Last-Event-ID": token };
  const query: NonNullable<Dashboard["parameters"]["query"]> = { format: "sse" };
  // @ts-expect-error: no part by key is streamed
  const _: NonNullable<operations["dashboard_parts_retrieve"]["parameters"]["query"]> = { keys: [], format: "sse" };
  return fetch(`/api/dashboard/?${new URLSearchParams({ ...query })}`, { headers: { ...headers } });
}

export async function fetchPart<Name extends keyof Parts>(name: Name): Promise<Parts[Name] | undefined> {
  const query: operations["dashboard_parts_retrieve"]["parameters"]["query"] = { keys: [name] };
  const response = await fetch(`/api/dashboard/parts/?keys=${query.keys.join(",")}`);
  const { results } = (await response.json()) as Envelope;
  const parts: Partial<Parts> = Object.assign({}, ...results);
  return parts[name];
}

export async function skeletons(): Promise<string[]> {
  const response = await fetch("/api/dashboard/manifest/");
  type Answer = paths["/api/dashboard/manifest/"]["get"]["responses"][200];
  const manifest = (await response.json()) as Answer["content"]["application/json"];
  return Object.entries(manifest.parts).map(([name, part]) => (part.lazy ? name : ""));
}

export async function daysLeft(): Promise<number | null | undefined> {
  const products = await fetchPart("top_products");
  // @ts-expect-error: a product has no such field
  products?.[0]?.colour;
  // @ts-expect-error: no part is called so
  await fetchPart("top_customers");
  // @ts-expect-error: of this part nothing is known
  (await fetchPart("meta"))?.shop;
  return collected.restock?.[0]?.days_left;
}
