/**
 * Proofs for light clients: from a certificate, through headers, to one operation of one database.
 *
 *   finalization --certifies--> header n -- parent --> ... --> header 0 -- target --> root <-- range proof -- operation
 *
 * Terms: the *witness* of a height is the certificate of the first block at or above it that has one of its own, and the
 * headers from the height up to that block: a block can become final through a descendant.
 *
 * Invariant: everything a verifier needs besides the validators' keys and the chain id is in the proof; wallet.ts is the
 * verifier.
 */
import { encode } from "@coppice/codec"
import { finalizationCodec, Height, type Marshal } from "@coppice/consensus"
import { mmb, rangeProofCodec } from "@coppice/merkle"
import type { KeyedReader } from "@coppice/qmdb"
import { Effect } from "effect"
import type { Ledger, LedgerBlock } from "./ledger.ts"
import { WITNESS_HEADERS_MAX } from "./limits.ts"
import type { Proof } from "./wire.ts"

const proofCodec = rangeProofCodec(mmb)

/** Proof of the operation that gave a key its value, in the newest applied state; undefined when the key has none. */
export const proveKey = <V>(
  reader: KeyedReader<Uint8Array, V>,
  key: Uint8Array,
): Pick<Proof, "location" | "operation" | "proof"> | undefined => {
  const location = reader.locate(key)
  if (location === undefined) return undefined
  const { operations, proof } = reader.prove(location, 1)
  return { location, operation: operations[0]!, proof: encode(proofCodec, proof) }
}

/** The witness of a final height; undefined while there is none. */
export const witnessOf = Effect.fnUntraced(function* (ledger: Ledger, marshal: Marshal<LedgerBlock>, height: Height) {
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
