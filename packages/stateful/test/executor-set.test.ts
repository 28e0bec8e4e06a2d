/**
 * Goal: executor and database set agree on what is open, applied and durable, through forks and failed writes.
 * Method: a leader and a follower run the real actor over real sets of two members. The leader proposes a chain with a
 * losing sibling at every height; the follower loses power at each of its writes in turn, kept or lost, and starts again
 * over what its disk holds. The rules of blocks change in the middle of the chain. Nothing acknowledged may be missing, and the roots must come out equal.
 */
import { Bytes, Struct, U64 } from "@coppice/codec"
import { type Ack, type Ancestry, anchorOf, type BlockSource, Height, Round } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { faultAt, makeMemoryDisk } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Scope } from "effect"
import { expect } from "vitest"
import { Application, Executor, openDatabaseSet, type Pruning, SET_MAPS, type StandardBlock } from "../src/index.ts"
import { Disk } from "./support/disk.ts"
import { notebook } from "./support/notebook.ts"

const databases = { balances: Qmdb.any({ key: Bytes(4), value: U64 }), notes: notebook() }
type B = StandardBlock<{ readonly n: bigint }, typeof databases>

const rules = (name: string) =>
  Application.make({
    name: "forks",
    databases,
    transaction: Struct({ n: U64 }),
    execute: () => undefined,
    begin: ({ balances, notes }, { height, context }) => {
      const key = Uint8Array.of(0, 0, 0, height % 4)
      balances.put(key, (balances.get(key) ?? 0n) + BigInt(context.round.view))
      notes.put("view", `${context.round.view}${name} ${notes.get("view")}`)
    },
  })

/** The rules change in the middle of the chain, so that forks, crashes and replays cross it. */
const application = Application.upgrade(rules("a"), [{ from: Height(4), application: rules("b") }])

const HEIGHTS = 6
const LEADER = new Uint8Array(32).fill(1)

/** Blocks by height, as a marshal would hold them. */
class Chain implements BlockSource<B> {
  readonly pendingAcksMax: number
  readonly main: B[] = []
  readonly siblings: B[] = []
  acked = 0
  /** Height below which final blocks are forgotten. */
  retained = 0
  readonly processedHeight = Effect.sync(() => Height(this.acked))
  readonly #all = () => [...this.main, ...this.siblings]
  readonly finalizedAt = (height: Height) => Effect.sync(() => (height < this.retained ? undefined : this.main[height]))
  readonly byDigest = (digest: Uint8Array) =>
    Effect.sync(() => this.#all().find((block) => Buffer.compare(block.digest, digest) === 0))
  readonly parentOf = (block: B) => this.byDigest(block.parent)

  constructor(pendingAcksMax: number) {
    this.pendingAcksMax = pendingAcksMax
  }

  readonly ancestry = (from: B): Ancestry<B> => {
    let at: B | undefined = from
    return {
      next: Effect.suspend(() => {
        const block = at
        if (block === undefined) return Effect.succeed(undefined)
        return Effect.map(this.parentOf(block), (parent) => {
          at = parent
          return block
        })
      }),
    }
  }
}

const contextOn = (parent: B, view: number) => ({
  round: Round(0, view),
  leader: LEADER,
  parent: { view: parent.context.round.view, digest: parent.digest },
})

/** A node: its set, its executor and the scope that ends them. */
const node = Effect.fnUntraced(function* (chain: Chain, disk: Pick<Disk, "open">, pruning?: Pruning) {
  const scope = yield* Scope.make()
  const set = yield* openDatabaseSet({
    application,
    chainId: "forks",
    hasher: nobleHasher,
    storage: disk.open(),
    pendingAcksMax: chain.pendingAcksMax,
  })
  const options = { application, set, source: chain, ...(pruning === undefined ? {} : { pruning }) }
  const executor = yield* Scope.provide(Executor.make(options), scope)
  return { ...executor, end: Scope.close(scope, Exit.void) }
})

/** The leader's work: a chain, and at every height a sibling that will lose. */
const proposed = Effect.fnUntraced(function* (pendingAcksMax = 4) {
  const chain = new Chain(pendingAcksMax)
  const { set, port, end } = yield* node(chain, new Disk())
  chain.main.push(application.genesis(set.tip.targets))
  for (let height = 1; height <= HEIGHTS; height++) {
    const parent = chain.main.at(-1)!
    for (const [list, view] of [
      [chain.siblings, 10 * height],
      [chain.main, 10 * height + 1],
    ] as const) {
      const block = yield* port.propose(contextOn(parent, view), chain.ancestry(parent))
      expect(block?.height).toBe(height)
      list.push(block!)
    }
  }
  expect(set.layers).toBe(2 * HEIGHTS)
  yield* end
  expect(set.layers, "a stopped executor leaves no layer").toBe(0)
  return chain
})

/** Finalizes what is left of the chain up to a height; ends when the last ack came or the executor stopped. */
const follow = Effect.fnUntraced(function* (
  chain: Chain,
  follower: Effect.Success<ReturnType<typeof node>>,
  last = HEIGHTS,
) {
  const { port, set, stopped } = follower
  const done = yield* Deferred.make<void>()
  const window = { open: yield* Deferred.make<void>() }
  const work = Effect.gen(function* () {
    for (const block of chain.main.slice(set.anchor.height + 1, last + 1)) {
      const sibling = chain.siblings[block.height - 1]!
      yield* port.verify(sibling.context, chain.ancestry(sibling))
      if (block.height % 2 === 0) expect(yield* port.verify(block.context, chain.ancestry(block))).toBe(true)
      while (block.height - chain.acked > chain.pendingAcksMax) yield* Deferred.await(window.open)
      const ack: Ack = {
        acknowledge: () => {
          expect(set.durable.height).toBeGreaterThanOrEqual(block.height)
          chain.acked = block.height
          Deferred.doneUnsafe(window.open, Effect.void)
          window.open = Deferred.makeUnsafe()
          if (block.height === last) Deferred.doneUnsafe(done, Effect.void)
        },
        cancel: () => {},
      }
      yield* port.finalized(block, ack)
    }
    if (chain.acked < last) yield* Deferred.await(done)
  })
  return yield* Effect.exit(Effect.raceFirst(work, Effect.andThen(stopped, Effect.never)))
})

const writesOf = Effect.fnUntraced(function* (chain: Chain) {
  const disk = new Disk()
  const follower = yield* node(chain, disk)
  const exit = yield* follow(chain, follower)
  expect(Exit.isSuccess(exit)).toBe(true)
  expect(follower.set.tip.targets).toEqual(chain.main.at(-1)!.targets)
  expect(follower.set.durable).toEqual(anchorOf(chain.main.at(-1)!))
  const view = follower.set.use("read", ({ notes }) => notes.get("view"))
  expect(view, "each height by its own rules").toBe("61b 51b 41b 31a 21a 11a undefined")
  yield* follower.end
  expect(follower.set.layers).toBe(0)
  return disk.writes
})

it.live(
  "INV-7 INV-9 power lost at any write: nothing acknowledged is missing, and the chain goes on to the same roots",
  () =>
    Effect.gen(function* () {
      const chain = yield* proposed()
      chain.acked = 0
      const writes = yield* writesOf(chain)
      expect(writes).toBeGreaterThan(2)
      let cut = 0
      for (let write = 1; write < writes; write++) {
        for (const fate of ["lost", "kept"] as const) {
          chain.acked = 0
          const disk = new Disk()
          disk.fault = (number) => (number === write ? fate : undefined)
          const first = yield* node(chain, disk)
          const exit = yield* follow(chain, first)
          yield* first.end
          if (Exit.isFailure(exit)) cut++
          const note = `write ${write} ${fate}`
          const acked = chain.acked
          disk.fault = () => undefined
          const second = yield* node(chain, disk)
          expect(second.set.anchor.height, note).toBeGreaterThanOrEqual(acked)
          expect(second.set.tip.targets, note).toEqual(chain.main[second.set.anchor.height]!.targets)
          chain.acked = second.set.anchor.height
          const end = yield* follow(chain, second)
          expect(Exit.isSuccess(end), note).toBe(true)
          expect(second.set.tip.targets, note).toEqual(chain.main.at(-1)!.targets)
          yield* second.end
        }
      }
      expect(cut, "every fault stopped its node").toBe(2 * (writes - 1))
    }),
)

it.live(
  "C17 power lost when the set has forgotten and marshal has not: the next life goes on, and has marshal forget later",
  () =>
    Effect.gen(function* () {
      const chain = yield* proposed(2)
      const disk = new Disk()
      const forgotten = ({ set }: Effect.Success<ReturnType<typeof node>>) =>
        set.use("read", ({ balances }) => balances.pruned)
      const startOf = (height: number) => chain.main[height]!.targets.balances.start
      const cut = yield* Deferred.make<void>()
      const prune = (height: Height) =>
        Effect.sync(() => {
          chain.retained = height
        })
      const first = yield* node(chain, disk, {
        interval: 1,
        marshal: {
          blocks: 3,
          prune: (height) =>
            height < 3 ? prune(height) : Effect.andThen(Deferred.succeed(cut, undefined), Effect.never),
        },
      })
      expect(Exit.isSuccess(yield* follow(chain, first, 5))).toBe(true)
      yield* Deferred.await(cut)
      yield* first.end
      expect(chain.retained).toBeLessThan(3)
      const second = yield* node(chain, disk, { interval: 1, marshal: { blocks: 3, prune } })
      expect(second.set.anchor).toEqual(anchorOf(chain.main[5]!))
      expect(forgotten(second)).toBe(startOf(3))
      expect(startOf(3)).toBeGreaterThan(startOf(2))
      expect(Exit.isSuccess(yield* follow(chain, second))).toBe(true)
      while (chain.retained < 4) yield* Effect.yieldNow
      expect(forgotten(second)).toBe(startOf(4))
      expect(second.set.tip.targets).toEqual(chain.main.at(-1)!.targets)
      yield* second.end
    }),
)

it.effect(
  "C18 power lost in a proposal, a verification and what they recover: nothing was durable, the next life recovers anew",
  () =>
    Effect.gen(function* () {
      const chain = yield* proposed()
      const [parent, block] = [chain.main[4]!, chain.main[5]!]
      let [cut, isAnswered] = [0, false]
      for (let turns = 0; !isAnswered; turns++) {
        const disk = new Disk()
        const first = yield* node(chain, disk)
        const image = disk.image()
        const verifying = yield* Effect.forkChild(first.port.verify(block.context, chain.ancestry(block)))
        yield* Effect.forkChild(first.port.propose(contextOn(parent, 99), chain.ancestry(parent)))
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        const { requests, pendingEntries } = yield* first.status
        if (requests === 2 && pendingEntries > 0) cut++
        isAnswered = verifying.pollUnsafe() !== undefined
        yield* first.end
        expect(disk.image(), `${turns} turns`).toBe(image)
        const second = yield* node(chain, disk)
        expect(yield* second.status).toMatchObject({ tip: { height: 0 }, pendingEntries: 0, replayed: 0 })
        expect(yield* second.port.verify(block.context, chain.ancestry(block))).toBe(true)
        expect(yield* second.status).toMatchObject({ pendingEntries: 5, replayed: 4 })
        yield* second.end
      }
      expect(cut, "lives that ended in the middle of a recovery").toBeGreaterThan(4)
    }),
)

it.live(
  "F29 a disk that is full in the middle of a flush: fatal with its evidence, no ack, no verdict, nothing lost",
  () =>
    Effect.gen(function* () {
      const chain = yield* proposed()
      chain.acked = 0
      const disk = makeMemoryDisk({ chance: () => 0.7 })
      const opened = <A, E>(use: (follower: Effect.Success<ReturnType<typeof node>>) => Effect.Effect<A, E>) =>
        Effect.scoped(
          Effect.gen(function* () {
            const storage = yield* disk.open("set", SET_MAPS)
            const follower = yield* node(chain, { open: () => storage })
            return yield* Effect.ensuring(use(follower), follower.end)
          }),
        )
      // The first write makes the set, the second one is the first flush.
      disk.faults = faultAt(3, "disk full", { name: "write" })
      const durable = yield* opened((follower) =>
        Effect.gen(function* () {
          expect(Exit.isFailure(yield* follow(chain, follower))).toBe(true)
          const cause = { _tag: "StorageWriteFailed", reason: "disk full" }
          expect(yield* Effect.flip(follower.stopped)).toMatchObject({ _tag: "FlushFailed", cause })
          const last = chain.main.at(-1)!
          expect(yield* Effect.flip(follower.port.verify(last.context, chain.ancestry(last)))).toMatchObject({
            _tag: "ExecutorStopped",
          })
          return follower.set.durable.height
        }),
      )
      expect([durable > 0, durable < HEIGHTS, chain.acked <= durable]).toEqual([true, true, true])
      yield* opened((follower) =>
        Effect.gen(function* () {
          expect(follower.set.anchor.height).toBe(durable)
          expect(Exit.isSuccess(yield* follow(chain, follower))).toBe(true)
          expect(follower.set.tip.targets).toEqual(chain.main.at(-1)!.targets)
        }),
      )
    }),
)
