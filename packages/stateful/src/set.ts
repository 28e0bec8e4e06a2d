/**
 * Opening the databases of an application: refuse, create or reopen.
 *
 *   environment   empty         -> one write: members, identity, anchor = genesis, its row
 *                 ours          -> members and rows are read and must agree with the anchor
 *                 another's     -> refused, nothing written
 *
 * Invariant: a set that opens stands exactly at its anchor, in every member. Whatever is refused is left as it was.
 */
import { type Anchor, anchorOf, type Block } from "@coppice/consensus"
import type { MemberHome } from "@coppice/qmdb"
import type { StorageError, StorageShape } from "@coppice/storage"
import { Effect } from "effect"
import { type BoundSet, bindSet, type SetBinding } from "./binding.ts"
import type { AnchorRow, DatabaseSet, Databases } from "./database-set.ts"
import { SetCorrupt, type SetOpenError, StateSyncUnfinished } from "./errors.ts"
import { REWIND_HEIGHTS_MAX } from "./limits.ts"
import { type AnyMember, OpenSet } from "./open-set.ts"
import {
  putAnchor,
  putIdentity,
  putRow,
  readAnchor,
  readIdentity,
  readPlan,
  readRows,
  rowCodec,
  type SetIdentity,
} from "./root-record.ts"
import { attempt } from "./slices.ts"
import { decodePlan } from "./sync-plan.ts"
import { memberNames, targetsEqual } from "./targets.ts"

/** What a set is opened with. */
export interface SetOptions<B extends Block, M extends Databases> extends SetBinding<B, M> {
  /** An environment opened with `SET_MAPS`. */
  readonly storage: StorageShape
  /** Where pending states are spilled: an environment with `SCRATCH_MAPS`, empty. Without it all stay in memory. */
  readonly scratch?: StorageShape | undefined
  /** Finalized blocks that can be delivered and unacknowledged at once. */
  readonly pendingAcksMax: number
  /** Finalized heights that keep a row and undo records; at least, and by default, `pendingAcksMax + 1`. */
  readonly rewindHeights?: number
  /** For state sync itself, which alone opens a set while the plan says that it is in progress. */
  readonly syncing?: boolean
}

const homes = <B extends Block, M extends Databases>(
  { storage, scratch, hasher }: SetOptions<B, M>,
  identity: SetIdentity,
  rewindHeights: number,
): ReadonlyArray<MemberHome> =>
  identity.members.map(({ incarnation }, member) => ({
    storage,
    scratch,
    member,
    incarnation,
    hasher,
    rewindCommits: rewindHeights,
  }))

const create = <B extends Block, M extends Databases>(
  options: SetOptions<B, M>,
  identity: SetIdentity,
  genesis: B,
  rewindHeights: number,
): Effect.Effect<void, StorageError> => {
  const { databases, syncTargets } = options.application
  const names = memberNames(databases)
  const anchor = anchorOf(genesis)
  const members = homes(options, identity, rewindHeights).flatMap((home, i) => databases[names[i]!]!.create(home))
  const row: AnchorRow<M> = { ...anchor, targets: syncTargets(genesis) }
  return options.storage.write([
    ...members,
    putIdentity(identity),
    putAnchor(anchor),
    putRow(rowCodec<M>(databases), row),
  ])
}

const load = <B extends Block, M extends Databases>(
  options: SetOptions<B, M>,
  identity: SetIdentity,
  anchor: Anchor,
  rewindHeights: number,
): DatabaseSet<M> => {
  const { databases, name } = options.application
  const names = memberNames(databases)
  const row = rowCodec<M>(databases)
  const rows = readRows(options.storage, row, anchor)
  const { targets } = rows.at(-1)!
  const members = homes(options, identity, rewindHeights).map((home, i): AnyMember => databases[names[i]!]!.open(home))
  for (const [i, member] of members.entries()) {
    if (targetsEqual(member.tip.target, targets[names[i]!]!)) continue
    throw new SetCorrupt({ row: "anchor", reason: `member ${names[i]} is not at height ${anchor.height}` })
  }
  const { storage, scratch, hasher } = options
  return new OpenSet<M>({ name, names, members, storage, scratch, hasher, row, rows, rewindHeights })
}

const windowOf = (pendingAcksMax: number, rewindHeights = pendingAcksMax + 1): number => {
  if (!Number.isInteger(pendingAcksMax) || pendingAcksMax < 1) throw new RangeError("pendingAcksMax is at least 1")
  if (!Number.isInteger(rewindHeights) || rewindHeights <= pendingAcksMax || rewindHeights > REWIND_HEIGHTS_MAX) {
    throw new RangeError(`rewindHeights is in ${pendingAcksMax + 1} .. ${REWIND_HEIGHTS_MAX}, got ${rewindHeights}`)
  }
  return rewindHeights
}

interface Found {
  readonly stored: SetIdentity | undefined
  readonly isEmpty: boolean
}

/** What an environment holds. Throws the errors of opening. */
const look = <B extends Block, M extends Databases>(
  { storage, syncing = false }: SetOptions<B, M>,
  identity: SetIdentity,
): Found => {
  const stored = readIdentity(storage, identity)
  const plan = decodePlan(readPlan(storage))
  if (plan.tag === "in progress" && !syncing) throw new StateSyncUnfinished({ floor: plan.floor.proposal.round })
  // The plan marks an environment with its identity before a sync brings anything into it.
  return { stored, isEmpty: stored === undefined || (syncing && readAnchor(storage) === undefined) }
}

/**
 * Opens the databases of an application, creating them at genesis in an empty environment.
 *
 * Errors: `ForeignSet`, `SetCorrupt`, `GenesisTargetsMismatch` (F37), `StateSyncUnfinished`, `MemberCorrupt`, or the
 * storage's; nothing was written then. A window smaller than the acknowledgements is a programmer error (F32).
 * Durability: a new set is durable when this succeeds. Cost: independent of the length of the log; eight bytes are read per key.
 */
export const openDatabaseSet = Effect.fn("Stateful.openDatabaseSet")(function* <B extends Block, M extends Databases>(
  options: SetOptions<B, M>,
): Effect.fn.Return<DatabaseSet<M>, SetOpenError> {
  const { storage } = options
  const rewindHeights = windowOf(options.pendingAcksMax, options.rewindHeights)
  const { genesis, identity } = yield* attempt<BoundSet<B>, SetOpenError>(() => bindSet(options))
  const { stored, isEmpty } = yield* attempt<Found, SetOpenError>(() => look(options, identity))
  if (isEmpty) yield* create(options, identity, genesis, rewindHeights)
  return yield* attempt<DatabaseSet<M>, SetOpenError>(() => {
    const anchor = readAnchor(storage)
    if (anchor === undefined) throw new SetCorrupt({ row: "anchor", reason: "absent" })
    return load(options, stored ?? identity, anchor, rewindHeights)
  })
})
