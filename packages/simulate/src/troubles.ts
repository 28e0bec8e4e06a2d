/**
 * What befalls one world's nodes at their storage calls and points: power loss where the plan says, faults by chance.
 *
 * Terms: see plan.ts. A node is *excused* when its storage was made to fail: then it must stop, and may fail to start.
 *
 * Invariant: counts go over all incarnations of a node, so that the n-th time is the n-th time of the whole run.
 */

import { drawer } from "@coppice/stateful/diagnosis"
import { type Fault, type Faults, faultsByChance, type MemoryDisk, type StorageCall } from "@coppice/storage"
import { Clock, Effect } from "effect"
import { type Plan, type SchedulePart, type WorldFault, WRITE_POINTS } from "./plan.ts"

type PointFault = WorldFault & { readonly kind: "point" }

/** Time for which a node is down whose disk lost power by chance. */
const DOWN_MS = 300

/** Asks whether a part of the schedule happens. */
export type Happens = (part: SchedulePart) => boolean

/** Tells that a node has lost its power and stays down for a while. */
export type PowerLoss = (node: number, downMs: number) => void

const POINTS_OF_WRITES = Object.entries(WRITE_POINTS)

/** The troubles of one world. */
export class Troubles {
  storageFaults = 0
  pointCrashes = 0
  /** Nodes whose storage was made to fail since they last came up. */
  readonly excused = new Set<number>()
  readonly #plan: Plan
  readonly #disks: ReadonlyArray<MemoryDisk>
  readonly #points: Map<string, PointFault>
  readonly #passed = new Map<string, number>()
  readonly #happens: Happens
  readonly #powerLoss: PowerLoss
  #isOver = false

  constructor(
    { plan, faults, disks, seed }: TroublesOptions,
    {
      happens,
      powerLoss,
      now,
    }: { readonly happens: Happens; readonly powerLoss: PowerLoss; readonly now: () => number },
  ) {
    this.#plan = plan
    this.#disks = disks
    this.#happens = happens
    this.#powerLoss = powerLoss
    const points = faults.filter((fault): fault is PointFault => fault.kind === "point")
    this.#points = new Map(points.map((fault) => [`${fault.node}/${fault.point}/${fault.nth}`, fault]))
    for (const [node, disk] of disks.entries())
      disk.faults = this.#faultsOf(node, drawer(seed, `disk ${node} faults`), now)
  }

  /** From now on nothing befalls anyone any more. */
  end(): void {
    this.#isOver = true
  }

  /** A node passes a point of its ports. Stays pending when it loses power there. */
  pass(node: number, point: string): Effect.Effect<void> {
    return Effect.suspend(() => (this.passes(node, point) ? Effect.never : Effect.void))
  }

  /** The same, at once: true when the node loses power there. */
  passes(node: number, point: string): boolean {
    const due = this.#due(node, point)
    if (due === undefined) return false
    this.#lose(due)
    this.#disks[node]!.crash()
    return true
  }

  #due(node: number, point: string): PointFault | undefined {
    if (this.#points.size === 0) return undefined
    const nth = (this.#passed.get(`${node}/${point}`) ?? 0) + 1
    this.#passed.set(`${node}/${point}`, nth)
    return this.#isOver ? undefined : this.#points.get(`${node}/${point}/${nth}`)
  }

  #lose({ node, downMs, everyone = false }: PointFault): void {
    this.pointCrashes++
    this.#powerLoss(node, downMs)
    if (!everyone) return
    for (const [other, disk] of this.#disks.entries()) {
      if (other === node) continue
      this.#powerLoss(other, downMs)
      disk.crash()
    }
  }

  #faultsOf(node: number, chance: () => number, now: () => number): Faults {
    const { storage } = this.#plan
    const byChance = storage === undefined ? undefined : faultsByChance(chance, storage.rates)
    let calls = 0
    return (call) => {
      calls++
      const planned = call.name === "write" ? this.#atWrite(node, call) : undefined
      if (planned !== undefined) return planned
      if (storage === undefined || byChance === undefined || this.#isOver) return undefined
      if (call.name !== "write" && !storage.reads) return undefined
      const fault = byChance(call)
      const isInTime = now() >= storage.fromMs && now() < storage.toMs
      if (fault === undefined || !isInTime || !this.#happens({ kind: "storage", node, call: calls, fault }))
        return undefined
      return this.#befall(node, fault)
    }
  }

  #atWrite(node: number, { environment }: StorageCall): Fault | undefined {
    for (const [point, at] of POINTS_OF_WRITES) {
      const due = at.environment === environment ? this.#due(node, point) : undefined
      if (due === undefined) continue
      this.#lose(due)
      return at.fault
    }
    return undefined
  }

  #befall(node: number, fault: Fault): Fault {
    this.storageFaults++
    if (fault.startsWith("crash")) this.#powerLoss(node, DOWN_MS)
    else this.excused.add(node)
    return fault
  }
}

/** What troubles are made of. */
export interface TroublesOptions {
  readonly plan: Plan
  readonly faults: ReadonlyArray<WorldFault>
  readonly disks: ReadonlyArray<MemoryDisk>
  readonly seed: number
}

/** The clock of the fiber that asks, as a function. */
export const clockOf: Effect.Effect<() => number> = Effect.map(
  Clock.Clock,
  (clock) => () => clock.currentTimeMillisUnsafe(),
)
