/**
 * The authenticated log of one member: operations, their owners and Merkle nodes, in storage and in layers.
 *
 *   location   0 .......... stored size | layer | layer | layer ...
 *              rows in storage            buffers in memory
 *
 * Terms: the *owner* of an operation is the slot of its key with the kind of the operation, packed in 32 bits.
 *
 * Invariant: locations below the stored size are read from storage, all others from the layers that the reader sees; a
 * layer keeps its buffers until the write that carries them is visible.
 */
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import type { Change } from "@coppice/storage"
import type { Branch, Branches } from "./branches.ts"
import { PACKED_OPERATIONS } from "./layout.ts"
import type { OperationBuffer } from "./operation-buffer.ts"
import { PackedRecords, PackedVariable, type Space } from "./space.ts"

/** Kinds of operation as the owner map has them. */
export const Kind = { commit: 0, update: 1, create: 2, delete: 3 } as const

/** Owner record of an operation. */
export const ownerOf = (slot: number, kind: number): number => slot * 4 + kind
/** Slot of an owner record. */
export const ownerSlot = (owner: number): number => Math.floor(owner / 4)
/** Kind of an owner record. */
export const ownerKind = (owner: number): number => owner % 4

/** What one layer adds to the log. */
export interface LogPart {
  /** Log size before the layer. */
  readonly start: number
  readonly count: number
  readonly operations: Uint8Array
  /** Operation `i` is `operations[offsets[i] .. offsets[i + 1])`. */
  readonly offsets: Uint32Array
  readonly owners: Uint32Array
  /** Position of the first node of `nodes`. */
  readonly nodeStart: number
  readonly nodes: Uint8Array
}

const OWNER_BYTES = 4

/** Reads the log of one member through layers and storage, and makes the changes that extend it. */
export class OperationLog<C extends { readonly log: LogPart | undefined }> {
  private readonly space: Space
  private readonly branches: Branches<C>
  private readonly fixed: PackedRecords | undefined
  private readonly variable: PackedVariable | undefined
  private readonly owners: PackedRecords
  private readonly nodes: PackedRecords
  /** Operations and nodes in storage. */
  storedSize: number
  storedNodes: number

  constructor(
    space: Space,
    branches: Branches<C>,
    operationBytes: number | undefined,
    storedSize: number,
    storedNodes: number,
  ) {
    this.space = space
    this.branches = branches
    this.fixed = operationBytes === undefined ? undefined : new PackedRecords(space, "log", operationBytes)
    this.variable = operationBytes === undefined ? new PackedVariable(space, "log") : undefined
    this.owners = new PackedRecords(space, "owners", OWNER_BYTES)
    this.nodes = new PackedRecords(space, "nodes", DIGEST_BYTES)
    this.storedSize = storedSize
    this.storedNodes = storedNodes
  }

  private part(branch: Branch<C>, location: number): LogPart {
    const log = this.branches.byId(branch.holderOf(location))?.content?.log
    if (log === undefined) throw new Error(`location ${location} is in no live layer`)
    return log
  }

  /** Encoded operation at a location, as a view that holds until the next read. */
  operation(location: number, branch: Branch<C>): Uint8Array {
    if (location < this.storedSize) return (this.fixed ?? this.variable!).read(location)
    const part = this.part(branch, location)
    const i = location - part.start
    return part.operations.subarray(part.offsets[i]!, part.offsets[i + 1]!)
  }

  /** Copies the operation at a location into a buffer of operations under a new owner. */
  copyOperation(location: number, branch: Branch<C>, buffer: OperationBuffer, owner: number): void {
    if (location < this.storedSize && this.fixed !== undefined) {
      const at = buffer.reserve(this.fixed.recordBytes, owner)
      this.fixed.copyTo(location, buffer.store, at)
    } else buffer.push(this.operation(location, branch), owner)
  }

  /** Owner record at a location. */
  owner(location: number, branch: Branch<C>): number {
    if (location >= this.storedSize) {
      const part = this.part(branch, location)
      return part.owners[location - part.start]!
    }
    const row = this.owners.rowOf(location)
    const at = (location % this.owners.recordsPerRow) * OWNER_BYTES
    return (row[at]! | (row[at + 1]! << 8) | (row[at + 2]! << 16) | (row[at + 3]! << 24)) >>> 0
  }

  /** Digest of the node at a position, in a fresh array; `position` must be below the reader's node count. */
  node(position: number, branch: Branch<C>): Digest {
    if (position < this.storedNodes) return new Uint8Array(this.nodes.read(position))
    for (let i = branch.path.length - 1; i >= 0; i--) {
      const part = this.branches.byId(branch.path[i]!)?.content?.log
      if (part === undefined || position < part.nodeStart) continue
      const at = (position - part.nodeStart) * DIGEST_BYTES
      return part.nodes.slice(at, at + DIGEST_BYTES)
    }
    throw new Error(`node ${position} is in no live layer`)
  }

  /** Storage keys of the rows that hold stored operations, each once. */
  rowKeys(locations: ReadonlyArray<number>): ReadonlyArray<Uint8Array> {
    const perRow = this.fixed?.recordsPerRow ?? PACKED_OPERATIONS
    const rows = new Set<number>()
    for (const location of locations) if (location < this.storedSize) rows.add(Math.floor(location / perRow))
    return Array.from(rows, (row) => this.space.rowKey(row))
  }

  /** Changes that move the parts of consecutive layers into storage. */
  *append(parts: ReadonlyArray<LogPart>, changes: Array<Change>): Generator<undefined, void, void> {
    if (this.fixed !== undefined) {
      this.fixed.append(
        this.storedSize,
        parts.map((part) => part.operations),
        changes,
      )
    } else {
      const records = parts.map(({ count, operations, offsets }) => ({ count, bytes: operations, offsets }))
      yield* this.variable!.append(this.storedSize, records, changes)
    }
    yield undefined
    this.owners.append(
      this.storedSize,
      parts.map((part) => new Uint8Array(part.owners.buffer, part.owners.byteOffset, part.owners.byteLength)),
      changes,
    )
    this.nodes.append(
      this.storedNodes,
      parts.map((part) => part.nodes),
      changes,
    )
  }
}
