/**
 * The keyed families: keys have slots, slots have locations, and the floor moves up over what is active.
 *
 *   load:   slot pages -> replay of the log from the checkpoint
 *   flush:  deletes, touched slots and creates of each layer join the indexes -> a share of the sweep
 *   rewind: slots back to where they were, created keys go, deleted ones come back -> all rows they lie in
 *
 * Invariant: at every moment, between any two steps of a seal or a write, each living layer reads exactly its own state.
 */
import { decode } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import type { Position } from "@coppice/merkle"
import type { Change, StorageError } from "@coppice/storage"
import { decodeOperation, type KeyedFormat } from "@coppice/verify"
import type { Grafting } from "@coppice/verify/grafting"
import {
  commitFloor,
  commitOperation,
  isOperationOn,
  type KeyText,
  operationKey,
  operationValue,
} from "@coppice/verify/log"
import { Effect } from "effect"
import type { SealStep } from "../member.ts"
import { activityBytes, type CurrentState } from "./activity.ts"
import type { Branch, Branches } from "./branches.ts"
import type { Family, IndexFlush, LogCore, LogIndex, RewindPlan, Undo } from "./family.ts"
import { Grafts } from "./grafts.ts"
import { IndexRows } from "./index-rows.ts"
import { hashBytes } from "./key-hash.ts"
import { KeyIndex, NO_SLOT } from "./key-index.ts"
import type { KeyedBatch } from "./keyed-batch.ts"
import { restoreKeyed } from "./keyed-restore.ts"
import {
  type IndexPart,
  type KeyedContent,
  type KeyedState,
  keyedRecord,
  readKeyedRecord,
  requireCanonical,
} from "./keyed-state.ts"
import type { KeyedReads } from "./keyed-state-reader.ts"
import { Kind, ownerKind, ownerSlot } from "./log-part.ts"
import { type Head, type LogState, readUndo, targetOf } from "./log-state.ts"
import type { LookedUp } from "./looked-up.ts"
import { keyIdentity } from "./open-batch.ts"
import { ActivityConflict } from "./regraft.ts"
import { type SealHome, type SealInput, type SealTrace, Touched } from "./sealing.ts"
import { inSlices } from "./slices.ts"
import { SlotGuesses } from "./slot-guesses.ts"
import { INACTIVE, SLOTS_PER_PAGE, SlotIndex } from "./slot-index.ts"

/** Seals a batch of one order of keys: which operations its writes become. */
export type Seal = <K, V>(home: SealHome<K, V>, input: SealInput) => Generator<SealStep, KeyedContent, void>

/** What sets databases whose keys are in order apart from those whose keys are not. */
export interface KeyedKind<K, V, B, R> {
  readonly seal: Seal
  readonly batchOver: (index: KeyedReads<K, V>, parent: Branch<KeyedContent>) => B
  readonly readerOf: (index: KeyedReads<K, V>) => R
}

/** The `any` family of a format; with a grafting, what `current` stands on: its states have grafts. */
export const keyedFamily = <K, V, B extends KeyedBatch<K, V>, R>(
  format: KeyedFormat<K, V>,
  kind: KeyedKind<K, V, B, R>,
  grafting: Grafting | undefined,
): Family<B, R, KeyedState, IndexPart> => ({
  merkle: format.family,
  operationBytes: format.operationBytes,
  owned: true,
  genesisCommit: commitOperation(format, undefined, 0),
  commitFloor: (operation) => commitFloor(format, operation),
  decodeOperation: (operation) => decodeOperation(format, operation),
  restored: (state, copy, hasher, node) =>
    restoreKeyed(format, grafting && new Grafts(grafting, hasher), state, copy, node),
  canonical: false,
  targetOf,
  record: keyedRecord,
  needsFloor: true,
  prunable: ({ floor }) => floor,
  open: (core) => new KeyedLogIndex(format, kind, grafting && new Grafts(grafting, core.hasher), core),
})

/** What a touched slot costs a layer: its entry in the slot index, and itself with its location before. */
const TOUCHED_BYTES = 28 + 12

/** What a created key costs a layer beside its text. */
const CREATED_BYTES = 80

/** See the head of this file. */
class KeyedLogIndex<K, V, B extends KeyedBatch<K, V>, R>
  implements LogIndex<B, R, KeyedState, IndexPart>, KeyedReads<K, V>
{
  readonly reader: R
  readonly format: KeyedFormat<K, V>
  readonly home: Branches<KeyedContent>
  readonly core: LogCore<KeyedState, IndexPart>
  readonly slots = new SlotIndex()
  readonly keys: KeyIndex
  private readonly guesses = new SlotGuesses()
  private readonly kind: KeyedKind<K, V, B, R>
  private readonly grafts: Grafts | undefined
  private readonly rows: IndexRows
  /** What layers that are being sealed have put into the shared indexes. */
  private readonly traces = new Map<Branch<KeyedContent>, SealTrace>()

  constructor(
    format: KeyedFormat<K, V>,
    kind: KeyedKind<K, V, B, R>,
    grafts: Grafts | undefined,
    core: LogCore<KeyedState, IndexPart>,
  ) {
    this.format = format
    this.kind = kind
    this.grafts = grafts
    this.core = core
    this.home = core.branches
    this.keys = new KeyIndex(core.space, 4, format.ordered)
    this.rows = new IndexRows(core.space, this.keys, this.slots)
    this.reader = kind.readerOf(this)
  }

  load(state: LogState, { index, checkpoint }: Head): KeyedState {
    const { space, log, branches } = this.core
    const record = readKeyedRecord(space, index)
    const { slots, active } = record
    this.loadPages(slots)
    for (let location = checkpoint; location < state.size; location++) {
      const owner = log.owner(location, branches.stored)
      const kind = ownerKind(owner)
      if (kind === Kind.commit) continue
      const slot = ownerSlot(owner)
      this.slots.store(slot, kind === Kind.delete ? INACTIVE : location)
      if (kind === Kind.update) continue
      const key = this.keyAt(location)
      if (kind === Kind.create) this.keys.replayCreate(key, slot)
      else this.keys.mergeDelete(key)
    }
    const found = this.slots.rebuildFreed(slots)
    if (found !== active) throw space.corrupt(`${found} keys are active, the head row says ${active}`)
    this.rows.startAt(checkpoint)
    const node = (position: Position): Digest => log.node(position, branches.stored)
    const current = this.derived(() => this.grafts?.build(state, this.slots.locations(active), node))
    requireCanonical(space, record, current)
    return { ...state, slots, active, freedUsed: 0, current }
  }

  /** What follows from the slots in storage: two that name one location are not this member's. */
  private derived<A>(derive: () => A): A {
    try {
      return derive()
    } catch (error) {
      if (error instanceof ActivityConflict) throw this.core.space.corrupt(error.message)
      throw error
    }
  }

  /** Reads rows straight into their pages: what a scan returns would lie between them and stay resident. */
  private loadPages(slots: number): void {
    const { space } = this.core
    const end = Math.ceil(slots / SLOTS_PER_PAGE)
    for (let page = 0; page < end; page++) {
      const row = this.slots.rowOf(page)
      const length = space.storage.getInto("slots", space.rowKey(page), row)
      if (length >= 0 && length !== row.length) throw space.corrupt(`slots: row ${page} has ${length} bytes`)
    }
  }

  /** Identity of the key of an operation in storage. */
  private keyAt(location: number): KeyText {
    const { log, branches } = this.core
    return this.core.space.own(() => operationKey(this.format, log.operation(location, branches.stored)))
  }

  identity(key: K): Uint8Array {
    return keyIdentity(this.format.key, key)
  }

  decode(bytes: Uint8Array): V {
    return this.core.space.own(() => decode(this.format.value.codec, bytes))
  }

  locate(identity: Uint8Array, branch: Branch<KeyedContent>): number {
    const slot = this.keys.slotOf(identity, 0, identity.length, branch)
    return slot === NO_SLOT ? INACTIVE : this.slots.locate(slot, branch)
  }

  read(identity: Uint8Array, branch: Branch<KeyedContent>): Uint8Array | undefined {
    return this.valueAt(this.locate(identity, branch), branch)
  }

  readThrough(found: LookedUp, identity: Uint8Array, branch: Branch<KeyedContent>): Uint8Array | undefined {
    const known = found.find(identity, 0, identity.length)
    if (known >= 0) return this.valueAt(found.location(known), branch)
    const hash = hashBytes(identity)
    const guess = this.guesses.slotOf(hash)
    if (guess !== NO_SLOT) {
      const location = this.slots.locate(guess, branch)
      const value = this.valueAt(location, branch, identity)
      if (value !== undefined) {
        found.add(identity, guess, location)
        return value
      }
    }
    const slot = this.keys.slotOf(identity, 0, identity.length, branch)
    const location = slot === NO_SLOT ? INACTIVE : this.slots.locate(slot, branch)
    found.add(identity, slot, location)
    if (location !== INACTIVE) this.guesses.keep(hash, slot)
    return this.valueAt(location, branch)
  }

  /** The value at a location; with an identity, only of an operation on that key. */
  private valueAt(location: number, branch: Branch<KeyedContent>, identity?: Uint8Array): Uint8Array | undefined {
    if (location === INACTIVE) return undefined
    return this.core.space.own(() => {
      const operation = this.core.log.operation(location, branch)
      const isOther = identity !== undefined && !isOperationOn(this.format, operation, identity)
      return isOther ? undefined : operationValue(this.format, operation)
    })
  }

  prefetch(keys: ReadonlyArray<Uint8Array>, branch: Branch<KeyedContent>): Effect.Effect<void, StorageError> {
    const { space, log } = this.core
    return Effect.suspend(() =>
      Effect.andThen(
        space.storage.prefetch(
          "keys",
          keys.map((key) => space.identityKey(key)),
        ),
        Effect.suspend(() => {
          const locations = keys.map((key) => this.locate(key, branch)).filter((l) => l !== INACTIVE)
          return space.storage.prefetch("log", log.rowKeys(locations))
        }),
      ),
    )
  }

  openBatch(parent: Branch<KeyedContent>): B {
    return this.kind.batchOver(this, parent)
  }

  *seal(batch: B, branch: Branch<KeyedContent>): Generator<SealStep, KeyedContent, void> {
    const { parent, writes, found, metadata } = batch
    const trace: SealTrace = { touched: new Touched(2 * writes.keys.count + 1), created: [], deleted: [] }
    this.traces.set(branch, trace)
    const { hasher, log } = this.core
    const { format, slots, keys, guesses } = this
    const home = { format, hasher, log, slots, keys, guesses }
    const before = parent.content!.state.current
    const sealed = yield* this.kind.seal(home, { parent, branch, writes, found, metadata, trace })
    const content = before === undefined ? sealed : yield* this.grafts!.seal(sealed, before, parent, branch, home)
    this.traces.delete(branch)
    return content
  }

  forget(branch: Branch<KeyedContent>): void {
    const trace = this.traces.get(branch)
    if (trace !== undefined) this.rows.closed.add(branch, trace.touched.slots, trace.created)
    const index = branch.content?.index
    if (index !== undefined) this.rows.closed.add(branch, index.touched, index.created)
    this.traces.delete(branch)
  }

  bytesOf({ index, state }: KeyedContent): number {
    const { touched, created } = index!
    const keyBytes = created.reduce((sum, key) => sum + key.length + CREATED_BYTES, 0)
    const grafted = state.current === undefined ? 0 : activityBytes(state.current.activity)
    return touched.length * TOUCHED_BYTES + keyBytes + grafted
  }

  undo({ touched, previous }: IndexPart): Undo {
    return { numbers: touched, previous }
  }

  tidy(): Generator<undefined, void, void> {
    return this.rows.tidy()
  }

  *flush(covered: ReadonlyArray<Branch<KeyedContent>>, changes: Array<Change>): Generator<undefined, IndexFlush, void> {
    for (const branch of covered) yield* this.merge(branch)
    const { size } = covered.at(-1)!.content!.state
    const { log, branches } = this.core
    const { checkpoint, settled } = yield* this.rows.flush(log.storedSize, size, changes)
    return {
      checkpoint,
      settled: () => {
        settled()
        if (branches.count === 0 && this.rows.closed.empty) this.slots.shrink()
      },
    }
  }

  private *merge(branch: Branch<KeyedContent>): Generator<undefined, void, void> {
    const { index, state } = branch.content!
    this.slots.consumeFreed(state.freedUsed)
    const { touched, created, deleted } = index!
    // Deletes first: from the moment a slot counts as freed, another branch may give it to a key.
    yield* inSlices(deleted.length, (i) => this.keys.mergeDelete(deleted[i]!))
    yield* inSlices(touched.length, (i) => this.slots.merge(touched[i]!, branch))
    yield* inSlices(created.length, (i) => this.keys.mergeCreate(created[i]!, branch))
  }

  *rewind(
    { to, undone, checkpoint }: RewindPlan,
    changes: Array<Change>,
  ): Generator<undefined, { readonly state: KeyedState; readonly settled: () => void }, void> {
    const { space } = this.core
    const locations = new Map<number, number>()
    for (const commit of undone) {
      readUndo(space, commit, locations)
      yield undefined
    }
    const keys = yield* this.keysBefore(to.size)
    const rows = new Map<number, Float64Array>()
    for (const [slot, location] of locations) {
      const page = Math.floor(slot / SLOTS_PER_PAGE)
      const row = rows.get(page) ?? this.pageRow(page)
      rows.set(page, row)
      row[slot - page * SLOTS_PER_PAGE] = location
    }
    for (const [page, row] of rows) {
      changes.push({ tag: "put", map: "slots", key: space.rowKey(page), value: new Uint8Array(row.buffer) })
    }
    for (const [key, slot] of keys) this.keys.putRow(key, slot, changes)
    const record = readKeyedRecord(space, undone.at(-1)!.parentIndex)
    const { slots, active } = record
    const settled = (): void => {
      this.slots.setBack(slots, locations)
      this.rows.setBack(keys.keys(), checkpoint)
    }
    const current = yield* this.currentAt(to, locations.values())
    requireCanonical(space, record, current)
    return { state: { ...to, slots, active, freedUsed: 0, current }, settled }
  }

  private *currentAt(to: LogState, locations: Iterable<number>): Generator<undefined, CurrentState | undefined, void> {
    const { log, branches } = this.core
    const { stored } = branches
    const before = stored.content!.state.current
    if (before === undefined) return undefined
    return yield* this.grafts!.rewind(before, to, locations, (position) => log.node(position, stored))
  }

  private pageRow(page: number): Float64Array {
    const row = new Float64Array(SLOTS_PER_PAGE)
    this.slots.writePage(page, row)
    return row
  }

  /** Slots that keys created or deleted from a location on had before it. */
  private *keysBefore(size: number): Generator<undefined, Map<KeyText, number>, void> {
    const { log, branches } = this.core
    const keys = new Map<KeyText, number>()
    yield* inSlices(log.storedSize - size, (i) => {
      const location = log.storedSize - 1 - i
      const owner = log.owner(location, branches.stored)
      const kind = ownerKind(owner)
      if (kind === Kind.create) keys.set(this.keyAt(location), NO_SLOT)
      else if (kind === Kind.delete) keys.set(this.keyAt(location), ownerSlot(owner))
    })
    return keys
  }

  /** Rows of keys and slots are those of active keys: none goes with its operations. */
  *trim(): Generator<undefined, void, void> {}
}
