/**
 * A member over a plain sorted map, driven without Effect: seal, apply and flush as functions.
 *
 * The map applies each flush at once and keeps every version, so that a test can reopen what any flush left.
 */
import { bytesKey, compareBytes, keyBytes } from "@coppice/codec"
import { nobleHasher } from "@coppice/crypto"
import type { Change, Entry, StorageShape } from "@coppice/storage"
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
    if (change.tag === "put") map.set(bytesKey(change.key), change.value.slice())
    else map.delete(bytesKey(change.key))
  }
}

export const copyRows = (rows: Rows): Rows => new Map([...rows].map(([name, map]) => [name, new Map(map)]))

const entriesOf = (map: Map<string, Uint8Array>): Array<Entry> =>
  [...map]
    .map(([key, value]) => ({ key: keyBytes(key), value: value.slice() }))
    .sort((a, b) => compareBytes(a.key, b.key))

export const mapStorage = (rows: Rows): StorageShape => ({
  get: (map, key) => rowsOf(rows, map).get(bytesKey(key))?.slice(),
  scan: (map, range) =>
    entriesOf(rowsOf(rows, map)).filter(
      ({ key }) =>
        (range.start === undefined || compareBytes(key, range.start) >= 0) &&
        (range.end === undefined || compareBytes(key, range.end) < 0),
    ),
  prefetch: () => Effect.void,
  write: (changes) => Effect.sync(() => applyChanges(rows, changes)),
  backup: () => Effect.die("not used here"),
  info: () => ({ bytesUsed: 0, bytesFree: undefined }),
})

export const homeOver = (rows: Rows, overrides: Partial<MemberHome> = {}): MemberHome => ({
  storage: mapStorage(rows),
  member: 0,
  incarnation: 1,
  hasher: nobleHasher,
  rewindCommits: 8,
  ...overrides,
})

export const runSeal = (home: MemberHome, sealing: Generator<SealStep, Layer, void>): Layer => {
  for (;;) {
    const step = sealing.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) home.hasher.run(step.value)
  }
}

export const planFlush = <B, R>(member: Member<B, R>): Flush | undefined => {
  const planning = member.flush()
  if (planning === undefined) return undefined
  for (;;) {
    const step = planning.next()
    if (step.done === true) return step.value
  }
}

/** A member with what it stands on. */
export interface Bench<B, R> {
  readonly rows: Rows
  readonly home: MemberHome
  readonly member: Member<B, R>
  readonly seal: (batch: B) => Layer
  readonly flush: () => void
  readonly reopen: () => Bench<B, R>
}

export const benchOver = <B, R>(spec: MemberSpec<B, R>, rows: Rows, overrides?: Partial<MemberHome>): Bench<B, R> => {
  const home = homeOver(rows, overrides)
  const member = spec.open(home)
  return {
    rows,
    home,
    member,
    seal: (batch) => runSeal(home, member.seal(batch)),
    flush: () => {
      const flush = planFlush(member)
      if (flush === undefined) return
      applyChanges(rows, flush.changes)
      flush.settled()
    },
    reopen: () => benchOver(spec, copyRows(rows), overrides),
  }
}

export const createBench = <B, R>(spec: MemberSpec<B, R>, overrides?: Partial<MemberHome>): Bench<B, R> => {
  const rows: Rows = new Map()
  applyChanges(rows, spec.create(homeOver(rows, overrides)))
  return benchOver(spec, rows, overrides)
}
