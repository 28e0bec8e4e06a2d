/**
 * Laws of the transport ports: block exchange as a marshal relies on it, and the exchange of a probe.
 *
 *   asker -- request(peer, key) --> transport ~~~> serve(key) of the peer
 *   asker <-- its bytes, "don't have it", RequestFailed, or nothing at all ~~~
 *
 * A probe's transport is judged as one of blocks whose requests travel as its messages (`overProbe`). It names no peers.
 *
 * Invariant: a transport may lose, delay and refuse. What it gives is what that peer gave for that key, and belongs to the
 * asker. Whoever is named as the asker is the asker: probes count and blame by that name.
 */
import { bytesEqual, bytesKey, decode, encode } from "@coppice/codec"
import {
  type BlockRequest,
  type BlockTransport,
  blockRequestCodec,
  Height,
  type ProbeTransport,
  RequestFailed,
} from "@coppice/consensus"
import { Effect, Exit, Fiber, type Scope } from "effect"
import { chanceOf, claim, type Law, law, type Subject, seededLaw } from "../law.ts"

/** How a node of a world answers. `asker` is the identity of the one that asks. */
export type Answer = (request: BlockRequest, asker: Uint8Array) => Effect.Effect<Uint8Array | undefined>

/** A network on which nothing is lost between nodes that are on it. */
export interface TransportWorld {
  /** Puts a node on the network. */
  readonly attach: (identity: Uint8Array, answer: Answer) => Effect.Effect<BlockTransport, unknown, Scope.Scope>
  /** Takes a node off the network. */
  readonly detach: (identity: Uint8Array) => Effect.Effect<void, unknown>
  /** Lets everything arrive that will. */
  readonly settle: Effect.Effect<void>
}

/** What only some transports can: say who is there. */
export type TransportPower = "peers"

/** A transport under test. */
export type TransportSubject = Subject<TransportWorld, TransportPower>

/** One law of transports. */
export type TransportLaw = Law<TransportWorld, TransportPower>

/** How a node answers messages of probes, if it is to answer as a node of a world does. */
export const answerProbe =
  (answer: Answer) =>
  (message: Uint8Array, asker: Uint8Array): ReturnType<Answer> =>
    answer(decode(blockRequestCodec, message), asker)

/** A probe's transport as one of blocks. It has not the power `peers`. */
export const overProbe = ({ exchange, blame }: ProbeTransport): BlockTransport => ({
  peers: Effect.die(new Error("a probe's transport names no peers")),
  request: (peer, request) => exchange(peer, encode(blockRequestCodec, request)),
  blame,
})

const identity = (n: number): Uint8Array => new Uint8Array(32).fill(n)
const [A, B, C] = [identity(1), identity(2), identity(3)]
const has =
  (bytes: Uint8Array | undefined): Answer =>
  () =>
    Effect.sync(() => bytes)
const nothing = has(undefined)
const at = (height: number): BlockRequest => ({ tag: "finalized", height: Height(height) })

/** The answer to a request that must be answered. */
const answered = Effect.fnUntraced(function* (
  world: TransportWorld,
  request: Effect.Effect<Uint8Array | undefined, RequestFailed>,
  what: string,
) {
  const fiber = yield* Effect.forkChild(request, { startImmediately: true })
  yield* world.settle
  const exit = fiber.pollUnsafe()
  if (exit === undefined) yield* Fiber.interrupt(fiber)
  claim(exit !== undefined && Exit.isSuccess(exit), `${what}: ${exit === undefined ? "no answer" : exit}`)
  return exit.value
})

const bytesWhole: TransportLaw = law(
  "the answer is what the peer gave, byte for byte, and belongs to who asked",
  (world) =>
    Effect.gen(function* () {
      const sizes = [0, 1, 255, 70_000]
      const own = sizes.map((size) => Uint8Array.from({ length: size }, (_, i) => (i * 31 + size) % 256))
      const asker = yield* world.attach(A, nothing)
      yield* world.attach(B, (asked) => Effect.sync(() => (asked.tag === "finalized" ? own[asked.height] : undefined)))
      for (const [height, expected] of own.entries()) {
        const before = Uint8Array.from(expected)
        const got = yield* answered(world, asker.request(B, at(height)), `${expected.length} bytes`)
        claim(got !== undefined && bytesEqual(got, before), `${expected.length} bytes came as ${got?.length ?? "none"}`)
        got.fill(0xee)
        claim(bytesEqual(expected, before), "writing into an answer writes into what the peer holds")
      }
    }),
)

const absent: TransportLaw = law("a peer that does not have it is told apart from one that has it empty", (world) =>
  Effect.gen(function* () {
    const asker = yield* world.attach(A, nothing)
    yield* world.attach(B, nothing)
    yield* world.attach(C, has(new Uint8Array(0)))
    claim((yield* answered(world, asker.request(B, at(1)), "absent")) === undefined, "what is absent came as bytes")
    claim((yield* answered(world, asker.request(C, at(1)), "empty"))?.length === 0, "what is empty came as absent")
  }),
)

const requestWhole: TransportLaw = law("a peer is asked for what was asked for", (world) =>
  Effect.gen(function* () {
    const asked: string[] = []
    const words = (request: BlockRequest): string => bytesKey(encode(blockRequestCodec, request))
    const asker = yield* world.attach(A, nothing)
    yield* world.attach(B, (request) => Effect.sync(() => void asked.push(words(request))))
    const requests: ReadonlyArray<BlockRequest> = [
      at(0),
      at(2 ** 32 + 1),
      at(Number.MAX_SAFE_INTEGER),
      { tag: "block", digest: identity(0) },
      { tag: "block", digest: Uint8Array.from({ length: 32 }, (_, i) => i) },
    ]
    for (const request of requests) yield* answered(world, asker.request(B, request), request.tag)
    claim(asked.join() === requests.map(words).join(), `${asked.length} other requests arrived`)
  }),
)

const askerNamed: TransportLaw = law("a peer is told who asks", (world) =>
  Effect.gen(function* () {
    const askers: string[] = []
    const first = yield* world.attach(A, nothing)
    const second = yield* world.attach(C, nothing)
    yield* world.attach(B, (_request, asker) => Effect.sync(() => void askers.push(bytesKey(asker))))
    for (const asker of [first, second, first]) yield* answered(world, asker.request(B, at(1)), "asking")
    claim(askers.join() === [A, C, A].map(bytesKey).join(), "somebody else is said to have asked")
  }),
)

const peersNamed = (world: TransportWorld) =>
  Effect.gen(function* () {
    const asker = yield* world.attach(A, nothing)
    const named = Effect.map(asker.peers, (found) =>
      found
        .map((key) => key[0])
        .sort()
        .join(),
    )
    claim((yield* named) === "", `alone, a node has peers ${yield* named}`)
    yield* world.attach(B, nothing)
    yield* world.attach(C, nothing)
    yield* world.settle
    claim((yield* named) === "2,3", `of two others it sees ${yield* named}`)
    yield* world.detach(B)
    yield* world.settle
    claim((yield* named) === "3", `after one has left it sees ${yield* named}`)
  })
const peers: TransportLaw = law("peers are the others that are on the network, at the time of asking", peersNamed, [
  "peers",
])

const gone: TransportLaw = law("a peer that is not there answers nothing: the request fails or waits", (world) =>
  Effect.gen(function* () {
    const asker = yield* world.attach(A, nothing)
    yield* world.attach(B, has(Uint8Array.of(1)))
    yield* answered(world, asker.request(B, at(1)), "before it left")
    yield* world.detach(B)
    yield* world.settle
    for (const [who, peer] of [["who left", B] as const, ["who never was", C] as const]) {
      const fiber = yield* Effect.forkChild(asker.request(peer, at(1)), { startImmediately: true })
      yield* world.settle
      const exit = fiber.pollUnsafe()
      yield* Fiber.interrupt(fiber)
      if (exit === undefined) continue
      claim(Exit.isFailure(exit), `a peer ${who} answered`)
      const [reason] = exit.cause.reasons
      claim(reason?._tag === "Fail" && reason.error instanceof RequestFailed, `a peer ${who}: ${exit.cause}`)
    }
  }),
)

const matched: TransportLaw = seededLaw<TransportWorld, TransportPower>(
  "answers find their requests, in whatever order peers give them",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const slow =
          (peer: number): Answer =>
          (request) =>
            Effect.gen(function* () {
              for (let turns = Math.floor(chance() * 20); turns > 0; turns--) yield* Effect.yieldNow
              return request.tag === "finalized" ? Uint8Array.of(peer, request.height) : undefined
            })
        const asker = yield* world.attach(A, nothing)
        yield* world.attach(B, slow(2))
        yield* world.attach(C, slow(3))
        const asked = Array.from({ length: 20 }, (_, height) => [height % 2 === 0 ? B : C, height] as const)
        const answers = yield* Effect.forEach(
          asked,
          ([peer, height]) => answered(world, asker.request(peer, at(height)), `seed ${seed}, height ${height}`),
          { concurrency: "unbounded" },
        )
        for (const [i, [peer, height]] of asked.entries()) {
          const got = answers[i]!.join()
          claim(got === `${peer[0]},${height}`, `seed ${seed}: peer ${peer[0]}, height ${height} came as ${got}`)
        }
      }),
  }),
)

const abandoned: TransportLaw = law("a request that is abandoned ends at once, and takes no other with it", (world) =>
  Effect.gen(function* () {
    const asker = yield* world.attach(A, nothing)
    yield* world.attach(B, (request) =>
      request.tag === "finalized" && request.height === 1 ? Effect.never : Effect.sync(() => Uint8Array.of(7)),
    )
    const hanging = yield* Effect.forkChild(asker.request(B, at(1)), { startImmediately: true })
    const other = yield* Effect.forkChild(asker.request(B, at(2)), { startImmediately: true })
    yield* Effect.forkChild(Fiber.interrupt(hanging), { startImmediately: true })
    yield* world.settle
    claim(hanging.pollUnsafe() !== undefined, "an abandoned request goes on")
    const exit = other.pollUnsafe()
    claim(exit !== undefined && Exit.isSuccess(exit) && exit.value?.[0] === 7, "another request went with it")
    claim((yield* answered(world, asker.request(B, at(3)), "afterwards"))?.[0] === 7, "nothing is answered afterwards")
  }),
)

const blame: TransportLaw = law("blame is taken at once, and the network goes on for everyone else", (world) =>
  Effect.gen(function* () {
    const asker = yield* world.attach(A, nothing)
    yield* world.attach(B, has(Uint8Array.of(2)))
    yield* world.attach(C, has(Uint8Array.of(3)))
    const fiber = yield* Effect.forkChild(asker.blame(B, "garbage"), { startImmediately: true })
    yield* world.settle
    const exit = fiber.pollUnsafe()
    yield* Fiber.interrupt(fiber)
    claim(exit !== undefined && Exit.isSuccess(exit), `blame: ${exit ?? "waits"}`)
    claim((yield* answered(world, asker.request(C, at(1)), "another peer"))?.[0] === 3, "another peer is gone too")
  }),
)

/** Every law of transports. */
export const TRANSPORT_LAWS: ReadonlyArray<TransportLaw> = [
  bytesWhole,
  absent,
  requestWhole,
  askerNamed,
  peers,
  gone,
  matched,
  abandoned,
  blame,
]
