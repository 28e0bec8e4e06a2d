/**
 * Goal: the mempool keeps its limits and its order whatever happens to it, and a finalized transaction does not come back.
 * Method: examples for each answer; random histories against a model that is a plain list. Canary: a model that forgets
 * the order of a sender must be told apart.
 */
import { Struct, Text, U32 } from "@coppice/codec"
import { Height } from "@coppice/consensus"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { Mempool, type MempoolLimits } from "../src/index.ts"

interface Tx {
  readonly from: string
  readonly nonce: number
  readonly fee: number
}

const transaction = Struct({ from: Text(8), nonce: U32, fee: U32 })
const tx = (from: string, nonce: number, fee = 0): Tx => ({ from, nonce, fee })

const pool = (limits: Partial<MempoolLimits> = {}): Mempool<Tx> =>
  new Mempool({ transaction, sender: ({ from }) => from, priority: ({ fee }) => fee, limits })

const BYTES = 10
const taken = (from: Mempool<Tx>, bytesMax = 1e6, countMax = 1e6, excluded: ReadonlyArray<Tx> = []) =>
  from
    .take(bytesMax, countMax, new Set(excluded.map(from.idOf)))
    .map(({ transaction: { from, nonce } }) => `${from}${nonce}`)

describe("admission", () => {
  test("the same bytes are one transaction", () => {
    const p = pool()
    const { tag, ...accepted } = p.submit(tx("a", 1))
    expect(tag).toBe("accepted")
    expect(p.submit(tx("a", 1))).toEqual({ tag: "duplicate", ...accepted, of: "waiting" })
    expect(p.submit(tx("a", 1, 1)).tag).toBe("accepted")
    expect([p.waiting, p.bytes]).toEqual([2, 2 * BYTES])
  })

  test("each limit has its answer and leaves the pool unchanged", () => {
    const cases: ReadonlyArray<readonly [Partial<MempoolLimits>, unknown]> = [
      [{ transactionsMax: 2 }, { tag: "full", limit: "transactions", allowed: 2 }],
      [{ bytesMax: 3 * BYTES - 1 }, { tag: "full", limit: "bytes", allowed: 3 * BYTES - 1 }],
      [{ senderTransactionsMax: 2 }, { tag: "full", limit: "sender", allowed: 2 }],
    ]
    for (const [limits, answer] of cases) {
      const p = pool(limits)
      for (const nonce of [1, 2]) expect(p.submit(tx("a", nonce)).tag).toBe("accepted")
      expect(p.submit(tx("a", 3))).toEqual(answer)
      expect([p.waiting, p.bytes, p.waitingOf("a")]).toEqual([2, 2 * BYTES, 2])
    }
    expect(pool({ transactionBytesMax: BYTES - 1 }).submit(tx("a", 1))).toEqual({
      tag: "too large",
      bytes: BYTES,
      allowed: BYTES - 1,
    })
  })

  test("one sender at its limit does not keep others out", () => {
    const p = pool({ senderTransactionsMax: 1 })
    p.submit(tx("a", 1))
    expect(p.submit(tx("a", 2)).tag).toBe("full")
    expect(p.submit(tx("b", 1)).tag).toBe("accepted")
  })
})

describe("taking", () => {
  test("taking removes nothing and repeats itself", () => {
    const p = pool()
    for (const nonce of [1, 2, 3]) p.submit(tx("a", nonce))
    expect(taken(p)).toEqual(["a1", "a2", "a3"])
    expect(taken(p)).toEqual(["a1", "a2", "a3"])
    expect(taken(p, 1e6, 2)).toEqual(["a1", "a2"])
    expect(taken(p, 2 * BYTES)).toEqual(["a1", "a2"])
  })

  test("higher priority first, submission order among equals", () => {
    const p = pool()
    for (const [from, fee] of [
      ["a", 1],
      ["b", 2],
      ["c", 1],
      ["d", 2],
    ] as const)
      p.submit(tx(from, 1, fee))
    expect(taken(p)).toEqual(["b1", "d1", "a1", "c1"])
  })

  test("priority never reorders one sender", () => {
    const p = pool()
    for (const t of [tx("a", 1, 1), tx("b", 1, 5), tx("a", 2, 9), tx("c", 1, 0)]) p.submit(t)
    expect(taken(p)).toEqual(["b1", "a1", "a2", "c1"])
  })

  test("what an ancestor holds is left out and does not hold up its sender", () => {
    const p = pool()
    for (const nonce of [1, 2]) p.submit(tx("a", nonce))
    expect(taken(p, 1e6, 1e6, [tx("a", 1)])).toEqual(["a2"])
  })

  test("a transaction that does not fit holds up its sender and nobody else", () => {
    const p = new Mempool<string>({ transaction: Text(64), sender: (text) => text.slice(0, 1) })
    for (const text of ["b1", "a1 is long", "a2", "c1"]) p.submit(text)
    expect(p.take(9, 10).map(({ transaction: text }) => text)).toEqual(["b1", "c1"])
    expect(p.take(9, 10, new Set([p.idOf("a1 is long")])).map(({ transaction: text }) => text)).toEqual([
      "b1",
      "a2",
      "c1",
    ])
  })

  test("without a sender every transaction stands alone", () => {
    const p = new Mempool<Tx>({ transaction, priority: ({ fee }) => fee, limits: { senderTransactionsMax: 1 } })
    for (const t of [tx("a", 1, 1), tx("a", 2, 9)]) expect(p.submit(t).tag).toBe("accepted")
    expect(taken(p)).toEqual(["a2", "a1"])
  })
})

describe("leaving", () => {
  test("a finalized transaction leaves and is refused while it is remembered", () => {
    const p = pool({ rememberedMax: 2 })
    p.submit(tx("a", 1))
    p.finalized(Height(1), [tx("a", 1), tx("z", 9)].map(p.idOf))
    expect([p.waiting, p.bytes, p.waitingOf("a"), p.finalizedHeight]).toEqual([0, 0, 0, 1])
    expect(p.submit(tx("a", 1))).toMatchObject({ tag: "duplicate", of: "finalized" })
    expect(p.submit(tx("z", 9))).toMatchObject({ tag: "duplicate", of: "finalized" })
    p.finalized(Height(2), [p.idOf(tx("b", 1))])
    expect(p.submit(tx("a", 1)).tag).toBe("accepted")
    expect(p.submit(tx("z", 9)).tag).toBe("duplicate")
  })

  test("a height that is finalized again after a restart changes nothing", () => {
    const p = pool()
    for (const height of [3, 4, 3]) p.finalized(Height(height), [p.idOf(tx("a", height))])
    expect(p.finalizedHeight).toBe(4)
    expect(p.submit(tx("a", 4)).tag).toBe("duplicate")
  })

  test("a rejected transaction stays until it was rejected too often, then may come again", () => {
    const p = pool({ rejectionsMax: 2 })
    p.submit(tx("a", 1))
    p.rejected(p.idOf(tx("a", 1)), "fork")
    expect(taken(p)).toEqual(["a1"])
    p.rejected(p.idOf(tx("a", 1)), "really")
    p.rejected(p.idOf(tx("b", 1)), "unknown")
    expect(taken(p)).toEqual([])
    expect(p.submit(tx("a", 1)).tag).toBe("accepted")
  })
})

describe("random histories", () => {
  type Step =
    | { readonly tag: "submit"; readonly t: Tx }
    | { readonly tag: "reject"; readonly t: Tx }
    | { readonly tag: "finalize"; readonly ts: ReadonlyArray<Tx> }

  const anyTx = fc.record({ from: fc.constantFrom("a", "b", "c"), nonce: fc.nat(5), fee: fc.nat(2) })
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ tag: fc.constant("submit" as const), t: anyTx }) },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant("reject" as const), t: anyTx }) },
    {
      weight: 1,
      arbitrary: fc.record({ tag: fc.constant("finalize" as const), ts: fc.array(anyTx, { maxLength: 3 }) }),
    },
  )
  const LIMITS: Partial<MempoolLimits> = {
    transactionsMax: 7,
    senderTransactionsMax: 4,
    rejectionsMax: 1,
    rememberedMax: 5,
  }

  const same = (a: Tx, b: Tx): boolean => a.from === b.from && a.nonce === b.nonce && a.fee === b.fee

  /** The pool as a list, quadratic and obvious. Gives what `take` must give. */
  const model = (steps: ReadonlyArray<Step>, keepSenderOrder: boolean): ReadonlyArray<Tx> => {
    let waiting: Tx[] = []
    let remembered: Tx[] = []
    for (const s of steps) {
      if (s.tag === "reject") waiting = waiting.filter((t) => !same(t, s.t))
      if (s.tag === "finalize") {
        for (const f of s.ts) {
          waiting = waiting.filter((t) => !same(t, f))
          if (!remembered.some((t) => same(t, f))) remembered.push(f)
        }
        remembered = remembered.slice(-5)
      }
      if (s.tag === "submit" && ![...waiting, ...remembered].some((t) => same(t, s.t))) {
        if (waiting.length < 7 && waiting.filter((t) => t.from === s.t.from).length < 4) waiting.push(s.t)
      }
    }
    const left = [...waiting]
    const order: Tx[] = []
    const rank = (t: Tx): number =>
      keepSenderOrder
        ? Math.min(
            ...waiting
              .slice(0, waiting.indexOf(t) + 1)
              .filter((o) => o.from === t.from)
              .map((o) => o.fee),
          )
        : t.fee
    while (left.length > 0) {
      const best = left.reduce((a, b) => (rank(b) > rank(a) ? b : a))
      order.push(...left.splice(left.indexOf(best), 1))
    }
    return order
  }

  const run = (steps: ReadonlyArray<Step>): Mempool<Tx> => {
    const p = pool(LIMITS)
    for (const [i, s] of steps.entries()) {
      if (s.tag === "submit") p.submit(s.t)
      if (s.tag === "reject") p.rejected(p.idOf(s.t), "")
      if (s.tag === "finalize") p.finalized(Height(i + 1), s.ts.map(p.idOf))
      expect(p.waiting).toBeLessThanOrEqual(7)
      expect(p.bytes).toBe(p.waiting * BYTES)
    }
    return p
  }

  const steps = fc.array(step, { maxLength: 40 })

  test("the pool is the list", () => {
    fc.assert(
      fc.property(steps, (history) => {
        expect(
          run(history)
            .take(1e6, 1e6)
            .map(({ transaction }) => transaction),
        ).toEqual(model(history, true))
      }),
      { numRuns: 300 },
    )
  })

  test("canary: a list that lets priority reorder a sender is not the pool", () => {
    const differs = fc.sample(steps, { seed: 5, numRuns: 300 }).some((history) => {
      const got = run(history)
        .take(1e6, 1e6)
        .map(({ transaction }) => transaction)
      return JSON.stringify(got) !== JSON.stringify(model(history, false))
    })
    expect(differs).toBe(true)
  })

  test("equal histories give equal pools", () => {
    fc.assert(
      fc.property(steps, (history) => {
        expect(run(history).take(1e6, 1e6)).toEqual(run(history).take(1e6, 1e6))
      }),
      { numRuns: 50 },
    )
  })
})
