/** The families by name, for declarations: `Qmdb.any({ key, value })`. */
export { any } from "./any.ts"
export { current } from "./current.ts"
