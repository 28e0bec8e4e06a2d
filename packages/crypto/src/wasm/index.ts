/**
 * Fast hashing for any engine with WebAssembly vectors: the public surface of `@coppice/crypto/wasm`.
 *
 * Runs in browsers too; a page whose content policy forbids WebAssembly gets the portable provider's speed.
 */
import { nobleHasher } from "../noble-hasher.ts"
import { createLaneHasher } from "./lane-hasher.ts"

export { createLaneHasher } from "./lane-hasher.ts"

/** Vector lanes over the portable provider: about 7 times its speed on jobs of short preimages. */
export const wasmHasher = createLaneHasher("wasm", nobleHasher)
