/** Operating errors of the storage port. Each carries what a person needs to act. */
import { Data } from "effect"

/** A write failed: the handle is dead, the disk holds a prefix of whole batches. */
export class StorageWriteFailed extends Data.TaggedError("StorageWriteFailed")<{
  readonly environment: string
  readonly reason: "disk full" | "io" | "closed"
  readonly cause: unknown
}> {}

/** A read failed. */
export class StorageReadFailed extends Data.TaggedError("StorageReadFailed")<{
  readonly environment: string
  readonly cause: unknown
}> {}

/** The handle was used after a failed write or after it was closed. */
export class StorageDead extends Data.TaggedError("StorageDead")<{
  readonly environment: string
  readonly cause: unknown
}> {}

/** A key, value or batch is over its limit; nothing was written and the handle stays alive. */
export class StorageLimitExceeded extends Data.TaggedError("StorageLimitExceeded")<{
  readonly limit: "KEY_BYTES_MAX" | "VALUE_BYTES_MAX" | "BATCH_CHANGES_MAX" | "MAPS_MAX"
  readonly actual: number
  readonly allowed: number
}> {}

/** The environment could not be opened. */
export class StorageOpenFailed extends Data.TaggedError("StorageOpenFailed")<{
  readonly environment: string
  readonly cause: unknown
}> {}

/** Every error of the port. */
export type StorageError =
  | StorageWriteFailed
  | StorageReadFailed
  | StorageDead
  | StorageLimitExceeded
  | StorageOpenFailed
