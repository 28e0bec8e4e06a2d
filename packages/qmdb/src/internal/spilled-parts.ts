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
import { type LogPlace, LogRows } from "./log-rows.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import { inSlices } from "./slices.ts"
import type { Packed, Space } from "./space.ts"

/** The first record on a row of its own, not before one. */
const nextRow = ({ recordsPerRow }: Packed, record: number): number => Math.ceil(record / recordsPerRow) * recordsPerRow

/** Memory that a part takes although it is spilled. */
const PART_BYTES = 128

/** A part in scratch rows. */
export class SpilledPart implements LogPart {
  readonly start: number
  readonly count: number
  readonly nodeStart: number
  readonly nodeCount: number
  readonly place: LogPlace
  readonly bytes = PART_BYTES
  private readonly home: SpilledParts

  constructor(home: SpilledParts, { start, count, nodeStart, nodeCount }: LogPart, place: LogPlace) {
    this.home = home
    this.start = start
    this.count = count
    this.nodeStart = nodeStart
    this.nodeCount = nodeCount
    this.place = place
  }

  operation(i: number): Uint8Array {
    return this.home.rows.operations.read(this.place.operations + i)
  }

  owner(i: number): number {
    return this.home.rows.owned ? this.home.rows.owners.uint32(this.place.owners + i) : 0
  }

  node(i: number): Digest {
    return new Uint8Array(this.home.rows.nodes.read(this.place.nodes + i))
  }
}

/** The spilled parts of one member. */
export class SpilledParts {
  readonly rows: LogRows
  private next: LogPlace = { operations: 0, owners: 0, nodes: 0 }
  private released: Array<SpilledPart> = []

  /** `space` is the member's in scratch. */
  constructor(space: Space, format: LogFormat) {
    this.rows = new LogRows(space, format)
  }

  /** Where the rows after those of a part begin. */
  private after({ operations, owners, nodes }: LogPlace, { count, nodeCount }: LogPart): LogPlace {
    return {
      operations: nextRow(this.rows.operations, operations + count),
      owners: nextRow(this.rows.owners, owners + count),
      nodes: nextRow(this.rows.nodes, nodes + nodeCount),
    }
  }

  /** Adds the rows of a part, which borrow its bytes, in slices. Nothing is read of the result before they are written. */
  *plan(part: HeldPart, changes: Array<Change>): Generator<undefined, SpilledPart, void> {
    const place = this.next
    this.next = this.after(place, part)
    yield* this.rows.append(place, [part], changes)
    yield undefined
    return new SpilledPart(this, part, place)
  }

  /** A spilled part in memory again, read in slices. */
  *load(part: SpilledPart): Generator<undefined, HeldPart, void> {
    const { start, nodeStart, nodeCount, count } = part
    const buffer = new OperationBuffer(count, count * (this.rows.fixed?.recordBytes ?? 0))
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
    for (const part of this.released) this.rows.trim(part.place, this.after(part.place, part), changes)
    this.released = []
  }
}
