/**
 * What a world runs: an application for every validator, and how to judge it.
 *
 * Terms: a *model* computes from the final blocks alone what the databases must hold.
 */
import { type Block, Height, Round } from "@coppice/consensus"
import type { Application, Databases, Readers, StandardApplication, StandardBlock } from "@coppice/stateful"
import { type DrawTransactions, drawer, drawnInputs, wrongRanges, wrongRoots } from "@coppice/stateful/diagnosis"
import type { BadBlock } from "./schedule.ts"

/** Computes what the databases must hold. */
export interface Model<B extends Block, M extends Databases> {
  /** Takes in the next final block; the first has height 1. */
  readonly advance: (block: B) => void
  /** What differs from the databases, in words; undefined when nothing does. */
  readonly difference: (readers: Readers<M>) => string | undefined
}

/** What a world runs. */
export interface Subject<B extends Block, M extends Databases> {
  /** The application of one validator, anew for every incarnation. */
  readonly application: (validator: number) => Application<B, M>
  /** A block that no honest node may accept, for corrupt leaders. Without it they only equivocate and withhold. */
  readonly corrupt?: (block: B, how: BadBlock) => B
  /** A fresh model; without it contents are not judged beyond their roots. */
  readonly model?: () => Model<B, M>
}

/** Makes of a standard block above genesis one that no honest node may accept. Its view picks the member and the part. */
export const corruptStandard =
  <Tx, M extends Databases>({ blocks }: StandardApplication<Tx, M>) =>
  ({ height, context, targets, transactions }: StandardBlock<Tx, M>, how: BadBlock): StandardBlock<Tx, M> => {
    const members = Object.entries(targets)
    const { view } = context.round
    const with_ = (wrong: typeof wrongRoots) => {
      const [member, target] = members[view % members.length]!
      const parts = wrong(target)
      return { ...targets, [member]: parts[Math.floor(view / members.length) % parts.length]![1] }
    }
    switch (how) {
      case "bad root":
        return blocks.make({ height, context, targets: with_(wrongRoots) }, transactions)
      case "bad range":
        return blocks.make({ height, context, targets: with_(wrongRanges) }, transactions)
      case "bad parent": {
        const parent = { ...context.parent, digest: context.parent.digest.map((byte) => byte ^ 1) }
        return blocks.make({ height, context: { ...context, parent }, targets }, transactions)
      }
      case "bad height":
        return blocks.make({ height: Height(height + 1), context, targets }, transactions)
      case "bad epoch": {
        const round = Round(context.round.epoch + 1, context.round.view)
        return blocks.make({ height, context: { ...context, round }, targets }, transactions)
      }
      case "bad context":
        return blocks.make({ height, context: { ...context, leader: context.parent.digest }, targets }, transactions)
    }
  }

/** What a world needs to know of an application made by `Application.make`. */
export interface StandardSubjectOptions<Tx, M extends Databases> {
  readonly application: StandardApplication<Tx, M>
  /** Draws what a validator is offered for its n-th proposal since it came up. Some may be rejected. */
  readonly transactions: DrawTransactions<Tx>
  readonly model?: Subject<StandardBlock<Tx, M>, M>["model"]
}

/** An application made by `Application.make` as a world runs it, corrupt leaders among them. */
export const standardSubject = <Tx, M extends Databases>({
  application,
  transactions,
  model,
}: StandardSubjectOptions<Tx, M>): Subject<StandardBlock<Tx, M>, M> => ({
  application: (validator) => application.withInputs(drawnInputs(transactions, drawer(validator, "transactions"))),
  corrupt: corruptStandard(application),
  ...(model === undefined ? {} : { model }),
})
