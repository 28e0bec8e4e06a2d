/** The law of determinism: what a block leads to depends on the block and the state before it, and on nothing around it. */

import type { Databases } from "@coppice/stateful"
import { guardDeterminism, NonDeterministic, type TrackedSet } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import { claim, LawBroken, seededLaw } from "../law.ts"
import { growing } from "./agreement.ts"
import { type ApplicationLaw, type ApplicationPower, type ApplicationWorld, openNode } from "./world.ts"

/** Shuffles that each block is executed in. */
const SHUFFLES = 3

const shuffled: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "the state after a block does not depend on time, chance, timers or the order in which members are found",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const proposer = yield* openNode(world)
        const guarded = yield* openNode(world, (it, tracked: TrackedSet<Databases>) =>
          guardDeterminism(it, tracked, { repetitions: SHUFFLES, seed: seed * SHUFFLES }),
        )
        yield* growing(proposer, ({ block }, _parent, height) =>
          Effect.gen(function* () {
            const sealed = yield* guarded.verify(guarded.tip, block)
            claim(sealed !== undefined, `seed ${seed}, ${height}: a block that propose made is invalid`)
            const again = yield* guarded.apply(guarded.tip, block)
            if (again !== undefined) guarded.set.close(again)
            yield* guarded.finalize({ block, sealed })
          }),
        )
      }).pipe(
        Effect.mapError((error) =>
          error instanceof NonDeterministic ? new LawBroken(`seed ${seed}: ${error.message}`) : error,
        ),
      ),
  }),
)

/** Laws of determinism. */
export const determinismLaws: ReadonlyArray<ApplicationLaw> = [shuffled]
