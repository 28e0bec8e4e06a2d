/** Transactions out of thin air, in place of a mempool: for laws and simulated worlds. */
import type { Height } from "@coppice/consensus"
import type { Candidate, InputProvider } from "../mempool.ts"

/** Draws the transactions of the n-th proposal of an instance, from 1, by a stream of numbers in [0, 1). */
export type DrawTransactions<Tx> = (chance: () => number, n: number) => ReadonlyArray<Tx>

/** A source of transactions that never ends. What it has offered it may draw again. */
export const drawnInputs = <Tx>(draw: DrawTransactions<Tx>, chance: () => number): InputProvider<Tx> => {
  let proposals = 0
  let finalizedHeight: Height | undefined
  return {
    waiting: 1,
    get finalizedHeight() {
      return finalizedHeight
    },
    idOf: () => "",
    take: (_bytesMax, countMax): ReadonlyArray<Candidate<Tx>> => {
      const drawn = draw(chance, ++proposals).slice(0, countMax)
      return drawn.map((transaction, i) => ({ id: `${proposals} ${i}`, transaction }))
    },
    rejected: () => {},
    finalized: (height) => {
      finalizedHeight = height
    },
  }
}
