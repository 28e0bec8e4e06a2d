/** The law of replay: the state at a height follows from the state at any height before it and the blocks between. */
import type { Block } from "@coppice/consensus"
import { Effect } from "effect"
import { claim, seededLaw } from "../law.ts"
import { growing } from "./agreement.ts"
import { claimSame } from "./compare.ts"
import {
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationWorld,
  HEIGHTS,
  type LawNode,
  openNode,
} from "./world.ts"

/** Applies blocks above a node's tip, each checked against its header. */
const replay = Effect.fnUntraced(function* (node: LawNode, blocks: ReadonlyArray<Block>, at: string) {
  for (const block of blocks) {
    const sealed = yield* node.apply(node.tip, block)
    const here = `${at}, height ${block.height}`
    claim(sealed !== undefined, `${here}: apply refuses a finalized block`)
    claimSame(node.application, node.application.syncTargets(block), sealed.targets, here)
    yield* node.finalize({ block, sealed })
  }
})

const fromAnywhere: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "replayed from genesis, and from every height before, by a new instance or one that has run, a chain has the same states",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const at = `seed ${seed}`
        const origin = yield* openNode(world)
        yield* growing(origin, () => Effect.void)
        const blocks = [...origin.chain]
        yield* replay(yield* openNode(world), blocks, `${at}, from genesis`)
        for (let height = HEIGHTS - 1; height >= 0; height--) {
          yield* origin.rewind(height)
          yield* replay(origin, blocks.slice(height), `${at}, from height ${height}`)
        }
      }),
  }),
)

/** Laws of replay. */
export const replayLaws: ReadonlyArray<ApplicationLaw> = [fromAnywhere]
