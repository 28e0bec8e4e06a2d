/**
 * Handlers of the ledger's API over a running node.
 *
 * Invariant: every answer about state comes from one applied state, its proof included, and says at which height.
 */
import { bytesKey } from "@coppice/codec"
import type { Height, RunningMarshal } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import { NodeApi } from "@coppice/node"
import { LocationPruned } from "@coppice/qmdb"
import type { Mempool, ReadableSet, Readers } from "@coppice/stateful"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { LedgerApi, type ReceiptNotFound, type ReceiptPruned } from "./api.ts"
import type { Ledger, LedgerBlock, LedgerDatabases } from "./ledger.ts"
import { ACCOUNTS_PAGE_MAX } from "./limits.ts"
import { proveAccount, proveOperation, witnessOf } from "./proof.ts"
import { EMPTY_ACCOUNT } from "./state.ts"
import { afterWaiting, type SubmissionDesk, submit } from "./submission.ts"
import type { Transfer } from "./transfer.ts"
import type { ReceiptSchema } from "./wire.ts"

/** The node that the ledger's API answers for. */
export interface LedgerNode {
  readonly ledger: Ledger
  readonly mempool: Mempool<Transfer>
  readonly set: ReadableSet<LedgerDatabases>
  readonly marshal: RunningMarshal<LedgerBlock>
  /** Hands a transfer that was accepted here on to the other validators. */
  readonly gossip: (transfer: Transfer) => void
}

type LedgerReaders = Readers<LedgerDatabases>

/** Where transfers are submitted to a node. */
export const deskOf = ({ ledger, mempool, set, gossip }: LedgerNode): SubmissionDesk => ({
  ledger,
  mempool,
  gossip,
  account: (address) => set.use("read", ({ accounts }) => accounts.get(address) ?? EMPTY_ACCOUNT),
  isExecuted: (id) => set.use("read", ({ transfers }) => transfers.locate(id) !== undefined),
})

/** An answer from one state, with what was proven of it there. */
interface Found<A> {
  readonly answer: A
  readonly height: Height
  readonly proof: Uint8Array | undefined
}

/** Adds a proof to an answer, where one was made: with the witness of its height. */
const certified = Effect.fnUntraced(function* <A extends object>(
  { ledger, marshal }: LedgerNode,
  { answer, height, proof }: Found<A>,
) {
  if (proof === undefined) return answer
  const witness = yield* witnessOf(ledger, marshal, height)
  if (witness === undefined) {
    const message = `height ${height} has no certificate yet; ask again`
    return yield* Effect.fail({ error: "ProofNotReady" as const, message, height })
  }
  return { ...answer, proof: { height, proof, ...witness } }
})

/** Answers `POST /transfers`. */
export const handleSubmit = Effect.fnUntraced(function* (node: LedgerNode, transfer: Transfer) {
  const outcome = submit(deskOf(node), transfer)
  return "error" in outcome ? yield* Effect.fail(outcome) : outcome
})

/** Answers `GET /accounts/{address}`. */
export const handleAccount = Effect.fnUntraced(function* (node: LedgerNode, address: Uint8Array, wantsProof: boolean) {
  const { nonce: nextNonce } = afterWaiting(deskOf(node), address)
  const found = node.set.use("read", ({ accounts }, { height }) => {
    const stored = accounts.get(address)
    return {
      answer: { address, ...(stored ?? EMPTY_ACCOUNT), exists: stored !== undefined, nextNonce, height },
      height,
      proof: wantsProof ? proveAccount(accounts, address) : undefined,
    }
  })
  return yield* certified(node, found)
})

/** Which accounts, at most how many. */
export interface AccountsRange {
  readonly start?: Uint8Array
  readonly end?: Uint8Array
  readonly limit?: number
}

/** Answers `GET /accounts`. */
export const handleAccounts = (node: LedgerNode, { start, end, limit = ACCOUNTS_PAGE_MAX }: AccountsRange) =>
  Effect.sync(() =>
    node.set.use("read", ({ accounts }, { height }) => {
      // One more than is shown says where the next page starts.
      const entries = accounts.entries({ start, end, limit: limit + 1 })
      const shown = entries.slice(0, limit).map(([address, account]) => ({ address, ...account }))
      return { height, accounts: shown, next: entries[limit]?.[0] ?? null }
    }),
  )

const transferNotFound = ({ mempool }: LedgerNode, id: Uint8Array) => {
  const state = mempool.has(bytesKey(id)) ? ("waiting" as const) : ("unknown" as const)
  const message =
    state === "waiting" ? "the transfer waits for a block" : "no such transfer was executed, or it is not kept any more"
  return Effect.fail({ error: "TransferNotFound" as const, message, id, state })
}

/** Answers `GET /transfers/{id}`. */
export const handleTransfer = Effect.fnUntraced(function* (node: LedgerNode, id: Uint8Array, wantsProof: boolean) {
  const found = node.set.use("read", ({ transfers }, { height }) => {
    const executed = transfers.get(id)
    if (executed === undefined) return undefined
    const location = transfers.locate(id)!
    return {
      answer: { id, ...executed.transfer, receipt: executed.receipt, location },
      height,
      proof: wantsProof ? proveOperation(transfers, location) : undefined,
    }
  })
  return found === undefined ? yield* transferNotFound(node, id) : yield* certified(node, found)
})

type ReceiptMissing = typeof ReceiptNotFound.Type | typeof ReceiptPruned.Type

const findReceipt = (
  { receipts }: LedgerReaders,
  height: Height,
  location: Location,
  wantsProof: boolean,
): Found<Omit<typeof ReceiptSchema.Type, "proof">> | ReceiptMissing => {
  const size = receipts.target.end
  try {
    const receipt = receipts.get(location)
    const message = location < size ? "a block ends there: no receipt has this location" : "no receipt stands there yet"
    if (receipt === undefined) return { error: "ReceiptNotFound", message, location, size }
    return {
      answer: { location, ...receipt, height: Number(receipt.height) },
      height,
      proof: wantsProof ? proveOperation(receipts, location) : undefined,
    }
  } catch (error) {
    if (!(error instanceof LocationPruned)) throw error
    const { pruned } = error
    const message = `receipts below location ${pruned} are not kept any more`
    return { error: "ReceiptPruned", message, location, pruned }
  }
}

/** Answers `GET /receipts/{location}`. */
export const handleReceipt = Effect.fnUntraced(function* (node: LedgerNode, location: number, wantsProof: boolean) {
  const found = node.set.use("read", (readers, { height }) =>
    findReceipt(readers, height, Location(location), wantsProof),
  )
  return "error" in found ? yield* Effect.fail(found) : yield* certified(node, found)
})

/** Answers `GET /transfers/{id}/receipt`. */
export const handleReceiptOf = Effect.fnUntraced(function* (node: LedgerNode, id: Uint8Array, wantsProof: boolean) {
  const executed = node.set.use("read", ({ transfers }) => transfers.get(id))
  if (executed === undefined) return yield* transferNotFound(node, id)
  return yield* handleReceipt(node, executed.receipt, wantsProof)
})

/** Answers the ledger's endpoints for a node. */
export const ledgerHandlers = (node: LedgerNode) =>
  HttpApiBuilder.group(NodeApi.add(LedgerApi), "ledger", (group) =>
    group.handleAll({
      submit: ({ payload }) => handleSubmit(node, payload),
      transfer: ({ params, query }) => handleTransfer(node, params.id, query.proof === "true"),
      receiptOf: ({ params, query }) => handleReceiptOf(node, params.id, query.proof === "true"),
      receipt: ({ params, query }) => handleReceipt(node, params.location, query.proof === "true"),
      account: ({ params, query }) => handleAccount(node, params.address, query.proof === "true"),
      accounts: ({ query }) => handleAccounts(node, query),
    }),
  )
