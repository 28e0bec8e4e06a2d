/**
 * Goal: a node leaves a bundle of a block that lies about its state, and in development it watches its own application.
 * Method: a single validator on LMDB in a temporary directory, asked about blocks without consensus.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type ConsensusContext, Height, Round } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { readDivergence, replayDivergence } from "@coppice/stateful/diagnosis"
import { it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { expect } from "vitest"
import { openNode, type RunningNode } from "../src/index.ts"
import { temporaryDirectory } from "./support/temporary.ts"
import { driveTo, fullMempool, makeToy, type ToyBlock, type ToyDatabases, toyOptions } from "./support/toy.ts"

type Node = RunningNode<ToyBlock, ToyDatabases>

/** A block on genesis that says of its state what `genesis` says of its own. */
const lyingBlock = ({ genesis }: Node): ToyBlock => {
  const context: ConsensusContext = {
    round: Round(0, 1),
    leader: new Uint8Array(32),
    parent: { view: genesis.context.round.view, digest: genesis.digest },
  }
  const { targets } = genesis
  return makeToy().blocks.make({ height: Height(1), context, targets }, [{ name: "a", amount: 1n, nonce: 0n }])
}

const verify = ({ executor, genesis }: Node, block: ToyBlock) => {
  const walk = [block, genesis].values()
  return executor.port.verify(block.context, { next: Effect.sync(() => walk.next().value) })
}

it.live("a block that lies about its state is refused, and the bundle shows that the application is not at fault", () =>
  Effect.gen(function* () {
    const node = yield* openNode(yield* toyOptions(yield* temporaryDirectory))
    const block = lyingBlock(node)
    expect(yield* verify(node, block)).toBe(false)
    const [name, ...others] = readdirSync(node.paths.divergence)
    expect(others).toEqual([])
    const divergence = yield* readDivergence(readFileSync(join(node.paths.divergence, name!), "utf8"))
    expect(divergence).toMatchObject({ chain: "test", application: "toy", height: 1, hook: "verify" })
    expect(yield* replayDivergence(makeToy(), divergence, nodeHasher)).toMatchObject({
      calls: undefined,
      state: { isHeader: false, equals: [0, 1], damaged: [] },
    })
  }).pipe(Effect.scoped),
)

it.live("in development a sound application goes on as it would without being watched", () =>
  Effect.gen(function* () {
    const application = makeToy().withInputs(fullMempool(20))
    const node = yield* openNode(yield* toyOptions(yield* temporaryDirectory, { application, development: true }))
    yield* driveTo(node, 3)
    expect(existsSync(node.paths.divergence)).toBe(false)
  }).pipe(Effect.scoped),
)

it.live("in development an application that does not agree with itself stops its node", () =>
  Effect.gen(function* () {
    const toy = makeToy()
    let runs = 0n
    const application = {
      ...toy,
      apply: (...[block, batches, tools]: Parameters<typeof toy.apply>) => {
        batches.last.put("runs", ++runs)
        return toy.apply(block, batches, tools)
      },
    }
    const node = yield* openNode(yield* toyOptions(yield* temporaryDirectory, { application, development: true }))
    const stopped = yield* Effect.forkChild(Effect.flip(node.failed))
    yield* node.executor.port.finalized(lyingBlock(node), { acknowledge: () => {}, cancel: () => {} })
    const fault = yield* Fiber.join(stopped)
    expect(fault).toMatchObject({ _tag: "ApplicationFault", cause: { _tag: "NonDeterministic", member: "last" } })
    expect(readdirSync(node.paths.divergence)).toHaveLength(1)
  }).pipe(Effect.scoped),
)
