/**
 * One environment of a memory disk: what is visible, what is durable, and the writes on their way.
 *
 *   queue:  [ head | waiting | waiting ]        only the head moves
 *   head:   visible, durable in either order, then settled          or, where a fault befalls it: [visible,] failed
 *                                                                   or [one of them,] crash
 *
 * Terms: an *event* is one step of the head. *Undo* is what the head's keys held before it became visible. *Fate*: what a
 * failed write or a crash leaves of the head is all of it or nothing; chance decides where the disk had promised nothing.
 *
 * Invariant: what a crash leaves is a prefix of the writes in call order, each of them whole, and every settled one in it.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import { Effect } from "effect"
import { type StorageDead, type StorageError, StorageWriteFailed } from "../errors.ts"
import type { Fault } from "../faults.ts"
import type { MapName } from "../storage.ts"
import { type Key, OrderedMap, type Value } from "./ordered-map.ts"
import type { Plan } from "./plan.ts"

/** What can happen to a write, one event at a time. */
export type WriteEvent = "visible" | "durable" | "settled" | "failed" | "crash"

type Outcome = Effect.Effect<void, StorageError>

/** What a write needs of the handle that it came through. */
export interface Owner {
  readonly die: (cause: unknown) => StorageDead
  readonly done: () => void
}

/** A write on its way. */
export class Write {
  readonly owner: Owner
  readonly plan: Plan
  readonly keys: ReadonlyArray<Key>
  readonly fault: Fault | undefined
  /** Set once it has ended. */
  outcome: Outcome | undefined
  /** Called when it becomes the head, and when it has ended. */
  wake: (() => void) | undefined
  /** What is still to happen, last first. */
  events: Array<WriteEvent> = []
  /** Copies of the values, made when the first event looks at them: until then they are the caller's. */
  values: ReadonlyArray<Value | undefined> | undefined
  undo: Array<Value | undefined> | undefined
  durable = false

  constructor(owner: Owner, plan: Plan, fault: Fault | undefined) {
    this.owner = owner
    this.plan = plan
    this.keys = plan.keys.map(bytesKey)
    this.fault = fault
  }

  end(outcome: Outcome): void {
    this.outcome = outcome
    this.owner.done()
    this.wake?.()
  }
}

/** What happens to a write, last first. `coin` is the order of *visible* and *durable*, or the way in which it fails. */
const eventsOf = (fault: Fault | undefined, coin: boolean): Array<WriteEvent> => {
  switch (fault) {
    case "io":
      return coin ? ["failed", "visible"] : ["failed"]
    case "disk full":
      return ["failed"]
    case "crash visible":
      return ["crash", "visible"]
    case "crash durable":
      return ["crash", "durable"]
    default:
      return coin ? ["settled", "durable", "visible"] : ["settled", "visible", "durable"]
  }
}

/** What outlives handles. */
export class Environment {
  readonly name: string
  private readonly chance: () => number
  private readonly tables = new Map<MapName, OrderedMap>()
  private readonly losePower: () => void
  private queue: Array<Write> = []
  /** Handles of an earlier incarnation are dead. */
  incarnation = 0

  constructor(name: string, chance: () => number, losePower: () => void) {
    this.name = name
    this.chance = chance
    this.losePower = losePower
  }

  get head(): Write | undefined {
    return this.queue[0]
  }

  get bytes(): number {
    return [...this.tables.values()].reduce((sum, table) => sum + table.bytes, 0)
  }

  table(map: MapName): OrderedMap {
    const found = this.tables.get(map)
    if (found !== undefined) return found
    const made = new OrderedMap()
    this.tables.set(map, made)
    return made
  }

  /** Takes the visible rows of another environment, unless this one has rows; of half of its maps, if only `inPart`. */
  copyFrom(other: Environment, inPart: boolean): boolean {
    if (this.bytes > 0) return false
    const tables = [...other.tables]
    for (const [map, table] of inPart ? tables.slice(0, Math.ceil(tables.length / 2)) : tables) {
      for (const [key, value] of table.ascending(undefined, undefined)) this.table(map).set(key, value)
    }
    return true
  }

  submit(write: Write): void {
    this.queue.push(write)
    if (this.head === write) this.begin(write)
  }

  private begin(write: Write): void {
    write.events = eventsOf(write.fault, this.chance() < 0.5)
    write.wake?.()
  }

  /** Lets the next event of the head happen. */
  step(): WriteEvent | undefined {
    const write = this.head
    const event = write?.events.pop()
    if (write === undefined || event === undefined) return undefined
    if (event === "visible") this.show(write)
    if (event === "durable") {
      write.durable = true
      write.values ??= copied(write.plan.values)
    }
    if (event === "settled") this.finish(write, Effect.void)
    if (event === "failed") this.fail(write)
    if (event === "crash" || (event === "settled" && write.fault === "crash after")) this.losePower()
    return event
  }

  private show(write: Write): void {
    const { maps, values } = write.plan
    write.values ??= copied(values)
    write.undo = maps.map((map, i) => this.table(map).set(write.keys[i]!, write.values![i]))
  }

  private takeBack(write: Write): void {
    const { maps } = write.plan
    for (let i = maps.length - 1; i >= 0; i--) this.table(maps[i]!).set(write.keys[i]!, write.undo![i])
  }

  private decide(write: Write, kept: boolean): void {
    if (kept && write.undo === undefined) this.show(write)
    if (!kept && write.undo !== undefined) this.takeBack(write)
  }

  private finish(write: Write, outcome: Outcome): void {
    this.queue.shift()
    if (this.head !== undefined) this.begin(this.head)
    write.end(outcome)
  }

  private fail(write: Write): void {
    const reason = write.fault === "io" ? "io" : "disk full"
    this.decide(write, reason === "io" && this.chance() < 0.5)
    const failed = new StorageWriteFailed({ environment: this.name, reason, cause: "injected" })
    const dead = write.owner.die(failed)
    const stranded = this.queue.filter((other) => other !== write && other.owner === write.owner)
    this.queue = this.queue.filter((other) => !stranded.includes(other))
    this.finish(write, Effect.fail(failed))
    for (const other of stranded) other.end(Effect.fail(dead))
  }

  /** Power loss: what is left is durable, and no write is on its way. */
  crash(): void {
    this.incarnation += 1
    const { head, queue } = this
    const kept = this.chance() < 0.5
    this.queue = []
    if (head !== undefined) this.decide(head, head.durable || (kept && head.fault !== "disk full"))
    for (const write of queue) write.end(Effect.fail(write.owner.die("power loss")))
  }
}

/** A copy in memory of its own: what `slice` of a Buffer gives is a view. */
export const copyOf = (value: Value): Uint8Array =>
  typeof value === "string" ? keyBytes(value) : new Uint8Array(value)

/** Copies a value to the start of an array, as much of it as fits. */
export const copyInto = (value: Value, target: Uint8Array): void => {
  const fitting = Math.min(value.length, target.length)
  if (typeof value === "string") for (let i = 0; i < fitting; i++) target[i] = value.charCodeAt(i)
  else target.set(value.length > fitting ? value.subarray(0, fitting) : value)
}

/** Values up to this many bytes are held as text. */
const TEXT_BYTES_MAX = 64

/** Values that lie side by side share at most this much: one that stays keeps no more of its neighbours alive. */
const SHARED_BYTES_MAX = 16 * 1024

const isShared = (value: Uint8Array): boolean => value.length > TEXT_BYTES_MAX && value.length < SHARED_BYTES_MAX

/** Copies of a write's values, longer ones side by side: to make an array takes longer than to fill it. */
const copied = (values: ReadonlyArray<Uint8Array | undefined>): ReadonlyArray<Value | undefined> => {
  let left = 0
  for (const value of values) if (value !== undefined && isShared(value)) left += value.length
  let shared = new Uint8Array(0)
  let at = 0
  return values.map((value) => {
    if (value === undefined || value.length <= TEXT_BYTES_MAX) return value && bytesKey(value)
    if (!isShared(value)) return copyOf(value)
    const { length } = value
    if (at + length > shared.length) {
      shared = new Uint8Array(Math.min(left, SHARED_BYTES_MAX))
      at = 0
    }
    shared.set(value, at)
    at += length
    left -= length
    return shared.subarray(at - length, at)
  })
}
