/**
 * Goal: what a light client imports stays small, and runs in a browser.
 * Method: bundle and minify each entry whole, compress it, and compare with its limit; nothing of Node or Effect is in it.
 * Canaries: an entry of Node's, and a limit below what the entry takes.
 */
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { describe, expect, test } from "vitest"

const KILOBYTE = 1000

const entries = [
  ["@coppice/verify", "../src/index.ts", 15 * KILOBYTE],
  ["@coppice/verify/certificate", "../src/certificate/index.ts", 30 * KILOBYTE],
] as const

/** The whole entry and everything it needs, minified; and the modules that were left out of it. */
const bundled = async (path: string) => {
  const input = fileURLToPath(new URL(path, import.meta.url))
  const bundle = await rolldown({ input, platform: "browser", external: /^node:/, logLevel: "silent" })
  const { output } = await bundle.generate({ minify: true, format: "esm" })
  await bundle.close()
  return {
    bytes: gzipSync(output[0].code, { level: 9 }).length,
    modules: output[0].moduleIds.map((id) => id.slice(id.lastIndexOf("/node_modules/") + 1)),
    imports: output[0].imports,
  }
}

describe("bundles", () => {
  test.each(entries)("%s is within its limit, and nothing but our own code and noble", async (name, path, limit) => {
    const { bytes, modules, imports } = await bundled(path)
    console.log(`${name}: ${bytes} of ${limit} bytes gzipped`)
    expect(bytes).toBeLessThanOrEqual(limit)
    // A bundle of nothing would pass.
    expect(bytes).toBeGreaterThan(limit / 10)
    expect(imports).toEqual([])
    expect(modules.filter((id) => id.includes("node_modules") && !id.includes("@noble"))).toEqual([])
  })

  test("canary: what needs Node is told from what does not", async () => {
    const { imports } = await bundled("../../crypto/src/node/index.ts")
    expect(imports.some((name) => name.startsWith("node:"))).toBe(true)
  })
})
