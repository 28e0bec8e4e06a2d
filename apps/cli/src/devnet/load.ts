/**
 * A load of signed transfers between development accounts, through the same door as anybody's.
 *
 * Invariant: at most a second's worth of transfers waits or is caught up with: a machine that cannot keep up shows the rate
 * that it can, not a growing queue. A refusal costs that transfer and nothing else.
 */

import type { KeyPair } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import {
  afterWaiting,
  type Ledger,
  type SubmissionDesk,
  signTransfer,
  submit,
  transferNamespace,
} from "@coppice-apps/ledger"
import { Clock, Effect, Random } from "effect"

/** What the load needs. */
export interface LoadOptions {
  readonly ledger: Ledger
  readonly accounts: ReadonlyArray<KeyPair>
  /** Where to submit now; undefined while no validator is up. */
  readonly desk: () => SubmissionDesk | undefined
  readonly perSecond: number
}

const TICK_MS = 20

/** Submits transfers at a steady rate until it is interrupted. */
export const runLoad = ({ ledger, accounts, desk, perSecond }: LoadOptions): Effect.Effect<never> =>
  Effect.gen(function* () {
    const namespace = transferNamespace(ledger.chainId)
    let turn = 0
    const next = (at: SubmissionDesk, to: KeyPair, amount: bigint): void => {
      const from = accounts[turn++ % accounts.length]!
      const { nonce } = afterWaiting(at, from.publicKey)
      submit(at, signTransfer(nodeEd25519, from, namespace, { to: to.publicKey, amount, nonce }))
    }
    let last = yield* Clock.currentTimeMillis
    let owed = 0
    for (;;) {
      yield* Effect.sleep(TICK_MS)
      const now = yield* Clock.currentTimeMillis
      owed = Math.min(perSecond, owed + ((now - last) * perSecond) / 1000)
      last = now
      const at = desk()
      for (; at !== undefined && owed >= 1 && at.mempool.waiting < perSecond; owed--) {
        const to = accounts[yield* Random.nextIntBetween(0, accounts.length - 1)]!
        next(at, to, BigInt(yield* Random.nextIntBetween(1, 1000)))
      }
    }
  })
