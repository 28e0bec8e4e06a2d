/**
 * One open keyed database: its layers, its indexes, its log, and how they move between memory and storage.
 *
 *   open: head row -> frontier from pins -> slot pages -> replay of the log from the checkpoint
 *   flush: log rows, undo records -> layers merged into the indexes -> a share of the sweep -> head row
 *
 * Invariant: at every moment, between any two steps of a seal or a flush, each living layer reads exactly its own state.
 */
import { DecodeError, decode, encode } from "@coppice/codec"
import {
  type FamilyName,
  type Frontier,
  family as familyOf,
  frontierFromPins,
  inactivePeaks,
  Location,
  pinPositions,
  rangeProof,
  root as treeRoot,
} from "@coppice/merkle"
import type { Change, StorageError } from "@coppice/storage"
import type { KeyedFormat } from "@coppice/verify"
import { commitFloor, identityOf, isRaw, type KeyText, operationKey, operationValue } from "@coppice/verify/log"
import { Effect } from "effect"
import { OutsideType, ProofUnavailable, StaleBatch } from "../errors.ts"
import type { KeyedReader, OperationsProof } from "../keyed-reader.ts"
import { PROOF_BYTES_MAX, PROOF_OPS_MAX, REWIND_COMMITS_MAX } from "../limits.ts"
import type { Flush, Layer, Member, MemberHome, SealStep } from "../member.ts"
import { type Branch, Branches } from "./branches.ts"
import { ClosedLayers } from "./closed-layers.ts"
import { KeyIndex, NO_SLOT } from "./key-index.ts"
import { type BatchSource, KeyedBatch } from "./keyed-batch.ts"
import {
  dropUndo,
  headChange,
  headOf,
  type KeyedContent,
  type KeyedHead,
  type KeyedState,
  type RetainedCommit,
  readHead,
  targetOf,
  undoChanges,
} from "./keyed-state.ts"
import { SLICE_ITEMS } from "./layout.ts"
import { Kind, OperationLog, ownerKind, ownerSlot } from "./operation-log.ts"
import { type SealHome, type SealInput, type SealTrace, Touched } from "./sealing.ts"
import { INACTIVE, SLOTS_PER_PAGE, SlotIndex } from "./slot-index.ts"
import { PackedRecords, Space } from "./space.ts"
import { Sweep } from "./sweep.ts"

/** Encodes what a caller gave: a value without an encoding is the caller's, and says so. */
const typed = <A>(what: "key" | "value", type: string, encodeIt: () => A): A => {
  try {
    return encodeIt()
  } catch (error) {
    if (error instanceof RangeError) throw new OutsideType(what, type, error)
    throw error
  }
}

/** Seals a batch of one family: which operations its writes become. */
export type Seal = <K, V>(home: SealHome<K, V>, input: SealInput) => Generator<SealStep, KeyedContent, void>

/** One open keyed database. */
export class KeyedMember<K, V> implements Member<KeyedBatch<K, V>, KeyedReader<K, V>>, BatchSource<K, V> {
  readonly reader: KeyedReader<K, V>
  private readonly format: KeyedFormat<K, V>
  private readonly sealBatch: Seal
  private readonly home: MemberHome
  private readonly space: Space
  private readonly branches: Branches<KeyedContent>
  private readonly log: OperationLog<KeyedContent>
  private readonly slots = new SlotIndex()
  private readonly keys: KeyIndex
  private readonly sweep: Sweep
  private readonly closed: ClosedLayers
  /** Keys whose rows are visible and that the unswept changes still hold. */
  private swept: ReadonlyArray<KeyText> = []
  /** What layers that are being sealed have put into the shared indexes. */
  private readonly traces = new Map<Branch<KeyedContent>, SealTrace>()
  private commits: ReadonlyArray<RetainedCommit>
  private flushing = false

  constructor(format: KeyedFormat<K, V>, family: FamilyName, seal: Seal, home: MemberHome) {
    if (home.rewindCommits > REWIND_COMMITS_MAX) throw new RangeError(`at most ${REWIND_COMMITS_MAX} rewind commits`)
    this.format = format
    this.sealBatch = seal
    this.home = home
    this.space = new Space(home)
    this.keys = new KeyIndex(this.space)
    this.closed = new ClosedLayers(this.slots, this.keys)
    const head = readHead(this.space)
    const leaves = Location(head.size)
    const storedNodes = familyOf(family).size(leaves)
    const nodes = new PackedRecords(this.space, "nodes", 32)
    const pins = pinPositions(familyOf(family), leaves).map((position) => new Uint8Array(nodes.read(position)))
    const frontier = frontierFromPins(familyOf(family), leaves, pins)
    this.checkRoot(head, frontier)
    const { size, floor, root, slots, active } = head
    const state: KeyedState = { size, floor, root, frontier, slots, active, freedUsed: 0 }
    const content: KeyedContent = { state, log: undefined, index: undefined }
    this.branches = new Branches(targetOf(state), content, (branch) => this.forget(branch))
    this.log = new OperationLog(this.space, this.branches, format.operationBytes, size, storedNodes)
    this.sweep = new Sweep(head.checkpoint)
    this.commits = head.commits
    const commit = this.log.operation(head.size - 1, this.branches.stored)
    if (this.own(() => commitFloor(format, commit)) !== head.floor)
      throw this.space.corrupt("the last commit is another")
    this.loadIndex(head)
    this.reader = this.makeReader()
  }

  private checkRoot(head: KeyedHead, frontier: Frontier): void {
    const inactive = inactivePeaks(frontier.family, frontier.leaves, Location(head.floor))
    const root = treeRoot(this.home.hasher, frontier, inactive, "backward")
    if (Buffer.compare(root, head.root) !== 0) throw this.space.corrupt("stored nodes do not give the stored root")
  }

  /** Loads the swept index and replays the log from the checkpoint over it. */
  private loadIndex(head: KeyedHead): void {
    this.loadPages(head.slots)
    const stored = this.branches.stored
    for (let location = head.checkpoint; location < head.size; location++) {
      const owner = this.log.owner(location, stored)
      const kind = ownerKind(owner)
      if (kind === Kind.commit) continue
      const slot = ownerSlot(owner)
      this.slots.store(slot, kind === Kind.delete ? INACTIVE : location)
      if (kind === Kind.update) continue
      const key = this.own(() => operationKey(this.format, this.log.operation(location, stored)))
      if (kind === Kind.create) this.keys.replayCreate(key, slot)
      else this.keys.mergeDelete(key)
    }
    const active = this.slots.rebuildFreed(head.slots)
    if (active !== head.active) throw this.space.corrupt(`${active} keys are active, the head row says ${head.active}`)
  }

  /** Reads rows straight into their pages: what a scan returns would lie between them and stay resident. */
  private loadPages(slots: number): void {
    const { space } = this
    const end = Math.ceil(slots / SLOTS_PER_PAGE)
    for (let page = 0; page < end; page++) {
      const row = this.slots.rowOf(page)
      const length = space.storage.getInto("slots", space.rowKey(page), row)
      if (length >= 0 && length !== row.length) throw space.corrupt(`slots: row ${page} has ${length} bytes`)
    }
  }

  get tip(): Layer {
    return this.branches.tip
  }

  get bytes(): number {
    return this.branches.bytes
  }

  get layers(): number {
    return this.branches.count
  }

  identity(key: K): Uint8Array {
    const { key: shape } = this.format
    return isRaw(shape.raw, key) ? key : typed("key", shape.codec.name, () => identityOf(shape, key))
  }

  encode(value: V): Uint8Array {
    const { codec, raw } = this.format.value
    return isRaw(raw, value) ? value : typed("value", codec.name, () => encode(codec, value))
  }

  decode(bytes: Uint8Array): V {
    return this.own(() => decode(this.format.value.codec, bytes))
  }

  /** Reads bytes that this member has written: what does not decode is corrupt. */
  private own<A>(read: () => A): A {
    try {
      return read()
    } catch (error) {
      if (error instanceof DecodeError) throw this.space.corrupt(`an operation does not decode: ${error.message}`)
      throw error
    }
  }

  private locate(identity: Uint8Array, branch: Branch<KeyedContent>): number {
    const slot = this.keys.slotOf(identity, 0, identity.length, branch)
    return slot === NO_SLOT ? INACTIVE : this.slots.locate(slot, branch)
  }

  read(identity: Uint8Array, branch: Branch<KeyedContent>): Uint8Array | undefined {
    const location = this.locate(identity, branch)
    if (location === INACTIVE) return undefined
    return this.own(() => operationValue(this.format, this.log.operation(location, branch)))
  }

  requireUsable(operation: string, branch: Branch<KeyedContent>): void {
    this.branches.requireUsable(operation, branch)
  }

  prefetch(keys: ReadonlyArray<Uint8Array>, branch: Branch<KeyedContent>): Effect.Effect<void, StorageError> {
    const { storage } = this.home
    return Effect.suspend(() =>
      Effect.andThen(
        storage.prefetch(
          "keys",
          keys.map((key) => this.space.identityKey(key)),
        ),
        Effect.suspend(() => {
          const locations = keys.map((key) => this.locate(key, branch)).filter((l) => l !== INACTIVE)
          return storage.prefetch("log", this.log.rowKeys(locations))
        }),
      ),
    )
  }

  private branchOf(layer: Layer): Branch<KeyedContent> {
    return layer as Branch<KeyedContent>
  }

  openBatch(parent: Layer): KeyedBatch<K, V> {
    const branch = this.branchOf(parent)
    this.branches.requireOwn("openBatch", branch)
    return new KeyedBatch<K, V>(this, branch)
  }

  closeBatch(batch: KeyedBatch<K, V>): void {
    batch.open = false
  }

  seal(batch: KeyedBatch<K, V>): Generator<SealStep, Layer, void> {
    if (batch.source !== this) throw new Error("a batch is sealed by the member that opened it")
    batch.requireOpen("seal")
    batch.open = false
    return this.sealing(batch)
  }

  private *sealing(batch: KeyedBatch<K, V>): Generator<SealStep, Layer, void> {
    const { parent } = batch
    this.branches.requireUsable("seal", parent)
    const branch = this.branches.begin(parent, parent.content!.state.size)
    const trace: SealTrace = { touched: new Touched(2 * batch.writes.keys.count + 1), created: [], deleted: [] }
    this.traces.set(branch, trace)
    const home = { format: this.format, hasher: this.home.hasher, log: this.log, slots: this.slots, keys: this.keys }
    try {
      yield* this.closed.clear()
      if (branch.state === "closed") throw new StaleBatch("seal", branch.id)
      const { writes, metadata } = batch
      const content = yield* this.sealBatch(home, { parent, branch, writes, metadata, trace })
      branch.sealed(targetOf(content.state), content, contentBytes(content), "pending")
      return branch
    } finally {
      if (branch.state === "sealing") this.branches.close(branch)
      this.traces.delete(branch)
    }
  }

  /** Notes what a layer leaves in the shared indexes, also when it is still being sealed: nobody may resume that. */
  private forget(branch: Branch<KeyedContent>): void {
    const trace = this.traces.get(branch)
    if (trace !== undefined) this.closed.add(branch, trace.touched.slots, trace.created)
    const index = branch.content?.index
    if (index !== undefined) this.closed.add(branch, index.touched, index.created)
    this.traces.delete(branch)
  }

  apply(layer: Layer): void {
    this.branches.apply(this.branchOf(layer))
  }

  close(layer: Layer): void {
    this.branches.close(this.branchOf(layer))
  }

  flush(): Generator<undefined, Flush, void> | undefined {
    if (this.flushing) throw new Error("a flush is not settled yet")
    const covered = this.branches.applied()
    if (covered.length === 0) return undefined
    this.flushing = true
    return this.prepareFlush(covered)
  }

  private *prepareFlush(covered: ReadonlyArray<Branch<KeyedContent>>): Generator<undefined, Flush, void> {
    const last = covered.at(-1)!
    const { state } = last.content!
    const changes: Array<Change> = []
    yield* this.closed.clear()
    yield* this.dropSwept()
    yield* this.log.append(
      covered.map((branch) => branch.content!.log!),
      changes,
    )
    yield undefined
    const retained = this.retain(covered, changes)
    for (const branch of covered) yield* this.mergeIndex(branch)
    const operations = state.size - this.log.storedSize
    const swept = yield* this.sweep.advance(this.space, this.slots, this.keys, state.size, operations, changes)
    changes.push(headChange(this.space, headOf(state, this.sweep.checkpoint, retained)))
    const settled = (): void => {
      if (this.branches.byId(last.id) !== last) throw new Error("a flush is settled once")
      this.log.storedSize = state.size
      this.log.storedNodes = state.frontier.family.size(state.frontier.leaves)
      this.commits = retained
      this.swept = swept
      this.branches.settle(last, { state, log: undefined, index: undefined })
      if (this.branches.count === 0 && this.closed.empty) this.slots.shrink()
      this.flushing = false
    }
    return { changes, target: last.target, layers: covered.length, settled }
  }

  /** Adds the undo records of the newest commits and removes those that leave the window; the commits that have them then. */
  private retain(covered: ReadonlyArray<Branch<KeyedContent>>, changes: Array<Change>): ReadonlyArray<RetainedCommit> {
    const { rewindCommits } = this.home
    const old = Math.max(0, rewindCommits - covered.length)
    const kept = this.commits.slice(Math.max(0, this.commits.length - old))
    for (const commit of this.commits.slice(0, this.commits.length - kept.length)) dropUndo(this.space, commit, changes)
    const from = Math.max(0, covered.length - rewindCommits)
    for (let i = from; i < covered.length; i++) {
      const parent = i === 0 ? this.branches.stored : covered[i - 1]!
      const { index, state } = covered[i]!.content!
      kept.push(undoChanges(this.space, parent.content!.state, state.size, index!, changes))
    }
    return kept
  }

  /** What the last flush has swept leaves memory, in slices: until then it says what the rows say. */
  private *dropSwept(): Generator<undefined, void, void> {
    const { swept } = this
    this.swept = []
    for (let i = 0; i < swept.length; i++) {
      this.keys.swept(swept[i]!)
      if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
  }

  private *mergeIndex(branch: Branch<KeyedContent>): Generator<undefined, void, void> {
    const { index, state } = branch.content!
    this.slots.consumeFreed(state.freedUsed)
    const { touched, created, deleted } = index!
    // Deletes first: from the moment a slot counts as freed, another branch may give it to a key.
    for (let i = 0; i < deleted.length; i++) {
      this.keys.mergeDelete(deleted[i]!)
      if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
    for (let i = 0; i < touched.length; i++) {
      this.slots.merge(touched[i]!, branch)
      if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
    for (let i = 0; i < created.length; i++) {
      this.keys.mergeCreate(created[i]!, branch)
      if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
  }

  private makeReader(): KeyedReader<K, V> {
    const member = this
    return {
      get target() {
        return member.branches.tip.target
      },
      get active() {
        return member.branches.tip.content!.state.active
      },
      get: (key) => this.readValue(key),
      getMany: (keys) => keys.map((key) => this.readValue(key)),
      locate: (key) => {
        const location = this.locate(this.identity(key), this.branches.tip)
        return location === INACTIVE ? undefined : Location(location)
      },
      prove: (start, max, size) => this.prove(start, max, size),
      prefetch: (keys) =>
        this.prefetch(
          keys.map((key) => this.identity(key)),
          this.branches.tip,
        ),
    }
  }

  private readValue(key: K): V | undefined {
    const bytes = this.read(this.identity(key), this.branches.tip)
    return bytes === undefined ? undefined : this.decode(bytes)
  }

  private prove(start: Location, max: number, size?: Location): OperationsProof {
    const { tip } = this.branches
    const { state } = tip.content!
    const leaves = size ?? Location(state.size)
    if (leaves > state.size) throw new ProofUnavailable("size beyond log", start, leaves)
    if (leaves < 1) throw new ProofUnavailable("not a commit boundary", start, leaves)
    if (start >= leaves) throw new ProofUnavailable("start beyond size", start, leaves)
    const floor = this.own(() => commitFloor(this.format, this.log.operation(leaves - 1, tip)))
    if (floor === undefined) throw new ProofUnavailable("not a commit boundary", start, leaves)
    const { family } = state.frontier
    const operations = this.operationsFrom(start, Math.min(leaves, start + Math.max(1, Math.min(max, PROOF_OPS_MAX))))
    const end = Location(start + operations.length)
    const shape = {
      leaves,
      inactivePeaks: inactivePeaks(family, leaves, Location(floor)),
      bagging: "backward" as const,
    }
    const proof = rangeProof(this.home.hasher, family, shape, { start, end }, ({ position }) =>
      this.log.node(position, tip),
    )
    return { start, operations, proof }
  }

  /** Copies of the operations `[start, end)`, at least one, then as many as `PROOF_BYTES_MAX` allows. */
  private operationsFrom(start: number, end: number): ReadonlyArray<Uint8Array> {
    const operations: Array<Uint8Array> = []
    let bytes = 0
    for (let location = start; location < end; location++) {
      const operation = this.log.operation(location, this.branches.tip)
      bytes += operation.length
      if (operations.length > 0 && bytes > PROOF_BYTES_MAX) break
      operations.push(new Uint8Array(operation))
    }
    return operations
  }
}

/** What a touched slot costs a layer: its entry in the slot index, and itself with its location before. */
const TOUCHED_BYTES = 28 + 12

const contentBytes = (content: KeyedContent): number => {
  const { log, index } = content
  const createdBytes = index!.created.reduce((sum, key) => sum + key.length + 80, 0)
  return (
    log!.operations.byteLength +
    log!.offsets.byteLength +
    log!.owners.byteLength +
    log!.nodes.byteLength +
    index!.touched.length * TOUCHED_BYTES +
    createdBytes
  )
}
