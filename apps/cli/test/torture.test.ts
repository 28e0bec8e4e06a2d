/**
 * Goal: a killed node stands at a final block with everything it acknowledged, and the check would see if it did not.
 * Method: a few real kills; then the check is given what is not true of the directory, and must say so.
 */
import { Height, MARSHAL_MAPS } from "@coppice/consensus"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { keepSecret, nodePaths, openNode, setPath } from "@coppice/node"
import { DEFAULT_SCHEDULE, makeBlockNetwork, makeSimulatedConsensus } from "@coppice/simulate"
import { SET_MAPS } from "@coppice/stateful"
import { openLmdb } from "@coppice/storage/lmdb"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { describe, expect } from "vitest"
import { type CellsBlock, Model, makeCells, makeStrokes } from "../src/cells/cells.ts"
import { isVacuous } from "../src/commands/torture.ts"
import { checkKilled } from "../src/torture/check.ts"
import { CHAIN_ID, LIMITS, TORTURE_SECRET, WORKLOAD } from "../src/torture/site.ts"
import { killOnce, makeTorture } from "../src/torture/supervisor.ts"
import { temporaryDirectory } from "./support/cli.ts"

/** A model that takes one stroke of each block for another. */
class WrongModel extends Model {
  override advance(block: CellsBlock): void {
    const [first, ...others] = block.transactions
    const transactions = first === undefined ? [] : [{ ...first, nonce: first.nonce + 1n }, ...others]
    super.advance({ ...block, transactions })
  }
}

const tortured = Effect.fnUntraced(function* (kills: number) {
  const torture = makeTorture(yield* temporaryDirectory)
  const done = []
  for (let seed = 1; seed <= kills; seed++) done.push(yield* killOnce(torture, seed, "flush"))
  return { torture, done }
})

describe("a killed node", () => {
  it.live("stands at a final block after every kill, goes on, and loses nothing it acknowledged", () =>
    Effect.gen(function* () {
      const { torture, done } = yield* tortured(3)
      const heights = done.map(({ height }) => height)
      expect(heights.toSorted((a, b) => a - b)).toEqual(heights)
      expect(heights[0]).toBeGreaterThan(0)
      expect(torture.acknowledged).toBeGreaterThan(0)
      expect(heights[2]).toBeGreaterThanOrEqual(torture.acknowledged)
      expect(torture.model.height).toBe(heights[2])
    }),
  )

  it.live("killed during its start leaves a directory that opens", () =>
    Effect.gen(function* () {
      const torture = makeTorture(yield* temporaryDirectory)
      yield* killOnce(torture, 1, "flush")
      const { height } = yield* killOnce(torture, 2, "start")
      expect(height).toBeGreaterThanOrEqual(torture.acknowledged)
    }),
  )
})

it("a run with fewer than four kills of five inside a flush shows nothing", () => {
  expect([50, 40, 39, 0].map((inside) => isVacuous(50, inside))).toEqual([false, false, true, true])
})

const SMALL = { cells: 50, strokes: 20 }

/** A node that is let to make some blocks, and is stopped; nothing is killed. */
const madeBlocks = Effect.fnUntraced(function* (directory: string, heights: number) {
  const secret = yield* keepSecret(nodePaths(directory), Effect.succeed(TORTURE_SECRET))
  const keys = keyPairFromSeed(nodeEd25519, secret)
  const network = makeBlockNetwork({ latencyMs: { min: 0, max: 1 }, lossChance: 0 })
  const model = new Model(SMALL)
  const application = makeCells(nodeHasher, makeStrokes(SMALL, 0n), (block) => model.advance(block))
  const node = yield* openNode({
    ...{ directory, application, chainId: CHAIN_ID, limits: { ...LIMITS, marshalBlocks: 5, pruneInterval: 1 } },
    participants: createParticipants([keys.publicKey]),
    transport: network.transport(keys.publicKey),
  })
  const consensus = yield* makeSimulatedConsensus<CellsBlock>({
    ...{ chainId: CHAIN_ID, genesis: node.genesis, codec: application.codec, validators: [keys], ed25519: nodeEd25519 },
    seed: 1,
    schedule: { ...DEFAULT_SCHEDULE, corruptChance: 0, viewMs: 1, latencyMs: { min: 0, max: 1 }, restarts: undefined },
  })
  yield* consensus.join(0, { executor: node.executor.port, marshal: node.marshal })
  const made = Effect.gen(function* () {
    while (model.height < heights || (yield* node.marshal.finalizedAt(Height(1))) !== undefined) yield* Effect.sleep(1)
  })
  yield* Effect.raceFirst(made, Effect.raceFirst(consensus.run, node.failed))
  return model
}, Effect.scoped)

it.live("blocks that were forgotten are no damage, unless they are among those to keep", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const model = yield* madeBlocks(directory, 8)
    const height = yield* checkKilled(directory, model.height, model, 5)
    expect(height).toBeGreaterThanOrEqual(8)
    const damaged = yield* Effect.flip(checkKilled(directory, 0, model, height))
    expect(damaged).toMatchObject({ _tag: "Damaged", what: "the final block of height 1 is gone" })
    const behind = yield* Effect.flip(checkKilled(directory, 0, new Model(SMALL), 5))
    expect(behind).toMatchObject({ _tag: "Damaged", what: "the final block of height 1 is gone" })
  }),
)

describe("the check finds", () => {
  it.live("a lost acknowledgement, a cell that the blocks did not write, and a database that fell behind", () =>
    Effect.gen(function* () {
      const { torture, done } = yield* tortured(1)
      const { directory } = torture
      const stands = done[0]!.height
      const lost = yield* Effect.flip(checkKilled(directory, stands + 1, new Model(WORKLOAD)))
      expect(lost).toMatchObject({ _tag: "Damaged", what: expect.stringContaining("was acknowledged") })
      const cell = yield* Effect.flip(checkKilled(directory, stands, new WrongModel(WORKLOAD)))
      expect(cell).toMatchObject({ _tag: "Damaged", what: expect.stringContaining("not what the blocks wrote") })
      expect(yield* checkKilled(directory, stands, new Model(WORKLOAD))).toBe(stands)
    }),
  )

  it.live("a torn flush: the anchor of one block over the databases of another", () =>
    Effect.gen(function* () {
      const { torture } = yield* tortured(1)
      const paths = nodePaths(torture.directory)
      const environment = { directory: setPath(paths, "cells"), maps: SET_MAPS }
      const anchorOf = Effect.scoped(Effect.map(openLmdb(environment), (set) => set.get("root", Uint8Array.of(1))!))
      const old = yield* anchorOf
      yield* killOnce(torture, 2, "flush")
      const tear = Effect.flatMap(openLmdb(environment), (set) =>
        set.write([{ tag: "put", map: "root", key: Uint8Array.of(1), value: old }]),
      )
      yield* Effect.scoped(tear)
      const torn = yield* Effect.flip(checkKilled(torture.directory, 0, new Model(WORKLOAD)))
      expect(torn).toMatchObject({ _tag: "SetCorrupt" })
    }),
  )

  it.live("a final block that is gone", () =>
    Effect.gen(function* () {
      const { torture, done } = yield* tortured(1)
      const environment = { directory: nodePaths(torture.directory).marshal, maps: MARSHAL_MAPS }
      const key = new Uint8Array(8)
      new DataView(key.buffer).setBigUint64(0, BigInt(done[0]!.height))
      const lose = Effect.flatMap(openLmdb(environment), (blocks) =>
        blocks.write([{ tag: "remove", map: "finalized", key }]),
      )
      yield* Effect.scoped(lose)
      const damaged = yield* Effect.flip(checkKilled(torture.directory, 0, new Model(WORKLOAD)))
      expect(damaged._tag).toMatch(/Damaged|CorruptRow/)
    }),
  )
})
