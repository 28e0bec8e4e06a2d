/**
 * What a stopped node's directory holds.
 *
 * Terms: the *window* is the range of heights that keep undo records: the node can be taken back to any of them.
 *
 * Invariant: a directory in use is refused, one without a node is not touched, and what is looked at stays as it was, byte for byte.
 */
import { existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { describeMarshal, MARSHAL_MAPS } from "@coppice/consensus"
import type { SyncTarget } from "@coppice/qmdb"
import { describeSet, SET_MAPS, type SetDescription } from "@coppice/stateful"
import type { StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect } from "effect"
import { fileOperation, nodePaths, readConfig, setPath } from "./directory.ts"
import { NoNode } from "./errors.ts"
import { guardEnvironment } from "./guard.ts"
import { toHex } from "./hex.ts"
import { acquireLock } from "./lock.ts"

const bytesIn = (directory: string) =>
  fileOperation("read", directory, () =>
    readdirSync(directory, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile())
      .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0),
  )

const roundView = ({ epoch, view }: { readonly epoch: number; readonly view: number }) => ({ epoch, view })

const standsAt = ({ root, start, end, canonical }: SyncTarget) => ({
  root: toHex(root),
  floor: Number(start),
  size: Number(end),
  ...(canonical === undefined ? undefined : { canonical: toHex(canonical) }),
})

const membersOf = ({ identity, rows }: SetDescription) => {
  const targets = rows.at(-1)?.targets
  return identity.members.map(({ name, format, incarnation }) => {
    const target = targets?.[name]
    return { name, format, incarnation, ...(target === undefined ? undefined : standsAt(target)) }
  })
}

const setView = (set: SetDescription) => {
  const { format, anchor, plan, rows } = set
  const [first, last] = [rows[0], rows.at(-1)]
  return {
    format,
    anchor:
      anchor === undefined
        ? null
        : { height: Number(anchor.height), digest: toHex(anchor.digest), round: roundView(anchor.round) },
    window:
      first === undefined || last === undefined ? null : { first: Number(first.height), last: Number(last.height) },
    syncPlan: plan.tag,
    members: membersOf(set),
  }
}

/** Opens what is there; undefined where there is nothing. */
const openExisting = Effect.fnUntraced(function* (directory: string, maps: ReadonlyArray<string>) {
  yield* guardEnvironment(directory, () => false)
  const environment = { directory, maps }
  const storage: StorageShape | undefined = existsSync(directory) ? yield* openLmdb(environment) : undefined
  return storage
})

const marshalView = Effect.fnUntraced(function* (storage: StorageShape) {
  const described = yield* describeMarshal(storage)
  if (described === undefined) return null
  const { format, processed, finalized, certified, floor, isFloorPending } = described
  return {
    format,
    finalized: finalized === undefined ? null : { first: Number(finalized.first), last: Number(finalized.last) },
    processed: processed === undefined ? null : Number(processed),
    floor: floor === undefined ? null : Number(floor),
    isFloorPending,
    certified: certified === undefined ? null : { height: Number(certified.height), round: roundView(certified.round) },
  }
})

/**
 * Describes the node of a directory.
 *
 * Errors: `DirectoryLocked` while it runs, `NoNode` when there is none, those of damaged or foreign environments.
 */
export const inspectNode = Effect.fn("Node.inspect")(function* (directory: string) {
  const paths = nodePaths(directory)
  const config = yield* readConfig(paths)
  if (config === undefined) return yield* new NoNode({ directory: paths.root })
  yield* acquireLock(paths)
  const setDirectory = setPath(paths, config.application)
  const setStorage = yield* openExisting(setDirectory, SET_MAPS)
  const marshalStorage = yield* openExisting(paths.marshal, MARSHAL_MAPS)
  const set = setStorage === undefined ? undefined : yield* describeSet(setStorage)
  return {
    directory: paths.root,
    ...config,
    set: set === undefined ? null : setView(set),
    marshal: marshalStorage === undefined ? null : yield* marshalView(marshalStorage),
    bytes: {
      set: setStorage === undefined ? 0 : yield* bytesIn(setDirectory),
      marshal: marshalStorage === undefined ? 0 : yield* bytesIn(paths.marshal),
    },
  }
}, Effect.scoped)

/** What a stopped node's directory holds. */
export type NodeInspection = Effect.Success<ReturnType<typeof inspectNode>>
