/** What the killed process and the one that checks it agree on. */
import type { Workload } from "../cells/cells.ts"

/** Name of the tortured chain. */
export const CHAIN_ID = "torture"

/** Key of its only validator: nothing depends on its secrecy. */
export const TORTURE_SECRET = new Uint8Array(32).fill(0x2a)

/** Bounds of the node: so few states and blocks are kept that it forgets most of what it wrote. */
export const LIMITS = { pendingAcksMax: 4, pruneInterval: 4, marshalBlocks: 64 }

/** Enough per block that its flush takes long enough to be hit. */
export const WORKLOAD: Workload = { cells: 20_000, strokes: 1_200 }
