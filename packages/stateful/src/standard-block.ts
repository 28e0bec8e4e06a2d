/**
 * A block type that applications get for free: a header that commits to the state, and a body of transactions.
 *
 *   header   height varint || context || targets || body digest           all that a light client needs
 *   body     count varint || transaction*
 *   block    height varint || context || targets || varint(length) body
 *
 *   body digest = SHA-256(namespace "_COPPICE_STATEFUL_BODY"  || body)
 *   digest      = SHA-256(namespace "_COPPICE_STATEFUL_BLOCK" || header)
 *   parent      = SHA-256(namespace "_COPPICE_STATEFUL_ORIGIN" || origin) of the first block, zeros when it has no origin
 *
 * Terms: the *origin* is what a chain begins with beside empty databases. *Targets* are the members' targets in declared order, see targets.ts; a *namespace* is varint(length) || name.
 *
 * Invariant: the parent is the one that the context names, so it is written once and the two cannot disagree. Neither
 * digest travels with a block: both are recomputed on `read`, and an encoding that decodes is the only one of its block.
 */
import { Blob, type ByteReader, ByteWriter, type Codec, decode, encode, List, varintBytes } from "@coppice/codec"
import { type Block, type BlockCodec, type ConsensusContext, Height, Round, View } from "@coppice/consensus"
import { createNamespace, DIGEST_BYTES, type Digest, type Hasher, type Namespace, signedBytes } from "@coppice/crypto"
import {
  type Header,
  type HeaderParts,
  headerCodec,
  headerDigest,
  headerPartsCodec,
  type TargetShapes,
} from "@coppice/verify/certificate"
import type { Targets } from "./application.ts"
import type { Databases } from "./database-set.ts"

const ORIGIN = createNamespace("_COPPICE_STATEFUL_ORIGIN")
const BODY = createNamespace("_COPPICE_STATEFUL_BODY")

/** What a standard block's digest covers. */
export type StandardHeader<M extends Databases> = Header<Targets<M>>

/** A header with its transactions. */
export interface StandardBlock<Tx, M extends Databases> extends StandardHeader<M>, Block {
  readonly transactions: ReadonlyArray<Tx>
}

/** What decides the encoding of an application's blocks. Part of the chain: all nodes have the same. */
export interface StandardBlockOptions<Tx, M extends Databases> {
  /** The members in declared order. */
  readonly databases: TargetShapes<M>
  readonly transaction: Codec<Tx>
  readonly hasher: Hasher
  /** Bytes of all transactions with their count. */
  readonly bodyBytesMax: number
  readonly transactionsMax: number
}

/** Parts of a block that is about to be made. */
export type StandardParts<M extends Databases> = HeaderParts<Targets<M>>

/** Most bytes of the count in front of a body's transactions. */
const COUNT_BYTES_MAX = 5

/**
 * A body that grows by one transaction at a time, so that a long one need not be encoded in one turn.
 *
 * Invariant: what it holds fits into a block.
 */
export class BodyDraft<Tx> {
  /** Bytes and transactions that a provider may offer to an empty draft. */
  readonly room: { readonly bytes: number; readonly transactions: number }
  readonly transactions: Tx[] = []
  readonly #codec: Codec<Tx>
  readonly #encoded = new ByteWriter()

  constructor(codec: Codec<Tx>, bodyBytesMax: number, transactionsMax: number) {
    this.#codec = codec
    this.room = { bytes: bodyBytesMax - COUNT_BYTES_MAX, transactions: transactionsMax }
  }

  /** Encoding of a transaction that there is room for, to be given to `push`; undefined when there is none. */
  fit(transaction: Tx): Uint8Array | undefined {
    if (this.transactions.length >= this.room.transactions) return undefined
    const encoded = encode(this.#codec, transaction)
    return this.#encoded.length + encoded.length <= this.room.bytes ? encoded : undefined
  }

  /** Adds a transaction with the encoding that `fit` gave. */
  push(transaction: Tx, encoded: Uint8Array): void {
    this.transactions.push(transaction)
    this.#encoded.raw(encoded)
  }

  /** The whole body: the canonical encoding of the list of transactions. */
  encoded(): Uint8Array {
    return new ByteWriter(COUNT_BYTES_MAX + this.#encoded.length)
      .varint(this.transactions.length)
      .raw(this.#encoded.finish())
      .finish()
  }
}

/** Blocks of one application: how they are made, read and written. */
export interface StandardBlocks<Tx, M extends Databases> {
  readonly codec: BlockCodec<StandardBlock<Tx, M>>
  /** Encoding of a header alone. */
  readonly header: Codec<StandardHeader<M>>
  /** Digest of the block that a header belongs to: what a finalization is about. */
  readonly digestOf: (header: StandardHeader<M>) => Digest
  /** Makes a block. Throws RangeError when its transactions are more than a block holds. */
  readonly make: (parts: StandardParts<M>, transactions: ReadonlyArray<Tx>) => StandardBlock<Tx, M>
  /** An empty body to be filled. */
  readonly draft: () => BodyDraft<Tx>
  /** Makes a block of a filled body. */
  readonly finish: (parts: StandardParts<M>, draft: BodyDraft<Tx>) => StandardBlock<Tx, M>
  /** The first block: height 0, round 0/0, no leader, no transactions, and the digest of its origin for a parent. */
  readonly genesis: (targets: Targets<M>, origin?: Uint8Array) => StandardBlock<Tx, M>
}

const genesisContext = (digest: Digest): ConsensusContext => ({
  round: Round(0, 0),
  leader: new Uint8Array(32),
  parent: { view: View(0), digest },
})

/**
 * The standard blocks of an application.
 *
 * Bounds: `codec.bytesMax` follows from the options; `read` throws `DecodeError` on anything longer, with more
 * transactions, or not in canonical form. Cost: an encoded body is kept with its block and written again without encoding.
 */
export const standardBlocks = <Tx, M extends Databases>(
  options: StandardBlockOptions<Tx, M>,
): StandardBlocks<Tx, M> => {
  const { hasher, bodyBytesMax } = options
  const parts = headerPartsCodec<Targets<M>>(options.databases)
  const header = headerCodec<Targets<M>>(options.databases)
  const transactions = List(options.transaction, options.transactionsMax)
  const body = Blob(bodyBytesMax)
  const bodies = new WeakMap<object, Uint8Array>()
  const hash = (namespace: Namespace, bytes: Uint8Array): Digest => hasher.hash(signedBytes(namespace, bytes))
  const digestOf = (value: StandardHeader<M>): Digest => headerDigest(hasher, encode(header, value))

  const assemble = (given: StandardParts<M>, items: ReadonlyArray<Tx>, encoded: Uint8Array): StandardBlock<Tx, M> => {
    const { height, context, targets } = given
    const head = { height, context, targets, body: hash(BODY, encoded) }
    const block = { ...head, parent: context.parent.digest, digest: digestOf(head), transactions: items }
    bodies.set(block, encoded)
    return block
  }
  const make = (given: StandardParts<M>, items: ReadonlyArray<Tx>): StandardBlock<Tx, M> => {
    const encoded = encode(transactions, items)
    if (encoded.length > bodyBytesMax) throw new RangeError(`block body: ${encoded.length} bytes is outside`)
    return assemble(given, items, encoded)
  }

  return {
    codec: {
      bytesMax: parts.sizeMax + varintBytes(bodyBytesMax) + bodyBytesMax,
      write: (writer: ByteWriter, block: StandardBlock<Tx, M>) => {
        parts.write(writer, block)
        body.write(writer, bodies.get(block) ?? encode(transactions, block.transactions))
      },
      read: (reader: ByteReader) => {
        const given = parts.read(reader)
        const encoded = body.read(reader)
        return assemble(given, decode(transactions, encoded), encoded)
      },
    },
    header,
    digestOf,
    make,
    draft: () => new BodyDraft(options.transaction, bodyBytesMax, options.transactionsMax),
    finish: (given, draft) => assemble(given, draft.transactions, draft.encoded()),
    genesis: (targets, origin) => {
      const parent = origin === undefined ? new Uint8Array(DIGEST_BYTES) : hash(ORIGIN, origin)
      return make({ height: Height(0), context: genesisContext(parent), targets }, [])
    },
  }
}
