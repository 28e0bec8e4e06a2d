/**
 * The life of batches and layers, which is the same for every database: open, seal, apply, close, one write at a time.
 *
 *   openBatch --> seal --> pending layer --> apply --> flush planned --> settled
 *                                   \--> close          (or a prune or rewind planned)
 *
 * Terms: a *write* is a flush, a prune, a trim or a rewind. It is *planned* once its changes are made and *settled* once
 * they are visible.
 *
 * Invariant: at most one write is planned and not settled. A seal that ends early, for whatever reason, leaves no layer.
 */
import type { Location } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import { StaleBatch } from "../errors.ts"
import type { Flush, Layer, Member, MemberHome, MemberWrite, SealStep, StateCopy, SyncTarget } from "../member.ts"
import { type Branch, Branches } from "./branches.ts"
import { HeldPart, type LogFormat, type LogPart } from "./log-part.ts"
import type { LogState } from "./log-state.ts"
import type { BatchHandle } from "./open-batch.ts"
import { Space } from "./space.ts"
import { SpilledPart, SpilledParts } from "./spilled-parts.ts"

/** What every layer has: its state, and until it is flushed what it adds to the log. */
export interface LayerContent {
  readonly state: LogState
  readonly log: LogPart | undefined
}

/** What sealing made of a batch. */
export interface Sealed<C> {
  readonly content: C
  readonly target: SyncTarget
  /** Bytes of memory of the layer. */
  readonly bytes: number
}

/** See the head of this file. */
export abstract class BaseMember<B extends BatchHandle, R, C extends LayerContent> implements Member<B, R> {
  protected readonly branches: Branches<C>
  private readonly spilled: SpilledParts | undefined
  private writing = false

  constructor(home: MemberHome, format: LogFormat) {
    const { scratch } = home
    this.spilled = scratch && new SpilledParts(new Space({ ...home, storage: scratch }), format)
    this.branches = new Branches((branch) => {
      this.forget(branch)
      this.release(branch)
    })
  }

  abstract get reader(): R
  abstract get pruned(): Location
  abstract prune(location: Location): Generator<undefined, MemberWrite, void> | undefined
  abstract trim(): Generator<undefined, MemberWrite, void> | undefined
  abstract rewind(size: Location): Generator<undefined, MemberWrite, void> | undefined
  abstract copy(layer: Layer, bytesMax: number): Generator<undefined, StateCopy | undefined, void>

  /** Bytes of memory of a layer. */
  protected abstract bytesOf(content: C): number
  protected abstract batchOver(parent: Branch<C>): B
  protected abstract sealInto(batch: B, branch: Branch<C>): Generator<SealStep, Sealed<C>, void>
  protected abstract planFlush(covered: ReadonlyArray<Branch<C>>): Generator<undefined, Flush, void>
  /** Takes back what a closed layer, or one that is still being sealed, has left outside itself. */
  protected abstract forget(branch: Branch<C>): void

  get tip(): Layer {
    return this.branches.tip
  }

  get bytes(): number {
    return this.branches.bytes
  }

  get layers(): number {
    return this.branches.count
  }

  openBatch(parent: Layer): B {
    return this.batchOver(this.branches.own("openBatch", parent))
  }

  closeBatch(batch: B): void {
    batch.open = false
  }

  seal(batch: B): Generator<SealStep, Layer, void> {
    if (batch.home !== this.branches) throw new Error("a batch is sealed by the member that opened it")
    batch.requireOpen("seal")
    batch.open = false
    return this.sealing(batch)
  }

  private *sealing(batch: B): Generator<SealStep, Layer, void> {
    const parent = this.branches.own("seal", batch.parent)
    const branch = this.branches.begin(parent, parent.content!.state.size)
    try {
      const { content, target, bytes } = yield* this.sealInto(batch, branch)
      branch.sealed(target, content, bytes, "pending")
      return branch
    } finally {
      if (branch.state === "sealing") this.branches.close(branch)
    }
  }

  apply(layer: Layer): void {
    this.branches.apply(layer)
  }

  close(layer: Layer): void {
    this.branches.close(layer)
  }

  appended(layer: Layer, bytesMax: number): ReadonlyArray<Uint8Array> {
    const branch = this.branches.own("appended", layer)
    const { log } = branch.content!
    if (log === undefined) throw new StaleBatch("appended", layer.id)
    const copies: Array<Uint8Array> = []
    let bytes = 0
    for (let i = 0; i < log.count; i++) {
      const operation = log.operation(i)
      bytes += operation.length
      if (bytes > bytesMax) break
      copies.push(new Uint8Array(operation))
    }
    return copies
  }

  spill(layers: ReadonlyArray<Layer>): Generator<undefined, MemberWrite, void> | undefined {
    return this.spilled === undefined ? undefined : this.planSpill(this.spilled, layers)
  }

  private *planSpill(spilled: SpilledParts, layers: ReadonlyArray<Layer>): Generator<undefined, MemberWrite, void> {
    const changes: Array<Change> = []
    spilled.removeReleased(changes)
    const moves: Array<() => void> = []
    for (const layer of layers) {
      const branch = this.branches.byId(layer.id)
      const log = branch?.content?.log
      if (branch !== layer || !(log instanceof HeldPart)) continue
      const part = yield* spilled.plan(log, changes)
      moves.push(() => {
        const { content } = branch
        if (content?.log !== log) return spilled.release(part)
        const moved = { ...content, log: part }
        branch.keep(moved, this.bytesOf(moved))
      })
    }
    return { changes, settled: () => moves.forEach((move) => void move()) }
  }

  /** What a layer adds to the log, in memory. */
  protected *heldPart({ content }: Branch<C>): Generator<undefined, HeldPart, void> {
    const log = content!.log!
    return log instanceof SpilledPart ? yield* this.spilled!.load(log) : (log as HeldPart)
  }

  /** A layer is closed or flushed: its spilled part is read no more. */
  private release({ content }: Branch<C>): void {
    if (content?.log instanceof SpilledPart) this.spilled!.release(content.log)
  }

  /** A flush of layers is visible; `content` is what stays of the last. */
  protected flushed(covered: ReadonlyArray<Branch<C>>, content: C): void {
    for (const branch of covered) this.release(branch)
    this.branches.settle(covered.at(-1)!, content)
  }

  flush(): Generator<undefined, Flush, void> | undefined {
    const covered = this.branches.applied()
    this.requireNoWrite()
    if (covered.length === 0) return undefined
    this.begin()
    return this.planFlush(covered)
  }

  protected requireNoWrite(): void {
    if (this.writing) throw new Error("a flush, prune or rewind is not settled yet")
  }

  /** Begins to plan a write: no other may be planned before it is settled. */
  protected begin(): void {
    this.writing = true
  }

  protected requireNothingApplied(): void {
    if (this.branches.tip !== this.branches.stored) throw new Error("everything applied is flushed before a rewind")
  }

  /** A write that has been planned. `settle` runs once, when it is visible. */
  protected planned<W extends object>(plan: W, settle: () => void): W & { readonly settled: () => void } {
    let settled = false
    return {
      ...plan,
      settled: () => {
        if (settled) throw new Error("a write is settled once")
        settled = true
        settle()
        this.writing = false
      },
    }
  }
}

/** Runs a part of a seal to its end, unless the layer that is being sealed is closed between two of its steps. */
export function* whileSealing<A>(
  branch: Branch<unknown>,
  work: Generator<undefined, A, void>,
): Generator<undefined, A, void> {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    yield undefined
    requireSealing(branch)
  }
}

/** Throws `StaleBatch` once the layer that is being sealed is closed. */
export const requireSealing = (branch: Branch<unknown>): void => {
  if (branch.state === "closed") throw new StaleBatch("seal", branch.id)
}
