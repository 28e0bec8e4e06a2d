/**
 * Goal: a node brings its databases from peers when its plan says so, and only then; whatever cuts it off, it goes on from
 * its recorded floor, and a floor that does not verify leaves no trace.
 * Method: a validator and a follower on LMDB; the follower hears of finalizations from the test and fetches blocks from the
 * validator; state sync replays the validator's blocks.
 */
import { Epoch, type Finalization, Height, makeProbe, verifyFinalization } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { makeBlockNetwork, replayedSync } from "@coppice/simulate"
import { openSyncPlan, StateSyncFailed, targetsEqual } from "@coppice/stateful"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Queue, Scope } from "effect"
import { describe, expect } from "vitest"
import {
  explain,
  joinNode,
  keepSecret,
  listen,
  makeJoiningApp,
  NodeApi,
  type NodeOptions,
  nodePaths,
  openNode,
  type RunningNode,
  type StateSync,
} from "../src/index.ts"
import { imageOf, temporaryDirectory } from "./support/temporary.ts"
import { driveTo, fullMempool, makeToy, type ToyBlock, type ToyDatabases, toyOptions } from "./support/toy.ts"

type Node = RunningNode<ToyBlock, ToyDatabases>
type Sync = StateSync<ToyBlock, ToyDatabases>

const HEIGHTS = 12
const nobody = { next: Effect.succeed(undefined) }

const blockOf = ({ marshal }: Node, height: Height) => Effect.map(marshal.finalizedAt(height), (block) => block!)

/** State sync from a validator's blocks. */
const from =
  (validator: Node): Sync["sync"] =>
  (home) =>
    replayedSync(home, { blockAt: (height) => blockOf(validator, height) })

/** A chain with one validator, and the options of a follower that has nothing yet. */
const world = Effect.gen(function* () {
  const network = makeBlockNetwork({ latencyMs: { min: 0, max: 1 }, lossChance: 0 })
  const given = { application: makeToy().withInputs(fullMempool(400)) }
  const validator: Node = yield* openNode(yield* toyOptions(yield* temporaryDirectory, given))
  network.attach(validator.keys.publicKey, validator.marshal.serve)
  yield* driveTo(validator, HEIGHTS)
  const directory = yield* temporaryDirectory
  const secret = yield* keepSecret(nodePaths(directory), Effect.succeed(new Uint8Array(32).fill(77)))
  const { participants } = validator
  const keys = keyPairFromSeed(nodeEd25519, secret)
  const { publicKey } = keys
  network.attach(publicKey, () => Effect.succeed(undefined))
  const transport = network.transport(publicKey)
  const follower: NodeOptions<ToyBlock, ToyDatabases> = yield* toyOptions(directory, { participants, transport })
  const certificate = (height: number): Effect.Effect<Finalization> =>
    Effect.flatMap(validator.marshal.finalizationAt(Height(height)), (finalization) =>
      finalization === undefined ? certificate(height + 1) : Effect.succeed(finalization),
    )
  const floor = yield* certificate(HEIGHTS / 2)
  return { network, validator, follower, keys, directory, floor }
})

/** Lets a follower hear of all that is final, and waits until it has executed it. */
const follow = Effect.fnUntraced(function* (node: Node, validator: Node) {
  const newest = (yield* validator.marshal.newestFinalization)!
  yield* node.marshal.report(newest)
  while (node.set.durable.height < validator.set.durable.height) yield* Effect.sleep(2)
  for (const name of ["counts", "last"] as const) {
    expect(targetsEqual(node.set.tip.targets[name], validator.set.tip.targets[name]), name).toBe(true)
  }
})

const record = (storage: Parameters<Sync["sync"]>[0]) => Effect.map(openSyncPlan(storage), (plan) => plan.record.tag)

describe("a node that joins", () => {
  it.live(
    "INV-17 INV-18 INV-22 serves its port at once, syncs after the record, then follows and starts without it",
    () =>
      Effect.gen(function* () {
        const { validator, follower, floor } = yield* world
        const gate = yield* Deferred.make<void>()
        const attached: number[] = []
        const records: string[] = []
        const stateSync: Sync = {
          floor: Effect.succeed(floor),
          sync: (home) => ({
            run: (start, newer) =>
              Effect.gen(function* () {
                records.push(yield* Effect.orDie(record(home)))
                yield* Deferred.await(gate)
                return yield* from(validator)(home).run(start, newer)
              }),
          }),
          attach: (set) => Effect.sync(() => void attached.push(set.anchor.height)),
        }
        const scope = yield* Scope.make()
        const joining = yield* Scope.provide(joinNode({ ...follower, stateSync, development: true }), scope)
        const app = yield* makeJoiningApp(joining, () => ({ api: NodeApi, handlers: Layer.empty }))
        const { url } = yield* listen({ port: 0 }, app)
        const ask = (path: string) =>
          Effect.promise(async () => {
            const response = await fetch(url + path)
            return { status: response.status, body: await response.json() }
          })
        expect(yield* ask("/health")).toEqual({ status: 200, body: { status: "live" } })
        for (const path of ["/ready", "/status", "/blocks/1"]) {
          expect(yield* ask(path)).toMatchObject({ status: 503, body: { error: "NotReady", reason: "syncing" } })
        }
        const parent = yield* blockOf(validator, Height(HEIGHTS))
        expect(yield* joining.port.propose(parent.context, nobody)).toBeUndefined()
        expect(yield* joining.joining).toMatchObject({ phase: "syncing", executor: undefined })
        yield* Deferred.succeed(gate, undefined)
        const node = yield* joining.running
        expect(records).toEqual(["in progress"])
        expect(attached).toHaveLength(1)
        expect(attached[0]).toBeGreaterThanOrEqual(HEIGHTS / 2)
        yield* follow(node, validator)
        expect(yield* ask("/status")).toMatchObject({ status: 200, body: { height: node.set.anchor.height } })
        expect(yield* node.marshal.finalizedAt(Height(1)), "nothing below the floor was fetched").toBeUndefined()
        expect((yield* node.executor.status).durable.height).toBe(node.set.durable.height)
        yield* Scope.close(scope, Exit.void)
        yield* driveTo(validator, HEIGHTS + 6)
        yield* Effect.scoped(Effect.flatMap(openNode(follower), (again) => follow(again, validator)))
        // F40: a floor is of no use to complete databases.
        const never: Sync = {
          floor: Effect.die("databases that are complete need no floor"),
          sync: () => ({ run: () => Effect.die("databases that are complete are not synced") }),
        }
        yield* Effect.scoped(
          Effect.gen(function* () {
            const again = yield* joinNode({ ...follower, stateSync: never })
            expect(yield* again.joining).toBeUndefined()
            yield* follow(yield* again.running, validator)
          }),
        )
      }).pipe(Effect.scoped),
  )

  it.live("F42 C3 goes on from its recorded floor, or a newer one, after it was cut off; not without state sync", () =>
    Effect.gen(function* () {
      const { validator, follower, directory, floor } = yield* world
      const starts: number[] = []
      const started = yield* Queue.unbounded<void>()
      const hanging: Sync = {
        floor: Effect.succeed(floor),
        sync: () => ({
          run: ({ anchor }) =>
            Effect.andThen(
              Effect.sync(() => {
                starts.push(anchor.height)
                Queue.offerUnsafe(started, undefined)
              }),
              Effect.never,
            ),
        }),
      }
      const cutOff = (stateSync: Sync) =>
        Effect.scoped(
          Effect.gen(function* () {
            yield* joinNode({ ...follower, stateSync })
            yield* Queue.take(started)
          }),
        )
      yield* cutOff(hanging)
      const before = imageOf(directory)
      const refused = yield* Effect.flip(Effect.scoped(openNode(follower)))
      expect(refused).toMatchObject({ _tag: "StateSyncUnfinished", floor: floor.proposal.round })
      expect(explain(refused).advice).toContain("goes on where it was cut off")
      expect(imageOf(directory)).toEqual(before)
      const newest = (yield* validator.marshal.newestFinalization)!
      yield* cutOff({ sync: hanging.sync })
      yield* cutOff({ sync: hanging.sync, floor: Effect.succeed(newest) })
      expect(starts[1]).toBe(starts[0])
      expect(starts[2]).toBeGreaterThan(starts[0]!)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const joining = yield* joinNode({ ...follower, stateSync: { sync: from(validator) } })
          yield* follow(yield* joining.running, validator)
        }),
      )
    }).pipe(Effect.scoped),
  )

  it.live("F44 stops with the reason when state sync fails, and is not running then", () =>
    Effect.gen(function* () {
      const { follower, floor } = yield* world
      const failing: Sync = {
        floor: Effect.succeed(floor),
        sync: () => ({ run: () => Effect.fail(new StateSyncFailed({ member: "last", cause: new Error("no peer") })) }),
      }
      const joining = yield* joinNode({ ...follower, stateSync: failing })
      expect(yield* Effect.flip(joining.running)).toMatchObject({ _tag: "StateSyncFailed", member: "last" })
      const app = yield* makeJoiningApp(joining, () => ({ api: NodeApi, handlers: Layer.empty }))
      const { url } = yield* listen({ port: 0 }, app)
      const answer = yield* Effect.promise(async () => (await fetch(`${url}/ready`)).json())
      expect(answer).toMatchObject({ error: "NotReady", reason: "failed", message: expect.stringContaining("no peer") })
      expect(explain(joining.failure()!).what).toBe("state sync of database last failed: no peer")
    }).pipe(Effect.scoped),
  )

  it.live("finds its floor by a probe of its validators, and asks them no more once its databases are complete", () =>
    Effect.gen(function* () {
      const { network, validator, follower, keys } = yield* world
      const { participants } = validator
      const verify = (it: Finalization) => verifyFinalization(nodeEd25519, participants, follower.chainId, it)
      const rules = {
        committeeOf: (epoch: number) => (epoch === 0 ? { participants, verify } : undefined),
        minimumEpoch: Epoch(0),
      }
      const probeOf = (publicKey: Uint8Array) => makeProbe({ ...rules, transport: network.probeTransport(publicKey) })
      const serving = yield* probeOf(validator.keys.publicKey)
      yield* serving.attach(validator.marshal)
      let requests = 0
      network.attach(validator.keys.publicKey, validator.marshal.serve, (message, from) =>
        Effect.andThen(
          Effect.sync(() => void requests++),
          serving.serve(message, from),
        ),
      )
      const { floor } = yield* probeOf(keys.publicKey)
      const stateSync: Sync = { floor, sync: from(validator) }
      const newest = (yield* validator.marshal.newestFinalization)!
      for (const _start of ["first", "second"]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const joining = yield* joinNode({ ...follower, stateSync })
            const node = yield* joining.running
            yield* follow(node, validator)
            expect(yield* node.marshal.floor).toMatchObject({ round: newest.proposal.round })
          }),
        )
      }
      expect(requests).toBe(1)
      expect(network.blames()).toEqual([])
    }).pipe(Effect.scoped),
  )

  it.live("is refused a floor that its validators did not sign, and its directory stays as it was", () =>
    Effect.gen(function* () {
      const { validator, follower, directory, floor } = yield* world
      const signatures = floor.certificate.signatures.map((signature) => signature.map((byte) => byte ^ 1))
      const forged = { ...floor, certificate: { ...floor.certificate, signatures } }
      const refused = yield* Effect.flip(
        Effect.scoped(joinNode({ ...follower, stateSync: { floor: Effect.succeed(forged), sync: from(validator) } })),
      )
      expect(refused).toMatchObject({ _tag: "InvalidFinalization", round: floor.proposal.round })
      expect(explain(refused).what).toContain("is not one of this chain's validators")
      expect(imageOf(directory).some((line) => line.startsWith("/config.json"))).toBe(false)
      // Nothing is recorded: a node that starts now begins at genesis.
      yield* Effect.scoped(Effect.flatMap(openNode(follower), (node) => follow(node, validator)))
    }).pipe(Effect.scoped),
  )
})
