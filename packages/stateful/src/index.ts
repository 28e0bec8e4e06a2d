/** Public surface of the stateful package. */
export * from "./application.ts"
export { type BoundSet, bindSet, type SetBinding } from "./binding.ts"
export * from "./database-set.ts"
export * from "./describe.ts"
export * from "./errors.ts"
export * from "./executor/actor.ts"
export * from "./executor/errors.ts"
export * from "./hooks.ts"
export * from "./limits.ts"
export {
  type ApplicationOptions,
  type BlockInfo,
  Rejection,
  type Revertible,
  reject,
  type StandardApplication,
} from "./make.ts"
export * from "./mempool.ts"
export { type MemberIdentity, SET_FORMAT_VERSION, SET_MAPS, type SetIdentity } from "./root-record.ts"
export { openDatabaseSet, type SetOptions } from "./set.ts"
export * from "./standard-block.ts"
export * from "./startup.ts"
export * from "./state-sync/errors.ts"
export { type JoinFailure, type JoiningExecutor, type JoinOptions, type JoinStatus, join } from "./state-sync/join.ts"
export * from "./state-sync/port.ts"
export { makeSetSync, type SetSyncOptions } from "./state-sync/set-sync.ts"
export * from "./sync-plan.ts"
export { initialTargets, memberNames, targetsEqual } from "./targets.ts"
export type { StandardUpgrade, Upgrade } from "./upgrades.ts"
