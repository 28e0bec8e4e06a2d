/**
 * Goal: every lie of a server and every forged certificate is refused, for the one thing that is wrong with it, and nobody
 * is blamed for what proves nothing.
 * Method: a world for each lie, with a node that missed many blocks; forgeries of a certificate that is good.
 */
import { verifyFinalization } from "@coppice/consensus"
import { createParticipants } from "@coppice/crypto"
import { describe, expect, test } from "vitest"
import { CHAIN, chainOn, ed25519, finalize, genesis, validators } from "../src/chain.ts"
import { FORGERIES, forge, LIES } from "../src/liars.ts"
import type { WorldFault } from "../src/plan.ts"
import { CALM, runScenario, SCENARIOS } from "../src/scenarios.ts"

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

describe("forgeries", () => {
  const participants = createParticipants(validators.map(({ publicKey }) => publicKey))
  const verifies = (finalization: Parameters<typeof verifyFinalization>[3], chain = CHAIN) =>
    verifyFinalization(ed25519, participants, chain, finalization)
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
