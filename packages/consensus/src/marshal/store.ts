/**
 * The marshal's store: logical rows in, logical rows out, over one storage environment (see layout.ts).
 *
 * Invariant: an environment of another chain, another genesis or another format is refused before anything is written,
 * and every row that is read decodes under its bounds or stops the marshal.
 */
import { ByteReader, ByteWriter, bytesEqual, bytesKey, DecodeError, decode } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { StorageDead, type StorageError, StorageReadFailed, type StorageShape } from "@coppice/storage"
import { type Finalization, finalizationCodec, Height, type Round, roundKey } from "@coppice/verify/certificate"
import { Effect } from "effect"
import { type Block, type BlockCodec, decodeBlock } from "../block.ts"
import { CorruptRow, ForeignEnvironment } from "../errors.ts"
import { RECENT_BLOCKS_MAX } from "../limits.ts"
import {
  encodeRow,
  heightBytes,
  KINDS,
  MARSHAL_FORMAT,
  MARSHAL_MAPS,
  type MarshalMap,
  META,
  readFinalization,
  readHeight,
  readRound,
  roundBytes,
} from "./layout.ts"
import type { CachedRef, CacheKind, Row, RowReader } from "./rows.ts"
import { type Floor, laterRound } from "./state.ts"

/** What an opened environment says about the past. */
export interface Loaded {
  readonly processed: Height | undefined
  /** The highest finalization whose block is held. */
  readonly highest: { readonly height: Height; readonly finalization: Finalization } | undefined
  readonly awaited: ReadonlyArray<Finalization>
  readonly roundFloor: Round
  readonly floor: Floor | undefined
  readonly pendingFloor: Finalization | undefined
  /** Height below which final blocks are being removed, or were. */
  readonly retained: Height
}

/** An open environment: rows in, rows out. */
export interface MarshalStore<B extends Block> extends RowReader<B> {
  /** Writes rows atomically; succeeds when they are durable. */
  readonly write: (rows: ReadonlyArray<Row<B>>) => Effect.Effect<void, StorageError>
  readonly finalizationAt: (height: Height) => Finalization | undefined
  readonly load: () => Loaded
  /** The highest round of any row, genesis' round when there is none. */
  readonly highestRound: () => Round
  /** Bytes of a finalized block and of its certificate, as peers get them; undefined unless both are held. */
  readonly finalizedBytes: (height: Height) => Uint8Array | undefined
}

const NO_BYTES = new Uint8Array(0)
const text = new TextEncoder()
const cacheKey = (kind: CacheKind, round: Round): string => `${kind}/${roundKey(round)}`

/** A bounded map that forgets what was put first, half of it at once: one at a time costs a look for the oldest at each. */
const createRecent = <K, V>(max: number) => {
  let [newer, older] = [new Map<K, V>(), new Map<K, V>()]
  return {
    get: (key: K): V | undefined => newer.get(key) ?? older.get(key),
    drop: (key: K): void => {
      newer.delete(key)
      older.delete(key)
    },
    put: (key: K, value: V): void => {
      if (newer.size >= max / 2 && !newer.has(key)) [newer, older] = [new Map(), newer]
      newer.set(key, value)
    },
  }
}

/** A read that failed: what a synchronous read may throw. */
export type ReadFailure = StorageDead | StorageReadFailed | CorruptRow

/** Whether a thrown value is the failure of a read, not a mistake of ours. */
export const isReadFailure = (thrown: unknown): thrown is ReadFailure =>
  thrown instanceof CorruptRow || thrown instanceof StorageDead || thrown instanceof StorageReadFailed

/** Runs synchronous reads; what they throw as failures becomes the effect's failure. */
export const reading = <A>(read: () => A): Effect.Effect<A, ReadFailure> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(read())
    } catch (thrown) {
      if (isReadFailure(thrown)) return Effect.fail(thrown)
      throw thrown
    }
  })

const createStore = <B extends Block>(storage: StorageShape, codec: BlockCodec<B>, genesis: B): MarshalStore<B> => {
  const recentByDigest = createRecent<string, B>(RECENT_BLOCKS_MAX)
  const recentByHeight = createRecent<Height, B>(RECENT_BLOCKS_MAX)
  const recentByRound = createRecent<string, B>(RECENT_BLOCKS_MAX)

  const decoded = <A>(map: MarshalMap, key: Uint8Array, read: () => A): A => {
    try {
      return read()
    } catch (thrown) {
      if (thrown instanceof DecodeError) throw new CorruptRow({ map, key, reason: thrown.message })
      throw thrown
    }
  }
  const parse = <A>(map: MarshalMap, key: Uint8Array, value: Uint8Array, read: (reader: ByteReader) => A): A =>
    decoded(map, key, () => {
      const reader = new ByteReader(value)
      const result = read(reader)
      reader.end()
      return result
    })
  const blockOf = (map: MarshalMap, key: Uint8Array, value: Uint8Array): B => {
    const block = decoded(map, key, () => decodeBlock(codec, value))
    recentByDigest.put(bytesKey(block.digest), block)
    return block
  }
  const finalizationOf = (map: MarshalMap, key: Uint8Array, value: Uint8Array): Finalization =>
    decoded(map, key, () => decode(finalizationCodec, value))

  const finalizedAt = (height: Height): B | undefined => {
    const recent = recentByHeight.get(height)
    if (recent !== undefined) return recent
    const key = heightBytes(height)
    const value = storage.get("finalized", key)
    if (value === undefined) return undefined
    const block = blockOf("finalized", key, value)
    recentByHeight.put(height, block)
    return block
  }
  const cachedRef = (key: Uint8Array): CachedRef =>
    parse("digests", key, key, (reader) => {
      const digest = reader.raw(DIGEST_BYTES)
      const kind = KINDS[reader.u8()]
      if (kind === undefined) throw new DecodeError("unknown kind of cached block", DIGEST_BYTES)
      return { digest, kind, round: readRound(reader) }
    })
  const cachedAt = (kind: CacheKind, round: Round): B | undefined => {
    const recent = recentByRound.get(cacheKey(kind, round))
    if (recent !== undefined) return recent
    const key = roundBytes(round)
    const value = storage.get(kind, key)
    if (value === undefined) return undefined
    const block = blockOf(kind, key, value.subarray(DIGEST_BYTES))
    recentByRound.put(cacheKey(kind, round), block)
    return block
  }

  const byDigest = (digest: Digest): B | undefined => {
    const recent = recentByDigest.get(bytesKey(digest))
    if (recent !== undefined) return recent
    const height = storage.get("heights", digest)
    if (height !== undefined) return finalizedAt(parse("heights", digest, height, readHeight))
    const end = new ByteWriter(DIGEST_BYTES + 1).raw(digest).u8(KINDS.length).finish()
    const ref = storage.scan("digests", { start: digest, end, limit: 1 })[0]
    if (ref === undefined) return undefined
    const { kind, round } = cachedRef(ref.key)
    return cachedAt(kind, round)
  }
  const cachedBefore = (round: Round, limit: number): ReadonlyArray<CachedRef> =>
    KINDS.flatMap((kind) =>
      storage.scan(kind, { end: roundBytes(round), limit }).map(({ key, value }) => ({
        kind,
        round: parse(kind, key, key, readRound),
        digest: value.slice(0, DIGEST_BYTES),
      })),
    ).slice(0, limit)

  const meta = <A>(key: Uint8Array, read: (reader: ByteReader) => A): A | undefined => {
    const value = storage.get("meta", key)
    return value === undefined ? undefined : parse("meta", key, value, read)
  }
  const lastRound = (map: "verified" | "notarized" | "awaited"): Round | undefined => {
    const last = storage.scan(map, { reverse: true, limit: 1 })[0]
    return last === undefined ? undefined : parse(map, last.key, last.key, readRound)
  }
  const highestFinalization = (): Loaded["highest"] => {
    const last = storage.scan("finalizations", { reverse: true, limit: 1 })[0]
    if (last === undefined) return undefined
    return {
      height: parse("finalizations", last.key, last.key, readHeight),
      finalization: finalizationOf("finalizations", last.key, last.value),
    }
  }

  const remember = (row: Row<B>): void => {
    if (row.tag === "finalized") recentByHeight.put(row.block.height, row.block)
    if (row.tag === "finalized" || row.tag === "cached") recentByDigest.put(bytesKey(row.block.digest), row.block)
    if (row.tag === "cached") recentByRound.put(cacheKey(row.kind, row.round), row.block)
    if (row.tag === "pruned") recentByHeight.drop(row.ref.height)
    if (row.tag === "expired") recentByRound.drop(cacheKey(row.ref.kind, row.ref.round))
    if (row.tag === "pruned" || row.tag === "expired") recentByDigest.drop(bytesKey(row.ref.digest))
  }
  const write = (rows: ReadonlyArray<Row<B>>): Effect.Effect<void, StorageError> =>
    Effect.suspend(() => storage.write(rows.flatMap((row) => encodeRow(codec, row)))).pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          for (const row of rows) remember(row)
        }),
      ),
    )

  return {
    finalizedAt,
    isFinalized: (height) =>
      recentByHeight.get(height) !== undefined || storage.get("finalized", heightBytes(height)) !== undefined,
    finalizedFrom: (height) => {
      const entry = storage.scan("finalized", { start: heightBytes(height), limit: 1 })[0]
      return entry === undefined ? undefined : blockOf("finalized", entry.key, entry.value)
    },
    finalizedBelow: (height, limit) =>
      storage.scan("finalized", { end: heightBytes(height), limit }).map(({ key, value }) => ({
        height: parse("finalized", key, key, readHeight),
        digest: decoded("finalized", key, () => decodeBlock(codec, value)).digest,
      })),
    hasFinalization: (height) => storage.get("finalizations", heightBytes(height)) !== undefined,
    cachedAt,
    byDigest,
    cachedBefore,
    write,
    finalizationAt: (height) => {
      const key = heightBytes(height)
      const value = storage.get("finalizations", key)
      return value === undefined ? undefined : finalizationOf("finalizations", key, value)
    },
    load: () => {
      return {
        processed: meta(META.progress, readHeight),
        highest: highestFinalization(),
        roundFloor: meta(META.roundFloor, readRound) ?? genesis.context.round,
        floor: meta(META.floor, (reader) => ({ height: readHeight(reader), round: readRound(reader) })),
        pendingFloor: meta(META.pendingFloor, readFinalization),
        retained: meta(META.retained, readHeight) ?? Height(0),
        awaited: storage.scan("awaited", {}).map(({ key, value }) => finalizationOf("awaited", key, value)),
      }
    },
    highestRound: () => {
      const rounds = [
        lastRound("verified"),
        lastRound("notarized"),
        lastRound("awaited"),
        meta(META.roundFloor, readRound),
      ]
      const finalizations = [highestFinalization()?.finalization, meta(META.pendingFloor, readFinalization)]
      return [...rounds, ...finalizations.map((finalization) => finalization?.proposal.round)].reduce<Round>(
        (highest, round) => (round === undefined ? highest : laterRound(highest, round)),
        genesis.context.round,
      )
    },
    finalizedBytes: (height) => {
      const key = heightBytes(height)
      const finalization = storage.get("finalizations", key)
      const block = storage.get("finalized", key)
      if (finalization === undefined || block === undefined) return undefined
      return new ByteWriter(finalization.length + block.length).raw(finalization).raw(block).finish()
    },
  }
}

/** Whose environment this is. */
export interface Identity {
  readonly chainId: string
  readonly genesis: Digest
}

const hex = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "absent" : Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const foreign = (storage: StorageShape, identity: Identity): ForeignEnvironment | undefined => {
  const format = storage.get("meta", META.format)
  const version = format?.length === 4 ? new ByteReader(format).be32() : undefined
  if (version !== MARSHAL_FORMAT) {
    return new ForeignEnvironment({
      field: "format",
      expected: `${MARSHAL_FORMAT}`,
      actual: `${version ?? hex(format)}`,
    })
  }
  const chain = storage.get("meta", META.chain) ?? NO_BYTES
  if (!bytesEqual(chain, text.encode(identity.chainId))) {
    const actual = new TextDecoder().decode(chain)
    return new ForeignEnvironment({ field: "chain", expected: identity.chainId, actual })
  }
  const genesis = storage.get("meta", META.genesis) ?? NO_BYTES
  if (!bytesEqual(genesis, identity.genesis)) {
    return new ForeignEnvironment({ field: "genesis", expected: hex(identity.genesis), actual: hex(genesis) })
  }
  return undefined
}

/** Opens an environment: creates it for `genesis` when it is empty, refuses it untouched when it is another's. */
export const openStore = Effect.fnUntraced(function* <B extends Block>(
  storage: StorageShape,
  codec: BlockCodec<B>,
  chainId: string,
  genesis: B,
) {
  const isEmpty = yield* reading(() => MARSHAL_MAPS.every((map) => storage.scan(map, { limit: 1 }).length === 0))
  if (isEmpty) {
    yield* storage.write([
      { tag: "put", map: "meta", key: META.format, value: new ByteWriter(4).be32(MARSHAL_FORMAT).finish() },
      { tag: "put", map: "meta", key: META.chain, value: text.encode(chainId) },
      { tag: "put", map: "meta", key: META.genesis, value: genesis.digest },
      ...encodeRow(codec, { tag: "finalized", block: genesis }),
    ])
  } else {
    const refusal = yield* reading(() => foreign(storage, { chainId, genesis: genesis.digest }))
    if (refusal !== undefined) return yield* refusal
  }
  return createStore(storage, codec, genesis)
})
