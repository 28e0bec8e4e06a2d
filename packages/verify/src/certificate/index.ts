/**
 * What a light client checks of a chain: certificates of finality and the headers that lead to them. The surface of
 * `@coppice/verify/certificate`. Pure and synchronous; runs in a browser.
 */
export { createParticipants, nobleHasher, type Participants, portableEd25519 } from "@coppice/crypto"
export * from "./context.ts"
export * from "./coordinates.ts"
export * from "./finalization.ts"
export * from "./header.ts"
