/**
 * What must be true of a directory whose process was killed, whenever that was.
 *
 *   marshal    blocks of r .. t, r <= a - kept + 1               set    stands at anchor a <= t
 *   block a has the anchor's digest and the set's targets; the set holds exactly what blocks 1 .. a wrote
 *
 * Terms: *kept* are the newest blocks, which pruning may not touch. What is older was replayed by an earlier check.
 *
 * Invariant: the check shares no state with the killed process: it reads its files under its lock, and replays its final
 * blocks into a model of its own.
 */
import { bytesEqual } from "@coppice/codec"
import { type BlockSource, Height, MARSHAL_MAPS, makeMarshal } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { acquireLock, nodePaths, setPath, targetText } from "@coppice/node"
import { bindSet, memberNames, openDatabaseSet, SET_MAPS, targetsEqual } from "@coppice/stateful"
import { Storage } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Data, Effect } from "effect"
import { type CellsBlock, type Model, makeCells } from "../cells/cells.ts"
import { CHAIN_ID, LIMITS } from "./site.ts"

/** Something that must be true after a kill is not. */
export class Damaged extends Data.TaggedError("Damaged")<{
  readonly directory: string
  readonly what: string
}> {}

const application = makeCells(nodeHasher)

/** Blocks of a stopped node. Nobody is asked for what it does not hold. */
const openBlocks = Effect.fnUntraced(function* (directory: string) {
  const { genesis } = bindSet({ application, chainId: CHAIN_ID, hasher: nodeHasher })
  const storage = yield* openLmdb({ directory, maps: MARSHAL_MAPS })
  const nobody = { peers: Effect.succeed([]), request: () => Effect.never, blame: () => Effect.void }
  return yield* makeMarshal({
    chainId: CHAIN_ID,
    genesis,
    codec: application.codec,
    verify: () => true,
    transport: nobody,
    pendingAcksMax: LIMITS.pendingAcksMax,
  }).pipe(Effect.provideService(Storage, storage))
})

/** The first height of those kept whose block is gone. */
const goneFrom = Effect.fnUntraced(function* (blocks: BlockSource<CellsBlock>, anchor: number, kept: number) {
  for (let height = Math.max(1, anchor - kept + 1); height <= anchor; height++) {
    if ((yield* blocks.finalizedAt(Height(height))) === undefined) return height
  }
  return undefined
})

const replay = Effect.fnUntraced(function* (model: Model, blocks: BlockSource<CellsBlock>, anchor: number) {
  while (model.height < anchor) {
    const block = yield* blocks.finalizedAt(Height(model.height + 1))
    if (block === undefined) return model.height + 1
    model.advance(block)
  }
  return undefined
})

/**
 * Checks a directory, and succeeds with the height at which it stands.
 *
 * `acknowledged` is the highest height that its process called durable; `model` goes along from check to check.
 */
export const checkKilled = Effect.fn("Torture.check")(function* (
  directory: string,
  acknowledged: number,
  model: Model,
  kept = LIMITS.marshalBlocks,
) {
  const damaged = (what: string) => new Damaged({ directory, what })
  const paths = nodePaths(directory)
  yield* acquireLock(paths)
  const storage = yield* openLmdb({ directory: setPath(paths, application.name), maps: SET_MAPS })
  const blocks = yield* openBlocks(paths.marshal)
  const environment = { chainId: CHAIN_ID, hasher: nodeHasher, storage, pendingAcksMax: blocks.pendingAcksMax }
  const set = yield* openDatabaseSet({ application, ...environment })
  const { anchor, tip } = set
  if (anchor.height < acknowledged) {
    return yield* damaged(`height ${acknowledged} was acknowledged, the databases stand at ${anchor.height}`)
  }
  const processed = yield* blocks.processedHeight
  if (processed !== undefined && processed > anchor.height) {
    return yield* damaged(`height ${processed} is recorded as processed, the databases stand at ${anchor.height}`)
  }
  if (anchor.height > 0) {
    const block = yield* blocks.finalizedAt(anchor.height)
    if (block === undefined) return yield* damaged(`the databases stand at ${anchor.height}, where no block is final`)
    if (!bytesEqual(block.digest, anchor.digest)) return yield* damaged(`height ${anchor.height} is another block`)
    for (const name of memberNames(application.databases)) {
      const [expected, actual] = [block.targets[name], tip.targets[name]]
      if (targetsEqual(expected, actual)) continue
      return yield* damaged(
        `${name} at ${anchor.height} is ${targetText(actual)}, the block says ${targetText(expected)}`,
      )
    }
  }
  const missing = (yield* goneFrom(blocks, anchor.height, kept)) ?? (yield* replay(model, blocks, anchor.height))
  if (missing !== undefined) return yield* damaged(`the final block of height ${missing} is gone`)
  const cell = set.use("read", (readers) => model.difference(readers))
  if (cell !== undefined) return yield* damaged(`cell ${cell} at height ${anchor.height} is not what the blocks wrote`)
  return Number(anchor.height)
}, Effect.scoped)
