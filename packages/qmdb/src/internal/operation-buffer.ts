/**
 * Operations in the making: one growing buffer, their offsets and owners.
 *
 * Invariant: bytes past the last operation are zero, so a fixed-size operation is padded by being shorter.
 */

import { BatchTooLarge } from "../errors.ts"
import { LAYER_OPERATION_BYTES_MAX } from "../limits.ts"

/** Collects the operations of one batch. */
export class OperationBuffer {
  count = 0
  private bytes: Buffer
  private offsets: Uint32Array
  private owners: Uint32Array

  constructor(operations: number, bytes: number) {
    this.bytes = Buffer.alloc(bytes)
    this.offsets = new Uint32Array(operations + 1)
    this.owners = new Uint32Array(operations)
  }

  /**
   * Room for one more operation of `length` bytes; the caller writes it at the returned offset of `target`. Throws
   * `BatchTooLarge`.
   */
  reserve(length: number, owner: number): number {
    const at = this.offsets[this.count]!
    if (at + length > this.bytes.length) this.growBytes(at + length)
    if (this.count === this.owners.length) this.growCount()
    this.owners[this.count] = owner
    this.count += 1
    this.offsets[this.count] = at + length
    return at
  }

  /** The buffer to write into. Ask again after each `reserve`. */
  get target(): Buffer {
    return this.bytes
  }

  /** Appends a whole operation. */
  push(operation: Uint8Array, owner: number): void {
    const at = this.reserve(operation.length, owner)
    this.bytes.set(operation, at)
  }

  /** Operation `i`, as a view. */
  operation(i: number): Uint8Array {
    return this.bytes.subarray(this.offsets[i]!, this.offsets[i + 1]!)
  }

  /** Owner of operation `i`. */
  owner(i: number): number {
    return this.owners[i]!
  }

  /** What was collected, without spare room. */
  finish(): { readonly operations: Uint8Array; readonly offsets: Uint32Array; readonly owners: Uint32Array } {
    const length = this.offsets[this.count]!
    const fits = this.bytes.length - length <= length / 8
    return {
      operations: fits ? this.bytes.subarray(0, length) : Buffer.from(this.bytes.subarray(0, length)),
      offsets: this.offsets.slice(0, this.count + 1),
      owners: this.owners.slice(0, this.count),
    }
  }

  private growCount(): void {
    const capacity = Math.max(64, this.owners.length * 2)
    const offsets = new Uint32Array(capacity + 1)
    offsets.set(this.offsets)
    this.offsets = offsets
    const owners = new Uint32Array(capacity)
    owners.set(this.owners)
    this.owners = owners
  }

  private growBytes(needed: number): void {
    if (needed > LAYER_OPERATION_BYTES_MAX) {
      throw new BatchTooLarge("LAYER_OPERATION_BYTES_MAX", LAYER_OPERATION_BYTES_MAX)
    }
    const bytes = Buffer.alloc(Math.max(needed, Math.min(this.bytes.length * 2, LAYER_OPERATION_BYTES_MAX)))
    bytes.set(this.bytes)
    this.bytes = bytes
  }
}
