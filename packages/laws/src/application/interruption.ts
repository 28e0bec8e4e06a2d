/**
 * The law of interruption: a hook that is interrupted wherever it waits, and run again, gives what it would have given.
 *
 *   whole run: n suspensions       run k = 0 .. n: interrupted at the k-th, then once more to its end
 *
 * Terms: a *suspension* is a moment at which the hook's fiber is not running: a task of its own scheduler waits to be
 * taken, or a turn of the event loop passes.
 */
import type { Databases, Targets } from "@coppice/stateful"
import { openFork, runHook } from "@coppice/stateful/diagnosis"
import { Cause, Context, Effect, Exit, Scheduler } from "effect"
import { claim, seededLaw } from "../law.ts"
import { claimSame } from "./compare.ts"
import { held, idle, turn } from "./traces.ts"
import {
  type AnySealed,
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationWorld,
  type HookOn,
  itself,
  type LawNode,
  openNode,
} from "./world.ts"

/** Operations between two suspensions of a fiber: few, so that there are many places to interrupt it. */
const OPERATIONS = 6
/** Turns of the event loop without any task after which a hook counts as one that never ends. */
const IDLE_MAX = 2_000
/** Suspensions that are tried of one hook. */
const SUSPENSIONS_MAX = 60

/** Where a run is to be interrupted. */
const NOWHERE = Number.POSITIVE_INFINITY

interface Stepped {
  readonly targets: Targets<Databases> | undefined
  readonly suspensions: number
  readonly wasInterrupted: boolean
}

/** A hook on a node, over its tip. */
type AnyHook = HookOn<AnySealed | undefined>

/**
 * Runs a hook over the node's tip task by task, and interrupts it at a suspension the way an executor does: what it
 * borrowed is taken from it first. Drops the state it gives.
 */
const stepped = Effect.fnUntraced(function* (node: LawNode, hook: AnyHook, interruptAt: number, what: string) {
  const ready: Array<() => void> = []
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= OPERATIONS,
    makeDispatcher: () => ({ scheduleTask: (task) => void ready.push(task), flush: () => {} }),
  }
  const services = Context.add(yield* Effect.context<never>(), Scheduler.Scheduler, scheduler)
  const run = openFork({ set: node.set, parent: node.tip.sealed, hook, stateOf: itself }, services)
  const fiber = Effect.runForkWith(services)(run.hook, { scheduler })
  const end = (exit: Exit.Exit<AnySealed | undefined, unknown>, suspensions: number): Stepped => {
    const wasInterrupted = suspensions > interruptAt
    if (wasInterrupted) return { targets: undefined, suspensions, wasInterrupted }
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    const sealed = run.take(exit.value)
    if (sealed !== undefined) node.set.close(sealed)
    return { targets: sealed?.targets, suspensions, wasInterrupted }
  }
  for (let suspensions = 0, idleTurns = 0; ; suspensions++) {
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) {
      // What the hook left to fibers of the executor, such as a seal that nobody waits for any more, comes to its end.
      for (let task = ready.shift(); task !== undefined; task = ready.shift()) {
        task()
        yield* turn
      }
      return end(exit, suspensions)
    }
    if (suspensions === interruptAt) {
      run.cancel()
      fiber.interruptUnsafe()
    }
    const task = ready.shift()
    if (task !== undefined) {
      task()
      continue
    }
    claim(idleTurns++ < IDLE_MAX, `${what} does not end`)
    yield* turn
  }
})

/** Where to interrupt: everywhere, or at places spread over the whole run. */
const placesIn = (suspensions: number): ReadonlyArray<number> => {
  const places = Math.min(suspensions, SUSPENSIONS_MAX)
  return Array.from({ length: places }, (_, i) => Math.floor((i * suspensions) / places))
}

/**
 * Interrupts a hook everywhere, and counts where it was. `again`: run once more each time, it gives the same; a proposal
 * does not, since it draws other transactions each time.
 */
const everywhere = Effect.fnUntraced(function* (node: LawNode, hook: AnyHook, at: string, again: boolean) {
  const before = held(node)
  const whole = yield* stepped(node, hook, NOWHERE, at)
  let interruptions = 0
  for (const place of placesIn(whole.suspensions)) {
    const here = `${at}, interrupted at suspension ${place} of ${whole.suspensions}`
    const { wasInterrupted } = yield* stepped(node, hook, place, here)
    if (wasInterrupted) interruptions++
    yield* idle
    claim(held(node) === before, `${here}: ${held(node)} are left, ${before} before`)
    const { targets } = yield* stepped(node, hook, NOWHERE, `${here} and run again`)
    if (again) claimSame(node.application, whole.targets, targets, here)
  }
  return interruptions
})

const interrupted: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "interrupted wherever it waits and run again, a hook gives the same, and leaves no batch and no state open",
  () => {
    let interruptions = 0
    return {
      body: (world, seed) =>
        Effect.gen(function* () {
          const [proposer, node] = [yield* openNode(world), yield* openNode(world)]
          for (let height = 1; height <= 2; height++) {
            const at = (hook: string): string => `seed ${seed}, height ${height}: ${hook}`
            const { block, sealed } = yield* proposer.build(proposer.tip, height)
            node.learn(block, node.tip.block)
            const propose = node.proposing(node.tip.block, height + 90)
            const proposing: AnyHook = (batches, tools) =>
              Effect.map(
                runHook(() => propose(batches, tools)),
                (proposal) => proposal?.sealed,
              )
            interruptions += yield* everywhere(node, node.verifying(block), at("verify"), true)
            interruptions += yield* everywhere(node, node.applying(block), at("apply"), true)
            interruptions += yield* everywhere(node, proposing, at("propose"), false)
            const applied = yield* node.apply(node.tip, block)
            claim(applied !== undefined, at("apply refuses a block that propose made"))
            yield* proposer.finalize({ block, sealed })
            yield* node.finalize({ block, sealed: applied })
          }
        }),
      ended: () => claim(interruptions > 0, "no hook ever waited: nothing was interrupted"),
    }
  },
)

/** Laws of interruption. */
export const interruptionLaws: ReadonlyArray<ApplicationLaw> = [interrupted]
