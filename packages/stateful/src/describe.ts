/**
 * What an environment holds, read without knowing the application it belongs to: for people who look at a stopped node.
 *
 * Invariant: reads only.
 */
import type { Anchor } from "@coppice/consensus"
import type { StorageShape } from "@coppice/storage"
import type { Effect } from "effect"
import type { AnchorRow, Databases } from "./database-set.ts"
import type { ForeignSet, SetCorrupt, SyncPlanUnreadable } from "./errors.ts"
import {
  readAnchor,
  readAnyIdentity,
  readPlan,
  readRows,
  rowCodec,
  SET_FORMAT_VERSION,
  type SetIdentity,
} from "./root-record.ts"
import { attempt } from "./slices.ts"
import { decodePlan, type PlanRecord } from "./sync-plan.ts"

/** A set as its root record describes it. */
export interface SetDescription {
  readonly format: number
  readonly identity: SetIdentity
  readonly plan: PlanRecord
  /** The block whose state is durable; undefined before creation has ended. */
  readonly anchor: Anchor | undefined
  /** One row per height of the rewind window, oldest first; the last is the anchor's. */
  readonly rows: ReadonlyArray<AnchorRow<Databases>>
}

/**
 * Describes what an environment opened with `SET_MAPS` holds; undefined when it is empty.
 *
 * Errors: `ForeignSet` for an unknown format version, `SetCorrupt`, `SyncPlanUnreadable`.
 */
export const describeSet = (
  storage: StorageShape,
): Effect.Effect<SetDescription | undefined, ForeignSet | SetCorrupt | SyncPlanUnreadable> =>
  attempt(() => {
    const identity = readAnyIdentity(storage)
    if (identity === undefined) return undefined
    const anchor = readAnchor(storage)
    const shapes = Object.fromEntries(identity.members.map((member) => [member.name, member]))
    const rows = anchor === undefined ? [] : readRows(storage, rowCodec<Databases>(shapes), anchor)
    return { format: SET_FORMAT_VERSION, identity, plan: decodePlan(readPlan(storage)), anchor, rows }
  })
