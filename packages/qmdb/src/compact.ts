/**
 * Compact databases: the roots of `immutable` and `keyless` without their history.
 *
 *   set, append --> batch --seal--> Layer --apply--> tip --flush--> the last commits, and nothing else
 *
 * What is kept proves the last commit and accepts the next batch. Values can be neither read nor proven here: whoever has
 * the full database proves them against the same root.
 * Source: spec qmdb §13.
 */
import type { Digest } from "@coppice/crypto"
import type { Location, RangeProof } from "@coppice/merkle"
import {
  type CommitOperation,
  type CompactRecord,
  type FormatOptions,
  type ImmutableFormatOptions,
  immutableFormat,
  keylessFormat,
} from "@coppice/verify"
import { compactSpec } from "./internal/compact-member.ts"
import { SetBatch } from "./internal/immutable-batch.ts"
import { setOperations } from "./internal/immutable-family.ts"
import { AppendBatch } from "./internal/keyless-batch.ts"
import { appendOperations } from "./internal/keyless-family.ts"
import type { MemberSpec, SyncTarget } from "./member.ts"

/** A durable state of a compact database, with what a peer needs to take it over and to check it. */
export interface CompactCommit<V> {
  /** The encoded commit and the peaks of the tree below it. */
  readonly record: CompactRecord
  readonly root: Digest
  /** Peaks of the whole tree. */
  readonly peaks: ReadonlyArray<Digest>
  /** The commit: metadata and floor. */
  readonly commit: CommitOperation<V>
  /** That the commit is the last operation under the root. */
  readonly proof: RangeProof
}

/** Reads of a compact database. Synchronous. */
export interface CompactReader<V> {
  /** What a header commits to for the newest applied state. */
  readonly target: SyncTarget
  /** Log sizes of the durable commits that are kept, oldest first: what `rewind` can go back to. */
  readonly retained: ReadonlyArray<Location>
  /** A durable state, the newest one when no size is given. Errors: throws `ProofUnavailable` for one that is not kept. */
  readonly commit: (size?: Location) => CompactCommit<V>
}

/** Declares a compact `immutable` database. Its roots are those of `Qmdb.immutable` with the same options. */
export const compactImmutable = <K, V>(
  options: ImmutableFormatOptions<K, V>,
): MemberSpec<SetBatch<K, V>, CompactReader<V>> => {
  const format = immutableFormat(options)
  const { family, encoding, key, value } = format
  const name = `immutable/compact/${family.name}/${encoding}/${key.codec.name}/${value.codec.name}`
  return compactSpec(name, {
    format,
    openBatch: (home, parent) => new SetBatch<K, V>({ home, format, locate: () => 0 }, parent),
    *operations(batch, branch) {
      return (yield* setOperations(format, batch.writes, branch)).buffer
    },
  })
}

/** Declares a compact `keyless` database. Its roots are those of `Qmdb.keyless` with the same options. */
export const compactKeyless = <V>(options: FormatOptions<V>): MemberSpec<AppendBatch<V>, CompactReader<V>> => {
  const format = keylessFormat(options)
  const { family, encoding, value } = format
  return compactSpec(`keyless/compact/${family.name}/${encoding}/${value.codec.name}`, {
    format,
    openBatch: (home, parent) => new AppendBatch<V>({ home, format }, parent),
    operations: (batch, branch) => appendOperations(format, batch.values, branch),
  })
}
