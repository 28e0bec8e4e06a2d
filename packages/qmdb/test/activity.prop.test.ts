/**
 * Goal: whatever way leads to a state, forward, by forks, or back, its activity is the one that its definition gives.
 * Method: random batches over a toy database that raises its floor as spec qmdb §4 says grow a tree of states with thousands
 * of operations, some reached by going back; at the end every state is compared with a root that is computed from all its
 * bits, node by node.
 */
import { opensslHasher } from "@coppice/crypto/node"
import { type Family, Location, mmb, mmr } from "@coppice/merkle"
import { grafting } from "@coppice/verify/grafting"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type Activity, canonicalState } from "../src/internal/activity.ts"
import { backward, build, forward, hex, OperationsTree, type State } from "./support/activity.ts"
import { type DefinedNode, definedRoot } from "./support/canonical.ts"

/** A state of the toy database: which key each operation is of, and what is active. */
interface Toy extends State {
  readonly log: ReadonlyArray<number>
  readonly keys: ReadonlyMap<number, number>
  readonly salts: ReadonlyArray<number>
}

const COMMIT = -1
const DELETE = -2

const genesis: Toy = {
  leaves: Location(1),
  floor: Location(0),
  active: new Set(),
  log: [COMMIT],
  keys: new Map(),
  salts: [0],
}

/** Writes, or removes where `removes` says so, the keys of a batch, raises the floor, commits. */
const commit = (toy: Toy, writes: ReadonlySet<number>, removes: (key: number) => boolean, salt: number): Toy => {
  const log = [...toy.log]
  const keys = new Map(toy.keys)
  let steps = 1
  for (const key of writes) {
    if (keys.has(key)) steps++
    if (!removes(key)) keys.set(key, log.push(key) - 1)
    else if (keys.delete(key)) log.push(DELETE)
  }
  const tip = log.length
  let floor: number = keys.size === 0 ? tip : toy.floor
  for (; steps > 0 && floor < tip; floor++) {
    const key = log[floor]!
    if (keys.get(key) !== floor) continue
    keys.set(key, log.push(key) - 1)
    steps--
  }
  log.push(COMMIT)
  const salts = [...toy.salts, ...Array.from({ length: log.length - toy.log.length }, () => salt)]
  return { leaves: Location(log.length), floor: Location(floor), active: new Set(keys.values()), log, keys, salts }
}

const treeOf = (family: Family, { log, salts }: Toy): OperationsTree =>
  new OperationsTree(
    family,
    log.map((key, i) => Buffer.from(Int32Array.of(i, key, salts[i]!).buffer)),
  )

/** The canonical root by its definition. */
const defined = (family: Family, chunkBytes: number, tree: OperationsTree, state: State): string => {
  const { leaves, floor, active } = state
  const digestAt = tree.node(leaves)
  const node = (start: number, height: number): DefinedNode | undefined => {
    if (family.birth(Location(start), height) > leaves) return undefined
    const position = family.position(Location(start), height)
    return { position, digest: digestAt(position) }
  }
  const opsRoot = tree.root(leaves, floor)
  return hex(definedRoot({ chunkBytes, leaves, floor, opsRoot, active, peaks: family.peaks(leaves), node }))
}

interface Reached {
  readonly toy: Toy
  readonly parent: Reached | undefined
  readonly tree: OperationsTree
  readonly activity: Activity
}

interface Command {
  readonly over: number
  readonly back: number
  readonly writes: number
  readonly keys: number
  readonly removed: number
  readonly seed: number
}

const command = (writesMax: number): fc.Arbitrary<Command> =>
  fc.record({
    over: fc.nat(7),
    back: fc.integer({ min: 0, max: 3 }),
    writes: fc.integer({ min: 0, max: writesMax }),
    keys: fc.constantFrom(8, 300, 100_000),
    removed: fc.constantFrom(0, 1, 3, 4),
    seed: fc.nat(2 ** 30),
  })

/** Grows states by commands: each goes back some commits from one of the newest, then adds a batch. */
const grow = (family: Family, chunkBytes: number, commands: ReadonlyArray<Command>) => {
  const shape = grafting(family, chunkBytes)
  const first = treeOf(family, genesis)
  const all: Array<Reached> = [{ toy: genesis, parent: undefined, tree: first, activity: build(shape, first, genesis) }]
  for (const { over, back, writes, keys, removed, seed } of commands) {
    let from = all.at(-1 - (over % all.length))!
    let target = from
    for (let i = 0; i < back && target.parent !== undefined; i++) target = target.parent
    if (target !== from) {
      const activity = backward(from.activity, from.tree, from.toy, target.toy)
      from = { ...target, activity }
      all.push(from)
    }
    const written = new Set(Array.from({ length: writes }, (_, i) => (Math.imul(seed + i, 0x9e3779b1) >>> 8) % keys))
    const toy = commit(from.toy, written, (key) => key % 4 < removed, seed)
    const tree = treeOf(family, toy)
    all.push({ toy, parent: from, tree, activity: forward(from.activity, tree, from.toy, toy) })
  }
  return { shape, all }
}

const rootOf = ({ activity, tree, toy }: Omit<Reached, "parent">): string => {
  const node = tree.node(toy.leaves)
  return hex(canonicalState(opensslHasher, activity, tree.root(toy.leaves, toy.floor), node).root)
}

const sizes = [
  { chunkBytes: 1, writesMax: 400, runs: 25 },
  { chunkBytes: 2, writesMax: 400, runs: 25 },
  { chunkBytes: 32, writesMax: 400, runs: 15 },
  { chunkBytes: 32, writesMax: 6000, runs: 6 },
]

describe.each([mmr, mmb])("$name", (family) => {
  it.each(sizes)(
    "chunks of $chunkBytes, up to $writesMax writes: every state has its root",
    ({ chunkBytes, writesMax, runs }) => {
      const commands = fc.array(command(writesMax), { minLength: 4, maxLength: 10, size: "max" })
      fc.assert(
        fc.property(commands, (given) => {
          const { shape, all } = grow(family, chunkBytes, given)
          for (const [i, { toy, tree, activity }] of all.entries()) {
            const expected = defined(family, chunkBytes, tree, toy)
            expect(rootOf({ toy, tree, activity }), `state ${i} of ${toy.leaves}`).toBe(expected)
            expect(rootOf({ toy, tree, activity: build(shape, tree, toy) }), `state ${i} built`).toBe(expected)
          }
        }),
        { numRuns: runs },
      )
    },
  )
})
