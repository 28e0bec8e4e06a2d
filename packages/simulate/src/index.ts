/** Public surface of the simulate package. */
export { Audit, Notes, note } from "./audit.ts"
export * from "./cluster.ts"
export * from "./consensus.ts"
export { type ConsensusSchedule, DEFAULT_SCHEDULE, type Fault } from "./schedule.ts"
export * from "./scheduler.ts"
export * from "./shrink.ts"
export * from "./simulation.ts"
export * from "./transport.ts"
