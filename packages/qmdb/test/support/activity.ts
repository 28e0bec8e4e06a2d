/**
 * Feeds the pure core of `current` with states given as sets of active locations, over a whole operations tree.
 */
import { opensslHasher } from "@coppice/crypto/node"
import {
  appendLeaves,
  emptyFrontier,
  type Family,
  inactivePeaks,
  type Location,
  runJobs,
  root as treeRoot,
} from "@coppice/merkle"
import type { Grafting } from "@coppice/verify/grafting"
import type { SealStep } from "../../src/index.ts"
import type { Activity, NodeReader } from "../../src/internal/activity.ts"
import { graftAll, regraft } from "../../src/internal/regraft.ts"

/** A state after a commit: its active updates by location. */
export interface State {
  readonly leaves: Location
  readonly floor: Location
  readonly active: ReadonlySet<number>
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** Every node of the operations tree, of which each state sees those that its leaf count has. */
export class OperationsTree {
  readonly family: Family
  private readonly nodes: Uint8Array

  constructor(family: Family, operations: ReadonlyArray<Uint8Array>) {
    this.family = family
    const offsets = new Uint32Array(operations.length + 1)
    operations.forEach(({ length }, i) => {
      offsets[i + 1] = offsets[i]! + length
    })
    const source = { count: operations.length, bytes: Buffer.concat(operations), offsets }
    this.nodes = runJobs(opensslHasher, appendLeaves(emptyFrontier(family), source)).nodes
  }

  /** Reads the nodes of the tree of so many leaves, and refuses others. */
  node(leaves: Location): NodeReader {
    const size = this.family.size(leaves)
    return (position) => {
      if (position >= size) throw new Error(`a tree of ${leaves} leaves has no node ${position}`)
      return this.nodes.slice(position * 32, position * 32 + 32)
    }
  }

  root(leaves: Location, floor: Location): Uint8Array {
    const { family } = this
    const peaks = family.peaks(leaves).map(({ position }) => this.node(leaves)(position))
    return treeRoot(opensslHasher, { family, leaves, peaks }, inactivePeaks(family, leaves, floor), "backward")
  }
}

const difference = (from: ReadonlySet<number>, without: ReadonlySet<number>): Float64Array =>
  Float64Array.from([...from].filter((location) => !without.has(location)))

const run = (grafting: Generator<SealStep, Activity, void>): Activity => {
  for (;;) {
    const step = grafting.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) void opensslHasher.run(step.value)
  }
}

/** A state from nothing. */
export const build = (grafting: Grafting, tree: OperationsTree, { leaves, floor, active }: State): Activity =>
  run(graftAll(grafting, { leaves, floor, set: Float64Array.from(active) }, tree.node(leaves)))

/** A state from the one that its batch was sealed over. */
export const forward = (activity: Activity, tree: OperationsTree, before: State, after: State): Activity => {
  const cleared = difference(before.active, after.active)
  const set = difference(after.active, before.active)
  return run(regraft(activity, { leaves: after.leaves, floor: after.floor, cleared, set }, tree.node(after.leaves)))
}

/** A state from a later one, told as undo records tell it: what was active before, and nothing of what is cut off. */
export const backward = (activity: Activity, tree: OperationsTree, before: State, after: State): Activity => {
  const { leaves, floor } = after
  const set = difference(after.active, before.active)
  return run(regraft(activity, { leaves, floor, cleared: new Float64Array(0), set }, tree.node(leaves)))
}
