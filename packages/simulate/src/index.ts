/** Public surface of the simulate package. */
export { Audit, Notes, note } from "./audit.ts"
export * from "./cluster.ts"
export * from "./consensus.ts"
export type { Drift } from "./incarnation.ts"
export { FORGERIES, type Forgery, LIES, type Lie } from "./liars.ts"
export * from "./links.ts"
export * from "./plan.ts"
export * from "./replayed-sync.ts"
export {
  type BadBlock,
  type ConsensusSchedule,
  DEFAULT_SCHEDULE,
  type Fault,
  MISBEHAVIOURS,
  type Misbehaviour,
} from "./schedule.ts"
export * from "./scheduler.ts"
export * from "./shrink.ts"
export * from "./simulation.ts"
export * from "./subject.ts"
export * from "./transport.ts"
export * from "./world.ts"
