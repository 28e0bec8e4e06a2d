/**
 * One validator of a devnet: a node that goes down and comes up again behind an address that stays.
 *
 *   requests --> listener --> the app of the node that is up, or a wait for the next one
 *
 * Terms: an *incarnation* is a node from its start to its stop. Figures of a validator count over all its incarnations of
 * this process.
 *
 * Invariant: starts and stops take turns. What one incarnation leaves to the next is what is on disk, and the mempool.
 */
import type { Block, BlockTransport } from "@coppice/consensus"
import type { KeyPair, Participants } from "@coppice/crypto"
import {
  type AppOptions,
  type HttpApp,
  type ListenFailed,
  type Listening,
  listen,
  makeApp,
  type NodeFailure,
  type NodeOpenError,
  openNode,
  type RunningNode,
  unavailable,
} from "@coppice/node"
import type { Application, Databases } from "@coppice/stateful"
import { Deferred, Effect, Exit, Scope, Semaphore } from "effect"
import type { HttpApiGroup } from "effect/http-api"
import { RESTART_WAIT_MS } from "../limits.ts"

/** What a validator is made of. */
export interface ValidatorOptions<B extends Block, M extends Databases, G extends HttpApiGroup.Constraint> {
  readonly index: number
  readonly directory: string
  readonly keys: KeyPair
  readonly participants: Participants
  readonly chainId: string
  readonly application: Application<B, M>
  readonly transport: BlockTransport
  /** 0 takes a free one. */
  readonly port: number
  /** See `NodeOptions`. */
  readonly development: boolean
  /** The API of one incarnation. */
  readonly api: (node: RunningNode<B, M>) => AppOptions<G>
}

/** Counts that start at zero with a node, summed over a validator's incarnations. */
export interface Counts {
  readonly forksPruned: number
  readonly replayed: number
}

/** A validator, up or down. */
export interface Validator<B extends Block, M extends Databases> {
  readonly index: number
  readonly directory: string
  readonly keys: KeyPair
  readonly listening: Listening
  /** The node while it is up. */
  readonly node: () => RunningNode<B, M> | undefined
  readonly counts: Effect.Effect<Counts>
  /** Starts the node. One that is up stays as it is. */
  readonly up: Effect.Effect<RunningNode<B, M>, NodeOpenError>
  /** Stops the node, in order, and frees its directory. */
  readonly down: Effect.Effect<void>
  /** Fails with the first node that failed. */
  readonly failed: Effect.Effect<never, NodeFailure>
}

interface Incarnation<B extends Block, M extends Databases> {
  readonly node: RunningNode<B, M>
  readonly scope: Scope.Closeable
}

/**
 * Listens on the validator's address; its node is down until `up`. Everything ends with the scope.
 *
 * Errors: `ListenFailed`.
 */
export const makeValidator = Effect.fn("Devnet.makeValidator")(function* <
  B extends Block,
  M extends Databases,
  G extends HttpApiGroup.Constraint,
>(options: ValidatorOptions<B, M, G>): Effect.fn.Return<Validator<B, M>, ListenFailed, Scope.Scope> {
  const { index, directory, keys, port } = options
  const failed = yield* Deferred.make<never, NodeFailure>()
  const turn = yield* Semaphore.make(1)
  let app = yield* Deferred.make<HttpApp>()
  let current: Incarnation<B, M> | undefined
  let past: Counts = { forksPruned: 0, replayed: 0 }

  const nobody = Effect.succeed(unavailable(`validator ${index} is restarting`))
  const answer: HttpApp = Effect.suspend(() =>
    Effect.timeoutOrElse(Deferred.await(app), {
      duration: RESTART_WAIT_MS,
      orElse: () => Effect.succeed<HttpApp>(nobody),
    }),
  ).pipe(Effect.flatten)

  const start = Effect.fnUntraced(function* () {
    const node = yield* openNode(options)
    const serving = yield* makeApp(node, options.api(node))
    yield* Effect.forkScoped(Effect.catch(node.failed, (failure) => Deferred.fail(failed, failure)))
    return { node, serving }
  })

  const up = Effect.gen(function* () {
    if (current !== undefined) return current.node
    const scope = yield* Scope.make()
    const { node, serving } = yield* Scope.provide(start(), scope).pipe(
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))),
    )
    current = { node, scope }
    yield* Deferred.succeed(app, serving)
    return node
  })

  const down = Effect.suspend(() => {
    const incarnation = current
    if (incarnation === undefined) return Effect.void
    current = undefined
    app = Deferred.makeUnsafe()
    return Effect.gen(function* () {
      const { forksPruned, replayed } = yield* incarnation.node.executor.status
      past = { forksPruned: past.forksPruned + forksPruned, replayed: past.replayed + replayed }
      yield* Scope.close(incarnation.scope, Exit.void)
    })
  })

  const counts = Effect.suspend(() => {
    if (current === undefined) return Effect.succeed(past)
    return Effect.map(current.node.executor.status, ({ forksPruned, replayed }) => ({
      forksPruned: past.forksPruned + forksPruned,
      replayed: past.replayed + replayed,
    }))
  })

  const listening = yield* listen({ port }, answer)
  yield* Effect.addFinalizer(() => turn.withPermit(down))
  return {
    index,
    directory,
    keys,
    listening,
    node: () => current?.node,
    counts,
    up: turn.withPermit(Effect.uninterruptible(up)),
    down: turn.withPermit(down),
    failed: Deferred.await(failed),
  }
})
