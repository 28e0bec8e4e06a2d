/** Public surface of the node package. */
export * from "./directory.ts"
export * from "./errors.ts"
export * from "./hex.ts"
export * from "./limits.ts"
export * from "./lock.ts"
