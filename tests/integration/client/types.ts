// What TypeScript knows of the client's types. It is checked, not run.
import {
  createParser,
  createStore,
  partstream,
  PartstreamError,
  type Envelope,
  type Options,
  type Part,
  type PartError,
  type RequestError,
  type Snapshot,
  type Store,
} from "django-partstream";

interface Order {
  readonly number: number;
  readonly customer: string;
}

interface Dashboard {
  shop: { name: string };
  orders: Order[];
  revenue: number;
}

/** Fails where the two types differ. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

// The name tells the type of the data.

export async function load(): Promise<void> {
  for await (const part of partstream<Dashboard>("/api/dashboard/")) {
    same<typeof part, Part<Dashboard>>(true);
    same<typeof part.name, "shop" | "orders" | "revenue">(true);
    // @ts-expect-error: it may have failed
    part.data.name;
    if (part.error) {
      same<typeof part.data, undefined>(true);
      same<typeof part.error.part, "shop" | "orders" | "revenue">(true);
      continue;
    }
    // @ts-expect-error: nobody knows yet which part it is
    part.data.name;
    if (part.name === "shop") same<typeof part.data, { name: string }>(true);
    else if (part.name === "orders") part.data.map(({ customer }) => customer);
    else same<typeof part.data, number>(true);
    // @ts-expect-error: no part is called so
    if (part.name === "customers") throw new Error();
  }
}

export async function loadUntyped(): Promise<void> {
  for await (const { name, data, error } of partstream(new URL("https://example.org/api/"))) {
    same<typeof name, string>(true);
    same<typeof data, unknown>(true);
    if (error) same<typeof error.detail, string>(true);
  }
}

// What a generator of schemas makes has optional and read-only members, as an interface or a type.

type Generated = { readonly shop?: { name: string } | null; "a-b": number };

export async function loadGenerated(): Promise<void> {
  for await (const part of partstream<Generated>("/api/")) {
    if (part.error) continue;
    if (part.name === "a-b") same<typeof part.data, number>(true);
    else part.data?.name;
  }
}

// A failed part: the code tells what else is known.

export function explain(error: PartError<"stock", "warehouse_closed">): unknown {
  same<typeof error.part, "stock">(true);
  same<typeof error.retryable, boolean>(true);
  // @ts-expect-error: only invalid input has problems
  error.problems;
  switch (error.code) {
    case "part_invalid":
      return error.problems;
    case "warehouse_closed":
      // @ts-expect-error: only invalid input has problems
      return error.problems;
    case "part_throttled":
      return (error.retry_after ?? 0) * 1000;
    // @ts-expect-error: neither the library nor the application has this code
    case "warehouse_open":
      return error;
    case "part_failed":
    case "part_timeout":
    case "part_forbidden":
    case "part_not_found":
    case "part_unknown":
    case "dependency_failed":
    case "not_serializable":
    case "capacity":
      return error.retry_cursor;
    default:
      same<typeof error, never>(true);
      return undefined;
  }
}

export async function loadWithOwnCodes(): Promise<void> {
  for await (const { error } of partstream<Dashboard, "warehouse_closed">("/api/")) {
    if (error?.code === "warehouse_closed") same<typeof error.part, keyof Dashboard>(true);
    // @ts-expect-error: the application has not said that it has this code
    if (error?.code === "shop_empty") throw new Error();
  }
}

// A load that fails: `instanceof`, and then the code.

export function report(error: unknown): string {
  if (!(error instanceof PartstreamError)) return String(error);
  same<typeof error, RequestError>(true);
  same<typeof error.retry_after, number | undefined>(true);
  if (error.code === "throttled") same<typeof error.status, 429>(true);
  if (error.code === "cursor_expired") same<typeof error.status, 410>(true);
  if (error.code === "network") return String(error.cause);
  // @ts-expect-error: no load fails so
  if (error.code === "part_failed") throw error;
  // @ts-expect-error: it tells what happened, and is not changed
  error.code = "http_error";
  return `${error.name} ${error.status} ${error.message} ${error.stack ?? ""}`;
}

export const own: RequestError = new PartstreamError("throttled", "Wait.", { status: 429, retry_after: 3 });
// @ts-expect-error: no load fails so
new PartstreamError("nonsense", "It is none.");

// Options

const options: Options<Dashboard> = {
  by: "walk",
  format: "sse",
  credentials: "include",
  mode: "cors",
  keepalive: true,
  headers: async () => ({ Authorization: "Bearer 1" }),
  signal: AbortSignal.timeout(1000),
  fetch: (input, init) => fetch(input, init),
  attempts: 3,
};
partstream<Dashboard>("/", options);
partstream<Dashboard>("/", { ...options, keys: ["shop", "orders"] as const, signal: null });
partstream<Dashboard>("/", { initial: { cursor: "token" }, headers: [["X-Own", "1"]] });
// @ts-expect-error: no part is called so
partstream<Dashboard>("/", { keys: ["customers"] });
// @ts-expect-error: there is no such way
partstream("/", { by: "key" });
// @ts-expect-error: there is no such format
partstream("/", { format: "json" });
// @ts-expect-error: a load is a GET
partstream("/", { method: "POST" });
// @ts-expect-error: a load has no body
partstream("/", { body: "{}" });
// @ts-expect-error: there is no such option
partstream("/", { retries: 3 });
// @ts-expect-error: it is a time in milliseconds
partstream("/", { backoff: "1s" });
// @ts-expect-error: an absent option is left out
partstream("/", { attempts: undefined });
// @ts-expect-error: it needs a URL
partstream();

// An envelope

export function hydrate(envelope: Envelope<Dashboard>): Store<Dashboard> {
  same<typeof envelope.cursor, string | null>(true);
  for (const result of envelope.results) result.orders?.map(({ number }) => number);
  for (const error of envelope.errors ?? []) same<typeof error, PartError<keyof Dashboard>>(true);
  return createStore<Dashboard>("/api/dashboard/", { initial: envelope });
}

// The store

export function render(store: Store<Dashboard>): string {
  const snapshot = store.getSnapshot();
  same<typeof snapshot, Snapshot<Dashboard>>(true);
  same<typeof snapshot.parts.revenue, number | undefined>(true);
  same<typeof snapshot.cursor, string | null | undefined>(true);
  // @ts-expect-error: it may not have come
  snapshot.parts.shop.name;
  // @ts-expect-error: no part is called so
  snapshot.parts.customers;
  // @ts-expect-error: a snapshot never changes
  snapshot.parts.revenue = 1;
  // @ts-expect-error: a snapshot never changes
  snapshot.pending.push("orders");
  // @ts-expect-error: there is no such status
  if (snapshot.status === "done") return "";
  if (snapshot.status === "failed") return report(snapshot.error);
  return snapshot.errors.orders?.detail ?? snapshot.pending.join();
}

export async function use(store: Store<Dashboard>): Promise<void> {
  const { subscribe, getSnapshot, retry, refresh, resume, stop } = store; // none needs `this`
  const leave: () => void = subscribe(() => getSnapshot().status);
  await retry("orders");
  // @ts-expect-error: no part is called so
  await retry("customers");
  const snapshot: Snapshot<Dashboard> = await refresh();
  same<typeof snapshot, Awaited<ReturnType<typeof resume>>>(true);
  stop();
  leave();
}

// The parser

export function parse(text: string): Envelope<Dashboard>[] {
  const parser = createParser<Dashboard>("text/event-stream");
  same<typeof parser.retry, number | undefined>(true);
  // @ts-expect-error: there is no such format
  createParser("application/json");
  return [...parser.push(text), ...parser.end()];
}
