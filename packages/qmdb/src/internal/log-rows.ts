/**
 * The rows that a log takes in an environment: operations, their owners where they have any, and Merkle nodes.
 *
 *   log     operation | operation ...       owners  owner | owner ...       nodes  node | node ...
 *
 * Terms: a *place* is one record in each of the three sequences.
 *
 * Invariant: the layout is the same in a member's storage and in scratch.
 */
import { DIGEST_BYTES } from "@coppice/crypto"
import type { Change } from "@coppice/storage"
import { LOG_ROWS_BYTES_MAX } from "../limits.ts"
import type { HeldPart, LogFormat } from "./log-part.ts"
import { OWNER_BYTES, type Packed, PackedRecords, PackedVariable, type Space } from "./space.ts"

/** A record in each sequence. */
export interface LogPlace {
  readonly operations: number
  readonly owners: number
  readonly nodes: number
}

/** Reads and extends the rows of one log. */
export class LogRows {
  /** Operations of one length; undefined in the variable encoding. */
  readonly fixed: PackedRecords | undefined
  readonly owners: PackedRecords
  readonly nodes: PackedRecords
  readonly owned: boolean
  private readonly variable: PackedVariable | undefined

  constructor(space: Space, { operationBytes, owned }: LogFormat) {
    this.owned = owned
    this.fixed =
      operationBytes === undefined ? undefined : new PackedRecords(space, "log", operationBytes, LOG_ROWS_BYTES_MAX)
    this.variable = operationBytes === undefined ? new PackedVariable(space, "log") : undefined
    this.owners = new PackedRecords(space, "owners", OWNER_BYTES)
    this.nodes = new PackedRecords(space, "nodes", DIGEST_BYTES)
  }

  get operations(): Packed {
    return this.fixed ?? this.variable!
  }

  /** Adds the changes that put consecutive parts at a place, which borrow their bytes. Pauses between the sequences. */
  *append(at: LogPlace, parts: ReadonlyArray<HeldPart>, changes: Array<Change>): Generator<undefined, void, void> {
    const { fixed, owned, owners, nodes } = this
    const of = <A>(field: (part: HeldPart) => A): ReadonlyArray<A> => parts.map(field)
    const [operations, records] = [of((part) => part.operations), of((part) => part.records)]
    if (fixed === undefined) yield* this.variable!.append(at.operations, records, changes)
    else fixed.append(at.operations, operations, changes)
    yield undefined
    const [ownerBytes, nodeBytes] = [of((part) => part.ownerBytes), of((part) => part.nodes)]
    if (owned) owners.append(at.owners, ownerBytes, changes)
    nodes.append(at.nodes, nodeBytes, changes)
  }

  /** Adds the changes that cut the sequences, which end at `end`, to what is before a place. */
  cut(at: LogPlace, end: LogPlace, changes: Array<Change>): void {
    this.operations.cut(at.operations, end.operations, changes)
    if (this.owned) this.owners.cut(at.owners, end.owners, changes)
    this.nodes.cut(at.nodes, end.nodes, changes)
  }

  /** Adds the changes that remove the rows that lie wholly before `to` and not before `from`. */
  trim(from: LogPlace, to: LogPlace, changes: Array<Change>): void {
    this.operations.trim(from.operations, to.operations, changes)
    if (this.owned) this.owners.trim(from.owners, to.owners, changes)
    this.nodes.trim(from.nodes, to.nodes, changes)
  }

  /** Forgets the rows in memory: what they hold has been cut. */
  forget(): void {
    for (const sequence of [this.operations, this.owners, this.nodes]) sequence.forget()
  }
}
