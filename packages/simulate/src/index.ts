/** Public surface of the simulate package. */
export * from "./consensus.ts"
export * from "./schedule.ts"
export * from "./transport.ts"
