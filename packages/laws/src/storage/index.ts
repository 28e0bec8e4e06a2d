/** The laws of the storage port. */
import { bufferLaws } from "./buffers.ts"
import { faultLaws } from "./faults.ts"
import { lifeLaws } from "./life.ts"
import { readLaws } from "./reads.ts"
import { refusalLaws } from "./refusals.ts"
import type { StorageLaw } from "./world.ts"
import { writeLaws } from "./writes.ts"

export { DISK_FULL_BYTES } from "./faults.ts"
export type { StorageLaw, StoragePower, StorageSubject, StorageWorld } from "./world.ts"

/** Every law of the storage port. */
export const STORAGE_LAWS: ReadonlyArray<StorageLaw> = [
  ...readLaws,
  ...writeLaws,
  ...refusalLaws,
  ...bufferLaws,
  ...lifeLaws,
  ...faultLaws,
]
