/**
 * What a layer of a keyed database keeps beside its part of the log.
 *
 * Terms: a *slot* names a key for as long as the key is active; see slot-index.ts.
 */
import { type Codec, encode, Struct, Varint } from "@coppice/codec"
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

/** What the index of a state is, in numbers. */
export type KeyedRecord = Pick<KeyedState, "slots" | "active">

const KeyedRecordCodec: Codec<KeyedRecord> = Struct({ slots: Varint, active: Varint })

/** Index record of a state. */
export const keyedRecord = ({ slots, active }: KeyedRecord): Uint8Array => encode(KeyedRecordCodec, { slots, active })

/** Reads an index record. Throws `MemberCorrupt`. */
export const readKeyedRecord = (space: Space, row: Uint8Array): KeyedRecord => {
  const record = decodeRow(space, "index record", KeyedRecordCodec, row)
  if (record.active > record.slots || record.slots > SLOTS_MAX) throw space.corrupt("index record contradicts itself")
  return record
}
