/**
 * The life of one database on one disk: a script, played until it ends or storage fails.
 *
 *   nothing --create--> open --steps--> close --> open --steps--> ...          a *session* lies between two openings
 *
 * Invariant: at every moment `durable` is the newest state whose write has succeeded, and `flying` the state that the write
 * under way leads to. Whatever happens, storage holds one of the two.
 */
import { opensslHasher } from "@coppice/crypto/node"
import { Location } from "@coppice/merkle"
import { type Layer, MEMBER_MAPS, type Member, type MemberHome, type MemberWrite, RewindRefused } from "@coppice/qmdb"
import type { Change, MemoryDisk, StorageError, StorageShape } from "@coppice/storage"
import { Effect, Fiber, type Scope } from "effect"
import { chanceOf } from "../law.ts"
import type { DatabaseState, SweptDatabase, SweptReader } from "./database.ts"
import { type SessionStep, type Step, sessionsOf } from "./script.ts"

/** Changes a handle before the database gets it. Canaries use it. */
export type Wrap = (storage: StorageShape) => StorageShape

/** What a write was for. */
export type Purpose = "create" | "flush" | "prune" | "trim" | "rewind"

/** Where a life stands. */
export interface Moment {
  /** Undefined before anything was created. */
  durable: DatabaseState | undefined
  flying: DatabaseState | undefined
}

/** A life, as it is told to who plays it. */
export interface Life<B, R extends SweptReader> extends Moment {
  readonly database: SweptDatabase<B, R>
  readonly disk: MemoryDisk
  readonly wrap: Wrap
  /** Number of the next block. */
  next: number
  /** Writes that succeeded, by purpose. */
  readonly writes: Partial<Record<Purpose, number>>
}

/** Commits that can be gone back to. */
const REWIND_COMMITS = 4

const EMPTY: DatabaseState = { blocks: [], pruned: 0 }

/** Makes changes durable, and notes what they lead to. */
const write = Effect.fnUntraced(function* <B, R extends SweptReader>(
  life: Life<B, R>,
  storage: StorageShape,
  changes: ReadonlyArray<Change>,
  to: DatabaseState,
  purpose: Purpose,
) {
  life.flying = to
  yield* storage.write(changes)
  life.durable = to
  life.flying = undefined
  life.writes[purpose] = (life.writes[purpose] ?? 0) + 1
})

/** A database while its environment is open. */
export class Session<B, R extends SweptReader> {
  readonly member: Member<B, R>
  private readonly life: Life<B, R>
  private readonly home: MemberHome
  /** The blocks of each layer. */
  private readonly blocks = new Map<Layer, ReadonlyArray<number>>()
  /** Floor of the stored state. */
  private floor: number

  constructor(life: Life<B, R>, home: MemberHome) {
    this.life = life
    this.home = home
    this.member = life.database.spec.open(home)
    this.floor = this.member.tip.target.start
    this.standAt(life.durable ?? EMPTY)
  }

  /** What the tip is. */
  get state(): DatabaseState {
    return { blocks: this.blocks.get(this.member.tip)!, pruned: this.life.durable!.pruned }
  }

  /** Says what the database that was just opened is. */
  standAt(state: DatabaseState): void {
    this.life.durable = state
    this.blocks.set(this.member.tip, state.blocks)
  }

  /** Seals a block over a layer, and lets what is under way go on between the steps. */
  readonly seal = Effect.fnUntraced(
    { self: this as Session<B, R> },
    function* (this: Session<B, R>, parent: Layer, block: number): Effect.fn.Return<Layer> {
      const batch = this.member.openBatch(parent)
      this.life.database.write(batch, block, parent.target.end)
      const sealing = this.member.seal(batch)
      for (;;) {
        const step = sealing.next()
        if (step.done === true) {
          this.blocks.set(step.value, [...this.blocks.get(parent)!, block])
          return step.value
        }
        if (step.value === undefined) yield* Effect.yieldNow
        else this.home.hasher.run(step.value)
      }
    },
  )

  /** Seals a block over the tip and applies it. */
  readonly add = (block: number): Effect.Effect<void> =>
    Effect.map(this.seal(this.member.tip, block), (layer) => this.member.apply(layer))

  /** Does one step of a script. */
  readonly take = (step: SessionStep): Effect.Effect<void, StorageError> => {
    const { life, member } = this
    if (step === "block") return this.add(life.next++)
    if (step === "fork") {
      return Effect.flatMap(this.seal(member.tip, life.next++), (loser) => Effect.asVoid(this.seal(loser, life.next++)))
    }
    if (step === "rewind") return Effect.andThen(this.flush(false), Effect.suspend(this.rewind))
    return step === "flush" ? this.flush(true) : this[step]()
  }

  /** Makes a planned write durable; meanwhile a block is sealed over the tip, if `beside`, and joins it before or after. */
  private readonly settle = Effect.fnUntraced(
    { self: this as Session<B, R> },
    function* (
      this: Session<B, R>,
      { changes, settled }: MemberWrite,
      to: DatabaseState,
      purpose: Purpose,
      beside: boolean,
    ): Effect.fn.Return<void, StorageError> {
      const { life, member, home } = this
      const writing = yield* Effect.forkChild(write(life, home.storage, changes, to, purpose), {
        startImmediately: true,
      })
      const next = beside ? yield* this.seal(member.tip, life.next++) : undefined
      const early = life.next % 2 === 0
      if (early && next !== undefined) member.apply(next)
      yield* Fiber.join(writing)
      settled()
      if (!early && next !== undefined) member.apply(next)
    },
  )

  private readonly flush = (beside: boolean): Effect.Effect<void, StorageError> =>
    Effect.suspend(() => {
      const planning = this.member.flush()
      if (planning === undefined) return Effect.void
      const planned = finished(planning)
      const { state } = this
      return Effect.map(this.settle(planned, state, "flush", beside), () => {
        this.floor = planned.target.start
      })
    })

  /** Prunes to a location up to the floor of what is stored. */
  private readonly prune = (): Effect.Effect<void, StorageError> =>
    Effect.suspend(() => {
      const { blocks, pruned } = this.life.durable!
      const location = Location(pruned + Math.ceil(chanceOf(this.life.next)() * (this.floor - pruned)))
      const planning = this.member.prune(location)
      if (planning === undefined) return Effect.void
      return this.settle(finished(planning), { blocks, pruned: location }, "prune", true)
    })

  private readonly trim = (): Effect.Effect<void, StorageError> =>
    Effect.suspend(() => {
      const planning = this.member.trim()
      return planning === undefined ? Effect.void : this.settle(finished(planning), this.life.durable!, "trim", true)
    })

  /** Goes back by some of the commits that can be gone back by. */
  private readonly rewind = (): Effect.Effect<void, StorageError> => {
    const { member, life } = this
    const earlier = member.reader.retained.slice(0, -1)
    const back = Math.floor(chanceOf(life.next)() ** 2 * earlier.length)
    const size = earlier.at(-1 - back)
    const planning = size === undefined ? undefined : unlessRefused(() => member.rewind(size))
    if (planning === undefined) return Effect.void
    const to = { ...this.state, blocks: this.state.blocks.slice(0, -1 - back) }
    return Effect.map(this.settle(finished(planning), to, "rewind", false), () => {
      this.standAt(to)
      this.floor = member.tip.target.start
    })
  }
}

/** A rewind to a commit whose floor was pruned is refused, and the script goes on. */
const unlessRefused = <A>(plan: () => A): A | undefined => {
  try {
    return plan()
  } catch (error) {
    if (error instanceof RewindRefused) return undefined
    throw error
  }
}

const finished = <A>(work: Generator<undefined, A, void>): A => {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** Opens what is there; where nothing is, creates the database first. Tells whether it did. */
export const openSession = Effect.fnUntraced(function* <B, R extends SweptReader>(
  life: Life<B, R>,
): Effect.fn.Return<{ readonly session: Session<B, R>; readonly created: boolean }, StorageError, Scope.Scope> {
  const storage = life.wrap(yield* life.disk.open("set", MEMBER_MAPS))
  const home = { storage, member: 0, incarnation: 1, hasher: opensslHasher, rewindCommits: REWIND_COMMITS }
  const created = storage.scan("meta", { limit: 1 }).length === 0
  if (created) yield* write(life, storage, life.database.spec.create(home), EMPTY, "create")
  return { session: new Session(life, home), created }
})

/** Plays a script. Dies of what a read throws, fails as a write does. */
export const play = Effect.fnUntraced(function* <B, R extends SweptReader>(
  life: Life<B, R>,
  script: ReadonlyArray<Step>,
) {
  for (const steps of sessionsOf(script)) {
    const opened = openSession(life)
    yield* Effect.scoped(
      Effect.flatMap(opened, ({ session }) => Effect.forEach(steps, (step) => session.take(step), { discard: true })),
    )
  }
})
