/**
 * The immutable family: a key is set once, and an index names its location.
 *
 *   batch: key -> value --seal, in key order--> set, set, ..., commit --flush--> log rows; key -> location, by sweep
 *
 * Terms: a key is *live* in a state when it stands at or above the state's floor. One below it counts as never set, so that
 * a node that has pruned it, or has never had it, agrees with one that has.
 *
 * Invariant: the index holds the newest location of every key from the pruned location on. Source: spec qmdb §6.
 */
import { decode } from "@coppice/codec"
import { Location } from "@coppice/merkle"
import type { Change, StorageError } from "@coppice/storage"
import type { ImmutableFormat } from "@coppice/verify"
import { isCommit, type KeyText, operationKey, operationValue, setBytes, writeSetHead } from "@coppice/verify/log"
import { Effect } from "effect"
import type { ImmutableReader } from "../immutable.ts"
import type { SealStep } from "../member.ts"
import { authenticateFloored } from "./authenticate.ts"
import { whileSealing } from "./base-member.ts"
import type { Branch, Branches } from "./branches.ts"
import {
  type Family,
  flooredFamily,
  type IndexFlush,
  type LogCore,
  type LogIndex,
  type RewindPlan,
  type Undo,
} from "./family.ts"
import { ImmutableBatch, type ImmutableSource } from "./immutable-batch.ts"
import { IndexRows } from "./index-rows.ts"
import { KeyIndex, NO_SLOT } from "./key-index.ts"
import { LogProver } from "./log-proofs.ts"
import { type Content, type Head, type LogState, readUndo } from "./log-state.ts"
import { keyIdentities, keyIdentity, type Stated } from "./open-batch.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import { orderByBytes } from "./order.ts"
import { inSlices } from "./slices.ts"
import type { Writes } from "./writes.ts"

/** What a layer changed in the index: the keys it set, in order, and where those stood that were set before. */
export interface SetPart {
  readonly created: ReadonlyArray<KeyText>
  readonly replaced: Undo
}

type SetContent = Content<LogState, SetPart>
type Batch<K, V> = ImmutableBatch<K, V>
type ImmutableFamily<K, V> = Family<Batch<K, V>, ImmutableReader<K, V>, LogState, SetPart>

/** The immutable family of a format. */
export const immutableFamily = <K, V>(format: ImmutableFormat<K, V>): ImmutableFamily<K, V> => ({
  ...flooredFamily(format),
  needsFloor: true,
  open: (core) => new ImmutableIndex(format, core),
})

/** Writes the sets of a batch, in key order, and returns that order. */
export function* setOperations<K, V>(
  format: ImmutableFormat<K, V>,
  writes: Writes,
  branch: Branch<unknown>,
): Generator<undefined, { readonly buffer: OperationBuffer; readonly order: Uint32Array }, void> {
  const { keys } = writes
  const order = orderByBytes(keys)
  const buffer = new OperationBuffer(order.length + 1, (order.length + 1) * (format.operationBytes ?? 96))
  yield* whileSealing(
    branch,
    inSlices(order.length, (i) => pushSet(format, writes, order[i]!, buffer)),
  )
  return { buffer, order }
}

const pushSet = <K, V>(format: ImmutableFormat<K, V>, writes: Writes, key: number, buffer: OperationBuffer): void => {
  const { store, starts } = writes.keys
  const value = writes.of(key)
  const start = starts[key]!
  const end = starts[key + 1]!
  const at = buffer.reserve(setBytes(format, end - start, writes.length(value)), 0)
  const keyAt = writeSetHead(format, buffer.store.bytes, at, end - start)
  store.copyTo(start, end, buffer.store, keyAt)
  writes.copyTo(value, buffer.store, keyAt + end - start)
}

/** What a created key costs a layer beside its text. */
const CREATED_BYTES = 80

/** See the head of this file. */
class ImmutableIndex<K, V>
  implements LogIndex<Batch<K, V>, ImmutableReader<K, V>, LogState, SetPart>, ImmutableSource<K, V>
{
  readonly reader: ImmutableReader<K, V>
  readonly format: ImmutableFormat<K, V>
  readonly home: Branches<SetContent>
  private readonly core: LogCore<LogState, SetPart>
  private readonly keys: KeyIndex
  private readonly rows: IndexRows
  /** What layers that are being sealed have put into the index. */
  private readonly traces = new Map<Branch<SetContent>, Array<KeyText>>()

  constructor(format: ImmutableFormat<K, V>, core: LogCore<LogState, SetPart>) {
    this.format = format
    this.home = core.branches
    this.core = core
    this.keys = new KeyIndex(core.space, 8)
    this.rows = new IndexRows(core.space, this.keys)
    this.reader = new ImmutableStateReader(this, core)
  }

  load(state: LogState, { checkpoint }: Head): LogState {
    for (let location = checkpoint; location < state.size; location++) {
      const key = this.keyAt(location)
      if (key !== undefined) this.keys.replayCreate(key, location)
    }
    this.rows.startAt(checkpoint)
    return state
  }

  /** Identity of the key of a stored operation; undefined for a commit. */
  private keyAt(location: number): KeyText | undefined {
    const { log, space } = this.core
    const operation = log.operation(location, this.home.stored)
    return isCommit(this.format, operation) ? undefined : space.own(() => operationKey(this.format, operation))
  }

  decode(bytes: Uint8Array): V {
    return this.core.space.own(() => decode(this.format.value.codec, bytes))
  }

  locate(identity: Uint8Array, branch: Branch<Stated>): number {
    const location = this.keys.slotOf(identity, 0, identity.length, branch)
    return location === NO_SLOT ? 0 : location
  }

  /** Location of a live key, 0 when there is none. */
  live(identity: Uint8Array, branch: Branch<Stated>): number {
    const location = this.locate(identity, branch)
    return location < branch.content!.state.floor ? 0 : location
  }

  read(identity: Uint8Array, branch: Branch<Stated>): Uint8Array | undefined {
    const location = this.live(identity, branch)
    if (location === 0) return undefined
    return this.core.space.own(() => operationValue(this.format, this.core.log.operation(location, branch)))
  }

  prefetch(keys: ReadonlyArray<Uint8Array>, branch: Branch<Stated>): Effect.Effect<void, StorageError> {
    const { space, log } = this.core
    const rows = keys.map((key) => space.identityKey(key))
    const operations = Effect.suspend(() => {
      const locations = keys.map((key) => this.live(key, branch)).filter((location) => location !== 0)
      return space.storage.prefetch("log", log.rowKeys(locations))
    })
    return Effect.suspend(() => Effect.andThen(space.storage.prefetch("keys", rows), operations))
  }

  openBatch(parent: Branch<SetContent>): Batch<K, V> {
    return new ImmutableBatch<K, V>(this, parent)
  }

  *seal(batch: Batch<K, V>, branch: Branch<SetContent>): Generator<SealStep, SetContent, void> {
    const { parent, writes } = batch
    const { buffer, order } = yield* setOperations(this.format, writes, branch)
    const replaced = batch.replaces ? yield* whileSealing(branch, this.replaced(writes, order, parent)) : NOTHING
    const created: Array<KeyText> = []
    this.traces.set(branch, created)
    const first = parent.content!.state.size
    const create = (i: number): void => {
      const key = writes.keys.text(order[i]!)
      created.push(key)
      this.keys.create(key, branch, first + i)
    }
    yield* whileSealing(branch, inSlices(order.length, create))
    const { state, log } = yield* authenticateFloored(this.core.hasher, this.format, batch, branch, buffer)
    this.traces.delete(branch)
    return { state, log, index: { created, replaced } }
  }

  /** Which of the sets, by their place in the batch, are of keys that stood below the floor, and where. */
  private *replaced(writes: Writes, order: Uint32Array, parent: Branch<Stated>): Generator<undefined, Undo, void> {
    const { bytes, starts } = writes.keys
    const numbers: Array<number> = []
    const previous: Array<number> = []
    yield* inSlices(order.length, (i) => {
      const key = order[i]!
      const location = this.keys.slotOf(bytes, starts[key]!, starts[key + 1]!, parent)
      if (location === NO_SLOT) return
      numbers.push(i)
      previous.push(location)
    })
    return { numbers: Uint32Array.from(numbers), previous: Float64Array.from(previous) }
  }

  forget(branch: Branch<SetContent>): void {
    const created = this.traces.get(branch) ?? branch.content?.index?.created ?? []
    this.rows.closed.add(branch, NO_SLOTS, created)
    this.traces.delete(branch)
  }

  bytesOf({ index }: SetContent): number {
    return index!.created.reduce((sum, key) => sum + key.length + CREATED_BYTES, 0)
  }

  undo({ replaced }: SetPart): Undo {
    return replaced
  }

  tidy(): Generator<undefined, void, void> {
    return this.rows.tidy()
  }

  *flush(covered: ReadonlyArray<Branch<SetContent>>, changes: Array<Change>): Generator<undefined, IndexFlush, void> {
    for (const branch of covered) {
      const { created } = branch.content!.index!
      yield* inSlices(created.length, (i) => this.keys.mergeCreate(created[i]!, branch))
    }
    return yield* this.rows.flush(this.core.log.storedSize, covered.at(-1)!.content!.state.size, changes)
  }

  *rewind(
    { to, undone, checkpoint }: RewindPlan,
    changes: Array<Change>,
  ): Generator<undefined, { readonly state: LogState; readonly settled: () => void }, void> {
    const keys = new Map<KeyText, number>()
    for (const commit of undone) {
      const replaced = new Map<number, number>()
      readUndo(this.core.space, commit, replaced)
      yield* inSlices(commit.size - commit.parentSize, (i) => {
        const key = this.keyAt(commit.parentSize + i)
        if (key !== undefined) keys.set(key, replaced.get(i) ?? NO_SLOT)
      })
    }
    for (const [key, location] of keys) this.keys.putRow(key, location, changes)
    return { state: to, settled: () => this.rows.setBack(keys.keys(), checkpoint) }
  }

  *trim(from: number, to: number, changes: Array<Change>): Generator<undefined, void, void> {
    yield* inSlices(to - from, (i) => {
      const key = this.keyAt(from + i)
      if (key === undefined || this.keys.textSlot(key) !== from + i) return
      this.keys.putRow(key, NO_SLOT, changes)
      this.keys.swept(key)
    })
  }
}

const NO_SLOTS = new Uint32Array(0)
const NOTHING: Undo = { numbers: NO_SLOTS, previous: new Float64Array(0) }

/** Reads of an immutable database at its newest applied state. */
class ImmutableStateReader<K, V> extends LogProver implements ImmutableReader<K, V> {
  private readonly index: ImmutableIndex<K, V>

  constructor(index: ImmutableIndex<K, V>, core: LogCore<LogState, SetPart>) {
    super(core)
    this.index = index
  }

  private identity(key: K): Uint8Array {
    return keyIdentity(this.index.format.key, key)
  }

  readonly get = (key: K): V | undefined => {
    const bytes = this.index.read(this.identity(key), this.index.home.tip)
    return bytes === undefined ? undefined : this.index.decode(bytes)
  }

  readonly getMany = (keys: ReadonlyArray<K>): ReadonlyArray<V | undefined> => keys.map(this.get)

  readonly locate = (key: K): Location | undefined => {
    const location = this.index.live(this.identity(key), this.index.home.tip)
    return location === 0 ? undefined : Location(location)
  }

  readonly prefetch = (keys: ReadonlyArray<K>): Effect.Effect<void, StorageError> => {
    return this.index.prefetch(keyIdentities(this.index.format.key, keys), this.index.home.tip)
  }
}
