/**
 * The ledger's values as JSON: what goes over HTTP, and the bytes and numbers it stands for.
 *
 * Terms: bytes are lower-case hex; amounts, balances and nonces are decimal text, because JSON numbers end at 2^53.
 *
 * Invariant: decoding is bounded and strict: whatever passes is the only text of its value.
 */
import { DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "@coppice/crypto"
import { Schema, SchemaGetter } from "effect"
import { PROOF_PART_BYTES_MAX, WITNESS_HEADERS_MAX } from "./limits.ts"

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
  id: BytesHex(DIGEST_BYTES, "Ask /receipts/{id} for the outcome"),
}).annotate({ identifier: "Submitted" })

/**
 * Proof of one operation. Headers ascend from the block whose state is proven to the one that `finalization` certifies,
 * each the parent of the next.
 */
export const ProofSchema = Schema.Struct({
  location: Whole,
  operation: PartHex,
  proof: PartHex,
  headers: Schema.Array(PartHex).check(Schema.isMinLength(1), Schema.isMaxLength(WITNESS_HEADERS_MAX)),
  finalization: PartHex,
}).annotate({ identifier: "Proof" })

/** Proof of one operation. */
export type Proof = typeof ProofSchema.Type

/** An account in the state after a block. */
export const AccountSchema = Schema.Struct({
  address: BytesHex(PUBLIC_KEY_BYTES),
  balance: U64Text(),
  nonce: U64Text("Transfers that the account has sent"),
  nextNonce: U64Text("Nonce for the next transfer: those that wait at this node are counted"),
  height: Whole.annotate({ description: "Height of the state that balance and nonce are from" }),
  proof: Schema.optionalKey(ProofSchema),
}).annotate({ identifier: "Account" })

/** An executed transfer. */
export const ReceiptSchema = Schema.Struct({
  id: BytesHex(DIGEST_BYTES),
  from: BytesHex(PUBLIC_KEY_BYTES),
  to: BytesHex(PUBLIC_KEY_BYTES),
  amount: U64Text(),
  nonce: U64Text(),
  height: Whole.annotate({ description: "Height of the block that executed it" }),
  proof: Schema.optionalKey(ProofSchema),
}).annotate({ identifier: "Receipt" })
