/**
 * Goal: a bundle suffices to compute the roots of every family from the parent's anchor on, and to name the first operation
 * of any of them that differs; what does not fit is left out, and never said to be the same.
 * Method: eight databases of different families with a history that was flushed and pruned; one of them goes another way in
 * the newest block. And one database whose operations are longer than a bundle may be.
 */
import { Blob, Bytes, Struct, Text, U32, U64 } from "@coppice/codec"
import { Height, Round } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Location, Qmdb } from "@coppice/qmdb"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect } from "effect"
import { describe, expect, test } from "vitest"
import {
  type Divergence,
  differenceOn,
  onFork,
  readDivergence,
  recordDivergence,
  replayDivergence,
  trackForks,
} from "../src/diagnosis/index.ts"
import {
  Application,
  type DatabaseSet,
  type Databases,
  DIVERGENCE_OPERATIONS_BYTES_MAX,
  DIVERGENCE_STATE_BYTES_MAX,
  openDatabaseSet,
  SET_MAPS,
  type StandardApplication,
} from "../src/index.ts"

const HEIGHTS = 14
/** Amount of the transaction that goes another way on request. */
const ODD = 7

const databases = {
  balances: Qmdb.any({ key: Bytes(4), value: U64 }),
  names: Qmdb.any({ key: Text(16), value: U32, ordered: true, family: "mmr" }),
  accounts: Qmdb.current({ key: Text(16), value: U64 }),
  ranks: Qmdb.current({ key: Text(16), value: U64, ordered: true, family: "mmr" }),
  transfers: Qmdb.immutable({ key: Bytes(4), value: Text(16) }),
  receipts: Qmdb.keyless({ value: U64, family: "mmr" }),
  digests: Qmdb.compactKeyless({ value: U64 }),
  seen: Qmdb.compactImmutable({ key: Bytes(4), value: U32 }),
}
type Member = keyof typeof databases

const key = (n: number): Uint8Array => Uint8Array.of(n >> 24, n >> 16, n >> 8, n)

/** Writes to every member; to one of them something else in the transaction that is odd. */
const makeFamilies = (astray?: Member) =>
  Application.make({
    name: "families",
    databases,
    transaction: Struct({ height: U32, n: U32 }),
    execute: ({ balances, names, accounts, ranks, transfers, receipts, digests, seen }, { height, n }) => {
      const at = (member: Member): number => (member === astray && n === ODD ? height + 1000 : height)
      const id = height * 100 + n
      balances.put(key(n), (balances.get(key(n)) ?? 0n) + BigInt(at("balances")))
      if ((n + height) % 5 === 0 && at("names") === height) names.remove(`name ${n}`)
      else names.put(`name ${n}`, at("names"))
      accounts.put(`account ${n}`, BigInt(at("accounts")))
      if ((n + height) % 4 === 0) ranks.remove(`rank ${n}`)
      ranks.put(`rank ${n * at("ranks")}`, BigInt(n))
      transfers.set(key(id), `transfer ${at("transfers")}`)
      transfers.withFloor(Location(Math.max(0, transfers.size - 20)))
      const receipt = receipts.append(BigInt(at("receipts")))
      receipts.withFloor(Location(Math.max(0, receipt - 40)))
      digests.append(BigInt(at("digests")))
      seen.set(key(id), at("seen"))
    },
  })

const contextAt = (height: number) => ({
  round: Round(0, height),
  leader: new Uint8Array(32),
  parent: { view: Round(0, height - 1).view, digest: new Uint8Array(32).fill(height - 1) },
})

/** A set that stands at the block before the last, and that block as the sound application makes it. */
const grow = Effect.fnUntraced(function* <M extends Databases, T>(
  application: StandardApplication<T, M>,
  heights: number,
  transactionsAt: (height: number) => ReadonlyArray<T>,
) {
  const storage = yield* makeMemoryDisk({ chance: () => 0 }).open("set", SET_MAPS)
  const tracked = trackForks(
    yield* openDatabaseSet({ application, chainId: "families", hasher: nobleHasher, storage, pendingAcksMax: 1 }),
  )
  const { set } = tracked
  for (let height = 1; ; height++) {
    // Any targets do to find out which it should be.
    const draft = application.blocks.make(
      { height: Height(height), context: contextAt(height), targets: set.tip.targets },
      transactionsAt(height),
    )
    const sealed = yield* executed(set, application, draft)
    const { targets } = sealed!
    const block = application.blocks.make(
      { height: Height(height), context: contextAt(height), targets },
      transactionsAt(height),
    )
    if (height === heights) {
      set.close(sealed!)
      return { tracked, block }
    }
    set.apply(sealed!, { height: Height(height), round: Round(0, height), digest: block.digest })
    // The newest block is applied and not flushed: its operations are in a layer.
    if (height === heights - 1) continue
    yield* set.flush
    yield* set.prune(Height(height))
  }
})

const executed = <M extends Databases, T>(
  set: DatabaseSet<M>,
  { apply }: StandardApplication<T, M>,
  block: Parameters<StandardApplication<T, M>["apply"]>[0],
) =>
  onFork({ set, parent: set.tip, hook: (batches, tools) => apply(block, batches, tools), stateOf: (sealed) => sealed })

/** The bundle of a block that an application leads to another state. */
const bundleOf = Effect.fnUntraced(function* <M extends Databases, T>(
  { tracked, block }: Effect.Success<ReturnType<typeof grow<M, T>>>,
  application: StandardApplication<T, M>,
) {
  const texts: Array<string> = []
  const watched = recordDivergence(application, tracked, {
    chainId: "families",
    versions: {},
    write: (_, text) => Effect.sync(() => void texts.push(text)),
  })
  const sealed = yield* executed(tracked.set, { ...application, ...watched }, block)
  tracked.set.close(sealed!)
  return yield* readDivergence(texts[0]!)
})

const run = (effect: Effect.Effect<void, unknown, never>) => Effect.runPromise(effect)

const headers = ({ members }: Divergence) => Object.fromEntries(members.map(({ name, header }) => [name, header]))

const transactionsAt = (height: number) => Array.from({ length: 12 }, (_, n) => ({ height, n }))

/** What the first operation that differs says, on the right side and on the wrong one. */
const WRONG: { readonly [K in Member]: readonly [right: object, wrong: object] } = {
  balances: [
    { tag: "update", key: { $bytes: "00000007" }, value: { $int: "105" } },
    { tag: "update", key: { $bytes: "00000007" }, value: { $int: "1105" } },
  ],
  names: [
    { tag: "update", key: `name ${ODD}`, value: HEIGHTS },
    { tag: "update", key: `name ${ODD}`, value: HEIGHTS + 1000 },
  ],
  accounts: [
    { tag: "update", key: `account ${ODD}`, value: { $int: String(HEIGHTS) } },
    { tag: "update", key: `account ${ODD}`, value: { $int: String(HEIGHTS + 1000) } },
  ],
  ranks: [{ tag: "update" }, { tag: "update" }],
  transfers: [
    { tag: "set", value: `transfer ${HEIGHTS}` },
    { tag: "set", value: `transfer ${HEIGHTS + 1000}` },
  ],
  receipts: [
    { tag: "append", value: { $int: String(HEIGHTS) } },
    { tag: "append", value: { $int: String(HEIGHTS + 1000) } },
  ],
  digests: [
    { tag: "append", value: { $int: String(HEIGHTS) } },
    { tag: "append", value: { $int: String(HEIGHTS + 1000) } },
  ],
  seen: [
    { tag: "set", value: HEIGHTS },
    { tag: "set", value: HEIGHTS + 1000 },
  ],
}

describe("one member goes another way: its first differing operation is named, and all roots are computed", () => {
  for (const member of Object.keys(databases) as ReadonlyArray<Member>) {
    test(member, () =>
      run(
        Effect.scoped(
          Effect.gen(function* () {
            const chain = yield* grow(makeFamilies(), HEIGHTS, transactionsAt)
            const bundle = yield* bundleOf(chain, makeFamilies(member))
            expect(bundle.omitted).toEqual([])
            const { state } = yield* replayDivergence(makeFamilies(), bundle, nobleHasher)
            expect(state).toMatchObject({ isHeader: true, equals: [], damaged: [] })
            expect(state!.targets).toEqual(headers(bundle))
            const [right, wrong] = WRONG[member]
            expect(state!.differences).toMatchObject([{ tag: "operation", member, one: wrong, other: right }])
            const again = yield* replayDivergence(makeFamilies(member), bundle, nobleHasher)
            expect(again).toMatchObject({
              calls: undefined,
              state: { isHeader: false, equals: [0, 1], damaged: [], differences: [] },
            })
          }),
        ),
      ),
    )
  }
})

const VALUE_BYTES = 1 << 20

/** Long values in two databases; the last of a block is another one in the first on request. */
const makeBlobs = (goesAstray = false) =>
  Application.make({
    name: "blobs",
    databases: {
      blobs: Qmdb.keyless({ value: Blob(VALUE_BYTES - 8) }),
      more: Qmdb.keyless({ value: Blob(VALUE_BYTES - 8) }),
    },
    transaction: Struct({ n: U32, count: U32 }),
    execute: ({ blobs, more }, { n, count }) => {
      const isAstray = goesAstray && n === count - 1
      blobs.append(new Uint8Array(VALUE_BYTES / 2).fill(isAstray ? 255 : n))
      more.append(new Uint8Array(VALUE_BYTES / 2).fill(n))
    },
  })

const blobsAt = (count: number) => Array.from({ length: count }, (_, n) => ({ n, count }))

test("the same operations under another root name none of them: what hashes them is at fault", () => {
  const operations = [Uint8Array.of(0xd3, 0, 0)]
  const target = (root: number) => ({ start: Location(0), end: Location(6), root: new Uint8Array(32).fill(root) })
  const on = (root: number) => ({ target: target(root), operations })
  expect(differenceOn(databases, "balances", 5, on(1), on(1))).toBeUndefined()
  expect(differenceOn(databases, "balances", 5, on(1), on(2))).toEqual({ tag: "root", member: "balances", location: 6 })
})

test("operations above their bound are left out, and nothing is said of them", () =>
  run(
    Effect.scoped(
      Effect.gen(function* () {
        const fitting = DIVERGENCE_OPERATIONS_BYTES_MAX / (VALUE_BYTES / 2) - 1
        const chain = yield* grow(makeBlobs(), 1, () => blobsAt(fitting + 3))
        const bundle = yield* bundleOf(chain, makeBlobs(true))
        // Both members, in both executions.
        expect(bundle.omitted).toHaveLength(4)
        expect(bundle.omitted[0]).toContain(`operations ${1 + fitting} to ${fitting + 4} of blobs in execution 1`)
        const { state } = yield* replayDivergence(makeBlobs(), bundle, nobleHasher)
        expect(state).toMatchObject({
          isHeader: true,
          differences: [{ tag: "cut", member: "blobs", location: 1 + fitting }],
        })
      }),
    ),
  ))

test("a state above its bound is left out, and the calls are compared all the same", () =>
  run(
    Effect.scoped(
      Effect.gen(function* () {
        // One fits, the other does not into what is left.
        const many = Math.ceil(DIVERGENCE_STATE_BYTES_MAX / VALUE_BYTES) + 1
        const chain = yield* grow(makeBlobs(), 2, (height) => blobsAt(height === 1 ? many : 1))
        const bundle = yield* bundleOf(chain, makeBlobs(true))
        expect(bundle.members.map(({ state }) => state === null)).toEqual([false, true])
        expect(bundle.omitted).toEqual([expect.stringContaining("the state of more below the block")])
        const found = yield* replayDivergence(makeBlobs(), bundle, nobleHasher)
        expect(found).toMatchObject({ state: undefined, calls: { tag: "call", recorded: { method: "append" } } })
      }),
    ),
  ))
