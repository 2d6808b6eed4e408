// The browser client, with the types that the shop's schema gives. It is checked, not run.
import { createStore, partstream, type PartError } from "django-partstream";

import type { components } from "./shop";

type Parts = components["schemas"]["DashboardViewParts"];
type FailedPart = components["schemas"]["PartstreamPartError"];
type Envelope = components["schemas"]["DashboardViewEnvelope"];

const shown: string[] = [];

export async function load(): Promise<void> {
  for await (const part of partstream<Parts>("/api/dashboard/")) {
    if (part.error) shown.push(part.error.detail);
    else if (part.name === "recent_orders") shown.push(...part.data.map(({ customer }) => customer));
    else if (part.name === "exchange_rates") shown.push(part.data.live ? "live" : "as of yesterday");
    // @ts-expect-error: a product has no such field
    else if (part.name === "top_products") part.data[0]?.colour;
    // @ts-expect-error: no part is called so
    else if (part.name === "top_customers") throw new Error();
  }
}

export async function loadByKey(): Promise<void> {
  const url = "/api/dashboard/parts/";
  for await (const part of partstream<Parts>(url, { keys: ["restock", "top_products"] })) shown.push(part.name);
  // @ts-expect-error: no part is called so
  partstream<Parts>(url, { keys: ["top_customers"] });
}

export function goOnAfter(envelope: Envelope): number | null | undefined {
  const store = createStore<Parts>("/api/dashboard/", { initial: envelope });
  return store.getSnapshot().parts.restock?.[0]?.days_left;
}

/** What the client says of a failed part is what the schema says. */
export const error = (failed: PartError): FailedPart => failed;
