/** Loaded before the program: blocks that are executed again write a key more than the first time. */
import { registerHooks } from "node:module"

const SOUND = "    apply: judge,\n"
const BUG = `    apply: (block, batches, tools) => {
      const [first] = Object.values(batches)
      first.put(new Uint8Array(32).fill(9), new Uint8Array(24))
      return judge(block, batches, tools)
    },
`

registerHooks({
  load: (url, context, next) => {
    const loaded = next(url, context)
    if (!url.endsWith("/packages/stateful/src/make.ts")) return loaded
    const source = String(loaded.source)
    if (!source.includes(SOUND)) throw new Error("there is no place for the bug")
    return { ...loaded, source: source.replace(SOUND, BUG) }
  },
})
