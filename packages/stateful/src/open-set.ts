/**
 * The open set: sets of layers, and the one write that makes them durable.
 *
 *   durable --> applied, applied = tip --> pending --> pending      apply: a child of the tip becomes the tip,
 *                                     \--> pending                         its siblings' branches close
 *
 * Terms: a *sealed set* is one layer of every member. *Pending* are the live sealed sets that are not applied; every one
 * of them descends from the tip.
 *
 * Invariant: what happens to one member happens to all of them in the same turn: opening, applying, closing. Only sealing
 * and flushing take several turns; the first is invisible until its last one, the second captures all members in its
 * first. No sealed set refers to its parent: the registry names parents by id, so flushed layers are let go.
 */
import type { Codec } from "@coppice/codec"
import type { Anchor, Height } from "@coppice/consensus"
import type { Hasher } from "@coppice/crypto"
import {
  type Flush,
  type Layer,
  type Location,
  type Member,
  type MemberWrite,
  type SealStep,
  StaleBatch,
  type StateCopy,
  type SyncTarget,
} from "@coppice/qmdb"
import { type Change, StorageDead, type StorageShape } from "@coppice/storage"
import { Effect, type Scope, Semaphore } from "effect"
import type { Targets } from "./application.ts"
import type { AnchorRow, Batches, DatabaseSet, Databases, Readers, SealedSet, StateCopies } from "./database-set.ts"
import { type FlushError, HeightNotRetained, type SealError } from "./errors.ts"
import { SCRATCH_BYTES_FREE_MIN } from "./limits.ts"
import { putAnchor, putRow, removeRow } from "./root-record.ts"
import { runInSlices } from "./slices.ts"
import { targetsEqual } from "./targets.ts"

/** Batches and readers have the member's own types; the set only passes them on. */
export type AnyMember = Member<unknown, unknown>

/** What an open set is made of. */
export interface OpenSetParts<M extends Databases> {
  readonly name: string
  readonly names: ReadonlyArray<keyof M & string>
  readonly members: ReadonlyArray<AnyMember>
  readonly storage: StorageShape
  readonly scratch: StorageShape | undefined
  readonly hasher: Hasher
  readonly row: Codec<AnchorRow<M>>
  /** Rows in storage, oldest first, the last one at the anchor. */
  readonly rows: ReadonlyArray<AnchorRow<M>>
  readonly rewindHeights: number
}

class SetLayer<M extends Databases> implements SealedSet<M> {
  readonly id: number
  readonly parent: number
  readonly targets: Targets<M>
  readonly layers: ReadonlyArray<Layer>

  constructor(id: number, parent: number, targets: Targets<M>, layers: ReadonlyArray<Layer>) {
    this.id = id
    this.parent = parent
    this.targets = targets
    this.layers = layers
  }

  get bytes(): number {
    return this.layers.reduce((sum, { bytes }) => sum + bytes, 0)
  }
}

interface OpenBatches<M extends Databases> {
  readonly parent: SetLayer<M>
  readonly batches: ReadonlyArray<unknown>
  state: "open" | "sealing" | "sealed" | "closed"
}

const must = (held: boolean, rule: string): void => {
  if (!held) throw new Error(`database set: ${rule}`)
}

/** See the head of this file. Made by `openDatabaseSet`. */
export class OpenSet<M extends Databases> implements DatabaseSet<M> {
  readonly #parts: OpenSetParts<M>
  readonly #readers: Readers<M>
  readonly #rows: Map<number, AnchorRow<M>>
  readonly #pending = new Map<number, SetLayer<M>>()
  readonly #applied: Array<SetLayer<M>> = []
  readonly #open = new WeakMap<object, OpenBatches<M>>()
  #tip: SetLayer<M>
  #anchor: Anchor
  #durable: Anchor
  #nextId = 1
  #flushing = false
  /** One write at a time, in order of asking: members plan one at a time, and a flush waits for one slice of a prune at most. */
  readonly #writing = Semaphore.makeUnsafe(1)
  #dead: StorageDead | undefined
  /** One entry per holder: equal rows of different holders are different entries. */
  readonly #leases = new Set<AnchorRow<M>>()
  /** Where each member begins, the write that makes it so included that may still be under way. */
  readonly #forgotten: number[]

  constructor(parts: OpenSetParts<M>) {
    const { names, members, rows } = parts
    this.#parts = parts
    this.#forgotten = members.map(({ pruned }) => pruned)
    this.#readers = Object.fromEntries(names.map((name, i) => [name, members[i]!.reader])) as Readers<M>
    this.#rows = new Map(rows.map((row) => [row.height, row]))
    const { height, round, digest, targets } = rows.at(-1)!
    this.#anchor = this.#durable = { height, round, digest }
    this.#tip = this.#stored(0, targets)
  }

  #stored(id: number, targets: Targets<M>): SetLayer<M> {
    const layers = this.#parts.members.map(({ tip }) => tip)
    return new SetLayer(id, -1, targets, layers)
  }

  get tip(): SealedSet<M> {
    return this.#tip
  }
  get anchor(): Anchor {
    return this.#anchor
  }
  get durable(): Anchor {
    return this.#durable
  }
  get bytes(): number {
    return this.#parts.members.reduce((sum, { bytes }) => sum + bytes, 0)
  }
  get rewindHeights(): number {
    return this.#parts.rewindHeights
  }
  get layers(): number {
    return this.#pending.size + this.#applied.length
  }

  #isLive(sealed: SealedSet<M>): sealed is SetLayer<M> {
    return sealed === this.#tip || this.#pending.get(sealed.id) === sealed
  }

  #requireAlive(): void {
    if (this.#dead !== undefined) throw this.#dead
  }

  readonly openBatches = (parent: SealedSet<M>): Batches<M> => {
    this.#requireAlive()
    if (!this.#isLive(parent)) throw new StaleBatch("open", parent.id)
    const { names, members } = this.#parts
    const batches: unknown[] = []
    try {
      for (const [i, member] of members.entries()) batches.push(member.openBatch(parent.layers[i]!))
    } catch (error) {
      for (const [i, batch] of batches.entries()) members[i]!.closeBatch(batch)
      throw error
    }
    const named = Object.freeze(Object.fromEntries(names.map((name, i) => [name, batches[i]]))) as Batches<M>
    this.#open.set(named, { parent, batches, state: "open" })
    return named
  }

  readonly closeBatches = (batches: Batches<M>): void => {
    const open = this.#opened(batches)
    if (open.state === "open") this.#closeFrom(open, 0)
    // A seal under way finds out at its next step and cleans up itself.
    if (open.state !== "sealed") open.state = "closed"
  }

  #closeFrom({ batches }: OpenBatches<M>, first: number): void {
    for (let i = first; i < batches.length; i++) this.#parts.members[i]!.closeBatch(batches[i])
  }

  #opened(batches: Batches<M>): OpenBatches<M> {
    const open = this.#open.get(batches)
    if (open === undefined) throw new Error("database set: batches that this set did not open together")
    return open
  }

  readonly seal = (batches: Batches<M>): Effect.Effect<SealedSet<M>, SealError> =>
    Effect.suspend(() => {
      if (this.#dead !== undefined) return Effect.fail(this.#dead)
      const open = this.#opened(batches)
      if (open.state === "closed") return Effect.fail(new StaleBatch("seal", open.parent.id))
      return runInSlices<SealedSet<M>, SealError>(this.#sealing(open), this.#parts.hasher)
    })

  #register(parent: SetLayer<M>, layers: ReadonlyArray<Layer>): SetLayer<M> {
    const targets = this.#named<SyncTarget>((_, i) => layers[i]!.target)
    const sealed = new SetLayer<M>(this.#nextId++, parent.id, targets, layers)
    this.#pending.set(sealed.id, sealed)
    return sealed
  }

  *#sealing(open: OpenBatches<M>): Generator<SealStep, SealedSet<M>, void> {
    const { members } = this.#parts
    const layers: Layer[] = []
    must(open.state === "open", "batches are sealed once")
    open.state = "sealing"
    try {
      for (let i = 0; i < members.length; i++) layers.push(yield* this.#sealMember(members[i]!, open, i))
      open.state = "sealed"
      return this.#register(open.parent, layers)
    } finally {
      if (open.state !== "sealed") {
        open.state = "closed"
        for (const [i, layer] of layers.entries()) members[i]!.close(layer)
        this.#closeFrom(open, layers.length)
      }
    }
  }

  *#sealMember(member: AnyMember, open: OpenBatches<M>, i: number): Generator<SealStep, Layer, void> {
    const steps = member.seal(open.batches[i])
    try {
      for (;;) {
        this.#requireAlive()
        if (open.state === "closed" || !this.#isLive(open.parent)) throw new StaleBatch("seal", open.parent.id)
        const step = steps.next()
        if (step.done === true) return step.value
        yield step.value
      }
    } finally {
      steps.return(undefined as never)
    }
  }

  readonly matches = (sealed: SealedSet<M>, targets: Targets<M>): boolean =>
    this.#parts.names.every((name) => targetsEqual(sealed.targets[name], targets[name]))

  readonly apply = (sealed: SealedSet<M>, anchor: Anchor): void => {
    this.#requireAlive()
    const winner = this.#pending.get(sealed.id)
    if (winner !== sealed) throw new StaleBatch("apply", sealed.id)
    must(winner.parent === this.#tip.id, "the applied state is a child of the tip")
    must(anchor.height === this.#anchor.height + 1, `height ${anchor.height} is applied over ${this.#anchor.height}`)
    this.#applyEach(winner)
    this.#pending.delete(winner.id)
    if (this.#isContested()) this.#keep(this.#descendants(winner.id))
    this.#applied.push(winner)
    this.#tip = winner
    this.#anchor = anchor
    this.#rows.set(anchor.height, { ...anchor, targets: winner.targets })
  }

  /** Whether a pending state stands on the tip: without one nothing loses, and a long chain is not gone through. */
  #isContested(): boolean {
    for (const { parent } of this.#pending.values()) if (parent === this.#tip.id) return true
    return false
  }

  #applyEach({ layers }: SetLayer<M>): void {
    try {
      for (const [i, member] of this.#parts.members.entries()) member.apply(layers[i]!)
    } catch (cause) {
      // The members may stand at different blocks now: nothing may be read or written through them again.
      this.#dead = new StorageDead({ environment: this.#parts.name, cause })
      throw cause
    }
  }

  readonly close = (sealed: SealedSet<M>): void => {
    must(sealed !== this.#tip && !this.#applied.some((layer) => layer === sealed), "applied state is never closed")
    const root = this.#pending.get(sealed.id)
    if (root !== sealed) return
    for (const [i, member] of this.#parts.members.entries()) member.close(root.layers[i]!)
    const closed = this.#descendants(root.id).add(root.id)
    this.#keep(new Set([...this.#pending.keys()].filter((id) => !closed.has(id))))
  }

  // A parent is sealed before its children open, so one pass in order of sealing sees every parent first.
  #descendants(root: number): Set<number> {
    const found = new Set<number>()
    for (const { id, parent } of this.#pending.values()) if (parent === root || found.has(parent)) found.add(id)
    return found
  }

  #keep(ids: ReadonlySet<number>): void {
    for (const id of this.#pending.keys()) if (!ids.has(id)) this.#pending.delete(id)
  }

  readonly appended = (sealed: SealedSet<M>, bytesMax: number): Record<keyof M, ReadonlyArray<Uint8Array>> => {
    if (!this.#isLive(sealed)) throw new StaleBatch("appended", sealed.id)
    return this.#named((member, i) => member.appended(sealed.layers[i]!, bytesMax))
  }

  readonly copy = (sealed: SealedSet<M>, bytesMax: number): Effect.Effect<StateCopies<M>, SealError> =>
    Effect.suspend(() => {
      if (this.#dead !== undefined) return Effect.fail(this.#dead)
      if (!this.#isLive(sealed)) return Effect.fail(new StaleBatch("copy", sealed.id))
      return runInSlices<StateCopies<M>, SealError>(this.#copying(sealed, bytesMax), this.#parts.hasher)
    });

  *#copying({ layers }: SetLayer<M>, bytesMax: number): Generator<undefined, StateCopies<M>, void> {
    const copies: Array<StateCopy | undefined> = []
    let left = bytesMax
    for (const [i, member] of this.#parts.members.entries()) {
      const copy = yield* member.copy(layers[i]!, left)
      for (const operation of copy?.operations ?? []) left -= operation.length
      copies.push(copy)
    }
    return this.#named((_, i) => copies[i])
  }

  #named<A>(of: (member: AnyMember, i: number) => A): Record<keyof M, A> {
    const { names, members } = this.#parts
    return Object.fromEntries(names.map((name, i) => [name, of(members[i]!, i)])) as Record<keyof M, A>
  }

  readonly row = (height: Height): AnchorRow<M> | undefined => this.#rows.get(height)

  readonly use = <A>(_capability: "read", fn: (readers: Readers<M>, anchor: Anchor) => A): A => {
    this.#requireAlive()
    return fn(this.#readers, this.#anchor)
  }

  readonly flush: Effect.Effect<Anchor, FlushError> = Effect.suspend(() => {
    if (this.#dead !== undefined) return Effect.fail(this.#dead)
    must(!this.#flushing, "one flush at a time")
    if (this.#applied.length === 0) return Effect.succeed(this.#durable)
    this.#flushing = true
    const flushed = this.#exclusive(() => this.#flush(this.#applied.length, this.#anchor, this.#tip.targets))
    // A flush that fails was the last one.
    return Effect.map(flushed, (anchor) => {
      this.#flushing = false
      return anchor
    })
  }).pipe(Effect.uninterruptible)

  /** Runs one write alone. What fails in it is final: the set is dead. */
  #exclusive<A>(write: () => Effect.Effect<A, FlushError>): Effect.Effect<A, FlushError> {
    const alone = Effect.suspend(() => (this.#dead === undefined ? write() : Effect.fail(this.#dead))).pipe(
      Effect.tapCause((cause) =>
        Effect.sync(() => {
          this.#dead ??= new StorageDead({ environment: this.#parts.name, cause })
        }),
      ),
      Effect.uninterruptible,
    )
    return Semaphore.withPermits(this.#writing, 1)(alone)
  }

  #flush(covered: number, anchor: Anchor, targets: Targets<M>): Effect.Effect<Anchor, FlushError> {
    const first = this.#durable.height + 1
    const plan = this.#collect(targets)
    const { scratch } = this.#parts
    const flushed = Effect.map(
      this.#write(plan, () => this.#moveWindow(first, anchor)),
      () => {
        this.#applied.splice(0, covered)
        this.#durable = anchor
        for (const height of this.#rows.keys()) if (!this.#inWindow(height, anchor)) this.#rows.delete(height)
        return anchor
      },
    )
    return scratch === undefined ? flushed : Effect.tap(flushed, this.#spillTo(scratch, []))
  }

  readonly spill = (states: ReadonlyArray<SealedSet<M>>): Effect.Effect<ReadonlyArray<number>, FlushError> =>
    Effect.suspend(() => {
      if (this.#dead !== undefined) return Effect.fail(this.#dead)
      const { scratch } = this.#parts
      if (scratch === undefined) return Effect.succeed(states)
      const { bytesFree = SCRATCH_BYTES_FREE_MIN } = scratch.info()
      const moved = bytesFree < SCRATCH_BYTES_FREE_MIN ? [] : states.filter((state) => this.#isLive(state))
      return Effect.as(this.#spillTo(scratch, moved), states)
    }).pipe(
      Effect.map((spilled) => spilled.map(({ bytes }) => bytes)),
      Effect.uninterruptible,
    )

  /** Moves states to scratch and removes what nobody reads there any more. */
  #spillTo(scratch: StorageShape, states: ReadonlyArray<SetLayer<M>>): Effect.Effect<void, FlushError> {
    return Effect.suspend(() => {
      const { members } = this.#parts
      const planned = members.flatMap((member, i) => member.spill(states.map(({ layers }) => layers[i]!)) ?? [])
      return planned.length === 0 ? Effect.void : this.#write(allOf(planned), () => [], scratch)
    })
  }

  /** Writes what members have planned, with rows of the set, in one write, and settles it. Without changes nothing is written. */
  #write(
    plan: Generator<undefined, ReadonlyArray<MemberWrite>, void>,
    rows: () => ReadonlyArray<Change>,
    storage = this.#parts.storage,
  ): Effect.Effect<void, FlushError> {
    const planned = runInSlices<ReadonlyArray<MemberWrite>, FlushError>(plan, this.#parts.hasher)
    return Effect.flatMap(planned, (writes) => {
      const changes: Change[] = []
      for (const write of writes) for (const change of write.changes) changes.push(change)
      for (const change of rows()) changes.push(change)
      return Effect.map(changes.length === 0 ? Effect.void : storage.write(changes), () => {
        for (const write of writes) write.settled()
      })
    })
  }

  *#collect(targets: Targets<M>): Generator<undefined, ReadonlyArray<Flush>, void> {
    const { names, members } = this.#parts
    const work = members.map((member) => {
      const steps = member.flush()
      if (steps === undefined) throw new Error("database set: a member has nothing to flush while others have")
      return { steps, step: steps.next() }
    })
    const flushes: Flush[] = []
    for (const [i, { steps, step: firstStep }] of work.entries()) {
      let step = firstStep
      while (step.done !== true) {
        yield step.value
        step = steps.next()
      }
      must(
        targetsEqual(step.value.target, targets[names[i]!]!),
        `a flush captures all members at one block: ${names[i]}`,
      )
      flushes.push(step.value)
    }
    return flushes
  }

  #inWindow(height: number, anchor: Anchor): boolean {
    return height > anchor.height - this.#parts.rewindHeights
  }

  #moveWindow(first: number, anchor: Anchor): ReadonlyArray<Change> {
    const changes: Change[] = []
    for (const [height, row] of this.#rows) {
      if (height > anchor.height) continue
      if (height < first && !this.#inWindow(height, anchor)) changes.push(removeRow(height))
      if (height >= first && this.#inWindow(height, anchor)) changes.push(putRow(this.#parts.row, row))
    }
    changes.push(putAnchor(anchor))
    return changes
  }

  /** The row of a durable height whose state has not been pruned, and is not just being. */
  #retained(height: Height): AnchorRow<M> | HeightNotRetained {
    const row = this.#rows.get(height)
    const { names } = this.#parts
    const whole = row === undefined || names.every((name, i) => row.targets[name]!.start >= this.#forgotten[i]!)
    if (row !== undefined && height <= this.#durable.height && whole) return row
    const [oldest = this.#durable.height] = this.#rows.keys()
    return new HeightNotRetained({ height, oldest: oldest as Height, newest: this.#durable.height })
  }

  readonly prune = (height: Height): Effect.Effect<void, HeightNotRetained | FlushError> =>
    Effect.gen({ self: this }, function* () {
      const row = this.#retained(height)
      if (row instanceof HeightNotRetained) return yield* row
      yield* this.#forget((member, i) => {
        const start = this.#boundary(row, i)
        this.#forgotten[i] = Math.max(this.#forgotten[i]!, start)
        return member.prune(start)
      })
      while (yield* this.#forget((member) => member.trim()));
    })

  /** Where a member may begin so that neither a height nor any lease loses what it needs. */
  #boundary({ targets }: AnchorRow<M>, i: number): Location {
    const name = this.#parts.names[i]!
    let { start } = targets[name]!
    for (const lease of this.#leases) if (lease.targets[name]!.start < start) start = lease.targets[name]!.start
    return start
  }

  readonly lease = (height: Height): Effect.Effect<AnchorRow<M>, HeightNotRetained, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        const row = this.#retained(height)
        if (row instanceof HeightNotRetained) return Effect.fail(row)
        const lease = { ...row }
        this.#leases.add(lease)
        return Effect.succeed(lease)
      }),
      (lease) => Effect.sync(() => void this.#leases.delete(lease)),
    )

  /** One write in which every member that has something to forget forgets it; false when none has. */
  #forget(
    plan: (member: AnyMember, i: number) => Generator<undefined, MemberWrite, void> | undefined,
  ): Effect.Effect<boolean, FlushError> {
    return this.#exclusive(() => {
      const planned = this.#parts.members.flatMap((member, i) => plan(member, i) ?? [])
      if (planned.length === 0) return Effect.succeed(false)
      return Effect.as(
        this.#write(allOf(planned), () => []),
        true,
      )
    })
  }

  readonly rewind = (height: Height): Effect.Effect<Anchor, HeightNotRetained | FlushError> =>
    Effect.gen({ self: this }, function* () {
      must(this.#applied.length === 0, "everything applied is flushed before a rewind")
      must(this.#leases.size === 0, "no height is leased during a rewind")
      const row = this.#retained(height)
      if (row instanceof HeightNotRetained) return yield* row
      if (height === this.#durable.height) return this.#durable
      return yield* this.#exclusive(() => this.#rewind(row))
    })

  #rewind({ height, round, digest, targets }: AnchorRow<M>): Effect.Effect<Anchor, FlushError> {
    const { names, members } = this.#parts
    const anchor = { height, round, digest }
    const gone = [...this.#rows.keys()].filter((known) => known > height)
    const planned = members.flatMap((member, i) => member.rewind(targets[names[i]!]!.end) ?? [])
    this.#pending.clear()
    return Effect.map(
      this.#write(allOf(planned), () => [...gone.map(removeRow), putAnchor(anchor)]),
      () => {
        for (const known of gone) this.#rows.delete(known)
        this.#anchor = this.#durable = anchor
        this.#tip = this.#stored(this.#nextId++, targets)
        return anchor
      },
    )
  }
}

/** The outcomes of several pieces of work, one after the other. */
function* allOf<A>(work: ReadonlyArray<Generator<undefined, A, void>>): Generator<undefined, ReadonlyArray<A>, void> {
  const outcomes: A[] = []
  for (const piece of work) outcomes.push(yield* piece)
  return outcomes
}
