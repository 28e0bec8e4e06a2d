/**
 * The fastest providers for Node: the public surface of `@coppice/crypto/node`.
 */
import { createLaneHasher } from "../wasm/lane-hasher.ts"
import { opensslHasher } from "./openssl-hasher.ts"

export { nodeEd25519 } from "./node-ed25519.ts"
export { opensslHasher } from "./openssl-hasher.ts"

/** The fastest SHA-256 here: jobs of short preimages in vector lanes, the rest by the native library (ADR 0001). */
export const nodeHasher = createLaneHasher("node", opensslHasher)
