import { mkdtempSync, rmSync } from "node:fs"
import { readFileSync } from "node:fs"
import { anonymousBytes } from "@coppice/bench"
import { getHeapSpaceStatistics } from "node:v8"
import { block, keyArrays, keysOf, load, openDatabase, openEnvironment, picks } from "./support/chain.ts"
const dir = mkdtempSync("/work/main/.coppice/res-")
const { storage, close } = await openEnvironment(dir)
const database = await openDatabase(storage, true)
const N = Number(process.env.N ?? 1_000_000)
await (async () => {
  const all = keysOf(1_000_000)
  if (N > 0) await load(database, storage, { ...all, count: N })
  const pick = picks(4)
  const targets = keyArrays(32_768)
  for (let i = 0; N > 0 && i < Number(process.env.B ?? 8); i++) { all.fill(targets, pick); await block(database, storage, targets, new Uint8Array(32)) }
})()
await new Promise((r) => setTimeout(r, 200))
const b = await anonymousBytes()
console.log(N, "anon MB", b / 1e6, process.memoryUsage())
console.log(getHeapSpaceStatistics().map((s) => `${s.space_name} ${(s.space_used_size / 1e6).toFixed(1)}/${(s.physical_space_size / 1e6).toFixed(1)}`).join("; "))
const m:any = database as any
console.log("unswept", m.keys?.unswept?.size, "slots", Object.keys(m.slots ?? {}), m.slots?.pages?.length)
const maps = readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).map((s) => ({ h: s.split("\n")[0], a: Number(/Anonymous:\s+(\d+)/.exec(s)?.[1] ?? 0) })).filter((x) => x.a > 3000).sort((a, b) => b.a - a.a).slice(0, 14)
for (const x of maps) console.log((x.a / 1000).toFixed(0) + "MB", x.h)
await close(); rmSync(dir, { recursive: true })
