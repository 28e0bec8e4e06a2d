/**
 * What every open batch has: a parent, what is staged in it, metadata for its commit, and an end.
 *
 * Invariant: once the branch has lost or the batch is closed, every method throws `StaleBatch`. A call that throws has
 * changed nothing.
 */
import { ByteWriter, type Codec } from "@coppice/codec"
import { Location } from "@coppice/merkle"
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "@coppice/verify"
import { type ByteShape, identityIn, isRaw } from "@coppice/verify/log"
import { FloorRegressed, KeyTooLong, OutsideType, StaleBatch, ValueTooLong } from "../errors.ts"
import { SCRATCH_BYTES_KEPT_MAX } from "../limits.ts"
import type { Branch } from "./branches.ts"
import type { LogState } from "./log-state.ts"

/** A batch copies what it is given, so it needs no array for each encoding: a put needs one key and one value at a time. */
const scratch = { key: new ByteWriter(), value: new ByteWriter() }

/** Encodings under way: a codec, or a property that it reads, may use the database itself. */
let encodings = 0

/** The shared writer, or one of its own for an encoding within another: whoever asked for that still needs what is shared. */
const writerFor = (what: "key" | "value"): ByteWriter => {
  if (encodings > 0) return new ByteWriter()
  if (scratch[what].capacity > SCRATCH_BYTES_KEPT_MAX) scratch[what] = new ByteWriter()
  return scratch[what].reset()
}

/** Encodes what a caller gave: a value without an encoding is the caller's, and says so. Throws `OutsideType`. */
const encoded = <T>(what: "key" | "value", codec: Codec<T>, value: T): Uint8Array => {
  const writer = writerFor(what)
  encodings += 1
  try {
    codec.write(writer, value)
  } catch (error) {
    if (error instanceof RangeError) throw new OutsideType(what, codec.name, error)
    throw error
  } finally {
    encodings -= 1
  }
  return writer.written
}

/** Identity of a key; may be the key itself, else it holds until the next one. Throws `OutsideType`. */
export const keyIdentity = <K>(shape: ByteShape<K>, key: K): Uint8Array =>
  isRaw(shape.raw, key) ? key : identityIn(shape, encoded("key", shape.codec, key))

/** Identities of keys that are to be read, in arrays of their own. Throws `OutsideType`. */
export const keyIdentities = <K>(shape: ByteShape<K>, keys: ReadonlyArray<K>): ReadonlyArray<Uint8Array> =>
  keys.map((key) => Uint8Array.from(keyIdentity(shape, key)))

/** Identity of a key within its limit; as `keyIdentity`. Throws `OutsideType`, `KeyTooLong`. */
export const boundedIdentity = <K>(shape: ByteShape<K>, key: K): Uint8Array => {
  const identity = keyIdentity(shape, key)
  if (identity.length > KEY_BYTES_MAX) throw new KeyTooLong(identity.length, KEY_BYTES_MAX)
  return identity
}

/**
 * An encoded value within its limit; may be the value itself, else it holds until the next one. Throws `OutsideType`,
 * `ValueTooLong`.
 */
export const valueBytes = <V>({ raw, codec }: ByteShape<V>, value: V): Uint8Array => {
  const bytes = isRaw(raw, value) ? value : encoded("value", codec, value)
  if (bytes.length > VALUE_BYTES_MAX) throw new ValueTooLong(bytes.length, VALUE_BYTES_MAX)
  return bytes
}

/** Whose batches they are: the branches of one member. */
export interface BatchHome {
  readonly requireUsable: (operation: string, branch: Branch<unknown>) => void
}

/** The content of a layer as far as batches of unkeyed families read it. */
export interface Stated {
  readonly state: LogState
}

/** What a member needs of a batch, whatever is staged in it. */
export interface BatchHandle {
  readonly home: BatchHome
  readonly parent: Branch<unknown>
  open: boolean
  readonly requireOpen: (operation: string) => void
}

/** What a batch holds until it is sealed, with marks to which it can be taken back. */
export interface Staged {
  readonly mark: () => number
  readonly revert: (mark: number) => void
}

/** A batch until it is sealed or closed. `C` is the content of its parent layer. */
export abstract class OpenBatch<V, C> implements BatchHandle {
  /** @internal */
  readonly home: BatchHome
  /** @internal */
  readonly parent: Branch<C>
  /** @internal */
  metadata: Uint8Array | undefined
  /** @internal */
  open = true
  private readonly value: ByteShape<V>

  /** @internal */
  constructor(home: BatchHome, parent: Branch<C>, value: ByteShape<V>) {
    this.home = home
    this.parent = parent
    this.value = value
  }

  /** Puts a value into this batch's commit operation, in place of none. Marks do not cover it. Errors: `ValueTooLong`. */
  withMetadata(value: V | undefined): void {
    this.requireOpen("withMetadata")
    this.metadata = value === undefined ? undefined : Uint8Array.from(valueBytes(this.value, value))
  }

  /** @internal */
  protected abstract get staged(): Staged

  /** A point to which `revert` can return. Marks nest. */
  mark(): number {
    this.requireOpen("mark")
    return this.staged.mark()
  }

  /**
   * Undoes everything staged since a mark. The mark stays valid, those after it are void. Throws `RangeError` on a void mark
   * or one that this batch did not give.
   */
  revert(mark: number): void {
    this.requireOpen("revert")
    this.staged.revert(mark)
  }

  /** @internal */
  requireOpen(operation: string): void {
    if (!this.open) throw new StaleBatch(operation, this.parent.id)
    this.home.requireUsable(operation, this.parent)
  }
}

/** A batch of a family whose floor the caller sets. */
export abstract class FloorBatch<V> extends OpenBatch<V, Stated> {
  /** @internal */
  floor: number | undefined

  /** Operations in the log of the parent state: where this batch's own begin. */
  get size(): Location {
    this.requireOpen("size")
    return Location(this.parent.content!.state.size)
  }

  /**
   * Sets the location below which this batch's state needs no operation; that of the parent when not called. Marks do not
   * cover it. Errors: `FloorRegressed`; sealing throws `FloorBeyondSize` for one above the batch's own commit.
   */
  withFloor(floor: Location): void {
    this.requireOpen("withFloor")
    const before = this.parent.content!.state.floor
    if (Location(floor) < before) throw new FloorRegressed(before, floor)
    this.floor = floor
  }
}
