/** Laws of traces: a hook leaves nothing behind but its result, and keeps the order of calls. */
import type { Block } from "@coppice/consensus"
import { CallOrder } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import { claim, seededLaw } from "../law.ts"
import { growing } from "./agreement.ts"
import { claimSame, targetsOf } from "./compare.ts"
import {
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationWorld,
  HEIGHTS,
  type LawNode,
  openNode,
} from "./world.ts"

const TURNS = 20

/** One turn of the event loop, promises included. */
export const turn = Effect.andThen(
  Effect.promise(() => Promise.resolve()),
  Effect.yieldNow,
)

/** Lets what a hook left running go on. */
export const idle = Effect.forEach(Array.from({ length: TURNS }), () => turn, { discard: true })

/** Bytes that a node holds besides its base, and layers. */
export const held = ({ set }: LawNode): string => `${set.layers} layers of ${set.bytes} bytes`

/** Executes a block and drops its state. */
const drop = (node: LawNode, block: Block) =>
  Effect.map(node.verify(node.tip, block), (sealed) => {
    if (sealed !== undefined) node.set.close(sealed)
  })

const dropped: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "a fork that is dropped leaves no trace: what comes after it is what it would have been",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const [proposer, clean, burdened] = [yield* openNode(world), yield* openNode(world), yield* openNode(world)]
        yield* growing(proposer, ({ block }, parent, height) =>
          Effect.gen(function* () {
            const at = `seed ${seed}, ${height}`
            const loser = yield* proposer.build(parent, block.height + 50)
            const before = held(burdened)
            yield* drop(burdened, loser.block)
            const declined = yield* burdened.propose(burdened.tip, block.height + 70)
            if (declined !== undefined) burdened.set.close(declined.sealed)
            claim(held(burdened) === before, `${at}: ${held(burdened)} after a dropped fork, ${before} before`)
            const one = yield* clean.verify(clean.tip, block)
            const two = yield* burdened.verify(burdened.tip, block)
            claimSame(clean.application, targetsOf(one), targetsOf(two), `${at}: without and with a dropped fork`)
            claim(one !== undefined && two !== undefined, `${at}: a block that propose made is invalid`)
            proposer.set.close(loser.sealed)
            yield* clean.finalize({ block, sealed: one })
            yield* burdened.finalize({ block, sealed: two })
          }),
        )
      }),
  }),
)

const callOrder: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "hooks keep the order of calls: batches are used before they are sealed, and never after the hook has ended",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const order = new CallOrder(HEIGHTS)
        const other = new CallOrder(HEIGHTS)
        const node = yield* openNode(world, (it) => order.application(it))
        const judge = yield* openNode(world, (it) => other.application(it))
        const check = (at: string) => {
          const [illegal] = [...order.illegal, ...other.illegal]
          claim(illegal === undefined, `seed ${seed}, ${at}: ${illegal?.message}`)
        }
        yield* growing(node, ({ block }, _parent, at) =>
          Effect.gen(function* () {
            const sealed = yield* judge.verify(judge.tip, block)
            claim(sealed !== undefined, `seed ${seed}, ${at}: a block that propose made is invalid`)
            yield* idle
            check(at)
            yield* judge.finalize({ block, sealed })
          }),
        )
        check("the end")
      }),
  }),
)

/** Laws of traces. */
export const traceLaws: ReadonlyArray<ApplicationLaw> = [dropped, callOrder]
