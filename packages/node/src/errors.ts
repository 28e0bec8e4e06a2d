/**
 * Why a node does not start, or stopped, and what a person can do about it.
 *
 * Terms: *refused* = the directory is not this node's to use; it is left as it was found.
 *
 * Invariant: every error of a node has an explanation, one sentence of fact and one of advice.
 */
import type { InvalidFinalization, MarshalFailure } from "@coppice/consensus"
import type { FatalError, JoinFailure, ReconcileError, SetOpenError } from "@coppice/stateful"
import type { StorageError } from "@coppice/storage"
import { Data } from "effect"

/** Who holds a directory. Told by the holder itself, so it may be missing while that one starts. */
export interface Holder {
  readonly pid: number
  /** ISO 8601. */
  readonly since: string
  readonly command: string
}

/** Another process uses the directory, or this process does already. */
export class DirectoryLocked extends Data.TaggedError("DirectoryLocked")<{
  readonly directory: string
  readonly holder: Holder | undefined
}> {}

/** A file of the directory cannot be read, written or locked. */
export class DirectoryFailed extends Data.TaggedError("DirectoryFailed")<{
  readonly path: string
  readonly operation: "create" | "read" | "write" | "lock"
  readonly cause: unknown
}> {}

/** A directory that was to be looked at holds no node. */
export class NoNode extends Data.TaggedError("NoNode")<{ readonly directory: string }> {}

/** config.json is not what this program writes. */
export class ConfigUnreadable extends Data.TaggedError("ConfigUnreadable")<{
  readonly path: string
  readonly reason: string
}> {}

/** The directory belongs to another chain, application or validator, or has a format this program does not know. */
export class ForeignDirectory extends Data.TaggedError("ForeignDirectory")<{
  readonly directory: string
  readonly field: "format" | "chain" | "application" | "genesis" | "validator"
  readonly expected: string
  readonly actual: string
}> {}

/** The file of the secret key can be used by others than its owner. */
export class SecretExposed extends Data.TaggedError("SecretExposed")<{
  readonly path: string
  /** Permission bits, octal. */
  readonly mode: string
}> {}

/** The file of the secret key does not hold one. */
export class SecretUnreadable extends Data.TaggedError("SecretUnreadable")<{
  readonly path: string
  readonly reason: string
}> {}

/** Why a directory is not opened. Nothing in it was changed. */
export type DirectoryError =
  | DirectoryLocked
  | DirectoryFailed
  | ConfigUnreadable
  | ForeignDirectory
  | SecretExposed
  | SecretUnreadable

/** Why a node does not start. */
export type NodeOpenError =
  | DirectoryError
  | SetOpenError
  | ReconcileError
  | FatalError
  | InvalidFinalization
  | MarshalFailure
  | StorageError

/** Why a running node stopped by itself. */
export type NodeFailure = FatalError | JoinFailure | MarshalFailure

/** The port of an HTTP server cannot be had. */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  readonly host: string
  readonly port: number
  readonly reason: "in use" | "not allowed" | "other"
  readonly cause: unknown
}> {}
