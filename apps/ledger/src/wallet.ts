/**
 * What a wallet does: it signs transfers, and believes an answer of a node only as far as it is proven.
 *
 *   headers follow one another, a quorum certified the last --> the operation stands in the state of the first
 *                                                           --> it says what the answer says
 *
 * Terms: a *trusted chain* is what a wallet holds beforehand: the chain id and the validators' public keys.
 *
 * Invariant: nothing of an answer is trusted, each step is recomputed; whatever an answer is, a verdict never throws.
 *
 * Of an account it is shown that a block up to the certified height gave it this value, not that no later one replaced it:
 * databases of the kind `any` prove that a key had a value. Only values below the inactivity floor are known to be old and
 * are refused. A receipt never changes, so of a receipt everything is shown.
 */
import { Bytes, bytesEqual, DecodeError, decode } from "@coppice/codec"
import {
  createParticipants,
  DIGEST_BYTES,
  type Ed25519,
  type Hasher,
  nobleHasher,
  PUBLIC_KEY_BYTES,
  portableEd25519,
} from "@coppice/crypto"
import { Location, mmb, rangeProofCodec } from "@coppice/merkle"
import type { Targets } from "@coppice/stateful"
import { checkOperations, decodeOperation, type KeyedFormat, keyedFormat } from "@coppice/verify"
import { checkHeaders, finalizationCodec, headerCodec, type TrustedParticipants } from "@coppice/verify/certificate"
import { Option, Schema } from "effect"
import {
  type Account,
  AccountCodec,
  type LedgerDatabases,
  ledgerDatabases,
  type Receipt,
  ReceiptCodec,
} from "./ledger.ts"
import { AccountSchema, BytesHex, type Proof, ReceiptSchema } from "./wire.ts"

export { signTransfer, transferNamespace } from "./transfer.ts"
export { transferToJson } from "./wire.ts"

/** What a wallet knows of a chain beforehand. */
export type TrustedChain = TrustedParticipants

/** Headers of the ledger's blocks. */
const headerOf = headerCodec<Targets<LedgerDatabases>>(ledgerDatabases)

const ChainAnswer = Schema.Struct({ chain: Schema.String, validators: Schema.Array(BytesHex(PUBLIC_KEY_BYTES)) })

/**
 * The chain that a trusted answer of `GET /chain` describes. Keep that answer: asked for anew, it is the word of a node.
 *
 * Errors: throws for anything that is no such answer.
 */
export const trustedChain = (
  answer: unknown,
  { ed25519 = portableEd25519, hasher = nobleHasher }: { readonly ed25519?: Ed25519; readonly hasher?: Hasher } = {},
): TrustedChain => {
  const { chain: chainId, validators } = Schema.decodeUnknownSync(ChainAnswer)(answer)
  return { chainId, participants: createParticipants(validators), ed25519, hasher }
}

/** What an answer shows, or why it shows nothing. */
export type Verdict<A> =
  | { readonly valid: true; readonly shown: A }
  | { readonly valid: false; readonly reason: string }

const nothing = (reason: string) => ({ valid: false, reason }) as const

/** The verdict, or that there is nothing to judge: bytes that do not decode. */
const wellFormed = <A>(judge: () => Verdict<A>): Verdict<A> => {
  try {
    return judge()
  } catch (error) {
    if (error instanceof DecodeError) return nothing(`the proof is malformed: ${error.message}`)
    throw error
  }
}

const proofCodec = rangeProofCodec(mmb)

interface Update<V> {
  readonly key: Uint8Array
  readonly value: V
  /** Height of the certified state that the operation stands in. */
  readonly height: number
}

/** A kind of answer: which member proves it, how it is read, and whether it says what an operation says. */
interface Kind<A, V> {
  readonly member: keyof LedgerDatabases
  readonly format: KeyedFormat<Uint8Array, V>
  readonly read: (answer: unknown) => Option.Option<A>
  readonly agrees: (answer: A, update: Update<V>) => boolean
}

const verifyUpdate = <V>(
  chain: TrustedChain,
  { member, format }: Pick<Kind<never, V>, "member" | "format">,
  { location, operation, proof, headers, finalization }: Proof,
): Verdict<Update<V>> => {
  const witness = headers.map((header) => decode(headerOf, header))
  if (checkHeaders(chain, headerOf, witness, decode(finalizationCodec, finalization)) !== undefined) {
    return nothing("the headers do not lead to a certificate of the validators")
  }
  const { height, targets } = witness[0]!
  const { root, start: floor } = targets[member]
  if (location < floor) return nothing("the operation is below the inactivity floor")
  const update = decodeOperation(format, operation)
  const claim = { start: Location(location), operations: [update], proof: decode(proofCodec, proof) }
  if (checkOperations(chain.hasher, format, claim, root) !== undefined) {
    return nothing("the operation is not in the certified state")
  }
  if (update.tag !== "update") return nothing("the operation gives no value")
  return { valid: true, shown: { key: update.key, value: update.value, height } }
}

const accounts: Kind<typeof AccountSchema.Type, Account> = {
  member: "accounts",
  format: keyedFormat({ key: Bytes(PUBLIC_KEY_BYTES), value: AccountCodec }),
  read: Schema.decodeUnknownOption(AccountSchema),
  agrees: ({ address, balance, nonce, height }, { key, value, height: certified }) =>
    bytesEqual(address, key) && balance === value.balance && nonce === value.nonce && height === certified,
}

const receipts: Kind<typeof ReceiptSchema.Type, Receipt> = {
  member: "receipts",
  format: keyedFormat({ key: Bytes(DIGEST_BYTES), value: ReceiptCodec }),
  read: Schema.decodeUnknownOption(ReceiptSchema),
  agrees: ({ id, from, to, amount, nonce, height }, { key, value }) =>
    bytesEqual(id, key) &&
    bytesEqual(from, value.from) &&
    bytesEqual(to, value.to) &&
    amount === value.amount &&
    nonce === value.nonce &&
    BigInt(height) === value.height,
}

const keyText = Schema.encodeSync(BytesHex(DIGEST_BYTES))

const verifyAnswer = <A extends { readonly proof?: Proof }, V>(
  chain: TrustedChain,
  kind: Kind<A, V>,
  key: string,
  given: unknown,
): Verdict<Update<V>> => {
  const answer = Option.getOrUndefined(kind.read(given))
  if (answer === undefined) return nothing("the answer is malformed")
  if (answer.proof === undefined) return nothing("the answer has no proof")
  const { proof } = answer
  const verdict = wellFormed(() => verifyUpdate(chain, kind, proof))
  if (!verdict.valid) return verdict
  if (keyText(verdict.shown.key) !== key) return nothing("the proof is of something else than was asked for")
  return kind.agrees(answer, verdict.shown) ? verdict : nothing("the proof does not say what the answer says")
}

/** Verifies the answer of `GET /accounts/{address}?proof=true`; shows what the account had at `height` or before. */
export const verifyAccount = (
  chain: TrustedChain,
  address: string,
  answer: unknown,
): Verdict<Account & { readonly height: number }> => {
  const verdict = verifyAnswer(chain, accounts, address, answer)
  if (!verdict.valid) return verdict
  const { value, height } = verdict.shown
  return { valid: true, shown: { ...value, height } }
}

/** Verifies the answer of `GET /receipts/{id}?proof=true`; shows the executed transfer and its height. */
export const verifyReceipt = (chain: TrustedChain, id: string, answer: unknown): Verdict<Receipt> => {
  const verdict = verifyAnswer(chain, receipts, id, answer)
  return verdict.valid ? { valid: true, shown: verdict.shown.value } : verdict
}
