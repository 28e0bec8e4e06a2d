/** The families by name, for declarations: `Qmdb.any({ key, value })`. */
export { any } from "./any.ts"
export { compactImmutable, compactKeyless } from "./compact.ts"
export { current } from "./current.ts"
export { immutable } from "./immutable.ts"
export { keyless } from "./keyless.ts"
