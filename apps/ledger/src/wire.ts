/**
 * The ledger's values as JSON: what goes over HTTP, and the bytes and numbers it stands for.
 *
 * Terms: bytes are lower-case hex; amounts, balances and nonces are decimal text, because JSON numbers end at 2^53.
 *
 * Invariant: decoding is bounded and strict: whatever passes is the only text of its value.
 */
import { DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "@coppice/crypto"
import { Schema, SchemaGetter } from "effect"
import { ACCOUNTS_PAGE_MAX, PROOF_PART_BYTES_MAX, WITNESS_HEADERS_MAX } from "./limits.ts"

const hex = (pattern: RegExp, charactersMax: number, form: string, meaning = form) =>
  Schema.String.annotate({ description: meaning })
    .check(Schema.isMaxLength(charactersMax, { expected: form }).abort(), Schema.isPattern(pattern, { expected: form }))
    .pipe(Schema.decodeTo(Schema.Uint8Array, { decode: SchemaGetter.decodeHex(), encode: SchemaGetter.encodeHex() }))

/** `count` bytes. */
export const BytesHex = (count: number, meaning?: string) =>
  hex(new RegExp(`^[0-9a-f]{${2 * count}}$`, "u"), 2 * count, `${count} bytes as lower-case hex`, meaning)

const PartHex = hex(/^([0-9a-f]{2})*$/u, 2 * PROOF_PART_BYTES_MAX, "bytes as lower-case hex")

/** A number below 2^64. */
export const U64Text = (meaning = "number below 2^64 in decimal") =>
  Schema.String.annotate({ description: meaning })
    .check(
      Schema.isPattern(/^(0|[1-9][0-9]{0,19})$/u, { expected: "a whole number in decimal" }).abort(),
      Schema.makeFilter((text: string) => BigInt(text) < 1n << 64n, { expected: "a number below 2^64" }),
    )
    .pipe(
      Schema.decodeTo(Schema.BigInt, {
        decode: SchemaGetter.transform((text: string) => BigInt(text)),
        encode: SchemaGetter.transform((value: bigint) => String(value)),
      }),
    )

/** A height, location or count. */
export const Whole = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))

/** A signed transfer. */
export const TransferSchema = Schema.Struct({
  from: BytesHex(PUBLIC_KEY_BYTES),
  to: BytesHex(PUBLIC_KEY_BYTES),
  amount: U64Text(),
  nonce: U64Text(),
  signature: BytesHex(SIGNATURE_BYTES),
}).annotate({ identifier: "Transfer" })

/** A signed transfer as the body of `POST /transfers`. */
export const transferToJson = Schema.encodeSync(TransferSchema)

/** An accepted submission: it waits for a block. */
export const SubmittedSchema = Schema.Struct({
  id: BytesHex(DIGEST_BYTES, "Ask /transfers/{id} for the outcome"),
}).annotate({ identifier: "Submitted" })

/**
 * Proof of what an answer says in the state after a block. Headers ascend from that block to the one that `finalization`
 * certifies, each the parent of the next.
 */
export const ProofSchema = Schema.Struct({
  height: Whole.annotate({ description: "Height of the state that the proof is of: that of the first header" }),
  proof: PartHex,
  headers: Schema.Array(PartHex).check(Schema.isMinLength(1), Schema.isMaxLength(WITNESS_HEADERS_MAX)),
  finalization: PartHex,
}).annotate({ identifier: "Proof" })

/** Proof of what an answer says. */
export type Proof = typeof ProofSchema.Type

const holding = {
  address: BytesHex(PUBLIC_KEY_BYTES),
  balance: U64Text(),
  nonce: U64Text("Transfers that the account has sent"),
}

/** An account in the state after a block. */
export const AccountSchema = Schema.Struct({
  ...holding,
  exists: Schema.Boolean.annotate({ description: "False for an account that was never paid: it is not stored" }),
  nextNonce: U64Text("Nonce for the next transfer: those that wait at this node are counted"),
  height: Whole.annotate({ description: "Height of the state that balance and nonce are from" }),
  proof: Schema.optionalKey(ProofSchema.annotate({ description: "That it has this now, or that it does not exist" })),
}).annotate({ identifier: "Account" })

/** Accounts in the order of their addresses, in the state after a block. */
export const AccountsSchema = Schema.Struct({
  height: Whole,
  accounts: Schema.Array(Schema.Struct(holding)).check(Schema.isMaxLength(ACCOUNTS_PAGE_MAX)),
  next: Schema.NullOr(BytesHex(PUBLIC_KEY_BYTES)).annotate({
    description: "Where the next page starts; null at the end",
  }),
}).annotate({ identifier: "Accounts" })

/** A transfer that was executed. */
export const ExecutedTransferSchema = Schema.Struct({
  id: BytesHex(DIGEST_BYTES),
  ...TransferSchema.fields,
  receipt: Whole.annotate({ description: "Location of its receipt: ask /receipts/{location}" }),
  location: Whole.annotate({ description: "Location of the transfer itself, among the transfers" }),
  proof: Schema.optionalKey(ProofSchema),
}).annotate({ identifier: "ExecutedTransfer" })

/** What a transfer left behind. */
export const ReceiptSchema = Schema.Struct({
  location: Whole.annotate({ description: "Names the receipt" }),
  transfer: BytesHex(DIGEST_BYTES, "Id of the transfer"),
  height: Whole.annotate({ description: "Height of the block that executed it" }),
  senderBalance: U64Text("What the sender had afterwards"),
  receiverBalance: U64Text("What the receiver had afterwards"),
  proof: Schema.optionalKey(ProofSchema),
}).annotate({ identifier: "Receipt" })
