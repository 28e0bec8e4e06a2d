/**
 * The ledger's HTTP API, as schemas: what goes over the wire, and every way a request can fail.
 *
 *   POST /transfers             submit            202, or 400 / 409 / 413 / 422 / 429 with a reason
 *   GET  /accounts/:address     balance, nonce    and, with ?proof=true, everything a light client needs
 *   GET  /receipts/:id          the executed transfer, likewise
 *
 * Terms: bytes are lower-case hex; amounts, balances and nonces are decimal text, because JSON numbers end at 2^53.
 *
 * Invariant: a request that fails changed nothing.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const hex = (bytes: number) =>
  Schema.String.check(Schema.isPattern(new RegExp(`^[0-9a-f]{${2 * bytes}}$`))).annotate({
    description: `${bytes} bytes as lower-case hex`,
  })

const Hex = Schema.String.check(Schema.isPattern(/^([0-9a-f]{2})*$/)).annotate({
  description: "bytes as lower-case hex",
})

const Decimal = Schema.String.check(Schema.isPattern(/^(0|[1-9][0-9]{0,19})$/)).annotate({
  description: "whole number below 2^64 in decimal",
})

/** A signed transfer as JSON. */
export const TransferJson = Schema.Struct({
  from: hex(32),
  to: hex(32),
  amount: Decimal,
  nonce: Decimal,
  signature: hex(64),
}).annotate({ identifier: "Transfer" })

/** An accepted submission: it waits for a block. */
export const SubmittedJson = Schema.Struct({
  id: hex(32).annotate({ description: "Ask /receipts/:id for the outcome." }),
}).annotate({ identifier: "Submitted" })

/**
 * Proof of one operation. Headers ascend from the block whose state is proven to one that `finalization` certifies, each
 * the parent of the next.
 */
export const ProofJson = Schema.Struct({
  location: Schema.Int,
  operation: Hex,
  proof: Hex,
  headers: Schema.Array(Hex),
  finalization: Hex,
}).annotate({ identifier: "Proof" })

/** An account at a height. */
export const AccountJson = Schema.Struct({
  address: hex(32),
  balance: Decimal,
  nonce: Decimal,
  height: Schema.Int,
  proof: Schema.optionalKey(ProofJson),
}).annotate({ identifier: "Account" })

/** An executed transfer. */
export const ReceiptJson = Schema.Struct({
  id: hex(32),
  from: hex(32),
  to: hex(32),
  amount: Decimal,
  nonce: Decimal,
  height: Schema.Int.annotate({ description: "height of the block that executed it" }),
  proof: Schema.optionalKey(ProofJson),
}).annotate({ identifier: "Receipt" })

/** A field is no number below 2^64. */
export class MalformedTransfer extends Schema.TaggedError<MalformedTransfer>()(
  "MalformedTransfer",
  { message: Schema.String, field: Schema.String },
  { httpApiStatus: 400 },
) {}

/** The signature is not the sender's, or is about another chain. */
export class BadSignature extends Schema.TaggedError<BadSignature>()(
  "BadSignature",
  { message: Schema.String, chain: Schema.String },
  { httpApiStatus: 422 },
) {}

/** The nonce is not the sender's next one. */
export class WrongNonce extends Schema.TaggedError<WrongNonce>()(
  "WrongNonce",
  { message: Schema.String, expected: Decimal, actual: Decimal },
  { httpApiStatus: 409 },
) {}

/** The sender has less than the amount, what waits already counted. */
export class ShortBalance extends Schema.TaggedError<ShortBalance>()(
  "ShortBalance",
  { message: Schema.String, available: Decimal, amount: Decimal },
  { httpApiStatus: 422 },
) {}

/** The same transfer waits or is final already. */
export class DuplicateTransfer extends Schema.TaggedError<DuplicateTransfer>()(
  "DuplicateTransfer",
  { message: Schema.String, id: Schema.String, state: Schema.Literals(["waiting", "finalized"]) },
  { httpApiStatus: 409 },
) {}

/** The node holds as many waiting transfers as it may. Try again later. */
export class MempoolFull extends Schema.TaggedError<MempoolFull>()(
  "MempoolFull",
  { message: Schema.String, limit: Schema.String, allowed: Schema.Int },
  { httpApiStatus: 429 },
) {}

/** No such receipt: the transfer waits, was never submitted, or was dropped. */
export class ReceiptNotFound extends Schema.TaggedError<ReceiptNotFound>()(
  "ReceiptNotFound",
  { message: Schema.String, id: Schema.String, state: Schema.Literals(["waiting", "unknown"]) },
  { httpApiStatus: 404 },
) {}

/** No proof can be made now: the newest state is not certified yet, or an account was never stored. */
export class ProofNotReady extends Schema.TaggedError<ProofNotReady>()(
  "ProofNotReady",
  { message: Schema.String, height: Schema.Int },
  { httpApiStatus: 409 },
) {}

/** Why a submission is refused. */
export type SubmissionRefused =
  | MalformedTransfer
  | BadSignature
  | WrongNonce
  | ShortBalance
  | DuplicateTransfer
  | MempoolFull

const wantsProof = { proof: Schema.optionalKey(Schema.Literals(["true", "false"])) }

/** The ledger's endpoints, to be added to a node's API. */
export class LedgerApi extends HttpApiGroup.make("ledger")
  .add(
    HttpApiEndpoint.post("submit", "/transfers", {
      payload: TransferJson,
      success: SubmittedJson.annotate({ httpApiStatus: 202 }),
      error: [MalformedTransfer, BadSignature, WrongNonce, ShortBalance, DuplicateTransfer, MempoolFull],
    }).annotateMerge(OpenApi.annotations({ summary: "Submit a signed transfer" })),
    HttpApiEndpoint.get("account", "/accounts/:address", {
      params: { address: hex(32) },
      query: wantsProof,
      success: AccountJson,
      error: ProofNotReady,
    }).annotateMerge(OpenApi.annotations({ summary: "Balance and nonce, with a proof if asked for" })),
    HttpApiEndpoint.get("receipt", "/receipts/:id", {
      params: { id: hex(32) },
      query: wantsProof,
      success: ReceiptJson,
      error: [ReceiptNotFound, ProofNotReady],
    }).annotateMerge(OpenApi.annotations({ summary: "Outcome of a transfer" })),
  )
  .annotateMerge(OpenApi.annotations({ title: "Ledger", description: "Transfers, accounts and receipts" })) {}
