/**
 * Goal: what verifications add to the latency of finalization is bounded by one slice, however many there are.
 * Method: a clock that only computing hooks move, by a slice each time that one runs from a yield to the next. So virtual
 * time from the delivery of a block to its ack is the computing that came between. The scheduler is Effect's own.
 */
import { it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, type Scheduler } from "effect"
import { describe, expect } from "vitest"
import { Pace } from "../src/executor/pace.ts"
import { SLICE_MS } from "../src/index.ts"
import { ModelSet } from "./support/model-set.ts"
import { never, quiet, started } from "./support/running-executor.ts"
import { standing } from "./support/standing-clock.ts"
import { TOY_GENESIS, type ToyApplication, ToyChain } from "./support/toy-chain.ts"

/** What a flush does, and a hook of a final block, that takes several slices. */
const slices = Effect.forEach(Array.from({ length: 5 }), () => Effect.yieldNow, { discard: true })

/**
 * Virtual milliseconds from delivery to ack, while so many verifications run on the block that is final. `until`: what comes
 * between their request and the delivery.
 */
const latencyMs = (count: number, hook: (move: (ms: number) => void) => ToyApplication["verify"], until = quiet) => {
  const { clock, ms, move } = standing()
  let verify: ToyApplication["verify"] | undefined
  return Effect.gen(function* () {
    const set = new ModelSet(ToyChain.start)
    set.gate = slices
    const hooks = {
      verify: ((...asked) => verify!(...asked)) as ToyApplication["verify"],
      finalized: () => slices,
    }
    const { chain, verify: ask, propose, finalize, end } = yield* started({ set, hooks })
    const block = chain.learn((yield* propose(TOY_GENESIS, 1))!)
    verify = hook(move)
    const asked = yield* Effect.forEach(Array.from({ length: count }), (_, i) =>
      Effect.forkChild(ask(chain.grow(block, 2 + i)), { startImmediately: true }),
    )
    yield* until
    const acknowledged = yield* Deferred.make<number>()
    const before = ms()
    yield* finalize(block, {
      acknowledge: () => Deferred.doneUnsafe(acknowledged, Effect.succeed(ms() - before)),
      cancel: () => {},
    })
    const took = yield* Deferred.await(acknowledged)
    expect(asked.every((fiber) => fiber.pollUnsafe() === undefined)).toBe(true)
    yield* Fiber.interruptAll(asked)
    yield* end
    return took
  }).pipe(Effect.provideService(Clock.Clock, clock))
}

const computing =
  (move: (ms: number) => void): ToyApplication["verify"] =>
  () =>
    Effect.forever(
      Effect.andThen(
        Effect.sync(() => move(SLICE_MS)),
        Effect.yieldNow,
      ),
    )

describe("INV-42 finalization", () => {
  it.live("waits for no verification that waits for something", () =>
    Effect.gen(function* () {
      expect(yield* latencyMs(64, () => never)).toBe(0)
    }),
  )

  for (const count of [1, 8, 64]) {
    it.live(`waits for no slice of ${count} that compute, where its flush waits for nothing outside`, () =>
      Effect.gen(function* () {
        expect(yield* latencyMs(count, computing)).toBe(0)
      }),
    )
  }

  it.live("waits for no first slice of hooks that are about to start", () =>
    Effect.gen(function* () {
      expect(yield* latencyMs(8, computing, Effect.void)).toBe(0)
    }),
  )
})

/** What happens in turns of an event loop that a test turns itself. */
const turning = () => {
  let next: Array<() => void> = []
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: () => false,
    makeDispatcher: () => ({ scheduleTask: (task) => void next.push(task), flush: () => {} }),
  }
  const turn = (): void => {
    const due = next
    next = []
    for (const task of due) task()
  }
  return { scheduler, turn }
}

describe("the pace", () => {
  const setup = () => {
    const { clock, move } = standing()
    const { scheduler, turn } = turning()
    const pace = new Pace(scheduler, clock)
    const log: Array<string> = []
    const [paced, urgent] = [pace.paced.makeDispatcher(), pace.urgent.makeDispatcher()]
    const work = (name: string, ms: number) => () => {
      log.push(name)
      move(ms)
    }
    /** What runs in each of so many turns. */
    const turns = (count: number): ReadonlyArray<string> =>
      Array.from({ length: count }, () => {
        log.length = 0
        turn()
        return log.join(" ")
      })
    return { pace, paced, urgent, work, turns }
  }

  it("gives one long task a turn of the event loop, in the order in which they became ready", () => {
    const { paced, work, turns } = setup()
    for (const name of ["a", "b", "c"]) paced.scheduleTask(work(name, SLICE_MS), 0)
    expect(turns(4)).toEqual(["a", "b", "c", ""])
  })

  it("lets short tasks share a turn", () => {
    const { paced, work, turns } = setup()
    for (const name of ["a", "b", "c"]) paced.scheduleTask(work(name, 0.4), 0)
    expect(turns(2)).toEqual(["a b c", ""])
  })

  it("stands still as long as urgent work is ready", () => {
    const { paced, urgent, work, turns } = setup()
    for (const name of ["a", "b"]) paced.scheduleTask(work(name, SLICE_MS), 0)
    urgent.scheduleTask(() => urgent.scheduleTask(work("second", 1), 0), 0)
    expect(turns(5)).toEqual(["", "second", "a", "b", ""])
  })

  it("goes on when the last hold has ended, and an end that is told twice ends nothing else", () => {
    const { pace, paced, work, turns } = setup()
    const [first, second] = [pace.hold(), pace.hold()]
    paced.scheduleTask(work("a", 1), 0)
    first()
    first()
    expect(turns(2)).toEqual(["", ""])
    second()
    expect(turns(1)).toEqual(["a"])
  })
})
