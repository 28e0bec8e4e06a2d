/**
 * What a light client checks of the ledger: that a certified header commits to an account, a receipt or a transfer.
 *
 *   header --> canonical root of accounts --> account, as it is now, or that there is none
 *          --> root of receipts, of transfers --> receipt, transfer
 *
 * Invariant: nothing of a proof is believed; bytes that are no proof throw `DecodeError`, a false one gives its reason.
 * Runs in a browser.
 */
import { decode } from "@coppice/codec"
import type { Hasher } from "@coppice/crypto"
import { Location, type ProofRejection, rangeProofCodec } from "@coppice/merkle"
import {
  type CurrentRejection,
  checkExclusion,
  checkKeyValue,
  checkOperations,
  currentFormat,
  immutableFormat,
  keylessFormat,
} from "@coppice/verify"
import { type Header, type HeaderTarget, headerCodec } from "@coppice/verify/certificate"
import {
  ACCOUNTS,
  type Account,
  type ExecutedTransfer,
  HEADER_TARGETS,
  RECEIPTS,
  type Receipt,
  TRANSFERS,
} from "./state.ts"

/** What a header of the ledger commits to. */
export type LedgerTargets = Readonly<Record<keyof typeof HEADER_TARGETS, HeaderTarget>>

/** A header of the ledger. */
export type LedgerHeader = Header<LedgerTargets>

/** Encoding of the ledger's headers. */
export const ledgerHeader = headerCodec<LedgerTargets>(HEADER_TARGETS)

const accounts = currentFormat(ACCOUNTS)
const receipts = keylessFormat(RECEIPTS)
const transfers = immutableFormat(TRANSFERS)
const rangeProof = rangeProofCodec(receipts.family)

/** What is said of an account: what it has, or, with undefined, that it does not exist. */
export interface AccountClaim {
  readonly address: Uint8Array
  readonly account: Account | undefined
  readonly proof: Uint8Array
}

/** Why an account does not have that in the state of a header; undefined when it has. */
export const checkAccount = (
  hasher: Hasher,
  { targets }: LedgerHeader,
  { address: key, account: value, proof }: AccountClaim,
): CurrentRejection | undefined => {
  const root = targets.accounts.canonical!
  return value === undefined
    ? checkExclusion(hasher, accounts, { key, proof: decode(accounts.exclusionProof, proof) }, root)
    : checkKeyValue(hasher, accounts, { key, value, proof: decode(accounts.keyValueProof, proof) }, root)
}

/** What is said of the value at a location of a log. */
export interface LogClaim<V> {
  readonly location: number
  readonly value: V
  readonly proof: Uint8Array
}

/** Why a receipt does not stand at its location in the state of a header; undefined when it does. */
export const checkReceipt = (
  hasher: Hasher,
  { targets }: LedgerHeader,
  { location, value, proof }: LogClaim<Receipt>,
): ProofRejection | undefined => {
  const operations = [{ tag: "append", value } as const]
  const claim = { start: Location(location), operations, proof: decode(rangeProof, proof) }
  return checkOperations(hasher, receipts, claim, targets.receipts.root)
}

/** Why a transfer was not executed, as far as the state of a header goes; undefined when it was. */
export const checkTransfer = (
  hasher: Hasher,
  { targets }: LedgerHeader,
  id: Uint8Array,
  { location, value, proof }: LogClaim<ExecutedTransfer>,
): ProofRejection | undefined => {
  const operations = [{ tag: "set", key: id, value } as const]
  const claim = { start: Location(location), operations, proof: decode(rangeProof, proof) }
  return checkOperations(hasher, transfers, claim, targets.transfers.root)
}
