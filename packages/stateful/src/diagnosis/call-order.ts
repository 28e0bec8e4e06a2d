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
 * Invariant: what is not in the tables is not allowed. The same tables are checked at run time (`checked-calls.ts`) and
 * walked by tests (`legalWalk`).
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

/** One step of a walk: what an engine does next. Requests are named by the order in which they were made. */
export type EngineCall =
  | { readonly call: "propose" | "verify" | "leave"; readonly request: number }
  | { readonly call: "deliver"; readonly height: number }

/**
 * A legal sequence of an engine's calls: draws, in every step, one of the calls that the tables allow now.
 *
 * Shape: `chance` gives numbers in [0, 1). Blocks of heights 1 to `heights` are delivered at most; at most `window` of them
 * before `acknowledged` says so (G-4).
 */
export const legalWalk = function* (
  chance: () => number,
  { heights, window }: { readonly heights: number; readonly window: number },
  acknowledged: () => number,
): Generator<EngineCall, void, void> {
  const open: number[] = []
  let made = 0
  let delivered = 0
  for (;;) {
    const asks = Object.keys(CALL_ORDER.request.new) as ReadonlyArray<"propose" | "verify">
    const steps: Array<EngineCall> = asks.map((call) => ({ call, request: made }))
    const leaver = open[Math.floor(chance() * open.length)]
    if (leaver !== undefined) steps.push({ call: "leave", request: leaver })
    const mayDeliver = delivered < heights && delivered - acknowledged() < window
    if (mayDeliver) steps.push({ call: "deliver", height: delivered + 1 })
    const step = steps[Math.floor(chance() * steps.length)]!
    if (step.call === "deliver") delivered++
    else if (step.call === "leave") open.splice(open.indexOf(step.request), 1)
    else open.push(made++)
    yield step
  }
}
