/**
 * From a submitted transfer to a waiting one: every check that can be made before a block is built.
 *
 * Terms: *waiting* transfers of an account count as if they had happened, so an account can submit several in a row.
 *
 * Invariant: a refusal names its reason with the evidence and leaves the pool as it was. What passes here may still be
 * rejected by a block, if another node has taken other transfers of the same account.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import type { Mempool } from "@coppice/stateful"
import type { SubmissionRefused } from "./api.ts"
import { type Ledger, refusal, senderKey } from "./ledger.ts"
import type { Account } from "./state.ts"
import type { Transfer } from "./transfer.ts"

/** What submitting needs of a node. */
export interface SubmissionDesk {
  readonly ledger: Ledger
  readonly mempool: Mempool<Transfer>
  /** The account in the newest applied state. */
  readonly account: (address: Uint8Array) => Account
  /** Whether a transfer stands in the newest applied state. */
  readonly isExecuted: (id: Uint8Array) => boolean
  /** Called for each transfer that was accepted here: hands it on to the other validators. */
  readonly gossip: (transfer: Transfer) => void
}

/**
 * The account as it will be once its owner's waiting transfers have happened, as far as they follow one another: the next
 * transfer may take the place of one that is missing or cannot be paid.
 */
export const afterWaiting = (desk: SubmissionDesk, address: Uint8Array): Account => {
  // Of two with one nonce the older one wins, as it does in a block.
  const waiting = desk.mempool.waitingFrom(senderKey(address)).toReversed()
  const byNonce = new Map(waiting.map(({ transaction }) => [transaction.nonce, transaction]))
  let account = desk.account(address)
  for (let next = byNonce.get(account.nonce); next !== undefined; next = byNonce.get(account.nonce)) {
    if (next.amount > account.balance) break
    const spent = bytesEqual(next.to, address) ? 0n : next.amount
    account = { balance: account.balance - spent, nonce: account.nonce + 1n }
  }
  return account
}

type Submission = { readonly id: Uint8Array } | SubmissionRefused

const duplicate = (id: Uint8Array, state: "waiting" | "finalized"): SubmissionRefused => {
  const message = state === "waiting" ? "the transfer waits for a block already" : "the transfer has happened already"
  return { error: "DuplicateTransfer", message, id, state }
}

/** Submits a transfer: its id, or why it is refused. */
export const submit = (desk: SubmissionDesk, transfer: Transfer): Submission => {
  const { ledger, mempool } = desk
  if (!ledger.isSigned(transfer)) {
    const message = "the signature is not the sender's for this transfer on this chain"
    return { error: "BadSignature", message, chain: ledger.chainId }
  }
  const id = ledger.idOf(transfer)
  if (desk.isExecuted(id)) return duplicate(id, "finalized")
  if (mempool.has(bytesKey(id))) return duplicate(id, "waiting")
  return refusal(transfer, afterWaiting(desk, transfer.from)) ?? admit(desk, transfer, id)
}

const admit = ({ mempool, gossip }: SubmissionDesk, transfer: Transfer, id: Uint8Array): Submission => {
  const admission = mempool.submit(transfer)
  switch (admission.tag) {
    case "accepted":
      gossip(transfer)
      return { id }
    case "duplicate":
      return duplicate(id, admission.of)
    case "full": {
      const { limit, allowed } = admission
      const message = `as many ${limit === "sender" ? "transfers of this sender" : limit} wait as may`
      return { error: "MempoolFull", message, limit, allowed }
    }
    case "too large":
      throw new Error(`a transfer of ${admission.bytes} bytes exceeds the mempool's limit`)
  }
}
