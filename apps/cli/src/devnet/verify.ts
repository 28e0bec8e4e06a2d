/**
 * Whether stopped validators agree: every state root, read from the validator's own environment, is that of the block.
 *
 * Invariant: nothing that the running nodes had in memory takes part. Environments are opened again under their locks.
 */

import { PENDING_ACKS_MAX } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { acquireLock, nodePaths, setPath, targetText, toHex } from "@coppice/node"
import { memberNames, openDatabaseSet, SET_MAPS, type Targets, targetsEqual } from "@coppice/stateful"
import { openLmdb } from "@coppice/storage/lmdb"
import type { Ledger, LedgerBlock, LedgerDatabases } from "@coppice-apps/ledger"
import { Data, Effect } from "effect"

/** A validator's environment does not hold the state that the block commits to. */
export class RootsDiffer extends Data.TaggedError("RootsDiffer")<{
  readonly directory: string
  readonly height: number
  readonly member: string
  readonly expected: string
  readonly actual: string
}> {}

const standingAt = Effect.fnUntraced(function* (directory: string, ledger: Ledger) {
  const paths = nodePaths(directory)
  yield* acquireLock(paths)
  const storage = yield* openLmdb({ directory: setPath(paths, ledger.application.name), maps: SET_MAPS })
  return yield* openDatabaseSet<LedgerBlock, LedgerDatabases>({
    application: ledger.application,
    chainId: ledger.chainId,
    hasher: nodeHasher,
    storage,
    pendingAcksMax: PENDING_ACKS_MAX,
  })
})

/** The root that stands for a state to people: what proofs of balances lead to. */
export const stateRoot = ({ accounts }: Targets<LedgerDatabases>): string => toHex(accounts.canonical!)

/** State root in a stopped validator's environment, which stands at `block` with exactly the block's targets. */
export const rootOnDisk = Effect.fn("Devnet.rootOnDisk")(function* (
  directory: string,
  ledger: Ledger,
  block: LedgerBlock,
) {
  const set = yield* standingAt(directory, ledger)
  const { height } = set.anchor
  const differs = (member: string, expected: string, actual: string) =>
    new RootsDiffer({ directory, height, member, expected, actual })
  const [digest, stands] = [toHex(block.digest), toHex(set.anchor.digest)]
  if (digest !== stands) return yield* differs("anchor", digest, stands)
  for (const name of memberNames(ledger.application.databases)) {
    const [expected, actual] = [block.targets[name], set.tip.targets[name]]
    if (!targetsEqual(expected, actual)) return yield* differs(name, targetText(expected), targetText(actual))
  }
  return stateRoot(set.tip.targets)
}, Effect.scoped)
