/**
 * Handlers of the ledger's API over a running node.
 *
 * Invariant: every answer about state comes from one applied state, and says at which height.
 */
import type { Height, Marshal } from "@coppice/consensus"
import type { DatabaseSet, Mempool } from "@coppice/stateful"
import { Context, Effect } from "effect"
import { type AccountJson, ProofNotReady, ReceiptNotFound } from "./api.ts"
import { EMPTY_ACCOUNT, type Ledger, type LedgerBlock, type LedgerDatabases } from "./ledger.ts"
import { proveKey, witness } from "./proof.ts"
import { type SubmissionDesk, submit, transferFromJson } from "./submission.ts"
import type { Transfer } from "./transfer.ts"

/** The node that the ledger's API answers for. */
export class LedgerNode extends Context.Service<
  LedgerNode,
  {
    readonly ledger: Ledger
    readonly mempool: Mempool<Transfer>
    readonly set: DatabaseSet<LedgerDatabases>
    readonly marshal: Marshal<LedgerBlock>
    readonly gossip: (transfer: Transfer) => void
  }
>()("@coppice-apps/ledger/LedgerNode") {}

type Node = LedgerNode["Service"]

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex")

/** Where transfers are submitted to a node. */
export const deskOf = (node: Node): SubmissionDesk => ({
  ledger: node.ledger,
  mempool: node.mempool,
  gossip: node.gossip,
  account: (address) => node.set.use("read", ({ accounts }) => accounts.get(address) ?? EMPTY_ACCOUNT),
})

const certified = Effect.fnUntraced(function* <P extends object>(node: Node, height: Height, proof: P | undefined) {
  if (proof === undefined) {
    return yield* new ProofNotReady({ message: "nothing was ever stored for it, so there is nothing to prove", height })
  }
  const found = yield* witness(node.ledger, node.marshal, height)
  if (found === undefined) return yield* new ProofNotReady({ message: "no certificate yet; ask again", height })
  return { ...proof, ...found }
})

/** Answers `POST /transfers`. */
export const handleSubmit = Effect.fnUntraced(function* (node: Node, payload: Parameters<typeof transferFromJson>[0]) {
  const transfer = transferFromJson(payload)
  if ("_tag" in transfer) return yield* transfer
  const outcome = submit(deskOf(node), transfer)
  if ("_tag" in outcome) return yield* outcome
  return outcome
})

/** Answers `GET /accounts/:address`. */
export const handleAccount = Effect.fnUntraced(function* (node: Node, address: string, wantsProof: boolean) {
  const { account, height, proof } = node.set.use("read", ({ accounts }, anchor) => ({
    account: accounts.get(bytes(address)) ?? EMPTY_ACCOUNT,
    height: anchor.height,
    proof: wantsProof ? proveKey(accounts, bytes(address)) : undefined,
  }))
  const answer: typeof AccountJson.Type = {
    address,
    balance: String(account.balance),
    nonce: String(account.nonce),
    height,
  }
  return wantsProof ? { ...answer, proof: yield* certified(node, height, proof) } : answer
})

/** Answers `GET /receipts/:id`. */
export const handleReceipt = Effect.fnUntraced(function* (node: Node, id: string, wantsProof: boolean) {
  const { receipt, height, proof } = node.set.use("read", ({ receipts }, anchor) => ({
    receipt: receipts.get(bytes(id)),
    height: anchor.height,
    proof: wantsProof ? proveKey(receipts, bytes(id)) : undefined,
  }))
  if (receipt === undefined) {
    const state = node.mempool.has(Buffer.from(id, "hex").toString("latin1")) ? "waiting" : "unknown"
    const message = state === "waiting" ? "the transfer waits for a block" : "no such receipt"
    return yield* new ReceiptNotFound({ message, id, state })
  }
  const answer = {
    id,
    from: hex(receipt.from),
    to: hex(receipt.to),
    amount: String(receipt.amount),
    nonce: String(receipt.nonce),
    height: Number(receipt.height),
  }
  return wantsProof ? { ...answer, proof: yield* certified(node, height, proof) } : answer
})
