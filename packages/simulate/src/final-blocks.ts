/**
 * What a world knows to be final: blocks that a node was delivered, and blocks that a certificate may name.
 *
 * Invariant: the first block of a height stays; whether others agree is judged elsewhere. Nothing is forgotten. A block is
 * known once a node votes for what others propose, so every block that is certified is.
 */
import { bytesKey } from "@coppice/codec"
import type { Block, Finalization, Height } from "@coppice/consensus"

/** Final blocks by height; they, and all that were voted for, by digest. */
export class FinalBlocks<B extends Block> {
  readonly #blocks: Array<B | undefined> = []
  readonly #known = new Map<string, B>()
  #oldest: Finalization | undefined

  /** A node is about to vote for a block. */
  voted(block: B): void {
    this.#known.set(bytesKey(block.digest), block)
  }

  /** A node was delivered a block. */
  delivered(block: B): void {
    this.#blocks[block.height] ??= block
    this.#known.set(bytesKey(block.digest), block)
  }

  /** A node has taken a certificate in. */
  certified(finalization: Finalization): void {
    this.#oldest ??= finalization
  }

  /** The block of a height; undefined while no node was delivered it. */
  at(height: Height): B | undefined {
    return this.#blocks[height]
  }

  /** Every block, at its height. */
  get chain(): ReadonlyArray<B | undefined> {
    return this.#blocks
  }

  /** The block that a certificate names; undefined when no node of this world has voted for it. */
  of({ proposal }: Finalization): B | undefined {
    return this.#known.get(bytesKey(proposal.payload))
  }

  /** The parent of a block that is known, which is known then too. */
  parentOf({ parent }: B): B {
    return this.#known.get(bytesKey(parent))!
  }

  /** The first certificate that a node took in. */
  get oldest(): Finalization | undefined {
    return this.#oldest
  }
}
