/**
 * Goal: the laws of the transition hold for whatever transfers come, and a block that breaks one is refused.
 * Method: a chain without consensus (support/chain.ts) whose every block is proposed on one set and judged on another;
 * random transfers against a model of five lines; blocks made by hand around the rules.
 * Canary: a model that debits nobody, and a ledger whose signatures always hold, must be told apart.
 */
import { Height } from "@coppice/consensus"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { bindSet } from "@coppice/stateful"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ALLOCATIONS_MAX, type Ledger, LOG_OPERATIONS_KEPT, makeLedger, type Transfer } from "../src/index.ts"
import { alice, bob, CHAIN, type Chain, carol, dave, ledgerWith, openChain, people, transfer } from "./support/chain.ts"

const U64_MAX = (1n << 64n) - 1n
const BALANCES = [100n, 50n, 0n, 7n]
const SUM = 157n

/** Who pays whom how much, and how far the nonce is off the sender's next one. */
interface Step {
  readonly from: number
  readonly to: number
  readonly amount: bigint
  readonly off: bigint
}

const step: fc.Arbitrary<Step> = fc.record({
  from: fc.nat(people.length - 1),
  to: fc.nat(people.length - 1),
  amount: fc.oneof(fc.bigInt(0n, 60n), fc.constantFrom(U64_MAX, U64_MAX - 1n)),
  off: fc.oneof({ weight: 5, arbitrary: fc.constant(0n) }, { weight: 1, arbitrary: fc.bigInt(1n, 2n) }),
})

/** The specification. */
class Model {
  readonly balances = [...BALANCES]
  readonly nonces = people.map(() => 0n)
  readonly executed: Array<Transfer> = []

  execute({ from, to, amount }: Step, given: Transfer, debit = amount): void {
    if (given.nonce !== this.nonces[from] || amount > this.balances[from]!) return
    this.balances[from]! -= debit
    this.balances[to]! += amount
    this.nonces[from]! += 1n
    this.executed.push(given)
  }
}

const accounts = (chain: Chain) => people.map((person) => chain.account(person))

/** Runs blocks of steps on a chain and on the model. What a block rejects is taken out of the mempool. */
const play = Effect.fnUntraced(function* (blocks: ReadonlyArray<ReadonlyArray<Step>>, debit?: bigint) {
  const chain = yield* openChain(ledgerWith(BALANCES))
  const model = new Model()
  yield* chain.append()
  for (const steps of blocks) {
    const before = accounts(chain)
    for (const each of steps) {
      const nonce = model.nonces[each.from]! + each.off
      const given = transfer(people[each.from]!, people[each.to]!, { amount: each.amount, nonce })
      if (chain.mempool.submit(given).tag === "accepted") model.execute(each, given, debit)
    }
    yield* chain.append()
    for (const { id } of chain.mempool.take(1e9, 1e9)) chain.mempool.remove(id)
    for (const [i, { nonce }] of accounts(chain).entries()) {
      expect(nonce, "a nonce never falls").toBeGreaterThanOrEqual(before[i]!.nonce)
    }
  }
  return { chain, model }
}, Effect.scoped)

const history = fc.array(fc.array(step, { maxLength: 12 }), { minLength: 1, maxLength: 4 })
const runs = { numRuns: 30, seed: Number(process.env["FC_SEED"] ?? 42) }

describe("laws", () => {
  test("balances, nonces and receipts are those of the model, and the sum of balances never changes", async () => {
    const property = fc.asyncProperty(history, async (blocks) => {
      const { chain, model } = await Effect.runPromise(play(blocks))
      expect(accounts(chain)).toEqual(model.balances.map((balance, i) => ({ balance, nonce: model.nonces[i] })))
      expect(accounts(chain).reduce((sum, { balance }) => sum + balance, 0n)).toBe(SUM)
      expect(chain.receipts().map(({ transfer: id }) => id)).toEqual(model.executed.map(chain.ledger.idOf))
      for (const given of model.executed) {
        const { transfer: stored, left } = chain.executed(given)!
        expect(stored).toEqual(given)
        expect(left.transfer).toEqual(chain.ledger.idOf(given))
      }
    })
    await fc.assert(property, runs)
  })

  it.effect("canary: a model that debits nobody differs", () =>
    Effect.gen(function* () {
      const { chain, model } = yield* play([[{ from: 0, to: 1, amount: 5n, off: 0n }]], 0n)
      expect(chain.account(alice).balance).not.toBe(model.balances[0])
    }),
  )

  it.effect(
    "a receipt says in which block its transfer was executed and what both had then; there is one per transfer",
    () =>
      Effect.gen(function* () {
        const chain = yield* openChain(ledgerWith(BALANCES))
        yield* chain.append()
        const first = transfer(alice, bob, { amount: 3n })
        const others = [transfer(alice, carol, { amount: 4n, nonce: 1n }), transfer(bob, bob, { amount: 5n })]
        yield* chain.execute(first)
        yield* chain.execute(...others)
        expect(chain.executed(first)!.left).toMatchObject({ height: 2n, senderBalance: 97n, receiverBalance: 53n })
        expect(chain.executed(others[0]!)!.left).toMatchObject({ height: 3n, senderBalance: 93n, receiverBalance: 4n })
        expect(chain.executed(others[1]!)!.left).toMatchObject({ height: 3n, senderBalance: 53n, receiverBalance: 53n })
        expect(chain.receipts().length).toBe(3)
      }),
  )

  it.effect("as many operations are kept of receipts and of transfers as the chain says, the newest", () =>
    Effect.gen(function* () {
      const kept = 8
      const chain = yield* openChain(ledgerWith(BALANCES, { logOperationsKept: kept }))
      yield* chain.append()
      const given = Array.from({ length: 12 }, (_, nonce) => transfer(alice, bob, { nonce: BigInt(nonce) }))
      for (const each of given) {
        const { receipts: before } = chain.tip.targets
        const { targets } = yield* chain.execute(each)
        for (const log of [targets.receipts, targets.transfers]) {
          expect(log.start).toBe(Math.max(0, before.end - kept))
        }
      }
      const isKept = given.map((each) => chain.executed(each) !== undefined)
      // A block of one transfer is two operations; the newest block is not counted yet.
      expect(isKept).toEqual(given.map((_, i) => i >= given.length - kept / 2 - 1))
      expect(chain.receipts().length).toBe(kept / 2 + 1)
      // What is forgotten does not happen again: its nonce is used up.
      const { transactions } = yield* chain.execute(given[0]!)
      expect([transactions, chain.account(alice)]).toEqual([[], { balance: 88n, nonce: 12n }])
    }),
  )

  it.effect("a transfer to oneself moves nothing, and is counted once", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith(BALANCES))
      yield* chain.append()
      yield* chain.execute(transfer(alice, alice, { amount: 100n }))
      expect(chain.account(alice)).toEqual({ balance: 100n, nonce: 1n })
      yield* chain.execute(transfer(alice, alice, { amount: 101n, nonce: 1n }))
      expect(chain.account(alice)).toEqual({ balance: 100n, nonce: 1n })
    }),
  )

  it.effect("an account that nobody paid sends nothing, not even nothing at a later nonce", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith([1n]))
      yield* chain.append()
      yield* chain.execute(transfer(dave, alice, { amount: 1n }), transfer(dave, alice, { amount: 0n, nonce: 1n }))
      expect([chain.account(dave), chain.account(alice).balance]).toEqual([{ balance: 0n, nonce: 0n }, 1n])
      yield* chain.execute(transfer(dave, alice, { amount: 0n }))
      expect(chain.account(dave)).toEqual({ balance: 0n, nonce: 1n })
    }),
  )

  it.effect("all there can be moves in one transfer, and no balance exceeds 2^64 - 1", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith([U64_MAX - 5n, 5n]))
      yield* chain.append()
      yield* chain.execute(transfer(alice, bob, { amount: U64_MAX - 5n }))
      expect(chain.account(bob).balance).toBe(U64_MAX)
      yield* chain.execute(transfer(bob, carol, { amount: U64_MAX }), transfer(carol, dave, { amount: U64_MAX }))
      expect(accounts(chain).map(({ balance }) => balance)).toEqual([0n, 0n, 0n, U64_MAX])
    }),
  )
})

/** The verdict on a next block with these transfers, whose header commits to the state of the block before. */
const judge = Effect.fnUntraced(function* (transfers: ReadonlyArray<Transfer>) {
  const chain = yield* openChain(ledgerWith(BALANCES))
  const { height, targets } = yield* chain.append()
  const { context, ledger } = chain
  return yield* chain.judge(ledger.application.blocks.make({ height: Height(height + 1), context, targets }, transfers))
}, Effect.scoped)

describe("blocks", () => {
  const good = transfer(alice, bob, { amount: 1n })
  const refused: Readonly<Record<string, ReadonlyArray<Transfer>>> = {
    "a transfer twice": [good, good],
    "two transfers with one nonce": [good, transfer(alice, carol, { amount: 1n })],
    "a transfer before its predecessor": [transfer(alice, bob, { nonce: 1n }), good],
    "more than the sender has": [transfer(alice, bob, { amount: 101n })],
    "a transfer that was signed for another chain": [transfer(alice, bob, { chain: "another" })],
    "a transfer with a changed amount": [{ ...good, amount: 2n }],
  }
  for (const [what, transfers] of Object.entries(refused)) {
    it.effect(`one that holds ${what} is refused`, () =>
      Effect.map(judge(transfers), (verdict) => expect(verdict).toBe("refused")),
    )
  }

  it.effect("one with the roots of its state is not accepted under another canonical root of the accounts", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith(BALANCES))
      yield* chain.append()
      const { height, context, targets } = yield* chain.propose(good)
      const { make } = chain.ledger.application.blocks
      const accounts = { ...targets.accounts, canonical: targets.accounts.root }
      expect(yield* chain.judge(make({ height, context, targets: { ...targets, accounts } }, [good]))).toBe(
        "another state",
      )
      expect(yield* chain.judge(make({ height, context, targets }, [good]))).toBe("accepted")
    }),
  )

  it.effect("one of good transfers is not accepted under a header of another state", () =>
    Effect.map(judge([good]), (verdict) => expect(verdict).toBe("another state")),
  )

  it.effect("one of good transfers in order, under its own state, is accepted", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith(BALANCES))
      yield* chain.append()
      const block = yield* chain.execute(good, transfer(alice, carol, { amount: 1n, nonce: 1n }))
      expect(block.transactions.length).toBe(2)
    }),
  )

  it.effect("canary: without its signature check the ledger executes what nobody signed", () =>
    Effect.gen(function* () {
      const options = { chainId: CHAIN, allocations: [{ address: alice.publicKey, balance: 100n }], hasher: nodeHasher }
      const execute = Effect.fnUntraced(function* (ledger: Ledger) {
        const chain = yield* openChain(ledger)
        yield* chain.append()
        yield* chain.execute({ ...good, amount: 2n })
        return chain.account(bob).balance
      })
      expect(yield* execute(makeLedger({ ...options, ed25519: nodeEd25519 }))).toBe(0n)
      expect(yield* execute(makeLedger({ ...options, ed25519: { ...nodeEd25519, verify: () => true } }))).toBe(2n)
    }),
  )
})

describe("allocations", () => {
  const make = (balances: ReadonlyArray<bigint>, addresses = people.map(({ publicKey }) => publicKey)) =>
    makeLedger({ chainId: CHAIN, allocations: balances.map((balance, i) => ({ address: addresses[i]!, balance })) })

  test("they sum to at most 2^64 - 1", () => {
    expect(() => make([U64_MAX, 0n])).not.toThrow()
    expect(() => make([U64_MAX, 1n])).toThrow(RangeError)
  })

  test("an address is there once, and a balance is no debt", () => {
    expect(() => make([1n, 1n], [alice.publicKey, alice.publicKey.slice()])).toThrow(RangeError)
    expect(() => make([2n, -1n])).toThrow(RangeError)
  })

  test("there are not more than their limit", () => {
    const allocations = Array.from({ length: ALLOCATIONS_MAX + 1 }, (_, i) => {
      const address = new Uint8Array(32)
      new DataView(address.buffer).setUint32(0, i)
      return { address, balance: 1n }
    })
    expect(() => makeLedger({ chainId: CHAIN, allocations })).toThrow(RangeError)
    expect(() => makeLedger({ chainId: CHAIN, allocations: allocations.slice(1) })).not.toThrow()
  })

  test("other allocations, and other rules of what is kept, are another chain; their order is none", () => {
    const genesisOf = (...[balances, options]: Parameters<typeof ledgerWith>) => {
      const { application, chainId } = ledgerWith(balances, options)
      return Buffer.from(bindSet({ application, chainId, hasher: nodeHasher }).genesis.digest).toString("hex")
    }
    const base = genesisOf([1n, 2n])
    const [one, two] = [1n, 2n].map((balance, i) => ({ address: people[i]!.publicKey, balance }))
    expect(genesisOf([], { allocations: [two!, one!] })).toBe(base)
    expect(genesisOf([], { logOperationsKept: LOG_OPERATIONS_KEPT, allocations: [one!, two!] })).toBe(base)
    const others = [
      genesisOf([]),
      genesisOf([1n]),
      genesisOf([2n, 1n]),
      genesisOf([1n, 3n]),
      genesisOf([1n, 2n, 0n]),
      genesisOf([1n, 2n], { logOperationsKept: 7 }),
    ]
    expect(new Set([base, ...others]).size).toBe(7)
  })

  it.effect("they exist from height 1 on, and are given once", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith(BALANCES))
      expect(chain.account(alice).balance).toBe(0n)
      for (let height = 1; height <= 3; height++) {
        yield* chain.append()
        expect(chain.account(alice).balance, `height ${height}`).toBe(100n)
      }
    }),
  )
})
