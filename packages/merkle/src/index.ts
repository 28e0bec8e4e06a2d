/**
 * MMR and MMB: positions, peaks, roots, batched append, range proofs, pins. Pure and synchronous; runs in a browser.
 */
export * from "./append.ts"
export * from "./family.ts"
export * from "./frontier.ts"
export * from "./limits.ts"
export * from "./location.ts"
export * from "./range-proof.ts"
export * from "./root.ts"
