/**
 * Goal: the examples of the README do what they say.
 * Method: run each in a process of its own, from the folder of the package, and compare with its comments.
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"

const folder = new URL("../", import.meta.url)
const examples = [...readFileSync(new URL("README.md", folder), "utf8").matchAll(/```ts\n([\s\S]*?)```/g)]

test.each(examples.map(([, example], i) => [i + 1, example!] as const))(
  "example %i of the README prints what its comments promise",
  (_number, example) => {
    const promised = [...example.matchAll(/\/\/ => (.*)/g)].map((match) => match[1])
    const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "--eval", example], {
      cwd: fileURLToPath(folder),
      encoding: "utf8",
    })
    expect(stderr).toBe("")
    expect(promised.length).toBeGreaterThan(0)
    expect(stdout.trimEnd().split("\n")).toEqual(promised)
  },
  60_000,
)
