/**
 * What a marshal's environment holds, read without knowing the application: for people who look at a stopped node.
 *
 * Invariant: reads only, and a bounded number of rows.
 */
import { ByteReader, DecodeError, decode } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import type { StorageShape } from "@coppice/storage"
import { finalizationCodec, type Height, type Round } from "@coppice/verify/certificate"
import { Effect } from "effect"
import { CorruptRow, ForeignEnvironment } from "../errors.ts"
import { MARSHAL_FORMAT, META, readHeight } from "./layout.ts"
import { isReadFailure, type ReadFailure } from "./store.ts"

/** A marshal's environment as its rows describe it. */
export interface MarshalDescription {
  readonly format: number
  readonly chainId: string
  readonly genesis: Digest
  /** Height up to which the executor's acknowledgements are durable; undefined before the first. */
  readonly processed: Height | undefined
  /** Height of the final block that the node began with; undefined for genesis. */
  readonly floor: Height | undefined
  /** Whether a floor waits for its block. */
  readonly isFloorPending: boolean
  /** Lowest and highest final block held; undefined before the first. */
  readonly finalized: { readonly first: Height; readonly last: Height } | undefined
  /** The highest certificate whose block is held; undefined before the first. */
  readonly certified: { readonly height: Height; readonly round: Round } | undefined
}

const heightOf = (bytes: Uint8Array): Height => readHeight(new ByteReader(bytes))

const describe = (storage: StorageShape): MarshalDescription | undefined => {
  const version = storage.get("meta", META.format)
  if (version === undefined) return undefined
  const format = new ByteReader(version).be32()
  if (format !== MARSHAL_FORMAT) {
    throw new ForeignEnvironment({ field: "format", expected: String(MARSHAL_FORMAT), actual: String(format) })
  }
  const edge = (reverse: boolean) => storage.scan("finalized", { reverse, limit: 1 })[0]?.key
  const [first, last, progress] = [edge(false), edge(true), storage.get("meta", META.progress)]
  const floor = storage.get("meta", META.floor)
  const newest = storage.scan("finalizations", { reverse: true, limit: 1 })[0]
  return {
    format,
    chainId: new TextDecoder().decode(storage.get("meta", META.chain)),
    genesis: storage.get("meta", META.genesis) ?? new Uint8Array(DIGEST_BYTES),
    processed: progress === undefined ? undefined : heightOf(progress),
    floor: floor === undefined ? undefined : heightOf(floor),
    isFloorPending: storage.get("meta", META.pendingFloor) !== undefined,
    finalized: first === undefined || last === undefined ? undefined : { first: heightOf(first), last: heightOf(last) },
    certified:
      newest === undefined
        ? undefined
        : { height: heightOf(newest.key), round: decode(finalizationCodec, newest.value).proposal.round },
  }
}

/**
 * Describes what an environment opened with `MARSHAL_MAPS` holds; undefined when it is empty.
 *
 * Errors: `ForeignEnvironment` for an unknown format version, `CorruptRow`, a failed read.
 */
export const describeMarshal = (
  storage: StorageShape,
): Effect.Effect<MarshalDescription | undefined, ForeignEnvironment | ReadFailure> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(describe(storage))
    } catch (thrown) {
      if (thrown instanceof DecodeError) {
        return Effect.fail(new CorruptRow({ map: "meta", key: META.format, reason: thrown.message }))
      }
      if (thrown instanceof ForeignEnvironment || isReadFailure(thrown)) return Effect.fail(thrown)
      throw thrown
    }
  })
