/**
 * Proofs for light clients: from a certificate, through headers, to what one database holds.
 *
 *   finalization --certifies--> header n -- parent --> ... --> header 0 -- target --> root <-- proof -- account, receipt, ...
 *
 * Terms: the *witness* of a height is the certificate of the first block at or above it that has one of its own, and the
 * headers from the height up to that block: a block can become final through a descendant.
 *
 * Invariant: everything a verifier needs besides the validators' keys and the chain id is in the proof; wallet.ts is the
 * verifier.
 */
import { encode } from "@coppice/codec"
import { finalizationCodec, Height, type RunningMarshal } from "@coppice/consensus"
import { type Location, mmb, rangeProofCodec } from "@coppice/merkle"
import type { LogReader, OrderedCurrentReader } from "@coppice/qmdb"
import { currentFormat } from "@coppice/verify"
import { Effect } from "effect"
import type { Ledger, LedgerBlock } from "./ledger.ts"
import { WITNESS_HEADERS_MAX } from "./limits.ts"
import { ACCOUNTS, type Account } from "./state.ts"

const { keyValueProof, exclusionProof } = currentFormat(ACCOUNTS)
const operationProof = rangeProofCodec(mmb)

/** Proof of what an account has in the newest applied state, or that it does not exist there. */
export const proveAccount = (accounts: OrderedCurrentReader<Uint8Array, Account>, address: Uint8Array): Uint8Array => {
  const present = accounts.proveKey(address)
  return present === undefined
    ? encode(exclusionProof, accounts.proveAbsence(address)!)
    : encode(keyValueProof, present)
}

/** Proof of the operation at a location of the newest applied state. */
export const proveOperation = (reader: LogReader, location: Location): Uint8Array =>
  encode(operationProof, reader.prove(location, 1).proof)

/** The witness of a final height; undefined while there is none. */
export const witnessOf = Effect.fnUntraced(function* (
  ledger: Ledger,
  marshal: RunningMarshal<LedgerBlock>,
  height: Height,
) {
  const headers: Array<Uint8Array> = []
  for (let at: number = height; headers.length < WITNESS_HEADERS_MAX; at++) {
    const block = yield* marshal.finalizedAt(Height(at))
    if (block === undefined) return undefined
    headers.push(encode(ledger.application.blocks.header, block))
    const finalization = yield* marshal.finalizationAt(Height(at))
    if (finalization !== undefined) return { headers, finalization: encode(finalizationCodec, finalization) }
  }
  return undefined
})
