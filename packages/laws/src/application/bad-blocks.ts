/**
 * The law of bad blocks: verify and apply come to the same end on them, and to the same end again.
 *
 *   good block --liar--> bad block ------------------------> verify, verify, apply: all refuse it, or none
 *                            \--> committed to what a hook made of it --> the same three: all refuse it, or none
 *
 * Terms: a hook *refuses* a block when it gives no state, or one that is not what the header commits to.
 *
 * A block that apply takes and verify refuses splits the chain: who replays it goes on where nobody voted.
 */
import { bytesEqual } from "@coppice/codec"
import type { Block } from "@coppice/consensus"
import { type Databases, type Targets, targetsEqual } from "@coppice/stateful"
import { Cause, Effect, Exit, Fiber } from "effect"
import { claim, seededLaw } from "../law.ts"
import { claimSame } from "./compare.ts"
import { turn } from "./traces.ts"
import {
  type AnySealed,
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationWorld,
  HEIGHTS,
  type LawNode,
  openNode,
} from "./world.ts"

/** Turns of the event loop after which a hook counts as one that never ends. */
const TURNS_MAX = 2_000

/** Heights whose blocks are corrupted: where there is no state yet, and where there is most. */
const CORRUPTED: ReadonlyArray<number> = [1, HEIGHTS]

/** What a hook makes of a block. */
type State = Targets<Databases> | undefined

/** Runs a hook to its end, and drops its state. */
const ended = Effect.fnUntraced(function* (
  node: LawNode,
  hook: Effect.Effect<AnySealed | undefined, unknown>,
  what: string,
) {
  const fiber = yield* Effect.forkChild(hook, { startImmediately: true })
  for (let turns = 0; fiber.pollUnsafe() === undefined; turns++) {
    if (turns > TURNS_MAX) yield* Effect.forkChild(Fiber.interrupt(fiber))
    claim(turns <= TURNS_MAX, `${what} does not end`)
    yield* turn
  }
  const exit = fiber.pollUnsafe()!
  claim(Exit.isSuccess(exit), `${what} fails: ${Exit.isFailure(exit) ? Cause.squash(exit.cause) : ""}`)
  if (exit.value !== undefined) node.set.close(exit.value)
  return exit.value?.targets
})

/** Puts a block to all hooks that judge, and says what they made of it. */
const judged = Effect.fnUntraced(function* ({ node, other }: Judges, block: Block, what: string) {
  const { application } = node
  const verified = yield* ended(node, node.verify(node.tip, block), `${what}: verify`)
  const again = yield* ended(node, node.verify(node.tip, block), `${what}: verify`)
  const applied = yield* ended(other, other.apply(other.tip, block), `${what}: apply`)
  claimSame(application, verified, again, `${what}, verified twice`)
  if (verified !== undefined && applied !== undefined) claimSame(application, verified, applied, `${what}, applied`)
  const refuses = (state: State): boolean => {
    const header = application.syncTargets(block)
    return Object.keys(application.databases).some(
      (member) => state === undefined || !targetsEqual(header[member]!, state[member]!),
    )
  }
  const [one, two] = [refuses(verified), refuses(applied)]
  const verbs = ["takes", "refuses"]
  claim(one === two, `${what}: verify ${verbs[Number(one)]} it and apply ${verbs[Number(two)]} it`)
  return { isRefused: one, states: [verified, applied] }
})

interface Judges {
  readonly node: LawNode
  readonly other: LawNode
}

const badBlocks: ApplicationLaw = seededLaw<
  ApplicationWorld,
  ApplicationPower
>("a block that is not as it should be is refused by verify and by apply, each time, or by neither", () => {
  let refused = 0
  return {
    body: (world, seed) =>
      Effect.gen(function* () {
        const { corrupt, commit } = world.liar!
        const [proposer, node, other] = [yield* openNode(world), yield* openNode(world), yield* openNode(world)]
        for (let height = 1; height <= HEIGHTS; height++) {
          const proposal = yield* proposer.build(proposer.tip, height)
          const { block } = proposal
          for (const [what, bad] of CORRUPTED.includes(height) ? corrupt(block) : []) {
            const at = `seed ${seed}, height ${height}, ${what}`
            const { isRefused, states } = yield* judged({ node, other }, bad, at)
            if (isRefused) refused++
            const state = states.find((found) => found !== undefined)
            const committed = state && commit(bad, state)
            if (committed === undefined || bytesEqual(committed.digest, block.digest)) continue
            yield* judged({ node, other }, committed, `${at}, and a header that commits to it`)
          }
          yield* proposer.finalize(proposal)
          for (const each of [node, other]) {
            const sealed = yield* each.apply(each.tip, block)
            claim(sealed !== undefined, `seed ${seed}, height ${height}: apply refuses a block that propose made`)
            yield* each.finalize({ block, sealed })
          }
        }
      }),
    ended: () => claim(refused > 0, "no bad block was refused: the law shows nothing"),
  }
}, ["liar"])

/** Laws of bad blocks. */
export const badBlockLaws: ReadonlyArray<ApplicationLaw> = [badBlocks]
