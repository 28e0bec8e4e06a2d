/**
 * Whether memory stays where the pending budget leaves it while finality stalls.
 *
 * The scenario `stalled-finality` over three databases of different families: five validators, 10,000 views without a final
 * block. Taken is what the process holds after a collection, heap and buffers, its world and the simulation's own books
 * included: once when the budget has long been full, again before finality is back.
 */
import type { Bench, Figure } from "@coppice/bench"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { Effect, Exit } from "effect"
import { VALIDATORS } from "../src/index.ts"
import { marksOverThree } from "../src/marks.ts"
import { stalledFor } from "../src/scenarios.ts"
import { simulate } from "../src/scheduler.ts"
import { makeWorld } from "../src/world-nodes.ts"

const [FULL, LAST, STALL] = [1_000, 9_900, 10_000]
const MARKS = 8
const MIB = 2 ** 20
/** Virtual time between two looks at how far the stall is. */
const LOOK_MS = 1_000

const validators = Array.from({ length: VALIDATORS }, (_, i) =>
  keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(i + 1)),
)

/** Bytes that the process holds once nothing is left to collect. */
const heldBytes = (): number => {
  const { gc } = globalThis
  if (gc === undefined) throw new Error("a bench runs with --expose-gc")
  for (let round = 0; round < 3; round++) gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const stalled = Effect.gen(function* () {
  const plan = stalledFor(STALL)
  const { link } = plan
  const world = yield* makeWorld({
    subject: marksOverThree(MARKS),
    plan,
    seed: 1,
    faults: [],
    link,
    validators,
    happens: () => true,
  })
  yield* Effect.forkScoped(world.runs)
  const heldAt = Effect.fnUntraced(function* (view: number) {
    while ((yield* world.cluster.consensus.statistics).views < view) yield* Effect.sleep(LOOK_MS)
    return heldBytes()
  })
  return [yield* heldAt(FULL), yield* heldAt(LAST), world.durableMax] as const
})

const stall: Bench = {
  name: `simulate::stall/views=${STALL}`,
  run: async (): Promise<ReadonlyArray<Figure>> => {
    const { exit } = simulate(1, Effect.scoped(stalled))
    if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
    const [full, last, durable] = exit.value
    if (durable > 0) throw new Error(`a block of height ${durable} became final: nothing stalled`)
    return [
      { name: `${stall.name} held`, p50: full / MIB, unit: "MiB" },
      { name: `${stall.name} growth`, p50: last / full, unit: "x", target: { on: "p50", required: 1.02 } },
    ]
  },
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [stall]
