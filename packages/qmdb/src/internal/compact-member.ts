/**
 * A compact database: the last commits of a log and the peaks below each of them. History is discarded.
 *
 *   seal --> root, record --apply--> tip --flush--> rows:  head `h`   sizes of the retained commits, the stored one last
 *                                                          record `c` per size: commit, size, peaks below the commit
 *
 * Terms: appending the commit of a record to its peaks gives back the tree, the root and the proof of the commit.
 *
 * Invariant: roots equal those of the full database of the same family. Readers are given durable states alone. What a layer
 * adds is discarded once it is flushed.
 * Source: spec qmdb §13.
 */
import { type Codec, encode, List, Struct, U8, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import {
  appendLeaves,
  type Frontier,
  frontierFromPins,
  inactivePeaks,
  Location,
  pinPositions,
  type RangeProof,
  rangeProof,
  runJobs,
} from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import {
  type CommitOperation,
  type CompactRecord,
  compactRecordCodec,
  decodeOperation,
  type OperationFormat,
  restoreCompact,
} from "@coppice/verify"
import { commitOperation } from "@coppice/verify/log"
import type { CompactCommit, CompactReader } from "../compact.ts"
import { ProofUnavailable, PruneRefused, RewindRefused } from "../errors.ts"
import { REWIND_COMMITS_MAX } from "../limits.ts"
import type { Flush, Layer, MemberHome, MemberSpec, MemberWrite, SealStep, StateCopy } from "../member.ts"
import { type Authenticated, authenticateFloored, type FlooredBatch } from "./authenticate.ts"
import { BaseMember, type LayerContent, type Sealed } from "./base-member.ts"
import type { Branch } from "./branches.ts"
import { decodeRow, type LogState, MEMBER_VERSION, targetOf } from "./log-state.ts"
import type { BatchHandle, BatchHome, Stated } from "./open-batch.ts"
import type { OperationBuffer } from "./operation-buffer.ts"
import { Space } from "./space.ts"
import { synchronous } from "./synchronous.ts"

/** The content of a layer. */
interface CompactContent extends LayerContent {
  readonly record: CompactRecord
}

interface Tagged {
  readonly tag: string
}

/** What a compact family is: its batch, and which operations its writes become. */
export interface CompactFamily<B, V, O extends Tagged> {
  readonly format: OperationFormat<V, O | CommitOperation<V>>
  readonly openBatch: (home: BatchHome, parent: Branch<Stated>) => B
  readonly operations: (batch: B, branch: Branch<unknown>) => Generator<undefined, OperationBuffer, void>
}

interface Head {
  readonly version: number
  readonly sizes: ReadonlyArray<number>
}

const HeadCodec: Codec<Head> = Struct({ version: U8, sizes: List(Varint, REWIND_COMMITS_MAX + 1) })

const META = "meta"

const headChange = (space: Space, sizes: ReadonlyArray<number>): Change => ({
  tag: "put",
  map: META,
  key: space.textKey("h"),
  value: encode(HeadCodec, { version: MEMBER_VERSION, sizes }),
})

const readHead = (space: Space): Head => {
  const row = space.storage.get(META, space.textKey("h"))
  if (row === undefined) throw space.corrupt("head row is missing")
  if (row[0] !== MEMBER_VERSION) {
    throw space.corrupt(`head row has version ${row[0]}, this code knows ${MEMBER_VERSION}`)
  }
  const head = decodeRow(space, "head row", HeadCodec, row)
  const { sizes } = head
  const ordered = sizes.length > 0 && sizes.every((size, i) => size > (sizes[i - 1] ?? 0))
  if (!ordered) throw space.corrupt("head row contradicts itself")
  return head
}

const recordKey = (space: Space, size: number): Buffer => {
  const tail = Buffer.allocUnsafe(7)
  tail.write("c", 0, "latin1")
  tail.writeUIntBE(size, 1, 6)
  return space.textKey(tail.toString("latin1"))
}

/** Peaks of the tree below the commit that ends `log`, from what was there before and what the log adds. */
const pinsBelowCommit = (before: Frontier, { state, log }: Authenticated): ReadonlyArray<Digest> => {
  const { family } = before
  const old = new Map(family.peaks(before.leaves).map(({ position }, i) => [position, before.peaks[i]!]))
  return pinPositions(family, Location(state.size - 1)).map((position) => {
    const at = (position - log.nodeStart) * DIGEST_BYTES
    return at >= 0 ? log.nodes.slice(at, at + DIGEST_BYTES) : old.get(position)!
  })
}

const recordOf = (before: Frontier, sealed: Authenticated): CompactRecord => {
  const { log, state } = sealed
  const commit = Uint8Array.from(log.operations.subarray(log.offsets[log.count - 1]!))
  return { commit, size: Location(state.size), pins: pinsBelowCommit(before, sealed) }
}

/** See the head of this file. */
class CompactMember<B extends BatchHandle & FlooredBatch, V, O extends Tagged> extends BaseMember<
  B,
  CompactReader<V>,
  CompactContent
> {
  readonly reader: CompactReader<V>
  private readonly family: CompactFamily<B, V, O>
  private readonly home: MemberHome
  private readonly space: Space
  private readonly hasher: Hasher
  private readonly record: Codec<CompactRecord>
  /** Sizes of the commits in storage, oldest first, the stored state last. */
  private sizes: ReadonlyArray<number>

  constructor(family: CompactFamily<B, V, O>, home: MemberHome) {
    if (home.rewindCommits > REWIND_COMMITS_MAX) throw new RangeError(`at most ${REWIND_COMMITS_MAX} rewind commits`)
    const { family: merkle, operationBytes } = family.format
    super(home, { family: merkle, operationBytes, owned: false })
    this.family = family
    this.home = home
    this.space = new Space(home)
    this.hasher = synchronous(home.hasher)
    this.record = compactRecordCodec(family.format)
    this.sizes = readHead(this.space).sizes
    this.startAt(this.sizes.at(-1)!)
    this.reader = this.makeReader()
  }

  private startAt(size: number): void {
    const { content } = this.restore(size)
    this.branches.start(targetOf(content.state), content)
  }

  /** The state of a commit in storage. Throws `MemberCorrupt`. */
  private restore(size: number): { readonly content: CompactContent; readonly commit: CommitOperation<V> } {
    const { space } = this
    const row = space.storage.get(META, recordKey(space, size))
    if (row === undefined) throw space.corrupt(`record of commit ${size} is missing`)
    const record = decodeRow(space, `record of commit ${size}`, this.record, row)
    const state = restoreCompact(this.hasher, this.family.format, record)
    if (state._tag !== "State" || record.size !== size) {
      throw space.corrupt(`record of commit ${size} is not one: ${state._tag}`)
    }
    const { frontier, commit, root } = state
    return { content: { state: { size, floor: commit.floor, root, frontier }, record, log: undefined }, commit }
  }

  protected batchOver(parent: Branch<CompactContent>): B {
    return this.family.openBatch(this.branches, parent)
  }

  protected *sealInto(batch: B, branch: Branch<CompactContent>): Generator<SealStep, Sealed<CompactContent>, void> {
    const { format, operations } = this.family
    const buffer = yield* operations(batch, branch)
    const sealed = yield* authenticateFloored(this.home.hasher, format, batch, branch, buffer)
    const { state } = sealed
    const record = recordOf(batch.parent.content!.state.frontier, sealed)
    const content = { state, record, log: sealed.log }
    return { content, target: targetOf(state), bytes: this.bytesOf(content) }
  }

  protected bytesOf({ state, record, log }: CompactContent): number {
    const digests = DIGEST_BYTES * (record.pins.length + state.frontier.peaks.length)
    return record.commit.length + digests + log!.bytes
  }

  *copy(layer: Layer): Generator<undefined, StateCopy, void> {
    const { commit, size, pins } = this.branches.own("copy", layer).content!.record
    return { start: Location(size - 1), pins, operations: [commit] }
  }

  protected forget(): void {}

  // A record is small: nothing here is worth a pause.
  protected *planFlush(covered: ReadonlyArray<Branch<CompactContent>>): Generator<undefined, Flush, void> {
    const last = covered.at(-1)!
    const kept = this.home.rewindCommits + 1
    const sizes = [...this.sizes, ...covered.map((branch) => branch.content!.state.size)].slice(-kept)
    const changes: Array<Change> = []
    for (const size of this.sizes) {
      if (size < sizes[0]!) changes.push({ tag: "remove", map: META, key: recordKey(this.space, size) })
    }
    for (const branch of covered) {
      const { record } = branch.content!
      if (record.size < sizes[0]!) continue
      const value = encode(this.record, record)
      changes.push({ tag: "put", map: META, key: recordKey(this.space, record.size), value })
    }
    changes.push(headChange(this.space, sizes))
    return this.planned({ changes, target: last.target, layers: covered.length }, () => {
      this.sizes = sizes
      this.flushed(covered, { ...last.content!, log: undefined })
    })
  }

  get pruned(): Location {
    return Location(0)
  }

  /** There is no history to forget. */
  prune(location: Location): undefined {
    const { floor } = this.branches.stored.content!.state
    if (location > floor) throw new PruneRefused(location, floor)
  }

  trim(): undefined {}

  rewind(size: Location): Generator<undefined, MemberWrite, void> | undefined {
    this.requireNoWrite()
    this.requireNothingApplied()
    const stored = this.sizes.at(-1)!
    if (size === stored) return undefined
    if (size < 1 || size > stored) throw new RewindRefused("size beyond log", size, stored)
    if (!this.sizes.includes(size)) throw new RewindRefused("outside the window", size, stored)
    this.begin()
    this.branches.end()
    return this.planRewind(size)
  }

  private *planRewind(size: number): Generator<undefined, MemberWrite, void> {
    const sizes = this.sizes.filter((retained) => retained <= size)
    const changes: Array<Change> = this.sizes
      .slice(sizes.length)
      .map((gone) => ({ tag: "remove", map: META, key: recordKey(this.space, gone) }))
    changes.push(headChange(this.space, sizes))
    return this.planned({ changes }, () => {
      this.sizes = sizes
      this.startAt(size)
    })
  }

  private makeReader(): CompactReader<V> {
    const member = this
    return {
      get target() {
        return member.branches.tip.target
      },
      get retained() {
        return member.sizes.map(Location)
      },
      commit: (size) => member.commit(size ?? Location(member.sizes.at(-1)!)),
    }
  }

  private commit(size: Location): CompactCommit<V> {
    if (!this.sizes.includes(size)) throw new ProofUnavailable("not a commit boundary", size, this.sizes.at(-1)!)
    const { content, commit } = this.restore(size)
    const { state, record } = content
    const proof = this.prove(record, state.floor)
    return { record, root: state.root, peaks: state.frontier.peaks, commit, proof }
  }

  /** The proof of the commit of a record alone: what is before it follows from the pins. */
  private prove({ commit, size, pins }: CompactRecord, floor: number): RangeProof {
    const { family } = this.family.format
    const start = Location(size - 1)
    const source = { count: 1, bytes: commit, offsets: Uint32Array.of(0, commit.length) }
    const { nodes } = runJobs(this.hasher, appendLeaves(frontierFromPins(family, start, pins), source))
    const below = new Map(pinPositions(family, start).map((position, i) => [position, pins[i]!]))
    const inactive = inactivePeaks(family, size, Location(floor))
    const shape = { leaves: size, inactivePeaks: inactive, bagging: "backward" as const }
    return rangeProof(this.hasher, family, shape, { start, end: size }, ({ position }) => {
      const at = (position - family.size(start)) * DIGEST_BYTES
      return at >= 0 ? nodes.slice(at, at + DIGEST_BYTES) : below.get(position)!
    })
  }
}

/** The record of a copied state. Throws `RangeError` when it is more than a commit. */
const recordFrom = ({ start, pins, operations }: StateCopy): CompactRecord => {
  const [commit] = operations
  if (commit === undefined || operations.length > 1) throw new RangeError("a compact state is one commit")
  return { commit, size: Location(start + 1), pins }
}

/** The changes that create a compact database in an empty place. */
const restoreRows = <V, O extends Tagged>(
  format: OperationFormat<V, O | CommitOperation<V>>,
  home: MemberHome,
  copy: StateCopy,
): ReadonlyArray<Change> => {
  const space = new Space(home)
  const record = recordFrom(copy)
  stateOf(format, synchronous(home.hasher), record)
  const value = encode(compactRecordCodec(format), record)
  return [{ tag: "put", map: META, key: recordKey(space, record.size), value }, headChange(space, [record.size])]
}

/** The state that a record stands for. Throws `RangeError` when it stands for none. */
const stateOf = <V, O extends Tagged>(
  format: OperationFormat<V, O | CommitOperation<V>>,
  hasher: Hasher,
  record: CompactRecord,
): LogState => {
  const state = restoreCompact(hasher, format, record)
  if (state._tag !== "State") throw new RangeError(`a record is no state: ${state._tag}`)
  const { root, frontier, commit } = state
  return { size: record.size, floor: commit.floor, root, frontier }
}

/** The description of a compact family under the name of its format. */
export const compactSpec = <B extends BatchHandle & FlooredBatch, V, O extends Tagged>(
  name: string,
  family: CompactFamily<B, V, O>,
): MemberSpec<B, CompactReader<V>> => {
  const { format } = family
  const genesis: StateCopy = { start: Location(0), pins: [], operations: [commitOperation(format, undefined, 0)] }
  return {
    format: name,
    canonical: false,
    initialTarget: (hasher) => targetOf(stateOf(format, synchronous(hasher), recordFrom(genesis))),
    create: (home) => restoreRows(format, home, genesis),
    restore: (home, copy) => restoreRows(format, home, copy),
    decodeOperation: (operation) => decodeOperation(format, operation),
    open: (home) => new CompactMember(family, home),
  }
}
