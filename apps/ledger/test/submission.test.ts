/**
 * Goal: every refusal names its reason with the evidence and changes nothing; an account may submit several in a row.
 * Method: a desk over accounts in a map and a real mempool; after each refusal the pool and what was handed on are compared
 * with before; random submissions against the account that they lead to.
 */
import { bytesKey } from "@coppice/codec"
import type { KeyPair } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import { Mempool, type MempoolLimits } from "@coppice/stateful"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  type Account,
  afterWaiting,
  EMPTY_ACCOUNT,
  type SubmissionDesk,
  senderKey,
  submit,
  type Transfer,
  TransferCodec,
} from "../src/index.ts"
import { alice, bob, CHAIN, carol, ledgerWith, people, transfer } from "./support/chain.ts"

const ledger = ledgerWith([])

/** A desk that remembers what it handed on. */
const deskWith = (balances: ReadonlyArray<bigint>, limits: Partial<MempoolLimits> = {}) => {
  const accounts = new Map<string, Account>()
  for (const [i, balance] of balances.entries()) accounts.set(senderKey(people[i]!.publicKey), { balance, nonce: 0n })
  const executed = new Set<string>()
  const handedOn: Array<Transfer> = []
  const sender = ({ from }: Transfer): string => senderKey(from)
  const desk: SubmissionDesk = {
    ledger,
    mempool: new Mempool({ transaction: TransferCodec, sender, hasher: nodeHasher, limits }),
    account: (address) => accounts.get(senderKey(address)) ?? EMPTY_ACCOUNT,
    isExecuted: (id) => executed.has(bytesKey(id)),
    gossip: (given) => void handedOn.push(given),
  }
  return { desk, accounts, executed, handedOn }
}

type World = ReturnType<typeof deskWith>

const imageOf = ({ desk: { mempool }, accounts, handedOn }: World): unknown =>
  structuredClone([mempool.waiting, mempool.bytes, mempool.take(1e9, 1e9), [...accounts], handedOn])

/** The refusal of a submission, after a check that it left everything as it was. */
const refusalOf = (world: World, given: Transfer) => {
  const before = imageOf(world)
  const outcome = submit(world.desk, given)
  expect(imageOf(world), "a refusal changes nothing").toEqual(before)
  if (!("error" in outcome)) throw new Error("the transfer was accepted")
  return outcome
}

const accept = ({ desk }: World, given: Transfer): void => {
  expect(submit(desk, given)).toEqual({ id: ledger.idOf(given) })
}

describe("submissions", () => {
  test("an accepted transfer waits, under the id of its receipt, and is handed on", () => {
    const world = deskWith([10n])
    const given = transfer(alice, bob, { amount: 10n })
    accept(world, given)
    expect(world.desk.mempool.has(bytesKey(ledger.idOf(given)))).toBe(true)
    expect(world.handedOn).toEqual([given])
  })

  test("several of one account wait in a row, each as if those before had happened", () => {
    const world = deskWith([10n])
    accept(world, transfer(alice, bob, { amount: 4n, nonce: 0n }))
    accept(world, transfer(alice, bob, { amount: 6n, nonce: 1n }))
    accept(world, transfer(alice, alice, { amount: 0n, nonce: 2n }))
    expect(afterWaiting(world.desk, alice.publicKey)).toEqual({ balance: 0n, nonce: 3n })
    expect(refusalOf(world, transfer(alice, bob, { amount: 1n, nonce: 3n }))).toMatchObject({ error: "ShortBalance" })
  })

  test("a transfer to oneself takes nothing from what is left", () => {
    const world = deskWith([10n])
    accept(world, transfer(alice, alice, { amount: 10n, nonce: 0n }))
    accept(world, transfer(alice, bob, { amount: 10n, nonce: 1n }))
  })

  test("what an account receives counts from the block on, not from the mempool", () => {
    const world = deskWith([10n])
    accept(world, transfer(alice, bob, { amount: 10n }))
    const refused = refusalOf(world, transfer(bob, carol, { amount: 1n }))
    expect(refused).toMatchObject({ error: "ShortBalance", available: 0n, amount: 1n })
  })

  test("a transfer that another node has put out of order can be followed up in order", () => {
    const world = deskWith([10n])
    const [first, second, third] = [0n, 1n, 2n].map((nonce) => transfer(alice, bob, { nonce }))
    world.desk.mempool.submit(second!)
    expect(refusalOf(world, third!)).toMatchObject({ error: "WrongNonce", expected: 0n, actual: 2n })
    accept(world, first!)
    accept(world, third!)
  })

  test("of two waiting transfers with one nonce the older one counts", () => {
    const world = deskWith([10n])
    for (const amount of [7n, 1n]) world.desk.mempool.submit(transfer(alice, bob, { amount }))
    expect(afterWaiting(world.desk, alice.publicKey)).toEqual({ balance: 3n, nonce: 1n })
  })

  test("one that waits and cannot be paid gives its place away", () => {
    const world = deskWith([10n])
    world.desk.mempool.submit(transfer(alice, bob, { amount: 11n }))
    expect(afterWaiting(world.desk, alice.publicKey)).toEqual({ balance: 10n, nonce: 0n })
    accept(world, transfer(alice, bob, { amount: 10n }))
  })

  test("transfers that wait though they have happened change nothing", () => {
    const world = deskWith([10n])
    accept(world, transfer(alice, bob, { amount: 4n }))
    world.accounts.set(senderKey(alice.publicKey), { balance: 6n, nonce: 1n })
    expect(afterWaiting(world.desk, alice.publicKey)).toEqual({ balance: 6n, nonce: 1n })
    accept(world, transfer(alice, bob, { amount: 6n, nonce: 1n }))
  })

  test("random submissions: an account ends where those that were accepted lead, and never below nothing", () => {
    const submissions = fc.array(fc.record({ to: fc.nat(3), amount: fc.bigInt(0n, 9n), nonce: fc.bigInt(0n, 5n) }))
    const property = fc.property(submissions, (given) => {
      const world = deskWith([20n])
      let expected: Account = { balance: 20n, nonce: 0n }
      for (const { to, amount, nonce } of given) {
        const outcome = submit(world.desk, transfer(alice, people[to]!, { amount, nonce }))
        const fits = nonce === expected.nonce && amount <= expected.balance
        expect("id" in outcome).toBe(fits)
        if (fits) expected = { balance: expected.balance - (to === 0 ? 0n : amount), nonce: nonce + 1n }
        expect(afterWaiting(world.desk, alice.publicKey)).toEqual(expected)
      }
    })
    fc.assert(property, { numRuns: 100, seed: Number(process.env["FC_SEED"] ?? 42) })
  })
})

describe("refusals", () => {
  const thief: KeyPair = { ...alice, publicKey: bob.publicKey }

  test("BadSignature: not the sender's, changed, or of another chain", () => {
    const world = deskWith([10n, 10n])
    const good = transfer(alice, carol, { amount: 1n })
    const expected = { error: "BadSignature", chain: CHAIN }
    expect(refusalOf(world, transfer(thief, carol))).toMatchObject(expected)
    expect(refusalOf(world, { ...good, amount: 2n })).toMatchObject(expected)
    expect(refusalOf(world, { ...good, signature: new Uint8Array(64) })).toMatchObject(expected)
    expect(refusalOf(world, transfer(alice, carol, { chain: "another" }))).toMatchObject(expected)
    accept(world, good)
  })

  test("WrongNonce: says which one is next, what waits counted", () => {
    const world = deskWith([10n])
    expect(refusalOf(world, transfer(alice, bob, { nonce: 1n }))).toEqual({
      error: "WrongNonce",
      message: "the sender's next nonce is 0",
      expected: 0n,
      actual: 1n,
    })
    accept(world, transfer(alice, bob))
    expect(refusalOf(world, transfer(alice, carol))).toMatchObject({ error: "WrongNonce", expected: 1n, actual: 0n })
  })

  test("ShortBalance: says what is left", () => {
    const world = deskWith([10n])
    const expected = { error: "ShortBalance", message: "the sender has 10 left", available: 10n, amount: 11n }
    expect(refusalOf(world, transfer(alice, bob, { amount: 11n }))).toEqual(expected)
    expect(refusalOf(world, transfer(alice, bob, { amount: (1n << 64n) - 1n }))).toMatchObject({ available: 10n })
  })

  test("DuplicateTransfer: whether it waits or has happened", () => {
    const world = deskWith([10n])
    const given = transfer(alice, bob)
    const id = ledger.idOf(given)
    accept(world, given)
    expect(refusalOf(world, given)).toMatchObject({ error: "DuplicateTransfer", id, state: "waiting" })
    world.desk.mempool.remove(bytesKey(id))
    world.executed.add(bytesKey(id))
    world.accounts.set(senderKey(alice.publicKey), { balance: 9n, nonce: 1n })
    expect(refusalOf(world, given)).toMatchObject({ error: "DuplicateTransfer", id, state: "finalized" })
  })

  test("MempoolFull: says which limit, and what it is", () => {
    const fullBy = (limits: Partial<MempoolLimits>) => {
      const world = deskWith([10n, 10n], limits)
      accept(world, transfer(alice, bob))
      return refusalOf(world, transfer(alice, bob, { nonce: 1n }))
    }
    const error = "MempoolFull"
    expect(fullBy({ transactionsMax: 1 })).toMatchObject({ error, limit: "transactions", allowed: 1 })
    expect(fullBy({ bytesMax: 200 })).toMatchObject({ error, limit: "bytes", allowed: 200 })
    expect(fullBy({ senderTransactionsMax: 1 })).toMatchObject({ error, limit: "sender", allowed: 1 })
  })

  test("canary: a pool that takes what it refuses is told apart", () => {
    const world = deskWith([10n])
    const leaky = {
      ...world,
      desk: { ...world.desk, isExecuted: () => world.desk.mempool.submit(transfer(alice, bob)).tag === "accepted" },
    }
    expect(() => refusalOf(leaky, transfer(alice, carol))).toThrow("a refusal changes nothing")
  })
})
