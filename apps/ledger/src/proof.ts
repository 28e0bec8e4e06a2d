/**
 * Proofs for light clients: from a certificate, through headers, to one operation of one database.
 *
 *   finalization --certifies--> header n -- parent --> ... --> header 0 -- target --> root <-- range proof -- operation
 *
 * Terms: the *witness headers* ascend from the block whose state is proven to the first one at or above it that has a
 * certificate of its own: a block can become final through a descendant.
 *
 * Invariant: everything a verifier needs besides the validators' keys and the chain id is in the proof, and nothing in it
 * is trusted: each step is recomputed.
 */
import { Bytes, bytesEqual, type Codec, decode, encode } from "@coppice/codec"
import { type Finalization, finalizationCodec, Height, type Marshal, verifyFinalization } from "@coppice/consensus"
import { type Ed25519, type Hasher, nobleHasher, type Participants, portableEd25519 } from "@coppice/crypto"
import { Location, mmb, rangeProofCodec, verifyRangeProof } from "@coppice/merkle"
import { decodeOperation, type KeyedReader, keyedFormat } from "@coppice/qmdb"
import { Effect } from "effect"
import type { ProofJson } from "./api.ts"
import { AccountCodec, type Ledger, type LedgerBlock, type LedgerDatabases, ReceiptCodec } from "./ledger.ts"
import { WITNESS_HEADERS_MAX } from "./limits.ts"

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"))

const proofCodec = rangeProofCodec(mmb)

/** Proof of the operation that gave a key its value, in the newest applied state; undefined when the key has none. */
export const proveKey = <V>(
  reader: KeyedReader<Uint8Array, V>,
  key: Uint8Array,
): Pick<typeof ProofJson.Type, "location" | "operation" | "proof"> | undefined => {
  const location = reader.locate(key)
  if (location === undefined) return undefined
  const { operations, proof } = reader.prove(location, 1)
  return { location, operation: hex(operations[0]!), proof: hex(encode(proofCodec, proof)) }
}

/** The witness headers of a height and their certificate; undefined while there is none. */
export const witness = Effect.fnUntraced(function* (ledger: Ledger, marshal: Marshal<LedgerBlock>, height: Height) {
  const headers: Array<string> = []
  for (let at: number = height; headers.length < WITNESS_HEADERS_MAX; at++) {
    const block = yield* marshal.finalizedAt(Height(at))
    if (block === undefined) return undefined
    headers.push(hex(encode(ledger.application.blocks.header, block)))
    const finalization = yield* marshal.finalizationAt(Height(at))
    if (finalization !== undefined) return { headers, finalization: hex(encode(finalizationCodec, finalization)) }
  }
  return undefined
})

/** What a verifier must know of a chain beforehand. */
export interface TrustedChain {
  readonly ledger: Ledger
  readonly participants: Participants
  readonly ed25519?: Ed25519
  readonly hasher?: Hasher
}

/** What a proof shows: a value of a key in the state of a certified height, or why it shows nothing. */
export type ProofVerdict<V> =
  | { readonly valid: true; readonly key: Uint8Array; readonly value: V; readonly height: number }
  | { readonly valid: false; readonly reason: string }

const verify = <V>(
  chain: TrustedChain,
  member: keyof LedgerDatabases,
  value: Codec<V>,
  claim: typeof ProofJson.Type,
): ProofVerdict<V> => {
  const { ledger, participants, ed25519 = portableEd25519, hasher = nobleHasher } = chain
  const { header: headerCodec, digestOf } = ledger.application.blocks
  const finalization: Finalization = decode(finalizationCodec, bytes(claim.finalization))
  const headers = claim.headers.map((header) => decode(headerCodec, bytes(header)))
  const [first] = headers
  if (first === undefined) return { valid: false, reason: "no headers" }
  for (const [i, header] of headers.entries()) {
    const certified = i + 1 === headers.length ? finalization.proposal.payload : headers[i + 1]!.context.parent.digest
    if (!bytesEqual(digestOf(header), certified))
      return { valid: false, reason: `header ${i} is not the certified one` }
  }
  if (!verifyFinalization(ed25519, participants, ledger.chainId, finalization)) {
    return { valid: false, reason: "the certificate does not verify" }
  }
  const element = bytes(claim.operation)
  const proof = decode(proofCodec, bytes(claim.proof))
  const range = {
    family: mmb,
    bagging: "backward",
    proof,
    start: Location(claim.location),
    elements: [element],
  } as const
  if (proof.leaves !== first.targets[member].end || !verifyRangeProof(hasher, range, first.targets[member].root)) {
    return { valid: false, reason: "the operation is not in the certified state" }
  }
  const operation = decodeOperation(keyedFormat(Bytes(32), value, "fixed"), element)
  if (operation.tag !== "update") return { valid: false, reason: "the operation gives no value" }
  return { valid: true, key: operation.key, value: operation.value, height: first.height }
}

/** Verifies the proof of `GET /accounts/:address?proof=true`. Errors: `DecodeError` on malformed bytes. */
export const verifyAccount = (chain: TrustedChain, proof: typeof ProofJson.Type) =>
  verify(chain, "accounts", AccountCodec, proof)

/** Verifies the proof of `GET /receipts/:id?proof=true`. Errors: `DecodeError` on malformed bytes. */
export const verifyReceipt = (chain: TrustedChain, proof: typeof ProofJson.Type) =>
  verify(chain, "receipts", ReceiptCodec, proof)
