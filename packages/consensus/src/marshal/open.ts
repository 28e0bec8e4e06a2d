/**
 * Opening a marshal: its environment, its actor, and the face that callers see.
 *
 *   storage --> past --> actor (a fiber in the scope) --> Marshal
 *
 * Invariant: options out of bounds and foreign environments are refused before anything is written.
 */
import { bytesKey } from "@coppice/codec"
import { Storage } from "@coppice/storage"
import type { Finalization } from "@coppice/verify/certificate"
import { Deferred, Effect, Queue } from "effect"
import { anchorOf, type Block, encodeBlock } from "../block.ts"
import { CorruptRow, InvalidFinalization, type MarshalStopped } from "../errors.ts"
import { CHAIN_ID_BYTES_MAX, HINT_TARGETS_MAX, PENDING_ACKS_LIMIT, PENDING_ACKS_MAX } from "../limits.ts"
import { Actor, type InboxItem } from "./actor.ts"
import { ancestryOf } from "./ancestry.ts"
import type { Marshal, MarshalOptions, Supply } from "./marshal.ts"
import { digestKey, type Hint, heightKey, initialState, type MarshalState, notarizedKey } from "./state.ts"
import { type MarshalStore, openStore, reading } from "./store.ts"
import type { BlockRequest } from "./transport.ts"

const asked = (request: BlockRequest, supply: Supply): BlockRequest | undefined =>
  supply === "fetch" ? request : undefined

const publicFace = <B extends Block>(actor: Actor<B>): Marshal<B> => {
  const { store, options } = actor
  const subscribe: Marshal<B>["subscribe"] = (digest, supply) =>
    actor.subscribe(digestKey(digest), () => store.byDigest(digest), asked({ tag: "block", digest }, supply))
  const parentOf = (block: B): Effect.Effect<B | undefined> =>
    block.height === 0 ? Effect.succeed(undefined) : Effect.catch(subscribe(block.parent, "fetch"), () => Effect.never)
  // A hint, and no fetch of the reader's own: it ends by itself, and no more than `HINTS_MAX` are kept, whoever stops reading.
  const ahead = (block: B): Effect.Effect<B | undefined> => {
    if (block.height === 0) return Effect.succeed(undefined)
    const { context, parent: digest } = block
    const hint: Hint = { request: { tag: "block", digest }, targets: undefined, round: context.round }
    return Effect.map(
      actor.query(() => store.byDigest(digest)),
      (held) => {
        if (held === undefined) actor.tell({ tag: "hinted", hint })
        return held
      },
    )
  }
  const certified = (tag: "finalization" | "floor") => (finalization: Finalization) =>
    Effect.suspend((): Effect.Effect<void, InvalidFinalization | MarshalStopped> => {
      const { round, payload } = finalization.proposal
      return options.verify(finalization)
        ? actor.request({ tag, finalization })
        : Effect.fail(new InvalidFinalization({ round, payload }))
    })
  return {
    pendingAcksMax: actor.pendingAcksMax,
    finalizedAt: (height) => actor.query(() => store.finalizedAt(height)),
    byDigest: (digest) => actor.query(() => store.byDigest(digest)),
    parentOf,
    processedHeight: Effect.sync(() => actor.state.processed),
    floor: Effect.sync(() => actor.state.floor),
    start: (executor, { deliverAfter }) =>
      Effect.suspend(() => {
        if (actor.executor !== undefined) throw new Error("the marshal was started twice")
        actor.executor = executor
        return actor.request({ tag: "start", after: deliverAfter })
      }),
    stopped: Deferred.await(actor.stopped),
    proposed: (round, block) => actor.request({ tag: "cached", kind: "verified", round, block }),
    verified: (round, block) => actor.request({ tag: "cached", kind: "verified", round, block }),
    notarized: (round, block) => actor.request({ tag: "cached", kind: "notarized", round, block }),
    verifiedAt: (round) => actor.query(() => store.cachedAt("verified", round)),
    report: certified("finalization"),
    setFloor: certified("floor"),
    prune: (below) => actor.request({ tag: "prune", below }),
    hintFinalized: (height, targets) =>
      Effect.suspend(() => {
        if (targets.length === 0 || targets.length > HINT_TARGETS_MAX) {
          throw new RangeError(`targets of a hint: ${targets.length} is outside 1..${HINT_TARGETS_MAX}`)
        }
        const request: BlockRequest = { tag: "finalized", height }
        return actor.request({
          tag: "hinted",
          hint: { request, targets: new Set(targets.map(bytesKey)), round: undefined },
        })
      }),
    hintNotarized: (round, digest) =>
      actor.request({ tag: "hinted", hint: { request: { tag: "block", digest }, targets: undefined, round } }),
    finalizationAt: (height) => actor.query(() => store.finalizationAt(height)),
    tip: Effect.sync(() => actor.state.tip),
    newestFinalization: Effect.sync(() => actor.state.newest),
    highestRound: actor.query(() => store.highestRound()),
    subscribe,
    subscribeFinalized: (height, supply) =>
      actor.subscribe(heightKey(height), () => store.finalizedAt(height), asked({ tag: "finalized", height }, supply)),
    subscribeNotarized: (round) =>
      actor.subscribe(notarizedKey(round), () => store.cachedAt("notarized", round), undefined),
    subscriptions: Effect.sync(() => actor.subscriptions),
    ancestry: (start) => ancestryOf(start, parentOf, ahead),
    serve: (request) =>
      actor.query(() => {
        if (request.tag === "finalized") return store.finalizedBytes(request.height)
        const block = store.byDigest(request.digest)
        return block === undefined ? undefined : encodeBlock(options.codec, block)
      }),
  }
}

/** The state that an environment's rows describe. */
const loadState = <B extends Block>(store: MarshalStore<B>, genesis: B): MarshalState => {
  const { highest, ...rest } = store.load()
  const block = highest === undefined ? genesis : store.finalizedAt(highest.height)
  if (block === undefined) {
    throw new CorruptRow({ map: "finalized", key: new Uint8Array(0), reason: `no block at height ${highest?.height}` })
  }
  const finalizedRound = highest?.finalization.proposal.round ?? genesis.context.round
  return initialState({
    ...rest,
    highest: highest?.finalization,
    tip: { ...anchorOf(block), finalizedRound },
  })
}

const requireOptions = <B extends Block>({ chainId, genesis }: MarshalOptions<B>, pendingAcksMax: number): void => {
  const bytes = new TextEncoder().encode(chainId).length
  if (bytes === 0 || bytes > CHAIN_ID_BYTES_MAX) throw new RangeError(`chain id: ${bytes} bytes is outside`)
  if (genesis.height !== 0) throw new RangeError(`genesis: height ${genesis.height} is outside`)
  if (!Number.isInteger(pendingAcksMax) || pendingAcksMax < 1 || pendingAcksMax > PENDING_ACKS_LIMIT) {
    throw new RangeError(`pendingAcksMax: ${pendingAcksMax} is outside 1..${PENDING_ACKS_LIMIT}`)
  }
}

/**
 * Opens the marshal's environment, creating it for a new chain, and runs the marshal until the scope closes.
 *
 * Shape: the environment is `Storage`, opened with `MARSHAL_MAPS` and used by nothing else.
 * Errors: `ForeignEnvironment` when it is another chain's; nothing is written then. RangeError on options out of bounds.
 * Cancellation: closing the scope stops at once; what was not durable is delivered or asked for again after a restart.
 */
export const makeMarshal = Effect.fn("Consensus.makeMarshal")(function* <B extends Block>(options: MarshalOptions<B>) {
  const pendingAcksMax = options.pendingAcksMax ?? PENDING_ACKS_MAX
  requireOptions(options, pendingAcksMax)
  const storage = yield* Storage
  const store = yield* openStore(storage, options.codec, options.chainId, options.genesis)
  const state = yield* reading(() => loadState(store, options.genesis))
  const inbox = yield* Queue.unbounded<InboxItem<B>>()
  const actor = new Actor(options, pendingAcksMax, store, state, inbox)
  yield* Effect.forkScoped(actor.run)
  return publicFace(actor)
})
