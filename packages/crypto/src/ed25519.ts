/**
 * Ed25519 behind one small interface, with one acceptance predicate.
 *
 * Terms: a secret is the 32-byte seed of RFC 8032. ZIP-215 is the rule that says which signatures are valid when points
 * are encoded unusually or have a part of small order: s is below the group order, A and R decode (reduced or not), and
 * [8][s]B = [8]R + [8][k]A. RFC 8032 leaves this open, and implementations differ.
 *
 * Invariant (CONS-22): every provider accepts exactly the signatures that ZIP-215 accepts. A node that accepts a vote
 * which another refuses splits the network. Signatures are deterministic: consensus compares whole signed votes.
 */
import { ed25519 } from "@noble/curves/ed25519.js"

/** Bytes of a secret (a seed). */
export const SECRET_BYTES = 32

/** Bytes of a public key. */
export const PUBLIC_KEY_BYTES = 32

/** Bytes of a signature. */
export const SIGNATURE_BYTES = 64

/**
 * A provider of Ed25519.
 *
 * Errors: RangeError when a secret is not 32 bytes. `verify` never throws: a key or signature of another length, or one
 * that is no point, is a signature that does not verify.
 */
export interface Ed25519 {
  /** The public key of a secret, in a fresh array. */
  readonly publicKey: (secret: Uint8Array) => Uint8Array
  /** The signature of a message, in a fresh array. Equal inputs give equal bytes. */
  readonly sign: (secret: Uint8Array, message: Uint8Array) => Uint8Array
  /** Whether ZIP-215 accepts the signature. */
  readonly verify: (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean
}

/** A secret and its public key. */
export interface KeyPair {
  readonly secret: Uint8Array
  readonly publicKey: Uint8Array
}

/** The key pair of a 32-byte seed, which is copied. Errors: RangeError when the seed has another length. */
export const keyPairFromSeed = (provider: Ed25519, seed: Uint8Array): KeyPair => ({
  secret: new Uint8Array(seed),
  publicKey: provider.publicKey(seed),
})

/** Asserts that a secret has its length. */
export const requireSecret = (secret: Uint8Array): void => {
  if (secret.length !== SECRET_BYTES) throw new RangeError(`secret: ${secret.length} bytes is outside`)
}

/** Whether key and signature have their lengths; those that do not are refused before any provider sees them. */
export const isWellSized = (publicKey: Uint8Array, signature: Uint8Array): boolean =>
  publicKey.length === PUBLIC_KEY_BYTES && signature.length === SIGNATURE_BYTES

/** The provider that runs everywhere, and whose verdict is final. Cost: about 0.4 ms to sign, 0.9 ms to verify. */
export const portableEd25519: Ed25519 = {
  publicKey: (secret) => {
    requireSecret(secret)
    return ed25519.getPublicKey(secret)
  },
  sign: (secret, message) => {
    requireSecret(secret)
    return ed25519.sign(message, secret)
  },
  verify: (publicKey, message, signature) =>
    isWellSized(publicKey, signature) && ed25519.verify(signature, message, publicKey, { zip215: true }),
}
