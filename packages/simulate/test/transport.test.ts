/**
 * Goal: the simulated network delays, loses and cuts off as it is told, and passes nothing but bytes.
 * Method: two nodes in virtual time.
 */
import { type BlockRequest, Height } from "@coppice/consensus"
import { Effect, Exit, Option } from "effect"
import { describe, expect, test } from "vitest"
import { simulate } from "../src/scheduler.ts"
import { makeBlockNetwork } from "../src/transport.ts"

const [A, B] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
const request: BlockRequest = { tag: "finalized", height: Height(7) }
const own = new Uint8Array([1, 2, 3])

const world = (lossChance = 0) => {
  const network = makeBlockNetwork({ latencyMs: { min: 10, max: 20 }, lossChance })
  network.attach(A, () => Effect.succeed(undefined))
  network.attach(B, (asked) => Effect.succeed(asked.tag === "finalized" && asked.height === 7 ? own : undefined))
  return network
}

const ask = (network = world()) =>
  network.transport(A).request(B, request).pipe(Effect.timeoutOption("1 second"), Effect.map(Option.getOrUndefined))

const run = <A, E>(effect: Effect.Effect<A, E>, seed = 1) => {
  const { exit, virtualMs } = simulate(seed, effect)
  if (Exit.isFailure(exit)) throw new Error(`${exit.cause}`)
  return { value: exit.value, virtualMs }
}

describe("the network", () => {
  test("passes a copy of the answer's bytes, once there and once back", () => {
    const { value, virtualMs } = run(ask())
    expect(value).toEqual(own)
    expect(value).not.toBe(own)
    expect(virtualMs).toBeGreaterThanOrEqual(20)
    expect(virtualMs).toBeLessThanOrEqual(40)
  })

  test("loses either message with its chance", () => {
    expect(run(ask(world(1))).value).toBeUndefined()
    const answered = Array.from({ length: 300 }, (_, seed) => run(ask(world(0.5)), seed).value).filter(
      (at) => at !== undefined,
    )
    expect(answered.length).toBeGreaterThan(40)
    expect(answered.length).toBeLessThan(110)
  })

  test("lists the others, and fails at once towards one that is not there or from one that is off", () => {
    const network = world()
    expect(run(network.transport(A).peers).value).toEqual([B])
    network.detach(B)
    expect(run(network.transport(A).peers).value).toEqual([])
    expect(run(Effect.exit(ask(network))).value).toMatchObject({ _tag: "Failure" })
    expect(run(Effect.exit(network.transport(B).request(A, request))).value).toMatchObject({ _tag: "Failure" })
  })

  test("passes copies of what a probe sends and is told, and nothing where no probe is", () => {
    const network = world()
    const message = new Uint8Array([0])
    const heard: Array<Uint8Array> = []
    const exchange = network.probeTransport(A).exchange(B, message)
    expect(run(exchange).value).toBeUndefined()
    network.attach(
      B,
      () => Effect.succeed(undefined),
      (bytes, asker) =>
        Effect.as(
          Effect.sync(() => heard.push(bytes, asker)),
          own,
        ),
    )
    const { value, virtualMs } = run(exchange)
    expect(value).toEqual(own)
    expect(value).not.toBe(own)
    expect(heard).toEqual([message, A])
    expect(heard[0]).not.toBe(message)
    expect(virtualMs).toBeGreaterThanOrEqual(20)
    run(network.probeTransport(A).blame(B, "garbage"))
    expect(network.blames()).toEqual([{ by: A, peer: B, reason: "garbage" }])
  })

  test("a node that leaves while a message is under way neither answers nor hears, even if it comes back", () => {
    for (const gone of [A, B]) {
      const network = world()
      const leaving = Effect.map(Effect.sleep(15), () => {
        network.detach(gone)
        network.attach(gone, () => Effect.succeed(own))
      })
      expect(
        run(Effect.map(Effect.all([ask(network), leaving], { concurrency: 2 }), ([value]) => value)).value,
      ).toBeUndefined()
    }
  })
})
