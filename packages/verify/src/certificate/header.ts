/**
 * Headers of standard blocks: what a light client needs of a block, and how a certified one leads back to it.
 *
 *   header   height varint || context || targets || body digest
 *   target   root || start varint || end varint [|| canonical root]       of each database, in declared order
 *   digest   SHA-256(namespace "_COPPICE_STATEFUL_BLOCK" || header)       a namespace is varint(length) || name
 *
 *   header 0 <--parent-- header 1 <--parent-- ... <--payload-- finalization
 *
 * Invariant: the parent is the one that the context names, so it is written once. Whether a target has a canonical root
 * follows from how its database is declared, never from the bytes; a range is never empty.
 */
import { Bytes, bytesEqual, type Codec, DecodeError, encode, Struct, Varint } from "@coppice/codec"
import {
  createNamespace,
  DIGEST_BYTES,
  type Digest,
  type Ed25519,
  type Hasher,
  type Participants,
  signedBytes,
} from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import type { SyncTarget } from "../sync.ts"
import { type ConsensusContext, contextCodec } from "./context.ts"
import { Height } from "./coordinates.ts"
import { type Finalization, verifyFinalization } from "./finalization.ts"

/** What a header commits to of one database: where its log stands, and the root of what is current, where it has one. */
export interface HeaderTarget extends SyncTarget {
  readonly canonical?: Digest
}

/** What a header commits to, by the name of the database. */
export type HeaderTargets = Readonly<Record<string, HeaderTarget>>

/** What of a database decides the encoding of its targets. */
export interface TargetShape {
  /** Whether it has a canonical root: those of the `current` family do. */
  readonly canonical: boolean
}

/** What of the databases decides the encoding of their targets, in declared order. */
export type TargetShapes<T> = { readonly [K in keyof T]: TargetShape }

/** What a block says of itself before its body. */
export interface HeaderParts<T extends HeaderTargets> {
  readonly height: Height
  readonly context: ConsensusContext
  readonly targets: T
}

/** What a block's digest covers. */
export interface Header<T extends HeaderTargets> extends HeaderParts<T> {
  /** Digest of the body. */
  readonly body: Digest
}

const BLOCK = createNamespace("_COPPICE_STATEFUL_BLOCK")

const digest = Bytes(DIGEST_BYTES)

/** Encoding of the targets of one database. */
const targetCodec = ({ canonical }: TargetShape): Codec<HeaderTarget> => ({
  name: canonical ? "target with a canonical root" : "target",
  size: undefined,
  sizeMax: DIGEST_BYTES + 2 * Varint.sizeMax + (canonical ? DIGEST_BYTES : 0),
  write: (writer, target) => {
    if (target.start >= target.end) throw new RangeError(`target: empty range ${target.start}..${target.end}`)
    if ((target.canonical !== undefined) !== canonical) {
      throw new RangeError(`target: ${canonical ? "without" : "with"} a canonical root`)
    }
    digest.write(writer, target.root)
    writer.varint(target.start).varint(target.end)
    if (target.canonical !== undefined) digest.write(writer, target.canonical)
  },
  read: (reader) => {
    const at = reader.offset
    const target = {
      root: digest.read(reader),
      start: Location(reader.varintSafe()),
      end: Location(reader.varintSafe()),
    }
    if (target.start >= target.end) throw new DecodeError("empty target range", at)
    return canonical ? { ...target, canonical: digest.read(reader) } : target
  },
})

/** Encoding of the targets of databases: one after the other in declared order, without a count. */
export const targetsCodec = <T extends HeaderTargets>(shapes: TargetShapes<T>): Codec<T> =>
  Struct(Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, targetCodec(shape)]))) as never

/** Encoding of a header up to its body digest. */
export const headerPartsCodec = <T extends HeaderTargets>(databases: TargetShapes<T>): Codec<HeaderParts<T>> => {
  const targets = targetsCodec<T>(databases)
  return Struct({
    height: { ...Varint, read: (reader) => Height(Varint.read(reader)) } as Codec<Height>,
    context: contextCodec,
    targets,
  })
}

/** Encoding of a header of an application with these databases, in declared order. */
export const headerCodec = <T extends HeaderTargets>(databases: TargetShapes<T>): Codec<Header<T>> => {
  const parts = headerPartsCodec<T>(databases)
  return {
    name: "block header",
    size: undefined,
    sizeMax: parts.sizeMax + DIGEST_BYTES,
    write: (writer, header) => {
      parts.write(writer, header)
      digest.write(writer, header.body)
    },
    read: (reader) => ({ ...parts.read(reader), body: digest.read(reader) }),
  }
}

/** Digest of the block that an encoded header belongs to: what a finalization is about. */
export const headerDigest = (hasher: Hasher, encoded: Uint8Array): Digest => hasher.hash(signedBytes(BLOCK, encoded))

/** What a light client knows of a chain beforehand. */
export interface TrustedParticipants {
  readonly chainId: string
  readonly participants: Participants
  readonly ed25519: Ed25519
  readonly hasher: Hasher
}

/** Why headers are not certified, with the evidence: the index of the header that nothing leads to. */
export type HeaderRejection =
  | { readonly _tag: "NoHeaders" }
  | { readonly _tag: "HeaderUnlinked"; readonly index: number; readonly expected: Digest; readonly actual: Digest }
  | { readonly _tag: "CertificateInvalid"; readonly signers: number; readonly quorum: number }

/**
 * Why headers are not certified; undefined when each is the parent of the next and a quorum finalized the last.
 *
 * Cost: a hash a header, and, when they are linked, one signature check per signer.
 */
export const checkHeaders = <T extends HeaderTargets>(
  { chainId, participants, ed25519, hasher }: TrustedParticipants,
  codec: Codec<Header<T>>,
  headers: ReadonlyArray<Header<T>>,
  finalization: Finalization,
): HeaderRejection | undefined => {
  if (headers.length === 0) return { _tag: "NoHeaders" }
  for (const [index, header] of headers.entries()) {
    const expected = headers[index + 1]?.context.parent.digest ?? finalization.proposal.payload
    const actual = headerDigest(hasher, encode(codec, header))
    if (!bytesEqual(actual, expected)) return { _tag: "HeaderUnlinked", index, expected, actual }
  }
  if (verifyFinalization(ed25519, participants, chainId, finalization)) return undefined
  const { signers } = finalization.certificate
  return { _tag: "CertificateInvalid", signers: signers.length, quorum: participants.quorum }
}
