/**
 * The legal order of calls between consensus, executor and application, as data.
 *
 *   request   new --propose|verify--> asked --answer|leave|stop--> ended                  one per question of an engine
 *   delivery  new --deliver--> delivered --hook--> hooking --hooked--> hooked --acknowledge--> ended      one per block
 *   run       running --seal--> sealing --sealed--> sealed --give--> ended              one per propose, verify, apply
 *
 * Terms: a *machine* says for each state which calls are legal in it and where they lead. Each call has one maker, who is
 * at fault when it is not legal. Machines of different requests, deliveries and runs are independent (G-11), but for the
 * calls `IN_HEIGHT_ORDER`: these follow each other over all deliveries, height by height.
 *
 * Invariant: what is not in the tables is not allowed. The same tables are checked at run time and walked by tests, both in
 * `checked-calls.ts`.
 */

/** States of a machine, each with its legal calls and where they lead. The first state is the one it starts in. */
export type Machine = Readonly<Record<string, Readonly<Record<string, string>>>>

/** The machines, by name. */
export const CALL_ORDER = {
  request: {
    new: { propose: "asked", verify: "asked" },
    asked: { answer: "ended", leave: "ended", stop: "ended" },
    ended: {},
  },
  delivery: {
    new: { deliver: "delivered" },
    // Genesis, and a block delivered twice, have no hook.
    delivered: { hook: "hooking", acknowledge: "ended", cancel: "ended" },
    hooking: { hooked: "hooked", cancel: "ended" },
    hooked: { acknowledge: "ended", cancel: "ended" },
    ended: {},
  },
  run: {
    running: { batch: "running", seal: "sealing", decline: "ended", fail: "ended", cancel: "cancelled" },
    sealing: { sealed: "sealed", fail: "ended", cancel: "cancelled" },
    sealed: { give: "ended", decline: "ended", fail: "ended", cancel: "cancelled" },
    ended: {},
    // A promise cannot be stopped: what it still does is refused by its batches, and is no fault.
    cancelled: {
      cancel: "cancelled",
      batch: "cancelled",
      seal: "cancelled",
      sealed: "cancelled",
      give: "cancelled",
      decline: "cancelled",
      fail: "cancelled",
    },
  },
} as const satisfies Readonly<Record<string, Machine>>

/** Name of a machine. */
export type MachineName = keyof typeof CALL_ORDER

/** Who makes a call. */
export type Maker = "engine" | "executor" | "application"

/** The maker of each call. */
export const MAKERS = {
  propose: "engine",
  verify: "engine",
  leave: "engine",
  deliver: "engine",
  answer: "executor",
  stop: "executor",
  hook: "executor",
  acknowledge: "executor",
  cancel: "executor",
  sealed: "executor",
  hooked: "application",
  batch: "application",
  seal: "application",
  give: "application",
  decline: "application",
  fail: "application",
} as const satisfies Readonly<Record<string, Maker>>

/** A call of any machine. */
export type Call = keyof typeof MAKERS

/** Calls that are made for one height after the other, without a gap. */
export const IN_HEIGHT_ORDER = ["deliver", "hook", "acknowledge"] as const satisfies ReadonlyArray<Call>

/** The state a machine starts in. */
export const startOf = (name: MachineName): string => Object.keys(CALL_ORDER[name])[0]!

/** Where a call leads; undefined when it is not legal in that state. */
export const follow = (name: MachineName, state: string, call: Call): string | undefined =>
  (CALL_ORDER[name] as Machine)[state]?.[call]
