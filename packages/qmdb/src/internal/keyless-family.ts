/**
 * The keyless family: values in the order of their appends. It has no index; a value is named by its location.
 *
 *   batch: value, value, ... --seal, in call order--> append, append, ..., commit --flush--> log rows
 *
 * Source: spec qmdb §6.
 */
import { decode } from "@coppice/codec"
import type { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import type { KeylessFormat } from "@coppice/verify"
import { appendBytes, appendedValue, commitMetadata, isCommit, writeAppendHead } from "@coppice/verify/log"
import { Effect } from "effect"
import { LocationPruned } from "../errors.ts"
import type { KeylessReader } from "../keyless.ts"
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
import { KeylessBatch, type KeylessSource } from "./keyless-batch.ts"
import { LogProver } from "./log-proofs.ts"
import type { Content, LogState } from "./log-state.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import { inSlices } from "./slices.ts"
import type { StagedValues } from "./staged-values.ts"

/** A layer of a keyless database changes no index. */
type NoPart = null
type KeylessContent = Content<LogState, NoPart>
type Batch<V> = KeylessBatch<V>
type KeylessFamily<V> = Family<Batch<V>, KeylessReader<V>, LogState, NoPart>

/** The keyless family of a format. */
export const keylessFamily = <V>(format: KeylessFormat<V>): KeylessFamily<V> => ({
  ...flooredFamily(format),
  needsFloor: false,
  open: (core) => new KeylessIndex(format, core),
})

/** Writes the appends of a batch, in call order. */
export function* appendOperations<V>(
  format: KeylessFormat<V>,
  values: StagedValues,
  branch: Branch<unknown>,
): Generator<undefined, OperationBuffer, void> {
  const { count } = values
  const buffer = new OperationBuffer(count + 1, (count + 1) * (format.operationBytes ?? 64))
  const push = (n: number): void => {
    const at = buffer.reserve(appendBytes(format, values.length(n)), 0)
    values.copyTo(n, buffer.store, writeAppendHead(buffer.store.bytes, at))
  }
  yield* whileSealing(branch, inSlices(count, push))
  return buffer
}

const NOTHING: Undo = { numbers: new Uint32Array(0), previous: new Float64Array(0) }

/** See the head of this file. */
class KeylessIndex<V> implements LogIndex<Batch<V>, KeylessReader<V>, LogState, NoPart>, KeylessSource<V> {
  readonly reader: KeylessReader<V>
  readonly format: KeylessFormat<V>
  readonly home: Branches<KeylessContent>
  private readonly core: LogCore<LogState, NoPart>

  constructor(format: KeylessFormat<V>, core: LogCore<LogState, NoPart>) {
    this.format = format
    this.home = core.branches
    this.core = core
    this.reader = new KeylessStateReader(this, core)
  }

  load(state: LogState): LogState {
    return state
  }

  decode(bytes: Uint8Array): V {
    return this.core.space.own(() => decode(this.format.value.codec, bytes))
  }

  read(location: number, branch: Branch<unknown>): Uint8Array | undefined {
    const { log, space, view } = this.core
    if (location < view.pruned) throw new LocationPruned(location, view.pruned)
    const operation = log.operation(location, branch)
    return space.own(() =>
      isCommit(this.format, operation) ? commitMetadata(this.format, operation) : appendedValue(this.format, operation),
    )
  }

  prefetch(locations: ReadonlyArray<number>): Effect.Effect<void, StorageError> {
    const { log, space } = this.core
    return Effect.suspend(() => space.storage.prefetch("log", log.rowKeys(locations)))
  }

  openBatch(parent: Branch<KeylessContent>): Batch<V> {
    return new KeylessBatch<V>(this, parent)
  }

  *seal(batch: Batch<V>, branch: Branch<KeylessContent>): Generator<SealStep, KeylessContent, void> {
    const buffer = yield* appendOperations(this.format, batch.values, branch)
    const { state, log } = yield* authenticateFloored(this.core.hasher, this.format, batch, branch, buffer)
    return { state, log, index: null }
  }

  forget(): void {}

  bytesOf(): number {
    return 0
  }

  undo(): Undo {
    return NOTHING
  }

  *tidy(): Generator<undefined, void, void> {}

  *flush(covered: ReadonlyArray<Branch<KeylessContent>>): Generator<undefined, IndexFlush, void> {
    return { checkpoint: covered.at(-1)!.content!.state.size, settled: () => {} }
  }

  *rewind({ to }: RewindPlan): Generator<undefined, { readonly state: LogState; readonly settled: () => void }, void> {
    return { state: to, settled: () => {} }
  }

  *trim(): Generator<undefined, void, void> {}
}

/** Reads of a keyless database at its newest applied state. */
class KeylessStateReader<V> extends LogProver implements KeylessReader<V> {
  private readonly index: KeylessIndex<V>

  constructor(index: KeylessIndex<V>, core: LogCore<LogState, NoPart>) {
    super(core)
    this.index = index
  }

  readonly get = (location: Location): V | undefined => {
    const { tip } = this.index.home
    if (location >= tip.content!.state.size) return undefined
    const bytes = this.index.read(location, tip)
    return bytes === undefined ? undefined : this.index.decode(bytes)
  }

  readonly getMany = (locations: ReadonlyArray<Location>): ReadonlyArray<V | undefined> => locations.map(this.get)

  readonly prefetch = (locations: ReadonlyArray<Location>): Effect.Effect<void, StorageError> =>
    this.index.prefetch(locations)
}
