/**
 * The index of a copied state of a keyed database, from its operations alone.
 *
 *   operations from the floor on --> who owns each, which keys are active and where --> state with its grafts
 *
 * Invariant: what opens over these owners has the active keys and, for `current`, the canonical root of the copied state.
 * Slots are numbered anew: they name keys inside one database and are part of no root.
 */
import { decodeOperation, type KeyedFormat } from "@coppice/verify"
import { type KeyText, operationKey } from "@coppice/verify/log"
import type { StateCopy } from "../member.ts"
import type { NodeReader } from "./activity.ts"
import type { Restored } from "./family.ts"
import type { Grafts } from "./grafts.ts"
import type { KeyedState } from "./keyed-state.ts"
import { Kind, ownerOf } from "./log-part.ts"
import type { LogState } from "./log-state.ts"

/** See the head of this file. Throws `DecodeError`. */
export const restoreKeyed = <K, V>(
  format: KeyedFormat<K, V>,
  grafts: Grafts | undefined,
  state: LogState,
  { start, operations }: StateCopy,
  node: NodeReader,
): Restored<KeyedState> => {
  const owners = new Uint32Array(operations.length)
  const active = new Map<KeyText, { readonly slot: number; readonly location: number }>()
  let slots = 0
  for (const [i, operation] of operations.entries()) {
    const { tag } = decodeOperation(format, operation)
    if (tag === "commit") {
      owners[i] = ownerOf(0, Kind.commit)
      continue
    }
    const key = operationKey(format, operation)
    const known = active.get(key)
    // A delete of a key whose update lies below the copy frees a slot that nothing ever had.
    const slot = known?.slot ?? slots++
    if (tag === "delete") {
      owners[i] = ownerOf(slot, Kind.delete)
      active.delete(key)
    } else {
      owners[i] = ownerOf(slot, known === undefined ? Kind.create : Kind.update)
      active.set(key, { slot, location: start + i })
    }
  }
  const locations = Float64Array.from(active.values(), ({ location }) => location)
  const current = grafts?.build(state, locations, node)
  return { state: { ...state, slots, freedUsed: 0, active: active.size, current }, owners }
}
