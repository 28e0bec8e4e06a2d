/**
 * The fastest providers for Node: the public surface of `@coppice/crypto/node`.
 */
export { nodeEd25519 } from "./node-ed25519.ts"
export { opensslHasher as nodeHasher } from "./openssl-hasher.ts"
