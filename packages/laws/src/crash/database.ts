/**
 * What the crash sweep must know of a database family: how it is written, read and proven.
 *
 * Terms: a *block* is a number that everything it writes follows from. A *state* is what a database is: the blocks it holds,
 * in order, and the location below which it was pruned.
 */
import { Blob, Bytes, type Codec } from "@coppice/codec"
import type { FamilyName, Location } from "@coppice/merkle"
import type { MemberSpec } from "@coppice/qmdb"

/** A state that a database can be in. */
export interface DatabaseState {
  readonly blocks: ReadonlyArray<number>
  readonly pruned: number
}

/** What the sweep itself asks a reader. A family that prunes nothing tells no location. */
export interface SweptReader {
  readonly pruned?: Location
  readonly retained: ReadonlyArray<Location>
}

/** One family, as the sweep takes it: `B` is its batch type, `R` its reader type. */
export interface SweptDatabase<B, R extends SweptReader> {
  readonly name: string
  readonly spec: MemberSpec<B, R>
  /** Writes a block into a batch over a log of so many operations: from these numbers alone. */
  readonly write: (batch: B, block: number, size: Location) => void
  /** Everything that can be read of the newest applied state, which should be `state`, as text. */
  readonly contents: (reader: R, state: DatabaseState) => string
  /** What `contents` must give, by a model that shares nothing with the database. */
  readonly expected: (state: DatabaseState) => string
  /** Breaks the law when a proof of the newest applied state cannot be made, or does not hold. */
  readonly prove: (reader: R) => void
}

/** Bytes of the keys of swept databases. */
export const KEY_BYTES = 8
/** Bytes of their longest values. */
export const VALUE_BYTES_MAX = 40

/** An encoding and a Merkle family: what each database family is swept in. */
export interface Variant {
  readonly merkle: FamilyName
  readonly fixed: boolean
  readonly key: Codec<Uint8Array>
  readonly value: Codec<Uint8Array>
}

/** A variant. */
export const variantOf = (merkle: FamilyName, fixed: boolean): Variant => ({
  merkle,
  fixed,
  key: fixed ? Bytes(KEY_BYTES) : Blob(KEY_BYTES),
  value: fixed ? Bytes(VALUE_BYTES_MAX) : Blob(VALUE_BYTES_MAX),
})

/** The name of a family in a variant. */
export const nameOf = (family: string, { merkle, fixed }: Variant): string =>
  `${family}, ${fixed ? "fixed" : "variable"}, ${merkle.toUpperCase()}`

/** A value that a variant may hold. */
export const valueFrom = (chance: () => number, { fixed }: Variant): Uint8Array =>
  new Uint8Array(fixed ? VALUE_BYTES_MAX : Math.floor(chance() * VALUE_BYTES_MAX)).fill(Math.floor(chance() * 256))
