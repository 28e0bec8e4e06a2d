/**
 * A database and its model side by side, through everything that a caller may do to it in any order.
 *
 *   open, write, mark, revert, seal in slices, abandon, apply, close          each answered as the model says
 *   flush: plan in slices -> visible -> settled                               no reader may notice
 *   prune: exact at once, rows by and by; rewind: the state of a retained commit
 *   reopen                                                                    stands at what was visible last
 *
 * Terms: a *node* is a sealed layer with the model state it must have. A node is *alive* when it is the tip or descends
 * from it and nobody has closed it. Indices given to commands are taken modulo what there is to choose from.
 *
 * Invariant: after every command the tip, the number and bytes of layers, and one randomly chosen living state equal the
 * model's; in an ordered database so do neighbours, ranges and spans, through open writes and layers.
 */
import { Blob, Bytes, bytesKey, type Codec, keyBytes } from "@coppice/codec"
import { family as familyOf, Location } from "@coppice/merkle"
import { grafting, syncBoundary } from "@coppice/verify/grafting"
import { expect } from "vitest"
import {
  type Flush,
  type KeyedBatch,
  type KeyedReader,
  type Layer,
  type MemberSpec,
  type MemberWrite,
  type OrderedReader,
  ProofUnavailable,
  PruneRefused,
  Qmdb,
  RewindRefused,
  type SealStep,
  StaleBatch,
} from "../../src/index.ts"
import { currentSpec } from "../../src/internal/current-spec.ts"
import { readKeyedRecord } from "../../src/internal/keyed-state.ts"
import { ROW_BYTES } from "../../src/internal/layout.ts"
import { ownerSlot } from "../../src/internal/log-part.ts"
import { readHead, readUndo } from "../../src/internal/log-state.ts"
import type { OperationLog } from "../../src/internal/operation-log.ts"
import type { SlotIndex } from "../../src/internal/slot-index.ts"
import { Space } from "../../src/internal/space.ts"
import { applyChanges, createRig, finish, openRig, type Rig, type Rows, rowCount, stepSeal } from "./harness.ts"
import { type ModelFormat, ModelState, type ModelWrites } from "./model.ts"

/** What a world is a world of. */
export interface WorldOptions {
  readonly family: "mmr" | "mmb"
  readonly encoding: "fixed" | "variable"
  readonly ordered: boolean
  /** Bytes of a chunk of a `current` database; an `any` database when not given. */
  readonly chunkBytes?: number
  /** So many keys that some are not touched for longer than a sweep takes; else so few that blocks meet all the time. */
  readonly manyKeys?: boolean
  /** Damages what a reopened member finds: for canaries. */
  readonly damage?: (rows: Rows) => void
}

/** One thing to do. `a`, `b` and `c` choose among what there is. */
export interface Command {
  readonly tag:
    | "open"
    | "write"
    | "mark"
    | "revert"
    | "seal"
    | "step"
    | "abandon"
    | "apply"
    | "close"
    | "closeBatch"
    | "plan"
    | "visible"
    | "settle"
    | "flush"
    | "spill"
    | "block"
    | "prune"
    | "rewind"
    | "reopen"
  readonly a: number
  readonly b: number
  readonly c: number
}

/** Every command. */
export const COMMANDS: ReadonlyArray<Command["tag"]> = [
  "open",
  "write",
  "mark",
  "revert",
  "seal",
  "step",
  "abandon",
  "apply",
  "close",
  "closeBatch",
  "plan",
  "visible",
  "settle",
  "flush",
  "spill",
  "block",
  "prune",
  "rewind",
  "reopen",
]

const FIXED_KEYS = Array.from({ length: 14 }, (_, i) => String.fromCharCode(i < 7 ? 0 : 255, i * 18))
const MANY_KEYS = Array.from({ length: 150 }, (_, i) => String.fromCharCode(i, 255 - i))
const VARIABLE_KEYS = ["", "\0", "\0\0", "a", "a\0", "a\xff", "ab", "b", "\x7f", "\x80", "\xff", "\xff\xff", "zzzzzzz"]

interface Node {
  readonly layer: Layer
  readonly state: ModelState
  readonly parent: Node | undefined
  closed: boolean
}
interface Open {
  readonly batch: KeyedBatch<Uint8Array, Uint8Array>
  readonly parent: Node
  readonly marks: Array<{ readonly mark: number; readonly writes: ModelWrites }>
  writes: Map<string, Uint8Array | null>
  metadata: Uint8Array | undefined
}
interface Sealing {
  readonly steps: Generator<SealStep, Layer, void>
  readonly parent: Node
  readonly state: ModelState
  started: boolean
}
interface Flight {
  readonly planning: Generator<undefined, Flush, void>
  readonly target: Node
  flush: Flush | undefined
  visible: boolean
}

interface Spilling {
  readonly planning: Generator<undefined, MemberWrite, void>
  write: MemberWrite | undefined
}

type Ordered = OrderedReader<Uint8Array, Uint8Array>

const REWIND = 5

/** A member that has lived for so long that its layer ids are about to wrap. */
const withLateIds = <R extends { readonly member: unknown }>(rig: R): R => {
  const { branches } = rig.member as { readonly branches: { nextId: number } }
  branches.nextId = 2 ** 31 - 6
  return rig
}

const latin1 = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : bytesKey(bytes)

const isOrdered = <R extends object>(reads: R): reads is R & Ordered => "entries" in reads

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** See the head of this file. */
export class World {
  private readonly options: WorldOptions
  private readonly format: ModelFormat
  private readonly keys: ReadonlyArray<string>
  private readonly spec: MemberSpec<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>
  /** Model states of the stored chain by log size. */
  private readonly history = new Map<number, ModelState>()
  private rig: Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>
  private nodes: Array<Node> = []
  private batches: Array<Open> = []
  private seals: Array<Sealing> = []
  private flight: Flight | undefined
  private spilling: Spilling | undefined
  /** Layers that became smaller by being spilled. */
  spilled = 0
  private tip: Node
  private stored: Node
  private written = 0
  /** Rounds of the sweep that have finished: the checkpoint has moved. */
  rounds = 0
  private checkpoint = 0
  private pruned = 0
  /** Commits that can be undone. */
  private commits = 0

  constructor(options: WorldOptions) {
    this.options = options
    const fixed = options.encoding === "fixed"
    const { family, encoding, ordered } = options
    this.format = { family, ordered, sizes: fixed ? { key: 2, value: 3 } : undefined }
    const few = fixed ? FIXED_KEYS : VARIABLE_KEYS
    this.keys = options.manyKeys === true ? MANY_KEYS : few
    const key: Codec<Uint8Array> = fixed ? Bytes(2) : Blob(8)
    const value: Codec<Uint8Array> = fixed ? Bytes(3) : Blob(12)
    const declared = { key, value, family, encoding, ordered }
    this.spec =
      options.chunkBytes === undefined
        ? Qmdb.any(declared)
        : currentSpec({ ...declared, chunkBytes: options.chunkBytes })
    this.rig = withLateIds(createRig(this.spec, { rewindCommits: REWIND }))
    const state = ModelState.genesis(this.format)
    this.tip = this.stored = { layer: this.rig.member.tip, state, parent: undefined, closed: false }
    this.nodes = [this.tip]
    this.history.set(state.size, state)
  }

  private isAlive(node: Node): boolean {
    if (node.closed) return false
    for (let n: Node | undefined = node; n !== undefined; n = n.parent) if (n === this.tip) return true
    return false
  }

  private isOver(node: Node, ancestor: Node): boolean {
    for (let n: Node | undefined = node; n !== undefined; n = n.parent) if (n === ancestor) return true
    return false
  }

  private pick<A>(from: ReadonlyArray<A>, index: number): A | undefined {
    return from.length === 0 ? undefined : from[from.length - 1 - (index % from.length)]
  }

  private key(index: number): string {
    return this.keys[index % this.keys.length]!
  }

  private value(): Uint8Array {
    const n = ++this.written
    if (this.format.sizes !== undefined) return Uint8Array.of(n / 65536, n / 256, n)
    return new Uint8Array(n % 13).fill(n)
  }

  private writeInto(open: Open, index: number, removing: boolean): void {
    const key = this.key(index)
    if (removing) {
      open.batch.remove(keyBytes(key))
      open.writes.set(key, null)
    } else {
      const value = this.value()
      open.batch.put(keyBytes(key), value)
      open.writes.set(key, Uint8Array.from(value))
      value.fill(0xee)
    }
  }

  /** Does one thing and checks. */
  run(command: Command): void {
    const { a, b, c } = command
    this[command.tag](a, b, c)
    this.check(a + b)
  }

  open(a: number): void {
    const parent = this.pick(this.nodes, a)!
    if (this.isAlive(parent)) {
      const batch = this.rig.member.openBatch(parent.layer)
      this.batches.push({ batch, parent, marks: [], writes: new Map(), metadata: undefined })
    } else expect(() => this.rig.member.openBatch(parent.layer)).toThrow(StaleBatch)
  }

  write(a: number, b: number, c: number): void {
    const open = this.pick(this.batches, a)
    if (open === undefined) return
    if (!this.isAlive(open.parent)) {
      expect(() => open.batch.put(keyBytes(this.key(b)), this.value())).toThrow(StaleBatch)
      return
    }
    const count = 1 + (c % 9)
    for (let i = 0; i < count; i++) this.writeInto(open, b + i * (1 + (c % 5)), (c + i) % 3 === 0)
    if (c % 7 === 0) {
      open.metadata = c % 2 === 0 ? this.value() : undefined
      open.batch.withMetadata(open.metadata)
    }
    this.checkBatch(open, b)
  }

  mark(a: number): void {
    const open = this.pick(this.batches, a)
    if (open === undefined || !this.isAlive(open.parent)) return
    open.marks.push({ mark: open.batch.mark(), writes: new Map(open.writes) })
  }

  revert(a: number, b: number): void {
    const open = this.pick(this.batches, a)
    if (open === undefined || open.marks.length === 0 || !this.isAlive(open.parent)) return
    open.marks.length -= b % open.marks.length
    const { mark, writes } = open.marks.at(-1)!
    open.batch.revert(mark)
    open.writes = new Map(writes)
    this.checkBatch(open, b)
  }

  seal(a: number, b: number): void {
    const open = this.pick(this.batches, a)
    if (open === undefined) return
    this.batches.splice(this.batches.indexOf(open), 1)
    const { batch, parent, writes, metadata } = open
    if (!this.isAlive(parent)) {
      expect(() => this.rig.member.seal(batch)).toThrow(StaleBatch)
      return
    }
    this.seals.push({
      steps: this.rig.member.seal(batch),
      parent,
      state: parent.state.seal(writes, metadata),
      started: false,
    })
    expect(() => batch.get(keyBytes(this.key(b)))).toThrow(StaleBatch)
    this.step(0, b)
  }

  step(a: number, b: number): void {
    const sealing = this.pick(this.seals, a)
    if (sealing === undefined) return
    const steps = b % 4 === 0 ? Number.POSITIVE_INFINITY : b % 5
    if (!this.isAlive(sealing.parent)) {
      this.seals.splice(this.seals.indexOf(sealing), 1)
      // Half of them are never resumed: what they left behind must be gone all the same.
      if (b % 2 === 0) expect(() => sealing.steps.next()).toThrow(StaleBatch)
      return
    }
    if (steps > 0) sealing.started = true
    const layer = stepSeal(this.rig.home.hasher, sealing.steps, steps)
    if (layer === undefined) return
    this.seals.splice(this.seals.indexOf(sealing), 1)
    this.checkTarget(layer, sealing.state)
    this.nodes.push({ layer, state: sealing.state, parent: sealing.parent, closed: false })
  }

  abandon(a: number): void {
    const sealing = this.pick(this.seals, a)
    if (sealing === undefined) return
    this.seals.splice(this.seals.indexOf(sealing), 1)
    sealing.steps.return(undefined as never)
  }

  apply(a: number): void {
    const node = this.pick(this.nodes, a)!
    if (node === this.tip || !this.isAlive(node)) {
      expect(() => this.rig.member.apply(node.layer)).toThrow(StaleBatch)
      return
    }
    this.rig.member.apply(node.layer)
    this.tip = node
    for (const other of this.nodes) if (!this.isOver(other, node) && !this.isOver(node, other)) other.closed = true
  }

  close(a: number): void {
    const node = this.pick(this.nodes, a)!
    if (this.isOver(this.tip, node)) return
    this.rig.member.close(node.layer)
    for (const other of this.nodes) if (this.isOver(other, node)) other.closed = true
  }

  closeBatch(a: number): void {
    const open = this.pick(this.batches, a)
    if (open === undefined) return
    this.batches.splice(this.batches.indexOf(open), 1)
    this.rig.member.closeBatch(open.batch)
    expect(() => open.batch.get(keyBytes(this.key(a)))).toThrow(StaleBatch)
  }

  plan(_a: number, b: number): void {
    if (this.flight === undefined) {
      const planning = this.rig.member.flush()
      expect(planning === undefined, "there is something to flush").toBe(this.tip === this.stored)
      if (planning !== undefined) this.flight = { planning, target: this.tip, flush: undefined, visible: false }
    }
    if (this.flight === undefined || this.flight.flush !== undefined) return
    for (let i = 0; i < 1 + (b % 6); i++) {
      const step = this.flight.planning.next()
      if (step.done === true) {
        this.flight.flush = step.value
        this.checkTarget(step.value, this.flight.target.state)
        return
      }
    }
  }

  visible(): void {
    if (this.flight?.flush === undefined || this.flight.visible) return
    applyChanges(this.rig.rows, this.flight.flush.changes)
    this.flight.visible = true
    for (let node: Node | undefined = this.flight.target; node !== this.stored; node = node!.parent) {
      this.history.set(node!.state.size, node!.state)
      this.commits = Math.min(REWIND, this.commits + 1)
    }
    const { checkpoint } = readHead(new Space(this.rig.home))
    if (checkpoint !== this.checkpoint) this.rounds += 1
    this.checkpoint = checkpoint
  }

  settle(): void {
    if (this.flight?.flush === undefined || !this.flight.visible) return
    this.flight.flush.settled()
    this.stored = this.flight.target
    this.flight = undefined
    this.checkUndo()
  }

  /** All steps of a flush that are left. */
  flush(a: number): void {
    this.plan(a, 5)
    while (this.flight !== undefined && this.flight.flush === undefined) this.plan(a, 5)
    this.visible()
    this.settle()
  }

  /** Begins to move some layers to scratch, goes on with that, or ends it: whatever has become of them meanwhile. */
  spill(a: number, b: number): void {
    if (this.spilling === undefined) {
      const layers = this.nodes.filter((node, i) => this.isUnflushed(node) && ((a >> (i % 10)) & 1) === 0)
      const planning = this.rig.member.spill(layers.map(({ layer }) => layer))!
      this.spilling = { planning, write: undefined }
    }
    const { planning, write } = this.spilling
    if (write !== undefined) this.settleSpill(write)
    else if (b % 3 > 0) this.spilling.write = finish(planning)
    else {
      const step = planning.next()
      if (step.done === true) this.spilling.write = step.value
    }
  }

  private settleSpill(write: MemberWrite): void {
    const before = this.rig.member.bytes
    applyChanges(this.rig.scratch, write.changes)
    write.settled()
    this.spilling = undefined
    if (this.rig.member.bytes < before) this.spilled += 1
  }

  /** Ends everything: then nothing is left in scratch. */
  end(): void {
    if (this.spilling !== undefined) this.settleSpill(this.spilling.write ?? finish(this.spilling.planning))
    this.flush(0)
    this.rig.commit(() => {})
    this.rig.flush()
    this.rig.spill()
    expect(rowCount(this.rig.scratch), "rows in scratch").toBe(0)
  }

  /** A whole block over a living layer, sometimes with a child that stays pending; applied, and sometimes flushed. */
  block(a: number, b: number, c: number): void {
    this.batches = this.batches.filter(({ parent }) => this.isAlive(parent))
    this.nodes = this.nodes.filter((node) => this.isAlive(node) || this.isOver(this.tip, node)).slice(-40)
    if (!this.nodes.includes(this.tip)) this.nodes.push(this.tip)
    const alive = this.nodes.filter((node) => this.isAlive(node))
    this.open(this.nodes.length - 1 - this.nodes.indexOf(this.pick(alive, a)!))
    this.write(0, b, c)
    this.seal(0, 4)
    const child = a % 3 === 0
    if (child) {
      this.open(0)
      this.write(0, c, b)
      this.seal(0, 4)
    }
    if (b % 4 !== 0) this.apply(child ? 1 : 0)
    if (c % 5 !== 0) this.flush(a)
  }

  /** Forgets what lies below some location at or near the floor, with or without all the rows there. */
  prune(a: number, b: number): void {
    if (this.flight !== undefined) return
    const { member, rows } = this.rig
    const allowed = this.prunable(this.stored.state)
    const location = Location(Math.max(0, allowed + 2 - (a % 20)))
    if (location > allowed) {
      expect(() => member.prune(location)).toThrow(PruneRefused)
      return
    }
    const write = member.prune(location)
    expect(write === undefined, "nothing to prune").toBe(location <= this.pruned)
    for (let next = write; next !== undefined; next = b % 3 === 0 ? undefined : member.trim()) {
      expect(() => member.flush()).toThrow("not settled")
      const planned = finish(next)
      applyChanges(rows, planned.changes)
      planned.settled()
    }
    this.pruned = Math.max(this.pruned, location)
    this.checkPruned()
  }

  private checkPruned(): void {
    const { reader } = this.rig.member
    expect(reader.pruned).toBe(this.pruned)
    if (this.pruned > 0) expect(() => reader.prove(Location(this.pruned - 1), 1)).toThrow(ProofUnavailable)
    expect(hex(reader.prove(Location(this.pruned), 1).operations[0]!)).toBe(
      hex(this.tip.state.operations[this.pruned]!.bytes),
    )
  }

  /** Back to a retained commit, or refused where too much has been pruned. */
  rewind(a: number, b: number): void {
    this.flush(a)
    if (this.tip !== this.stored) this.flush(a)
    const { member, rows } = this.rig
    const sizes = member.reader.retained
    expect(sizes.length).toBe(this.commits + 1)
    const undone = b % sizes.length
    const size = sizes[sizes.length - 1 - undone]!
    const state = this.history.get(size)!
    if (undone > 0 && (state.floor < this.pruned || size - 1 < this.pruned)) {
      expect(() => member.rewind(size)).toThrow(RewindRefused)
      return
    }
    const planning = member.rewind(size)
    expect(planning === undefined).toBe(undone === 0)
    if (planning === undefined) return
    expect(() => member.openBatch(this.tip.layer)).toThrow(StaleBatch)
    const write = finish(planning)
    applyChanges(rows, write.changes)
    write.settled()
    for (const known of [...this.history.keys()]) if (known > size) this.history.delete(known)
    this.commits -= undone
    this.standAt(state)
    for (const { steps } of this.seals.splice(0)) expect(() => steps.next()).toThrow(StaleBatch)
    for (const { batch } of this.batches.splice(0)) {
      expect(() => batch.get(keyBytes(this.key(a)))).toThrow(StaleBatch)
    }
    this.checkAll()
    this.checkUndo()
  }

  private standAt(state: ModelState): void {
    this.tip = this.stored = { layer: this.rig.member.tip, state, parent: undefined, closed: false }
    this.nodes = [this.tip]
    this.checkpoint = readHead(new Space(this.rig.home)).checkpoint
  }

  reopen(): void {
    const rows = this.rig.rows
    this.options.damage?.(rows)
    const state = this.flight?.visible === true ? this.flight.target.state : this.stored.state
    this.rig = withLateIds(openRig(this.spec, rows, { rewindCommits: REWIND }))
    this.standAt(state)
    this.batches = []
    this.seals = []
    this.flight = undefined
    this.spilling = undefined
    this.checkAll()
    this.checkUndo()
  }

  private checkTarget(found: { readonly target?: unknown } & (Layer | Flush), state: ModelState): void {
    const { root, start, end, canonical } = found.target
    expect([hex(root), start, end]).toEqual([hex(state.root), this.prunable(state), state.size])
    const { chunkBytes } = this.options
    const expected = chunkBytes === undefined ? undefined : hex(state.canonicalRoot(chunkBytes))
    expect(canonical && hex(canonical), "canonical root").toBe(expected)
  }

  /** Up to where a state may be pruned. */
  private prunable({ size, floor }: ModelState): number {
    const { chunkBytes, family } = this.options
    if (chunkBytes === undefined) return floor
    return syncBoundary(grafting(familyOf(family), chunkBytes), Location(size), Location(floor))
  }

  private checkBatch(open: Open, index: number): void {
    for (let i = index; i < index + 3; i++) {
      const key = this.key(i)
      const own = open.writes.get(key)
      const expected = own === undefined ? open.parent.state.get(key) : (own ?? undefined)
      expect(open.batch.get(keyBytes(key)), `key ${hex(keyBytes(key))} of a batch`).toEqual(expected)
    }
    const seen = new Map(open.parent.state.ring.map((key) => [key, open.parent.state.get(key)!]))
    for (const [key, value] of open.writes) {
      if (value === null) seen.delete(key)
      else seen.set(key, value)
    }
    this.checkOrder(open.batch, seen, index)
  }

  private check(index: number): void {
    const { member } = this.rig
    this.checkTarget(member.tip, this.tip.state)
    expect(member.reader.active).toBe(this.tip.state.active.size)
    this.checkReader(index)
    const layers = this.nodes.filter((node) => this.isUnflushed(node))
    const sealing = this.seals.filter(({ started, parent }) => started && this.isAlive(parent))
    if (this.nodes.length < 40) {
      expect(member.layers).toBe(layers.length + sealing.length)
      expect(member.bytes).toBe(layers.reduce((sum, { layer }) => sum + layer.bytes, 0))
    }
    const node = this.pick(
      this.nodes.filter((each) => this.isAlive(each)),
      index,
    )!
    const batch = member.openBatch(node.layer)
    for (let i = index; i < index + 4; i++) {
      const key = this.key(i)
      expect(batch.get(keyBytes(key)), `key ${hex(keyBytes(key))} of layer ${node.layer.id}`).toEqual(
        node.state.get(key),
      )
    }
    this.checkOrder(batch, new Map(node.state.ring.map((key) => [key, node.state.get(key)!])), index)
    member.closeBatch(batch)
  }

  /** Neighbours and ranges of an ordered database, against what a state holds. */
  private checkOrder(
    reads: KeyedBatch<Uint8Array, Uint8Array> | KeyedReader<Uint8Array, Uint8Array>,
    seen: ReadonlyMap<string, Uint8Array>,
    index: number,
  ): void {
    if (!isOrdered(reads)) return
    const keys = [...seen.keys()].sort((a, b) => (a < b ? -1 : 1))
    const low = this.key(index)
    const high = this.key(index + 5)
    expect(latin1(reads.next(keyBytes(low))), `after ${hex(keyBytes(low))}`).toBe(keys.find((key) => key > low))
    expect(latin1(reads.previous(keyBytes(low))), `before ${hex(keyBytes(low))}`).toBe(
      keys.findLast((key) => key < low),
    )
    const bounds = [{}, { start: low }, { end: high }, { start: low, end: high }][index % 4]!
    const within = keys.filter(
      (key) => (bounds.start === undefined || key >= bounds.start) && (bounds.end === undefined || key < bounds.end),
    )
    const reverse = index % 3 === 0
    const limit = index % 5 === 0 ? index % 7 : undefined
    const page = reads.entries({
      start: bounds.start === undefined ? undefined : keyBytes(bounds.start),
      end: bounds.end === undefined ? undefined : keyBytes(bounds.end),
      reverse,
      limit,
    })
    const expected = (reverse ? within.reverse() : within).slice(0, limit).map((key) => [key, seen.get(key)!])
    expect(page.map(([key, value]) => [latin1(key), value])).toEqual(expected)
  }

  /** Spans and order at the tip. */
  private checkReader(index: number): void {
    const { reader } = this.rig.member
    if (!isOrdered(reader)) return
    const { state } = this.tip
    this.checkOrder(reader, new Map(state.ring.map((key) => [key, state.get(key)!])), index)
    const key = this.key(index)
    const span = reader.span(keyBytes(key))
    const owner = state.span(key)
    expect(span === undefined ? undefined : [latin1(span.key), latin1(span.nextKey)], hex(keyBytes(key))).toEqual(owner)
    if (span === undefined) return
    expect([span.location, span.value]).toEqual([state.active.get(owner![0]), state.get(owner![0])])
  }

  private isUnflushed(node: Node): boolean {
    return !node.closed && !this.isOver(this.stored, node)
  }

  /** Every key of the tip: value and location. */
  checkAll(): void {
    const { reader } = this.rig.member
    for (const key of this.keys) {
      expect(reader.get(keyBytes(key)), `value of ${hex(keyBytes(key))}`).toEqual(this.tip.state.get(key))
      expect(reader.locate(keyBytes(key)), `location of ${hex(keyBytes(key))}`).toBe(this.tip.state.active.get(key))
    }
    const past = this.tip.state.operations.map(({ bytes }) => hex(bytes))
    const start = Math.max(this.pruned, past.length - 20)
    const { operations } = reader.prove(Location(start), 20)
    expect(operations.map(hex)).toEqual(past.slice(start, start + 20))
    this.checkPruned()
  }

  /** Undoing the retained commits one by one gives the index of each state before. */
  private checkUndo(): void {
    const space = new Space(this.rig.home)
    const head = readHead(space)
    const { index, log, branches } = this.rig.member as unknown as {
      readonly index: { readonly slots: SlotIndex }
      readonly log: OperationLog
      readonly branches: { readonly stored: never }
    }
    if (this.stored !== this.tip) return
    expect(head.commits.length).toBe(this.commits)
    expect(this.rig.rows.get("meta")!.size, "undo rows").toBe(
      (this.pruned > 0 ? 2 : 1) +
        head.commits.reduce((sum, { entries }) => sum + Math.ceil(entries / (ROW_BYTES / 8)), 0),
    )
    const locations = new Map<number, number>()
    for (let slot = 0; slot < readKeyedRecord(space, head.index).slots; slot++) {
      locations.set(slot, index.slots.locate(slot, branches.stored))
    }
    for (const commit of [...head.commits].reverse()) {
      readUndo(space, commit, locations)
      const state = this.history.get(commit.parentSize)!
      const active = [...locations].filter(([, location]) => location !== 0)
      expect(active.map(([, location]) => location).sort((x, y) => x - y)).toEqual(
        [...state.active.values()].sort((x, y) => x - y),
      )
      const record = readKeyedRecord(space, commit.parentIndex)
      expect(record.active).toBe(state.active.size)
      for (const [slot, location] of active) {
        expect(slot).toBeLessThan(record.slots)
        if (location < this.pruned) continue
        expect(ownerSlot(log.owner(location, branches.stored)), `owner of ${location}`).toBe(slot)
      }
    }
  }
}
