/**
 * Goal: the counter keeps the laws of applications.
 * Method: additions to three names, some of which fill a counter up.
 */
import { transitionSubject } from "@coppice/laws/application"
import { applicationLaws } from "@coppice/laws/vitest"
import { Counter } from "../src/counter.ts"

applicationLaws(
  "the counter",
  transitionSubject({
    application: () => Counter,
    transactions: (chance, n) =>
      ["a", "b", "c"].map((name) => ({ name, amount: Math.floor(chance() * 2 ** 32), nonce: BigInt(n) })),
  }),
)
