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

/** Most preimages that the vector kernel takes at once. */
export const BATCH_COUNT_MAX = 2048

/** Most bytes of preimages that the vector kernel takes at once: with their digests they stay in the second-level cache. */
export const BATCH_BYTES_MAX = 256 * 1024

/** Longest preimage that is hashed in a lane; longer ones are faster in one native call (bench/hasher.bench.ts). */
export const LANE_BYTES_MAX = 256
