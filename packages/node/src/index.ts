/** Public surface of the node package. */
export * from "./directory.ts"
export * from "./errors.ts"
export * from "./explain.ts"
export * from "./hex.ts"
export * from "./limits.ts"
export * from "./lock.ts"
export * from "./node.ts"
export * from "./startup.ts"
