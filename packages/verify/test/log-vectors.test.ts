/**
 * Goal: proofs of logs, sync records and compact states hold against the published roots, and for nothing else.
 * Method: sync-compact.json, decoded, encoded back, checked, and with each bit flipped; the logs of any-unordered.json,
 * any-ordered.json and immutable-keyless.json, proven at each published state with the prover of the merkle package.
 */
import { Blob, Bytes, type Codec, decode, encode } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import {
  appendLeaves,
  emptyFrontier,
  type FamilyName,
  inactivePeaks,
  Location,
  pinPositions,
  type RangeProof,
  rangeProof,
  rangeProofCodec,
  runJobs,
} from "@coppice/merkle"
import { describe, expect, it } from "vitest"
import {
  type CompactAnswer,
  type CompactRecord,
  checkCompactAnswer,
  checkCompactRecord,
  checkOperations,
  checkOperationsWithPins,
  checkSyncResponse,
  compactRecordCodec,
  compactTargetCodec,
  decodeOperation,
  immutableFormat,
  keyedFormat,
  keylessFormat,
  type OperationFormat,
  restoreCompact,
  type SyncRequest,
  syncRequestCodec,
  syncResponseCodec,
  syncTargetCodec,
} from "../src/index.ts"
import { expectBitsToMatter, hex, unhex, vectors } from "./support/vectors.ts"

interface OpsLevel {
  readonly family: FamilyName
  readonly log: ReadonlyArray<string>
  readonly root: string
  readonly floor: number
  readonly target: string
  readonly pins_at_floor: ReadonlyArray<string>
  readonly boundary_proof: { readonly start: number; readonly count: number; readonly encoded: string }
  readonly historical_proof: {
    readonly size: number
    readonly root: string
    readonly start: number
    readonly count: number
    readonly encoded: string
  }
}

interface Compact {
  readonly family: FamilyName
  readonly size: number
  readonly floor: number
  readonly root: string
  readonly commit_operation: string
  readonly commit_proof: string
  readonly peaks_at_size: ReadonlyArray<string>
  readonly peaks_below_commit: ReadonlyArray<string>
  readonly target: string
  readonly durable_record: string
}

const { ops_level, compact } = vectors("sync-compact.json") as {
  readonly ops_level: ReadonlyArray<OpsLevel>
  readonly compact: ReadonlyArray<Compact>
}

const hasher = opensslHasher
const reencoded = <T>(codec: Codec<T>, encoded: string): string => hex(encode(codec, decode(codec, unhex(encoded))))

describe.each(ops_level)("sync-compact.json, operations of a log, $family", (published) => {
  const { root, log, pins_at_floor, boundary_proof, historical_proof } = published
  const format = keyedFormat({ key: Bytes(32), value: Bytes(32), family: published.family })
  const typed = (start: number, count: number) =>
    log.slice(start, start + count).map((text) => decodeOperation(format, unhex(text)))

  it("the target", () => {
    const codec = syncTargetCodec(format)
    expect(decode(codec, unhex(published.target))).toEqual({
      root: unhex(root),
      start: published.floor,
      end: log.length,
    })
    expect(reencoded(codec, published.target)).toBe(published.target)
    expect(() => encode(codec, { root: unhex(root), start: Location(3), end: Location(3) })).toThrow(RangeError)
  })

  it("operations at the floor, with the pins", () => {
    const { start, count, encoded } = boundary_proof
    const operations = typed(start, count)
    const pins = pins_at_floor.map(unhex)
    const check = (bytes: Uint8Array) =>
      checkOperationsWithPins(
        hasher,
        format,
        { start: Location(start), operations, proof: decode(rangeProofCodec(format.family), bytes) },
        pins,
        unhex(root),
      )
    expectBitsToMatter(check, unhex(encoded), "every bit", "boundary")
  })

  it("operations of an earlier state", () => {
    const { size, start, count, encoded, root: earlier } = historical_proof
    const operations = typed(start, count)
    const check = (bytes: Uint8Array) => {
      const proof = decode(rangeProofCodec(format.family), bytes)
      return checkOperations(hasher, format, { start: Location(start), operations, proof }, unhex(earlier))
    }
    expect(decode(rangeProofCodec(format.family), unhex(encoded)).leaves).toBe(size)
    expectBitsToMatter(check, unhex(encoded), "every bit", "historical")
  })

  it("requests and responses: an answer holds for its question alone", () => {
    const { start, count, encoded } = boundary_proof
    const proof = decode(rangeProofCodec(format.family), unhex(encoded))
    const size = Location(log.length)
    const request: SyncRequest = { tag: "operations", size, start: Location(start), max: count }
    expect(decode(syncRequestCodec(format), encode(syncRequestCodec(format), request))).toEqual(request)
    const codec = syncResponseCodec(format)
    const bytes = encode(codec, { tag: "operations", proof, operations: typed(start, count) })
    const tagOf = (change: Partial<typeof request>) =>
      checkSyncResponse(hasher, format, { ...request, ...change } as SyncRequest, decode(codec, bytes), unhex(root))
        ?._tag
    expectBitsToMatter(
      (changed) => checkSyncResponse(hasher, format, request, decode(codec, changed), unhex(root)),
      bytes,
      "every bit",
      "response",
    )
    expect(tagOf({ size: Location(log.length - 1) })).toBe("SizeMismatch")
    expect(tagOf({ max: count - 1 })).toBe("OperationCount")
    expect(tagOf({ start: Location(start - 1) })).toBeDefined()
    expect(tagOf({ tag: "boundary" } as never)).toBe("KindMismatch")
    for (const none of [
      { ...request, max: 0 },
      { ...request, start: size },
    ]) {
      expect(() => encode(syncRequestCodec(format), none)).toThrow(RangeError)
    }
  })
})

describe.each(compact)("sync-compact.json, compact, $family, size $size, floor $floor", (published) => {
  const format = keylessFormat({ value: Bytes(8), family: published.family })
  const target = decode(compactTargetCodec(format), unhex(published.target))
  const record = decode(compactRecordCodec(format), unhex(published.durable_record))

  it("the record gives the state, and no bit of it is without meaning", () => {
    expect(target).toEqual({ root: unhex(published.root), size: published.size })
    expect(reencoded(compactTargetCodec(format), published.target)).toBe(published.target)
    expect(reencoded(compactRecordCodec(format), published.durable_record)).toBe(published.durable_record)
    expect(record.pins.map(hex)).toEqual(published.peaks_below_commit)
    const state = restoreCompact(hasher, format, record)
    if (state._tag !== "State") throw new Error(state._tag)
    expect(state.frontier.peaks.map(hex)).toEqual(published.peaks_at_size)
    expect(hex(state.root)).toBe(published.root)
    expect(state.commit.floor).toBe(published.floor)
    const check = (bytes: Uint8Array) =>
      checkCompactRecord(hasher, format, decode(compactRecordCodec(format), bytes), target)
    expectBitsToMatter(check, unhex(published.durable_record), "every bit", "record")
  })

  it("the answer of a source holds, and no bit of it is without meaning", () => {
    const commit = decodeOperation(format, unhex(published.commit_operation))
    if (commit.tag !== "commit") throw new Error(commit.tag)
    const peaks = published.peaks_at_size.map(unhex)
    const answer = (proof: RangeProof): CompactAnswer<Uint8Array> => ({ size: target.size, peaks, commit, proof })
    const codec = rangeProofCodec(format.family)
    const check = (bytes: Uint8Array) => checkCompactAnswer(hasher, format, answer(decode(codec, bytes)), target)
    expectBitsToMatter(check, unhex(published.commit_proof), "every bit", "answer")
    const sound = answer(decode(codec, unhex(published.commit_proof)))
    const tagOf = (change: Partial<CompactAnswer<Uint8Array>>) =>
      checkCompactAnswer(hasher, format, { ...sound, ...change }, target)?._tag
    expect(tagOf({ size: Location(target.size + 1) })).toBe("SizeMismatch")
    expect(tagOf({ peaks: peaks.slice(1) })).toBe("PinCount")
    expect(tagOf({ peaks: peaks.with(0, peaks[0]!.with(0, peaks[0]![0]! ^ 1)) })).toBe("RootMismatch")
    expect(tagOf({ peaks: peaks.with(0, new Uint8Array(31)) })).toBe("PinLength")
    expect(tagOf({ commit: { ...commit, floor: target.size } })).toBe("FloorAboveCommit")
    expect(tagOf({ commit: { ...commit, metadata: new Uint8Array(8).fill(7) } })).toBe("RootMismatch")
  })

  it("a record that is none says why", () => {
    const tagOf = (change: Partial<CompactRecord>) =>
      checkCompactRecord(hasher, format, { ...record, ...change }, target)?._tag
    const append = encode(format.operation, { tag: "append", value: new Uint8Array(8) })
    const beyond = encode(format.operation, { tag: "commit", metadata: undefined, floor: target.size })
    expect(tagOf({ size: Location(target.size + 1) })).toBe("SizeMismatch")
    expect(tagOf({ commit: append })).toBe("NotACommit")
    expect(tagOf({ commit: beyond })).toBe("FloorAboveCommit")
    expect(tagOf({ commit: record.commit.slice(1) })).toBe("MalformedCommit")
    expect(tagOf({ pins: [...record.pins, target.root] })).toBe("PinCount")
    expect(tagOf({ pins: record.pins.with(0, new Uint8Array(33)) })).toBe("PinLength")
    expect(() => decode(compactTargetCodec(format), unhex(`${published.root}00`))).toThrow("without operations")
  })
})

interface Published {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly new_operations: ReadonlyArray<{ readonly encoded: string }>
}
interface Log {
  readonly family: FamilyName
  readonly encoding: string
  readonly steps: ReadonlyArray<{ readonly genesis?: Published; readonly after?: Published }>
}

type AnyFormat = OperationFormat<Uint8Array, never>

const encodingOf = ({ family, encoding }: Log) => ({
  family,
  encoding: encoding.startsWith("fixed") ? ("fixed" as const) : ("variable" as const),
})
const keyed = (ordered: boolean) => (log: Log) =>
  keyedFormat({
    key: Bytes(32),
    value: log.encoding.endsWith("length-prefixed value") ? Blob(64) : Bytes(32),
    ordered,
    ...encodingOf(log),
  }) as unknown as AnyFormat
const immutable = (log: Log) =>
  immutableFormat({ key: Bytes(32), value: Bytes(32), ...encodingOf(log) }) as unknown as AnyFormat
const keyless = (log: Log) =>
  keylessFormat({
    value: log.encoding.startsWith("fixed") ? Bytes(8) : Blob(64),
    ...encodingOf(log),
  }) as unknown as AnyFormat

const logs: ReadonlyArray<readonly [string, ReadonlyArray<Log>, (log: Log) => AnyFormat]> = [
  ["any-unordered.json", (vectors("any-unordered.json") as { cases: ReadonlyArray<Log> }).cases, keyed(false)],
  ["any-ordered.json", (vectors("any-ordered.json") as { cases: ReadonlyArray<Log> }).cases, keyed(true)],
  [
    "immutable-keyless.json, immutable",
    (vectors("immutable-keyless.json") as { immutable: ReadonlyArray<Log> }).immutable,
    immutable,
  ],
  [
    "immutable-keyless.json, keyless",
    (vectors("immutable-keyless.json") as { keyless: ReadonlyArray<Log> }).keyless,
    keyless,
  ],
]

describe.each(logs)("%s", (_, cases, formatOf) => {
  it.each(cases)("operations of every state, typed and with their pins: $family, $encoding", (log) => {
    const format = formatOf(log)
    const { family } = format
    const encoded: Array<Uint8Array> = []
    for (const { genesis, after } of log.steps) {
      const state = (after ?? genesis)!
      encoded.push(...state.new_operations.map((operation) => unhex(operation.encoded)))
      expect(encoded.length).toBe(state.size)
      const offsets = new Uint32Array(encoded.length + 1)
      for (const [i, { length }] of encoded.entries()) offsets[i + 1] = offsets[i]! + length
      const source = { count: encoded.length, bytes: Buffer.concat(encoded), offsets }
      const { nodes } = runJobs(hasher, appendLeaves(emptyFrontier(family), source))
      const at = (position: number) => nodes.slice(position * 32, position * 32 + 32)
      const leaves = Location(state.size)
      const shape = {
        leaves,
        inactivePeaks: inactivePeaks(family, leaves, Location(state.floor)),
        bagging: "backward",
      } as const
      const start = Location(Math.floor(state.size / 3))
      const proof = rangeProof(hasher, family, shape, { start, end: leaves }, ({ position }) => at(position))
      const operations = encoded.slice(start).map((bytes) => decodeOperation(format, bytes))
      const pins = pinPositions(family, start).map(at)
      const claim = { start, operations, proof }
      const root = unhex(state.ops_root)
      expect(checkOperationsWithPins(hasher, format, claim, pins, root), `${state.size}`).toBeUndefined()
      const wrong = { ...claim, operations: operations.toReversed() }
      const same = encoded.slice(start).every((bytes, i, all) => hex(bytes) === hex(all.at(-1 - i)!))
      if (!same) expect(checkOperations(hasher, format, wrong, root)?._tag).toBe("RootMismatch")
    }
  })
})
