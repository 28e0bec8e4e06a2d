/**
 * From peaks to a root. (Bodies follow; the signatures stand.)
 */
import type { Digest, Hasher } from "@coppice/crypto"
import type { Frontier } from "./frontier.ts"

/** How active peaks fold into one digest: oldest first, or youngest first. Database roots use backward. */
export type Bagging = "forward" | "backward"

/** Root of the tree of a frontier. Throws `RangeError` when `inactivePeaks` exceeds the peaks. */
export const root: (hasher: Hasher, frontier: Frontier, inactivePeaks: number, bagging: Bagging) => Digest = () => {
  throw new Error("unbuilt")
}
