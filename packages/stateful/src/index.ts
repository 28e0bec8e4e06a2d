/** Public surface of the stateful package. */
export * from "./application.ts"
export * from "./database-set.ts"
