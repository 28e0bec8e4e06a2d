/**
 * Transfers: what a wallet signs and a block carries.
 *
 *   transfer   from (32) || to (32) || amount (8) || nonce (8) || signature (64)
 *   signed     namespace "_COPPICE_LEDGER_TRANSFER_<chain id>" || from || to || amount || nonce
 *   id         SHA-256 of the whole transfer
 *
 * Terms: an *address* is an Ed25519 public key. A *nonce* counts the transfers an account has sent: the next transfer of
 * an account carries exactly the account's nonce, so none can be repeated or reordered.
 *
 * Invariant: a signature is about one chain, and one acceptance predicate decides it on every node.
 */
import { Bytes, type Codec, encode, Struct, U64 } from "@coppice/codec"
import {
  createNamespace,
  type Digest,
  type Ed25519,
  type Hasher,
  type KeyPair,
  type Namespace,
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
  signMessage,
  verifyMessage,
} from "@coppice/crypto"

/** What is signed. Amounts are in the smallest unit, at most 2^64 - 1. */
export interface TransferBody {
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly amount: bigint
  readonly nonce: bigint
}

/** A signed transfer. */
export interface Transfer extends TransferBody {
  readonly signature: Uint8Array
}

const body = {
  from: Bytes(PUBLIC_KEY_BYTES),
  to: Bytes(PUBLIC_KEY_BYTES),
  amount: U64,
  nonce: U64,
}

const TransferBodyCodec: Codec<TransferBody> = Struct(body)

/** Wire form of a transfer: 144 bytes. */
export const TransferCodec: Codec<Transfer> = Struct({ ...body, signature: Bytes(SIGNATURE_BYTES) })

/** Signing domain of the transfers of one chain. */
export const transferNamespace = (chainId: string): Namespace => createNamespace(`_COPPICE_LEDGER_TRANSFER_${chainId}`)

/** Signs a transfer. Errors: RangeError for an amount or nonce outside 0 .. 2^64 - 1. */
export const signTransfer = (
  ed25519: Ed25519,
  keys: KeyPair,
  namespace: Namespace,
  transfer: Omit<TransferBody, "from">,
): Transfer => {
  const unsigned = { from: keys.publicKey, ...transfer }
  const signature = signMessage(ed25519, keys.secret, namespace, encode(TransferBodyCodec, unsigned))
  return { ...unsigned, signature }
}

/** Whether the signature of a transfer holds on a chain. */
export const isSigned = (ed25519: Ed25519, namespace: Namespace, transfer: Transfer): boolean =>
  verifyMessage(ed25519, transfer.from, namespace, encode(TransferBodyCodec, transfer), transfer.signature)

/** Name of a transfer. */
export const transferId = (hasher: Hasher, transfer: Transfer): Digest => hasher.hash(encode(TransferCodec, transfer))
