/**
 * Goal: the counter keeps its state through crashes, forks, partitions, corrupt leaders, lying peers and bad disks.
 * Method: scenarios of the matrix over five validators, with a model of the counters. Canary: a counter with a memory.
 */
import { runWorld, standardSubject } from "@coppice/simulate"
import { scenario } from "@coppice/simulate/scenarios"
import { expect, test } from "vitest"
import { Counter } from "../src/counter.ts"

const NAMES = ["a", "b", "c"]

const inWorld = (application: typeof Counter) =>
  standardSubject({
    application,
    transactions: (chance, n) => NAMES.map((name) => ({ name, amount: Math.floor(chance() * 9), nonce: BigInt(n) })),
    model: () => {
      const sums = new Map(NAMES.map((name) => [name, 0]))
      return {
        advance: ({ transactions }) => {
          for (const { name, amount } of transactions) sums.set(name, sums.get(name)! + amount)
        },
        difference: ({ counts }) => NAMES.find((name) => Number(counts.get(name) ?? 0n) !== sums.get(name)),
      }
    },
  })

test.each(["forks", "partition", "corrupt-leaders", "everything"])("the counter in the world of %s", (name) => {
  expect(runWorld(inWorld(Counter), { ...scenario(name), height: 8 }, 1).failure).toBe(undefined)
})

test("canary: a counter that counts its own calls is found out", () => {
  let calls = 0
  const counting: typeof Counter = {
    ...Counter,
    withInputs: (inputs) => {
      const counter = Counter.withInputs(inputs)
      return {
        ...counter,
        verify: (context, ancestry, batches, tools) => {
          if (++calls % 10 === 0) batches.counts.put("calls", BigInt(calls))
          return counter.verify(context, ancestry, batches, tools)
        },
      }
    },
  }
  expect(runWorld(inWorld(counting), { ...scenario("plain"), height: 8 }, 1).failure?.kind).toBe("VerdictsDiverged")
})
