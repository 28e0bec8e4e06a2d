/**
 * Laws of engines: what an executor relies on, whatever orders blocks in front of it (spec consensus §2.4).
 *
 *   every node boots --> some lose power and come back --> all have acknowledged a height --> the record is judged
 *
 * Invariant: a law looks at nothing but what executors were asked and given. Guarantees that only permit (G-6, G-9 to G-12)
 * bind the executor: its own laws hold it to them.
 */
import { bytesEqual } from "@coppice/codec"
import { type Block, contextsEqual } from "@coppice/consensus"
import { Effect, Random } from "effect"
import { claim, seededLaw } from "../law.ts"
import { type EngineLaw, EngineRecord, type EngineWorld } from "./record.ts"

export type { EngineExecutor, EngineLaw, EngineSubject, EngineWorld } from "./record.ts"

/** Every executor acknowledges blocks up to it. */
const HEIGHT = 14
const CRASHES = 3
const LOOK_MS = 50
const MS_MAX = 120_000

/** Waits until something holds. */
const until = (holds: () => boolean, what: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let ms = 0; !holds(); ms += LOOK_MS) {
      claim(ms < MS_MAX, `${what} after ${MS_MAX} ms`)
      yield* Effect.sleep(LOOK_MS)
    }
  })

/** Runs a network until every executor has acknowledged `HEIGHT`, through a few losses of power; `mute` never does. */
const played = Effect.fnUntraced(function* (world: EngineWorld, seed: number, mute?: number) {
  const record = new EngineRecord(world)
  const nodes = Array.from({ length: world.nodes }, (_, node) => node)
  const boot = (node: number) => world.boot(node, record.executor(node, node === mute))
  const acting = Effect.gen(function* () {
    for (let i = 0; i < CRASHES && mute === undefined; i++) {
      yield* Effect.sleep(yield* Random.nextBetween(100, 700))
      const node = (seed + i) % world.nodes
      yield* world.crash(node)
      yield* Effect.sleep(yield* Random.nextBetween(50, 400))
      yield* boot(node)
    }
    const reached = (node: number): boolean => node === mute || record.height(node) >= HEIGHT
    yield* until(() => nodes.every(reached), `seed ${seed}: not every node has come to height ${HEIGHT}`)
  })
  yield* Effect.forEach(nodes, boot, { discard: true })
  yield* Effect.raceFirst(acting, world.run)
  return record
})

/** A law that judges each run by itself. */
const ofRuns = (name: string, judge: (record: EngineRecord, world: EngineWorld, at: string) => void): EngineLaw =>
  seededLaw<EngineWorld>(name, () => ({
    body: (world, seed) => Effect.map(played(world, seed), (record) => judge(record, world, `seed ${seed}`)),
  }))

const linked = (block: Block, parent: Block): boolean =>
  block.height === parent.height + 1 && bytesEqual(block.parent, parent.digest)

const order = ofRuns(
  "final blocks come height by height, each on the one before, alike for all (G-1)",
  (record, _, at) => {
    const last = new Map<string, Block>()
    const chain = new Map<number, Block>()
    for (const { node, life, block } of record.delivered) {
      const here = `${at}, node ${node}, life ${life}`
      const before = last.get(`${node} ${life}`)
      claim(before === undefined || linked(block, before), `${here}: ${block.height} after ${before?.height}`)
      const known = chain.get(block.height) ?? block
      claim(bytesEqual(known.digest, block.digest), `${here}: two final blocks of height ${block.height}`)
      chain.set(block.height, block)
      last.set(`${node} ${life}`, block)
    }
  },
)

const first = (record: EngineRecord, node: number, life: number): Block | undefined =>
  record.delivered.find((each) => each.node === node && each.life === life)?.block

const again = ofRuns(
  "what was not acknowledged is delivered again after a restart, within the window (G-2)",
  (record, world, at) => {
    let begun = 0
    for (const { node, life, anchor } of record.lives) {
      const block = first(record, node, life)
      if (block === undefined || anchor === undefined) continue
      begun++
      const here = `${at}, node ${node}, life ${life}, acknowledged ${anchor.height}`
      claim(block.height === anchor.height + 1, `${here}: begins with ${block.height}`)
      claim(bytesEqual(block.parent, anchor.digest), `${here}: begins on another branch`)
      const highest = Math.max(
        ...record.delivered.filter((each) => each.node === node && each.life < life).map((each) => each.block.height),
      )
      claim(highest - block.height < world.pendingAcksMax, `${here}: ${highest} had been delivered`)
    }
    claim(begun > 0, `${at}: no node came back with a state and went on`)
  },
)

const durable = ofRuns("a final block can be read back when it is delivered (G-3)", (record, _, at) => {
  for (const { node, block, isHeld } of record.delivered) {
    claim(isHeld, `${at}: node ${node} was given height ${block.height} and cannot read it`)
  }
})

const window: EngineLaw = seededLaw<EngineWorld>(
  "no more final blocks are delivered than may wait for their acknowledgement (G-4)",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const record = yield* played(world, seed, world.nodes - 1)
        for (const { node, block, waiting } of record.delivered) {
          claim(
            waiting <= world.pendingAcksMax,
            `seed ${seed}: node ${node} was given height ${block.height}, ${waiting} wait`,
          )
        }
        const most = record.delivered.filter(({ node }) => node === world.nodes - 1).length
        claim(most === world.pendingAcksMax, `seed ${seed}: a node that acknowledges nothing was given ${most} blocks`)
      }),
  }),
)

const genesis = ofRuns("an executor without state is given the first block first (G-5)", (record, world, at) => {
  for (const { node, life, anchor } of record.lives) {
    if (anchor !== undefined) continue
    const block = first(record, node, life)
    if (block === undefined) continue
    const isFirst = block.height === 0 && bytesEqual(block.digest, world.genesis.digest)
    claim(isFirst, `${at}: node ${node} begins with height ${block.height}`)
  }
})

const contexts = ofRuns(
  "a candidate is linked to its parent and carries the context it is judged under (G-7)",
  (record, _, at) => {
    claim(record.asked.length > 0, `${at}: nothing was asked`)
    for (const { node, context, candidate, parent } of record.asked) {
      const here = `${at}: node ${node}, view ${context.round.view}`
      claim(bytesEqual(context.parent.digest, parent.digest), `${here}: the context names another parent`)
      if (candidate === undefined) continue
      claim(linked(candidate, parent), `${here}: a candidate of height ${candidate.height} on ${parent.height}`)
      claim(contextsEqual(candidate.context, context), `${here}: the candidate carries another context`)
    }
  },
)

const certified = ofRuns("what is built on is certified, final or the first (G-8)", (record, _, at) => {
  for (const { node, context, parent, isCertified } of record.asked) {
    claim(isCertified, `${at}: node ${node}, view ${context.round.view}: nobody certified height ${parent.height}`)
  }
})

const own = ofRuns(
  "a node's own proposals are not sent back to it, after a restart neither (G-13)",
  (record, _, at) => {
    claim(
      record.asked.some(({ candidate }) => candidate === undefined),
      `${at}: nobody was asked to propose`,
    )
    for (const { node, context, isOwn } of record.asked) {
      claim(!isOwn, `${at}: node ${node} is asked to judge its own proposal of view ${context.round.view}`)
    }
  },
)

/** Every law of engines. */
export const ENGINE_LAWS: ReadonlyArray<EngineLaw> = [order, again, durable, window, genesis, contexts, certified, own]
