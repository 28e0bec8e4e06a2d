/**
 * Goal: the database stands on LMDB as it stands on the map of the other tests: chains, flushes in flight, reopenings.
 * Method: one long chain of blocks with forks in a temporary directory, beside the model; the environment is closed and
 * opened again between blocks, and read while its writes are under way.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Blob } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, Fiber } from "effect"
import { describe, expect, it } from "vitest"
import { type KeyedBatch, MEMBER_MAPS, Qmdb } from "../src/index.ts"
import { finish, runSeal } from "./support/api.ts"
import { ModelState } from "./support/model.ts"

const spec = Qmdb.any({ key: Blob(16), value: Blob(300) })
const key = (n: number): Uint8Array => Uint8Array.from(Buffer.from(`key ${n}`))
const text = (n: number): string => `key ${n}`

const write = (block: number): ReadonlyMap<number, Uint8Array | null> => {
  const writes = new Map<number, Uint8Array | null>()
  for (let i = 0; i < 60; i++) {
    const n = (i * 37 + block * 101) % 500
    writes.set(n, (i + block) % 4 === 0 ? null : new Uint8Array((n + block) % 280).fill(block))
  }
  return writes
}

const stage = (batch: KeyedBatch<Uint8Array, Uint8Array>, writes: ReadonlyMap<number, Uint8Array | null>): void => {
  for (const [n, value] of writes) {
    if (value === null) batch.remove(key(n))
    else batch.put(key(n), value)
  }
}

const home = (storage: Parameters<typeof spec.open>[0]["storage"]) => ({
  storage,
  member: 3,
  incarnation: 9,
  hasher: opensslHasher,
  rewindCommits: 4,
})

/** Five blocks over what the directory holds; the state after them. */
const session = (directory: string, first: number, before: ModelState) =>
  Effect.gen(function* () {
    const storage = yield* openLmdb({ directory, maps: MEMBER_MAPS })
    if (first === 0) yield* storage.write(spec.create(home(storage)))
    const member = spec.open(home(storage))
    let state = before
    const check = (when: string): void => {
      const { reader } = member
      expect(Buffer.from(reader.target.root).toString("hex"), when).toBe(Buffer.from(state.root).toString("hex"))
      for (let n = 0; n < 500; n += 3) expect(reader.get(key(n)), `${text(n)} ${when}`).toEqual(state.get(text(n)))
      expect(reader.getMany([0, 1, 2].map(key))).toEqual([0, 1, 2].map((n) => state.get(text(n))))
    }
    check("after opening")
    for (let block = first; block < first + 5; block++) {
      const losing = member.openBatch(member.tip)
      stage(losing, write(block + 1000))
      const loser = runSeal(opensslHasher, member.seal(losing))
      const batch = member.openBatch(member.tip)
      const writes = write(block)
      yield* batch.prefetch([...writes.keys()].map(key))
      stage(batch, writes)
      member.apply(runSeal(opensslHasher, member.seal(batch)))
      expect(() => member.openBatch(loser)).toThrow()
      state = state.seal(new Map([...writes].map(([n, value]) => [text(n), value])))
      const flush = finish(member.flush()!)
      yield* member.reader.prefetch([...writes.keys()].map(key))
      const writing = yield* Effect.forkChild(storage.write(flush.changes))
      for (let turn = 0; turn < 5; turn++) {
        check(`in turn ${turn} of the write of block ${block}`)
        yield* Effect.yieldNow
      }
      yield* Fiber.join(writing)
      check(`once block ${block} is durable`)
      flush.settled()
      check(`once block ${block} has settled`)
    }
    return state
  })

describe("on LMDB", () => {
  it("forty blocks in eight sessions equal the model, read at every step of their writes", async () => {
    const directory = mkdtempSync(join(tmpdir(), "coppice-qmdb-"))
    try {
      let state = ModelState.genesis({ family: "mmb", ordered: false, sizes: undefined })
      for (let first = 0; first < 40; first += 5) {
        state = await Effect.runPromise(Effect.scoped(session(directory, first, state)))
      }
      expect(state.size).toBeGreaterThan(3000)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })
})
