/** Operating errors of the storage port. Each carries what a person needs to act. */
import { Data } from "effect"

/** A write failed: the handle is dead, the disk holds a prefix of whole batches, this one perhaps among them. */
export class StorageWriteFailed extends Data.TaggedError("StorageWriteFailed")<{
  readonly environment: string
  readonly reason: "disk full" | "io"
  readonly cause: unknown
}> {}

/** A read failed. */
export class StorageReadFailed extends Data.TaggedError("StorageReadFailed")<{
  readonly environment: string
  readonly cause: unknown
}> {}

/** A backup failed. What it left in the directory is not to be used; the environment is as it was. */
export class StorageBackupFailed extends Data.TaggedError("StorageBackupFailed")<{
  readonly environment: string
  readonly directory: string
  readonly cause: unknown
}> {}

/** The handle was used after a failed write, after it was closed, or after power loss. */
export class StorageDead extends Data.TaggedError("StorageDead")<{
  readonly environment: string
  readonly cause: unknown
}> {}

/** A key, a batch or the queue of writes is over its limit; nothing was written and the handle stays alive. */
export class StorageLimitExceeded extends Data.TaggedError("StorageLimitExceeded")<{
  readonly limit:
    | "KEY_BYTES_MIN"
    | "KEY_BYTES_MAX"
    | "VALUE_BYTES_MAX"
    | "BATCH_CHANGES_MAX"
    | "WRITES_PENDING_MAX"
    | "MAPS_MAX"
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
  | StorageBackupFailed
  | StorageDead
  | StorageLimitExceeded
  | StorageOpenFailed
