/** Diagnosis of applications, in development and after the fact: what runs beside the executor and never inside it. */

export { runHook } from "../hooks.ts"
export * from "./batches.ts"
export * from "./call-log.ts"
export * from "./call-order.ts"
export * from "./checked-calls.ts"
export * from "./determinism-guard.ts"
export * from "./divergence.ts"
export * from "./divergence-recorder.ts"
export * from "./executions.ts"
export * from "./forks.ts"
export * from "./replay-divergence.ts"
export * from "./seeded-chance.ts"
