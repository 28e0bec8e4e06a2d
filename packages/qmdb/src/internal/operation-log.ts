/**
 * The authenticated log of one member: operations, their owners and Merkle nodes, in storage and in layers.
 *
 *   location   0 .......... stored size | layer | layer | layer ...
 *              rows in storage            parts in memory or spilled
 *
 * Terms: *pruned* is the location below which nothing is read but the *pins*, the peaks of the tree there.
 *
 * Invariant: locations below the stored size are read from storage, all others from the layers that the reader sees; a
 * layer keeps its part until the write that carries it is visible.
 */
import type { Digest } from "@coppice/crypto"
import { type Frontier, frontierFromPins, Location, type Position, pinPositions } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import type { Branch } from "./branches.ts"
import type { ByteStore } from "./byte-store.ts"
import type { HeldPart, LogFormat, LogPart } from "./log-part.ts"
import { type LogPlace, LogRows } from "./log-rows.ts"
import type { Pins } from "./log-state.ts"
import type { OperationBuffer } from "./operation-buffer.ts"
import type { Space } from "./space.ts"

/** What of a log lies in storage. */
export interface StoredLog {
  readonly size: number
  readonly pruned: number
  readonly pins: Pins
}

/** Reads the log of one member through layers and storage, and makes the changes that extend it. */
export class OperationLog {
  private readonly space: Space
  private readonly partOf: (layer: number) => LogPart | undefined
  private readonly format: LogFormat
  private readonly rows: LogRows
  /** Operations in storage, and the nodes over them. */
  storedSize: number
  private storedNodes: number
  private pins: Pins
  private prunedNodes: number

  /** `partOf` gives what a live layer adds to the log, by its id. */
  constructor(space: Space, format: LogFormat, stored: StoredLog, partOf: (layer: number) => LogPart | undefined) {
    const { family } = format
    this.space = space
    this.partOf = partOf
    this.format = format
    this.rows = new LogRows(space, format)
    this.storedSize = stored.size
    this.storedNodes = family.size(Location(stored.size))
    this.pins = stored.pins
    this.prunedNodes = family.size(Location(stored.pruned))
  }

  private placeOf(size: number): LogPlace {
    return { operations: size, owners: size, nodes: this.format.family.size(Location(size)) }
  }

  /** Says that the log in storage is another now: a flush, a prune or a rewind is visible. */
  moved({ size, pruned, pins }: StoredLog): void {
    const { family } = this.format
    if (size < this.storedSize) this.rows.forget()
    this.storedSize = size
    this.storedNodes = family.size(Location(size))
    this.pins = pins
    this.prunedNodes = family.size(Location(pruned))
  }

  private part(branch: Branch<unknown>, location: number): LogPart {
    const log = this.partOf(branch.holderOf(location))
    if (log === undefined) throw new Error(`location ${location} is in no live layer`)
    return log
  }

  /** Encoded operation at a location, as a view that holds until the next read. */
  operation(location: number, branch: Branch<unknown>): Uint8Array {
    if (location < this.storedSize) return this.rows.operations.read(location)
    const part = this.part(branch, location)
    return part.operation(location - part.start)
  }

  /** Copies the operation at a location into a buffer of operations under a new owner. */
  copyOperation(location: number, branch: Branch<unknown>, buffer: OperationBuffer, owner: number): void {
    const { fixed } = this.rows
    if (location < this.storedSize && fixed !== undefined) {
      const at = buffer.reserve(fixed.recordBytes, owner)
      fixed.copyBytes(location, 0, fixed.recordBytes, buffer.store, at)
    } else buffer.push(this.operation(location, branch), owner)
  }

  /** Copies bytes `[from, to)` of the operation at a location to `at` of a store that has room. */
  copyBytes(location: number, branch: Branch<unknown>, from: number, to: number, target: ByteStore, at: number): void {
    const { fixed } = this.rows
    if (location < this.storedSize && fixed !== undefined) fixed.copyBytes(location, from, to, target, at)
    else target.write(this.operation(location, branch).subarray(from, to), at)
  }

  /** Owner record at a location. */
  owner(location: number, branch: Branch<unknown>): number {
    if (location < this.storedSize) return this.rows.owners.uint32(location)
    const part = this.part(branch, location)
    return part.owner(location - part.start)
  }

  /** Digest of the node at a position, in a fresh array; `position` must be below the reader's node count. */
  node(position: number, branch: Branch<unknown>): Digest {
    if (position < this.storedNodes) return this.storedNode(position)
    const part = this.partOf(branch.nodeHolderOf(position, this.format.family))
    if (part === undefined) throw new Error(`node ${position} is in no live layer`)
    return part.node(position - part.nodeStart)
  }

  private storedNode(position: number): Digest {
    if (position >= this.prunedNodes) return new Uint8Array(this.rows.nodes.read(position))
    const pin = this.pins.get(position as Position)
    if (pin === undefined) throw new Error(`node ${position} is pruned and no pin`)
    return pin
  }

  /** The pins of a location of the stored log. */
  pinsAt(location: Location): Pins {
    const positions = pinPositions(this.format.family, location)
    return new Map(positions.map((position) => [position, this.storedNode(position)]))
  }

  /** The frontier of the stored log when it had `size` operations. */
  frontierAt(size: Location): Frontier {
    return frontierFromPins(this.format.family, size, [...this.pinsAt(size).values()])
  }

  /** Storage keys of the rows that hold stored operations, each once. */
  rowKeys(locations: ReadonlyArray<number>): ReadonlyArray<Uint8Array> {
    const perRow = this.rows.operations.recordsPerRow
    const rows = new Set<number>()
    for (const location of locations) if (location < this.storedSize) rows.add(Math.floor(location / perRow))
    return Array.from(rows, (row) => this.space.rowKey(row))
  }

  /** Changes that move the parts of consecutive layers into storage. */
  append(parts: ReadonlyArray<HeldPart>, changes: Array<Change>): Generator<undefined, void, void> {
    return this.rows.append(this.placeOf(this.storedSize), parts, changes)
  }

  /** Changes that cut the stored log to `size` operations. */
  cut(size: number, changes: Array<Change>): void {
    this.rows.cut(this.placeOf(size), this.placeOf(this.storedSize), changes)
  }

  /** Changes that remove the rows that lie wholly below location `to`, where those below `from` are gone already. */
  trim(from: number, to: number, changes: Array<Change>): void {
    this.rows.trim(this.placeOf(from), this.placeOf(to), changes)
  }
}
