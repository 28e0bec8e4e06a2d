/**
 * The ledger as a devnet runs it: development accounts, one mempool per validator, transfers handed to all of them.
 *
 *   POST /transfers at any validator --> its mempool --> gossip --> every mempool --> whoever leads next
 *
 * Terms: the first `PEOPLE` development accounts are for people to try; the load comes from the others.
 *
 * Invariant: which accounts exist and what they hold at height 1 follows from the devnet's seed alone.
 */

import { type KeyPair, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { type AppOptions, NodeApi, type RunningNode } from "@coppice/node"
import { bindSet, type InputProvider, type Mempool } from "@coppice/stateful"
import {
  deskOf,
  type Ledger,
  LedgerApi,
  type LedgerBlock,
  type LedgerDatabases,
  ledgerHandlers,
  makeLedger,
  pageRoutes,
  type SubmissionDesk,
  type Transfer,
} from "@coppice-apps/ledger"
import { OpenApi } from "effect/http-api"
import { BLOCK_TRANSFERS_MAX, LOAD_ACCOUNTS, PEOPLE } from "../limits.ts"

/** Balance of each development account at height 1. */
export const ALLOCATION = 1_000_000_000_000n

/** The API of a validator: the node's own and the ledger's. */
export class DevnetApi extends NodeApi.add(LedgerApi).annotate(OpenApi.Title, "Coppice devnet: the ledger") {}

/** The ledger of one devnet, with its development accounts and the validators' mempools. */
export interface LedgerChain {
  readonly ledger: Ledger
  readonly genesis: LedgerBlock
  /** Development accounts for people. */
  readonly people: ReadonlyArray<KeyPair>
  /** Development accounts for the load. */
  readonly loaders: ReadonlyArray<KeyPair>
  readonly mempools: ReadonlyArray<Mempool<Transfer>>
  /** The application of a validator: it proposes from the validator's mempool. */
  readonly application: (validator: number) => Ledger["application"]
  /** The API of a validator's node. */
  readonly api: (validator: number) => (node: RunningNode<LedgerBlock, LedgerDatabases>) => AppOptions<typeof LedgerApi>
  /** Where transfers are submitted at a validator. */
  readonly desk: (validator: number, node: RunningNode<LedgerBlock, LedgerDatabases>) => SubmissionDesk
}

/** Keys of a development account. Pure. */
export const developmentAccount = (seed: Uint8Array, index: number): KeyPair => {
  const preimage = new Uint8Array([...seed, ...new TextEncoder().encode(`account ${index}`)])
  return keyPairFromSeed(nodeEd25519, nodeHasher.hash(preimage))
}

/** A mempool as a leader that keeps its blocks small enough to be verified in time draws from it. */
const drawFrom = (mempool: Mempool<Transfer>): InputProvider<Transfer> => ({
  get waiting() {
    return mempool.waiting
  },
  get finalizedHeight() {
    return mempool.finalizedHeight
  },
  idOf: mempool.idOf,
  take: (bytesMax, countMax, excluded) => mempool.take(bytesMax, Math.min(countMax, BLOCK_TRANSFERS_MAX), excluded),
  rejected: mempool.rejected,
  finalized: mempool.finalized,
})

/** The ledger of a devnet. Pure but for its mempools, which start empty. */
export const makeLedgerChain = (chainId: string, accountsSeed: Uint8Array, validators: number): LedgerChain => {
  const accounts = Array.from({ length: PEOPLE + LOAD_ACCOUNTS }, (_, i) => developmentAccount(accountsSeed, i))
  const allocations = accounts.map(({ publicKey: address }) => ({ address, balance: ALLOCATION }))
  const ledger = makeLedger({ chainId, allocations, ed25519: nodeEd25519, hasher: nodeHasher })
  const mempools = Array.from({ length: validators }, () => ledger.mempool())
  const gossip =
    (from: number) =>
    (transfer: Transfer): void => {
      for (const [to, mempool] of mempools.entries()) if (to !== from) mempool.submit(transfer)
    }
  const deskAt = (validator: number, { set, marshal }: RunningNode<LedgerBlock, LedgerDatabases>) => {
    return { ledger, mempool: mempools[validator]!, set, marshal, gossip: gossip(validator) }
  }
  return {
    ledger,
    genesis: bindSet({ application: ledger.application, chainId, hasher: nodeHasher }).genesis,
    people: accounts.slice(0, PEOPLE),
    loaders: accounts.slice(PEOPLE),
    mempools,
    application: (validator) => ledger.application.withInputs(drawFrom(mempools[validator]!)),
    api: (validator) => (node) => ({
      api: DevnetApi,
      handlers: ledgerHandlers(deskAt(validator, node)),
      routes: pageRoutes,
    }),
    desk: (validator, node) => deskOf(deskAt(validator, node)),
  }
}
