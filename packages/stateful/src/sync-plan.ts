/**
 * Whether a node's databases come from replay or from state sync, and how far that got.
 *
 *   absent ----- beginSync(F) ----> in progress(F) --- setComplete(h) ---> complete(h) --- setComplete(h' >= h) --.
 *     |                               |  ^ beginSync(F' >= F)                  ^                                  |
 *     '--- setComplete(h) ------------|--'-------------------------------------'----------------------------------'
 *
 * Terms: a *floor* is a finalization from which state sync starts instead of genesis. The *selected* floor is the one this
 * process would use; the *record* is what is durable.
 *
 * Invariant: `complete` never changes back and never decreases (INV-19). A persisted floor's round never decreases, and
 * one round has one payload (INV-20). Each transition is durable before its effect succeeds; what cannot be read is never
 * guessed (F38).
 */
import { ByteReader, ByteWriter, bytesEqual, DecodeError } from "@coppice/codec"
import { type Block, compareRounds, type Finalization, finalizationCodec, Height } from "@coppice/consensus"
import type { Change, StorageError, StorageShape } from "@coppice/storage"
import { Effect, Result, Semaphore } from "effect"
import { type BoundSet, bindSet, type SetBinding } from "./binding.ts"
import type { Databases } from "./database-set.ts"
import {
  CompleteRegressed,
  FloorConflict,
  FloorRegressed,
  type SetOpenError,
  SyncAfterComplete,
  type SyncPlanRefusal,
  SyncPlanUnreadable,
} from "./errors.ts"
import { putIdentity, putPlan, readIdentity, readPlan } from "./root-record.ts"
import { attempt } from "./slices.ts"

/** What is durable of a plan. */
export type PlanRecord =
  | { readonly tag: "absent" }
  | { readonly tag: "in progress"; readonly floor: Finalization }
  | { readonly tag: "complete"; readonly height: Height }

const TAG_IN_PROGRESS = 0
const TAG_COMPLETE = 1

/** Bytes of the plan's row. Source: spec stateful §8.2. */
export const encodePlan = (record: Exclude<PlanRecord, { tag: "absent" }>): Uint8Array => {
  const writer = new ByteWriter()
  if (record.tag === "in progress") finalizationCodec.write(writer.u8(TAG_IN_PROGRESS), record.floor)
  else writer.u8(TAG_COMPLETE).varint(record.height)
  return writer.finish()
}

/** The plan that a row holds; no row means absent. Errors: throws `SyncPlanUnreadable` (F38). */
export const decodePlan = (row: Uint8Array | undefined): PlanRecord => {
  if (row === undefined) return { tag: "absent" }
  try {
    const reader = new ByteReader(row)
    const tag = reader.u8()
    if (tag !== TAG_IN_PROGRESS && tag !== TAG_COMPLETE) throw new DecodeError(`unknown tag ${tag}`, 0)
    const record: PlanRecord =
      tag === TAG_IN_PROGRESS
        ? { tag: "in progress", floor: finalizationCodec.read(reader) }
        : { tag: "complete", height: Height(reader.varintSafe()) }
    reader.end()
    return record
  } catch (error) {
    if (error instanceof DecodeError) throw new SyncPlanUnreadable({ reason: error.message })
    throw error
  }
}

type Transition = Result.Result<Exclude<PlanRecord, { tag: "absent" }>, SyncPlanRefusal>

/** The record after state sync begins from a floor. Pure. Refused after completion and for a floor that moves back (F39). */
export const planAfterBegin = (record: PlanRecord, floor: Finalization): Transition => {
  const { round, payload } = floor.proposal
  if (record.tag === "complete") return Result.fail(new SyncAfterComplete({ completed: record.height, floor: round }))
  if (record.tag === "in progress") {
    const held = record.floor.proposal
    const order = compareRounds(round, held.round)
    if (order < 0) return Result.fail(new FloorRegressed({ held: held.round, offered: round }))
    if (order === 0 && !bytesEqual(payload, held.payload)) {
      return Result.fail(new FloorConflict({ round, held: held.payload, offered: payload }))
    }
  }
  return Result.succeed({ tag: "in progress", floor })
}

/** The record after the databases stand, durably, at a height. Pure. Refused when the height moves back (F39). */
export const planAfterComplete = (record: PlanRecord, height: Height): Transition =>
  record.tag === "complete" && height < record.height
    ? Result.fail(new CompleteRegressed({ held: record.height, offered: height }))
    : Result.succeed({ tag: "complete", height })

/** Where marshal begins on an environment of its own that is empty. */
export type MarshalStart<B extends Block> =
  | { readonly tag: "genesis"; readonly genesis: B }
  | { readonly tag: "floor"; readonly floor: Finalization }

/** What became of an offered floor. */
export type FloorSelection = "selected" | "complete" | "lagging"

/** The startup decision, shared by marshal and executor so that both start from the same one (INV-21). */
export interface SyncPlan {
  /** What is durable. */
  readonly record: PlanRecord
  /** Not complete: state sync is still allowed. */
  readonly maySync: boolean
  /** Height of completion; undefined before. */
  readonly syncHeight: Height | undefined
  /** A state sync was interrupted and must go on. */
  readonly requiresFloor: boolean
  /** The selected floor, else the persisted one. Undefined once complete. */
  readonly floor: Finalization | undefined
  /** Whether to take the state-sync path. */
  readonly shouldSync: (requested: boolean) => boolean
  /**
   * Offers a floor for this start. Ignored once complete (F40), and, with a warning, when its round is not above that of
   * the floor at hand (F41).
   */
  readonly offerFloor: (floor: Finalization) => Effect.Effect<FloorSelection>
  /**
   * Where marshal starts: the floor, if there is one. It is recorded before this succeeds, and so before marshal can use
   * it: whatever happens to the process then, the next one knows that it has to go on from there.
   */
  readonly marshalStart: <B extends Block>(genesis: B) => Effect.Effect<MarshalStart<B>, SyncPlanRefusal | StorageError>
  /** Records that state sync starts from a floor. To be durable before any database or marshal changes (INV-18). */
  readonly beginSync: (floor: Finalization) => Effect.Effect<void, SyncPlanRefusal | StorageError>
  /** Records that the databases stand at a height, durably. */
  readonly setComplete: (height: Height) => Effect.Effect<void, SyncPlanRefusal | StorageError>
}

class OpenPlan implements SyncPlan {
  readonly #write: (plan: Change) => Effect.Effect<void, StorageError>
  readonly #lock: Semaphore.Semaphore
  #record: PlanRecord
  #selected: Finalization | undefined

  constructor(
    record: PlanRecord,
    lock: Semaphore.Semaphore,
    write: (plan: Change) => Effect.Effect<void, StorageError>,
  ) {
    this.#record = record
    this.#lock = lock
    this.#write = write
  }

  get record(): PlanRecord {
    return this.#record
  }
  get maySync(): boolean {
    return this.#record.tag !== "complete"
  }
  get syncHeight(): Height | undefined {
    return this.#record.tag === "complete" ? this.#record.height : undefined
  }
  get requiresFloor(): boolean {
    return this.#record.tag === "in progress"
  }
  get floor(): Finalization | undefined {
    if (this.#record.tag === "complete") return undefined
    return this.#selected ?? (this.#record.tag === "in progress" ? this.#record.floor : undefined)
  }

  readonly shouldSync = (requested: boolean): boolean => this.maySync && (requested || this.requiresFloor)

  readonly offerFloor = (offered: Finalization): Effect.Effect<FloorSelection> =>
    Effect.suspend(() => {
      if (!this.maySync) return Effect.succeed("complete")
      const held = this.floor?.proposal.round
      if (held !== undefined && compareRounds(offered.proposal.round, held) <= 0) {
        return Effect.as(Effect.logWarning("sync floor ignored", { held, offered: offered.proposal.round }), "lagging")
      }
      this.#selected = offered
      return Effect.succeed("selected")
    })

  readonly marshalStart = <B extends Block>(
    genesis: B,
  ): Effect.Effect<MarshalStart<B>, SyncPlanRefusal | StorageError> =>
    Effect.suspend((): Effect.Effect<MarshalStart<B>, SyncPlanRefusal | StorageError> => {
      const { floor } = this
      if (floor === undefined) return Effect.succeed({ tag: "genesis", genesis })
      const recorded = this.#record.tag === "in progress" && this.#record.floor === floor
      return Effect.as(recorded ? Effect.void : this.beginSync(floor), { tag: "floor", floor })
    })

  readonly beginSync = (floor: Finalization): Effect.Effect<void, SyncPlanRefusal | StorageError> =>
    this.#transition((record) => planAfterBegin(record, floor))

  readonly setComplete = (height: Height): Effect.Effect<void, SyncPlanRefusal | StorageError> =>
    this.#transition((record) => planAfterComplete(record, height))

  #transition(move: (record: PlanRecord) => Transition): Effect.Effect<void, SyncPlanRefusal | StorageError> {
    return Effect.suspend(() => Effect.fromResult(move(this.#record))).pipe(
      Effect.flatMap((next) =>
        Effect.andThen(
          this.#write(putPlan(encodePlan(next))),
          Effect.sync(() => {
            this.#record = next
          }),
        ),
      ),
      Effect.uninterruptible,
      Semaphore.withPermits(this.#lock, 1),
    )
  }
}

/**
 * Opens the plan of a set's environment, created or not. Writes nothing.
 *
 * Errors: those of opening the set itself, `SyncPlanUnreadable` (F38) among them.
 */
export const openSyncPlan = Effect.fn("Stateful.openSyncPlan")(function* <B extends Block, M extends Databases>(
  options: SetBinding<B, M> & { readonly storage: StorageShape },
): Effect.fn.Return<SyncPlan, SetOpenError> {
  const { storage } = options
  const { identity } = yield* attempt<BoundSet<B>, SetOpenError>(() => bindSet(options))
  const opened = yield* attempt<{ readonly fresh: boolean; readonly record: PlanRecord }, SetOpenError>(() => ({
    fresh: readIdentity(storage, identity) === undefined,
    record: decodePlan(readPlan(storage)),
  }))
  const lock = yield* Semaphore.make(1)
  let marks = opened.fresh ? [putIdentity(identity)] : []
  return new OpenPlan(opened.record, lock, (plan) =>
    Effect.andThen(
      storage.write([...marks, plan]),
      Effect.sync(() => {
        marks = []
      }),
    ),
  )
})
