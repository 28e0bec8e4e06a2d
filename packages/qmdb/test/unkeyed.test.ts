/**
 * Goal: immutable and keyless databases hold exactly what their history says, through forks, flushes, the sweep, reopenings,
 * pruning and rewinding, and a key is set once.
 * Method: random commands run against a database and a list of operations per state; the root of each state is recomputed
 * from all its operations at once. Rows and slices are so small that every boundary is crossed. Canaries: one that keeps undone
 * loses its undo records, and one whose index shows every branch the newest create.
 */
import { Blob, Bytes, type Codec } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import { appendLeaves, emptyFrontier, family, inactivePeaks, root, runJobs } from "@coppice/merkle"
import { encodeOperation, immutableFormat, keylessFormat } from "@coppice/verify"
import fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import type { Branch } from "../src/internal/branches.ts"
import { KeyIndex } from "../src/internal/key-index.ts"
import {
  createRig,
  finish,
  type ImmutableBatch,
  type ImmutableReader,
  KeyAlreadySet,
  type KeylessBatch,
  type KeylessReader,
  type Layer,
  Location,
  LocationPruned,
  type MemberSpec,
  type MemberWrite,
  openRig,
  PruneRefused,
  Qmdb,
  RewindRefused,
  type Rig,
  runSeal,
} from "./support/api.ts"
import { applyChanges } from "./support/harness.ts"

vi.mock("../src/internal/layout.ts", () => ({ ROW_BYTES: 64, PACKED_OPERATIONS: 3, SLICE_ITEMS: 2, ROUND_FLUSHES: 3 }))

afterEach(() => {
  vi.restoreAllMocks()
})

const REWIND = 4
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** An operation as the model has it: a write, or a commit with its floor. */
type Operation =
  | { readonly tag: "write"; readonly key: number; readonly value: Uint8Array }
  | { readonly tag: "commit"; readonly floor: number }
type State = ReadonlyArray<Operation>

const floorOf = (state: State): number => (state.at(-1) as Operation & { readonly floor: number }).floor

interface Subject<B, R> {
  readonly name: string
  readonly spec: MemberSpec<B, R>
  readonly family: "mmr" | "mmb"
  readonly encode: (operation: Operation) => Uint8Array
  /** Stages writes of keys that are live or not in the parent; those that became operations, in their order. */
  readonly write: (batch: B, parent: State, keys: ReadonlyArray<number>, value: Uint8Array) => ReadonlyArray<Operation>
  readonly withFloor: (batch: B, floor: number) => void
  readonly checkBatch: (batch: B, parent: State, pruned: number) => void
  readonly checkReader: (reader: R, state: State, pruned: number) => void
  /** Whether going back needs the operations from the floor on. */
  readonly needsFloor: boolean
}

const variable = (encoding: string, bytes: number): Codec<Uint8Array> =>
  encoding === "fixed" ? Bytes(bytes) : Blob(bytes + 3)

const KEYS = 24
const key = (n: number): Uint8Array => Uint8Array.of(7 * n, 255 - n)

/** Location of a key that is live in a state. */
const liveAt = (state: State, n: number): number | undefined => {
  const found = state.findLastIndex((operation) => operation.tag === "write" && operation.key === n)
  return found >= floorOf(state) ? found : undefined
}

const valueAt = (state: State, location: number | undefined): Uint8Array | undefined => {
  const operation = location === undefined ? undefined : state[location]
  return operation?.tag === "write" ? operation.value : undefined
}

const immutableSubject = (
  name: "mmr" | "mmb",
  encoding: "fixed" | "variable",
): Subject<ImmutableBatch<Uint8Array, Uint8Array>, ImmutableReader<Uint8Array, Uint8Array>> => {
  const options = { key: variable(encoding, 2), value: variable(encoding, 3), family: name, encoding }
  const format = immutableFormat(options)
  return {
    name: `immutable, ${name}, ${encoding}`,
    spec: Qmdb.immutable(options),
    family: name,
    needsFloor: true,
    encode: (operation) =>
      encodeOperation(
        format,
        operation.tag === "commit"
          ? { tag: "commit", metadata: undefined, floor: Location(operation.floor) }
          : { tag: "set", key: key(operation.key), value: operation.value },
      ),
    write: (batch, parent, keys, value) => {
      const written: Array<Operation & { readonly tag: "write" }> = []
      for (const n of keys) {
        const taken = liveAt(parent, n) !== undefined || written.some((operation) => operation.key === n)
        if (taken) expect(() => batch.set(key(n), value)).toThrow(KeyAlreadySet)
        else {
          batch.set(key(n), value)
          written.push({ tag: "write", key: n, value: Uint8Array.from(value) })
        }
      }
      return written.sort((a, b) => Buffer.compare(key(a.key), key(b.key)))
    },
    withFloor: (batch, floor) => batch.withFloor(Location(floor)),
    checkBatch: (batch, parent) => {
      expect(batch.size).toBe(parent.length)
      for (let n = 0; n < KEYS; n++) expect(batch.get(key(n)), `key ${n}`).toEqual(valueAt(parent, liveAt(parent, n)))
    },
    checkReader: (reader, state) => {
      for (let n = 0; n < KEYS; n++) {
        expect(reader.locate(key(n)), `location of key ${n}`).toBe(liveAt(state, n))
        expect(reader.get(key(n)), `key ${n}`).toEqual(valueAt(state, liveAt(state, n)))
      }
    },
  }
}

const keylessSubject = (
  name: "mmr" | "mmb",
  encoding: "fixed" | "variable",
): Subject<KeylessBatch<Uint8Array>, KeylessReader<Uint8Array>> => {
  const options = { value: variable(encoding, 3), family: name, encoding }
  const format = keylessFormat(options)
  return {
    name: `keyless, ${name}, ${encoding}`,
    spec: Qmdb.keyless(options),
    family: name,
    needsFloor: false,
    encode: (operation) =>
      encodeOperation(
        format,
        operation.tag === "commit"
          ? { tag: "commit", metadata: undefined, floor: Location(operation.floor) }
          : { tag: "append", value: operation.value },
      ),
    write: (batch, parent, keys, value) =>
      keys.map((n, i) => {
        const bytes = Uint8Array.of(value[0]!, value[1]!, n)
        const mark = batch.mark()
        batch.append(bytes)
        batch.revert(mark)
        expect(batch.append(bytes)).toBe(parent.length + i)
        return { tag: "write", key: n, value: bytes }
      }),
    withFloor: (batch, floor) => batch.withFloor(Location(floor)),
    checkBatch: (batch, parent, pruned) => {
      const floor = floorOf(parent)
      for (let location = 0; location <= parent.length; location += 3) {
        if (location >= floor && location < pruned) {
          expect(() => batch.get(Location(location))).toThrow(LocationPruned)
          continue
        }
        const expected = location < floor ? undefined : valueAt(parent, location)
        expect(batch.get(Location(location)), `location ${location}`).toEqual(expected)
      }
    },
    checkReader: (reader, state, pruned) => {
      for (let location = 0; location <= state.length; location++) {
        if (location < pruned) expect(() => reader.get(Location(location))).toThrow(LocationPruned)
        else expect(reader.get(Location(location)), `location ${location}`).toEqual(valueAt(state, location))
      }
    },
  }
}

interface Command {
  readonly tag: "block" | "fork" | "apply" | "flush" | "spill" | "reopen" | "prune" | "rewind" | "close"
  readonly a: number
  readonly b: number
}

interface Node {
  readonly layer: Layer
  readonly state: State
  readonly parent: Node | undefined
}

type AnySubject = Subject<never, { readonly retained: ReadonlyArray<Location> }>

/** A database beside its model. */
class Pair {
  private readonly subject: AnySubject
  private rig: Rig<never, { readonly retained: ReadonlyArray<Location> }>
  private readonly stored: Array<State>
  private nodes: Array<Node> = []
  private tip: Node
  private flushed: Node
  private pruned = 0
  private count = 0

  constructor(subject: AnySubject) {
    this.subject = subject
    this.rig = createRig(subject.spec, { rewindCommits: REWIND })
    const genesis: State = [{ tag: "commit", floor: 0 }]
    this.stored = [genesis]
    this.tip = this.flushed = { layer: this.rig.member.tip, state: genesis, parent: undefined }
    this.nodes = [this.tip]
  }

  private over(node: Node, ancestor: Node): boolean {
    for (let at: Node | undefined = node; at !== undefined; at = at.parent) if (at === ancestor) return true
    return false
  }

  private rootOf(state: State): Uint8Array {
    const operations = state.map((operation) => this.subject.encode(operation))
    const offsets = new Uint32Array(operations.length + 1)
    operations.forEach((operation, i) => {
      offsets[i + 1] = offsets[i]! + operation.length
    })
    const tree = family(this.subject.family)
    const source = { count: operations.length, bytes: Buffer.concat(operations), offsets }
    const { frontier } = runJobs(opensslHasher, appendLeaves(emptyFrontier(tree), source))
    const inactive = inactivePeaks(tree, frontier.leaves, Location(floorOf(state)))
    return root(opensslHasher, frontier, inactive, "backward")
  }

  private grow(parent: Node, a: number, b: number): void {
    const { member, home } = this.rig
    const batch = member.openBatch(parent.layer)
    const keys = Array.from({ length: a % 6 }, (_, i) => (b + i * 5) % KEYS)
    const value = Uint8Array.of(++this.count, this.count >> 8, 9)
    const written = this.subject.write(batch, parent.state, keys, value)
    const before = floorOf(parent.state)
    const commit = parent.state.length + written.length
    const floor = b % 3 === 0 ? Math.min(commit, before + (a % 9)) : before
    if (b % 3 === 0) this.subject.withFloor(batch, floor)
    const layer = runSeal(home.hasher, member.seal(batch))
    const state: State = [...parent.state, ...written, { tag: "commit", floor }]
    expect([hex(layer.target.root), layer.target.start, layer.target.end]).toEqual([
      hex(this.rootOf(state)),
      floor,
      state.length,
    ])
    this.nodes.push({ layer, state, parent })
  }

  private write(planning: Generator<undefined, MemberWrite, void> | undefined): void {
    if (planning === undefined) return
    const write = finish(planning)
    applyChanges(this.rig.rows, write.changes)
    write.settled()
  }

  private standAt(state: State): void {
    this.tip = this.flushed = { layer: this.rig.member.tip, state, parent: undefined }
    this.nodes = [this.tip]
  }

  block(a: number, b: number): void {
    this.grow(this.tip, a, b)
    this.applyNode(this.nodes.at(-1)!)
    if (a % 3 !== 0) this.flush()
  }

  fork(a: number, b: number): void {
    const alive = this.nodes.filter((node) => this.over(node, this.tip))
    if (alive.length < 12) this.grow(alive[a % alive.length]!, b, a)
  }

  apply(a: number): void {
    const pending = this.nodes.filter((node) => node !== this.tip && this.over(node, this.tip))
    if (pending.length > 0) this.applyNode(pending[a % pending.length]!)
  }

  close(a: number): void {
    const pending = this.nodes.filter((node) => node !== this.tip && this.over(node, this.tip))
    const node = pending[a % Math.max(1, pending.length)]
    if (node === undefined) return
    this.rig.member.close(node.layer)
    this.nodes = this.nodes.filter((other) => !this.over(other, node))
  }

  private applyNode(node: Node): void {
    this.rig.member.apply(node.layer)
    this.tip = node
    this.nodes = this.nodes.filter((other) => this.over(other, node) || this.over(node, other))
  }

  flush(): void {
    const states: Array<State> = []
    for (let at = this.tip; at !== this.flushed; at = at.parent!) states.unshift(at.state)
    this.rig.flush()
    this.stored.push(...states)
    this.flushed = this.tip
  }

  spill(a: number): void {
    this.rig.spill(this.nodes.filter((_, i) => ((a >> (i % 10)) & 1) === 0).map(({ layer }) => layer))
  }

  reopen(): void {
    this.rig = openRig(this.subject.spec, this.rig.rows, { rewindCommits: REWIND })
    this.standAt(this.stored.at(-1)!)
  }

  prune(a: number, b: number): void {
    const floor = floorOf(this.flushed.state)
    const location = Math.max(0, floor + 1 - (a % 12))
    if (location > floor) {
      expect(() => this.rig.member.prune(Location(location))).toThrow(PruneRefused)
      return
    }
    this.write(this.rig.member.prune(Location(location)))
    this.pruned = Math.max(this.pruned, location)
    if (b % 3 === 0) return
    for (let next = this.rig.member.trim(); next !== undefined; next = this.rig.member.trim()) this.write(next)
  }

  rewind(a: number): void {
    this.flush()
    const { retained } = this.rig.member.reader
    const undone = a % retained.length
    const size = retained[retained.length - 1 - undone]!
    const state = this.stored.at(-1 - undone)!
    expect(state.length).toBe(size)
    const needed = this.subject.needsFloor ? floorOf(state) : size - 1
    if (undone > 0 && (needed < this.pruned || size - 1 < this.pruned)) {
      expect(() => this.rig.member.rewind(size)).toThrow(RewindRefused)
      return
    }
    this.write(this.rig.member.rewind(size))
    this.stored.length -= undone
    this.standAt(state)
  }

  check(): void {
    const { member } = this.rig
    expect(hex(member.tip.target.root)).toBe(hex(this.rootOf(this.tip.state)))
    this.subject.checkReader(member.reader, this.tip.state, this.pruned)
    const alive = this.nodes.filter((node) => this.over(node, this.tip))
    const node = alive[this.count % alive.length]!
    this.subject.checkBatch(member.openBatch(node.layer), node.state, this.pruned)
  }
}

const commands = fc.array(
  fc.record({
    tag: fc.constantFrom<Command["tag"]>(
      ...Array.from({ length: 6 }, () => "block" as const),
      "fork",
      "fork",
      "apply",
      "close",
      "flush",
      "spill",
      "spill",
      "reopen",
      "prune",
      "rewind",
    ),
    a: fc.nat(1000),
    b: fc.nat(1000),
  }),
  { minLength: 1, maxLength: 60, size: "max" },
)

const run = (subject: AnySubject, list: ReadonlyArray<Command>): void => {
  const pair = new Pair(subject)
  for (const { tag, a, b } of list) {
    pair[tag](a, b)
    pair.check()
  }
  pair.flush()
  pair.reopen()
  pair.check()
}

const subjects = (["mmr", "mmb"] as const).flatMap((name) =>
  (["fixed", "variable"] as const).flatMap(
    (encoding) =>
      [immutableSubject(name, encoding), keylessSubject(name, encoding)] as unknown as ReadonlyArray<AnySubject>,
  ),
)

describe("unkeyed databases equal their history", () => {
  for (const subject of subjects) {
    it(`${subject.name}: in any order of calls`, () => {
      fc.assert(
        fc.property(commands, (list) => run(subject, list)),
        { numRuns: 40 },
      )
    })
  }
})

describe("canaries: the same commands catch", () => {
  const caught = (): void => {
    const subject = subjects[0]!
    const outcome = fc.check(
      fc.property(commands, (list) => run(subject, list)),
      { numRuns: 300, endOnFailure: true },
    )
    expect(outcome.failed).toBe(true)
  }

  it("an immutable index that shows the newest create to every branch", () => {
    const { slotOf } = KeyIndex.prototype
    vi.spyOn(KeyIndex.prototype, "slotOf").mockImplementation(function (this: KeyIndex, bytes, from, to, branch) {
      const everything = Object.assign(Object.create(branch), { sees: () => true }) as Branch<unknown>
      return slotOf.call(this, bytes, from, to, everything)
    })
    caught()
  })

  it("a key that keeps the location it was given in a commit that is undone", () => {
    vi.spyOn(KeyIndex.prototype, "putRow").mockImplementation(() => {})
    caught()
  })
})
