/** Public surface of the storage package: the port and its in-memory implementation. LMDB is `@coppice/storage/lmdb`. */
export * from "./errors.ts"
export * from "./faults.ts"
export * from "./limits.ts"
export * from "./memory.ts"
export * from "./storage.ts"
