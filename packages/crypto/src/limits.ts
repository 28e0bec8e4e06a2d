/**
 * Limits of the crypto package, in one place.
 *
 * They bound what a peer can make us allocate or compute, and what a cache may keep.
 */

/** Most participants of one epoch: bounds a certificate to 64 KiB of signatures and a quadratic vote exchange. */
export const PARTICIPANTS_MAX = 1024

/** Longest name of a signing namespace, so that its length is one byte in front of every signed message. */
export const NAMESPACE_BYTES_MAX = 127

/** Most imported public keys that the native Ed25519 provider keeps. */
export const PUBLIC_KEYS_CACHED_MAX = 4096

/** Most imported secret keys that the native Ed25519 provider keeps. */
export const SECRET_KEYS_CACHED_MAX = 256
