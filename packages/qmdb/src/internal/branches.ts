/**
 * The tree of layers: who descends from whom, and who is still alive.
 *
 *   stored <- applied <- applied (tip) <- pending <- pending
 *                                     \<- pending              closed when its sibling is applied
 *
 * Terms: the *path* of a layer has the ids of its un-flushed ancestors and itself, by depth; see path.ts.
 *
 * Invariant: a layer points at its ancestors by id alone, so no sealed layer keeps a flushed one alive. `a` is an ancestor
 * of `b` iff `b`'s path has `a`'s id at `a`'s depth.
 */
import type { Family } from "@coppice/merkle"
import { StaleBatch } from "../errors.ts"
import { LAYERS_MAX } from "../limits.ts"
import type { Layer, SyncTarget } from "../member.ts"
import { Path } from "./path.ts"

/** Where a layer is in its life. Only `pending`, `applied` and `stored` layers can be built on. */
export type LayerState = "sealing" | "pending" | "applied" | "stored" | "closed"

/** A layer with its place in the tree; `content` is what a family keeps in it and is dropped once flushed or closed. */
export class Branch<C> implements Layer {
  readonly id: number
  readonly depth: number
  readonly path: Path
  state: LayerState
  content: C | undefined
  private sealedTarget: SyncTarget | undefined
  private heldBytes = 0

  constructor(id: number, depth: number, path: Path, state: LayerState) {
    this.id = id
    this.depth = depth
    this.path = path
    this.state = state
  }

  /** A stored state with nothing under it. */
  static root<C>(id: number, depth: number): Branch<C> {
    return new Branch<C>(id, depth, Path.root(depth, id), "stored")
  }

  /** Id of the layer of this path that holds the operation at a location; the location is not flushed. */
  holderOf(location: number): number {
    return this.path.holderOf(location, this.depth)
  }

  /** Id of the layer of this path that holds the node at a position; the node is not flushed. */
  nodeHolderOf(position: number, family: Family): number {
    return this.path.nodeHolderOf(position, this.depth, family)
  }

  get target(): SyncTarget {
    if (this.sealedTarget === undefined) throw new Error("a layer has no target before it is sealed")
    return this.sealedTarget
  }

  get bytes(): number {
    return this.heldBytes
  }

  /** Whether the layer of that id and depth is this one or an un-flushed ancestor. */
  sees(id: number, depth: number): boolean {
    return depth <= this.depth && this.path.has(id, depth)
  }

  /** Fills in what sealing computed. */
  sealed(target: SyncTarget, content: C, bytes: number, state: LayerState): void {
    this.sealedTarget = target
    this.content = content
    this.heldBytes = bytes
    this.state = state
  }

  /** Replaces the content by the same that takes other memory. */
  keep(content: C, bytes: number): void {
    this.content = content
    this.heldBytes = bytes
  }

  /** Drops the content. */
  release(state: "stored" | "closed"): void {
    this.state = state
    this.content = undefined
    this.heldBytes = 0
  }
}

/** All live layers of one member. `onClose` undoes what a closed layer left in shared indexes. */
export class Branches<C> {
  /** The newest state that a settled flush covers. */
  stored: Branch<C>
  /** The newest applied state. */
  tip: Branch<C>
  private readonly live = new Map<number, Branch<C>>()
  private readonly onClose: (branch: Branch<C>) => void
  /** Ids wrap at 32 bits: no layer lives so long that its own could come again. */
  private nextId = 1

  constructor(onClose: (branch: Branch<C>) => void) {
    this.stored = Branch.root(0, 0)
    this.tip = this.stored
    this.onClose = onClose
  }

  /** Begins at a state in storage, with no layer over it. What `end` ended is not what it was. */
  start(target: SyncTarget, content: C): void {
    if (this.stored.state === "closed") {
      this.stored = Branch.root(this.takeId(), this.stored.depth)
    }
    this.stored.sealed(target, content, 0, "stored")
    this.tip = this.stored
  }

  /** Closes everything, the stored state too, whose content can be read until the next start. Nothing is applied. */
  end(): void {
    for (const branch of [...this.live.values()]) this.drop(branch)
    this.stored.state = "closed"
  }

  private takeId(): number {
    const id = this.nextId
    this.nextId = (this.nextId + 1) | 0
    return id
  }

  /** Un-flushed layers. */
  get count(): number {
    return this.live.size
  }

  /** Bytes held by un-flushed layers. */
  get bytes(): number {
    let sum = 0
    for (const branch of this.live.values()) sum += branch.bytes
    return sum
  }

  /** An un-flushed layer by id. */
  byId(id: number): Branch<C> | undefined {
    return this.live.get(id)
  }

  /** Whether a new batch may build on a layer, or an open one be used. */
  usable(branch: Branch<unknown>): boolean {
    if (branch.state === "closed" || branch.state === "sealing") return false
    return branch === this.tip || this.descends(branch, this.tip)
  }

  /** A layer as the branch it is. Throws `StaleBatch` unless it is usable, and not of another or an earlier member. */
  own(operation: string, layer: Layer): Branch<C> {
    const branch = layer === this.stored ? this.stored : this.live.get(layer.id)
    if (branch !== layer) throw new StaleBatch(operation, layer.id)
    this.requireUsable(operation, branch)
    return branch
  }

  /** Throws `StaleBatch` unless the layer is usable. */
  requireUsable(operation: string, branch: Branch<unknown>): void {
    if (!this.usable(branch)) throw new StaleBatch(operation, branch.id)
  }

  /** Whether `branch` is built on `ancestor`, which is the tip or un-flushed. */
  private descends(branch: Branch<unknown>, ancestor: Branch<C>): boolean {
    if (branch.depth <= ancestor.depth || branch.state === "stored") return false
    return ancestor === this.stored || branch.sees(ancestor.id, ancestor.depth)
  }

  /** Registers a layer that is being sealed over `parent`, whose log has `start` operations. */
  begin(parent: Branch<C>, start: number): Branch<C> {
    if (this.live.size >= LAYERS_MAX) throw new RangeError(`more than ${LAYERS_MAX} un-flushed layers`)
    const id = this.takeId()
    const depth = parent.depth + 1
    const path = parent.path.extend(depth, id, start, this.stored.depth)
    const branch = new Branch<C>(id, depth, path, "sealing")
    this.live.set(id, branch)
    return branch
  }

  /** Closes a layer and everything over it. */
  close(layer: Layer): void {
    if (layer instanceof Branch && layer.state === "closed") return
    const branch = this.live.get(layer.id)
    if (branch !== layer || branch.state === "applied") {
      throw new Error(`layer ${layer.id} is applied or of another member: it cannot be closed`)
    }
    for (const other of [...this.live.values()]) {
      if (other === branch || other.sees(branch.id, branch.depth)) this.drop(other)
    }
  }

  private drop(branch: Branch<C>): void {
    this.live.delete(branch.id)
    this.onClose(branch)
    branch.release("closed")
  }

  /** Moves the tip forward and closes every layer that is neither below nor above the new one. */
  apply(layer: Layer): void {
    const branch = this.own("apply", layer)
    if (branch.state !== "pending") throw new StaleBatch("apply", branch.id)
    for (const other of [...this.live.values()]) {
      if (branch.sees(other.id, other.depth)) other.state = "applied"
      else if (!other.sees(branch.id, branch.depth)) this.drop(other)
    }
    this.tip = branch
  }

  /** Applied and un-flushed layers, oldest first. */
  applied(): ReadonlyArray<Branch<C>> {
    const layers: Array<Branch<C>> = []
    const { path, depth: newest } = this.tip
    for (let depth = this.stored.depth + 1; depth <= newest; depth++) layers.push(this.live.get(path.at(depth))!)
    return layers
  }

  /** A flush of everything up to `branch` has settled. The last of them stays as the stored state. */
  settle(branch: Branch<C>, content: C): void {
    for (const other of [...this.live.values()]) {
      if (!branch.sees(other.id, other.depth)) continue
      this.live.delete(other.id)
      other.release("stored")
    }
    branch.content = content
    this.stored = branch
  }
}
