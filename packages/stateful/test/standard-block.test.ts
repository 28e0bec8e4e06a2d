/**
 * Goal: a standard block has one encoding, its digest covers everything, and its header alone proves its targets.
 * Method: random blocks against the codec's laws; every prefix, every flipped byte and forged lengths of an encoding.
 * Canary: a transaction codec that accepts two encodings of one value must fail the law of one encoding.
 */
import {
  Bytes,
  ByteWriter,
  bytesEqual,
  bytesKey,
  type Codec,
  DecodeError,
  decode,
  encode,
  Struct,
  Text,
} from "@coppice/codec"
import { contextCodec, decodeBlock, encodeBlock, Height, Round, View } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import type { SyncTarget } from "@coppice/qmdb"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { type StandardBlock, type StandardParts, standardBlocks } from "../src/index.ts"
import type { TestDatabases } from "./support/chain.ts"

interface Tx {
  readonly to: Uint8Array
  readonly note: string
}

const transaction: Codec<Tx> = Struct({ to: Bytes(4), note: Text(16) })
const databases = { balances: { canonical: true }, notes: { canonical: false } }

const blocksOf = <T>(codec: Codec<T>, bodyBytesMax = 200, transactionsMax = 8) =>
  standardBlocks<T, TestDatabases>({
    databases,
    transaction: codec,
    hasher: nobleHasher,
    bodyBytesMax,
    transactionsMax,
  })
const blocks = blocksOf(transaction)

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
const counter = fc.maxSafeNat()
const target = fc
  .record({ root: bytes32, start: fc.nat(1000), length: fc.integer({ min: 1, max: 1000 }) })
  .map(({ root, start, length }) => ({ root, start: Location(start), end: Location(start + length) }))
const withCanonical = ([given, canonical]: readonly [SyncTarget, Uint8Array]): SyncTarget => ({ ...given, canonical })
const parts: fc.Arbitrary<StandardParts<TestDatabases>> = fc.record({
  height: counter.map(Height),
  context: fc.record({
    round: fc.record({ epoch: counter, view: counter }).map(({ epoch, view }) => Round(epoch, view)),
    leader: bytes32,
    parent: fc.record({ view: counter.map(View), digest: bytes32 }),
  }),
  targets: fc.record({ balances: fc.tuple(target, bytes32).map(withCanonical), notes: target }),
})
const transactions = fc.array(
  fc.record({ to: fc.uint8Array({ minLength: 4, maxLength: 4 }), note: fc.string({ maxLength: 4 }) }),
  { maxLength: 8 },
)
const block = fc.tuple(parts, transactions).map(([given, items]) => blocks.make(given, items))

/** The law of one encoding: bytes that decode are what their block encodes to, and another encoding is another block. */
const isTheOnlyEncoding = <T>(
  format: ReturnType<typeof blocksOf<T>>,
  bytes: Uint8Array,
  original: StandardBlock<T, TestDatabases>,
): boolean => {
  let decoded: StandardBlock<T, TestDatabases>
  try {
    decoded = decodeBlock(format.codec, bytes)
  } catch (error) {
    if (error instanceof DecodeError) return true
    throw error
  }
  const again = format.make(decoded, decoded.transactions)
  const same = bytesEqual(decoded.digest, original.digest)
  return (
    bytesEqual(encodeBlock(format.codec, again), bytes) &&
    same === bytesEqual(bytes, encodeBlock(format.codec, original))
  )
}

describe("encoding", () => {
  test("a block survives encoding, and its digests are recomputed", () => {
    fc.assert(
      fc.property(block, (made) => {
        const encoded = encodeBlock(blocks.codec, made)
        expect(encoded.length).toBeLessThanOrEqual(blocks.codec.bytesMax)
        const read = decodeBlock(blocks.codec, encoded)
        expect(read).toEqual(made)
        expect(encodeBlock(blocks.codec, read)).toEqual(encoded)
        expect(bytesKey(encoded)).not.toContain(bytesKey(made.digest))
        expect(bytesKey(encoded)).not.toContain(bytesKey(made.body))
      }),
    )
  })

  test("the parent is the one the context names", () => {
    fc.assert(
      fc.property(block, (made) => {
        expect(made.parent).toEqual(made.context.parent.digest)
      }),
    )
  })

  test("a header proves its targets without the body", () => {
    fc.assert(
      fc.property(block, (made) => {
        const alone = decode(blocks.header, encode(blocks.header, made))
        expect(alone).not.toHaveProperty("transactions")
        expect(blocks.digestOf(alone)).toEqual(made.digest)
        expect(alone.targets).toEqual(made.targets)
      }),
    )
  })

  test("the digest covers every part", () => {
    fc.assert(
      fc.property(parts, parts, transactions, transactions, (a, b, one, two) => {
        const variants: ReadonlyArray<readonly [StandardParts<TestDatabases>, ReadonlyArray<Tx>]> = [
          [a, one],
          [{ ...a, height: b.height }, one],
          [{ ...a, targets: b.targets }, one],
          [{ ...a, targets: { ...a.targets, notes: b.targets.notes } }, one],
          [
            { ...a, targets: { ...a.targets, balances: withCanonical([a.targets.balances, b.targets.notes.root]) } },
            one,
          ],
          [{ ...a, context: { ...a.context, round: b.context.round } }, one],
          [{ ...a, context: { ...a.context, leader: b.context.leader } }, one],
          [{ ...a, context: { ...a.context, parent: { ...a.context.parent, view: b.context.parent.view } } }, one],
          [{ ...a, context: { ...a.context, parent: { ...a.context.parent, digest: b.context.parent.digest } } }, one],
          [a, two],
        ]
        const made = variants.map(([given, items]) => blocks.make(given, items))
        const encodings = new Set(made.map((m) => bytesKey(encodeBlock(blocks.codec, m))))
        expect(new Set(made.map(({ digest }) => bytesKey(digest))).size).toBe(encodings.size)
      }),
    )
  })

  test("a body that is filled one by one is the body that is encoded at once", () => {
    const wide = blocksOf(transaction, 200, 300)
    fc.assert(
      fc.property(parts, fc.array(transactions, { maxLength: 8 }), (given, lists) => {
        const items = lists.flat()
        for (const format of [blocks, wide]) {
          const draft = format.draft()
          for (const item of items) {
            const encoded = draft.fit(item)
            if (encoded !== undefined) draft.push(item, encoded)
          }
          const finished = format.finish(given, draft)
          expect(finished).toEqual(format.make(given, draft.transactions))
          expect(decodeBlock(format.codec, encodeBlock(format.codec, finished))).toEqual(finished)
        }
      }),
    )
  })

  test("genesis is empty, at height 0, without a parent", () => {
    const targets = fc.sample(parts, 1)[0]!.targets
    const genesis = blocks.genesis(targets)
    expect(genesis).toMatchObject({ height: 0, transactions: [], targets, parent: new Uint8Array(32) })
    expect(decodeBlock(blocks.codec, encodeBlock(blocks.codec, genesis))).toEqual(genesis)
  })
})

test("another origin is another genesis, and so is none", () => {
  const { targets } = fc.sample(parts, { seed: 1, numRuns: 1 })[0]!
  const made = [undefined, new Uint8Array(0), Uint8Array.of(0), Uint8Array.of(1)].map((origin) =>
    blocks.genesis(targets, origin),
  )
  expect(new Set(made.map(({ digest }) => bytesKey(digest))).size).toBe(4)
  for (const genesis of made) {
    expect(genesis).toMatchObject({ height: 0, transactions: [], targets })
    expect(decodeBlock(blocks.codec, encodeBlock(blocks.codec, genesis))).toEqual(genesis)
  }
})

describe("hostile input", () => {
  const sample = blocks.make(fc.sample(parts, { seed: 1, numRuns: 1 })[0]!, [
    { to: Uint8Array.of(1, 2, 3, 4), note: "one" },
    { to: Uint8Array.of(5, 6, 7, 8), note: "" },
  ])
  const encoded = encodeBlock(blocks.codec, sample)

  test("every prefix and every extension is refused", () => {
    for (let length = 0; length < encoded.length; length++) {
      expect(() => decodeBlock(blocks.codec, encoded.subarray(0, length)), `${length}`).toThrow(DecodeError)
    }
    expect(() => decodeBlock(blocks.codec, Uint8Array.of(...encoded, 0))).toThrow(DecodeError)
  })

  test("every changed byte is refused or is another block in its only encoding", () => {
    for (let at = 0; at < encoded.length; at++) {
      for (const flip of [1, 0x80, 0xff]) {
        const changed = encoded.slice()
        changed[at]! ^= flip
        expect(isTheOnlyEncoding(blocks, changed, sample), `byte ${at} ^ ${flip}`).toBe(true)
      }
    }
  })

  test("random bytes are refused with a DecodeError or are a block in its only encoding", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => isTheOnlyEncoding(blocks, bytes, sample)))
  })

  test("a body over its limit and too many transactions are refused", () => {
    const wide = blocksOf(transaction, 4000, 100)
    const many = Array.from({ length: 9 }, () => ({ to: new Uint8Array(4), note: "" }))
    const long = Array.from({ length: 20 }, () => ({ to: new Uint8Array(4), note: "sixteen bytes ...".slice(0, 16) }))
    for (const items of [many, long]) {
      expect(() => blocks.make(sample, items)).toThrow(RangeError)
      expect(() => decodeBlock(blocks.codec, encodeBlock(wide.codec, wide.make(sample, items)))).toThrow(DecodeError)
    }
  })

  test("an empty range is refused", () => {
    const empty = { ...sample.targets, notes: { ...sample.targets.notes, start: sample.targets.notes.end } }
    expect(() => blocks.make({ ...sample, targets: empty }, [])).toThrow(RangeError)
    const forged = (notesStart: number): Uint8Array => {
      const writer = new ByteWriter().varint(sample.height)
      contextCodec.write(writer, sample.context)
      writer.raw(new Uint8Array(32)).varint(0).varint(1).raw(new Uint8Array(32))
      writer.raw(new Uint8Array(32)).varint(notesStart).varint(7)
      return writer.blob(Uint8Array.of(0)).finish()
    }
    expect(decodeBlock(blocks.codec, forged(6)).transactions).toEqual([])
    for (const start of [7, 8]) expect(() => decodeBlock(blocks.codec, forged(start))).toThrow("empty target range")
  })

  test("a canonical root is there exactly where a member is declared with one", () => {
    const { balances, notes } = sample.targets
    const { canonical: _, ...bare } = balances
    for (const targets of [
      { balances: bare, notes },
      { balances, notes: withCanonical([notes, notes.root]) },
    ]) {
      expect(() => blocks.make({ ...sample, targets }, [])).toThrow(RangeError)
    }
    const swapped = standardBlocks<Tx, TestDatabases>({
      databases: { balances: { canonical: false }, notes: { canonical: true } },
      transaction,
      hasher: nobleHasher,
      bodyBytesMax: 200,
      transactionsMax: 8,
    })
    const other = swapped.make(
      { ...sample, targets: { balances: bare, notes: withCanonical([notes, notes.root]) } },
      [],
    )
    // The same length, and a header that no bit marks: what it means follows from the declaration alone.
    expect(encode(swapped.header, other).length).toBe(encode(blocks.header, sample).length)
    const mistaken = (): unknown => decode(blocks.header, encode(swapped.header, other)).targets.balances
    expect(mistaken).toThrow(DecodeError)
  })

  test("canary: a transaction codec with two encodings of one value breaks the law", () => {
    const lax: Codec<number> = {
      name: "lax",
      size: 1,
      sizeMax: 1,
      write: (writer, value) => writer.u8(value),
      read: (reader) => reader.u8() % 2,
    }
    const format = blocksOf(lax)
    const made = format.make(sample, [1])
    const other = encodeBlock(format.codec, made).slice()
    other[other.length - 1] = 3
    expect(isTheOnlyEncoding(format, other, made)).toBe(false)
  })
})
