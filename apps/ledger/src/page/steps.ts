/**
 * What the page checks, one step after the other, each with what it shows.
 *
 *   certificate  a quorum of the validators finalized a block
 *   header       the header hashes to that block, or leads to it, parent by parent
 *   state root   the header commits to the canonical root of all accounts
 *   balance      the proof leads from that root to what the account has now, or to the gap where it would be
 *
 * Terms: the *claim* is what a node answered, not believed. A step that follows a refused one is not made.
 *
 * Invariant: whatever the answers are, steps are given and nothing throws. Nothing of an answer is shown as proven that
 * was not recomputed here.
 */
import { bytesEqual, DecodeError, decode } from "@coppice/codec"
import {
  checkHeaders,
  createParticipants,
  type Finalization,
  finalizationCodec,
  headerDigest,
  nobleHasher,
  portableEd25519,
  type TrustedParticipants,
  verifyFinalization,
} from "@coppice/verify/certificate"
import { checkAccount, type LedgerHeader, ledgerHeader } from "../light.ts"
import { PROOF_PART_BYTES_MAX, WITNESS_HEADERS_MAX } from "../limits.ts"
import { EMPTY_ACCOUNT } from "../state.ts"

/** One step, with what it found. */
export interface Step {
  readonly name: "certificate" | "header" | "state root" | "balance"
  readonly outcome: "verified" | "refused" | "not checked"
  /** What the outcome means, as a sentence. */
  readonly says: string
  /** The values that the step was about, by name. */
  readonly values: ReadonlyArray<readonly [name: string, value: string]>
}

/** Answers of a node, as JSON values of any kind. */
export interface Answers {
  readonly address: string
  readonly block: unknown
  readonly account: unknown
}

/** What an answer is not: its form. */
class Malformed extends Error {}

const fieldOf = (value: unknown, name: string): unknown => {
  if (typeof value !== "object" || value === null) throw new Malformed(`no object where ${name} is looked for`)
  return (value as Readonly<Record<string, unknown>>)[name]
}

const textOf = (value: unknown, name: string): string => {
  const text = fieldOf(value, name)
  if (typeof text !== "string") throw new Malformed(`${name} is no text`)
  return text
}

const HEX = /^([0-9a-f]{2})*$/

const fromHex = (text: unknown, name: string, bytesMax: number): Uint8Array => {
  if (typeof text !== "string" || text.length > 2 * bytesMax || !HEX.test(text)) {
    throw new Malformed(`${name} is no hex of at most ${bytesMax} bytes`)
  }
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16))
}

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const partOf = (value: unknown, name: string): Uint8Array => fromHex(fieldOf(value, name), name, PROOF_PART_BYTES_MAX)

const U64 = /^(0|[1-9][0-9]{0,19})$/

const amountOf = (value: unknown, name: string): bigint => {
  const text = textOf(value, name)
  if (!U64.test(text) || BigInt(text) >= 1n << 64n) throw new Malformed(`${name} is no amount`)
  return BigInt(text)
}

/** The chain that an answer of `/chain` describes. Throws for what is no such answer. */
export const trustedBy = (chain: unknown): TrustedParticipants => {
  const validators = fieldOf(chain, "validators")
  if (!Array.isArray(validators)) throw new Malformed("validators is no list")
  const keys = validators.map((key) => fromHex(key, "a validator's key", 32))
  return {
    chainId: textOf(chain, "chain"),
    participants: createParticipants(keys),
    ed25519: portableEd25519,
    hasher: nobleHasher,
  }
}

type Found = Pick<Step, "says" | "values">
type Refused = { readonly refused: string } & Pick<Step, "values">

const certificateStep = (trusted: TrustedParticipants, finalization: Finalization): Found | Refused => {
  const { participants, chainId, ed25519 } = trusted
  const { proposal, certificate } = finalization
  const values: Step["values"] = [
    ["block", toHex(proposal.payload)],
    ["view", String(proposal.round.view)],
    ["signers", certificate.signers.map((index) => `validator ${index}`).join(", ")],
  ]
  if (verifyFinalization(ed25519, participants, chainId, finalization)) {
    const says = `${certificate.signers.length} of ${participants.n} validators signed that this block is final; ${participants.quorum} are enough.`
    return { says, values }
  }
  return { refused: "The signatures are not those of a quorum of the validators over this block.", values }
}

const headerStep = (
  trusted: TrustedParticipants,
  headers: ReadonlyArray<LedgerHeader>,
  encoded: ReadonlyArray<Uint8Array>,
  finalization: Finalization,
): Found | Refused => {
  const first = headers[0]
  const values: Step["values"] =
    first === undefined
      ? []
      : [
          ["height", String(first.height)],
          ["hash of the header", toHex(headerDigest(trusted.hasher, encoded[0]!))],
          ["certified block", toHex(finalization.proposal.payload)],
        ]
  const rejection = checkHeaders(trusted, ledgerHeader, headers, finalization)
  if (rejection !== undefined) {
    const refused = "The header does not hash to the block that the certificate is about, nor lead to it."
    return { refused, values }
  }
  const further = headers.length - 1
  const says =
    further === 0
      ? "The header hashes to exactly the block that was certified."
      : `The header is the ${further === 1 ? "parent" : `ancestor, ${further} blocks back,`} of the block that was certified.`
  return { says, values }
}

interface Judged {
  readonly trusted: TrustedParticipants
  readonly address: Uint8Array
  readonly header: LedgerHeader
  readonly account: unknown
}

const balanceStep = ({ trusted, address, header, account }: Judged): Found | Refused => {
  const [balance, nonce] = [amountOf(account, "balance"), amountOf(account, "nonce")]
  const exists = fieldOf(account, "exists")
  if (typeof exists !== "boolean") throw new Malformed("exists is neither true nor false")
  const proof = partOf(fieldOf(account, "proof"), "proof")
  const values: Step["values"] = [
    ["address", toHex(address)],
    ["balance", String(balance)],
    ["transfers sent", String(nonce)],
    ["proof", `${proof.length} bytes`],
  ]
  const isEmpty = balance === EMPTY_ACCOUNT.balance && nonce === EMPTY_ACCOUNT.nonce
  const claim = { address, account: exists ? { balance, nonce } : undefined, proof }
  const rejection = exists || isEmpty ? checkAccount(trusted.hasher, header, claim) : { _tag: "AbsentWithBalance" }
  if (rejection !== undefined) {
    return { refused: `The proof does not lead from the state root to this answer (${rejection._tag}).`, values }
  }
  const says = exists
    ? "The proof leads from the state root to this balance, and shows that no newer one replaced it."
    : "The proof leads from the state root to the gap between two accounts where this one would be: it does not exist."
  return { says, values }
}

const NAMES: ReadonlyArray<Step["name"]> = ["certificate", "header", "state root", "balance"]

/** Decodes and checks, in order, what the answers say about an account; stops at what is refused. */
function* checks(trusted: TrustedParticipants, { address: text, block, account }: Answers): Generator<Found | Refused> {
  const address = fromHex(text, "the address", 32)
  const proof = fieldOf(account, "proof")
  const finalization = decode(finalizationCodec, partOf(proof, "finalization"))
  yield certificateStep(trusted, finalization)
  const parts = fieldOf(proof, "headers")
  if (!Array.isArray(parts) || parts.length > WITNESS_HEADERS_MAX) throw new Malformed("headers is no short list")
  const encoded = parts.map((part) => fromHex(part, "a header", PROOF_PART_BYTES_MAX))
  if (encoded[0] === undefined || !bytesEqual(partOf(block, "header"), encoded[0])) {
    yield { refused: "The node gives two headers for one block.", values: [] }
  }
  const headers = encoded.map((bytes) => decode(ledgerHeader, bytes))
  yield headerStep(trusted, headers, encoded, finalization)
  const header = headers[0]!
  const values: Step["values"] = [["canonical root", toHex(header.targets.accounts.canonical!)]]
  yield { says: `At height ${header.height} the header commits to this root of all accounts.`, values }
  if (textOf(account, "address") !== text) {
    yield { refused: "The answer is about another account than was asked for.", values: [] }
  }
  yield balanceStep({ trusted, address, header, account })
}

/** Checks what a node answered about an account. */
export const verifySteps = (trusted: TrustedParticipants, answers: Answers): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  const found = checks(trusted, answers)
  const refuse = (says: string, values: Step["values"] = []): void => {
    steps.push({ name: NAMES[steps.length]!, outcome: "refused", says, values })
  }
  try {
    for (const step of found) {
      if ("refused" in step) {
        refuse(step.refused, step.values)
        break
      }
      steps.push({ name: NAMES[steps.length]!, outcome: "verified", ...step })
    }
  } catch (error) {
    if (!(error instanceof Malformed || error instanceof DecodeError)) throw error
    refuse(`What the node sent is malformed: ${error.message}.`)
  }
  for (const name of NAMES.slice(steps.length)) {
    steps.push({ name, outcome: "not checked", says: "Not checked: a step before it was refused.", values: [] })
  }
  return steps
}
