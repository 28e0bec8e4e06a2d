/**
 * Operations in the making: one growing buffer, their offsets and owners.
 *
 * Invariant: bytes past the last operation are zero, so a fixed-size operation is padded by being shorter.
 */

import { BatchTooLarge } from "../errors.ts"
import { LAYER_OPERATION_BYTES_MAX } from "../limits.ts"
import { ByteStore } from "./byte-store.ts"
import { firstOf, grown, Room } from "./room.ts"

/** Collects the operations of one batch. */
export class OperationBuffer {
  count = 0
  /** Where operations are written. */
  readonly store: ByteStore
  private offsets: Uint32Array
  private owners: Uint32Array

  constructor(operations: number, bytes: number) {
    this.store = new ByteStore(bytes, true)
    const room = new Room(8 * operations + 4)
    this.offsets = room.uint32s(operations + 1)
    this.owners = room.uint32s(operations)
  }

  /**
   * Room for one more operation of `length` bytes; the caller writes it at the returned offset of `store`. Throws
   * `BatchTooLarge`.
   */
  reserve(length: number, owner: number): number {
    const at = this.offsets[this.count]!
    if (at + length > LAYER_OPERATION_BYTES_MAX) {
      throw new BatchTooLarge("LAYER_OPERATION_BYTES_MAX", LAYER_OPERATION_BYTES_MAX)
    }
    this.store.reserve(at + length, at, LAYER_OPERATION_BYTES_MAX)
    if (this.count === this.owners.length) this.growCount()
    this.owners[this.count] = owner
    this.count += 1
    this.offsets[this.count] = at + length
    return at
  }

  /** Appends a whole operation. */
  push(operation: Uint8Array, owner: number): void {
    const at = this.reserve(operation.length, owner)
    this.store.write(operation, at)
  }

  /** Appends operation `i` again. */
  repeat(i: number, owner: number): void {
    const from = this.offsets[i]!
    const to = this.offsets[i + 1]!
    this.store.copyTo(from, to, this.store, this.reserve(to - from, owner))
  }

  /** Owner of operation `i`. */
  owner(i: number): number {
    return this.owners[i]!
  }

  /** What was collected, without spare room. */
  finish(): { readonly operations: Uint8Array; readonly offsets: Uint32Array; readonly owners: Uint32Array } {
    const { offsets, owners, count } = this
    const length = offsets[count]!
    const { bytes } = this.store
    const fits = bytes.length - length <= length / 8
    return {
      operations: fits ? bytes.subarray(0, length) : Buffer.from(bytes.subarray(0, length)),
      offsets: firstOf(offsets, count + 1),
      owners: firstOf(owners, count),
    }
  }

  private growCount(): void {
    const [offsets, owners] = grown(Math.max(64, this.owners.length), this.offsets, this.owners)
    this.offsets = offsets
    this.owners = owners
  }
}
