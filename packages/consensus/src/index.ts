/** Public surface of the consensus package. What a light client needs of it is `@coppice/verify/certificate`. */
export {
  attestFinalization,
  type ConsensusContext,
  compareRounds,
  contextCodec,
  Epoch,
  type Finalization,
  finalizationCodec,
  Height,
  IDENTITY_BYTES,
  type Proposal,
  proposalCodec,
  Round,
  roundCodec,
  roundKey,
  View,
  verifyFinalization,
} from "@coppice/verify/certificate"
export * from "./block.ts"
export * from "./errors.ts"
export { PENDING_ACKS_MAX } from "./limits.ts"
export * from "./marshal/describe.ts"
export { MARSHAL_MAPS } from "./marshal/layout.ts"
export * from "./marshal/marshal.ts"
export { makeMarshal } from "./marshal/open.ts"
export type { Floor } from "./marshal/state.ts"
export * from "./marshal/transport.ts"
export * from "./port.ts"
export { type Committee, type ProbeRules, probeResponseCodec } from "./probe/messages.ts"
export * from "./probe/probe.ts"
export * from "./wrapper.ts"
