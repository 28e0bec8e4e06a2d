/**
 * Goal: every lie of a server and every forged certificate is refused, for the one thing that is wrong with it, and nobody
 * is blamed for what proves nothing.
 * Method: a world for each lie, with a node that missed many blocks; a probe to which everybody lies; forgeries of a
 * certificate that is good.
 */
import { Epoch, type Finalization, makeProbe, type ProbeTransport, verifyFinalization } from "@coppice/consensus"
import { Effect, Exit, Option, References } from "effect"
import { describe, expect, test } from "vitest"
import { CHAIN, chainOn, ed25519, finalize, genesis, participants, validators } from "../src/chain.ts"
import { FORGERIES, forge, LIES, type Lie, probeLieOf } from "../src/liars.ts"
import type { WorldFault } from "../src/plan.ts"
import { CALM, runScenario, SCENARIOS } from "../src/scenarios.ts"
import { simulate } from "../src/scheduler.ts"

const verifies = (finalization: Parameters<typeof verifyFinalization>[3], chain = CHAIN) =>
  verifyFinalization(ed25519, participants, chain, finalization)

describe("lies", () => {
  const plain = SCENARIOS.find(({ name }) => name === "plain")!
  for (const how of LIES) {
    test(`F-12 F55 "${how}" is survived, and its teller blamed if it proves itself`, () => {
      const lie: WorldFault = { kind: "lie", node: 1, how, atMs: 0, forMs: 8_000 }
      const missed: WorldFault = { kind: "partition", atMs: 300, nodes: [0], forMs: 4_000 }
      const schedule = { ...CALM, viewTimeoutMs: 300 }
      const plan = { ...plain, height: 8, schedule, faultsMs: 8_000, faults: () => [missed, lie] }
      const { failure, happenings } = runScenario(plan, "one", 1)
      expect(failure).toBeUndefined()
      expect(happenings!.lies).toBeGreaterThan(0)
      const provesNothing = ["nothing", "silence", "too late"].includes(how)
      expect(happenings!.blames > 0).toBe(!provesNothing)
    })
  }
})

describe("lies to a probe", () => {
  const [old, good] = chainOn(genesis, 1, 2).map(finalize) as [Finalization, Finalization]
  const committee = { participants, verify: (finalization: Finalization) => verifies(finalization) }
  const rules = { committeeOf: () => committee, minimumEpoch: Epoch(0) }

  /** What a probe finds to which everybody lies, who is blamed, and whose lies are said to be proof. */
  const probing = (how: Lie) =>
    Effect.gen(function* () {
      const [blamed, proven] = [new Set<Uint8Array>(), new Set<Uint8Array>()]
      const transport: ProbeTransport = {
        exchange: () => Effect.never,
        blame: (peer) => Effect.sync(() => void blamed.add(peer)),
      }
      const honest = yield* makeProbe({ ...rules, transport })
      yield* honest.attach({ newestFinalization: Effect.succeed(good) })
      const exchange: ProbeTransport["exchange"] = Effect.fnUntraced(function* (peer, message) {
        // To the honest one each is another that asks.
        const { told, isProof } = yield* probeLieOf(how, (yield* honest.serve(message, peer))!, old)
        if (isProof) proven.add(peer)
        return told
      })
      const { floor } = yield* makeProbe({ ...rules, transport: { ...transport, exchange } })
      const found = Option.getOrUndefined(yield* Effect.timeoutOption(floor, "20 seconds"))
      return { found, blamed, proven }
    }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "Error"))

  test.each(LIES)("F59 F60 %s: who proves itself a liar is blamed, and nobody else", (how) => {
    const { exit } = simulate(1, probing(how))
    if (Exit.isFailure(exit)) throw new Error(`${exit.cause}`)
    const { found, blamed, proven } = exit.value
    expect(blamed).toEqual(proven)
    expect(blamed.size).toBe(["forged certificate", "truncated", "extended"].includes(how) ? validators.length : 0)
    expect(found).toEqual(how.startsWith("another") ? old : undefined)
  })
})

describe("forgeries", () => {
  const good = finalize(chainOn(genesis, 1, 1)[0]!)

  for (const how of FORGERIES) {
    test(`CONS-24 "${how}" is refused`, () => {
      const forged = forge(how, good, validators, CHAIN)
      expect([verifies(good), verifies(forged)]).toEqual([true, false])
      expect(forged.certificate.signers.length).toBe(participants.quorum - (how === "too few" ? 1 : 0))
    })
  }

  test("one for another chain is good there: nothing else is wrong with it", () => {
    expect(verifies(forge("another chain", good, validators, CHAIN), `${CHAIN} of another`)).toBe(true)
  })
})
