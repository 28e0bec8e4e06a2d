/**
 * What a world runs: an application for every validator, and how to judge it.
 *
 * Terms: a *model* computes from the final blocks alone what the databases must hold.
 */
import type { Block } from "@coppice/consensus"
import type { Application, Databases, Readers } from "@coppice/stateful"
import type { BadBlock } from "./schedule.ts"

/** Computes what the databases must hold. */
export interface Model<B extends Block, M extends Databases> {
  /** Takes in the next final block; the first has height 1. */
  readonly advance: (block: B) => void
  /** What differs from the databases, in words; undefined when nothing does. */
  readonly difference: (readers: Readers<M>) => string | undefined
}

/** What a world runs. */
export interface Subject<B extends Block, M extends Databases> {
  /** The application of one validator, anew for every incarnation. */
  readonly application: (validator: number) => Application<B, M>
  /** A block that no honest node may accept, for corrupt leaders. Without it they only equivocate and withhold. */
  readonly corrupt?: (block: B, how: BadBlock) => B
  /** A fresh model; without it contents are not judged beyond their roots. */
  readonly model?: () => Model<B, M>
}
