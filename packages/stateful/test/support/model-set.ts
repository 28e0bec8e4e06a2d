/**
 * A database set made of plain maps, for tests of the executor.
 *
 * Every sealed set holds whole maps of both members, so a read needs no other layer; the roots are hashes of the sorted
 * entries. It keeps the contract of `DatabaseSet` and is stricter where a real set forgives: an open batch over a losing
 * state at the moment of an apply is a mistake of the executor (INV-36) and is recorded.
 *
 * Durability: `flush` captures the tip when it starts and passes `gate` before it counts. `crash` is a power loss.
 */
import { createHash } from "node:crypto"
import { type Anchor, Height } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import { type MemberSpec, StaleBatch, type SyncTarget } from "@coppice/qmdb"
import { Effect } from "effect"
import type { AnchorRow, Batches, DatabaseSet, Readers, SealedSet } from "../../src/database-set.ts"
import type { FlushError } from "../../src/errors.ts"
import { targetsEqual } from "../../src/targets.ts"

/** One member's batch: every read and write of a closed batch throws `StaleBatch`. */
export interface ModelBatch {
  readonly get: (key: string) => number
  readonly put: (key: string, value: number) => void
}

/** One member's reader. */
export interface ModelReader {
  readonly get: (key: string) => number
}

export type ModelDatabases = {
  readonly left: MemberSpec<ModelBatch, ModelReader>
  readonly right: MemberSpec<ModelBatch, ModelReader>
}

/** The members' names are all that the executor asks of them. */
export const MODEL_DATABASES = { left: {}, right: {} } as unknown as ModelDatabases

type Side = keyof ModelDatabases
type Content = Readonly<Record<Side, ReadonlyMap<string, number>>>
type ModelTargets = Readonly<Record<Side, SyncTarget>>

const SIDES: ReadonlyArray<Side> = ["left", "right"]
const EMPTY: Content = { left: new Map(), right: new Map() }

const targetOf = (map: ReadonlyMap<string, number>): SyncTarget => ({
  root: createHash("sha256")
    .update(JSON.stringify([...map].sort()))
    .digest(),
  start: Location(0),
  end: Location(map.size + 1),
})

/** What headers commit to for a content: the second member has a canonical root beside its root. */
export const targetsOf = (content: Content): ModelTargets => {
  const right = targetOf(content.right)
  return {
    left: targetOf(content.left),
    right: { ...right, canonical: createHash("sha256").update("canonical").update(right.root).digest() },
  }
}

/** Adds amounts to a content: what a toy block does. */
export const added = (content: Content, changes: ReadonlyArray<readonly [string, number]>): Content => {
  const next = { left: new Map(content.left), right: new Map(content.right) }
  for (const [key, amount] of changes) {
    next.left.set(key, (next.left.get(key) ?? 0) + amount)
    next.right.set(key, (next.right.get(key) ?? 0) + 1)
  }
  return next
}

/** Content of a fresh set. */
export const INITIAL = EMPTY

interface Layer extends SealedSet<ModelDatabases> {
  readonly parent: Layer | undefined
  readonly content: Content
  closed: boolean
}

interface Open {
  readonly parent: Layer
  readonly content: { readonly left: Map<string, number>; readonly right: Map<string, number> }
  closed: boolean
  sealed: boolean
}

/** See the head of this file. */
export class ModelSet implements DatabaseSet<ModelDatabases> {
  /** Nothing executes in these tests that goes back or serves. */
  readonly rewind = (): Effect.Effect<never> => Effect.die("not used here")
  readonly lease = (): Effect.Effect<never> => Effect.die("not used here")
  readonly copy = (): Effect.Effect<never> => Effect.die("not used here")
  readonly appended = () => ({ left: [], right: [] })
  rewindHeights = 64
  /** Heights that were pruned to, in order. */
  readonly prunes: number[] = []
  /** What pruning does besides being written down. */
  pruneGate: Effect.Effect<void, FlushError> = Effect.void
  /** Bytes that a spilled state keeps in memory; without it there is no scratch. */
  spilledBytes: number | undefined
  readonly spill = (
    states: ReadonlyArray<SealedSet<ModelDatabases>>,
  ): Effect.Effect<ReadonlyArray<number>, FlushError> =>
    Effect.sync(() => states.map(({ bytes }) => this.spilledBytes ?? bytes))
  readonly prune = (height: Height): Effect.Effect<void, FlushError> =>
    Effect.tap(this.pruneGate, () => Effect.sync(() => void this.prunes.push(height)))

  tip: Layer
  anchor: Anchor
  durable: Anchor
  /** Passed by every flush before it counts. */
  gate: Effect.Effect<void, FlushError> = Effect.void
  /** Mistakes of whoever uses the set. */
  readonly mistakes: string[] = []
  flushes = 0
  #durableContent: Content
  #nextId = 1
  #flushing = false
  readonly #rows = new Map<number, AnchorRow<ModelDatabases>>()
  readonly #open = new Map<Batches<ModelDatabases>, Open>()
  readonly #pending = new Set<Layer>()

  constructor(anchor: Anchor, content: Content = EMPTY, rows: ReadonlyArray<AnchorRow<ModelDatabases>> = []) {
    this.anchor = this.durable = anchor
    this.#durableContent = content
    this.tip = { id: 0, parent: undefined, targets: targetsOf(content), bytes: 0, content, closed: false }
    for (const row of rows) this.#rows.set(row.height, row)
    this.#rows.set(anchor.height, { ...anchor, targets: this.tip.targets })
  }

  get layers(): number {
    return this.#pending.size
  }

  get bytes(): number {
    return [...this.#pending].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Batches that are open now: none, when no hook runs. */
  get openBatchCount(): number {
    return [...this.#open.values()].filter(({ closed, sealed }) => !closed && !sealed).length
  }

  /** The set as it is found after a power loss. */
  crash(): ModelSet {
    const rows = [...this.#rows.values()].filter(({ height }) => height <= this.durable.height)
    return new ModelSet(this.durable, this.#durableContent, rows)
  }

  openBatches(parent: SealedSet<ModelDatabases>): Batches<ModelDatabases> {
    const layer = parent as Layer
    if (layer.closed || !this.#descends(layer)) throw new StaleBatch("open", layer.id)
    const { left, right } = layer.content
    const open: Open = {
      parent: layer,
      content: { left: new Map(left), right: new Map(right) },
      closed: false,
      sealed: false,
    }
    const use = <A>(run: () => A): A => {
      if (open.closed) throw new StaleBatch("batch", layer.id)
      return run()
    }
    const batch = (side: Side): ModelBatch => ({
      get: (key) => use(() => open.content[side].get(key) ?? 0),
      put: (key, value) => use(() => void open.content[side].set(key, value)),
    })
    const batches = { left: batch("left"), right: batch("right") }
    this.#open.set(batches, open)
    return batches
  }

  seal(batches: Batches<ModelDatabases>): Effect.Effect<SealedSet<ModelDatabases>, StaleBatch> {
    const open = this.#open.get(batches)!
    const { content, parent } = open
    const stale = Effect.suspend(() => Effect.fail(new StaleBatch("seal", parent.id)))
    const slice = Effect.suspend(() => (open.closed || open.sealed ? stale : Effect.yieldNow))
    let layer: Layer | undefined
    const finish = Effect.suspend(() => {
      if (open.closed || open.sealed) return stale
      open.sealed = true
      layer = { id: this.#nextId++, parent, targets: targetsOf(content), bytes: 100, content, closed: false }
      this.#pending.add(layer)
      return Effect.succeed(layer)
    })
    const steps = slice.pipe(Effect.andThen(slice), Effect.andThen(slice), Effect.andThen(finish))
    return Effect.onInterrupt(steps, () => Effect.sync(() => layer && this.#drop(layer)))
  }

  closeBatches(batches: Batches<ModelDatabases>) {
    this.#open.get(batches)!.closed = true
  }

  matches(sealed: SealedSet<ModelDatabases>, targets: ModelTargets): boolean {
    return SIDES.every((side) => targetsEqual(sealed.targets[side], targets[side]))
  }

  apply(sealed: SealedSet<ModelDatabases>, anchor: Anchor) {
    const winner = sealed as Layer
    if (winner.closed || winner.parent !== this.tip) throw new StaleBatch("apply", winner.id)
    this.tip = winner
    this.anchor = anchor
    this.#rows.set(anchor.height, { ...anchor, targets: winner.targets })
    this.#pending.delete(winner)
    for (const { parent, closed, sealed: done } of this.#open.values()) {
      if (!closed && !done && !this.#descends(parent)) this.mistakes.push("INV-36 an open batch over a losing state")
    }
    for (const layer of [...this.#pending]) if (!this.#descends(layer)) this.#drop(layer)
  }

  close(sealed: SealedSet<ModelDatabases>) {
    const root = sealed as Layer
    if (root === this.tip) throw new Error("the tip is never closed")
    for (const layer of [...this.#pending]) {
      for (let at: Layer | undefined = layer; at !== undefined; at = at.parent) if (at === root) this.#drop(layer)
    }
  }

  #drop(layer: Layer) {
    layer.closed = true
    this.#pending.delete(layer)
  }

  #descends(layer: Layer): boolean {
    for (let at: Layer | undefined = layer; at !== undefined; at = at.parent) if (at === this.tip) return true
    return false
  }

  readonly flush: Effect.Effect<Anchor, FlushError> = Effect.suspend(() => {
    if (this.#flushing) this.mistakes.push("INV-29 two flushes at once")
    this.#flushing = true
    const { anchor, tip } = this
    return Effect.map(this.gate, () => {
      this.#flushing = false
      this.#durableContent = tip.content
      this.durable = anchor
      this.flushes++
      return anchor
    })
  }).pipe(Effect.uninterruptible)

  row(height: Height): AnchorRow<ModelDatabases> | undefined {
    return this.#rows.get(height)
  }

  use<A>(_capability: "read", fn: (readers: Readers<ModelDatabases>, anchor: Anchor) => A): A {
    const reader = (side: Side): ModelReader => ({ get: (key) => this.tip.content[side].get(key) ?? 0 })
    return fn({ left: reader("left"), right: reader("right") }, this.anchor)
  }
}

/** The height one above. */
export const above = (height: number): Height => Height(height + 1)
