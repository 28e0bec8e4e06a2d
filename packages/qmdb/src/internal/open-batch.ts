/**
 * What every open batch has: a parent, metadata for its commit, and an end.
 *
 * Invariant: once the branch has lost or the batch is closed, every method throws `StaleBatch`. A call that throws has
 * changed nothing.
 */
import { VALUE_BYTES_MAX } from "@coppice/verify"
import { OutsideType, StaleBatch, ValueTooLong } from "../errors.ts"
import type { Branch } from "./branches.ts"

/** What a batch asks of its database, whatever its family. */
export interface BatchHome {
  readonly requireUsable: (operation: string, parent: Branch<unknown>) => void
}

/** Encodes what a caller gave: a value without an encoding is the caller's, and says so. Throws `OutsideType`. */
export const typed = <A>(what: "key" | "value", type: string, encodeIt: () => A): A => {
  try {
    return encodeIt()
  } catch (error) {
    if (error instanceof RangeError) throw new OutsideType(what, type, error)
    throw error
  }
}

/** An encoded value within its limit. Throws `ValueTooLong`. */
export const boundedValue = (bytes: Uint8Array): Uint8Array => {
  if (bytes.length > VALUE_BYTES_MAX) throw new ValueTooLong(bytes.length, VALUE_BYTES_MAX)
  return bytes
}

/** A batch until it is sealed or closed. `C` is the content of its parent layer. */
export abstract class OpenBatch<V, C> {
  /** @internal */
  readonly home: BatchHome
  /** @internal */
  readonly parent: Branch<C>
  /** @internal */
  metadata: Uint8Array | undefined
  /** @internal */
  open = true

  /** @internal */
  constructor(home: BatchHome, parent: Branch<C>) {
    this.home = home
    this.parent = parent
  }

  /** Encoded value within its limit; may be the value itself. */
  protected abstract valueBytes(value: V): Uint8Array

  /** Puts a value into this batch's commit operation, in place of none. Marks do not cover it. Errors: `ValueTooLong`. */
  withMetadata(value: V | undefined): void {
    this.requireOpen("withMetadata")
    this.metadata = value === undefined ? undefined : Uint8Array.from(this.valueBytes(value))
  }

  /** @internal */
  requireOpen(operation: string): void {
    if (!this.open) throw new StaleBatch(operation, this.parent.id)
    this.home.requireUsable(operation, this.parent)
  }
}
