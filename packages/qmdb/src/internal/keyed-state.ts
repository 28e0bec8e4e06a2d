/**
 * What a layer of a keyed database keeps beside its part of the log.
 *
 * Terms: a *slot* names a key for as long as the key is active; see slot-index.ts.
 */
import { Blob, bytesEqual, type Codec, encode, Struct, Varint } from "@coppice/codec"
import { DIGEST_BYTES } from "@coppice/crypto"
import type { KeyText } from "@coppice/verify/log"
import { SLOTS_MAX } from "../limits.ts"
import type { CurrentState } from "./activity.ts"
import { type Content, decodeRow, type LogState } from "./log-state.ts"
import type { Space } from "./space.ts"

/** The state after a commit, in a few numbers. */
export interface KeyedState extends LogState {
  /** Slots ever handed out on this branch. */
  readonly slots: number
  /** Freed slots that this branch has used, as a position in the queue. */
  readonly freedUsed: number
  /** Active keys. */
  readonly active: number
  /** What a `current` database has, and no other. */
  readonly current: CurrentState | undefined
}

/** How a layer changed the index, for merging, closing and undoing it. */
export interface IndexPart {
  /** Slots touched, each once, and their location before the layer. */
  readonly touched: Uint32Array
  readonly previous: Float64Array
  readonly created: ReadonlyArray<KeyText>
  readonly deleted: ReadonlyArray<KeyText>
}

/** The content of a layer. A stored layer keeps its state alone. */
export type KeyedContent = Content<KeyedState, IndexPart>

/** What the index of a state is, in numbers, and the root that tells whether what was derived from it is right. */
export interface KeyedRecord {
  readonly slots: number
  readonly active: number
  /** The canonical root, empty where the family has none. */
  readonly canonical: Uint8Array
}

const KeyedRecordCodec: Codec<KeyedRecord> = Struct({ slots: Varint, active: Varint, canonical: Blob(DIGEST_BYTES) })

const NO_ROOT = new Uint8Array(0)

/** Index record of a state. */
export const keyedRecord = ({ slots, active, current }: Pick<KeyedState, "slots" | "active" | "current">): Uint8Array =>
  encode(KeyedRecordCodec, { slots, active, canonical: current?.canonical.root ?? NO_ROOT })

/** Throws `MemberCorrupt` unless the canonical root of a state that was derived is the one that was written. */
export const requireCanonical = (space: Space, { canonical }: KeyedRecord, current: CurrentState | undefined): void => {
  if (!bytesEqual(canonical, current?.canonical.root ?? NO_ROOT)) {
    throw space.corrupt("the slots do not give the stored canonical root")
  }
}

/** Reads an index record. Throws `MemberCorrupt`. */
export const readKeyedRecord = (space: Space, row: Uint8Array): KeyedRecord => {
  const record = decodeRow(space, "index record", KeyedRecordCodec, row)
  if (record.active > record.slots || record.slots > SLOTS_MAX) throw space.corrupt("index record contradicts itself")
  return record
}
