/**
 * Handlers of the ledger's API over a running node.
 *
 * Invariant: every answer about state comes from one applied state, and says at which height.
 */
import { bytesKey } from "@coppice/codec"
import type { Height, Marshal } from "@coppice/consensus"
import { NodeApi } from "@coppice/node"
import type { DatabaseSet, Mempool } from "@coppice/stateful"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { LedgerApi } from "./api.ts"
import { EMPTY_ACCOUNT, type Ledger, type LedgerBlock, type LedgerDatabases } from "./ledger.ts"
import { proveKey, witnessOf } from "./proof.ts"
import { afterWaiting, type SubmissionDesk, submit } from "./submission.ts"
import type { Transfer } from "./transfer.ts"

/** The node that the ledger's API answers for. */
export interface LedgerNode {
  readonly ledger: Ledger
  readonly mempool: Mempool<Transfer>
  readonly set: DatabaseSet<LedgerDatabases>
  readonly marshal: Marshal<LedgerBlock>
  /** Hands a transfer that was accepted here on to the other validators. */
  readonly gossip: (transfer: Transfer) => void
}

/** Where transfers are submitted to a node. */
export const deskOf = ({ ledger, mempool, set, gossip }: LedgerNode): SubmissionDesk => ({
  ledger,
  mempool,
  gossip,
  account: (address) => set.use("read", ({ accounts }) => accounts.get(address) ?? EMPTY_ACCOUNT),
  isExecuted: (id) => set.use("read", ({ receipts }) => receipts.locate(id) !== undefined),
})

/** Adds the witness of a height to what was proven in its state. */
const certified = Effect.fnUntraced(function* <P extends object>(
  { ledger, marshal }: LedgerNode,
  height: Height,
  proven: P | undefined,
) {
  const refuse = (reason: "absent" | "uncertified", message: string) =>
    Effect.fail({ error: "ProofNotReady" as const, message, reason, height })
  if (proven === undefined)
    return yield* refuse("absent", "nothing was ever stored for it, so there is nothing to prove")
  const witness = yield* witnessOf(ledger, marshal, height)
  if (witness === undefined) return yield* refuse("uncertified", "no certificate yet; ask again")
  return { ...proven, ...witness }
})

/** Answers `POST /transfers`. */
export const handleSubmit = Effect.fnUntraced(function* (node: LedgerNode, transfer: Transfer) {
  const outcome = submit(deskOf(node), transfer)
  return "error" in outcome ? yield* Effect.fail(outcome) : outcome
})

/** Answers `GET /accounts/{address}`. */
export const handleAccount = Effect.fnUntraced(function* (node: LedgerNode, address: Uint8Array, wantsProof: boolean) {
  const { nonce: nextNonce } = afterWaiting(deskOf(node), address)
  const { account, height, proven } = node.set.use("read", ({ accounts }, anchor) => ({
    account: accounts.get(address) ?? EMPTY_ACCOUNT,
    height: anchor.height,
    proven: wantsProof ? proveKey(accounts, address) : undefined,
  }))
  const answer = { address, ...account, nextNonce, height }
  return wantsProof ? { ...answer, proof: yield* certified(node, height, proven) } : answer
})

/** Answers `GET /receipts/{id}`. */
export const handleReceipt = Effect.fnUntraced(function* (node: LedgerNode, id: Uint8Array, wantsProof: boolean) {
  const { receipt, height, proven } = node.set.use("read", ({ receipts }, anchor) => ({
    receipt: receipts.get(id),
    height: anchor.height,
    proven: wantsProof ? proveKey(receipts, id) : undefined,
  }))
  if (receipt === undefined) {
    const state = node.mempool.has(bytesKey(id)) ? ("waiting" as const) : ("unknown" as const)
    const message = state === "waiting" ? "the transfer waits for a block" : "no such receipt"
    return yield* Effect.fail({ error: "ReceiptNotFound" as const, message, id, state })
  }
  const answer = { id, ...receipt, height: Number(receipt.height) }
  return wantsProof ? { ...answer, proof: yield* certified(node, height, proven) } : answer
})

/** Answers the ledger's endpoints for a node. */
export const ledgerHandlers = (node: LedgerNode) =>
  HttpApiBuilder.group(NodeApi.add(LedgerApi), "ledger", (group) =>
    group.handleAll({
      submit: ({ payload }) => handleSubmit(node, payload),
      account: ({ params, query }) => handleAccount(node, params.address, query.proof === "true"),
      receipt: ({ params, query }) => handleReceipt(node, params.id, query.proof === "true"),
    }),
  )
