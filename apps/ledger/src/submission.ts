/**
 * From a submitted transfer to a waiting one: every check that can be made before a block is built.
 *
 * Terms: *waiting* transfers of an account count as if they had happened, so an account can submit several in a row.
 *
 * Invariant: a refusal names its reason with the evidence and leaves the pool as it was. What passes here may still be
 * rejected by a block, if another node has taken other transfers of the same account.
 */
import type { Mempool } from "@coppice/stateful"
import {
  BadSignature,
  DuplicateTransfer,
  MalformedTransfer,
  MempoolFull,
  ShortBalance,
  type SubmissionRefused,
  type TransferJson,
  WrongNonce,
} from "./api.ts"
import { type Account, type Ledger, senderKey } from "./ledger.ts"
import type { Transfer } from "./transfer.ts"

const U64_MAX = (1n << 64n) - 1n

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex")

/** Reads a transfer whose fields have passed the schema. */
export const transferFromJson = (json: typeof TransferJson.Type): Transfer | MalformedTransfer => {
  const amount = BigInt(json.amount)
  const nonce = BigInt(json.nonce)
  for (const [field, value] of Object.entries({ amount, nonce })) {
    if (value > U64_MAX) return new MalformedTransfer({ message: `${field} is not below 2^64`, field })
  }
  return { from: bytes(json.from), to: bytes(json.to), amount, nonce, signature: bytes(json.signature) }
}

/** JSON of a transfer, as `POST /transfers` takes it. */
export const transferToJson = (transfer: Transfer): typeof TransferJson.Type => ({
  from: hex(transfer.from),
  to: hex(transfer.to),
  amount: String(transfer.amount),
  nonce: String(transfer.nonce),
  signature: hex(transfer.signature),
})

/** What submitting needs of a node. */
export interface SubmissionDesk {
  readonly ledger: Ledger
  readonly mempool: Mempool<Transfer>
  /** The account in the newest applied state. */
  readonly account: (address: Uint8Array) => Account
  /** Called for each transfer that was accepted here: hands it on to the other validators. */
  readonly gossip: (transfer: Transfer) => void
}

/** The account as it will be once everything of its owner that waits has happened. */
const afterWaiting = (desk: SubmissionDesk, address: Uint8Array): Account => {
  let { balance, nonce } = desk.account(address)
  for (const { transaction } of desk.mempool.waitingFrom(senderKey(address))) {
    if (transaction.nonce < nonce) continue
    balance -= transaction.amount
    nonce = transaction.nonce + 1n
  }
  return { balance, nonce }
}

/** Submits a transfer: its id, or why it is refused. */
export const submit = (desk: SubmissionDesk, transfer: Transfer): { readonly id: string } | SubmissionRefused => {
  const { ledger, mempool } = desk
  if (!ledger.isSigned(transfer)) {
    const message = "the signature is not the sender's for this transfer on this chain"
    return new BadSignature({ message, chain: ledger.chainId })
  }
  const id = hex(ledger.idOf(transfer))
  if (mempool.has(mempool.idOf(transfer))) {
    return new DuplicateTransfer({ message: "the transfer waits already", id, state: "waiting" })
  }
  const sender = afterWaiting(desk, transfer.from)
  if (transfer.nonce !== sender.nonce) {
    const message = `the sender's next nonce is ${sender.nonce}`
    return new WrongNonce({ message, expected: String(sender.nonce), actual: String(transfer.nonce) })
  }
  if (transfer.amount > sender.balance) {
    const available = String(sender.balance < 0n ? 0n : sender.balance)
    return new ShortBalance({ message: `the sender has ${available} left`, available, amount: String(transfer.amount) })
  }
  return admit(desk, transfer, id)
}

const admit = (desk: SubmissionDesk, transfer: Transfer, id: string): { readonly id: string } | SubmissionRefused => {
  const admission = desk.mempool.submit(transfer)
  switch (admission.tag) {
    case "accepted":
      desk.gossip(transfer)
      return { id }
    case "duplicate":
      return new DuplicateTransfer({ message: `the transfer is ${admission.of} already`, id, state: admission.of })
    case "full":
      return new MempoolFull({
        message: `as many ${admission.limit === "sender" ? "transfers of this sender" : admission.limit} wait as may`,
        limit: admission.limit,
        allowed: admission.allowed,
      })
    case "too large":
      throw new Error(`a transfer of ${admission.bytes} bytes exceeds the mempool's limit`)
  }
}
