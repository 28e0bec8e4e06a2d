/** Public surface of the stateful package. */
export * from "./application.ts"
export * from "./database-set.ts"
export * from "./executor/actor.ts"
export * from "./executor/errors.ts"
