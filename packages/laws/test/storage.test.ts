/**
 * Goal: the laws of storage can fail. Each has canaries that it rejects, and none rejects storage that is sound.
 * Method: storage in memory with one promise broken at a time, in ways that somebody could write by mistake.
 */
import { compareBytes } from "@coppice/codec"
import { type Change, StorageLimitExceeded, type StorageShape } from "@coppice/storage"
import { Effect, Exit, Scope, Semaphore } from "effect"
import { describe, expect, test } from "vitest"
import { LawBroken, STORAGE_LAWS, type StorageSubject } from "../src/index.ts"
import { handles, rewriting, sound, surviving, worlds } from "./support/worlds.ts"

const writing = (write: (storage: StorageShape, changes: ReadonlyArray<Change>) => ReturnType<StorageShape["write"]>) =>
  handles((storage) => ({ write: (changes) => write(storage, changes) }))

const halves = (storage: StorageShape, changes: ReadonlyArray<Change>) => {
  const middle = Math.ceil(changes.length / 2)
  return Effect.andThen(storage.write(changes.slice(0, middle)), storage.write(changes.slice(middle)))
}

/** Writes in two halves: what is torn by power loss, or seen in between. */
const torn = writing((storage, changes) => (changes.length < 2 ? storage.write(changes) : halves(storage, changes)))

const isVisible = (storage: StorageShape, changes: ReadonlyArray<Change>): boolean =>
  changes.every(({ map, key }, i) => {
    if (changes.slice(i + 1).some((later) => later.map === map && compareBytes(later.key, key) === 0)) return true
    const change = changes[i]!
    return storage.get(map, key)?.join() === (change.tag === "put" ? change.value.join() : undefined)
  })

/** Takes *visible* for *durable*: it succeeds as soon as reads return what was written. */
const hasty = writing((storage, changes) =>
  Effect.gen(function* () {
    const exits: Array<Exit.Exit<void, unknown>> = []
    yield* Effect.forkDetach(
      Effect.map(Effect.exit(storage.write(changes)), (exit) => exits.push(exit)),
      { startImmediately: true },
    )
    while (exits.length === 0 && !isVisible(storage, changes)) yield* Effect.yieldNow
    const [exit] = exits
    if (exit !== undefined) yield* exit as Exit.Exit<void, never>
  }).pipe(Effect.uninterruptible),
)

/** Succeeds before anything happened. */
const careless = writing((storage, changes) =>
  Effect.asVoid(Effect.forkDetach(storage.write(changes), { startImmediately: true })),
)

/** Reads the batch while it writes it, as lmdb-js runs a callback: what came before a throw stays. */
const trusting = writing((storage, changes) =>
  Effect.suspend(() => {
    const sound: Array<Change> = []
    try {
      for (let i = 0; i < changes.length; i++) sound.push({ ...changes[i]! })
    } catch (error) {
      return Effect.andThen(storage.write(sound), Effect.die(error))
    }
    return storage.write(sound)
  }),
)

const dropping = (limit: StorageLimitExceeded["limit"]) =>
  writing((storage, changes) =>
    Effect.catchIf(
      storage.write(changes),
      (error) => error instanceof StorageLimitExceeded && error.limit === limit,
      () => storage.write(changes.slice(0, 1)),
    ),
  )

const unboundedQueue = () => {
  const turn = Semaphore.makeUnsafe(1)
  return writing((storage, changes) => turn.withPermits(1)(storage.write(changes)))
}

/** Holds each write back until the next one comes: the later one goes first. */
const overtaking = () => {
  let held: Effect.Effect<void> | undefined
  return writing((storage, changes) =>
    Effect.suspend(() => {
      if (held !== undefined) return storage.write(changes)
      held = Effect.forEach([1, 2, 3, 4, 5, 6], () => Effect.yieldNow, { discard: true })
      return Effect.andThen(held, storage.write(changes))
    }),
  )
}

const reading = (get: (value: Uint8Array) => Uint8Array | undefined) =>
  handles((storage) => ({
    get: (map, key) => {
      const value = storage.get(map, key)
      return value && get(value)
    },
  }))

const sharedBuffer = () => {
  const buffer = new Uint8Array(1 << 20)
  return reading((value) => {
    buffer.set(value)
    return buffer.subarray(0, value.length)
  })
}

const scanning = (
  scan: (storage: StorageShape, ...args: Parameters<StorageShape["scan"]>) => ReturnType<StorageShape["scan"]>,
) => handles((storage) => ({ scan: (...args) => scan(storage, ...args) }))

const forgiving = handles((storage) => ({
  get: (map, key) => {
    try {
      return storage.get(map, key)
    } catch (error) {
      if (error instanceof RangeError) throw error
      return undefined
    }
  },
}))

/** A failed read is taken for the end of the handle. */
const mortal = handles((storage) => {
  let dead: unknown
  return {
    get: (map, key) => {
      if (dead !== undefined) throw dead
      try {
        return storage.get(map, key)
      } catch (error) {
        dead = error
        throw error
      }
    },
  }
})

/** Takes back, when it is opened again, what had not succeeded. */
const cautious = worlds((world) => {
  let undo: ReadonlyArray<Change> = []
  return {
    open: (maps) =>
      Effect.gen(function* () {
        const storage = yield* world.open(maps)
        yield* storage.write(undo)
        undo = []
        const write = (changes: ReadonlyArray<Change>) =>
          Effect.suspend(() => {
            const before = changes.map(({ map, key }): Change => {
              const value = storage.get(map, key)
              return value === undefined ? { tag: "remove", map, key } : { tag: "put", map, key, value }
            })
            return Effect.onError(storage.write(changes), () => Effect.sync(() => (undo = before.toReversed())))
          })
        return { ...storage, write }
      }),
  }
})

const leaky = worlds((world) => ({
  open: (maps) => Effect.flatMap(Scope.make(), (scope) => Scope.provide(world.open(maps), scope)),
}))

const impatient = worlds((world) => ({
  open: (maps) =>
    Effect.gen(function* () {
      const { storage, scope } = yield* Effect.flatMap(Scope.make(), (scope) =>
        Effect.map(Scope.provide(world.open(maps), scope), (storage) => ({ storage, scope })),
      )
      yield* Effect.addFinalizer(() => Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true }))
      return storage
    }),
}))

const forgetful = worlds((world) => {
  let opened = 0
  return { open: (maps) => (opened++ === 0 ? world.open(maps) : world.openSpare(maps)) }
})

/** Canaries by the law that must reject them. */
const CANARIES: Readonly<Record<string, Readonly<Record<string, StorageSubject>>>> = {
  "keys come in byte order, a prefix before what it begins": {
    "order of decimal text": scanning((storage, map, range) =>
      storage.scan(map, range).toSorted((a, b) => (a.key.join() < b.key.join() ? -1 : 1)),
    ),
  },
  "a value is read as it was written, of any length, and absent is undefined": {
    "an empty value is taken for none": reading((value) => (value.length === 0 ? undefined : value)),
    "long values are cut": reading((value) => value.slice(0, 65_535)),
    "maps share their keys": rewriting((changes) => changes.flatMap((each) => [each, { ...each, map: "b" }])),
  },
  "the arrays that reads return belong to the caller": {
    "one buffer serves all reads": sharedBuffer(),
    "a Buffer is returned": reading((value) => Buffer.from(value)),
    "scans return what is stored": (() => {
      const cache = new Map<string, ReturnType<StorageShape["scan"]>>()
      return scanning((storage, map, range) => {
        const found = cache.get(map) ?? storage.scan(map, range)
        if (found.length > 0) cache.set(map, found)
        return found
      })
    })(),
  },
  "a value is read into the caller's array as far as it fits, and its whole length is told": {
    "the length is that of what fits": handles((storage) => ({
      getInto: (map, key, target) => Math.min(storage.getInto(map, key, target), target.length),
    })),
    "it goes beyond the array": handles((storage) => ({
      getInto: (map, key, { buffer }) => storage.getInto(map, key, new Uint8Array(buffer)),
    })),
    "an absent value is an empty one": handles((storage) => ({
      getInto: (map, key, target) => Math.max(0, storage.getInto(map, key, target)),
    })),
    "the rest of the array is cleared": handles((storage) => ({
      getInto: (map, key, target) => storage.getInto(map, key, target.fill(0)),
    })),
  },
  "a scan gives what its bounds, direction and limit say, for bounds of every kind": {
    "the end is inclusive": scanning((storage, map, { end, ...range }) =>
      storage.scan(
        map,
        end === undefined || range.reverse
          ? { ...range, ...(end && { end }) }
          : { ...range, end: Uint8Array.of(...end, 0) },
      ),
    ),
    "a reverse scan leaves out the first key": scanning((storage, map, range) => {
      const found = storage.scan(map, range)
      return range.reverse && range.end === undefined ? found.filter(({ key }) => key.join() !== "0") : found
    }),
    "a limit of nothing is no limit": scanning((storage, map, { limit, ...range }) =>
      storage.scan(map, limit ? { ...range, limit } : range),
    ),
  },
  "any sequence of batches reads as plain maps would": {
    "removes are ignored": rewriting((changes) => changes.filter(({ tag }) => tag === "put")),
  },
  "a map of many keys, written out of order and thinned out, stays whole": {
    "a scan ends after a thousand": scanning((storage, map, range) => storage.scan(map, { limit: 1000, ...range })),
  },
  "changes of a batch take effect in their order": {
    "a batch is written backwards": rewriting((changes) => changes.toReversed()),
  },
  "batches become visible whole and in call order, and before they succeed": {
    "a batch is written in halves": torn,
    "a write succeeds before it is visible": careless,
    "a later write goes first": overtaking(),
  },
  "a batch of many changes is never seen in part": { "a batch is written in halves": torn },
  "a batch that throws while it is read writes nothing, and the handle lives on": {
    "the batch is read while it is written": trusting,
  },
  "what is over a limit is refused with its figures, and nothing is written": {
    "the rest of a batch with a long key is written": dropping("KEY_BYTES_MAX"),
    "the rest of a batch with an empty key is written": dropping("KEY_BYTES_MIN"),
    "the rest of a batch with a long value is written": dropping("VALUE_BYTES_MAX"),
    "the beginning of a long batch is written": dropping("BATCH_CHANGES_MAX"),
  },
  "a map that was not declared is a programmer's error, and nothing is written": {
    "changes of other maps are left out": rewriting((changes) => changes.filter(({ map }) => map !== "c")),
  },
  "the queue of writes is bounded, and refuses without harm": { "the queue has no bound": unboundedQueue() },
  "a write that is interrupted is made to its end": {
    "a write can be interrupted before it starts": writing((storage, changes) =>
      Effect.andThen(Effect.yieldNow, storage.write(changes)),
    ),
  },
  "once a write has settled its buffers are the caller's again": {
    "a write succeeds before its values are copied": careless,
  },
  "keys and the list are the caller's again once the write has started": {
    "the batch is read a turn later": writing((storage, changes) =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.suspend(() => storage.write(changes)),
      ),
    ),
  },
  "values may lie in shared and in growable memory": {
    "a view is taken for its whole buffer": rewriting((changes) =>
      changes.map((each) => (each.tag === "put" ? { ...each, value: new Uint8Array(each.value.buffer) } : each)),
    ),
  },
  "what was written is there when the environment is opened again": { "it opens another environment": forgetful },
  "after closing every call says that the handle is dead": {
    "reads of a closed handle find nothing": forgiving,
    "nothing closes the handle": leaky,
  },
  "closing waits for what was asked for before it, and refuses what comes after": {
    "closing does not wait": impatient,
    "nothing closes the handle": leaky,
  },
  "a backup is a consistent copy of its own, into an empty directory only": {
    "the backup is the environment itself": worlds((world) => ({ openSpare: world.open })),
    "a backup copies nothing": handles(() => ({ backup: () => Effect.void })),
  },
  "info tells sizes, and prefetch changes nothing": {
    "sizes are not known": handles(() => ({ info: () => ({ bytesUsed: 0, bytesFree: 0 }) })),
    "a prefetch puts what is absent": handles((storage) => ({
      prefetch: (map, keys) =>
        storage.write(
          keys
            .filter((key) => storage.get(map, key) === undefined)
            .map((key) => ({ tag: "put", map, key, value: key })),
        ),
    })),
  },
  "an I/O error fails its write, kills the handle and loses nothing that had succeeded": {
    "the handle survives": surviving(() => []),
    "errors are swallowed": writing((storage, changes) => Effect.catch(storage.write(changes), () => Effect.void)),
  },
  "a full disk fails its write, kills the handle and loses nothing that had succeeded": {
    "the handle survives": surviving(() => []),
    "what fits is written": surviving((changes) => changes.slice(0, 1)),
    "it is called an I/O error": worlds((world) => ({ use: () => world.use("io") })),
  },
  "a read that fails says so, and the handle lives on": {
    "what cannot be read is absent": forgiving,
    "a failed read kills the handle": mortal,
    "a prefetch says nothing": handles((storage) => ({
      prefetch: (map, keys) => Effect.catch(storage.prefetch(map, keys), () => Effect.void),
    })),
  },
  "a backup that fails says so, and the environment goes on": {
    "it says nothing": handles((storage) => ({
      backup: (directory) => Effect.catch(storage.backup(directory), () => Effect.void),
    })),
    "the backup leaves a mark in what it copies": handles((storage) => ({
      backup: (directory) =>
        Effect.andThen(
          storage.write([{ tag: "put", map: "a", key: Uint8Array.of(9), value: Uint8Array.of(9) }]),
          storage.backup(directory),
        ),
    })),
  },
  "a write that power is lost in is there whole or not at all, and is there once it was durable": {
    "visible is taken for durable": hasty,
    "a batch is written in halves": torn,
    "a write succeeds before anything happened": careless,
    "what was under way is always lost": cautious,
  },
  "a read that power is lost in says that the handle is dead, and what was written is there": {
    "reads of a dead handle find nothing": forgiving,
  },
  "power loss keeps every write that succeeded, and leaves a prefix of whole batches": {
    "visible is taken for durable": hasty,
    "a batch is written in halves": torn,
    "a write succeeds before anything happened": careless,
    "power is never lost": worlds(() => ({ use: () => undefined })),
  },
  "after power loss reads show what survived, and writing goes on from there": {
    "visible is taken for durable": hasty,
    "a batch is written in halves": torn,
  },
}

const check = (name: string, subject: StorageSubject) =>
  Effect.runPromiseExit(STORAGE_LAWS.find((law) => law.name === name)!.check(subject))

test("every law has a canary", () => {
  expect(Object.keys(CANARIES).sort()).toEqual(STORAGE_LAWS.map(({ name }) => name).sort())
})

for (const [name, canaries] of Object.entries(CANARIES)) {
  describe(name, () => {
    test("sound storage keeps it", async () => {
      expect(await check(name, sound)).toEqual(Exit.void)
    })

    for (const [what, canary] of Object.entries(canaries)) {
      test(`it rejects: ${what}`, async () => {
        const exit = await check(name, canary)
        if (Exit.isSuccess(exit)) throw new Error("the canary was not caught")
        const [reason] = exit.cause.reasons
        expect(reason?._tag === "Die" && reason.defect).toBeInstanceOf(LawBroken)
      })
    }
  })
}
