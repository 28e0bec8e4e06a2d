/** The laws of the storage port. */
import { faultLaws } from "./faults.ts"
import { lifeLaws } from "./life.ts"
import { readLaws } from "./reads.ts"
import type { StorageLaw } from "./world.ts"
import { writeLaws } from "./writes.ts"

export { DISK_FULL_BYTES } from "./faults.ts"
export type { StorageLaw, StoragePower, StorageSubject, StorageWorld } from "./world.ts"

/** Every law of the storage port. */
export const STORAGE_LAWS: ReadonlyArray<StorageLaw> = [...readLaws, ...writeLaws, ...lifeLaws, ...faultLaws]
