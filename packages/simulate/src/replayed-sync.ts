/**
 * State sync without peers: final blocks, executed apart from executor and marshal, stand in for what peers would send.
 *
 *   each member, at its own speed    block --> block --> at its target: reached --> newer target: on to it
 *                                      |         |
 *   one set under all of them        executed, for whoever is first; flushed now and then
 *   an earlier attempt went further: rewound to the start before any member goes
 *
 * Terms: a member *stands* at the target of the newest block that it was sent. Members ask each for themselves, as if for
 * operations of their own.
 *
 * Invariant: members keep the promises of `MemberSync`, and `makeSetSync` drives them as it does any other. The set comes out
 * only where all of them stand (INV-24), although its rows are there as soon as one of them has come.
 */
import { anchorOf, type Block, Height } from "@coppice/consensus"
import type { SyncHome } from "@coppice/node"
import {
  type Databases,
  type MemberSync,
  makeSetSync,
  memberNames,
  openDatabaseSet,
  type SetSync,
  StateSyncFailed,
  targetsEqual,
} from "@coppice/stateful"
import { onFork } from "@coppice/stateful/diagnosis"
import { Effect, Semaphore } from "effect"

/** What is synced, and how. */
export interface ReplayedSyncOptions<B extends Block> {
  /** The final block of a height, for one member. May wait. */
  readonly blockAt: (height: Height) => Effect.Effect<B>
  /** Milliseconds that a member takes over a block, once it has it; none when not given. */
  readonly blockMs?: (member: string) => number
  /** Blocks from one durable write to the next; 4 when not given. */
  readonly flushEvery?: number
  /** What makes one sync of the members; `makeSetSync` when not given. */
  readonly over?: typeof makeSetSync
  /** Hears that members which were ahead are sent on to where the last one has come. */
  readonly onRegroup?: () => void
  /** Hears that an earlier attempt had gone further than this one starts. */
  readonly onRewind?: () => void
}

const FLUSH_EVERY = 4

/** State sync of an environment. See the head of this file. */
export const replayedSync = <B extends Block, M extends Databases>(
  home: SyncHome<B, M>,
  options: ReplayedSyncOptions<B>,
): SetSync<M> => {
  const { blockAt, blockMs = () => 0, flushEvery = FLUSH_EVERY, over = makeSetSync, onRegroup, onRewind } = options
  const { application } = home
  const { databases } = application
  const failed = Effect.mapError((cause: unknown) => new StateSyncFailed({ member: undefined, cause }))
  const opened = Effect.fnUntraced(function* (start: Height) {
    const set = yield* openDatabaseSet(home)
    if (set.anchor.height <= start) return set
    onRewind?.()
    yield* set.rewind(start)
    return set
  })
  const run = Effect.fnUntraced(function* (...[start, updates]: Parameters<SetSync<M>["run"]>) {
    const set = yield* failed(opened(start.anchor.height))
    const { anchor } = set
    const names = memberNames(databases)
    const stands = new Map(names.map((name) => [name, set.tip.targets[name]]))
    const advance = Effect.fnUntraced(function* (block: B) {
      if (block.height <= set.anchor.height) return
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
    const alone = Semaphore.withPermits(Semaphore.makeUnsafe(1), 1)
    const member = (name: keyof M & string): MemberSync => ({
      run: Effect.fnUntraced(function* (start, { newer, reached, finish }) {
        let at = { height: anchor.height, isDurable: true }
        for (let target = start; ; target = newer.poll() ?? target) {
          if (!targetsEqual(stands.get(name)!, target)) {
            const block = yield* blockAt(Height(at.height + 1))
            const ms = blockMs(name)
            if (ms > 0) yield* Effect.sleep(ms)
            yield* alone(advance(block))
            at = { height: block.height, isDurable: false }
            stands.set(name, application.syncTargets(block)[name])
          } else if (!at.isDurable) {
            yield* alone(set.flush)
            at.isDurable = true
          } else {
            reached(target)
            if (yield* Effect.raceFirst(Effect.as(finish, true), Effect.as(newer.arrival, false))) return
          }
        }
      }),
    })
    const members = Object.fromEntries(names.map((name) => [name, member(name)]))
    const sync = over<M>({
      databases,
      members: members as { readonly [K in keyof M]: MemberSync },
      // A block moves every member, so the set is where they are.
      open: ({ anchor: { height }, targets }) => {
        const apart = names.find((name) => !targetsEqual(stands.get(name)!, targets[name]))
        return apart === undefined
          ? Effect.succeed(set)
          : Effect.fail(new Error(`INV-24 ${apart} is not at height ${height}`))
      },
      ...(onRegroup === undefined ? {} : { onRegroup }),
    })
    return yield* sync.run(start, updates)
  })
  return { run }
}
