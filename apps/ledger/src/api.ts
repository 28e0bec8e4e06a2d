/**
 * The ledger's HTTP API: its endpoints, and every way a request can fail.
 *
 *   POST /transfers             submit            202, or 400 / 409 / 413 / 415 / 422 / 429 with a reason
 *   GET  /accounts/{address}    balance, nonce    and, with ?proof=true, everything a light client needs
 *   GET  /receipts/{id}         the executed transfer, likewise
 *
 * What every node answers to requests that it cannot read (400, 413, 415) is declared by the node.
 *
 * Invariant: a request that fails changed nothing. A field that is not declared here is refused, not ignored.
 */
import { DIGEST_BYTES, PUBLIC_KEY_BYTES } from "@coppice/crypto"
import { apiError } from "@coppice/node"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { AccountSchema, BytesHex, ReceiptSchema, SubmittedSchema, TransferSchema, U64Text, Whole } from "./wire.ts"

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

/** No such receipt: the transfer waits, was never submitted here, or was dropped. */
export const ReceiptNotFound = apiError("ReceiptNotFound", 404, {
  id: BytesHex(DIGEST_BYTES),
  state: Schema.Literals(["waiting", "unknown"]),
})

/** No proof can be made: the state is not certified yet, or nothing was ever stored for the account. */
export const ProofNotReady = apiError("ProofNotReady", 409, {
  reason: Schema.Literals(["uncertified", "absent"]),
  height: Whole,
})

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
    HttpApiEndpoint.get("account", "/accounts/:address", {
      params: { address: BytesHex(PUBLIC_KEY_BYTES) },
      query: wantsProof,
      success: AccountSchema,
      error: ProofNotReady,
    }).annotate(OpenApi.Summary, "Balance and nonce, with a proof if asked for"),
    HttpApiEndpoint.get("receipt", "/receipts/:id", {
      params: { id: BytesHex(DIGEST_BYTES) },
      query: wantsProof,
      success: ReceiptSchema,
      error: [ReceiptNotFound, ProofNotReady],
    }).annotate(OpenApi.Summary, "Outcome of a transfer, with a proof if asked for"),
  )
  .annotate(HttpApi.PayloadParseOptions, strict)
  .annotate(HttpApi.QueryParseOptions, strict)
  .annotate(OpenApi.Title, "Ledger")
  .annotate(OpenApi.Description, "Transfers, accounts and receipts") {}
