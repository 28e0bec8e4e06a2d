/**
 * Targets that a block lies with: each differs from a good one in one part only, and has an encoding.
 *
 * Bounds: the good one is that of a block above genesis, whose range has two operations or more.
 */
import { Location, type SyncTarget } from "@coppice/qmdb"

const flipped = (digest: Uint8Array): Uint8Array => digest.map((byte) => byte ^ 1)

/** Targets with another root, each named by its part. */
export const wrongRoots = (target: SyncTarget): ReadonlyArray<readonly [part: string, SyncTarget]> => {
  const roots = [["root", { ...target, root: flipped(target.root) }]] as const
  const { canonical } = target
  if (canonical === undefined) return roots
  return [...roots, ["canonical root", { ...target, canonical: flipped(canonical) }]]
}

/** Targets with another range, each named by its part. */
export const wrongRanges = (target: SyncTarget): ReadonlyArray<readonly [part: string, SyncTarget]> => [
  ["start", { ...target, start: Location(target.start === 0 ? 1 : target.start - 1) }],
  ["end", { ...target, end: Location(target.end + 1) }],
]
