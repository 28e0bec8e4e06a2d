/**
 * One open database with a log, and how its layers move between memory and storage. All families but the compact ones are
 * this, with an index of their own.
 *
 *   open:    head row -> frontier from nodes and pins -> index from its rows and the log beyond the checkpoint
 *   flush:   log rows, undo rows -> layers taken into the index -> a share of the sweep -> head row
 *   prune:   pins, head row; then whole rows below, a slice at a time            (trim)
 *   rewind:  rows beyond the commit go, index entries return to where they were -> head row
 *
 * Invariant: at every moment, between any two steps of a seal or a write, each living layer reads exactly its own state.
 */
import { inactivePeaks, Location, pinPositions, root as treeRoot } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import { PruneRefused, RewindRefused } from "../errors.ts"
import { REWIND_COMMITS_MAX, TRIM_OPERATIONS_MAX } from "../limits.ts"
import type { Flush, Layer, MemberHome, MemberWrite, SealStep, StateCopy } from "../member.ts"
import { BaseMember, type Sealed, whileSealing } from "./base-member.ts"
import type { Branch } from "./branches.ts"
import type { Family, LogIndex, Undo } from "./family.ts"
import { SLICE_ITEMS } from "./layout.ts"
import type { HeldPart } from "./log-part.ts"
import type { LogView } from "./log-proofs.ts"
import {
  type Content,
  dropUndo,
  type Head,
  headChange,
  type LogState,
  MEMBER_VERSION,
  type Pins,
  pinsChange,
  putUndo,
  type RetainedCommit,
  readHead,
  readPins,
} from "./log-state.ts"
import type { BatchHandle } from "./open-batch.ts"
import { OperationLog } from "./operation-log.ts"
import { Space } from "./space.ts"

/** Rows of pruned operations stay until the stored index no longer needs them replayed. */
const trimmable = ({ pruned, checkpoint }: Head): number => Math.min(pruned, checkpoint)

/** See the head of this file. */
export class LogMember<B extends BatchHandle, R, S extends LogState, D> extends BaseMember<B, R, Content<S, D>> {
  private readonly family: Family<B, R, S, D>
  private readonly home: MemberHome
  private readonly space: Space
  private readonly log: OperationLog
  private readonly index: LogIndex<B, R, S, D>
  private head: Head
  private pins: Pins

  constructor(family: Family<B, R, S, D>, home: MemberHome) {
    const { merkle, operationBytes, owned } = family
    const format = { family: merkle, operationBytes, owned }
    super(home, format)
    if (home.rewindCommits > REWIND_COMMITS_MAX) throw new RangeError(`at most ${REWIND_COMMITS_MAX} rewind commits`)
    this.family = family
    this.home = home
    this.space = new Space(home)
    this.head = readHead(this.space)
    const { size, pruned } = this.head
    this.pins = readPins(this.space, merkle, Location(pruned))
    const partOf = (layer: number) => this.branches.byId(layer)?.content?.log
    this.log = new OperationLog(this.space, format, { size, pruned, pins: this.pins }, partOf)
    const { branches, space, log } = this
    this.index = family.open({ space, hasher: home.hasher, log, branches, view: this.makeView() })
    const state = this.stateAt(size)
    if (Buffer.compare(state.root, this.head.root) !== 0)
      throw space.corrupt("stored nodes do not give the stored root")
    if (state.floor !== this.head.floor) throw space.corrupt("the last commit is another")
    this.start(this.index.load(state, this.head))
  }

  private start(state: S): void {
    this.branches.start(this.family.targetOf(state), { state, log: undefined, index: undefined })
  }

  /** The state of the stored log at a commit. Throws `MemberCorrupt` when none stands there. */
  private stateAt(size: number): LogState {
    const floor = this.floorAt(size - 1)
    if (floor === undefined) throw this.space.corrupt(`no commit at location ${size - 1}`)
    const frontier = this.log.frontierAt(Location(size))
    const inactive = inactivePeaks(this.family.merkle, Location(size), Location(floor))
    return { size, floor, root: treeRoot(this.home.hasher, frontier, inactive, "backward"), frontier }
  }

  private floorAt(location: number): number | undefined {
    return this.space.own(() => this.family.commitFloor(this.log.operation(location, this.branches.tip)))
  }

  private makeView(): LogView {
    const member = this
    return {
      get target() {
        return member.branches.tip.target
      },
      get pruned() {
        return member.head.pruned
      },
      get retained() {
        return [...member.head.commits.map(({ parentSize }) => Location(parentSize)), Location(member.head.size)]
      },
      get tip() {
        return member.branches.tip
      },
      get state() {
        return member.branches.tip.content!.state
      },
      floorAt: (location) => member.floorAt(location),
    }
  }

  get reader(): R {
    return this.index.reader
  }

  get pruned(): Location {
    return Location(this.head.pruned)
  }

  protected batchOver(parent: Branch<Content<S, D>>): B {
    return this.index.openBatch(parent)
  }

  protected *sealInto(batch: B, branch: Branch<Content<S, D>>): Generator<SealStep, Sealed<Content<S, D>>, void> {
    yield* whileSealing(branch, this.index.tidy())
    const content = yield* this.index.seal(batch, branch)
    return { content, target: this.family.targetOf(content.state), bytes: this.bytesOf(content) }
  }

  protected forget(branch: Branch<Content<S, D>>): void {
    this.index.forget(branch)
  }

  protected bytesOf(content: Content<S, D>): number {
    return content.log!.bytes + this.index.bytesOf(content)
  }

  *copy(layer: Layer, bytesMax: number): Generator<undefined, StateCopy | undefined, void> {
    const branch = this.branches.own("copy", layer)
    const { start, end } = branch.target
    const pins = pinPositions(this.family.merkle, start).map((position) => this.log.node(position, branch))
    const operations: Array<Uint8Array> = []
    let bytes = 0
    for (let location: number = start; location < end; location++) {
      const operation = this.log.operation(location, branch)
      bytes += operation.length
      if (bytes > bytesMax) return undefined
      operations.push(new Uint8Array(operation))
      if (operations.length % SLICE_ITEMS > 0) continue
      yield undefined
      this.branches.requireUsable("copy", branch)
    }
    return { start, pins, operations }
  }

  protected *planFlush(covered: ReadonlyArray<Branch<Content<S, D>>>): Generator<undefined, Flush, void> {
    const last = covered.at(-1)!
    const { state } = last.content!
    const changes: Array<Change> = []
    yield* this.index.tidy()
    const parts: Array<HeldPart> = []
    for (const branch of covered) parts.push(yield* this.heldPart(branch))
    yield* this.log.append(parts, changes)
    yield undefined
    const commits = this.retain(covered, changes)
    const index = yield* this.index.flush(covered, changes)
    const head: Head = { ...this.headOf(state), checkpoint: index.checkpoint, commits }
    changes.push(headChange(this.space, head))
    return this.planned({ changes, target: last.target, layers: covered.length }, () => {
      this.moved(head, this.pins)
      this.flushed(covered, { state, log: undefined, index: undefined })
      index.settled()
    })
  }

  private headOf(state: S): Head {
    const { size, floor, root } = state
    return { ...this.head, version: MEMBER_VERSION, size, floor, root, index: this.family.record(state) }
  }

  private moved(head: Head, pins: Pins): void {
    this.head = head
    this.pins = pins
    this.log.moved({ size: head.size, pruned: head.pruned, pins })
  }

  /** Adds the undo rows of the newest commits and removes those that leave the window; the commits that have them then. */
  private retain(covered: ReadonlyArray<Branch<Content<S, D>>>, changes: Array<Change>): ReadonlyArray<RetainedCommit> {
    const { rewindCommits } = this.home
    const { commits } = this.head
    const old = Math.max(0, rewindCommits - covered.length)
    const kept = commits.slice(Math.max(0, commits.length - old))
    for (const commit of commits.slice(0, commits.length - kept.length)) dropUndo(this.space, commit, changes)
    for (let i = Math.max(0, covered.length - rewindCommits); i < covered.length; i++) {
      const parent = (i === 0 ? this.branches.stored : covered[i - 1]!).content!.state
      const { index, state } = covered[i]!.content!
      kept.push(this.retained(parent, state.size, this.index.undo(index!), changes))
    }
    return kept
  }

  private retained(parent: S, size: number, { numbers, previous }: Undo, changes: Array<Change>): RetainedCommit {
    const parentSize = parent.size
    putUndo(this.space, { size, parentSize }, numbers, previous, changes)
    return { size, parentSize, parentIndex: this.family.record(parent), entries: numbers.length }
  }

  prune(location: Location): Generator<undefined, MemberWrite, void> | undefined {
    this.requireNoWrite()
    const { state } = this.branches.stored.content!
    const allowed = this.family.prunable(state)
    if (location > allowed) throw new PruneRefused(location, allowed)
    if (location <= this.head.pruned) return undefined
    const pins = this.log.pinsAt(location)
    this.begin()
    return this.planTrim({ ...this.headOf(state), pruned: location }, pins, [pinsChange(this.space, pins)])
  }

  trim(): Generator<undefined, MemberWrite, void> | undefined {
    this.requireNoWrite()
    if (this.head.trimmed >= trimmable(this.head)) return undefined
    this.begin()
    return this.planTrim(this.headOf(this.branches.stored.content!.state), this.pins, [])
  }

  /** The write of a head row with one slice of rows below its pruned location. */
  private *planTrim(next: Head, pins: Pins, changes: Array<Change>): Generator<undefined, MemberWrite, void> {
    const trimmed = Math.max(next.trimmed, Math.min(trimmable(next), next.trimmed + TRIM_OPERATIONS_MAX))
    yield* this.index.trim(next.trimmed, trimmed, changes)
    this.log.trim(next.trimmed, trimmed, changes)
    const head = { ...next, trimmed }
    changes.push(headChange(this.space, head))
    return this.planned({ changes }, () => this.moved(head, pins))
  }

  rewind(size: Location): Generator<undefined, MemberWrite, void> | undefined {
    this.requireNoWrite()
    this.requireNothingApplied()
    if (size === this.head.size) return undefined
    const undone = this.undone(size)
    this.begin()
    this.branches.end()
    return this.planRewind(size, undone)
  }

  /** The commits that a rewind undoes, newest first. Throws `RewindRefused`. */
  private undone(size: Location): ReadonlyArray<RetainedCommit> {
    const refuse = (reason: RewindRefused["reason"]): RewindRefused => new RewindRefused(reason, size, this.head.size)
    const { commits, pruned } = this.head
    if (size < 1 || size > this.head.size) throw refuse("size beyond log")
    if (size - 1 < pruned) throw refuse("commit pruned")
    const floor = this.floorAt(size - 1)
    if (floor === undefined) throw refuse("not a commit boundary")
    if (floor < pruned && this.family.needsFloor) throw refuse("floor pruned")
    const first = commits.findIndex(({ parentSize }) => parentSize === size)
    if (first < 0) throw refuse("outside the window")
    return commits.slice(first).reverse()
  }

  private *planRewind(size: Location, undone: ReadonlyArray<RetainedCommit>): Generator<undefined, MemberWrite, void> {
    const changes: Array<Change> = []
    const to = this.stateAt(size)
    const checkpoint = Math.min(this.head.checkpoint, size)
    yield* this.index.tidy()
    const index = yield* this.index.rewind({ to, undone, checkpoint }, changes)
    for (const commit of undone) dropUndo(this.space, commit, changes)
    this.log.cut(size, changes)
    const commits = this.head.commits.slice(0, this.head.commits.length - undone.length)
    const head: Head = { ...this.headOf(index.state), checkpoint, commits }
    changes.push(headChange(this.space, head))
    return this.planned({ changes }, () => {
      this.moved(head, this.pins)
      index.settled()
      this.start(index.state)
    })
  }
}
