/**
 * Goal: what the README says works: a transfer is sent, its effect is proven by a script of ten lines, and so is the absence of an
 * account; a lie is not.
 * Method: the commands themselves, as processes: a devnet on free ports, `transfer`, the script; a node that lies is a
 * proxy that changes the answers of a true one.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { expect, test } from "vitest"

const at = (path: string): string => join(import.meta.dirname, "..", path)
const COPPICE = at("../../apps/cli/src/main.ts")
const SCRIPT = at("src/verify-account.ts")
const RECEIVER = "c0ffee00".repeat(8)
const NOBODY = "0badf00d".repeat(8)

/** What the script prints of an account with this balance. */
const shown = (exists: string, balance: number): RegExp =>
  new RegExp(
    `^\\{\\n  valid: true,\\n  shown: \\{ exists: ${exists}, balance: ${balance}n, nonce: 0n, height: [0-9]+ \\}\\n\\}$`,
    "m",
  )

const run = (script: string, ...args: ReadonlyArray<string>) =>
  spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "inherit"] })

/** Runs a script to its end: its exit status and what it printed. */
const completed = (script: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly status: number | null; readonly output: string }>((resume) => {
    const child = run(script, ...args)
    let output = ""
    child.stdout.on("data", (chunk) => {
      output += chunk
    })
    child.on("close", (status) => resume(Effect.succeed({ status, output })))
    return Effect.sync(() => child.kill())
  })

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-verify-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

/** A running devnet; succeeds with the address of its first validator. Ctrl-C ends it with the scope. */
const devnet = (data: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly child: ReturnType<typeof run>; readonly url: string }>((resume) => {
      const child = run(COPPICE, "devnet", "--data", data, "--port", "0", "--load", "5")
      let output = ""
      child.stdout.on("data", (chunk) => {
        output += chunk
        const url = /^API +(\S+)/m.exec(output)?.[1]
        if (url !== undefined) resume(Effect.succeed({ child, url }))
      })
      child.on("close", (status) => resume(Effect.die(new Error(`the devnet ended with ${status}: ${output}`))))
    }),
    ({ child }) =>
      Effect.callback<void>((resume) => {
        child.on("close", () => resume(Effect.void))
        child.kill("SIGINT")
      }),
  )

const ask = (url: string, init: RequestInit = {}) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  })

const eventually = Effect.fnUntraced(function* (url: string) {
  for (;;) if ((yield* ask(url)).status === 200) return
})

type Lie = (path: string, body: Record<string, unknown>) => object

/** A node that answers what another one says, changed. */
const liar = (truth: string, lie: Lie) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: ReturnType<typeof createServer>; readonly url: string }>((resume) => {
      const server = createServer(async ({ url = "/" }, response) => {
        const answer = await fetch(truth + url)
        const body = (await answer.json()) as Record<string, unknown>
        response.end(JSON.stringify(lie(url, body)))
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({ server, url: `http://127.0.0.1:${port}` }))
      })
    }),
    ({ server }) =>
      Effect.sync(() => server.closeAllConnections()).pipe(Effect.andThen(Effect.sync(() => server.close()))),
  )

it.live("a transfer that was sent is proven by the script; a node that lies about it is not believed", () =>
  Effect.gen(function* () {
    const data = yield* temporaryDirectory
    const { url } = yield* devnet(data)
    yield* eventually(`${url}/blocks/1`)
    const signed = yield* completed(
      COPPICE,
      "transfer",
      "--data",
      data,
      "--url",
      url,
      "--to",
      RECEIVER,
      "--amount",
      "5",
    )
    const headers = { "content-type": "application/json" }
    const { status, body } = yield* ask(`${url}/transfers`, { method: "POST", headers, body: signed.output })
    expect(status).toBe(202)
    yield* eventually(`${url}/transfers/${body["id"]}`)

    const proven = yield* completed(SCRIPT, url, RECEIVER)
    expect(proven.output).toMatch(shown("true", 5))
    expect(proven.status).toBe(0)

    const unknown = yield* completed(SCRIPT, url, NOBODY)
    expect(unknown.output).toMatch(shown("false", 0))
    expect(unknown.status).toBe(0)

    const richer: Lie = (path, body) => (path.startsWith("/accounts/") ? { ...body, balance: "6" } : body)
    const gone: Lie = (path, body) =>
      path.startsWith("/accounts/") ? { ...body, exists: false, balance: "0", nonce: "0" } : body
    const bare: Lie = (path, { proof, ...body }) => (path.startsWith("/accounts/") ? body : { proof, ...body })
    for (const lie of [richer, gone, bare]) {
      const believed = yield* completed(SCRIPT, (yield* liar(url, lie)).url, RECEIVER)
      expect(believed.output).toContain("valid: false")
      expect(believed.status).toBe(1)
    }
  }).pipe(Effect.scoped),
)

test("the script has ten lines, and the README shows it as it is", () => {
  const source = readFileSync(SCRIPT, "utf8")
  expect(source.trimEnd().split("\n").length).toBeLessThanOrEqual(10)
  expect(readFileSync(at("README.md"), "utf8")).toContain(source)
})
