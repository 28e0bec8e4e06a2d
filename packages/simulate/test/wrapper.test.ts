/**
 * Goal: a validator says nothing that counts as a vote before it is durable, and asks its executor only what it should.
 * Method: one marshal in virtual time and an executor that answers from a script and counts.
 */
import {
  anchorOf,
  type ConsensusContext,
  contextsEqual,
  Height,
  MARSHAL_MAPS,
  makeMarshal,
  proposeBlock,
  Round,
  type ValidatorNode,
  View,
  verifyBlock,
} from "@coppice/consensus"
import { type MemoryDisk, Storage } from "@coppice/storage"
import { Cause, Effect, Exit, Option, type Scope } from "effect"
import { describe, expect, test } from "vitest"
import { blockCodec, CHAIN, childOf, contextOn, genesis, sealBlock, type TestBlock } from "../src/chain.ts"
import { makeDisks } from "../src/cluster.ts"
import { simulate } from "../src/scheduler.ts"

const parent = childOf(genesis, 1)
const context = contextOn(parent, 5)
const candidate = childOf(parent, 5)

interface Script {
  readonly proposal?: TestBlock
  readonly verdict?: boolean
}

const makeNode = Effect.fnUntraced(function* (disk: MemoryDisk, { proposal, verdict }: Script = {}) {
  const storage = yield* disk.open("marshal", MARSHAL_MAPS)
  const marshal = yield* makeMarshal({
    chainId: CHAIN,
    genesis,
    codec: blockCodec,
    verify: () => true,
    transport: { peers: Effect.succeed([]), request: () => Effect.never, blame: () => Effect.void },
  }).pipe(Effect.provideService(Storage, storage))
  yield* marshal.verified(Round(0, 1), parent)
  const seen: Array<TestBlock> = []
  const node: ValidatorNode<TestBlock> = {
    marshal,
    executor: {
      propose: (_context, ancestry) =>
        Effect.map(ancestry.next, (first) => {
          seen.push(first!)
          return proposal
        }),
      verify: (_context, ancestry) =>
        Effect.flatMap(ancestry.next, (first) => {
          seen.push(first!)
          return verdict === undefined ? Effect.never : Effect.succeed(verdict)
        }),
      finalized: () => Effect.void,
    },
  }
  return { node, seen }
})

const run = <A, E>(program: Effect.Effect<A, E, Scope.Scope>): A => {
  const { exit } = simulate(1, Effect.scoped(program))
  if (Exit.isFailure(exit)) throw new Error(`failed: ${exit.cause}`)
  return exit.value
}
const makeDisk = () => makeDisks(1, 1)[0]!
/** Blocks stored besides the parent. */
const stored = (disk: MemoryDisk) =>
  Effect.scoped(Effect.map(disk.open("marshal", MARSHAL_MAPS), (storage) => storage.scan("verified", {}).length - 1))

describe("verify", () => {
  const judge = (block: TestBlock, script: Script = { verdict: true }, under: ConsensusContext = context) => {
    const disk = makeDisk()
    return run(
      Effect.gen(function* () {
        const { node, seen } = yield* makeNode(disk, script)
        const verdict = Option.getOrUndefined(yield* Effect.timeoutOption(verifyBlock(node, under, block), "1 hour"))
        return { verdict, seen, stored: yield* stored(disk) }
      }),
    )
  }

  test("CONS-11 true comes only after the candidate is durable", () => {
    expect(judge(candidate)).toEqual({ verdict: true, seen: [candidate], stored: 1 })
  })

  test("a refused candidate is not stored; one that is never judged stays pending", () => {
    expect(judge(candidate, { verdict: false })).toEqual({ verdict: false, seen: [candidate], stored: 0 })
    expect(judge(candidate, {})).toEqual({ verdict: undefined, seen: [candidate], stored: 0 })
  })

  test("F-6 a candidate whose embedded context differs in anything is refused unseen", () => {
    const contexts: ReadonlyArray<ConsensusContext> = [
      { ...context, round: Round(0, 6) },
      { ...context, round: Round(1, 5) },
      { ...context, leader: new Uint8Array(32) },
      { ...context, parent: { ...context.parent, view: View(2) } },
      { ...context, parent: { ...context.parent, digest: genesis.digest } },
    ]
    for (const other of contexts) {
      expect(contextsEqual(context, other)).toBe(false)
      expect(judge(sealBlock({ ...candidate, context: other }))).toEqual({ verdict: false, seen: [], stored: 0 })
    }
  })

  test("F-6 a candidate with a wrong parent link or height is refused unseen", () => {
    for (const wrong of [{ parent: genesis.digest }, { height: Height(3) }, { height: Height(1) }]) {
      expect(judge(sealBlock({ ...candidate, ...wrong }))).toEqual({ verdict: false, seen: [], stored: 0 })
    }
  })

  test("F-7 a candidate on an unknown parent is not judged: missing data is never false", () => {
    const stranger = childOf(childOf(genesis, 3), 5)
    expect(judge(stranger, { verdict: true }, stranger.context)).toEqual({ verdict: undefined, seen: [], stored: 0 })
  })
})

describe("propose", () => {
  test("CONS-11 the proposal is durable before it is told, and built on the context's parent", () => {
    const disk = makeDisk()
    const [block, seen] = run(
      Effect.gen(function* () {
        const { node, seen } = yield* makeNode(disk, { proposal: candidate })
        return [yield* proposeBlock(node, context), seen] as const
      }),
    )
    expect(block).toBe(candidate)
    expect(seen).toEqual([parent])
    expect(run(stored(disk))).toBe(1)
  })

  test("an executor without a proposal declines, and nothing is stored", () => {
    const disk = makeDisk()
    expect(run(Effect.flatMap(makeNode(disk), ({ node }) => proposeBlock(node, context)))).toBeUndefined()
    expect(run(stored(disk))).toBe(0)
  })

  test("crash point M2: after a restart the stored block is proposed again, and under another context the turn is declined", () => {
    const disk = makeDisk()
    run(Effect.flatMap(makeNode(disk, { proposal: candidate }), ({ node }) => proposeBlock(node, context)))
    disk.crash()
    run(
      Effect.gen(function* () {
        const { node, seen } = yield* makeNode(disk, { proposal: childOf(parent, 5, 9) })
        expect(yield* proposeBlock(node, context)).toEqual(candidate)
        expect(yield* proposeBlock(node, contextOn(genesis, 5))).toBeUndefined()
        expect(seen).toEqual([])
      }),
    )
  })

  test("an executor that proposes for another context is a mistake", () => {
    for (const proposal of [childOf(parent, 6), childOf(genesis, 5), sealBlock({ ...candidate, height: Height(9) })]) {
      const exit = run(
        Effect.exit(Effect.flatMap(makeNode(makeDisk(), { proposal }), ({ node }) => proposeBlock(node, context))),
      )
      expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(true)
    }
    expect(anchorOf(candidate).round).toEqual(context.round)
  })
})
