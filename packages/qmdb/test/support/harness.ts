/**
 * A member over a plain sorted map, driven without Effect: seal, apply and flush as functions.
 *
 * A flush has three steps that a test can take one by one: *plan* (the member makes the changes), *visible* (storage shows
 * them) and *settled* (the member is told). Rows can be copied at any moment, so that a test can reopen what a crash left.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import type { Hasher } from "@coppice/crypto"
import { opensslHasher } from "@coppice/crypto/node"
import type { Change, Entry, ScanRange, StorageShape } from "@coppice/storage"
import { Effect } from "effect"
import type { Flush, Layer, Member, MemberHome, MemberSpec, SealStep } from "../../src/index.ts"

export type Rows = Map<string, Map<string, Uint8Array>>

const rowsOf = (rows: Rows, map: string): Map<string, Uint8Array> => {
  const found = rows.get(map)
  if (found !== undefined) return found
  const made = new Map<string, Uint8Array>()
  rows.set(map, made)
  return made
}

export const applyChanges = (rows: Rows, changes: ReadonlyArray<Change>): void => {
  for (const change of changes) {
    const map = rowsOf(rows, change.map)
    if (change.tag === "put") map.set(bytesKey(change.key), Uint8Array.from(change.value))
    else map.delete(bytesKey(change.key))
  }
}

export const copyRows = (rows: Rows): Rows => new Map([...rows].map(([name, map]) => [name, new Map(map)]))

const entriesOf = (map: Map<string, Uint8Array>, { start, end, reverse, limit }: ScanRange): Array<Entry> => {
  const sign = reverse === true ? -1 : 1
  // Latin1 text compares as its bytes do.
  const order = (a: string, b: string): number => (a < b ? -sign : a > b ? sign : 0)
  const low = start === undefined ? undefined : bytesKey(start)
  const high = end === undefined ? undefined : bytesKey(end)
  return [...map.keys()]
    .filter((key) => (low === undefined || order(key, low) >= 0) && (high === undefined || order(key, high) < 0))
    .sort(order)
    .slice(0, limit)
    .map((key) => ({ key: keyBytes(key), value: Uint8Array.from(map.get(key)!) }))
}

export const mapStorage = (rows: Rows): StorageShape => ({
  get: (map, key) => {
    const value = rowsOf(rows, map).get(bytesKey(key))
    return value === undefined ? undefined : Uint8Array.from(value)
  },
  getInto: (map, key, target) => {
    const value = rowsOf(rows, map).get(bytesKey(key))
    if (value !== undefined) target.set(value.subarray(0, target.length))
    return value?.length ?? -1
  },
  scan: (map, range) => entriesOf(rowsOf(rows, map), range),
  prefetch: () => Effect.void,
  write: (changes) => Effect.sync(() => applyChanges(rows, changes)),
  backup: () => Effect.die("not used here"),
  info: () => ({ bytesUsed: 0, bytesFree: undefined }),
})

export const homeOver = (rows: Rows, overrides: Partial<MemberHome> = {}): MemberHome => ({
  storage: mapStorage(rows),
  member: 0,
  incarnation: 1,
  hasher: opensslHasher,
  rewindCommits: 8,
  ...overrides,
})

/** Takes up to `steps` steps of a seal; its layer once it has ended. */
export const stepSeal = (
  hasher: Hasher,
  sealing: Generator<SealStep, Layer, void>,
  steps: number,
): Layer | undefined => {
  for (let i = 0; i < steps; i++) {
    const step = sealing.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) hasher.run(step.value)
  }
  return undefined
}

export const runSeal = (hasher: Hasher, sealing: Generator<SealStep, Layer, void>): Layer =>
  stepSeal(hasher, sealing, Number.POSITIVE_INFINITY)!

/** Rows in all maps. */
export const rowCount = (rows: Rows): number => [...rows.values()].reduce((sum, map) => sum + map.size, 0)

/** Runs a generator to its end. */
export const finish = <A>(work: Generator<unknown, A, void>): A => {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** A member with what it stands on. */
export interface Rig<B, R> {
  readonly rows: Rows
  /** What has been spilled, and not removed. Empty when a member is opened. */
  readonly scratch: Rows
  readonly home: MemberHome
  readonly member: Member<B, R>
  /** Opens a batch over a layer, by default the tip, writes into it and seals it. */
  readonly seal: (write: (batch: B) => void, parent?: Layer) => Layer
  /** `seal` over the tip, then apply. */
  readonly commit: (write: (batch: B) => void) => Layer
  /** Plans a flush whole; undefined when nothing is to be flushed. */
  readonly plan: () => Flush | undefined
  /** All three steps of a flush. */
  readonly flush: () => void
  /** Moves layers to scratch, and removes what nobody reads there any more. */
  readonly spill: (layers?: ReadonlyArray<Layer>) => void
  /** A new member over a copy of what storage shows. */
  readonly reopen: () => Rig<B, R>
}

export const openRig = <B, R>(spec: MemberSpec<B, R>, rows: Rows, overrides?: Partial<MemberHome>): Rig<B, R> => {
  const scratch: Rows = new Map()
  const home = homeOver(rows, { scratch: mapStorage(scratch), ...overrides })
  const member = spec.open(home)
  const seal = (write: (batch: B) => void, parent = member.tip): Layer => {
    const batch = member.openBatch(parent)
    write(batch)
    return runSeal(home.hasher, member.seal(batch))
  }
  const plan = (): Flush | undefined => {
    const planning = member.flush()
    return planning === undefined ? undefined : finish(planning)
  }
  return {
    rows,
    scratch,
    home,
    member,
    seal,
    commit: (write) => {
      const layer = seal(write)
      member.apply(layer)
      return layer
    },
    plan,
    flush: () => {
      const flush = plan()
      if (flush === undefined) return
      applyChanges(rows, flush.changes)
      flush.settled()
    },
    spill: (layers = []) => {
      const planning = member.spill(layers)
      if (planning === undefined) return
      const write = finish(planning)
      applyChanges(scratch, write.changes)
      write.settled()
    },
    reopen: () => openRig(spec, copyRows(rows), overrides),
  }
}

export const createRig = <B, R>(spec: MemberSpec<B, R>, overrides?: Partial<MemberHome>): Rig<B, R> => {
  const rows: Rows = new Map()
  applyChanges(rows, spec.create(homeOver(rows, overrides)))
  return openRig(spec, rows, overrides)
}
