/**
 * Goal: the laws of transports can fail, and the simulated network keeps them.
 * Method: block exchange in virtual time, and canaries that break one promise of it.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import { type BlockTransport, Height, RequestFailed } from "@coppice/consensus"
import { makeBlockNetwork, simulate } from "@coppice/simulate"
import { Cause, Deferred, Effect, Exit, Semaphore } from "effect"
import { describe, expect, test } from "vitest"
import { LawBroken } from "../src/index.ts"
import {
  answerProbe,
  overProbe,
  TRANSPORT_LAWS,
  type TransportSubject,
  type TransportWorld,
} from "../src/transport/index.ts"
import { transportLaws } from "../src/vitest.ts"

const run = (check: Effect.Effect<void, unknown>): Promise<void> => {
  const { exit } = simulate(1, check)
  return Effect.runPromise(exit)
}

type Break = (transport: BlockTransport, identity: Uint8Array, seen: Set<string>) => Partial<BlockTransport>

/** The simulated network, with calls of its transports replaced. */
const network = (broken: Break = () => ({})): TransportSubject => ({
  make: () =>
    Effect.sync((): TransportWorld => {
      const made = makeBlockNetwork({ latencyMs: { min: 1, max: 20 }, lossChance: 0 })
      const seen = new Set<string>()
      return {
        attach: (identity, answer) =>
          Effect.sync(() => {
            made.attach(identity, answer)
            seen.add(bytesKey(identity))
            const transport = made.transport(identity)
            return { ...transport, ...broken(transport, identity, seen) }
          }),
        detach: (identity) => Effect.sync(() => made.detach(identity)),
        settle: Effect.sleep("10 seconds"),
      }
    }),
  powers: ["peers"],
  seeds: 5,
})

/** What probes have of it. */
const probes: TransportSubject = {
  make: () =>
    Effect.sync((): TransportWorld => {
      const made = makeBlockNetwork({ latencyMs: { min: 1, max: 20 }, lossChance: 0 })
      return {
        attach: (identity, answer) =>
          Effect.sync(() => {
            made.attach(identity, () => Effect.die("blocks are asked for"), answerProbe(answer))
            return overProbe(made.probeTransport(identity))
          }),
        detach: (identity) => Effect.sync(() => made.detach(identity)),
        settle: Effect.sleep("10 seconds"),
      }
    }),
  powers: [],
  seeds: 5,
}

transportLaws("the simulated network", network(), run)
transportLaws("probes on the simulated network", probes, run)

const requesting = (request: (transport: BlockTransport) => BlockTransport["request"]): TransportSubject =>
  network((transport) => ({ request: request(transport) }))

/** Hands out the peer's own buffer. */
const lending = (() => {
  const answers = new Map<string, Parameters<TransportWorld["attach"]>[1]>()
  const sound = network()
  const make: TransportSubject["make"] = (seed) =>
    Effect.map(sound.make(seed), (world) => ({
      ...world,
      attach: (identity: Uint8Array, answer: Parameters<TransportWorld["attach"]>[1]) => {
        answers.set(bytesKey(identity), answer)
        return Effect.map(world.attach(identity, answer), (transport) => ({
          ...transport,
          request: (peer: Uint8Array, request: Parameters<BlockTransport["request"]>[1]) =>
            answers.get(bytesKey(peer))?.(request, identity) ??
            Effect.fail(new RequestFailed({ reason: "unreachable" })),
        }))
      },
    }))
  return { ...sound, make }
})()

/** Requests wait for each other, and cannot be abandoned before they have timed out. */
const serial = (() => {
  const turn = Semaphore.makeUnsafe(1)
  return requesting(
    (transport) => (peer, request) =>
      turn
        .withPermits(1)(transport.request(peer, request))
        .pipe(
          Effect.timeoutOrElse({
            duration: "1 minute",
            orElse: () => Effect.fail(new RequestFailed({ reason: "too late" })),
          }),
          Effect.uninterruptible,
        ),
  )
})()

/** Requests share a line, and whoever hangs up cuts it for all. */
const oneLine = network((transport) => {
  let line = Deferred.makeUnsafe<never, RequestFailed>()
  const hangUp = Effect.suspend(() => {
    const cut = line
    line = Deferred.makeUnsafe()
    return Deferred.fail(cut, new RequestFailed({ reason: "cut" }))
  })
  return {
    request: (peer, asked) =>
      Effect.suspend(() => Effect.raceFirst(transport.request(peer, asked), Deferred.await(line))).pipe(
        Effect.onInterrupt(() => hangUp),
      ),
  }
})

/** Tells each peer that it asks itself. */
const nameless = (() => {
  const sound = network()
  const make: TransportSubject["make"] = (seed) =>
    Effect.map(sound.make(seed), (world) => ({
      ...world,
      attach: (identity: Uint8Array, answer: Parameters<TransportWorld["attach"]>[1]) =>
        world.attach(identity, (request) => answer(request, identity)),
    }))
  return { ...sound, make }
})()

const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, TransportSubject]>]> = [
  ["the answer is what", [["lends the peer's buffer", lending]]],
  [
    "a peer that does not have it",
    [
      [
        "takes absent for empty",
        requesting(
          (transport) => (peer, asked) =>
            Effect.map(transport.request(peer, asked), (bytes) => bytes ?? new Uint8Array(0)),
        ),
      ],
      [
        "takes empty for absent",
        requesting(
          (transport) => (peer, asked) =>
            Effect.map(transport.request(peer, asked), (bytes) => (bytes?.length === 0 ? undefined : bytes)),
        ),
      ],
    ],
  ],
  [
    "a peer is asked",
    [
      [
        "cuts heights to 32 bits",
        requesting(
          (transport) => (peer, asked) =>
            transport.request(
              peer,
              asked.tag === "block" ? asked : { tag: "finalized", height: Height(asked.height % 2 ** 32) },
            ),
        ),
      ],
    ],
  ],
  ["a peer is told who asks", [["tells each peer that it asks itself", nameless]]],
  [
    "peers are the others",
    [
      [
        "counts itself",
        network((transport, identity) => ({ peers: Effect.map(transport.peers, (all) => [...all, identity]) })),
      ],
      [
        "remembers who has left",
        network((_transport, identity, seen) => ({
          peers: Effect.sync(() => [...seen].filter((key) => key !== bytesKey(identity)).map(keyBytes)),
        })),
      ],
    ],
  ],
  [
    "a peer that is not there",
    [
      [
        "says that it does not have it",
        requesting(
          (transport) => (peer, asked) => Effect.catch(transport.request(peer, asked), () => Effect.succeed(undefined)),
        ),
      ],
      ["dies", requesting((transport) => (peer, asked) => Effect.orDie(transport.request(peer, asked)))],
    ],
  ],
  [
    "answers find their requests",
    [
      [
        "gives the first answer to everyone",
        network((transport) => {
          let first: Uint8Array | undefined
          return {
            request: (peer, asked) =>
              Effect.map(transport.request(peer, asked), (bytes) => {
                first ??= bytes
                return first
              }),
          }
        }),
      ],
    ],
  ],
  [
    "a request that is abandoned",
    [
      ["asks one after the other, to the end", serial],
      ["hangs up for all", oneLine],
    ],
  ],
  [
    "blame is taken",
    [
      ["waits for an answer to it", network(() => ({ blame: () => Effect.never }))],
      ["fails", network(() => ({ blame: () => Effect.die("not implemented") }))],
    ],
  ],
]

const lawNamed = (start: string) => {
  const found = TRANSPORT_LAWS.filter(({ name }) => name.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

describe.each(CANARIES)("the law that %s", (start, canaries) => {
  test.each(canaries)("rejects a transport that %s", (_name, subject) => {
    const { exit } = simulate(1, Effect.exit(lawNamed(start).check(subject)))
    const checked = Exit.isSuccess(exit) ? exit.value : exit
    expect(Exit.isFailure(checked) && Cause.squash(checked.cause)).toBeInstanceOf(LawBroken)
  })
})

test("every law of transports has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(TRANSPORT_LAWS))
})
