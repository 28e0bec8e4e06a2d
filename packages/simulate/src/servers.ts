/**
 * What the nodes of a world answer their peers: what they have, or for a while a lie.
 *
 *   peer asks --> point passed --> honest answer --> the lie that is told in its place
 *
 * Invariant: every answer that proves itself to be a lie is noted, with whom it was told; no other is (P-9, P-10). What honest
 * nodes tell a probe is noted by the probe's node.
 */
import { bytesEqual, decode } from "@coppice/codec"
import { type Block, probeResponseCodec } from "@coppice/consensus"
import { Effect } from "effect"
import type { FinalBlocks } from "./final-blocks.ts"
import type { NodeRecord } from "./journal.ts"
import { type Lie, lieOf, probeLieOf } from "./liars.ts"
import type { Serve, ServeProbe } from "./transport.ts"
import type { Troubles } from "./troubles.ts"

/** What the servers of a world are made of. */
export interface ServersParts<B extends Block> {
  /** The node of an identity. */
  readonly indexOf: (identity: Uint8Array) => number
  readonly final: FinalBlocks<B>
  readonly troubles: Pick<Troubles, "pass">
  readonly records: ReadonlyArray<NodeRecord>
}

/** See the head of this file. */
export class Servers<B extends Block> {
  /** Answers that prove themselves to be lies. */
  readonly proven: Array<{ readonly to: number; readonly by: number }> = []
  /** Lies that were told, proven or not. */
  told = 0
  readonly #parts: ServersParts<B>
  readonly #lying = new Map<number, Lie>()

  constructor(parts: ServersParts<B>) {
    this.#parts = parts
  }

  /** A node lies from now on, or is honest again. */
  lies(index: number, how: Lie | undefined): void {
    if (how === undefined) this.#lying.delete(index)
    else this.#lying.set(index, how)
  }

  /** Nobody lies any more. */
  end(): void {
    this.#lying.clear()
  }

  /** What a node answers requests for blocks with. */
  readonly blocks = (index: number, honest: Serve): Serve =>
    Effect.fnUntraced({ self: this }, function* (this: Servers<B>, ...asked: Parameters<Serve>) {
      yield* this.#parts.troubles.pass(index, "peer asks")
      const lie = this.#lying.get(index)
      const answer = yield* honest(...asked)
      if (lie === undefined || answer === undefined) return answer
      this.told++
      const [request, asker] = asked
      const told = yield* lieOf(lie, request, answer, (other) => honest(other, asker))
      if (told !== undefined && !bytesEqual(told, answer))
        this.proven.push({ to: this.#parts.indexOf(asker), by: index })
      return told
    })

  /** What it answers probes with. */
  readonly floors = (index: number, honest: ServeProbe): ServeProbe =>
    Effect.fnUntraced({ self: this }, function* (this: Servers<B>, message, asker) {
      const { troubles, records, final, indexOf } = this.#parts
      yield* troubles.pass(index, "peer asks")
      const lie = this.#lying.get(index)
      const answer = yield* honest(message, asker)
      if (answer === undefined) return answer
      const to = indexOf(asker)
      if (lie === undefined) {
        records[to]!.hears(decode(probeResponseCodec, answer).proposal.round)
        return answer
      }
      this.told++
      const { told, isProof } = yield* probeLieOf(lie, answer, final.oldest!)
      if (isProof) this.proven.push({ to, by: index })
      return told
    })
}
