import { keysOf, openEnvironment, openDatabase, load, block, execute, flush, picks, keyArrays, valueOf } from "/work/wt/shape/packages/qmdb/bench/support/chain.ts"
import { mkdtempSync, rmSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { writeFileSync } from "node:fs"
const dir = mkdtempSync("/tmp/prof-")
const keys = keysOf(1_000_000)
const { storage, close } = await openEnvironment(dir)
const db = await openDatabase(storage, true)
await load(db, storage, keys)
const pick = picks(1)
const targets = keyArrays(32768)
for (let r = 0; r < 15; r++) { keys.fill(targets, pick); await block(db, storage, targets, valueOf(r)) }
const s = new Session(); s.connect()
await s.post("Profiler.enable"); await s.post("Profiler.setSamplingInterval", { interval: 200 })
let total = 0
const times = []
await s.post("Profiler.start")
for (let r = 0; r < 25; r++) {
  keys.fill(targets, pick)
  const t = performance.now()
  db.apply(execute(db, targets, valueOf(r)))
  times.push(performance.now() - t)
  await flush(db, storage)
}
const { profile } = await s.post("Profiler.stop")
times.sort((a,b)=>a-b); console.log("p50", times[12], "min", times[0])
const self = new Map()
const dt = profile.timeDeltas; const byId = new Map(profile.nodes.map(n => [n.id, n]))
const parent = new Map(); for (const n of profile.nodes) for (const c of n.children ?? []) parent.set(c, n.id)
const inExec = (id) => { for (let x = id; x !== undefined; x = parent.get(x)) if (byId.get(x).callFrame.functionName === "execute") return true; return false }
profile.samples.forEach((id, i) => { if (!inExec(id)) return; const n = byId.get(id).callFrame; const k = `${n.functionName} ${n.url.split("/").slice(-1)[0]}:${n.lineNumber}`; self.set(k, (self.get(k) ?? 0) + dt[i]) })
const sum = [...self.values()].reduce((a,b)=>a+b,0)
console.log("ms per block", sum/1000/25)
for (const [k,v] of [...self].sort((a,b)=>b[1]-a[1]).slice(0,28)) console.log((v/1000/25).toFixed(2).padStart(8), k)
await close(); rmSync(dir, { recursive: true })
