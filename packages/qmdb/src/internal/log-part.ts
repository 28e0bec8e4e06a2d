/**
 * What one layer adds to the log: operations, their owners and Merkle nodes, in memory until the layer is flushed, or spilled
 * (see spilled-parts.ts).
 *
 * Terms: the *owner* of an operation is the slot of its key with the kind of the operation, packed in 32 bits; only keyed
 * families have them.
 */
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import type { Family } from "@coppice/merkle"
import type { VariableRecords } from "./space.ts"

/** How a log is laid out. */
export interface LogFormat {
  readonly family: Family
  /** Length of every operation in the fixed encoding, else undefined. */
  readonly operationBytes: number | undefined
  /** Whether operations have owners. */
  readonly owned: boolean
}

/** Kinds of operation as the owner map has them. */
export const Kind = { commit: 0, update: 1, create: 2, delete: 3 } as const

/** Owner record of an operation. */
export const ownerOf = (slot: number, kind: number): number => slot * 4 + kind
/** Slot of an owner record. */
export const ownerSlot = (owner: number): number => owner >>> 2
/** Kind of an owner record. */
export const ownerKind = (owner: number): number => owner & 3

/** Reads what one layer adds to the log, wherever it lies. */
export interface LogPart {
  /** Log size before the layer. */
  readonly start: number
  readonly count: number
  /** Position of the first node. */
  readonly nodeStart: number
  readonly nodeCount: number
  /** Bytes of memory. */
  readonly bytes: number
  /** Operation `i`, as a view that holds until the next read. */
  readonly operation: (i: number) => Uint8Array
  /** Owner record of operation `i`. */
  readonly owner: (i: number) => number
  /** Digest of node `i`, in a fresh array. */
  readonly node: (i: number) => Digest
}

/** What sealing made: operation `i` is `operations[offsets[i] .. offsets[i + 1])`. */
export interface LogBytes {
  readonly start: number
  readonly operations: Uint8Array
  readonly offsets: Uint32Array
  readonly owners: Uint32Array
  readonly nodeStart: number
  readonly nodes: Uint8Array
}

/** A part in memory. */
export class HeldPart implements LogPart {
  readonly start: number
  readonly operations: Uint8Array
  readonly offsets: Uint32Array
  readonly owners: Uint32Array
  readonly nodeStart: number
  readonly nodes: Uint8Array

  constructor({ start, operations, offsets, owners, nodeStart, nodes }: LogBytes) {
    this.start = start
    this.operations = operations
    this.offsets = offsets
    this.owners = owners
    this.nodeStart = nodeStart
    this.nodes = nodes
  }

  get count(): number {
    return this.owners.length
  }

  get nodeCount(): number {
    return this.nodes.length / DIGEST_BYTES
  }

  get bytes(): number {
    const { operations, offsets, owners, nodes } = this
    return operations.byteLength + offsets.byteLength + owners.byteLength + nodes.byteLength
  }

  operation(i: number): Uint8Array {
    return this.operations.subarray(this.offsets[i]!, this.offsets[i + 1]!)
  }

  owner(i: number): number {
    return this.owners[i]!
  }

  node(i: number): Digest {
    return this.nodes.slice(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
  }

  /** The operations as records. */
  get records(): VariableRecords {
    return { count: this.count, bytes: this.operations, offsets: this.offsets }
  }

  /** The owners as bytes. */
  get ownerBytes(): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.owners
    return new Uint8Array(buffer, byteOffset, byteLength)
  }
}
