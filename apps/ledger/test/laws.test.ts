/**
 * Goal: the ledger keeps the laws of applications.
 * Method: transfers between three accounts, offered with nonces of which some are used up, some are due and some too high.
 */
import { transitionSubject } from "@coppice/laws/application"
import { applicationLaws } from "@coppice/laws/vitest"
import { ledgerWith, people, transfer } from "./support/chain.ts"

const NONCES = 4

applicationLaws(
  "the ledger",
  transitionSubject({
    application: () => ledgerWith([50n, 50n, 1n]).application,
    transactions: (chance, n) => {
      const some = () => people[Math.floor(chance() * 3)]!
      return Array.from({ length: NONCES }, (_, i) =>
        transfer(some(), some(), { amount: BigInt(Math.floor(chance() * 40)), nonce: BigInt(Math.max(0, n - 2 + i)) }),
      )
    },
    seeds: 2,
  }),
)
