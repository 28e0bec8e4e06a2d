/**
 * Ed25519 by the native library of Node, with the verdict of ZIP-215.
 *
 *   native accepts --> valid
 *   native refuses --> the portable provider decides
 *
 * Invariant (CONS-22): the same verdict as `portableEd25519` on every input. The native rule has no cofactor and wants R
 * in canonical form, so what it accepts ZIP-215 accepts as well; the reverse is not true, hence the second opinion.
 * Honest signatures never need it: only a forger pays, and makes us pay, the slower check.
 */
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto"
import { type Ed25519, isWellSized, PUBLIC_KEY_BYTES, portableEd25519, requireSecret } from "../ed25519.ts"
import { PUBLIC_KEYS_CACHED_MAX, SECRET_KEYS_CACHED_MAX } from "../limits.ts"
import { KeyCache } from "./key-cache.ts"

// DER headers in front of the 32 raw bytes. Source: RFC 8410 sections 4 and 7.
const PKCS8_HEADER = Buffer.from("302e020100300506032b657004220420", "hex")
const SPKI_HEADER = Buffer.from("302a300506032b6570032100", "hex")

const publicKeys = new KeyCache(PUBLIC_KEYS_CACHED_MAX, (bytes) =>
  createPublicKey({ key: Buffer.concat([SPKI_HEADER, bytes]), format: "der", type: "spki" }),
)

const secretKeys = new KeyCache(SECRET_KEYS_CACHED_MAX, (bytes) =>
  createPrivateKey({ key: Buffer.concat([PKCS8_HEADER, bytes]), format: "der", type: "pkcs8" }),
)

const acceptedNatively = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean => {
  try {
    return verify(null, message, publicKeys.get(publicKey), signature)
  } catch {
    return false
  }
}

/** The provider for Node. Cost: about 25 us to sign, 70 us to verify; 1 ms to refuse a signature. */
export const nodeEd25519: Ed25519 = {
  publicKey: (secret) => {
    requireSecret(secret)
    const spki = createPublicKey(secretKeys.get(secret)).export({ format: "der", type: "spki" })
    return new Uint8Array(spki.subarray(spki.length - PUBLIC_KEY_BYTES))
  },
  sign: (secret, message) => {
    requireSecret(secret)
    return new Uint8Array(sign(null, message, secretKeys.get(secret)))
  },
  verify: (publicKey, message, signature) =>
    isWellSized(publicKey, signature) &&
    (acceptedNatively(publicKey, message, signature) || portableEd25519.verify(publicKey, message, signature)),
}
