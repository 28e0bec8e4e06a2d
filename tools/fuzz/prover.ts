/**
 * Proofs of published states, made from their operations and activity bits by definition, whole trees at a time.
 *
 * It shares nothing with the prover of the databases but the layout of range proofs.
 * Source: spec qmdb §9.1 and §10.
 */
import type { Digest } from "@coppice/crypto"
import { opensslHasher as hasher } from "@coppice/crypto/node"
import {
  appendLeaves,
  emptyFrontier,
  type Family,
  inactivePeaks,
  Location,
  pinPositions,
  type RangeProof,
  rangeProof,
  runJobs,
  type TreeNode,
} from "@coppice/merkle"
import type { CurrentRangeProof, OperationProof } from "@coppice/verify"
import { alignedInactivePeaks, chunkCounts, type Grafting } from "@coppice/verify/grafting"

/** The operations of a state. */
export interface Log {
  readonly family: Family
  readonly operations: ReadonlyArray<Uint8Array>
  readonly floor: Location
}

/** A log with its tree. */
export class Tree {
  readonly log: Log
  readonly leaves: Location
  readonly #nodes: Uint8Array

  constructor(log: Log) {
    this.log = log
    this.leaves = Location(log.operations.length)
    const offsets = new Uint32Array(this.leaves + 1)
    for (const [i, { length }] of log.operations.entries()) offsets[i + 1] = offsets[i]! + length
    const source = { count: this.leaves, bytes: Buffer.concat(log.operations), offsets }
    this.#nodes = runJobs(hasher, appendLeaves(emptyFrontier(log.family), source)).nodes
  }

  at(position: number): Digest {
    return this.#nodes.slice(position * 32, position * 32 + 32)
  }

  pins(location: Location): ReadonlyArray<Digest> {
    return pinPositions(this.log.family, location).map((position) => this.at(position))
  }

  prove(start: Location, end: Location): RangeProof {
    const { family, floor } = this.log
    const shape = {
      leaves: this.leaves,
      inactivePeaks: inactivePeaks(family, this.leaves, floor),
      bagging: "backward",
    } as const
    return rangeProof(hasher, family, shape, { start, end }, ({ position }) => this.at(position))
  }
}

/** A log with activity bits. */
export class Grafted {
  readonly tree: Tree
  readonly #grafting: Grafting
  readonly #bits: string
  readonly #opsRoot: Digest

  constructor(tree: Tree, grafting: Grafting, bits: string, opsRoot: Digest) {
    this.tree = tree
    this.#grafting = grafting
    this.#bits = bits
    this.#opsRoot = opsRoot
  }

  /** The bytes of a chunk, zero where there are no operations. */
  chunk(index: number): Uint8Array {
    const { chunkBytes, span } = this.#grafting
    const chunk = new Uint8Array(chunkBytes)
    for (let i = 0; i < span; i++) if (this.#bits[index * span + i] === "1") chunk[i >> 3]! |= 1 << (i & 7)
    return chunk
  }

  #digest({ start, height, position }: TreeNode): Digest {
    const { height: grafted, span, family } = this.#grafting
    const own = this.tree.at(position)
    if (height < grafted) return own
    if (height === grafted) {
      const chunk = this.chunk(start / span)
      return chunk.some((byte) => byte !== 0) ? hasher.hash(Buffer.concat([chunk, own])) : own
    }
    const half = 2 ** (height - 1)
    const child = (from: number): Digest => {
      const location = Location(from)
      return this.#digest({ start: location, height: height - 1, position: family.position(location, height - 1) })
    }
    const be8 = Buffer.alloc(8)
    be8.writeBigUInt64BE(BigInt(position))
    return hasher.hash(Buffer.concat([be8, child(start), child(start + half)]))
  }

  prove(start: Location, end: Location): CurrentRangeProof {
    const { leaves, log } = this.tree
    const { complete, graftable, remainder } = chunkCounts(this.#grafting, leaves)
    const inactive = alignedInactivePeaks(this.#grafting, leaves, log.floor)
    const shape = { leaves, inactivePeaks: inactive, bagging: "backward" } as const
    return {
      proof: rangeProof(hasher, log.family, shape, { start, end }, (node) => this.#digest(node)),
      pending: complete > graftable ? hasher.hash(this.chunk(graftable)) : undefined,
      partial: remainder > 0 ? hasher.hash(this.chunk(complete)) : undefined,
      opsRoot: this.#opsRoot,
    }
  }

  /** The chunks that a range reaches into. */
  chunks(start: number, end: number): ReadonlyArray<Uint8Array> {
    const { span } = this.#grafting
    const first = Math.floor(start / span)
    return Array.from({ length: Math.floor((end - 1) / span) - first + 1 }, (_, i) => this.chunk(first + i))
  }

  /** Proof of the operation at a location, whether it is active or not. */
  proveOperation(location: Location): OperationProof {
    const { span } = this.#grafting
    const end = Location(location + 1)
    return { location, chunk: this.chunk(Math.floor(location / span)), range: this.prove(location, end) }
  }
}
