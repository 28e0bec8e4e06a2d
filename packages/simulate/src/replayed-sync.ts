/**
 * State sync without peers: final blocks, executed apart from executor and marshal, stand in for what peers would send.
 *
 *   start --> behind: executed up to it, flushed now and then      a newer tip --> recorded --> on to it
 *         \-> ahead (an earlier attempt went further): rewound      no more are waited for --> the set comes out
 *
 * Invariant: it keeps the port's promises (`SetSync`): the set comes out at the newest tip that was recorded, durable, and a
 * later attempt goes on from what an earlier one left on disk.
 */
import { anchorOf, type Block, Height } from "@coppice/consensus"
import type { SyncHome } from "@coppice/node"
import { type Databases, openDatabaseSet, type SetSync, StateSyncFailed } from "@coppice/stateful"
import { onFork } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"

/** What is synced, and how. */
export interface ReplayedSyncOptions<B extends Block> {
  /** The final block of a height. May wait. */
  readonly blockAt: (height: Height) => Effect.Effect<B>
  /** Newer tips to take in before the set comes out; none when not given. */
  readonly updates?: number
  /** Blocks from one durable write to the next; 4 when not given. */
  readonly flushEvery?: number
}

const FLUSH_EVERY = 4

/** State sync of an environment. See the head of this file. */
export const replayedSync = <B extends Block, M extends Databases>(
  home: SyncHome<B, M>,
  { blockAt, updates = 0, flushEvery = FLUSH_EVERY }: ReplayedSyncOptions<B>,
): SetSync<M> => {
  const { application } = home
  const run: SetSync<M>["run"] = (start, newer) =>
    Effect.gen(function* () {
      const set = yield* openDatabaseSet(home)
      const advance = Effect.fnUntraced(function* (block: B) {
        const sealed = yield* onFork({
          set,
          parent: set.tip,
          hook: (batches, tools) => application.apply(block, batches, tools),
          stateOf: (state) => state,
        })
        if (sealed === undefined) throw new Error(`the final block of height ${block.height} is rejected`)
        set.apply(sealed, anchorOf(block))
        if (block.height % flushEvery === 0) yield* set.flush
      })
      const goTo = Effect.fnUntraced(function* (to: Height) {
        if (set.anchor.height > to) yield* set.rewind(to)
        while (set.anchor.height < to) yield* advance(yield* blockAt(Height(set.anchor.height + 1)))
        yield* set.flush
      })
      yield* goTo(start.anchor.height)
      for (let left = updates; left > 0; left--) {
        const tip = yield* newer.next
        tip.recorded()
        yield* goTo(Height(Math.max(tip.anchor.height, set.anchor.height)))
      }
      return set
    }).pipe(Effect.mapError((cause) => new StateSyncFailed({ member: "every member", cause })))
  return { run }
}
