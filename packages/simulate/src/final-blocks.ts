/**
 * What a world knows to be final: blocks that a node was delivered, certificates that a node has taken in.
 *
 * Invariant: the first block of a height stays; whether others agree is judged elsewhere. Nothing is forgotten.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import type { Block, Finalization, Height } from "@coppice/consensus"

/** Final blocks by height, and their certificates. */
export class FinalBlocks<B extends Block> {
  readonly #blocks: Array<B | undefined> = []
  readonly #certificates = new Map<string, Finalization>()

  /** A node was delivered a block. */
  delivered(block: B): void {
    this.#blocks[block.height] ??= block
  }

  /** A node has taken a certificate in. */
  certified(finalization: Finalization): void {
    this.#certificates.set(bytesKey(finalization.proposal.payload), finalization)
  }

  /** The block of a height; undefined while no node was delivered it. */
  at(height: Height): B | undefined {
    return this.#blocks[height]
  }

  /** Every block, at its height. */
  get chain(): ReadonlyArray<B | undefined> {
    return this.#blocks
  }

  /** The block that a certificate makes final; undefined while no node was delivered it. */
  of({ proposal }: Finalization): B | undefined {
    return this.#blocks.findLast((block) => block !== undefined && bytesEqual(block.digest, proposal.payload))
  }

  /** The newest certificate whose block is known. */
  get newest(): Finalization | undefined {
    const block = this.#blocks.findLast((known) => known !== undefined && this.#certificateOf(known) !== undefined)
    return block && this.#certificateOf(block)
  }

  #certificateOf({ digest }: B): Finalization | undefined {
    return this.#certificates.get(bytesKey(digest))
  }
}
