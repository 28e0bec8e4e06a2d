/**
 * Goal: a wallet that knows the validators and the chain id believes true answers, and no others.
 * Method: answers over a chain whose certificate lies two blocks above the proven state; every bit of every part is
 * flipped; parts of two answers are mixed; certificates of others, of too few and of another chain; random JSON.
 * Canary: with a signature scheme that accepts everything, flipped signatures and nothing else pass.
 */
import { decode, encode } from "@coppice/codec"
import { type Finalization, finalizationCodec, Height } from "@coppice/consensus"
import { type KeyPair, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { Location } from "@coppice/merkle"
import { currentFormat } from "@coppice/verify"
import { it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { handleAccount, handleReceiptOf, handleTransfer } from "../src/handlers.ts"
import {
  ACCOUNTS,
  AccountSchema,
  ExecutedTransferSchema,
  HEADER_TARGETS,
  ledgerDatabases,
  makeLedger,
  PROOF_PART_BYTES_MAX,
  ReceiptSchema,
  WITNESS_HEADERS_MAX,
} from "../src/index.ts"
import { proveAccount, witnessOf } from "../src/proof.ts"
import { trustedChain, verifyAccount, verifyReceipt, verifyReceiptOf, verifyTransfer } from "../src/wallet.ts"
import {
  alice,
  bob,
  type Chain,
  carol,
  certify,
  chainAnswer,
  dave,
  ledgerWith,
  openChain,
  transfer,
} from "./support/chain.ts"

type AccountAnswer = typeof AccountSchema.Encoded
type ReceiptAnswer = typeof ReceiptSchema.Encoded
type TransferAnswer = typeof ExecutedTransferSchema.Encoded
type Proof = NonNullable<AccountAnswer["proof"]>

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"))
const addressOf = ({ publicKey }: KeyPair): string => toHex(publicKey)
const providers = { ed25519: nodeEd25519, hasher: nodeHasher }
const trusted = trustedChain(chainAnswer, providers)

const accountJson = (chain: Chain, { publicKey }: KeyPair) =>
  Effect.map(handleAccount(chain.node, publicKey, true), (answer) => Schema.encodeSync(AccountSchema)(answer))

const receiptJson = (chain: Chain, id: Uint8Array) =>
  Effect.map(handleReceiptOf(chain.node, id, true), (answer) => Schema.encodeSync(ReceiptSchema)(answer))

const transferJson = (chain: Chain, id: Uint8Array) =>
  Effect.map(handleTransfer(chain.node, id, true), (answer) => Schema.encodeSync(ExecutedTransferSchema)(answer))

const paid = transfer(alice, bob, { amount: 30n })
const paidId = toHex(ledgerWith([]).idOf(paid))

/** A chain of two blocks, the transfer in the second, and what is proven in its state. */
const openWorld = Effect.gen(function* () {
  const chain = yield* openChain(ledgerWith([100n, 5n]))
  yield* chain.append()
  yield* chain.execute(paid)
  const id = fromHex(paidId)
  return {
    chain,
    account: yield* accountJson(chain, alice),
    absent: yield* accountJson(chain, dave),
    receipt: yield* receiptJson(chain, id),
    executed: yield* transferJson(chain, id),
  }
})

/** The same answers with another witness of their height, after two more blocks of which the last one is certified. */
const withLongWitness = Effect.gen(function* () {
  const { chain, account, absent, receipt, executed } = yield* openWorld
  yield* chain.append({ certified: false })
  yield* chain.append()
  chain.finalizations.delete(2)
  const { headers, finalization } = (yield* witnessOf(chain.ledger, chain.node.marshal, Height(2)))!
  const witness = { headers: headers.map(toHex), finalization: toHex(finalization) }
  const extend = <A extends { readonly proof?: Proof }>(answer: A) => ({
    ...answer,
    proof: { ...answer.proof!, ...witness },
  })
  return {
    chain,
    account: extend(account),
    absent: extend(absent),
    receipt: extend(receipt),
    executed: extend(executed),
  }
})

const believesAccount = (answer: unknown, chain = trusted): boolean =>
  verifyAccount(chain, addressOf(alice), answer).valid

const believesAbsence = (answer: unknown, chain = trusted): boolean =>
  verifyAccount(chain, addressOf(dave), answer).valid

const believesReceipt = (answer: unknown, chain = trusted): boolean => verifyReceiptOf(chain, paidId, answer).valid

const believesTransfer = (answer: unknown, chain = trusted): boolean => verifyTransfer(chain, paidId, answer).valid

const withProof = <A extends { readonly proof?: Proof }>(answer: A, change: Partial<Proof>): A => ({
  ...answer,
  proof: { ...answer.proof!, ...change },
})

describe("true answers", () => {
  it.effect("an account is shown as it is at the certified height, with portable and native cryptography", () =>
    Effect.gen(function* () {
      const { account } = yield* openWorld
      const shown = { valid: true, shown: { exists: true, balance: 70n, nonce: 1n, height: 2 } }
      expect(verifyAccount(trusted, addressOf(alice), account)).toEqual(shown)
      expect(verifyAccount(trustedChain(chainAnswer), addressOf(alice), account)).toEqual(shown)
    }),
  )

  it.effect("an account that was never paid is shown not to exist, also before any account does", () =>
    Effect.gen(function* () {
      const { absent } = yield* openWorld
      const shown = { valid: true, shown: { exists: false, balance: 0n, nonce: 0n, height: 2 } }
      expect(verifyAccount(trusted, addressOf(dave), absent)).toEqual(shown)
      const empty = yield* openChain(ledgerWith([]))
      yield* empty.append()
      expect(verifyAccount(trusted, addressOf(alice), yield* accountJson(empty, alice))).toEqual({
        valid: true,
        shown: { exists: false, balance: 0n, nonce: 0n, height: 1 },
      })
    }),
  )

  it.effect(
    "a receipt is shown by its location and by its transfer, with the height of its block, also in a later state",
    () =>
      Effect.gen(function* () {
        const { chain, receipt } = yield* openWorld
        const left = { transfer: fromHex(paidId), height: 2n, senderBalance: 70n, receiverBalance: 35n }
        const shown = { valid: true, shown: left }
        expect(verifyReceiptOf(trusted, paidId, receipt)).toEqual(shown)
        expect(verifyReceipt(trusted, receipt.location, receipt)).toEqual(shown)
        yield* chain.append()
        expect(verifyReceiptOf(trusted, paidId, yield* receiptJson(chain, fromHex(paidId)))).toEqual(shown)
      }),
  )

  it.effect("a transfer is shown as it was signed, with the location of its receipt, also in a later state", () =>
    Effect.gen(function* () {
      const { chain, receipt, executed } = yield* openWorld
      const shown = { valid: true, shown: { transfer: paid, receipt: receipt.location } }
      expect(verifyTransfer(trusted, paidId, executed)).toEqual(shown)
      yield* chain.append()
      expect(verifyTransfer(trusted, paidId, yield* transferJson(chain, fromHex(paidId)))).toEqual(shown)
    }),
  )

  test("a light client reads headers as the databases are declared", () => {
    const declared = Object.entries(ledgerDatabases).map(([name, { canonical }]) => [name, { canonical }])
    expect(Object.entries(HEADER_TARGETS)).toEqual(declared)
  })

  it.effect("a block that became final through a descendant is witnessed by the headers up to it", () =>
    Effect.gen(function* () {
      const { chain, account, absent, receipt, executed } = yield* withLongWitness
      expect(account.proof.headers.map(fromHex)).toEqual(
        chain.blocks.slice(2).map((block) => encode(chain.ledger.application.blocks.header, block)),
      )
      expect([believesAccount(account), believesAbsence(absent)]).toEqual([true, true])
      expect([believesReceipt(receipt), believesTransfer(executed)]).toEqual([true, true])
    }),
  )

  it.effect("while nothing above the state is certified, or too far above it, there is no proof", () =>
    Effect.gen(function* () {
      const chain = yield* openChain(ledgerWith([1n]))
      for (let block = 0; block <= WITNESS_HEADERS_MAX; block++) yield* chain.append({ certified: false })
      const refused = yield* Effect.flip(handleAccount(chain.node, alice.publicKey, true))
      expect(refused).toMatchObject({ error: "ProofNotReady", height: chain.tip.height })
      const witnessAt = (height: number) => witnessOf(chain.ledger, chain.node.marshal, Height(height))
      chain.finalizations.set(chain.tip.height, certify(chain.tip))
      expect(yield* witnessAt(1)).toBeUndefined()
      expect((yield* witnessAt(2))?.headers.length).toBe(WITNESS_HEADERS_MAX)
    }),
  )

  it.effect("an unknown transfer is none, nor is its receipt", () =>
    Effect.gen(function* () {
      const { chain } = yield* openWorld
      const waits = transfer(alice, carol, { nonce: 1n })
      const id = chain.ledger.idOf(waits)
      const refusals = Effect.all([
        Effect.flip(handleTransfer(chain.node, id, true)),
        Effect.flip(handleReceiptOf(chain.node, id, true)),
      ])
      expect(yield* refusals).toMatchObject([{ state: "unknown" }, { state: "unknown" }])
      chain.mempool.submit(waits)
      expect(yield* refusals).toMatchObject([{ state: "waiting" }, { state: "waiting" }])
    }),
  )
})

/** Every answer that differs in one bit of one part of the proof, by the name of the part. */
const flipped = function* <A extends { readonly proof?: Proof; readonly location?: number }>(
  answer: A,
): Generator<readonly [string, A]> {
  const bitsOf = function* (text: string): Generator<string> {
    const bytes = fromHex(text)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      bytes[Math.floor(bit / 8)]! ^= 1 << (bit % 8)
      yield toHex(bytes)
      bytes[Math.floor(bit / 8)]! ^= 1 << (bit % 8)
    }
  }
  const proof = answer.proof!
  for (const part of ["proof", "finalization"] as const) {
    for (const bits of bitsOf(proof[part])) yield [part, withProof(answer, { [part]: bits })]
  }
  for (const [i, header] of proof.headers.entries()) {
    for (const bits of bitsOf(header)) yield ["headers", withProof(answer, { headers: proof.headers.with(i, bits) })]
  }
  for (let bit = 0; bit < 53; bit++) {
    const flip = (value: number) => Number(BigInt(value) ^ (1n << BigInt(bit)))
    yield ["height", withProof(answer, { height: flip(proof.height) })]
    if (answer.location !== undefined) yield ["location", { ...answer, location: flip(answer.location) }]
  }
}

/** Some three thousand refused answers, a millisecond and more each; on a machine that does much else, many. */
const TIMEOUT_MS = 180_000

describe("false answers", () => {
  const kinds = [
    ["an account", "account", believesAccount],
    ["the absence of an account", "absent", believesAbsence],
    ["a receipt", "receipt", believesReceipt],
    ["a transfer", "executed", believesTransfer],
  ] as const
  for (const [what, kind, believes] of kinds) {
    it.effect(
      `no answer about ${what} with one flipped bit in its proof is believed`,
      () =>
        Effect.gen(function* () {
          const answer = (yield* withLongWitness)[kind]
          expect(believes(answer)).toBe(true)
          const believed = [...flipped(answer)].filter(([, changed]) => believes(changed))
          expect(believed.map(([part]) => part)).toEqual([])
        }),
      TIMEOUT_MS,
    )
  }

  it.effect("canary: when every signature counts as good, flipped certificates pass, and nothing else does", () =>
    Effect.gen(function* () {
      const { account } = yield* withLongWitness
      const gullible = trustedChain(chainAnswer, { ...providers, ed25519: { ...nodeEd25519, verify: () => true } })
      const believed = [...flipped(account)].filter(([, answer]) => believesAccount(answer, gullible))
      expect(new Set(believed.map(([part]) => part))).toEqual(new Set(["finalization"]))
      expect(believed.length).toBeGreaterThanOrEqual(3 * 64 * 8)
    }),
  )

  it.effect("no answer is believed that says something else than its proof", () =>
    Effect.gen(function* () {
      const { account, absent, receipt, executed } = yield* openWorld
      const lies: ReadonlyArray<Partial<AccountAnswer>> = [
        { balance: "71" },
        { nonce: "0" },
        { height: 1 },
        { height: 3 },
        { address: addressOf(bob) },
        { exists: false },
        { exists: false, balance: "0", nonce: "0" },
      ]
      for (const lie of lies) expect(believesAccount({ ...account, ...lie }), JSON.stringify(lie)).toBe(false)
      const absenceLies: ReadonlyArray<Partial<AccountAnswer>> = [
        { exists: true },
        { balance: "1" },
        { nonce: "1" },
        { height: 1 },
        { address: addressOf(alice) },
      ]
      for (const lie of absenceLies) expect(believesAbsence({ ...absent, ...lie }), JSON.stringify(lie)).toBe(false)
      const receiptLies: ReadonlyArray<Partial<ReceiptAnswer>> = [
        { senderBalance: "71" },
        { receiverBalance: "36" },
        { height: 1 },
        { transfer: "00".repeat(32) },
        { location: receipt.location + 1 },
      ]
      for (const lie of receiptLies) expect(believesReceipt({ ...receipt, ...lie }), JSON.stringify(lie)).toBe(false)
      const transferLies: ReadonlyArray<Partial<TransferAnswer>> = [
        { amount: "31" },
        { nonce: "1" },
        { from: addressOf(bob) },
        { to: addressOf(alice) },
        { signature: "00".repeat(64) },
        { receipt: executed.receipt + 1 },
        { location: executed.location + 1 },
        { id: "00".repeat(32) },
      ]
      for (const lie of transferLies) expect(believesTransfer({ ...executed, ...lie }), JSON.stringify(lie)).toBe(false)
    }),
  )

  it.effect("what is not proven is not shown: the next nonce is the word of a node", () =>
    Effect.gen(function* () {
      const { account } = yield* openWorld
      const verdict = verifyAccount(trusted, addressOf(alice), { ...account, nextNonce: "999" })
      expect(verdict).toEqual({ valid: true, shown: { exists: true, balance: 70n, nonce: 1n, height: 2 } })
    }),
  )

  it.effect("a true answer about another account, or of another kind, is none to this question", () =>
    Effect.gen(function* () {
      const { chain, account, absent, receipt, executed } = yield* openWorld
      const other = yield* accountJson(chain, bob)
      expect(verifyAccount(trusted, addressOf(bob), other).valid).toBe(true)
      expect(believesAccount(other)).toBe(false)
      expect(believesAccount({ ...other, address: addressOf(alice) })).toBe(false)
      expect(verifyReceipt(trusted, receipt.location + 1, receipt).valid).toBe(false)
      for (const { proof } of [absent, receipt, executed]) expect(believesAccount({ ...account, proof })).toBe(false)
      for (const { proof } of [account, receipt, executed]) expect(believesAbsence({ ...absent, proof })).toBe(false)
      for (const { proof } of [account, absent, executed]) expect(believesReceipt({ ...receipt, proof })).toBe(false)
      for (const { proof } of [account, absent, receipt]) expect(believesTransfer({ ...executed, proof })).toBe(false)
      expect([believesReceipt(account), believesTransfer(receipt), believesAccount(executed)]).not.toContain(true)
    }),
  )

  it.effect("an answer without a proof shows nothing", () =>
    Effect.gen(function* () {
      const { account } = yield* openWorld
      const { proof: _, ...bare } = account
      const verdict = verifyAccount(trusted, addressOf(alice), bare)
      expect(verdict).toEqual({ valid: false, reason: "the answer has no proof" })
    }),
  )
})

describe("witnesses", () => {
  it.effect("headers must follow one another up to the certified one: none missing, doubled, swapped or added", () =>
    Effect.gen(function* () {
      const { account } = yield* withLongWitness
      const [a, b, c] = account.proof.headers as [string, string, string]
      for (const headers of [[a, b], [b, c], [a, c], [c], [a], [], [a, a, b, c], [a, c, b], [c, b, a], [a, b, c, c]]) {
        expect(believesAccount(withProof(account, { headers }))).toBe(false)
      }
      expect(believesAccount(withProof(account, { headers: [a, b, c] }))).toBe(true)
    }),
  )

  it.effect("a certificate counts from a quorum of the validators, on this chain", () =>
    Effect.gen(function* () {
      const { chain, account } = yield* openWorld
      const believesIn = (finalization: Finalization): boolean =>
        believesAccount(withProof(account, { finalization: toHex(encode(finalizationCodec, finalization)) }))
      const good = certify(chain.tip)
      const { n, signers, signatures } = good.certificate
      const tooFew = { n, signers: signers.slice(1), signatures: signatures.slice(1) }
      expect(believesIn(good)).toBe(true)
      expect(believesIn(certify(chain.tip, [1, 2, 3]))).toBe(true)
      expect(believesIn({ ...good, certificate: tooFew })).toBe(false)
      expect(believesIn(certify(chain.tip, [0, 1, 2], "another chain"))).toBe(false)
      expect(believesIn(certify(chain.blocks[1]!))).toBe(false)
      const others = Array.from({ length: 4 }, (_, i) => keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(201 + i)))
      const elsewhere = { ...chainAnswer, validators: others.map(addressOf) }
      expect(believesAccount(account, trustedChain(elsewhere, providers))).toBe(false)
      const renamed = trustedChain({ ...chainAnswer, chain: "another" }, providers)
      expect(believesAccount(account, renamed)).toBe(false)
    }),
  )

  test("a trusted chain is made of a chain id and keys, nothing less", () => {
    const { chain, validators } = chainAnswer
    for (const answer of [undefined, {}, { chain }, { chain, validators: [] }, { chain, validators: ["00"] }]) {
      expect(() => trustedChain(answer), JSON.stringify(answer)).toThrow()
    }
    expect(() => trustedChain({ chain, validators: [validators[0], validators[0]] })).toThrow(RangeError)
  })
})

describe("old values", () => {
  it.effect("the answer of an earlier height is believed of that height alone", () =>
    Effect.gen(function* () {
      const { chain, account: old } = yield* openWorld
      yield* chain.execute(transfer(alice, bob, { amount: 1n, nonce: 1n }))
      const now = yield* accountJson(chain, alice)
      expect(verifyAccount(trusted, addressOf(alice), old)).toMatchObject({ shown: { balance: 70n, height: 2 } })
      expect(verifyAccount(trusted, addressOf(alice), now)).toMatchObject({ shown: { balance: 69n, height: 3 } })
      const { headers, finalization } = now.proof!
      expect(believesAccount({ ...old, height: 3 })).toBe(false)
      expect(believesAccount(withProof({ ...old, height: 3 }, { headers, finalization }))).toBe(false)
      expect(believesAccount({ ...now, balance: old.balance, nonce: old.nonce, proof: old.proof })).toBe(false)
    }),
  )

  it.effect("no operation that was replaced proves its account, though it stands in the certified log", () =>
    Effect.gen(function* () {
      const crowd = Array.from({ length: 40 }, (_, i) => new Uint8Array(32).fill(10 + i))
      const allocations = [alice.publicKey, bob.publicKey, ...crowd].map((address) => ({ address, balance: 100n }))
      const chain = yield* openChain(makeLedger({ chainId: chainAnswer.chain, allocations, ...providers }))
      yield* chain.append()
      yield* chain.execute(paid)
      const old = yield* accountJson(chain, alice)
      const format = currentFormat(ACCOUNTS)
      const oldProof = decode(format.keyValueProof, fromHex(old.proof!.proof))
      const { location } = oldProof.operation
      yield* chain.execute(transfer(alice, bob, { nonce: 1n }))
      const now = yield* accountJson(chain, alice)
      // A node can prove all of the operation but that it is active: the floor has not passed it yet.
      const { range, chunks } = chain.node.set.use("read", ({ accounts }) => {
        expect(accounts.target.start).toBeLessThanOrEqual(location)
        const { proof, chunks: all } = accounts.proveRange(Location(location), 1)
        return { range: proof, chunks: all }
      })
      const lie = (chunk: Uint8Array) => {
        const proof = encode(format.keyValueProof, { ...oldProof, operation: { location, chunk, range } })
        return withProof({ ...old, height: now.height, proof: now.proof! }, { proof: toHex(proof) })
      }
      const active = chunks[0]!.slice()
      active[Math.floor((location % 256) / 8)]! |= 1 << (location % 8)
      expect(verifyAccount(trusted, addressOf(alice), lie(chunks[0]!))).toMatchObject({
        valid: false,
        reason: expect.stringContaining("Inactive"),
      })
      expect(believesAccount(lie(active))).toBe(false)
    }),
  )
})

describe("anything else", () => {
  it.effect("whatever JSON an answer is, a verdict is given and it is no", () =>
    Effect.gen(function* () {
      const { account } = yield* openWorld
      const paths = [
        ...Object.keys(account).map((key) => [key]),
        ...Object.keys(account.proof!).map((key) => ["proof", key]),
      ]
      const replaced = fc.record({ path: fc.constantFrom(...paths), value: fc.jsonValue() }).map(({ path, value }) => {
        const [key, inner] = path as [keyof AccountAnswer, keyof Proof | undefined]
        return inner === undefined
          ? { ...account, [key]: value }
          : { ...account, proof: { ...account.proof!, [inner]: value } }
      })
      const isOther = (answer: unknown): boolean => JSON.stringify(answer) !== JSON.stringify(account)
      const proves = ({ nextNonce }: AccountAnswer): boolean => nextNonce === account.nextNonce
      const answers = fc.oneof(fc.jsonValue(), replaced.filter(isOther).filter(proves))
      const property = fc.property(answers, (answer) => void expect(believesAccount(answer)).toBe(false))
      fc.assert(property, { numRuns: 500, seed: Number(process.env["FC_SEED"] ?? 42) })
    }),
  )

  it.effect("bytes that are cut, lengthened, upper-case or beyond their limit are malformed", () =>
    Effect.gen(function* () {
      const { account, receipt, executed } = yield* openWorld
      for (const part of ["proof", "finalization"] as const) {
        const bytes = account.proof![part]
        const beyond = "00".repeat(PROOF_PART_BYTES_MAX + 1)
        const texts = [
          bytes.slice(2),
          bytes.slice(0, -2),
          bytes.slice(1),
          `${bytes}00`,
          bytes.toUpperCase(),
          "",
          beyond,
        ]
        for (const text of texts) {
          expect(believesAccount(withProof(account, { [part]: text })), part).toBe(false)
        }
      }
      for (const number of [-1, 0.5, 2 ** 53 - 1, 2 ** 53, Number.NaN, 1e300]) {
        expect(believesAccount(withProof(account, { height: number })), String(number)).toBe(false)
        expect(verifyReceipt(trusted, number, { ...receipt, location: number }).valid, String(number)).toBe(false)
        expect(believesTransfer({ ...executed, location: number }), String(number)).toBe(false)
      }
    }),
  )

  it.effect("no account is proven by the proof of another", () =>
    Effect.gen(function* () {
      const { chain, account } = yield* openWorld
      const elsewhere = chain.node.set.use("read", ({ accounts }) => proveAccount(accounts, bob.publicKey))
      expect(believesAccount(withProof(account, { proof: toHex(elsewhere) }))).toBe(false)
    }),
  )
})
