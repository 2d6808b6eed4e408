// The module does what its declarations say. It is checked, not run.
import * as implemented from "./partstream/implementation.js";
import * as declared from "./partstream/partstream.js";

export const partstream: typeof declared.partstream = implemented.partstream;
export const createStore: typeof declared.createStore = implemented.createStore;
export const createParser: typeof declared.createParser = implemented.createParser;
export const PartstreamError: new (
  ...of: ConstructorParameters<typeof declared.PartstreamError>
) => Pick<declared.RequestError, "message" | "stack" | "retry_after"> = implemented.PartstreamError;

// Both have the same names.
export const missing: Record<keyof typeof declared, unknown> = implemented;
export const undeclared: Record<keyof typeof implemented, unknown> = declared;
