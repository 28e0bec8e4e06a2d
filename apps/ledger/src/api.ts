/**
 * The ledger's HTTP API: its endpoints, and every way a request can fail.
 *
 *   POST /transfers                submit                  202, or 400 / 409 / 413 / 415 / 422 / 429 with a reason
 *   GET  /transfers/{id}           the executed transfer   and, with ?proof=true, everything a light client needs
 *   GET  /transfers/{id}/receipt   what it left            likewise
 *   GET  /receipts/{location}      the same by its name    likewise
 *   GET  /accounts/{address}       balance, nonce          likewise, also that nothing is stored
 *   GET  /accounts                 accounts in order       a page of them
 *
 * What every node answers to requests that it cannot read (400, 413, 415) is declared by the node.
 *
 * Invariant: a request that fails changed nothing. A field that is not declared here is refused, not ignored.
 */
import { DIGEST_BYTES, PUBLIC_KEY_BYTES } from "@coppice/crypto"
import { apiError, CountText } from "@coppice/node"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { ACCOUNTS_PAGE_MAX } from "./limits.ts"
import {
  AccountSchema,
  AccountsSchema,
  BytesHex,
  ExecutedTransferSchema,
  ReceiptSchema,
  SubmittedSchema,
  TransferSchema,
  U64Text,
  Whole,
} from "./wire.ts"

/** The signature is not the sender's, or is about another chain. */
export const BadSignature = apiError("BadSignature", 422, { chain: Schema.String })

/** The nonce is not the sender's next one, what waits already counted. */
export const WrongNonce = apiError("WrongNonce", 409, { expected: U64Text(), actual: U64Text() })

/** The sender has less than the amount, what waits already counted. */
export const ShortBalance = apiError("ShortBalance", 422, { available: U64Text(), amount: U64Text() })

/** The same transfer waits, or is final already. */
export const DuplicateTransfer = apiError("DuplicateTransfer", 409, {
  id: BytesHex(DIGEST_BYTES),
  state: Schema.Literals(["waiting", "finalized"]),
})

/** The node holds as many waiting transfers as it may. Try again later. */
export const MempoolFull = apiError("MempoolFull", 429, {
  limit: Schema.Literals(["transactions", "bytes", "sender"]),
  allowed: Whole,
})

/** No such transfer: it waits, was never submitted here, was dropped, or was executed too long ago to be kept. */
export const TransferNotFound = apiError("TransferNotFound", 404, {
  id: BytesHex(DIGEST_BYTES),
  state: Schema.Literals(["waiting", "unknown"]),
})

/** No receipt stands there: the location is that of the end of a block, or has not been reached. */
export const ReceiptNotFound = apiError("ReceiptNotFound", 404, { location: Whole, size: Whole })

/** The receipt was there and is not kept any more. */
export const ReceiptPruned = apiError("ReceiptPruned", 410, { location: Whole, pruned: Whole })

/** No proof can be given yet: no certificate covers the newest state. Ask again. */
export const ProofNotReady = apiError("ProofNotReady", 409, { height: Whole })

const refusals = [BadSignature, WrongNonce, ShortBalance, DuplicateTransfer, MempoolFull] as const

/** Why a submission is refused. */
export type SubmissionRefused = (typeof refusals)[number]["Type"]

const strict = { onExcessProperty: "error", errors: "all" } as const

const wantsProof = { proof: Schema.optionalKey(Schema.Literals(["true", "false"])) }

/** The ledger's endpoints, to be added to a node's API. */
export class LedgerApi extends HttpApiGroup.make("ledger")
  .add(
    HttpApiEndpoint.post("submit", "/transfers", {
      payload: TransferSchema,
      success: SubmittedSchema.annotate({ httpApiStatus: 202 }),
      error: refusals,
    }).annotate(OpenApi.Summary, "Submit a signed transfer"),
    HttpApiEndpoint.get("transfer", "/transfers/:id", {
      params: { id: BytesHex(DIGEST_BYTES) },
      query: wantsProof,
      success: ExecutedTransferSchema,
      error: [TransferNotFound, ProofNotReady],
    }).annotate(OpenApi.Summary, "An executed transfer, with a proof if asked for"),
    HttpApiEndpoint.get("receiptOf", "/transfers/:id/receipt", {
      params: { id: BytesHex(DIGEST_BYTES) },
      query: wantsProof,
      success: ReceiptSchema,
      error: [TransferNotFound, ReceiptNotFound, ReceiptPruned, ProofNotReady],
    }).annotate(OpenApi.Summary, "What a transfer left behind, with a proof if asked for"),
    HttpApiEndpoint.get("receipt", "/receipts/:location", {
      params: { location: CountText },
      query: wantsProof,
      success: ReceiptSchema,
      error: [ReceiptNotFound, ReceiptPruned, ProofNotReady],
    }).annotate(OpenApi.Summary, "A receipt by its location, with a proof if asked for"),
    HttpApiEndpoint.get("account", "/accounts/:address", {
      params: { address: BytesHex(PUBLIC_KEY_BYTES) },
      query: wantsProof,
      success: AccountSchema,
      error: ProofNotReady,
    }).annotate(OpenApi.Summary, "Balance and nonce, with a proof that they are current if asked for"),
    HttpApiEndpoint.get("accounts", "/accounts", {
      query: {
        start: Schema.optionalKey(BytesHex(PUBLIC_KEY_BYTES, "Lowest address, itself included")),
        end: Schema.optionalKey(BytesHex(PUBLIC_KEY_BYTES, "Upper bound, itself excluded")),
        limit: Schema.optionalKey(CountText.check(Schema.isBetween({ minimum: 1, maximum: ACCOUNTS_PAGE_MAX }))),
      },
      success: AccountsSchema,
    }).annotate(OpenApi.Summary, "A page of accounts in the order of their addresses"),
  )
  .annotate(HttpApi.PayloadParseOptions, strict)
  .annotate(HttpApi.QueryParseOptions, strict)
  .annotate(OpenApi.Title, "Ledger")
  .annotate(OpenApi.Description, "Transfers, receipts and accounts") {}
