/**
 * What a wallet does: it signs transfers, and believes an answer of a node only as far as it is proven.
 *
 *   headers follow one another, a quorum certified the last --> the first commits to what the answer says
 *
 * Terms: a *trusted chain* is what a wallet holds beforehand: the chain id and the validators' public keys.
 *
 * Invariant: nothing of an answer is trusted, each step is recomputed; whatever an answer is, a verdict never throws.
 *
 * Of an account it is shown what it has in the state of a certified block: no later value of that state is left out. A
 * receipt and a transfer never change, so of them everything is shown.
 */
import { DecodeError, decode } from "@coppice/codec"
import {
  createParticipants,
  DIGEST_BYTES,
  type Ed25519,
  type Hasher,
  nobleHasher,
  PUBLIC_KEY_BYTES,
  portableEd25519,
} from "@coppice/crypto"
import { checkHeaders, finalizationCodec, type TrustedParticipants } from "@coppice/verify/certificate"
import { Option, Schema } from "effect"
import { checkAccount, checkReceipt, checkTransfer, type LedgerHeader, ledgerHeader } from "./light.ts"
import type { Account, ExecutedTransfer, Receipt } from "./state.ts"
import { AccountSchema, BytesHex, ExecutedTransferSchema, type Proof, ReceiptSchema } from "./wire.ts"

export { signTransfer, transferNamespace } from "./transfer.ts"
export { transferToJson } from "./wire.ts"

/** What a wallet knows of a chain beforehand. */
export type TrustedChain = TrustedParticipants

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

/** The certified header of the state that a proof is of, or why there is none. Throws `DecodeError`. */
const certifiedHeader = (chain: TrustedChain, { height, headers, finalization }: Proof): LedgerHeader | string => {
  const decoded = headers.map((header) => decode(ledgerHeader, header))
  const rejection = checkHeaders(chain, ledgerHeader, decoded, decode(finalizationCodec, finalization))
  if (rejection !== undefined) {
    return `the headers do not lead to a certificate of the validators (${rejection._tag})`
  }
  return decoded[0]!.height === height ? decoded[0]! : "the proof is of another height than it says"
}

/** A kind of answer: how it is read, whether it answers the question, what is wrong with its proof, and what it shows. */
interface Kind<A, S> {
  readonly read: (answer: unknown) => Option.Option<A>
  readonly answers: (answer: A) => boolean
  readonly check: (
    hasher: Hasher,
    header: LedgerHeader,
    answer: A,
    proof: Uint8Array,
  ) => { readonly _tag: string } | undefined
  readonly shown: (answer: A) => S
}

const judge = <A extends { readonly proof?: Proof }, S>(
  chain: TrustedChain,
  { read, answers, check, shown }: Kind<A, S>,
  given: unknown,
): Verdict<S> => {
  const answer = Option.getOrUndefined(read(given))
  if (answer === undefined) return nothing("the answer is malformed")
  if (answer.proof === undefined) return nothing("the answer has no proof")
  if (!answers(answer)) return nothing("the answer is about something else than was asked for")
  try {
    const header = certifiedHeader(chain, answer.proof)
    if (typeof header === "string") return nothing(header)
    const rejection = check(chain.hasher, header, answer, answer.proof.proof)
    if (rejection === undefined) return { valid: true, shown: shown(answer) }
    return nothing(`the proof does not show what the answer says (${rejection._tag})`)
  } catch (error) {
    if (error instanceof DecodeError) return nothing(`the proof is malformed: ${error.message}`)
    throw error
  }
}

const hexOf = Schema.encodeSync(BytesHex(DIGEST_BYTES))

const readAccount = Schema.decodeUnknownOption(AccountSchema)
const readReceipt = Schema.decodeUnknownOption(ReceiptSchema)
const readTransfer = Schema.decodeUnknownOption(ExecutedTransferSchema)

/** What a certified state says of an account. */
export interface ShownAccount extends Account {
  /** False when nothing is stored for it. */
  readonly exists: boolean
  readonly height: number
}

const accountOf = (address: string): Kind<typeof AccountSchema.Type, ShownAccount> => ({
  read: readAccount,
  answers: (answer) => hexOf(answer.address) === address,
  check: (hasher, header, { address: key, exists, balance, nonce, height }, proof) => {
    if (height !== header.height) return { _tag: "HeightMismatch" }
    if (!exists && (balance !== 0n || nonce !== 0n)) return { _tag: "AbsentWithBalance" }
    return checkAccount(hasher, header, { address: key, account: exists ? { balance, nonce } : undefined, proof })
  },
  shown: ({ exists, balance, nonce, height }) => ({ exists, balance, nonce, height }),
})

/** Verifies the answer of `GET /accounts/{address}?proof=true`: what the account has at `height`, or that it does not exist. */
export const verifyAccount = (chain: TrustedChain, address: string, answer: unknown): Verdict<ShownAccount> =>
  judge(chain, accountOf(address), answer)

const receiptOf = (
  answers: (answer: typeof ReceiptSchema.Type) => boolean,
): Kind<typeof ReceiptSchema.Type, Receipt> => {
  const shown = ({ transfer, height, senderBalance, receiverBalance }: typeof ReceiptSchema.Type): Receipt => {
    return { transfer, height: BigInt(height), senderBalance, receiverBalance }
  }
  return {
    read: readReceipt,
    answers,
    check: (hasher, header, answer, proof) =>
      checkReceipt(hasher, header, { location: answer.location, value: shown(answer), proof }),
    shown,
  }
}

/** Verifies the answer of `GET /receipts/{location}?proof=true`. */
export const verifyReceipt = (chain: TrustedChain, location: number, answer: unknown): Verdict<Receipt> =>
  judge(
    chain,
    receiptOf((receipt) => receipt.location === location),
    answer,
  )

/** Verifies the answer of `GET /transfers/{id}/receipt?proof=true`. */
export const verifyReceiptOf = (chain: TrustedChain, id: string, answer: unknown): Verdict<Receipt> =>
  judge(
    chain,
    receiptOf((receipt) => hexOf(receipt.transfer) === id),
    answer,
  )

const transferOf = (id: string): Kind<typeof ExecutedTransferSchema.Type, ExecutedTransfer> => {
  const shown = ({ from, to, amount, nonce, signature, receipt }: typeof ExecutedTransferSchema.Type) => {
    return { transfer: { from, to, amount, nonce, signature }, receipt }
  }
  return {
    read: readTransfer,
    answers: (answer) => hexOf(answer.id) === id,
    check: (hasher, header, answer, proof) =>
      checkTransfer(hasher, header, answer.id, { location: answer.location, value: shown(answer), proof }),
    shown,
  }
}

/** Verifies the answer of `GET /transfers/{id}?proof=true`: that the transfer was executed, and where its receipt stands. */
export const verifyTransfer = (chain: TrustedChain, id: string, answer: unknown): Verdict<ExecutedTransfer> =>
  judge(chain, transferOf(id), answer)
