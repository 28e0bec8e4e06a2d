/**
 * What lies on disk, and what is written to put it there, beside plain LMDB with a row for each key.
 *
 * Terms: *written* are the bytes that the process hands to write calls while it flushes, pages of trees and free lists
 * included, as /proc/self/io counts them (`wchar`): LMDB writes pages with them, and nothing else writes meanwhile.
 * *Handed* are keys and values of the changes that a flush gives to storage. Both are over the encoded bytes of the
 * operations that the flush makes durable, moves and commit included: the write amplification.
 */
import { readFileSync } from "node:fs"
import type { Bench, Context, Figure } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { openLmdb } from "@coppice/storage/lmdb"
import { immutableFormat, keyedFormat, keylessFormat } from "@coppice/verify"
import { Effect, Exit, Scope } from "effect"
import { keyArrays, keysOf, picks, planFlush, valueOf } from "./support/chain.ts"
import { type Kind, kinds, Running } from "./support/kinds.ts"

const KEYS = 1_000_000
const CHURN_BLOCKS = 15
const SIZES = [
  { writes: 32_768, blocks: 16 },
  { writes: 1_024, blocks: 128 },
] as const
const WRITES_ALL = SIZES.reduce((sum, { writes, blocks }) => sum + writes * blocks, 0)

const bytesWritten = (): number => {
  const found = /^wchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]
  if (found === undefined) throw new Error("/proc/self/io does not tell wchar")
  return Number(found)
}

/** Bytes per key on disk, and per update written by blocks of each size. */
interface Plain {
  readonly disk: number
  readonly written: ReadonlyArray<number>
}

const plain = async (context: Context): Promise<Plain> => {
  const scope = await Effect.runPromise(Scope.make())
  const environment = { directory: context.directory(), maps: ["rows"], mapBytes: 2 ** 33 }
  const storage = await Effect.runPromise(Scope.provide(openLmdb(environment), scope))
  const keys = keysOf(KEYS)
  const pick = picks(1)
  const put = (targets: ReadonlyArray<Uint8Array>, value: Uint8Array) =>
    Effect.runPromise(storage.write(targets.map((key) => ({ tag: "put" as const, map: "rows", key, value }))))
  context.note("loading plain LMDB")
  for (let i = 0; i < KEYS; i += 32_768) await put(keys.range(i, Math.min(KEYS, i + 32_768)), valueOf(0))
  const overwrite = async (writes: number, blocks: number): Promise<number> => {
    const targets = keyArrays(writes)
    const before = bytesWritten()
    for (let round = 0; round < blocks; round++) {
      keys.fill(targets, pick)
      await put(targets, valueOf(round))
    }
    return (bytesWritten() - before) / (writes * blocks)
  }
  await overwrite(32_768, CHURN_BLOCKS)
  const disk = storage.info().bytesUsed / KEYS
  const written: Array<number> = []
  for (const { writes, blocks } of SIZES) written.push(await overwrite(writes, blocks))
  await Effect.runPromise(Scope.close(scope, Exit.void))
  return { disk, written }
}

interface Flushed {
  readonly operations: number
  readonly handed: number
  readonly written: number
}

const flushed = async <B, R>(running: Running<B, R>, writes: number, blocks: number): Promise<Flushed> => {
  const { database, storage } = running
  const first = database.tip.target.end
  let handed = 0
  let written = 0
  for (let round = 0; round < blocks; round++) {
    running.choose(writes)
    running.apply(running.execute(round))
    const flush = planFlush(database)
    for (const change of flush.changes) {
      handed += change.key.length + (change.tag === "put" ? change.value.length : 0)
    }
    const before = bytesWritten()
    await Effect.runPromise(storage.write(flush.changes))
    written += bytesWritten() - before
    flush.settled()
  }
  return { operations: database.tip.target.end - first, handed, written }
}

const AGAINST = "plain LMDB, a row per key"

/** Figures of one kind beside those of plain LMDB. */
const measured = async <B, R>(
  context: Context,
  peer: Plain,
  kind: Kind<B, R>,
  operationBytes: number,
): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(kind.rewrites ? KEYS : KEYS + WRITES_ALL)
  const running = await Running.start(context, kind, keys, KEYS)
  const loaded = running.storage.info().bytesUsed / KEYS
  const disk = { p50: loaded, unit: "B per key", against: AGAINST, ratio: loaded / peer.disk }
  const figures: Array<Figure> = [{ name: `qmdb::disk/${kind.name}/loaded`, ...disk }]
  await running.churn(CHURN_BLOCKS)
  for (const [i, { writes, blocks }] of SIZES.entries()) {
    const { operations, handed, written } = await flushed(running, writes, blocks)
    const bytes = operations * operationBytes
    const each = written / (writes * blocks)
    const name = (what: string): string => `qmdb::disk/${kind.name}/${what}/updates=${writes}`
    figures.push(
      { name: name("written"), p50: each, unit: "B per update", against: AGAINST, ratio: each / peer.written[i]! },
      { name: name("written over operations"), p50: written / bytes, unit: "B per B" },
      { name: name("handed over operations"), p50: handed / bytes, unit: "B per B" },
    )
  }
  await running.close()
  return figures
}

const options = { key: Bytes(32), value: Bytes(32) }
const { operationBytes: keyedBytes } = keyedFormat(options)
const { operationBytes: orderedBytes } = keyedFormat({ ...options, ordered: true })
const { operationBytes: immutableBytes } = immutableFormat(options)
const { operationBytes: keylessBytes } = keylessFormat({ value: options.value })

const run = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const peer = await plain(context)
  return [
    ...(await measured(context, peer, kinds.any, keyedBytes!)),
    ...(await measured(context, peer, kinds.ordered, orderedBytes!)),
    ...(await measured(context, peer, kinds.current, keyedBytes!)),
    ...(await measured(context, peer, kinds.immutable, immutableBytes!)),
    ...(await measured(context, peer, kinds.keyless, keylessBytes!)),
  ]
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [{ name: "qmdb::disk/keys=1M", run }]
