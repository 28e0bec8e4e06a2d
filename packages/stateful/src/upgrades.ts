/**
 * Protocol upgrades: other rules from a height on.
 *
 *   height     0 ... 99 | 100 ... 249 | 250 ...
 *   rules      first    | from 100    | from 250        chosen by the height of the block a hook works on
 *
 * Terms: a block's *rules* are the hooks of the application that is active at its height. The state moves on: rules change
 * what blocks do to the databases, never which databases there are.
 *
 * Invariant: the height alone decides, so every fork, replay and restart meets the same rules for the same block (INV-40). A
 * replay that crosses an activation executes each block by its own.
 */
import type { Block, Height } from "@coppice/consensus"
import { Effect } from "effect"
import { startingWith } from "./ancestry.ts"
import type { Application } from "./application.ts"
import type { Databases } from "./database-set.ts"
import { runHook } from "./hooks.ts"
import type { StandardApplication } from "./make.ts"
import type { StandardBlock } from "./standard-block.ts"
import { memberNames } from "./targets.ts"

/** Rules that hold from a height on. */
export interface Upgrade<B extends Block, M extends Databases, A extends Application<B, M> = Application<B, M>> {
  /** The first block that follows them; at least 1. */
  readonly from: Height
  readonly application: A
}

/** Rules made by `Application.make` that hold from a height on. */
export type StandardUpgrade<Tx, M extends Databases> = Upgrade<StandardBlock<Tx, M>, M, StandardApplication<Tx, M>>

const requireSameDatabases = (first: Databases, other: Databases, from: number) => {
  const [names, others] = [memberNames(first), memberNames(other)]
  const same =
    names.length === others.length &&
    names.every((name, i) => {
      const [a, b] = [first[name]!, other[others[i]!]!]
      return name === others[i] && a.format === b.format
    })
  if (!same) throw new RangeError(`the rules from height ${from} have other databases than the first`)
}

const upgradeAny = <B extends Block, M extends Databases>(
  first: Application<B, M>,
  upgrades: ReadonlyArray<Upgrade<B, M>>,
): Application<B, M> => {
  let last = 0
  for (const { from, application } of upgrades) {
    if (from <= last) throw new RangeError(`activation heights rise from 1 on, got ${from} after ${last}`)
    requireSameDatabases(first.databases, application.databases, from)
    last = from
  }
  const at = (height: number): Application<B, M> =>
    upgrades.findLast(({ from }) => from <= height)?.application ?? first
  return {
    name: first.name,
    databases: first.databases,
    genesis: first.genesis,
    codec: at(last).codec,
    syncTargets: (block) => at(block.height).syncTargets(block),
    propose: (context, ancestry, batches, tools) =>
      Effect.flatMap(ancestry.next, (parent) =>
        parent === undefined
          ? Effect.succeed(undefined)
          : runHook(() => at(parent.height + 1).propose(context, startingWith([parent], ancestry), batches, tools)),
      ),
    // A stream without a candidate decides nothing.
    verify: (context, ancestry, batches, tools) =>
      Effect.flatMap(ancestry.next, (block) =>
        block === undefined
          ? Effect.never
          : runHook(() => at(block.height).verify(context, startingWith([block], ancestry), batches, tools)),
      ),
    apply: (block, batches, tools) => at(block.height).apply(block, batches, tools),
    finalized: (block, ...state) => at(block.height).finalized?.(block, ...state) ?? Effect.void,
  }
}

const upgradeStandard = <Tx, M extends Databases>(
  first: StandardApplication<Tx, M>,
  upgrades: ReadonlyArray<StandardUpgrade<Tx, M>>,
): StandardApplication<Tx, M> => {
  const { transaction, blocks } = upgrades.at(-1)?.application ?? first
  return {
    ...upgradeAny<StandardBlock<Tx, M>, M>(first, upgrades),
    transaction,
    blocks,
    withInputs: (inputs) =>
      upgradeStandard(
        first.withInputs(inputs),
        upgrades.map(({ from, application }) => ({ from, application: application.withInputs(inputs) })),
      ),
  }
}

const isStandard = (application: object): application is StandardApplication<unknown, Databases> =>
  "withInputs" in application

/**
 * One application whose rules change at the heights given. Name, genesis and databases are those of the first; the codec is
 * that of the last, which must read and write every earlier block as its own time did. Made of applications that
 * `Application.make` made, it is one like them: one source of transactions serves all its rules.
 *
 * Throws RangeError unless the heights rise from 1 on and all have the same databases.
 */
export const upgrade: {
  <Tx, M extends Databases>(
    first: StandardApplication<Tx, M>,
    upgrades: ReadonlyArray<StandardUpgrade<Tx, M>>,
  ): StandardApplication<Tx, M>
  <B extends Block, M extends Databases>(
    first: Application<B, M>,
    upgrades: ReadonlyArray<Upgrade<B, M>>,
  ): Application<B, M>
} = ((first: Application<Block, Databases>, upgrades: ReadonlyArray<Upgrade<Block, Databases>>) =>
  [first, ...upgrades.map(({ application }) => application)].every(isStandard)
    ? upgradeStandard(first as never, upgrades as never)
    : upgradeAny(first, upgrades)) as never
