/**
 * Goal: a probe finds a floor that is as new as what one honest validator knew, whatever a faulty third replies, and answers
 * others once it has a marshal.
 * Method: every message near a good one, judged; schedules of any events against a model that keeps the whole round; then
 * committees of honest, silent, late and lying validators in virtual time.
 */
import { bytesKey, encode } from "@coppice/codec"
import { assemble, createParticipants, type KeyPair, keyPairFromSeed, nobleHasher } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { simulate } from "@coppice/simulate"
import { fc, test as property } from "@fast-check/vitest"
import { Clock, Effect, Exit, Fiber, Logger, Option, Scope } from "effect"
import { describe, expect, test } from "vitest"
import {
  attestFinalization,
  type Committee,
  compareRounds,
  Epoch,
  type Finalization,
  finalizationCodec,
  makeProbe,
  type ProbeTransport,
  probeResponseCodec,
  proposalCodec,
  RequestFailed,
  Round,
  View,
  verifyFinalization,
} from "../src/index.ts"
import { PEERS_REMEMBERED_MAX, PROBE_RETRY_MS, PROBE_SERVE_MS } from "../src/limits.ts"
import { createProbe, type ProbeEvent, repliesNeeded, stepProbe } from "../src/probe/core.ts"
import { judgeResponse, messageKind, PROBE_REQUEST } from "../src/probe/messages.ts"

const CHAIN = "probed"
const encodeResponse = (finalization: Finalization): Uint8Array => encode(probeResponseCodec, finalization)
const keysFrom = (first: number, n: number): ReadonlyArray<KeyPair> =>
  Array.from({ length: n }, (_, i) => keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(first + i)))

/** The committee that is asked, of which two may be faulty, and one of a later epoch. */
const [asked, later] = [keysFrom(1, 7), keysFrom(50, 4)]
const stranger = keysFrom(99, 1)[0]!
const MINIMUM = Epoch(1)
const LATER = Epoch(2)
const keysOf = (epoch: number): ReadonlyArray<KeyPair> => (epoch === LATER ? later : asked)

const committee = (keys: ReadonlyArray<KeyPair>): Committee => {
  const participants = createParticipants(keys.map(({ publicKey }) => publicKey))
  return { participants, verify: (it) => verifyFinalization(nodeEd25519, participants, CHAIN, it) }
}
const committees = new Map([
  [MINIMUM, committee(asked)],
  [LATER, committee(later)],
])
const rules = { committeeOf: (epoch: Epoch) => committees.get(epoch), minimumEpoch: MINIMUM }

const signed = (epoch: number, view: number, chainId = CHAIN): Finalization => {
  const payload = nobleHasher.hash(new TextEncoder().encode(`${epoch}/${view}`))
  const proposal = { round: Round(epoch, view), parentView: View(view - 1), payload }
  const keys = keysOf(epoch)
  const participants = createParticipants(keys.map(({ publicKey }) => publicKey))
  const votes = keys.slice(0, participants.quorum).map(({ secret, publicKey }) => {
    return attestFinalization(nodeEd25519, secret, participants.indexOf(publicKey)!, chainId, proposal)
  })
  return { proposal, certificate: assemble(votes, participants.n)! }
}
const finalizations = new Map<string, Finalization>()
/** The finalization of a view, signed once. */
const finalized = (view: number, epoch: number = MINIMUM): Finalization => {
  const key = `${epoch}/${view}`
  const known = finalizations.get(key) ?? signed(epoch, view)
  finalizations.set(key, known)
  return known
}
const member = (i: number): Uint8Array => asked[i]!.publicKey
const viewOf = (floor: Finalization | undefined): number | undefined => floor?.proposal.round.view

describe("judgeResponse", () => {
  const judge = (bytes: Uint8Array, from = member(0)) => judgeResponse(rules, from, bytes)
  const good = encodeResponse(finalized(5))

  test("takes a certificate of the committee asked, and of a later one that is known", () => {
    expect(judge(good)).toEqual({ tag: "reply", finalization: finalized(5) })
    expect(judge(encodeResponse(finalized(9, LATER)))).toEqual({ tag: "reply", finalization: finalized(9, LATER) })
  })

  test("F59 refuses what is cut, extended, too long, signed for something else, or sent by no member", () => {
    const bare = 1 + encode(proposalCodec, finalized(5).proposal).length
    for (let cut = 1; cut < good.length; cut++) {
      expect(judge(good.slice(0, cut)), `${cut} of ${good.length}, proposal ends at ${bare}`).toMatchObject({
        tag: "refused",
      })
    }
    expect(judge(Uint8Array.from([...good, 0]))).toMatchObject({ tag: "refused" })
    const long = new Uint8Array(2 + finalizationCodec.sizeMax)
    long.set(good)
    const tooLong = { tag: "refused", reason: "longer than a response may be" }
    expect(judge(long)).toEqual(tooLong)
    expect(judge(long.subarray(0, -1)), "the longest that is read").not.toEqual(tooLong)
    const { proposal, certificate } = finalized(5)
    const signatures = certificate.signatures.map((signature) => signature.map((byte) => byte ^ 1))
    for (const bad of [
      { proposal, certificate: { ...certificate, signatures } },
      { proposal: finalized(6).proposal, certificate },
      signed(MINIMUM, 5, "another"),
    ]) {
      expect(judge(encodeResponse(bad))).toEqual({ tag: "refused", reason: "invalid certificate" })
    }
    expect(judge(good, stranger.publicKey)).toEqual({ tag: "refused", reason: "not of the committee asked" })
    expect(
      judge(encodeResponse(finalized(9, LATER)), later[0]!.publicKey),
      "a later certificate is good, its sender not",
    ).toEqual({ tag: "refused", reason: "not of the committee asked" })
  })

  test("F60 ignores epochs that are too old or not known, whoever sends them and whatever follows", () => {
    const knowsAll = { ...rules, committeeOf: (epoch: Epoch) => committees.get(epoch) ?? committees.get(MINIMUM) }
    const old = encodeResponse(signed(MINIMUM - 1, 5))
    expect(judgeResponse(knowsAll, member(0), old), "too old, though its committee is known").toEqual({
      tag: "ignored",
    })
    for (const epoch of [MINIMUM - 1, LATER + 1]) {
      const response = encodeResponse(signed(epoch, 5))
      for (const bytes of [response, response.slice(0, -7), Uint8Array.from([...response, 1, 2])]) {
        for (const from of [member(0), stranger.publicKey]) {
          expect(judge(bytes, from), `epoch ${epoch}`).toEqual({ tag: "ignored" })
        }
      }
    }
  })

  test("F59 a message is a request of one byte, or begins as a response does", () => {
    expect(messageKind(PROBE_REQUEST)).toBe("request")
    expect(messageKind(good)).toBe("response")
    for (const bytes of [[], [2], [255], [0, 0], [2, ...good]]) {
      expect(messageKind(Uint8Array.from(bytes)), `${bytes}`).toBeUndefined()
    }
  })
})

const received = (i: number, bytes: Uint8Array, nowMs = 0): ProbeEvent => ({
  type: "received",
  from: member(i),
  bytes,
  nowMs,
  newest: finalized(6),
})
const reply = (i: number, view: number, epoch: number = MINIMUM): ProbeEvent =>
  received(i, encodeResponse(finalized(view, epoch)))

describe("the core", () => {
  /** A probe that somebody waits for. */
  const asking = (given = rules) => {
    const core = createProbe(given)
    expect(stepProbe(core, { type: "wanted" })).toEqual([
      { type: "ask", peers: committees.get(MINIMUM)!.participants.keys },
    ])
    return core
  }
  const decided = (view: number, epoch: number = MINIMUM) => [
    { type: "found", floor: finalized(view, epoch) },
    { type: "rest" },
  ]

  test("f + 1 replies decide, and the highest round wins, not the most frequent", () => {
    expect(repliesNeeded(rules)).toBe(3)
    const core = asking()
    expect(stepProbe(core, reply(0, 4))).toEqual([])
    expect(stepProbe(core, reply(1, 4))).toEqual([])
    expect(stepProbe(core, reply(2, 9))).toEqual(decided(9))
    const crossing = asking()
    for (const event of [reply(0, 70), reply(1, 3, LATER)]) expect(stepProbe(crossing, event)).toEqual([])
    expect(stepProbe(crossing, reply(2, 80)), "a later epoch is newer than any view").toEqual(decided(3, LATER))
  })

  test("F60 a peer is counted once, and what it sends then is not read, though it be garbage", () => {
    const core = asking()
    stepProbe(core, reply(0, 4))
    for (const bytes of [encodeResponse(finalized(8)), Uint8Array.of(7), new Uint8Array(1e6)]) {
      expect(stepProbe(core, received(0, bytes))).toEqual([])
    }
    stepProbe(core, reply(1, 5))
    expect(stepProbe(core, reply(2, 6))).toEqual(decided(6))
    expect(stepProbe(core, received(3, Uint8Array.of(7))), "after the decision nobody is read").toEqual([])
    expect(core.floor).toEqual(finalized(6))
    const after = (["overdue", "unwanted", "wanted"] as const).map((type) => stepProbe(core, { type }))
    expect(after, "after the decision nobody is asked").toEqual([[], [{ type: "rest" }], []])
  })

  test("F59 a bad message blocks its sender and counts for nothing; requests are not answered yet", () => {
    const core = asking()
    expect(stepProbe(core, received(0, Uint8Array.of(7)))).toEqual([{ type: "block", reason: "no message of a probe" }])
    expect(stepProbe(core, received(1, PROBE_REQUEST))).toEqual([])
    const forged = encodeResponse({ ...finalized(5), certificate: finalized(6).certificate })
    expect(stepProbe(core, received(2, forged))).toEqual([{ type: "block", reason: "invalid certificate" }])
    expect(core.replies.size).toBe(0)
  })

  test("replies whose committee is not known any more do not count towards a decision", () => {
    const known = new Map(committees)
    const core = asking({ ...rules, committeeOf: (epoch) => known.get(epoch) })
    stepProbe(core, reply(0, 4, LATER))
    stepProbe(core, reply(1, 4, LATER))
    known.delete(LATER)
    expect(stepProbe(core, reply(2, 4))).toEqual([])
    expect(stepProbe(core, reply(3, 7))).toEqual([])
    expect(stepProbe(core, reply(4, 6))).toEqual(decided(7))
  })

  test("when it is overdue all replies are forgotten and everybody is asked again; not when nobody waits", () => {
    const core = asking()
    stepProbe(core, reply(0, 9))
    stepProbe(core, reply(1, 9))
    expect(stepProbe(core, { type: "overdue" })).toMatchObject([{ type: "ask" }])
    expect(stepProbe(core, reply(2, 4))).toEqual([])
    expect(stepProbe(core, { type: "unwanted" })).toEqual([{ type: "rest" }])
    expect(core.replies.size).toBe(0)
    expect(stepProbe(core, { type: "overdue" })).toEqual([])
    expect(stepProbe(core, reply(3, 4)), "no signature is checked for nobody").toEqual([])
    expect(stepProbe(core, received(3, Uint8Array.of(7)))).toMatchObject([{ type: "block" }])
  })

  test("is attached, and serves once nobody waits: for ever, each peer once in a while", () => {
    const core = asking()
    expect(stepProbe(core, { type: "attached" })).toEqual([])
    expect(stepProbe(core, received(0, PROBE_REQUEST)), "somebody waits").toEqual([])
    expect(stepProbe(core, { type: "unwanted" })).toEqual([{ type: "rest" }])
    expect(core.phase).toBe("service")
    const requested = (i: number, nowMs: number) => stepProbe(core, received(i, PROBE_REQUEST, nowMs))
    const answer = { type: "answer", finalization: finalized(6) }
    const knowsNothing = { ...received(0, PROBE_REQUEST, 1_000), newest: undefined } as ProbeEvent
    expect(stepProbe(core, knowsNothing), "whoever is not answered may ask again at once").toEqual([])
    expect(requested(0, 1_000)).toEqual([answer])
    expect(requested(1, 1_000)).toEqual([answer])
    expect(requested(0, 1_000 + PROBE_SERVE_MS - 1)).toEqual([])
    expect(requested(0, 1_000 + PROBE_SERVE_MS)).toEqual([answer])
    expect(stepProbe(core, reply(2, 4)), "a response is of no interest").toEqual([])
    expect(stepProbe(core, received(2, Uint8Array.of(9)))).toEqual([{ type: "block", reason: "no message of a probe" }])
    expect(requested(0, 20_000)).toEqual([answer])
    for (let i = 0; i < PEERS_REMEMBERED_MAX - 1; i++) {
      const from = new Uint8Array([i & 255, i >> 8])
      stepProbe(core, { ...received(0, PROBE_REQUEST, 20_000), from } as ProbeEvent)
    }
    expect(core.answeredMs.size).toBe(PEERS_REMEMBERED_MAX)
    expect(requested(0, 20_000), "the one answered longest ago is forgotten, and that is not this one").toEqual([])
  })

  test("a probe that is asked after a committee it does not know is a mistake", () => {
    expect(() => createProbe({ ...rules, minimumEpoch: Epoch(8) })).toThrow("no committee for epoch 8")
  })

  // What a peer may send, good for nothing or not.
  const message = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ view: fc.integer({ min: 1, max: 6 }), epoch: fc.constantFrom<number>(MINIMUM, LATER) }),
    },
    fc.constantFrom("garbage", "forged", "old", "unknown", "request"),
  )
  const BYTES: Readonly<Record<string, Uint8Array>> = {
    garbage: Uint8Array.of(9, 9),
    forged: encodeResponse({ ...finalized(5), certificate: finalized(6).certificate }),
    old: encodeResponse(signed(MINIMUM - 1, 3)),
    unknown: encodeResponse(signed(LATER + 1, 3)),
    request: PROBE_REQUEST,
  }
  const happens = fc.oneof(
    { weight: 6, arbitrary: fc.record({ type: fc.constant("received" as const), by: fc.nat(7), message }) },
    fc.constantFrom({ type: "overdue" as const }, { type: "wanted" as const }, { type: "unwanted" as const }),
  )

  property.prop([fc.array(happens, { maxLength: 60 })])(
    "any schedule ends as a model of whole rounds says",
    (schedule) => {
      const core = createProbe(rules)
      /** Good replies of the round, by peer, in order; the model looks at nothing else. */
      let round = new Map<string, Finalization>()
      let waiting = 0
      let floor: Finalization | undefined
      for (const happening of schedule) {
        if (happening.type === "unwanted" && waiting === 0) continue
        if (happening.type !== "received") {
          const actions = stepProbe(core, happening)
          if (happening.type === "wanted") waiting++
          if (happening.type === "unwanted") waiting--
          const isNewRound =
            floor === undefined &&
            ((happening.type === "wanted" && waiting === 1) || (happening.type === "overdue" && waiting > 0))
          expect(actions.some(({ type }) => type === "ask")).toBe(isNewRound)
          if (isNewRound || waiting === 0) round = new Map()
          continue
        }
        const { by, message } = happening
        const from = by === 7 ? stranger.publicKey : member(by)
        const isGood = typeof message !== "string"
        const bytes = isGood ? encodeResponse(finalized(message.view, message.epoch)) : BYTES[message]!
        const actions = stepProbe(core, { ...received(0, bytes), from } as ProbeEvent)
        const key = bytesKey(from)
        const isRead = floor === undefined && !round.has(key)
        const isJudged = isRead && waiting > 0
        const isBad = message === "garbage" ? isRead : isJudged && (message === "forged" || (isGood && by === 7))
        expect(
          actions.some(({ type }) => type === "block"),
          `${JSON.stringify(happening)}`,
        ).toBe(isBad)
        if (isGood && isJudged && by !== 7) round.set(key, finalized(message.view, message.epoch))
        if (floor === undefined && round.size === 3) {
          floor = [...round.values()].toSorted((a, b) => compareRounds(b.proposal.round, a.proposal.round))[0]
          expect(actions).toMatchObject([{ type: "found" }, { type: "rest" }])
          expect(compareRounds(core.floor!.proposal.round, floor!.proposal.round)).toBe(0)
        } else expect(actions.some(({ type }) => type === "found")).toBe(false)
      }
    },
  )
})

describe("makeProbe", () => {
  interface Peer {
    /** What it answers a request with, and after how long. Undefined: nothing, ever. */
    readonly answers?: (asked: number) => Uint8Array | undefined | "unreachable"
    readonly ms?: number
  }
  const honest = (view: number, ms = 10): Peer => ({ answers: () => encodeResponse(finalized(view)), ms })
  const silent: Peer = {}

  /** A probe among peers, one per member of the committee that is asked. */
  const world = Effect.fnUntraced(function* (peers: ReadonlyArray<Peer>, retryMs?: number) {
    const counts = new Map<string, number>()
    const blamed: Array<string> = []
    const requests: Array<Uint8Array> = []
    const transport: ProbeTransport = {
      exchange: (peer, message) =>
        Effect.suspend((): Effect.Effect<Uint8Array | undefined, RequestFailed> => {
          const i = asked.findIndex(({ publicKey }) => bytesKey(publicKey) === bytesKey(peer))
          const count = (counts.get(`${i}`) ?? 0) + 1
          counts.set(`${i}`, count)
          requests.push(message)
          const { answers, ms = 0 } = peers[i]!
          if (answers === undefined) return Effect.never
          const answer = answers(count)
          if (answer === "unreachable") return Effect.fail(new RequestFailed({ reason: "unreachable" }))
          return Effect.delay(Effect.succeed(answer), ms)
        }),
      blame: (peer, reason) =>
        Effect.sync(() => {
          blamed.push(`${asked.findIndex(({ publicKey }) => bytesKey(publicKey) === bytesKey(peer))} ${reason}`)
        }),
    }
    const scope = yield* Scope.make()
    const probe = yield* Scope.provide(
      makeProbe({ ...rules, transport, ...(retryMs === undefined ? {} : { retryMs }) }),
      scope,
    )
    return { probe, counts, blamed, requests, close: Scope.close(scope, Exit.void) }
  })
  const run = <A>(effect: Effect.Effect<A>, seed = 1) => {
    const warnings: Array<unknown> = []
    const logger = Logger.make(({ message }) => void warnings.push(message))
    const { exit, virtualMs, fibersLeft } = simulate(seed, Effect.provide(effect, Logger.layer([logger])))
    if (Exit.isFailure(exit)) throw new Error(`${exit.cause}`)
    expect(fibersLeft).toBe(0)
    return { value: exit.value, virtualMs, warnings }
  }
  const marshal = (view: number | undefined) => ({
    newestFinalization: Effect.sync(() => (view === undefined ? undefined : finalized(view))),
  })

  test("asks everybody at once and takes the newest of the first f + 1 replies", () => {
    const { value, virtualMs } = run(
      Effect.gen(function* () {
        const { probe, counts, requests, blamed, close } = yield* world([
          honest(3, 30),
          honest(8, 20),
          honest(4, 10),
          honest(9, 40),
          silent,
          { answers: () => undefined },
          { answers: () => "unreachable" },
        ])
        expect(counts.size, "nothing is asked before somebody waits").toBe(0)
        const floor = yield* probe.floor
        expect([...counts.values()]).toEqual(asked.map(() => 1))
        expect(requests.every((message) => bytesKey(message) === bytesKey(PROBE_REQUEST))).toBe(true)
        expect(blamed, "who knows nothing, or is not reached, is no liar").toEqual([])
        yield* Effect.sleep(10 * PROBE_RETRY_MS)
        expect([...counts.values()], "nothing is asked after the decision").toEqual(asked.map(() => 1))
        expect(yield* probe.floor, "whoever asks later has the same").toBe(floor)
        expect([...counts.values()]).toEqual(asked.map(() => 1))
        yield* close
        return floor
      }),
    )
    expect(viewOf(value)).toBe(8)
    expect(virtualMs).toBe(30 + 10 * PROBE_RETRY_MS)
  })

  test("asks again after its time until enough reply, and what came late or before does not count", () => {
    const retryMs = 1_000
    const { value, virtualMs, warnings } = run(
      Effect.gen(function* () {
        const late: Peer = { answers: () => encodeResponse(finalized(9)), ms: 1_500 }
        const third = (view: number): Peer => ({
          answers: (n) => (n < 3 ? undefined : encodeResponse(finalized(view))),
        })
        const { probe, counts, close } = yield* world(
          [honest(5), honest(6), late, late, third(2), silent, silent],
          retryMs,
        )
        const floor = yield* probe.floor
        expect(counts.get("0")).toBe(3)
        yield* close
        return floor
      }),
    )
    expect(viewOf(value)).toBe(6)
    expect(virtualMs).toBe(2 * retryMs + 10)
    const told = ["no floor yet: too few of the committee reply, asking again", { replied: 2, needed: 3 }]
    expect(warnings, "people are told each time").toEqual([told, told])
  })

  test("F59 liars are blamed for what they prove, and f of them with old certificates do not hold the floor back", () => {
    for (let seed = 0; seed < 20; seed++) {
      const old = honest(1, 1)
      const forged: Peer = { answers: () => encodeResponse({ ...finalized(5), certificate: finalized(6).certificate }) }
      const garbage: Peer = { answers: () => new Uint8Array(70_000) }
      const { value } = run(
        Effect.gen(function* () {
          const { probe, blamed, close } = yield* world([
            old,
            old,
            honest(7, 5),
            honest(8, 5),
            honest(9, 5),
            forged,
            garbage,
          ])
          const floor = yield* probe.floor
          yield* close
          return { floor, blamed }
        }),
        seed,
      )
      expect(viewOf(value.floor), `seed ${seed}`).toBeGreaterThanOrEqual(7)
      expect(value.blamed.toSorted(), `seed ${seed}`).toEqual(["5 invalid certificate", "6 no message of a probe"])
    }
  })

  test("who gives up is forgotten, and with the last one the asking ends; one that stays has the floor", () => {
    run(
      Effect.gen(function* () {
        const answers = (n: number) => (n < 2 ? undefined : encodeResponse(finalized(4)))
        const { probe, counts, close } = yield* world(asked.map(() => ({ answers })))
        const wait = Effect.forkChild(probe.floor, { startImmediately: true })
        const [first, second] = [yield* wait, yield* wait]
        yield* Fiber.interrupt(first)
        yield* Fiber.interrupt(second)
        yield* Effect.sleep(5 * PROBE_RETRY_MS)
        expect(counts.get("0")).toBe(1)
        const [third, fourth] = [yield* wait, yield* wait]
        yield* Fiber.interrupt(third)
        expect(viewOf(yield* Fiber.join(fourth))).toBe(4)
        expect(counts.get("0")).toBe(2)
        yield* close
      }),
    )
  })

  test("answers others with the newest finalization once it is attached and has no use for replies", () => {
    run(
      Effect.gen(function* () {
        const { probe, blamed, close } = yield* world(asked.map((_, i) => (i < 3 ? honest(i + 1) : silent)))
        const requested = (i: number) => probe.serve(PROBE_REQUEST, member(i))
        expect(yield* requested(0)).toBeUndefined()
        const waiting = yield* Effect.forkChild(probe.floor, { startImmediately: true })
        yield* probe.attach(marshal(6))
        expect(yield* requested(0), "somebody waits yet").toBeUndefined()
        expect(viewOf(yield* Fiber.join(waiting))).toBe(3)
        expect(yield* requested(0)).toEqual(encodeResponse(finalized(6)))
        expect(yield* requested(0)).toBeUndefined()
        yield* Effect.sleep(PROBE_SERVE_MS)
        expect(yield* requested(0)).toEqual(encodeResponse(finalized(6)))
        expect(yield* probe.serve(Uint8Array.of(4), member(2))).toBeUndefined()
        expect(blamed).toEqual(["2 no message of a probe"])
        expect(viewOf(yield* probe.floor), "the floor stays what it was").toBe(3)
        yield* close
      }),
    )
  })

  test("a node that serves and never looked for a floor says nothing while nothing is final, and is not asked for one", () => {
    run(
      Effect.gen(function* () {
        const { probe, close } = yield* world(asked.map(() => silent))
        yield* probe.attach(marshal(undefined))
        expect(yield* probe.serve(PROBE_REQUEST, stranger.publicKey)).toBeUndefined()
        const exit = yield* Effect.exit(probe.floor)
        expect(Exit.isFailure(exit) && `${exit.cause}`).toContain("looks for no floor")
        yield* close
      }),
    )
  })

  test("honest peers that have answered answer again when everybody is asked again", () => {
    const { virtualMs } = run(
      Effect.gen(function* () {
        const hanging: ProbeTransport = { exchange: () => Effect.never, blame: () => Effect.void }
        const peers = yield* Effect.forEach([0, 1, 2], () => makeProbe({ ...rules, transport: hanging }))
        for (const peer of peers.slice(1)) yield* peer.attach(marshal(4))
        const transport: ProbeTransport = {
          ...hanging,
          exchange: (to, message) => {
            const peer = peers[asked.findIndex(({ publicKey }) => bytesKey(publicKey) === bytesKey(to))]
            return peer === undefined ? Effect.never : Effect.delay(peer.serve(message, stranger.publicKey), 10)
          },
        }
        const { floor } = yield* makeProbe({ ...rules, transport })
        yield* Effect.forkChild(Effect.delay(peers[0]!.attach(marshal(5)), 1_000))
        const found = yield* Effect.timeoutOption(floor, 9 * PROBE_RETRY_MS)
        expect(viewOf(Option.getOrUndefined(found))).toBe(5)
      }).pipe(Effect.scoped),
    )
    expect(virtualMs).toBe(PROBE_RETRY_MS + 10)
  })

  test("F59 F60 what a peer sends of its own accord counts as a reply does, and blocks as one does", () => {
    run(
      Effect.gen(function* () {
        const { probe, blamed, close } = yield* world(asked.map(() => silent))
        const startMs = yield* Clock.currentTimeMillis
        const waiting = yield* Effect.forkChild(probe.floor, { startImmediately: true })
        const sends = (i: number, view: number) => probe.serve(encodeResponse(finalized(view)), member(i))
        yield* sends(0, 4)
        yield* sends(0, 9)
        yield* probe.serve(encodeResponse(finalized(9)), stranger.publicKey)
        yield* sends(1, 5)
        expect(yield* sends(2, 3)).toBeUndefined()
        expect(viewOf(yield* Fiber.join(waiting))).toBe(5)
        expect(blamed).toEqual(["-1 not of the committee asked"])
        expect((yield* Clock.currentTimeMillis) - startMs).toBe(0)
        yield* close
      }),
    )
  })

  test("requests under way are given up with the decision and with the last who waits; the time of a round is the limit's", () => {
    run(
      Effect.gen(function* () {
        const hanging = { now: 0 }
        const transport: ProbeTransport = {
          exchange: () =>
            Effect.suspend(() => {
              hanging.now++
              return Effect.onInterrupt(Effect.never, () => Effect.sync(() => hanging.now--))
            }),
          blame: () => Effect.void,
        }
        const probe = yield* makeProbe({ ...rules, transport })
        const first = yield* Effect.forkChild(probe.floor, { startImmediately: true })
        expect(hanging.now).toBe(asked.length)
        yield* Fiber.interrupt(first)
        expect(hanging.now).toBe(0)
        const second = yield* Effect.forkChild(probe.floor, { startImmediately: true })
        for (const i of [0, 1, 2]) yield* probe.serve(encodeResponse(finalized(i + 1)), member(i))
        expect(viewOf(yield* Fiber.join(second))).toBe(3)
        expect(hanging.now).toBe(0)
      }).pipe(Effect.scoped),
    )
    const answers = (n: number) => (n < 2 ? undefined : encodeResponse(finalized(4)))
    const { virtualMs } = run(
      Effect.gen(function* () {
        const { probe, close } = yield* world(asked.map(() => ({ answers })))
        yield* probe.floor
        yield* close
      }),
    )
    expect(virtualMs).toBe(PROBE_RETRY_MS)
  })

  test("to ask again after no time is a mistake", () => {
    for (const retryMs of [0, -1, Number.NaN]) {
      const { value } = run(Effect.exit(world([], retryMs)))
      expect(Exit.isFailure(value) && `${value.cause}`).toContain(`asking again after ${retryMs} ms`)
    }
  })

  test("its end ends the asking, with somebody who waits", () => {
    run(
      Effect.gen(function* () {
        const { probe, counts, close } = yield* world(asked.map(() => silent))
        const waiting = yield* Effect.forkChild(probe.floor, { startImmediately: true })
        yield* close
        yield* Effect.sleep(3 * PROBE_RETRY_MS)
        expect(counts.get("0")).toBe(1)
        yield* Fiber.interrupt(waiting)
      }),
    )
  })
})
