/**
 * Hashing, signatures and certificates that run everywhere: the public surface of `@coppice/crypto`.
 *
 * Nothing here imports a module of Node. Faster providers are in `@coppice/crypto/wasm` and `@coppice/crypto/node`.
 */
export {
  type Attestation,
  assemble,
  attest,
  attestationCodec,
  type Certificate,
  certificateCodec,
  verifyAttestation,
  verifyCertificate,
} from "./certificate.ts"
export {
  type Ed25519,
  type KeyPair,
  keyPairFromSeed,
  PUBLIC_KEY_BYTES,
  portableEd25519,
  SECRET_BYTES,
  SIGNATURE_BYTES,
} from "./ed25519.ts"
export { DIGEST_BYTES, type Digest, type Hasher, type HashJob } from "./hasher.ts"
export { NAMESPACE_BYTES_MAX, PARTICIPANTS_MAX } from "./limits.ts"
export {
  type ConsensusNamespaces,
  consensusNamespaces,
  createNamespace,
  type Namespace,
  signedBytes,
  signMessage,
  verifyMessage,
} from "./namespace.ts"
export { nobleHasher } from "./noble-hasher.ts"
export { createParticipants, type Participants, ParticipantsCodec, quorum } from "./participants.ts"
