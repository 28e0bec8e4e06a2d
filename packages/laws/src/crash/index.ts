/** The crash sweep over database families. */
import { variantOf } from "./database.ts"
import { keyedFamilies } from "./keyed.ts"
import type { CrashFamily } from "./sweep.ts"
import { unkeyedFamilies } from "./unkeyed.ts"

export type { Wrap } from "./life.ts"
export type { CrashFamily, SweepOptions, SweepReport, WrongState } from "./sweep.ts"

/** Every family that is built, in both encodings, one over each Merkle family. */
export const CRASH_FAMILIES: ReadonlyArray<CrashFamily> = [variantOf("mmb", true), variantOf("mmr", false)].flatMap(
  (variant) => [...keyedFamilies(variant), ...unkeyedFamilies(variant)],
)
