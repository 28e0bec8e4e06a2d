/**
 * The parts of layers that have been moved out of memory, in a scratch environment.
 *
 *   part in memory --plan--> rows --written--> spilled part --flush--> read back, a slice at a time
 *                                                  \--layer flushed or closed--> released --next plan--> rows removed
 *
 * Terms: *scratch* is an environment that is empty when the process starts: nothing in it is durable, and nothing of it is
 * read after a restart. It has the maps of a log; in each a part takes whole rows, behind those of all parts before it.
 *
 * Invariant: no row is written twice, so what is read of a living part is what was written for it. Rows of a part stay until
 * it is released, and go with the first write that is planned after that.
 */
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import type { Change } from "@coppice/storage"
import { HeldPart, type LogFormat, type LogPart } from "./log-part.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import { inSlices } from "./slices.ts"
import { OWNER_BYTES, type Packed, PackedRecords, PackedVariable, type Space } from "./space.ts"

/** The first record after those of so many, on a row of its own. */
const nextRow = ({ recordsPerRow }: Packed, records: number): number =>
  Math.ceil(records / recordsPerRow) * recordsPerRow

/** Where a part begins in each map. */
interface Place {
  readonly operations: number
  readonly owners: number
  readonly nodes: number
}

/** Memory that a part takes although it is spilled. */
const PART_BYTES = 128

/** A part in scratch rows. */
export class SpilledPart implements LogPart {
  readonly start: number
  readonly count: number
  readonly nodeStart: number
  readonly nodeCount: number
  readonly place: Place
  readonly bytes = PART_BYTES
  private readonly home: SpilledParts

  constructor(home: SpilledParts, { start, count, nodeStart, nodeCount }: LogPart, place: Place) {
    this.home = home
    this.start = start
    this.count = count
    this.nodeStart = nodeStart
    this.nodeCount = nodeCount
    this.place = place
  }

  operation(i: number): Uint8Array {
    return this.home.operations.read(this.place.operations + i)
  }

  owner(i: number): number {
    return this.home.owned ? this.home.owners.uint32(this.place.owners + i) : 0
  }

  node(i: number): Digest {
    return new Uint8Array(this.home.nodes.read(this.place.nodes + i))
  }
}

/** The spilled parts of one member. */
export class SpilledParts {
  readonly owned: boolean
  private readonly fixed: PackedRecords | undefined
  private readonly variable: PackedVariable | undefined
  readonly owners: PackedRecords
  readonly nodes: PackedRecords
  private next: Place = { operations: 0, owners: 0, nodes: 0 }
  private released: Array<SpilledPart> = []

  /** `space` is the member's in scratch. */
  constructor(space: Space, { operationBytes, owned }: LogFormat) {
    this.owned = owned
    this.fixed = operationBytes === undefined ? undefined : new PackedRecords(space, "log", operationBytes)
    this.variable = operationBytes === undefined ? new PackedVariable(space, "log") : undefined
    this.owners = new PackedRecords(space, "owners", OWNER_BYTES)
    this.nodes = new PackedRecords(space, "nodes", DIGEST_BYTES)
  }

  get operations(): Packed {
    return this.fixed ?? this.variable!
  }

  /** Adds the rows of a part, which borrow its bytes, in slices. Nothing is read of the result before they are written. */
  *plan(part: HeldPart, changes: Array<Change>): Generator<undefined, SpilledPart, void> {
    const place = this.next
    this.next = {
      operations: nextRow(this.operations, place.operations + part.count),
      owners: nextRow(this.owners, place.owners + part.count),
      nodes: nextRow(this.nodes, place.nodes + part.nodeCount),
    }
    if (this.fixed !== undefined) this.fixed.append(place.operations, [part.operations], changes)
    else yield* this.variable!.append(place.operations, [part.records], changes)
    yield undefined
    if (this.owned) this.owners.append(place.owners, [part.ownerBytes], changes)
    this.nodes.append(place.nodes, [part.nodes], changes)
    yield undefined
    return new SpilledPart(this, part, place)
  }

  /** A spilled part in memory again, read in slices. */
  *load(part: SpilledPart): Generator<undefined, HeldPart, void> {
    const { start, nodeStart, nodeCount, count } = part
    const buffer = new OperationBuffer(count, count * (this.fixed?.recordBytes ?? 0))
    yield* inSlices(count, (i) => buffer.push(part.operation(i), part.owner(i)))
    const nodes = new Uint8Array(nodeCount * DIGEST_BYTES)
    yield* inSlices(nodeCount, (i) => nodes.set(part.node(i), i * DIGEST_BYTES))
    return new HeldPart({ start, nodeStart, nodes, ...buffer.finish() })
  }

  /** Says that nobody reads a part any more. */
  release(part: SpilledPart): void {
    this.released.push(part)
  }

  /** Adds the removal of the rows of all released parts. */
  removeReleased(changes: Array<Change>): void {
    for (const { place, count, nodeCount } of this.released) {
      const remove = (sequence: Packed, from: number, records: number): void =>
        sequence.trim(from, nextRow(sequence, from + records), changes)
      remove(this.operations, place.operations, count)
      if (this.owned) remove(this.owners, place.owners, count)
      remove(this.nodes, place.nodes, nodeCount)
    }
    this.released = []
  }
}
