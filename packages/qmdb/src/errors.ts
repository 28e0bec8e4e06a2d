/** Errors of the database package. Plain tagged classes: the core is synchronous and uses no Effect. */

/** A batch or layer was used whose branch is closed or does not descend from the tip. Nothing changed. */
export class StaleBatch extends Error {
  readonly _tag = "StaleBatch"
  readonly operation: string
  readonly layer: number
  constructor(operation: string, layer: number) {
    super(`${operation}: layer ${layer} is closed or does not descend from the tip`)
    this.operation = operation
    this.layer = layer
  }
}

/** A key or value has no encoding: it is outside the type its database declares. The batch is unchanged. */
export class OutsideType extends Error {
  readonly _tag = "OutsideType"
  readonly what: "key" | "value"
  readonly type: string
  constructor(what: "key" | "value", type: string, cause: RangeError) {
    super(`${what} outside ${type}: ${cause.message}`, { cause })
    this.what = what
    this.type = type
  }
}

/** A key is longer than `KEY_BYTES_MAX`. The batch is unchanged. */
export class KeyTooLong extends Error {
  readonly _tag = "KeyTooLong"
  readonly actual: number
  readonly allowed: number
  constructor(actual: number, allowed: number) {
    super(`a key of ${actual} bytes; at most ${allowed} are allowed`)
    this.actual = actual
    this.allowed = allowed
  }
}

/** A value is longer than `VALUE_BYTES_MAX`. The batch is unchanged. */
export class ValueTooLong extends Error {
  readonly _tag = "ValueTooLong"
  readonly actual: number
  readonly allowed: number
  constructor(actual: number, allowed: number) {
    super(`a value of ${actual} bytes; at most ${allowed} are allowed`)
    this.actual = actual
    this.allowed = allowed
  }
}

/** A batch would go above a limit. A write that throws it leaves the batch unchanged; a seal consumes the batch. */
export class BatchTooLarge extends Error {
  readonly _tag = "BatchTooLarge"
  readonly limit: "BATCH_WRITES_MAX" | "BATCH_BYTES_MAX" | "LAYER_OPERATION_BYTES_MAX"
  readonly allowed: number
  constructor(limit: BatchTooLarge["limit"], allowed: number) {
    super(`a batch above ${limit} (${allowed})`)
    this.limit = limit
    this.allowed = allowed
  }
}

/** A floor below the floor of the parent state. The batch is unchanged. */
export class FloorRegressed extends Error {
  readonly _tag = "FloorRegressed"
  readonly before: number
  readonly floor: number
  constructor(before: number, floor: number) {
    super(`a floor never regresses: ${before} to ${floor}`)
    this.before = before
    this.floor = floor
  }
}

/** A floor above the location of its own commit. The batch is consumed and no layer is made. */
export class FloorBeyondSize extends Error {
  readonly _tag = "FloorBeyondSize"
  readonly floor: number
  readonly commit: number
  constructor(floor: number, commit: number) {
    super(`floor ${floor} lies beyond its commit at ${commit}`)
    this.floor = floor
    this.commit = commit
  }
}

/** A key of an immutable database was set again, in the same batch or over a state that has it. The batch is unchanged. */
export class KeyAlreadySet extends Error {
  readonly _tag = "KeyAlreadySet"
  readonly key: Uint8Array
  /** Where it is set; undefined when it is staged in this batch. */
  readonly location: number | undefined
  constructor(key: Uint8Array, location: number | undefined) {
    super(`a key is set once, and this one is set ${location === undefined ? "in this batch" : `at ${location}`}`)
    this.key = key
    this.location = location
  }
}

/** An operation was asked for that has been pruned. */
export class LocationPruned extends Error {
  readonly _tag = "LocationPruned"
  readonly location: number
  readonly pruned: number
  constructor(location: number, pruned: number) {
    super(`location ${location} is below ${pruned}, to which the log is pruned`)
    this.location = location
    this.pruned = pruned
  }
}

/** What lies in storage is not a database this code wrote, or rows of it are missing. */
export class MemberCorrupt extends Error {
  readonly _tag = "MemberCorrupt"
  readonly member: number
  readonly detail: string
  constructor(member: number, detail: string) {
    super(`member ${member}: ${detail}`)
    this.member = member
    this.detail = detail
  }
}

/** A proof was asked for operations that are not there. */
export class ProofUnavailable extends Error {
  readonly _tag = "ProofUnavailable"
  readonly reason: "start beyond size" | "size beyond log" | "not a commit boundary" | "pruned"
  readonly start: number
  readonly size: number
  constructor(reason: ProofUnavailable["reason"], start: number, size: number) {
    super(`no proof from location ${start} at size ${size}: ${reason}`)
    this.reason = reason
    this.start = start
    this.size = size
  }
}

/** A prune was asked for a location that the stored state still needs. Nothing changed. */
export class PruneRefused extends Error {
  readonly _tag = "PruneRefused"
  readonly location: number
  readonly allowed: number
  constructor(location: number, allowed: number) {
    super(`cannot prune to location ${location}: the stored state needs everything from ${allowed} on`)
    this.location = location
    this.allowed = allowed
  }
}

/** A rewind was asked for a log size that cannot be gone back to. Nothing changed. */
export class RewindRefused extends Error {
  readonly _tag = "RewindRefused"
  readonly reason: "size beyond log" | "not a commit boundary" | "commit pruned" | "floor pruned" | "outside the window"
  readonly size: number
  readonly stored: number
  constructor(reason: RewindRefused["reason"], size: number, stored: number) {
    super(`cannot rewind a log of ${stored} operations to ${size}: ${reason}`)
    this.reason = reason
    this.size = size
    this.stored = stored
  }
}
