/**
 * Bad blocks made of good ones: what a leader sends that lies, or whose node is broken.
 *
 * Terms: a *liar* knows how the blocks of one application are made, and none of its rules.
 */
import type { Block } from "@coppice/consensus"
import type { Databases, StandardApplication, StandardBlock, Targets } from "@coppice/stateful"
import { type DrawTransactions, wrongRanges, wrongRoots } from "@coppice/stateful/diagnosis"

/** See the head of this file. */
export interface Liar<B extends Block, M extends Databases> {
  /** Blocks in place of a good one, each with what is wrong with it. Some may be valid: what counts is that all agree. */
  readonly corrupt: (block: B) => ReadonlyArray<readonly [what: string, block: B]>
  /** The block with a header that commits to other targets. */
  readonly commit: (block: B, targets: Targets<M>) => B
}

/** The liar of an application made of one transition. It draws transactions that nobody asked whether they can happen. */
export const standardLiar = <Tx, M extends Databases>(
  { blocks }: StandardApplication<Tx, M>,
  draw: DrawTransactions<Tx>,
  chance: () => number,
): Liar<StandardBlock<Tx, M>, M> => ({
  commit: (block, targets) => blocks.make({ ...block, targets }, block.transactions),
  corrupt: (block) => {
    const { targets, transactions } = block
    const wrongTargets = Object.entries(targets).flatMap(([member, target]) =>
      [...wrongRoots(target), ...wrongRanges(target)].map(
        ([part, wrong]) => [`another ${part} of ${member}`, wrong, member] as const,
      ),
    )
    const drawn = draw(chance, block.height)
    const wrongTransactions = [
      ["a transaction left out", transactions.slice(1)],
      ["a transaction twice", [...transactions, ...transactions.slice(0, 1)]],
      ["transactions in reverse", transactions.toReversed()],
      ["transactions nobody tried", [...transactions, ...drawn]],
    ] as const
    return [
      ...wrongTargets.map(
        ([what, target, member]) =>
          [what, blocks.make({ ...block, targets: { ...targets, [member]: target } }, transactions)] as const,
      ),
      ...wrongTransactions.map(([what, given]) => [what, blocks.make(block, given)] as const),
    ]
  },
})
