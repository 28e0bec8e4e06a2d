/**
 * Goal: one transition serves propose, verify and apply, whatever the transactions are.
 * Method: three sets in a row play leader, validator and recovering node; random transactions, rejected ones among them.
 * Canary: a transition that depends on something outside its batches must make the three disagree.
 */
import { Blob, Bytes, Struct, Text, U64 } from "@coppice/codec"
import { type Ancestry, type ConsensusContext, decodeBlock, encodeBlock, Height, Round, View } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  ANCESTRY_BLOCKS_MAX,
  Application,
  type Batches,
  type BlockInfo,
  type DatabaseSet,
  type Hook,
  type HookTools,
  type InputProvider,
  Mempool,
  openDatabaseSet,
  type Rejection,
  reject,
  runHook,
  type StandardApplication,
  type StandardBlock,
} from "../src/index.ts"
import { Disk } from "./support/disk.ts"
import { notebook } from "./support/notebook.ts"

const databases = {
  accounts: Qmdb.any({ key: Blob(2000), value: U64 }),
  notes: notebook(),
}
type M = typeof databases

interface Tx {
  readonly key: Uint8Array
  readonly amount: bigint
  readonly nonce: bigint
}
const transaction = Struct({ key: Blob(2000), amount: U64, nonce: U64 })
type B = StandardBlock<Tx, M>

/** Adds to an account and notes it; an odd amount is rejected after both writes. */
const add = ({ accounts, notes }: Batches<M>, tx: Tx, block: BlockInfo): Rejection | undefined => {
  accounts.put(tx.key, (accounts.get(tx.key) ?? 0n) + tx.amount)
  notes.put("last", `${block.height}: ${tx.nonce}`)
  return tx.amount % 2n === 1n ? reject("odd") : undefined
}

const make = (
  options: { inputs?: InputProvider<Tx>; execute?: typeof add; transactionsMax?: number; bodyBytesMax?: number } = {},
) =>
  Application.make<Tx, M>({
    name: "adder",
    databases,
    transaction,
    execute: options.execute ?? add,
    begin: ({ accounts }, { height }) => {
      if (height === 1) accounts.put(Uint8Array.of(0), 1000n)
    },
    limits: { transactionsMax: options.transactionsMax ?? 100, bodyBytesMax: options.bodyBytesMax ?? 50_000 },
    ...(options.inputs === undefined ? {} : { inputs: options.inputs }),
  })

const open = () =>
  openDatabaseSet({
    application: make(),
    chainId: "test",
    hasher: nobleHasher,
    storage: new Disk().open(),
    pendingAcksMax: 3,
  })

const toolsOf = (set: DatabaseSet<M>): HookTools<M> => ({ seal: set.seal, signal: new AbortController().signal })

const contextOf = (parent: B, view = parent.height + 1): ConsensusContext => ({
  round: Round(0, view),
  leader: new Uint8Array(32).fill(9),
  parent: { view: View(parent.height), digest: parent.digest },
})

const streamOf = (blocks: ReadonlyArray<B>): Ancestry<B> => {
  let at = 0
  return { next: Effect.sync(() => blocks[at++]) }
}

const run = <A>(hook: Hook<A>): Effect.Effect<A, unknown> => runHook(() => hook)

/** A node as the hooks see it: a set, an application, and the blocks above genesis, newest first. */
interface Node {
  readonly set: DatabaseSet<M>
  readonly app: StandardApplication<Tx, M>
  chain: ReadonlyArray<B>
}

const nodeOf = Effect.fnUntraced(function* (app: StandardApplication<Tx, M>) {
  const set = yield* open()
  return { set, app, chain: [app.genesis(set.tip.targets)] } as Node
})

const propose = Effect.fnUntraced(function* (node: Node, ancestry = streamOf(node.chain)) {
  const batches = node.set.openBatches(node.set.tip)
  const proposal = yield* run(node.app.propose(contextOf(node.chain[0]!), ancestry, batches, toolsOf(node.set)))
  node.set.closeBatches(batches)
  return proposal
})

const judge = Effect.fnUntraced(function* (node: Node, block: B, hook: "verify" | "apply") {
  const batches = node.set.openBatches(node.set.tip)
  const tools = toolsOf(node.set)
  const result =
    hook === "apply"
      ? node.app.apply(block, batches, tools)
      : node.app.verify(block.context, streamOf([block, ...node.chain]), batches, tools)
  const sealed = yield* run(result)
  node.set.closeBatches(batches)
  return sealed
})

const finalize = (node: Node, block: B, sealed: Parameters<Node["set"]["apply"]>[0]): void => {
  node.set.apply(sealed, { height: block.height, round: block.context.round, digest: block.digest })
  node.chain = [block, ...node.chain]
}

const key = (n: number): Uint8Array => Uint8Array.of(1, n)
const tx = (n: number, amount = 2n): Tx => ({ key: key(n % 5), amount, nonce: BigInt(n) })
const poolOf = (txs: ReadonlyArray<Tx>): Mempool<Tx> => {
  const pool = new Mempool<Tx>({ transaction })
  for (const t of txs) pool.submit(t)
  return pool
}

/** Leader proposes, validator verifies, a third node applies; returns what each got. */
const round = Effect.fnUntraced(function* (txs: ReadonlyArray<Tx>, execute?: () => typeof add) {
  const executor = (): typeof add => execute?.() ?? add
  const leader = yield* nodeOf(make({ inputs: poolOf(txs), execute: executor() }))
  const validator = yield* nodeOf(make({ execute: executor() }))
  const recovering = yield* nodeOf(make({ execute: executor() }))
  const proposal = (yield* propose(leader))!
  const verified = yield* judge(validator, proposal.block, "verify")
  const applied = yield* judge(recovering, proposal.block, "apply")
  return { leader, validator, recovering, proposal, verified, applied }
})

describe("one transition", () => {
  it.effect("INV-40 propose, verify and apply of any transactions give the state of the header", () =>
    Effect.gen(function* () {
      const histories = fc.sample(
        fc.array(fc.record({ n: fc.nat(20), amount: fc.bigInt({ min: 0n, max: 9n }) }), { maxLength: 20 }),
        { seed: 3, numRuns: 25 },
      )
      let rejections = 0
      for (const history of histories) {
        const txs = history.map(({ n, amount }) => tx(n, amount))
        const { leader, proposal, validator, verified, recovering, applied } = yield* round(txs)
        expect(proposal.block.transactions.every(({ amount }) => amount % 2n === 0n)).toBe(true)
        rejections += txs.filter(({ amount }) => amount % 2n === 1n).length
        const { targets } = proposal.block
        expect(leader.set.matches(proposal.sealed, targets)).toBe(true)
        expect(verified !== undefined && validator.set.matches(verified, targets)).toBe(true)
        expect(applied !== undefined && recovering.set.matches(applied, targets)).toBe(true)
      }
      expect(rejections).toBeGreaterThan(20)
    }),
  )

  it.effect("canary: a transition that looks outside its batches is told apart", () =>
    Effect.gen(function* () {
      let calls = 0
      const impure = (): typeof add => {
        const node = calls++
        return ({ accounts }, { key: k }) => void accounts.put(k, BigInt(node))
      }
      const { proposal, validator, verified } = yield* round([tx(1)], impure)
      expect(validator.set.matches(verified!, proposal.block.targets)).toBe(false)
    }),
  )

  it.effect("begin runs before the transactions, also in an empty block", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make())
      const { block, sealed } = (yield* propose(node))!
      finalize(node, block, sealed)
      expect(block.transactions).toEqual([])
      expect(node.set.use("read", ({ accounts }) => accounts.get(Uint8Array.of(0)))).toBe(1000n)
      finalize(node, ...((p) => [p.block, p.sealed] as const)((yield* propose(node))!))
      expect(node.set.anchor.height).toBe(2)
    }),
  )

  it.effect("the block is a child of the parent it was built on, under the context it was given", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make({ inputs: poolOf([tx(1)]) }))
      const { block } = (yield* propose(node))!
      expect([block.height, block.parent]).toEqual([1, node.chain[0]!.digest])
      expect(block.context).toEqual(contextOf(node.chain[0]!))
    }),
  )
})

describe("rejection", () => {
  it.effect("a rejected transaction leaves no write in any member of a proposal", () =>
    Effect.gen(function* () {
      const clean = yield* round([tx(1), tx(2)])
      const mixed = yield* round([tx(1), tx(7, 3n), tx(2), tx(9, 5n)])
      expect(mixed.proposal.block).toEqual(clean.proposal.block)
    }),
  )

  it.effect("F3 a block with a rejected transaction is invalid, to verify and to apply", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make())
      const block = node.app.blocks.make({ ...node.chain[0]!, height: Height(1) }, [tx(1), tx(2, 1n)])
      for (const hook of ["verify", "apply"] as const) expect(yield* judge(node, block, hook), hook).toBeUndefined()
      expect(node.set.layers).toBe(0)
    }),
  )

  const unwritable: Record<string, Tx> = {
    "a key that no database takes": { key: new Uint8Array(1500), amount: 2n, nonce: 0n },
    "a sum above 2^64": { key: Uint8Array.of(0), amount: 2n ** 64n - 2n, nonce: 0n },
  }
  for (const [what, transfer] of Object.entries(unwritable)) {
    it.effect(`F13 ${what} is a rejection, not a fault`, () =>
      Effect.gen(function* () {
        const { proposal } = yield* round([transfer, tx(1)])
        expect(proposal.block.transactions).toEqual([tx(1)])
        const node = yield* nodeOf(make())
        const block = node.app.blocks.make({ ...node.chain[0]!, height: Height(1) }, [transfer])
        for (const hook of ["verify", "apply"] as const) expect(yield* judge(node, block, hook), hook).toBeUndefined()
      }),
    )
  }

  it.effect("anything else that a transition throws fails the hook, in all three", () =>
    Effect.gen(function* () {
      const execute = (): never => {
        throw new Error("bug")
      }
      const node = yield* nodeOf(make({ inputs: poolOf([tx(1)]), execute }))
      const block = node.app.blocks.make({ ...node.chain[0]!, height: Height(1) }, [tx(1)])
      for (const attempt of [propose(node), judge(node, block, "verify"), judge(node, block, "apply")]) {
        expect(Exit.isFailure(yield* Effect.exit<unknown, unknown, never>(attempt))).toBe(true)
      }
    }),
  )

  it.effect(
    "F13 a key that is set again, where keys are set once, is a rejection: in its block and in a later one",
    () =>
      Effect.gen(function* () {
        const application = Application.make({
          name: "once",
          databases: { names: Qmdb.immutable({ key: Bytes(2), value: U64 }) },
          transaction,
          execute: ({ names }, { key: name, nonce }) => names.set(name, nonce),
        })
        const again = { ...tx(1), nonce: 9n }
        const pool = poolOf([tx(1), again, tx(2)])
        const leader = application.withInputs(pool)
        const set = yield* openDatabaseSet({
          application,
          chainId: "test",
          hasher: nobleHasher,
          storage: new Disk().open(),
          pendingAcksMax: 3,
        })
        const tools = { seal: set.seal, signal: new AbortController().signal }
        const genesis = application.genesis(set.tip.targets)
        const over = (parent: typeof genesis) => ({
          context: { ...contextOf(genesis as never), parent: { view: View(parent.height), digest: parent.digest } },
          ancestry: { next: Effect.succeed(parent) },
        })
        const first = over(genesis)
        const proposal = yield* run(leader.propose(first.context, first.ancestry, set.openBatches(set.tip), tools))
        expect(proposal!.block.transactions).toEqual([tx(1), tx(2)])
        const repeated = application.blocks.make({ ...proposal!.block, height: Height(1) }, [tx(1), again])
        expect(yield* run(application.apply(repeated, set.openBatches(set.tip), tools))).toBeUndefined()
        set.apply(proposal!.sealed, { height: Height(1), round: Round(0, 1), digest: proposal!.block.digest })
        const second = over(proposal!.block)
        const later = yield* run(leader.propose(second.context, second.ancestry, set.openBatches(set.tip), tools))
        expect(later!.block.transactions).toEqual([])
      }),
  )

  it.effect(
    "inputs that have heard of no final block cost no walk to blocks that are durable and may be forgotten",
    () =>
      Effect.gen(function* () {
        const pool = poolOf([tx(1)])
        expect(pool.finalizedHeight).toBeUndefined()
        const node = yield* nodeOf(make({ inputs: pool }))
        const parent = { ...node.chain[0]!, height: Height(7) } as (typeof node.chain)[number]
        let asked = 0
        const ancestry = { next: Effect.suspend(() => (asked++ === 0 ? Effect.succeed(parent) : Effect.never)) }
        const tools = { ...toolsOf(node.set), durableHeight: 7 }
        const context = { ...contextOf(parent), parent: { view: View(7), digest: parent.digest } }
        const batches = node.set.openBatches(node.set.tip)
        const proposal = yield* run(node.app.propose(context, ancestry, batches, tools))
        expect(proposal!.block.transactions).toEqual([tx(1)])
        expect(asked).toBe(1)
      }),
  )

  it.effect("a transaction that keeps being rejected leaves the pool", () =>
    Effect.gen(function* () {
      const pool = poolOf([tx(1, 1n), tx(2)])
      const node = yield* nodeOf(make({ inputs: pool }))
      for (let i = 0; i < pool.limits.rejectionsMax; i++) yield* propose(node)
      expect(pool.take(1e6, 10).map(({ transaction: { nonce } }) => nonce)).toEqual([2n])
    }),
  )
})

describe("inputs", () => {
  it.effect("a transaction of an un-finalized ancestor is not proposed again, on another branch it is", () =>
    Effect.gen(function* () {
      const pool = poolOf([tx(1), tx(2)])
      const node = yield* nodeOf(make({ inputs: pool, transactionsMax: 1 }))
      const first = (yield* propose(node))!
      expect(first.block.transactions).toEqual([tx(1)])
      finalize(node, first.block, first.sealed)
      const second = (yield* propose(node))!
      expect(second.block.transactions).toEqual([tx(2)])
      const fork = yield* nodeOf(node.app)
      expect((yield* propose(fork))!.block.transactions).toEqual([tx(1)])
    }),
  )

  it.effect("finalized transactions leave the pool, and their blocks are not searched any more", () =>
    Effect.gen(function* () {
      const pool = poolOf([tx(1), tx(2), tx(3)])
      const node = yield* nodeOf(make({ inputs: pool, transactionsMax: 2 }))
      const { block, sealed } = (yield* propose(node))!
      finalize(node, block, sealed)
      yield* node.set.use("read", (readers) => run(node.app.finalized!(block, readers, () => node.set.anchor)))
      expect([pool.waiting, pool.finalizedHeight]).toEqual([1, 1])
      expect(pool.submit(tx(1))).toMatchObject({ tag: "duplicate", of: "finalized" })
      const parentAlone = streamOf([block])
      expect((yield* propose(node, parentAlone))!.block.transactions).toEqual([tx(3)])
    }),
  )

  it.effect("when un-finalized ancestors cannot all be seen, the proposal is empty", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make({ inputs: poolOf([tx(1), tx(2)]), transactionsMax: 1 }))
      for (let i = 0; i < 2; i++) {
        const { block, sealed } = (yield* propose(node))!
        finalize(node, block, sealed)
      }
      const cut = streamOf(node.chain.slice(0, 1))
      expect((yield* propose(node, cut))!.block.transactions).toEqual([])
    }),
  )

  it.effect("with more un-finalized ancestors than are looked through, the proposal is empty", () =>
    Effect.gen(function* () {
      for (const [height, proposed] of [
        [ANCESTRY_BLOCKS_MAX, 1],
        [ANCESTRY_BLOCKS_MAX + 1, 0],
      ] as const) {
        const node = yield* nodeOf(make({ inputs: poolOf([tx(1)]) }))
        const genesis = node.chain[0]!
        for (let h = 1; h <= height; h++) {
          const parts = { height: Height(h), context: contextOf(node.chain[0]!), targets: genesis.targets }
          node.chain = [node.app.blocks.make(parts, []), ...node.chain]
        }
        expect((yield* propose(node))!.block.transactions.length, `height ${height}`).toBe(proposed)
      }
    }),
  )

  it.effect("F7 a stream that ends before the parent gives no proposal", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make({ inputs: poolOf([tx(1)]) }))
      expect(yield* propose(node, streamOf([]))).toBeUndefined()
    }),
  )

  it.effect("a proposal keeps within bytes and count, whatever the provider offers", () =>
    Effect.gen(function* () {
      const txs = Array.from({ length: 30 }, (_, n) => tx(n))
      const greedy: InputProvider<Tx> = {
        waiting: 30,
        finalizedHeight: undefined,
        idOf: ({ nonce }) => String(nonce),
        take: () => txs.map((t) => ({ id: String(t.nonce), transaction: t })),
        rejected: () => undefined,
        finalized: () => undefined,
      }
      for (const [limits, most] of [
        [{ transactionsMax: 7 }, 7],
        [{ bodyBytesMax: 100 }, 5],
      ] as const) {
        const node = yield* nodeOf(make({ inputs: greedy, ...limits }))
        const { block } = (yield* propose(node))!
        expect(block.transactions.length).toBeGreaterThan(0)
        expect(block.transactions.length).toBeLessThanOrEqual(most)
      }
    }),
  )

  it.effect("each node's provider is its own", () =>
    Effect.gen(function* () {
      const app = make()
      const [a, b] = [poolOf([tx(1)]), poolOf([tx(2)])]
      const [left, right] = [yield* nodeOf(app.withInputs(a)), yield* nodeOf(app.withInputs(b))]
      expect((yield* propose(left))!.block.transactions).toEqual([tx(1)])
      expect((yield* propose(right))!.block.transactions).toEqual([tx(2)])
      expect((yield* propose(yield* nodeOf(app)))!.block.transactions).toEqual([])
    }),
  )
})

describe("hooks", () => {
  it.effect("F4 a verify without a candidate abstains and can be interrupted", () =>
    Effect.gen(function* () {
      const node = yield* nodeOf(make())
      const batches = node.set.openBatches(node.set.tip)
      const verifying = yield* Effect.forkChild(
        run(node.app.verify(contextOf(node.chain[0]!), streamOf([]), batches, toolsOf(node.set))),
        { startImmediately: true },
      )
      for (let i = 0; i < 10; i++) yield* Effect.yieldNow
      expect(verifying.pollUnsafe()).toBeUndefined()
      yield* Fiber.interrupt(verifying)
    }),
  )

  it.effect("a plain promise serves as finalized hook, and its failure is the hook's", () =>
    Effect.gen(function* () {
      const seen: unknown[] = []
      const options = { name: "adder", databases, transaction, execute: add }
      const app = Application.make<Tx, M>({
        ...options,
        finalized: async ({ height }, _readers, anchor) => void seen.push([height, anchor()]),
      })
      const node = yield* nodeOf(app)
      const readers = node.set.use("read", (r) => r)
      const anchor = () => node.set.anchor
      yield* run(app.finalized!(node.chain[0]!, readers, anchor))
      expect(seen).toEqual([[0, node.set.anchor]])
      const failing = Application.make<Tx, M>({ ...options, finalized: () => Promise.reject(new Error("no")) })
      expect(Exit.isFailure(yield* Effect.exit(run(failing.finalized!(node.chain[0]!, readers, anchor))))).toBe(true)
    }),
  )

  it.effect("executing a long block gives way to others and can be interrupted", () =>
    Effect.gen(function* () {
      const txs = Array.from({ length: 2000 }, (_, n) => tx(n))
      let executed = 0
      const counting: typeof add = (batches, t, block) => {
        executed++
        return add(batches, t, block)
      }
      const node = yield* nodeOf(make({ execute: counting, transactionsMax: 5000, bodyBytesMax: 1e6 }))
      const block = node.app.blocks.make({ ...node.chain[0]!, height: Height(1) }, txs)
      const judging = yield* Effect.forkChild(judge(node, block, "verify"), { startImmediately: true })
      expect(executed).toBeLessThan(2000)
      yield* Fiber.interrupt(judging)
      expect(executed).toBeLessThan(2000)
      expect(node.set.layers).toBe(0)
    }),
  )

  it.effect("a block decoded from the wire gives the state of the one that was proposed", () =>
    Effect.gen(function* () {
      const leader = yield* nodeOf(make({ inputs: poolOf([tx(1), tx(2)]) }))
      const validator = yield* nodeOf(make())
      const { block } = (yield* propose(leader))!
      const received = decodeBlock(validator.app.codec, encodeBlock(leader.app.codec, block))
      expect(received).toEqual(block)
      expect(validator.set.matches((yield* judge(validator, received, "verify"))!, block.targets)).toBe(true)
    }),
  )

  test("names and members outside their bounds are refused when the application is made", () => {
    for (const bad of [{}, { "1": notebook() }, { Upper: notebook() }]) {
      expect(() =>
        Application.make({
          name: "x",
          databases: bad as { a: ReturnType<typeof notebook> },
          transaction: Text(1),
          execute: () => undefined,
        }),
      ).toThrow(RangeError)
    }
  })

  test("a database whose batches cannot revert is refused by the types", () => {
    const stubborn = { ...notebook(), open: () => ({}) as never } as unknown as import("@coppice/qmdb").MemberSpec<
      { readonly put: (k: string) => void },
      unknown
    >
    // @ts-expect-error its batches have neither mark nor revert
    Application.make({ name: "x", databases: { stubborn }, transaction: Text(1), execute: () => undefined })
  })
})
